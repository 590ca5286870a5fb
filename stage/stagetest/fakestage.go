package stagetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// FakeStage reads an int64 column and adds another. Its fields are set before it is
// bound. Its workers fail on batches that Need forbids: too many rows, views, too many
// calls at once; so it also watches over whoever runs it.
type FakeStage struct {
	// Name is that of its ID; empty: "fake".
	Name string
	// Column is the column that it reads.
	Column string
	// Output is the column that it adds; empty: Column's name with "_out".
	Output string
	// Map gives the values of Output in the rows that come of a row: one, or as many as
	// Need.Rows allows. An error makes the row fail. nil: the value itself. A null row
	// gives null without Map.
	Map func(x int64) ([]int64, error)
	// Need is the bound stage's, but for Reads and Adds, which Bind sets.
	Need stage.Need
	// Whole has the workers give whole rows: Reads stays nil.
	Whole bool
	// Piece is how many rows of a batch go into an emit; 0: all.
	Piece int
	// OnOpen is called when a worker is opened, with its number, from 1. It may fail,
	// wait or panic.
	OnOpen func(ctx context.Context, worker int) error
	// OnProcess is called at the start of each Process call with its number, from 1,
	// over all workers. It may fail, wait or panic. See [FailOn], [PanicOn], [WaitOn].
	OnProcess func(ctx context.Context, call int, in stage.Batch) error

	opened, closed, calls atomic.Int64
}

// FailOn makes call n of OnProcess fail.
func FailOn(n int, err error) func(context.Context, int, stage.Batch) error {
	return func(_ context.Context, call int, _ stage.Batch) error {
		if call == n {
			return err
		}
		return nil
	}
}

// PanicOn makes call n of OnProcess panic.
func PanicOn(n int) func(context.Context, int, stage.Batch) error {
	return func(_ context.Context, call int, _ stage.Batch) error {
		if call == n {
			panic(fmt.Sprintf("stagetest: call %d panics as asked", n))
		}
		return nil
	}
}

