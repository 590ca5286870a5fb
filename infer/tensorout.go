package infer

import (
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/float16"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// tensorOutput is an output of a model and the column that it becomes: a number a row, or
// lists of them, one inside the other for each dimension, of fixed size where the size is
// known before the model runs. float16 becomes float32.
type tensorOutput struct {
	TensorInfo
	column string
	dims   []int64 // of a row; -1: known when the model has run
}

// columnType is that of the column.
func (o *tensorOutput) columnType() arrow.DataType {
	t := leafType(o.Type)
	for i := len(o.dims) - 1; i >= 0; i-- {
		if o.dims[i] >= 0 {
			t = arrow.FixedSizeListOf(int32(o.dims[i]), t)
		} else {
			t = arrow.ListOf(t)
		}
	}
	return t
}

// size is how many numbers a row has; -1: that is not known.
func (o *tensorOutput) size() int {
	n := 1
	for _, d := range o.dims {
		if d < 0 {
			return -1
		}
		n *= int(d)
	}
	return n
}

// check says why what a run of n rows gave cannot be the column.
func (o *tensorOutput) check(n int, shape []int64, bytes int) error {
	name := names([]TensorInfo{o.TensorInfo})
	if len(shape) != len(o.dims)+1 || shape[0] != int64(n) {
		return fmt.Errorf("infer: output %s has the shape %v for %d rows: it has no row for each row that goes in", name, shape, n)
	}
	want := o.Type.size()
	for _, d := range shape {
		want *= int(d)
	}
	for d, size := range o.dims {
		if size >= 0 && size != shape[d+1] {
			return fmt.Errorf("infer: output %s has the shape %v", name, shape)
		}
	}
	if bytes != want {
		return fmt.Errorf("infer: output %s has %d bytes, not %d", name, bytes, want)
	}
	return nil
}

func leafType(t ElementType) arrow.DataType {
	switch t {
	case Int8:
		return arrow.PrimitiveTypes.Int8
	case Int16:
		return arrow.PrimitiveTypes.Int16
	case Int32:
		return arrow.PrimitiveTypes.Int32
	case Int64:
		return arrow.PrimitiveTypes.Int64
	case Uint8:
		return arrow.PrimitiveTypes.Uint8
	case Uint16:
		return arrow.PrimitiveTypes.Uint16
	case Uint32:
		return arrow.PrimitiveTypes.Uint32
	case Uint64:
		return arrow.PrimitiveTypes.Uint64
	case Float64:
		return arrow.PrimitiveTypes.Float64
	case Bool:
		return arrow.FixedWidthTypes.Boolean
	}
	return arrow.PrimitiveTypes.Float32
}

// tensorColumn is the column of an output under way.
type tensorColumn struct {
	out     *tensorOutput
	mem     memory.Allocator
	leaf    *memory.Buffer // numbers; bools are a byte each
	count   int            // of them
	offsets [][]int32      // of the dimensions whose size was not known
	valid   []bool
}

func newTensorColumn(out *tensorOutput, mem memory.Allocator) *tensorColumn {
	c := &tensorColumn{out: out, mem: mem, leaf: memory.NewResizableBuffer(mem), offsets: make([][]int32, len(out.dims))}
	for i, d := range out.dims {
		if d < 0 {
			c.offsets[i] = []int32{0}
		}
	}
	return c
}

// width is the bytes of a number in the column.
func (c *tensorColumn) width() int {
	if c.out.Type == Float16 {
		return 4
	}
	return c.out.Type.size()
}

// add appends rows that have one shape each, of which data has the numbers.
func (c *tensorColumn) add(rows int, dims []int64, data []byte) error {
	n, err := c.extend(rows, dims)
	if err != nil || n == 0 {
		return err
	}
	to := c.leaf.Bytes()[(c.count-n)*c.width():]
	if c.out.Type != Float16 {
		copy(to, data[:len(to)])
		return nil
	}
	for i, h := range cells[float16.Num](data)[:n] {
		cells[float32](to)[i] = h.Float32()
	}
	return nil
}

// null appends a null. Lists of fixed size have numbers all the same: zeros.
func (c *tensorColumn) null() error {
	dims := make([]int64, len(c.out.dims))
	for i, d := range c.out.dims {
		dims[i] = max(d, 0)
	}
	n, err := c.extend(1, dims)
	if err == nil {
		clear(c.leaf.Bytes()[(c.count-n)*c.width():])
		c.valid[len(c.valid)-1] = false
	}
	return err
}

// extend makes room for the numbers of so many rows, and says how many that are.
func (c *tensorColumn) extend(rows int, dims []int64) (n int, err error) {
	n = rows
	for i, d := range dims {
		if ends := c.offsets[i]; ends != nil {
			if int64(ends[len(ends)-1])+int64(n)*d > math.MaxInt32 {
				return 0, fmt.Errorf("infer: output %q: a batch has over 2^31 numbers: make it smaller", c.out.Name)
			}
			for range n {
				ends = append(ends, ends[len(ends)-1]+int32(d))
			}
			c.offsets[i] = ends
		}
		n *= int(d)
	}
	c.leaf.Resize((c.count + n) * c.width())
	c.count += n
	for range rows {
		c.valid = append(c.valid, true)
	}
	return n, nil
}

// array makes the column. The caller releases it.
func (c *tensorColumn) array() arrow.Array {
	data := c.leafData()
	t := data.DataType()
	for i := len(c.out.dims) - 1; i >= 0; i-- {
		nulls, bits := 0, (*memory.Buffer)(nil)
		n := c.lists(i)
		if i == 0 {
			bits, nulls = c.validity()
		}
		inner := data
		if c.offsets[i] == nil {
			t = arrow.FixedSizeListOf(int32(c.out.dims[i]), t)
			data = array.NewData(t, n, []*memory.Buffer{bits}, []arrow.ArrayData{inner}, nulls, 0)
		} else {
			t = arrow.ListOf(t)
			ends := memory.NewResizableBuffer(c.mem)
			ends.Resize(len(c.offsets[i]) * arrow.Int32SizeBytes)
			copy(cells[int32](ends.Bytes()), c.offsets[i])
			data = array.NewData(t, n, []*memory.Buffer{bits, ends}, []arrow.ArrayData{inner}, nulls, 0)
			ends.Release()
		}
		inner.Release()
		if bits != nil {
			bits.Release()
		}
	}
	defer data.Release()
	return array.MakeFromData(data)
}

// lists is how many lists there are of a dimension.
func (c *tensorColumn) lists(dim int) int {
	if ends := c.offsets[dim]; ends != nil {
		return len(ends) - 1
	}
	n := len(c.valid)
	for i := range dim {
		if ends := c.offsets[i]; ends != nil {
			n = int(ends[len(ends)-1])
		} else {
			n *= int(c.out.dims[i])
		}
	}
	return n
}

func (c *tensorColumn) validity() (*memory.Buffer, int) {
	nulls := 0
	for _, v := range c.valid {
		if !v {
			nulls++
		}
	}
	if nulls == 0 {
		return nil, 0
	}
	bits := allValid(c.mem, len(c.valid))
	for i, v := range c.valid {
		bitutil.SetBitTo(bits.Bytes(), i, v)
	}
	return bits, nulls
}

// leafData are the numbers, as the column has them.
func (c *tensorColumn) leafData() arrow.ArrayData {
	values := c.leaf
	if c.out.Type == Bool {
		values = memory.NewResizableBuffer(c.mem)
		defer values.Release()
		values.Resize(int(bitutil.BytesForBits(int64(c.count))))
		clear(values.Bytes())
		for i, b := range c.leaf.Bytes()[:c.count] {
			bitutil.SetBitTo(values.Bytes(), i, b != 0)
		}
	}
	bits, nulls := (*memory.Buffer)(nil), 0
	if len(c.out.dims) == 0 {
		if bits, nulls = c.validity(); bits != nil {
			defer bits.Release()
		}
	}
	return array.NewData(leafType(c.out.Type), c.count, []*memory.Buffer{bits, values}, nil, nulls, 0)
}

func (c *tensorColumn) drop() { c.leaf.Release() }
