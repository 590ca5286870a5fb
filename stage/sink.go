package stage

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
)

// JobID is the fingerprint of a job: its inputs, stages and settings. Two runs of the
// same job have the same one.
type JobID string

// PartID names a part of a job's output by what it holds, so that a part written again
// is the same part.
type PartID struct {
	Group  int64 `json:"group"`            // which group of splits, in their order
	Errors bool  `json:"errors,omitempty"` // rows that failed, in the form of ErrorSchema
}

func (p PartID) String() string {
	if p.Errors {
		return fmt.Sprintf("errors-%06d", p.Group)
	}
	return fmt.Sprintf("part-%06d", p.Group)
}

// Part is a finished part: small, and enough for Commit in another process.
type Part struct {
	ID    PartID          `json:"id"`
	Rows  int64           `json:"rows"`
	Bytes int64           `json:"bytes"` // as stored
	Spec  json.RawMessage `json:"spec,omitempty"`
}

// Sink is where rows go. Its life is Begin, then any number of parts, then Commit or
// Abort, or Keep where it is a [Keeper]. Nothing is visible to readers of the output before Commit, and everything
// after it.
type Sink interface {
	// ID names the sink and its settings. It touches nothing.
	ID() StageID
	// Check fails if the output cannot be begun with this schema: it exists and may not
	// be replaced, or a column has a type that the format lacks. It changes nothing.
	Check(ctx context.Context, schema *arrow.Schema) error
	// Begin makes the output ready, and gives the parts that an earlier run of the
	// same job has finished: those need not be written again.
	Begin(ctx context.Context, schema *arrow.Schema, job JobID) ([]Part, error)
	// OpenPart starts a part, in place of an unfinished one of that name. Parts are
	// written by different goroutines at once. A sink that cannot hold failed rows
	// answers a part of Errors with errors.ErrUnsupported. The caller ends the writer
	// with Close or Abort.
	OpenPart(ctx context.Context, env Env, part PartID) (PartWriter, error)
	// Commit makes these parts the output, all or nothing. It may be called again
	// with the same parts after it failed or was cut short.
	Commit(ctx context.Context, parts []Part) error
	// Abort drops what was not committed, and leaves what was there before.
	Abort(ctx context.Context) error
}

// Keeper is a sink that can end a job without Commit and without losing the parts that
// are finished: Begin of the same job, now or in another process, gives them back, and
// Begin of another job drops them.
type Keeper interface {
	Sink
	// Keep leaves the output as it was before the job. It is called in place of Abort,
	// also after a Commit that failed, once every part writer was ended. It may be
	// called again.
	Keep(ctx context.Context) error
}

// PartWriter writes one part. It is used by one goroutine.
type PartWriter interface {
	// Write adds the rows of rec, which it borrows.
	Write(ctx context.Context, rec arrow.Record) error
	// Close makes the part whole and durable under a name that readers pass over.
	Close(ctx context.Context) (Part, error)
	// Abort drops the part. After Close it does nothing.
	Abort(ctx context.Context) error
}

// ErrorSchema is the schema of dead letters: one row for each row that failed.
func ErrorSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "input", Type: arrow.BinaryTypes.String, Nullable: true}, // the row as JSON
		{Name: "stage", Type: arrow.BinaryTypes.String},
		{Name: "cause", Type: arrow.BinaryTypes.String},
		{Name: "kind", Type: arrow.BinaryTypes.String}, // FailureKind
		{Name: "attempts", Type: arrow.PrimitiveTypes.Int32},
		{Name: "file", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "row", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, // in the file, from 0
	}, nil)
}
