package stage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// StageID says what a stage does to a row: the same ID on the same rows gives the same
// result. Caches and resumed jobs rely on it.
type StageID struct {
	Name     string          `json:"name"` // for people: "embed"
	Version  string          `json:"version,omitempty"`
	Settings json.RawMessage `json:"settings,omitempty"`
	Digests  []string        `json:"digests,omitempty"` // of models and files it depends on
}

// Fingerprint is a short digest of the whole ID: SHA-256, the first 16 bytes in hex.
func (id StageID) Fingerprint() string {
	raw, err := json.Marshal(id)
	if err != nil { // Settings that are not JSON: still a stable name
		raw = []byte(id.Name + "\x00" + id.Version + "\x00" + string(id.Settings))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// Stage is one step over rows: a function, a tokeniser, a model. It is inert: it may be
// bound several times and used by several plans at once.
type Stage interface {
	ID() StageID
	// Bind checks the stage against the schemas of its inputs, one each, and says what
	// comes out and what it needs. It moves no data. Its error names the column at
	// fault; faults that do not depend on each other are joined.
	Bind(in []*arrow.Schema) (*Bound, error)
}

// Bound is a stage that was checked against its inputs.
type Bound struct {
	// Schema of the rows that come out, with the columns that are carried past the
	// stage. [Need.OutputSchema] makes it.
	Schema *arrow.Schema
	Need   Need
	// Open makes one worker. It is called once per worker, at the same time for all,
	// and may take long: models load here. The caller closes the worker.
	Open func(ctx context.Context, env Env) (Worker, error)
}

// Need says what a bound stage asks of whoever runs it. Its zero value is a stage that
// reads all columns, gives whole rows, one for each, in batches of any size.
type Need struct {
	// Reads names the columns that the worker is given, in this order. Other columns
	// are carried past the stage: not packed, not copied, and attached to the rows
	// that come out. nil: the worker is given all columns and gives whole rows.
	Reads []string
	// Adds are the columns that the worker's records have where Reads is set. One
	// that has the name of an input column takes its place.
	Adds []arrow.Field
	// Drops names input columns that do not go on, where Reads is set.
	Drops []string

	Rows  Cardinality
	Batch Policy
	// Cost writes each row's cost into dst, by which Batch packs: tokens, pixels,
	// audio frames. It is cheap and pure. rec has the columns of Reads.
	Cost  func(rec arrow.Record, dst []int32)
	Views bool // the worker takes batches of views

	RowWise       bool // rows do not depend on the batch that they come in: a failed one may be bisected
	Retryable     bool // Process may be called again with the same rows
	Deterministic bool // the same rows give the same bits

	CPU      float64       // tokens that one Process call holds; a GPU actor says 0. See [Need.CPUTokens]
	GPU      float64       // share of a device that a worker holds while it is open, up to 1: two workers of 0.5 share one. See [Env].Device
	InFlight int           // Process calls at once on one worker; 0: 1
	Timeout  time.Duration // for one Process call; 0: none
	Workers  Pool
}

// Pool bounds how many workers a stage has. The zero value lets the executor choose.
type Pool struct {
	Min, Max int
}

// Cardinality is how many rows come out for one that goes in.
type Cardinality uint8

const (
	OneToOne Cardinality = iota // exactly one, or a failure
	Subset                      // one or none: a filter
	Many                        // any number: a flat-map
	Collect                     // all children of one row become one again
)

func (c Cardinality) String() string {
	return [...]string{"one-to-one", "subset", "many", "collect"}[c]
}

// Policy is how rows are cut into batches. The zero value takes blocks as they come.
type Policy struct {
	MaxRows       int           // 0: no bound
	MaxBytes      int64         // of the columns that the stage reads; one row may be larger. 0: no bound
	MaxCost       int64         // padded cost: rows × the dearest row's cost. 0: no bound
	LookAheadRows int           // rows among which rows of like cost are put together; 0: order of arrival
	Buckets       []int32       // costs are rounded up to one of these, ascending, so that shapes stay few
	MaxDelay      time.Duration // when serving: how long a row may wait for company
}

// Worker does a stage's work. Process is called by up to Need.InFlight goroutines at
// once; Finish and Close by one, after every Process has returned.
type Worker interface {
	// Process works on in and emits what comes of it, in as many pieces as it likes,
	// from the calling goroutine. emit may block for room, and there a worker waits.
	// A nil return says that all rows of in are finished. ErrDone says the same, and
	// that no more input is wanted. Process returns soon after ctx is cancelled.
	Process(ctx context.Context, in Batch, emit func(Output) error) error
	// Finish emits what is still held, once all input has been seen.
	Finish(ctx context.Context, emit func(Output) error) error
	Close() error
}

// Output is one piece of a worker's result.
type Output struct {
	// Record holds the rows: with the columns of Need.Adds where Need.Reads is set,
	// else whole rows. nil: no rows, just failures or progress.
	Record arrow.Record
	// Parent is for each row the row of the batch that it comes from. Over all that a
	// call emits it never descends. nil: row i comes from row i, and Record has all
	// rows of the batch. In Finish there is no batch and no parent.
	Parent []int32
	// Through says that rows [0, Through) of the batch are finished: whatever became
	// of them was emitted. A retry starts behind them.
	Through int32
	// Failed are the rows that gave no output.
	Failed []RowFailure
}

// InputMemory is a worker that says where its inputs should lie, such as page-locked memory for
// the fields that a device reads. It is asked for each batch of a stage with Reads that takes
// whole records; a batch may come in other memory all the same. The worker books the memory that
// its allocators have ([Env].Book): whoever fills it does not. They are safe for concurrent use,
// and what they gave stays good until it is freed, also when the worker is closed.
type InputMemory interface {
	// InputAllocator gives the allocator for Need.Reads[field]; nil: any.
	InputAllocator(field int) (memory.Allocator, error)
}

// Task is a piece of work that is several stages once its place is known: to classify
// images is to decode, to infer and to choose, and what the decoder writes depends on
// where the model runs.
type Task interface {
	Expand(p Placement) ([]Stage, error)
}

// Placement is where a task is to run.
type Placement struct {
	Device DeviceKind // CUDA where the job has such devices
	Index  int        // the first device of that kind that the job has; each worker is told its own: [Env].Device
}

// String is the place as people name it: "cpu", "cuda:1".
func (p Placement) String() string {
	if p.Device == CPU {
		return p.Device.String()
	}
	return fmt.Sprintf("%s:%d", p.Device, p.Index)
}

// DeviceKind is a kind of device that models run on.
type DeviceKind uint8

const (
	CPU DeviceKind = iota
	CUDA
)

func (k DeviceKind) String() string { return [...]string{"cpu", "cuda"}[k] }

// OutputSchema is the schema of the rows behind a stage with this need: in without
// Drops, with Adds in the place of columns of their name or at the end. It is for
// stages that set Reads; one that does not gives whole rows and knows their schema.
func (n Need) OutputSchema(in *arrow.Schema) *arrow.Schema {
	added := make(map[string]arrow.Field, len(n.Adds))
	for _, f := range n.Adds {
		added[f.Name] = f
	}
	dropped := make(map[string]bool, len(n.Drops))
	for _, name := range n.Drops {
		dropped[name] = true
	}
	var fields []arrow.Field
	for _, f := range in.Fields() {
		if g, ok := added[f.Name]; ok {
			fields = append(fields, g)
			delete(added, f.Name)
		} else if !dropped[f.Name] {
			fields = append(fields, f)
		}
	}
	for _, f := range n.Adds {
		if _, still := added[f.Name]; still {
			fields = append(fields, f)
		}
	}
	meta := in.Metadata()
	return arrow.NewSchema(fields, &meta)
}

// CPUTokens is CPU, or 1 for a stage that runs on the CPU and says nothing.
func (n Need) CPUTokens() float64 {
	if n.CPU == 0 && n.GPU == 0 {
		return 1
	}
	return n.CPU
}

// Calls is InFlight with its default.
func (n Need) Calls() int { return max(n.InFlight, 1) }
