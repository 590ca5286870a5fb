package pipeline

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// BatchFunc makes a record with as many rows from one. It borrows in, and what it gives
// is its caller's. mem is for what it allocates.
type BatchFunc func(ctx context.Context, in arrow.Record, mem memory.Allocator) (arrow.Record, error)

// simpleWorker is a worker without state: one function per batch.
type simpleWorker func(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error

func (w simpleWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	return w(ctx, in, emit)
}
func (simpleWorker) Finish(context.Context, func(stage.Output) error) error { return nil }
func (simpleWorker) Close() error                                           { return nil }

type funcStage struct {
	name string
	fn   BatchFunc
}

func (s funcStage) ID() stage.StageID { return stage.StageID{Name: s.name} }

func (s funcStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	schema, err := schemaOfNone(in[0], func(none arrow.Record) (arrow.Record, error) {
		return s.fn(context.Background(), none, memory.DefaultAllocator)
	})
	if err != nil {
		return nil, err
	}
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) {
		return simpleWorker(func(ctx context.Context, b stage.Batch, emit func(stage.Output) error) error {
			out, err := s.fn(ctx, b.Record(), env.Allocator(0))
			if err != nil {
				return err
			}
			return emit(stage.Output{Record: out, Through: int32(b.NumRows())})
		}), nil
	}
	return &stage.Bound{Schema: schema, Need: stage.Need{RowWise: true}, Open: open}, nil
}

// schemaOfNone asks a function for its schema, with a batch of no rows.
func schemaOfNone(in *arrow.Schema, fn func(none arrow.Record) (arrow.Record, error)) (schema *arrow.Schema, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the function panicked on a batch of no rows, which it is asked for its schema: %v", p)
		}
	}()
	b := array.NewRecordBuilder(memory.DefaultAllocator, in)
	defer b.Release()
	none := b.NewRecord()
	defer none.Release()
	out, err := fn(none)
	if err != nil {
		return nil, fmt.Errorf("the function failed on a batch of no rows, which it is asked for its schema: %w", err)
	}
	defer out.Release()
	return out.Schema(), nil
}

type filterStage struct{ e expr.Expr }

func (s filterStage) ID() stage.StageID {
	return stage.StageID{Name: "filter", Settings: jsonString(s.e.String())}
}

func (s filterStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	reads, bound, err := bindExpr(in[0], s.e)
	if err != nil {
		return nil, err
	}
	if bound.Type().ID() != arrow.BOOL {
		return nil, fmt.Errorf("the filter %s gives %s, not bool", s.e, bound.Type())
	}
	need := stage.Need{Reads: reads, Rows: stage.Subset, RowWise: true, Retryable: true, Deterministic: true}
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) {
		none := arrow.NewSchema(nil, nil)
		return simpleWorker(func(ctx context.Context, b stage.Batch, emit func(stage.Output) error) error {
			kept, err := bound.Mask(ctx, b.Record(), env.Allocator(0))
			if err != nil {
				return err
			}
			n := b.NumRows()
			out := stage.Output{Parent: kept, Through: int32(n)}
			if kept != nil {
				n = len(kept)
			}
			out.Record = array.NewRecord(none, nil, int64(n))
			return emit(out)
		}), nil
	}
	return &stage.Bound{Schema: need.OutputSchema(in[0]), Need: need, Open: open}, nil
}

// bindExpr binds an expression to the columns that it reads, in the order in which the
// worker gets them.
func bindExpr(in *arrow.Schema, e expr.Expr) ([]string, *expr.Bound, error) {
	if _, err := expr.Bind(e, in); err != nil {
		return nil, nil, err
	}
	reads := append([]string{}, expr.Columns(e)...)
	cols, err := selectColumns(in, reads)
	if err != nil {
		return nil, nil, err
	}
	bound, err := expr.Bind(e, projectedSchema(in, cols))
	return reads, bound, err
}

type columnStage struct {
	name string
	e    expr.Expr
}

func (s columnStage) ID() stage.StageID {
	return stage.StageID{Name: "with_column", Settings: jsonString(s.name + " = " + s.e.String())}
}

func (s columnStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	reads, bound, err := bindExpr(in[0], s.e)
	if err != nil {
		return nil, err
	}
	field := arrow.Field{Name: s.name, Type: bound.Type(), Nullable: true}
	need := stage.Need{Reads: reads, Adds: []arrow.Field{field}, RowWise: true, Retryable: true, Deterministic: true}
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) {
		schema := arrow.NewSchema(need.Adds, nil)
		return simpleWorker(func(ctx context.Context, b stage.Batch, emit func(stage.Output) error) error {
			arr, err := bound.Eval(ctx, b.Record(), env.Allocator(0))
			if err != nil {
				return err
			}
			defer arr.Release()
			return emit(stage.Output{Record: array.NewRecord(schema, []arrow.Array{arr}, int64(arr.Len())), Through: int32(arr.Len())})
		}), nil
	}
	return &stage.Bound{Schema: need.OutputSchema(in[0]), Need: need, Open: open}, nil
}

// sourceStage writes out what the Origin of each row says.
type sourceStage struct{ file, row string }

func (s sourceStage) ID() stage.StageID {
	return stage.StageID{Name: "source_columns", Settings: jsonString(s.file + "," + s.row)}
}

func (s sourceStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	for _, name := range []string{s.file, s.row} {
		if len(in[0].FieldIndices(name)) > 0 {
			return nil, fmt.Errorf("the source column %q would take the place of a column of the input: rename that first", name)
		}
	}
	need := stage.Need{
		Reads: []string{},
		Adds: []arrow.Field{
			{Name: s.file, Type: arrow.BinaryTypes.String, Nullable: true},
			{Name: s.row, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		},
		RowWise: true, Retryable: true, Deterministic: true,
	}
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) {
		schema := arrow.NewSchema(need.Adds, nil)
		return simpleWorker(func(_ context.Context, b stage.Batch, emit func(stage.Output) error) error {
			return emit(stage.Output{Record: sourceRecord(schema, b.Origin(), env.Allocator(0)), Through: int32(b.NumRows())})
		}), nil
	}
	return &stage.Bound{Schema: need.OutputSchema(in[0]), Need: need, Open: open}, nil
}

func sourceRecord(schema *arrow.Schema, origin stage.Origin, mem memory.Allocator) arrow.Record {
	rb := array.NewRecordBuilder(mem, schema)
	defer rb.Release()
	rb.Reserve(origin.Len())
	file, row := rb.Field(0).(*array.StringBuilder), rb.Field(1).(*array.Int64Builder)
	for _, id := range origin.All() {
		if id.Split == nil || id.Split.Path == "" {
			file.AppendNull()
		} else {
			file.Append(id.Split.Path)
		}
		if r := id.FileRow(); r < 0 {
			row.AppendNull()
		} else {
			row.Append(r)
		}
	}
	return rb.NewRecord()
}
