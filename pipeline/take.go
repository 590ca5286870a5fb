package pipeline

import (
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// takeRows picks rows of a column by index. It is our own because arrow's kernel knows neither
// dictionaries nor maps, and allocates on a goroutine of its own.
func takeRows(col arrow.Array, rows []int32, mem memory.Allocator) (arrow.Array, error) {
	data, err := takeData(col.Data(), rows, mem)
	if err != nil {
		return nil, err
	}
	defer data.Release()
	return array.MakeFromData(data), nil
}

// errTooLong is a column whose offsets would pass 31 bits.
var errTooLong = fmt.Errorf("more than %d values or bytes in one block of a column with 32-bit offsets", math.MaxInt32)

// takeData is takeRows on what an array is made of: rows count from the array's own offset.
func takeData(d arrow.ArrayData, rows []int32, mem memory.Allocator) (arrow.ArrayData, error) {
	t := taker{d: d, rows: rows, mem: mem}
	defer t.release()
	t.validity()
	dt := d.DataType()
	if ext, ok := dt.(arrow.ExtensionType); ok {
		dt = ext.StorageType()
	}
	var err error
	switch dt := dt.(type) {
	case *arrow.NullType:
		t.buffers = t.buffers[:1]
		return array.NewData(d.DataType(), len(rows), t.buffers, nil, len(rows), 0), nil
	case *arrow.BooleanType:
		t.bits()
	case *arrow.StringType, *arrow.BinaryType:
		err = t.binary32()
	case *arrow.LargeStringType, *arrow.LargeBinaryType:
		t.binary64()
	case *arrow.ListType, *arrow.MapType:
		err = t.list(offsets32(d))
	case *arrow.LargeListType:
		err = t.largeList(offsets64(d))
	case *arrow.FixedSizeListType:
		err = t.fixedList(int(dt.Len()))
	case *arrow.StructType:
		err = t.children(t.absolute())
	case *arrow.DictionaryType:
		t.fixed(dt.IndexType.(arrow.FixedWidthDataType).BitWidth() / 8)
		return array.NewDataWithDictionary(d.DataType(), len(rows), t.buffers, t.nulls, 0, d.Dictionary().(*array.Data)), nil
	case arrow.FixedWidthDataType:
		t.fixed(dt.BitWidth() / 8)
	default:
		err = fmt.Errorf("rows of a %s column cannot be picked", dt)
	}
	if err != nil {
		return nil, err
	}
	return array.NewData(d.DataType(), len(rows), t.buffers, t.kids, t.nulls, 0), nil
}

// taker makes the buffers of the picked rows. array.NewData takes references of its own.
type taker struct {
	d       arrow.ArrayData
	rows    []int32
	mem     memory.Allocator
	buffers []*memory.Buffer
	kids    []arrow.ArrayData
	nulls   int
}

func (t *taker) release() {
	for _, b := range t.buffers {
		if b != nil {
			b.Release()
		}
	}
	for _, k := range t.kids {
		k.Release()
	}
}

func (t *taker) add(bytes int) []byte {
	b := memory.NewResizableBuffer(t.mem)
	b.Resize(bytes)
	t.buffers = append(t.buffers, b)
	return b.Bytes()
}

func (t *taker) validity() {
	if t.d.NullN() == 0 || len(t.d.Buffers()) == 0 || t.d.Buffers()[0] == nil {
		t.buffers = append(t.buffers, nil)
		return
	}
	from, at := t.d.Buffers()[0].Bytes(), t.d.Offset()
	bits := t.add(int(bitutil.BytesForBits(int64(len(t.rows)))))
	clear(bits)
	for i, r := range t.rows {
		if bitutil.BitIsSet(from, at+int(r)) {
			bitutil.SetBit(bits, i)
		} else {
			t.nulls++
		}
	}
}

// null says whether picked row i is null.
func (t *taker) null(i int) bool {
	return t.buffers[0] != nil && !bitutil.BitIsSet(t.buffers[0].Bytes(), i)
}

func (t *taker) source() []byte {
	if b := t.d.Buffers()[1]; b != nil {
		return b.Bytes()
	}
	return nil
}

func (t *taker) bits() {
	from, at := t.source(), t.d.Offset()
	out := t.add(int(bitutil.BytesForBits(int64(len(t.rows)))))
	clear(out)
	for i, r := range t.rows {
		if bitutil.BitIsSet(from, at+int(r)) {
			bitutil.SetBit(out, i)
		}
	}
}

func (t *taker) fixed(width int) {
	from, at := t.source(), t.d.Offset()
	out := t.add(len(t.rows) * width)
	switch width {
	case 4:
		pickNumbers(arrow.Uint32Traits.CastFromBytes(out), arrow.Uint32Traits.CastFromBytes(from)[at:], t.rows)
	case 8:
		pickNumbers(arrow.Uint64Traits.CastFromBytes(out), arrow.Uint64Traits.CastFromBytes(from)[at:], t.rows)
	default:
		for i, r := range t.rows {
			copy(out[i*width:(i+1)*width], from[(at+int(r))*width:])
		}
	}
}

func pickNumbers[T uint32 | uint64](out, from []T, rows []int32) {
	for i, r := range rows {
		out[i] = from[r]
	}
}

func (t *taker) binary32() error {
	off, at := offsets32(t.d), t.d.Offset()
	to := arrow.Int32Traits.CastFromBytes(t.add(4 * (len(t.rows) + 1)))
	total := int64(0)
	for i, r := range t.rows {
		to[i] = int32(total)
		if !t.null(i) {
			total += int64(off[at+int(r)+1] - off[at+int(r)])
		}
		if total > math.MaxInt32 {
			return errTooLong
		}
	}
	to[len(t.rows)] = int32(total)
	out := t.add(int(total))
	for i, r := range t.rows {
		if n := to[i+1] - to[i]; n > 0 {
			copy(out[to[i]:to[i+1]], t.d.Buffers()[2].Bytes()[off[at+int(r)]:])
		}
	}
	return nil
}

func (t *taker) binary64() {
	off, at := offsets64(t.d), t.d.Offset()
	to := arrow.Int64Traits.CastFromBytes(t.add(8 * (len(t.rows) + 1)))
	total := int64(0)
	for i, r := range t.rows {
		to[i] = total
		if !t.null(i) {
			total += off[at+int(r)+1] - off[at+int(r)]
		}
	}
	to[len(t.rows)] = total
	out := t.add(int(total))
	for i, r := range t.rows {
		if to[i+1] > to[i] {
			copy(out[to[i]:to[i+1]], t.d.Buffers()[2].Bytes()[off[at+int(r)]:])
		}
	}
}

// list picks lists, and of the child what they hold.
func (t *taker) list(off []int32) error {
	to := arrow.Int32Traits.CastFromBytes(t.add(4 * (len(t.rows) + 1)))
	at := t.d.Offset()
	items := []int32{}
	for i, r := range t.rows {
		to[i] = int32(len(items))
		if t.null(i) {
			continue
		}
		for k := off[at+int(r)]; k < off[at+int(r)+1]; k++ {
			items = append(items, k)
		}
		if len(items) > math.MaxInt32 {
			return errTooLong
		}
	}
	to[len(t.rows)] = int32(len(items))
	return t.children(items)
}

func (t *taker) largeList(off []int64) error {
	to := arrow.Int64Traits.CastFromBytes(t.add(8 * (len(t.rows) + 1)))
	at := t.d.Offset()
	items := []int32{}
	for i, r := range t.rows {
		to[i] = int64(len(items))
		if t.null(i) {
			continue
		}
		for k := off[at+int(r)]; k < off[at+int(r)+1]; k++ {
			if k > math.MaxInt32 {
				return errTooLong
			}
			items = append(items, int32(k))
		}
	}
	to[len(t.rows)] = int64(len(items))
	return t.children(items)
}

func (t *taker) fixedList(k int) error {
	items := make([]int32, 0, k*len(t.rows))
	for _, r := range t.rows {
		first := (t.d.Offset() + int(r)) * k
		if first+k > math.MaxInt32 {
			return errTooLong
		}
		for j := range k {
			items = append(items, int32(first+j))
		}
	}
	return t.children(items)
}

// absolute is the rows as the children of a struct count them.
func (t *taker) absolute() []int32 {
	at := int32(t.d.Offset())
	if at == 0 {
		return t.rows
	}
	out := make([]int32, len(t.rows))
	for i, r := range t.rows {
		out[i] = r + at
	}
	return out
}

func (t *taker) children(rows []int32) error {
	for _, child := range t.d.Children() {
		kid, err := takeData(child, rows, t.mem)
		if err != nil {
			return err
		}
		t.kids = append(t.kids, kid)
	}
	return nil
}