// WaitOn makes the calls of OnProcess from the nth on wait until release is closed or
// the context ends.
func WaitOn(n int, release <-chan struct{}) func(context.Context, int, stage.Batch) error {
	return func(ctx context.Context, call int, _ stage.Batch) error {
		if call < n {
			return nil
		}
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Opened is how many workers were opened so far.
func (f *FakeStage) Opened() int { return int(f.opened.Load()) }

// Closed is how many workers were closed so far.
func (f *FakeStage) Closed() int { return int(f.closed.Load()) }

// Calls is how many Process calls there were so far.
func (f *FakeStage) Calls() int { return int(f.calls.Load()) }

func (f *FakeStage) ID() stage.StageID {
	name := f.Name
	if name == "" {
		name = "fake"
	}
	return stage.StageID{Name: name}
}

func (f *FakeStage) output() arrow.Field {
	name := f.Output
	if name == "" {
		name = f.Column + "_out"
	}
	return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64, Nullable: true}
}

func (f *FakeStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if len(in) != 1 {
		return nil, fmt.Errorf("stagetest: %s has one input, not %d", f.ID().Name, len(in))
	}
	if f.Need.Rows == stage.Collect {
		return nil, errors.New("stagetest: a fake stage does not collect")
	}
	at, err := stage.Column(in[0], f.Column)
	if err != nil {
		return nil, fmt.Errorf("stagetest: %s: %w", f.ID().Name, err)
	}
	if dt := in[0].Field(at).Type; dt.ID() != arrow.INT64 {
		return nil, fmt.Errorf("stagetest: %s: %w", f.ID().Name, &stage.ColumnError{Column: f.Column, Problem: fmt.Sprintf("is %s, not int64", dt)})
	}
	need := f.Need
	adds := need
	adds.Adds = []arrow.Field{f.output()}
	w := fakeWorker{stage: f, in: in[0], whole: adds.OutputSchema(in[0]), column: at}
	schema := w.whole
	if !f.Whole {
		need.Reads, need.Adds = []string{f.Column}, adds.Adds
		w.column, w.whole = 0, nil
	}
	return &stage.Bound{Schema: schema, Need: need, Open: func(ctx context.Context, env stage.Env) (stage.Worker, error) {
		n := int(f.opened.Add(1))
		if f.OnOpen != nil {
			if err := f.OnOpen(ctx, n); err != nil {
				f.closed.Add(1)
				return nil, err
			}
		}
		worker := w
		worker.env, worker.live = env, new(atomic.Int32)
		return &worker, nil
	}}, nil
}

type fakeWorker struct {
	stage  *FakeStage
	env    stage.Env
	column int
	in     *arrow.Schema
	whole  *arrow.Schema // of whole rows; nil: only the added column is given
	live   *atomic.Int32 // calls under way
	closed bool
}

func (w *fakeWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	f := w.stage
	call := int(f.calls.Add(1))
	now := int(w.live.Add(1))
	defer w.live.Add(-1)
	if n := in.NumRows(); f.Need.Batch.MaxRows > 0 && n > f.Need.Batch.MaxRows {
		return fmt.Errorf("stagetest: a batch of %d rows, and MaxRows is %d", n, f.Need.Batch.MaxRows)
	}
	if !f.Need.Views && in.Record() == nil {
		return errors.New("stagetest: a batch of views, which was not asked for")
	}
	if now > f.Need.Calls() {
		return fmt.Errorf("stagetest: %d calls at once, and InFlight is %d", now, f.Need.Calls())
	}
	if f.OnProcess != nil {
		if err := f.OnProcess(ctx, call, in); err != nil {
			return err
		}
	}
	piece := f.Piece
	if piece <= 0 {
		piece = in.NumRows()
	}
	for from := 0; from < in.NumRows(); from += piece {
		if err := ctx.Err(); err != nil {
			return err
		}
		out, err := w.piece(ctx, in, from, min(from+piece, in.NumRows()))
		if err != nil {
			return err
		}
		if err := emit(out); err != nil {
			return fmt.Errorf("stagetest: emit: %w", err)
		}
	}
	return nil
}

// rowsOf is where each row of a batch lies.
func rowsOf(in stage.Batch) []rowAt {
	var all []rowAt
	for _, p := range in.Parts {
		for i := range p.NumRows() {
			all = append(all, rowAt{p.Record, p.Row(i)})
		}
	}
	return all
}

// piece works on rows [from, to) of a batch.
func (w *fakeWorker) piece(ctx context.Context, in stage.Batch, from, to int) (stage.Output, error) {
	out := stage.Output{Through: int32(to), Parent: []int32{}}
	rows := rowsOf(in)
	b := array.NewInt64Builder(heap)
	var taken []rowAt
	for i := from; i < to; i++ {
		values, err := w.values(rows[i])
		if err != nil {
			out.Failed = append(out.Failed, stage.RowFailure{Row: int32(i), Column: w.stage.Column, Kind: stage.BadData, Err: err})
			continue
		}
		for _, v := range values {
			if v == nil {
				b.AppendNull()
			} else {
				b.Append(*v)
			}
			out.Parent = append(out.Parent, int32(i))
			taken = append(taken, rows[i])
		}
	}
	rec, err := w.assemble(taken, b.NewArray())
	if err != nil {
		return out, err
	}
	if err := w.env.Room(ctx, recordBytes(rec)); err != nil {
		return out, err
	}
	out.Record, err = copyInto(w.env, rec)
	return out, err
}

func (w *fakeWorker) values(at rowAt) ([]*int64, error) {
	col := at.rec.Column(w.column).(*array.Int64)
	if col.IsNull(at.row) {
		w.env.Add(stage.NullInputs, 1)
		return []*int64{nil}, nil
	}
	values := []int64{col.Value(at.row)}
	if w.stage.Map != nil {
		var err error
		if values, err = w.stage.Map(values[0]); err != nil {
			return nil, err
		}
	}
	out := make([]*int64, len(values))
	for i := range values {
		out[i] = &values[i]
	}
	return out, nil
}

// assemble makes the record of rows that have these values of the added column.
func (w *fakeWorker) assemble(rows []rowAt, added arrow.Array) (arrow.Record, error) {
	field := w.stage.output()
	if w.whole == nil {
		return array.NewRecord(arrow.NewSchema([]arrow.Field{field}, nil), []arrow.Array{added}, int64(added.Len())), nil
	}
	rec, err := gather(heap, w.in, rows)
	if err != nil {
		return nil, err
	}
	cols := make([]arrow.Array, w.whole.NumFields())
	for i, f := range w.whole.Fields() {
		if f.Name == field.Name {
			cols[i] = added
		} else {
			cols[i] = rec.Column(w.in.FieldIndices(f.Name)[0])
		}
	}
	return array.NewRecord(w.whole, cols, int64(added.Len())), nil
}

func (w *fakeWorker) Finish(ctx context.Context, _ func(stage.Output) error) error { return ctx.Err() }

func (w *fakeWorker) Close() error {
	if !w.closed {
		w.closed = true
		w.stage.closed.Add(1)
	}
	return nil
}
