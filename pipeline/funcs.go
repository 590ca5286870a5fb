package pipeline

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// FlatMapFunc makes any number of rows of each row of in. parent names for each row that comes
// out the row of in that it comes from; it never descends. in is borrowed, and what it gives
// is its caller's.
type FlatMapFunc func(ctx context.Context, in arrow.Record, mem memory.Allocator) (out arrow.Record, parent []int32, err error)

// KeepFunc says for each row of in, which it borrows, whether it is kept.
type KeepFunc func(ctx context.Context, in arrow.Record) ([]bool, error)

// BatchWorker is a worker of a pool of actors: it may hold a model, a connection or memory.
type BatchWorker interface {
	// Process makes a record with as many rows from one. It borrows in, and what it gives
	// is its caller's.
	Process(ctx context.Context, in arrow.Record, mem memory.Allocator) (arrow.Record, error)
	Close() error
}

// FlatMap runs fn over batches. Its schema is what it gives for a batch of no rows, with which
// it is called when the plan is checked. The columns of the result take the place of all others.
func (d *Dataset) FlatMap(name string, fn FlatMapFunc, cfg StageConfig) *Dataset {
	return d.Apply(flatMapStage{name, fn}, cfg)
}

// FilterFunc keeps the rows for which fn says so.
func (d *Dataset) FilterFunc(name string, fn KeepFunc, cfg StageConfig) *Dataset {
	return d.Apply(keepStage{name, fn}, cfg)
}

// MapActors runs batches through a pool of workers, each opened once: cfg.Actors of them, all
// at once. out is the schema of what they give, which takes the place of all columns.
func (d *Dataset) MapActors(name string, out *arrow.Schema, open func(ctx context.Context) (BatchWorker, error), cfg StageConfig) *Dataset {
	return d.Apply(actorStage{name, out, open}, cfg)
}

// Repartition cuts the rows into blocks of this many rows, or of this many bytes where rows is
// 0, as they stream by. The last block of a group may be smaller.
func (d *Dataset) Repartition(rows int, bytes int64) *Dataset {
	return d.Apply(repartitionStage{rows, bytes}, StageConfig{})
}

type flatMapStage struct {
	name string
	fn   FlatMapFunc
}

func (s flatMapStage) ID() stage.StageID { return stage.StageID{Name: s.name} }

func (s flatMapStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	schema, err := schemaOfNone(in[0], func(none arrow.Record) (arrow.Record, error) {
		out, _, err := s.fn(context.Background(), none, memory.DefaultAllocator)
		return out, err
	})
	if err != nil {
		return nil, err
	}
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) {
		return simpleWorker(func(ctx context.Context, b stage.Batch, emit func(stage.Output) error) error {
			out, parent, err := s.fn(ctx, b.Record(), env.Allocator(0))
			if err != nil {
				return err
			}
			if parent == nil {
				parent = []int32{}
			}
			return emit(stage.Output{Record: out, Parent: parent, Through: int32(b.NumRows())})
		}), nil
	}
	return &stage.Bound{Schema: schema, Need: stage.Need{Rows: stage.Many, RowWise: true}, Open: open}, nil
}

type keepStage struct {
	name string
	fn   KeepFunc
}

func (s keepStage) ID() stage.StageID { return stage.StageID{Name: s.name} }

// Bind has the stage read every column, since a function may look at any, and give whole rows.
func (s keepStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) {
		return simpleWorker(func(ctx context.Context, b stage.Batch, emit func(stage.Output) error) error {
			keep, err := s.fn(ctx, b.Record())
			if err != nil {
				return err
			}
			if len(keep) != b.NumRows() {
				return fmt.Errorf("the function says of %d rows whether they are kept, and was given %d", len(keep), b.NumRows())
			}
			return emitKept(ctx, b, keep, env, emit)
		}), nil
	}
	return &stage.Bound{Schema: in[0], Need: stage.Need{Rows: stage.Subset, RowWise: true}, Open: open}, nil
}

func emitKept(ctx context.Context, b stage.Batch, keep []bool, env stage.Env, emit func(stage.Output) error) error {
	rows := []int32{}
	for i, k := range keep {
		if k {
			rows = append(rows, int32(i))
		}
	}
	out, err := takeRecord(b.Record(), rows, env.Allocator(0))
	if err != nil {
		return err
	}
	return emit(stage.Output{Record: out, Parent: rows, Through: int32(b.NumRows())})
}

// takeRecord picks rows of a record by index.
func takeRecord(rec arrow.Record, rows []int32, mem memory.Allocator) (arrow.Record, error) {
	cols := make([]arrow.Array, rec.NumCols())
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, col := range rec.Columns() {
		var err error
		if cols[i], err = takeRows(col, rows, mem); err != nil {
			return nil, fmt.Errorf("column %q: %w", rec.ColumnName(i), err)
		}
	}
	return array.NewRecord(rec.Schema(), cols, int64(len(rows))), nil
}

type actorStage struct {
	name string
	out  *arrow.Schema
	open func(ctx context.Context) (BatchWorker, error)
}

func (s actorStage) ID() stage.StageID { return stage.StageID{Name: s.name} }

func (s actorStage) Bind([]*arrow.Schema) (*stage.Bound, error) {
	open := func(ctx context.Context, env stage.Env) (stage.Worker, error) {
		w, err := s.open(ctx)
		if err != nil {
			return nil, err
		}
		return &actorWorker{w, env}, nil
	}
	return &stage.Bound{Schema: s.out, Need: stage.Need{RowWise: true, Workers: stage.Pool{Min: 1, Max: 1}}, Open: open}, nil
}

type actorWorker struct {
	w   BatchWorker
	env stage.Env
}

func (a *actorWorker) Process(ctx context.Context, b stage.Batch, emit func(stage.Output) error) error {
	out, err := a.w.Process(ctx, b.Record(), a.env.Allocator(0))
	if err != nil {
		return err
	}
	return emit(stage.Output{Record: out, Through: int32(b.NumRows())})
}

func (a *actorWorker) Finish(context.Context, func(stage.Output) error) error { return nil }
func (a *actorWorker) Close() error                                           { return a.w.Close() }

type repartitionStage struct {
	rows  int
	bytes int64
}

func (s repartitionStage) ID() stage.StageID {
	return stage.StageID{Name: "repartition", Settings: jsonString(fmt.Sprint(s.rows, " ", s.bytes))}
}

func (s repartitionStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if s.rows <= 0 && s.bytes <= 0 || s.rows < 0 || s.bytes < 0 {
		return nil, fmt.Errorf("blocks of %d rows or %d bytes: say how large they should be", s.rows, s.bytes)
	}
	need := stage.Need{RowWise: true, Retryable: true, Deterministic: true, Batch: stage.Policy{MaxRows: s.rows, MaxBytes: s.bytes}}
	open := func(context.Context, stage.Env) (stage.Worker, error) {
		return simpleWorker(func(_ context.Context, b stage.Batch, emit func(stage.Output) error) error {
			b.Record().Retain()
			return emit(stage.Output{Record: b.Record(), Through: int32(b.NumRows())})
		}), nil
	}
	return &stage.Bound{Schema: in[0], Need: need, Open: open}, nil
}
