package infer

import (
	"context"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// embedHead writes vectors into columns as they are: the n-th vector of a text into the n-th.
type embedHead []vectorColumn

// vectorColumn is a column of vectors.
type vectorColumn struct {
	name      string
	dim       int // of the column
	full      int // of the model's vectors
	normalize bool
}

func (h embedHead) fields() []arrow.Field {
	var out []arrow.Field
	for _, c := range h {
		out = append(out, c.field())
	}
	return out
}

func (c *vectorColumn) field() arrow.Field {
	return arrow.Field{Name: c.name, Nullable: true, Type: arrow.FixedSizeListOf(int32(c.dim), arrow.PrimitiveTypes.Float32)}
}

// settings are those of the stage's identity.
func (h embedHead) settings() (out []map[string]any) {
	for _, c := range h {
		out = append(out, map[string]any{"output": c.name, "normalize": c.normalize, "dimensions": c.dim})
	}
	return out
}

func (h embedHead) prepare(context.Context, *caller) error { return nil }

func (h embedHead) begin(env stage.Env, n int) (columns, error) {
	out := &embedColumns{n: n}
	for i := range h {
		out.columns = append(out.columns, h[i].begin(env.Allocator(i), n))
	}
	return out, nil
}

func (c *vectorColumn) begin(mem memory.Allocator, n int) *vectorValues {
	v := &vectorValues{n: n, values: memory.NewResizableBuffer(mem), mem: mem}
	v.values.Resize(n * c.dim * arrow.Float32SizeBytes)
	v.vectorRoom = newVectorRoom(*c, unsafe.Slice((*float32)(unsafe.Pointer(&v.values.Bytes()[0])), n*c.dim))
	return v
}

// embedColumns are the columns of a batch.
type embedColumns struct {
	n       int
	columns []*vectorValues
}

func (e *embedColumns) at(i int32) []float32 { return e.columns[0].at(i) }

func (e *embedColumns) done(i int32) { e.columns[0].done(i) }

func (e *embedColumns) more(i int) vectors { return e.columns[i] }

func (e *embedColumns) null(i int32) {
	for _, c := range e.columns {
		c.null(i)
	}
}

func (e *embedColumns) record() arrow.Record {
	defer e.drop()
	var fields []arrow.Field
	var arrays []arrow.Array
	for _, c := range e.columns {
		col := c.array()
		defer col.Release()
		fields, arrays = append(fields, c.column.field()), append(arrays, col)
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), arrays, int64(e.n))
}

func (e *embedColumns) drop() {
	for _, c := range e.columns {
		c.drop()
	}
}

// vectorRoom is where the vectors of a column are written, one behind the other.
type vectorRoom struct {
	column vectorColumn
	floats []float32
	whole  []float32 // a vector that is to be cut; nil: none is
}

func newVectorRoom(c vectorColumn, floats []float32) vectorRoom {
	r := vectorRoom{column: c, floats: floats}
	if c.dim < c.full {
		r.whole = make([]float32, c.full)
	}
	return r
}

func (r *vectorRoom) of(row int32) []float32 {
	from, to := int(row)*r.column.dim, (int(row)+1)*r.column.dim
	return r.floats[from:to:to]
}

func (r *vectorRoom) at(i int32) []float32 {
	if r.whole != nil {
		return r.whole
	}
	return r.of(i)
}

func (r *vectorRoom) done(i int32) {
	v := r.of(i)
	if r.whole != nil {
		copy(v, r.whole)
	}
	if r.column.normalize {
		normalize(v)
	}
}

// vectorValues is one fixed-size-list column, its values written in place.
type vectorValues struct {
	vectorRoom
	n      int
	nulls  int
	mem    memory.Allocator
	values *memory.Buffer
	valid  *memory.Buffer // nil while no row is null
}

func (c *vectorValues) null(i int32) {
	if c.valid == nil {
		c.valid = allValid(c.mem, c.n)
	}
	bitutil.ClearBit(c.valid.Bytes(), int(i))
	clear(c.of(i))
	c.nulls++
}

func (c *vectorValues) array() arrow.Array {
	values := array.NewData(arrow.PrimitiveTypes.Float32, c.n*c.column.dim, []*memory.Buffer{nil, c.values}, nil, 0, 0)
	defer values.Release()
	data := array.NewData(c.column.field().Type, c.n, []*memory.Buffer{c.valid}, []arrow.ArrayData{values}, c.nulls, 0)
	defer data.Release()
	return array.NewFixedSizeListData(data)
}

func (c *vectorValues) drop() {
	c.values.Release()
	if c.valid != nil {
		c.valid.Release()
	}
}

// allValid is a validity bitmap of n set bits.
func allValid(mem memory.Allocator, n int) *memory.Buffer {
	b := memory.NewResizableBuffer(mem)
	b.Resize(int(bitutil.BytesForBits(int64(n))))
	clear(b.Bytes())
	bitutil.SetBitsTo(b.Bytes(), 0, int64(n), true)
	return b
}
