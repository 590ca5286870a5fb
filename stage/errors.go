package stage

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrDone is what Process returns when it has finished its batch and wants no more
	// input: the operators before it stop.
	ErrDone = errors.New("stage: no more input is wanted")
	// ErrWorkerLost is wrapped by the error of a worker that can do no more. Another one
	// takes its place, and what it had not finished runs again there.
	ErrWorkerLost = errors.New("stage: worker lost")
	// ErrNotFound is wrapped when a source has no data: no such file, an empty folder.
	ErrNotFound = errors.New("stage: not found")
	// ErrOutputExists is wrapped by a sink that may not replace what is there.
	ErrOutputExists = errors.New("stage: output exists")
)

// DeviceLostError is the error of a worker, or of the opening of one, whose device can no longer
// be used in this process: no worker is opened there any more, and what those that were there had
// not finished runs again on other devices. It is an [ErrWorkerLost] too.
type DeviceLostError struct {
	Device Placement
	Err    error // what the device said
}

func (e *DeviceLostError) Error() string   { return fmt.Sprintf("device %s lost: %v", e.Device, e.Err) }
func (e *DeviceLostError) Unwrap() []error { return []error{e.Err, ErrWorkerLost} }

// FailureKind sorts failures for people who look at dead letters.
type FailureKind string

const (
	BadData   FailureKind = "data"      // the row itself: cannot be parsed, converted, decoded
	Panicked  FailureKind = "panic"     // a function panicked
	TimedOut  FailureKind = "timeout"   // no answer within Need.Timeout
	Temporary FailureKind = "temporary" // still failing after the last retry
	Failed    FailureKind = "failed"    // anything else
)

// RowFailure is a row of a batch that gave no output.
type RowFailure struct {
	Row    int32 // of the batch
	Column string
	Kind   FailureKind // empty: [KindOf] the error
	Err    error
}

// RowError is a failure that can be laid to one row. Readers give it for rows that they
// cannot read, and the executor for rows that a stage could not do.
type RowError struct {
	Stage  string // or the reader's format
	Path   string // file; empty: unknown
	Row    int64  // in the file, from 0; -1: unknown
	Column string // empty: the whole row
	Input  string // what stood there, cut short; for dead letters of rows that never became Arrow
	Kind   FailureKind
	// Attempts is how often the row was tried; 0 where that was not counted.
	Attempts int
	// Skippable says that a reader stands behind the bad row and can go on.
	Skippable bool
	Err       error
}

func (e *RowError) Error() string {
	var where []string
	if e.Path != "" {
		where = append(where, e.Path)
	}
	if e.Row >= 0 {
		where = append(where, fmt.Sprintf("row %d", e.Row))
	}
	if e.Column != "" {
		where = append(where, fmt.Sprintf("column %q", e.Column))
	}
	msg := e.Err.Error()
	if len(where) > 0 {
		msg = strings.Join(where, ", ") + ": " + msg
	}
	if e.Stage != "" {
		msg = e.Stage + ": " + msg
	}
	return msg
}

func (e *RowError) Unwrap() error { return e.Err }

// ColumnError is a plan that names a column which is not there or has the wrong type.
type ColumnError struct {
	Column  string
	Problem string // "there is no such column", "is int64, not string"
	Nearest string // the existing name that is most like it; empty: none is
	Have    []string
}

func (e *ColumnError) Error() string {
	msg := fmt.Sprintf("column %q: %s", e.Column, e.Problem)
	if e.Nearest != "" {
		msg += fmt.Sprintf("; did you mean %q?", e.Nearest)
	}
	if len(e.Have) > 0 {
		msg += " (columns: " + strings.Join(e.Have, ", ") + ")"
	}
	return msg
}

// IsTemporary says whether an error, or one that it wraps, has a method
// Temporary() bool that answers true: the same call may succeed later.
func IsTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// KindOf sorts an error.
func KindOf(err error) FailureKind {
	var row *RowError
	if errors.As(err, &row) && row.Kind != "" {
		return row.Kind
	}
	if IsTemporary(err) {
		return Temporary
	}
	return Failed
}
