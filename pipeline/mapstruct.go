package pipeline

import (
	"context"
	"fmt"
	"iter"
	"reflect"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// Map runs fn over every row, as Go structs: see [Rows] for how a struct stands for a row. The
// columns of Out take the place of all others. An error is one of its row. fn runs in several
// goroutines at once.
func Map[In, Out any](d *Dataset, name string, fn func(ctx context.Context, in In) (Out, error), cfg StageConfig) *Dataset {
	each := func(ctx context.Context, in In, emit func(Out)) error {
		out, err := fn(ctx, in)
		if err == nil {
			emit(out)
		}
		return err
	}
	return d.Apply(structStage[In, Out]{name, each, stage.OneToOne}, cfg)
}

// FlatMap runs fn over every row, as Go structs, and gives every row that it emits.
func FlatMap[In, Out any](d *Dataset, name string, fn func(ctx context.Context, in In, emit func(Out)) error, cfg StageConfig) *Dataset {
	return d.Apply(structStage[In, Out]{name, fn, stage.Many}, cfg)
}

// Rows runs the plan and gives its rows, in order, as Go structs. Each exported field of T
// stands for the column that its tag names (`arrow:"text"`), or that has its name in lower
// case; `arrow:"-"` is none. Fields are bool, integers, floats, string, []byte, time.Time,
// slices of these for lists, and pointers to these where the column may be null.
func Rows[T any](ctx context.Context, d *Dataset, cfg Config) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		var s *scanner
		for rec, err := range d.Batches(ctx, cfg) {
			if err == nil && s == nil {
				if s, err = newScanner(reflect.TypeFor[T](), rec.Schema()); err != nil {
					err = fmt.Errorf("pipeline: rows: %w", err)
				}
			}
			if err != nil {
				yield(zero, err)
				return
			}
			cols := s.pick(rec)
			for i := range int(rec.NumRows()) {
				var row T
				err := s.scan(reflect.ValueOf(&row).Elem(), cols, i)
				if !yield(row, err) || err != nil {
					return
				}
			}
		}
	}
}

// pick is the columns of the fields in rec.
func (s *scanner) pick(rec arrow.Record) []arrow.Array {
	cols := make([]arrow.Array, len(s.fields))
	for k, f := range s.fields {
		cols[k] = rec.Column(rec.Schema().FieldIndices(f.name)[0])
	}
	return cols
}

// structStage calls a function for every row.
type structStage[In, Out any] struct {
	name string
	fn   func(ctx context.Context, in In, emit func(Out)) error
	rows stage.Cardinality
}

func (s structStage[In, Out]) ID() stage.StageID { return stage.StageID{Name: s.name} }

func (s structStage[In, Out]) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	scan, err := newScanner(reflect.TypeFor[In](), in[0])
	if err != nil {
		return nil, err
	}
	fields, err := structFields(reflect.TypeFor[Out]())
	if err != nil {
		return nil, err
	}
	schema := structSchema(fields)
	need := stage.Need{Reads: append([]string{}, scan.columns()...), Adds: schema.Fields(), Rows: s.rows, RowWise: true}
	for _, f := range in[0].Fields() {
		if len(schema.FieldIndices(f.Name)) == 0 {
			need.Drops = append(need.Drops, f.Name)
		}
	}
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) {
		return simpleWorker(func(ctx context.Context, b stage.Batch, emit func(stage.Output) error) error {
			out, err := s.batch(ctx, b, scan, fields, array.NewRecordBuilder(env.Allocator(0), schema))
			if err != nil {
				return err
			}
			return emit(out)
		}), nil
	}
	return &stage.Bound{Schema: need.OutputSchema(in[0]), Need: need, Open: open}, nil
}

// batch runs the function over a batch, and releases rb. A row whose function fails is a failed
// row; one that panics fails the batch, which is then bisected.
func (s structStage[In, Out]) batch(ctx context.Context, b stage.Batch, scan *scanner, fields []structField, rb *array.RecordBuilder) (stage.Output, error) {
	defer rb.Release()
	cols := b.Record().Columns()
	out := stage.Output{Parent: []int32{}, Through: int32(b.NumRows())}
	for i := range b.NumRows() {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		var in In
		var rows []Out
		err := scan.scan(reflect.ValueOf(&in).Elem(), cols, i)
		if err == nil {
			err = s.fn(ctx, in, func(o Out) { rows = append(rows, o) })
		}
		if err != nil {
			out.Failed = append(out.Failed, stage.RowFailure{Row: int32(i), Err: err})
			continue
		}
		for k := range rows {
			if err := appendStruct(rb, fields, reflect.ValueOf(&rows[k]).Elem()); err != nil {
				return out, err
			}
			out.Parent = append(out.Parent, int32(i))
		}
	}
	out.Record = rb.NewRecord()
	return out, nil
}
