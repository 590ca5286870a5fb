package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/batcher"
	"github.com/penstock-data/penstock/stage"
)

// Collect brings the rows that the last flat-map made of one row together again. The columns
// that are named become lists, with an item for each of them; of the others the first one's
// value stays. It needs the rows in their order: not with Config.Unordered.
func (d *Dataset) Collect(columns ...string) *Dataset {
	return d.Apply(collectStage{columns}, StageConfig{})
}

// cutter cuts an operator's input into batches.
type cutter interface {
	push(b *block, in batcher.Block) []batcher.Batch
	flush() []batcher.Batch
}

// cutterOf is the cutter that a stage asks for; nil: it takes blocks as they come. memory is the
// limit of the job: what it leaves for blocks differs from run to run, and windows must not.
func cutterOf(need stage.Need, memory int64) cutter {
	p := need.Batch
	switch {
	case need.Rows == stage.Collect:
		return &parentCutter{}
	case p.MaxRows > 0 || p.MaxBytes > 0 || p.MaxCost > 0:
		if !packs(need) {
			p.LookAheadRows = 0 // rows stay in the order of arrival
			p.MaxBytes = cmp.Or(p.MaxBytes, batchBytes)
		}
		b, _ := batcher.NewBounded(p, min(batcher.WindowBytes, max(memory/windowShare, 1))) // checked when the plan was bound
		return policyCutter{b}
	}
	return nil
}

type policyCutter struct{ b *batcher.Batcher }

func (c policyCutter) push(_ *block, in batcher.Block) []batcher.Batch { return c.b.Push(in) }
func (c policyCutter) flush() []batcher.Batch                          { return c.b.Flush() }

// parentCutter cuts between the children of different rows, and nowhere else.
type parentCutter struct {
	held []batcher.Pick
	last stage.RowID // a child of the row whose children are held
}

func (c *parentCutter) push(b *block, in batcher.Block) []batcher.Batch {
	origin := b.batch.Origin()
	joins := len(c.held) > 0 && origin.At(0).SameParent(c.last)
	cut := int32(0) // where the children of the last row begin
	for i, id := range origin.All() {
		if i > 0 && !id.SameParent(c.last) {
			cut = int32(i)
		}
		c.last = id
	}
	ready := c.held
	tail := batcher.Pick{Block: in.ID, From: cut, To: int32(in.Rows)}
	switch {
	case cut == 0 && joins:
		c.held = append(c.held, tail)
		return nil
	case cut > 0:
		ready = append(ready, batcher.Pick{Block: in.ID, To: cut})
	}
	c.held = []batcher.Pick{tail}
	if len(ready) == 0 {
		return nil
	}
	return []batcher.Batch{{Picks: ready}}
}

func (c *parentCutter) flush() []batcher.Batch {
	if len(c.held) == 0 {
		return nil
	}
	out := []batcher.Batch{{Picks: c.held}}
	c.held = nil
	return out
}

type collectStage struct{ columns []string }

func (s collectStage) ID() stage.StageID {
	return stage.StageID{Name: "collect", Settings: jsonString(fmt.Sprintf("%q", s.columns))}
}

func (s collectStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	var errs []error
	for _, c := range s.columns {
		_, err := stage.Column(in[0], c)
		errs = append(errs, err)
	}
	fields := in[0].Fields()
	for i, f := range fields {
		if slices.Contains(s.columns, f.Name) {
			fields[i] = arrow.Field{Name: f.Name, Type: arrow.ListOfField(arrow.Field{Name: "item", Type: f.Type, Nullable: f.Nullable})}
		}
	}
	meta := in[0].Metadata()
	schema := arrow.NewSchema(fields, &meta)
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) {
		return simpleWorker(func(ctx context.Context, b stage.Batch, emit func(stage.Output) error) error {
			first := firstChildren(b.Origin())
			rec, err := s.collect(ctx, b.Record(), schema, first, env.Allocator(0))
			if err != nil {
				return err
			}
			return emit(stage.Output{Record: rec, Parent: first, Through: int32(b.NumRows())})
		}), nil
	}
	need := stage.Need{Rows: stage.Collect, Retryable: true, Deterministic: true}
	return &stage.Bound{Schema: schema, Need: need, Open: open}, errors.Join(errs...)
}

// firstChildren is the rows at which the children of another row begin.
func firstChildren(origin stage.Origin) []int32 {
	out := []int32{}
	var last stage.RowID
	for i, id := range origin.All() {
		if i == 0 || !id.SameParent(last) {
			out = append(out, int32(i))
		}
		last = id
	}
	return out
}

func (s collectStage) collect(ctx context.Context, rec arrow.Record, schema *arrow.Schema, first []int32, mem memory.Allocator) (arrow.Record, error) {
	cols := make([]arrow.Array, rec.NumCols())
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, col := range rec.Columns() {
		if slices.Contains(s.columns, rec.ColumnName(i)) {
			cols[i] = listOf(schema.Field(i).Type, col, first, mem)
			continue
		}
		var err error
		if cols[i], err = takeRows(col, first, mem); err != nil {
			return nil, err
		}
	}
	return array.NewRecord(schema, cols, int64(len(first))), nil
}

// listOf makes a list column over values, which are not copied: list i begins at first[i].
func listOf(dt arrow.DataType, values arrow.Array, first []int32, mem memory.Allocator) arrow.Array {
	offsets := memory.NewResizableBuffer(mem)
	defer offsets.Release()
	offsets.Resize(arrow.Int32Traits.BytesRequired(len(first) + 1))
	at := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	copy(at, first)
	at[len(first)] = int32(values.Len())
	data := array.NewData(dt, len(first), []*memory.Buffer{nil, offsets}, []arrow.ArrayData{values.Data()}, 0, 0)
	defer data.Release()
	return array.NewListData(data)
}
