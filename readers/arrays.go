package readers

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// pieces cuts columns that were decoded into ordinary memory into records of bounded
// size. The records are copies in the memory that the consumer of each column chose: so a
// record holds no more than its own rows, and a decoder that panics loses nothing.
type pieces struct {
	env    stage.Env
	schema *arrow.Schema
	cols   []arrow.Array // owned
	pos, n int
	held   int64 // booked for cols
}

func (p *pieces) left() int { return p.n - p.pos }

// set takes over cols, of n rows.
func (p *pieces) set(cols []arrow.Array, n int) {
	p.drop()
	p.cols, p.pos, p.n = cols, 0, n
	for _, c := range cols {
		p.held += wholeBytes(c.Data())
	}
	p.env.Book(stage.ReaderBuffers, p.held)
}

func (p *pieces) drop() {
	release(p.cols)
	p.env.Book(stage.ReaderBuffers, -p.held)
	p.cols, p.pos, p.n, p.held = nil, 0, 0, 0
}

// fitting is how many rows, at least one, take no more than maxBytes.
func (p *pieces) fitting(maxBytes int64) int {
	k := min(p.left(), maxRows)
	if k <= 1 || p.bytes(p.pos, p.pos+k) <= maxBytes {
		return k
	}
	lo, hi := 1, k // lo rows fit, or are one; hi do not
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; p.bytes(p.pos, p.pos+mid) <= maxBytes {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// next gives as many rows as maxBytes allows, at least one.
func (p *pieces) next(ctx context.Context, maxBytes int64) (arrow.Record, error) {
	k := p.fitting(maxBytes)
	if err := p.env.Room(ctx, p.bytes(p.pos, p.pos+k)); err != nil {
		return nil, err
	}
	out := make([]arrow.Array, len(p.cols))
	defer release(out)
	for i, col := range p.cols {
		field := p.schema.Field(i)
		arr, err := copySpan(p.env.Allocator(i), col, p.pos, p.pos+k)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", field.Name, err)
		}
		out[i] = arr
		if !field.Nullable && arr.NullN() > 0 {
			return nil, fmt.Errorf("column %q has nulls, which the schema of the first file does not allow", field.Name)
		}
	}
	if p.pos += k; p.pos == p.n {
		defer p.drop()
	}
	return array.NewRecord(p.schema, out, int64(k)), nil
}

func (p *pieces) bytes(from, to int) int64 {
	var sum int64
	for _, col := range p.cols {
		sum += spanBytes(col.Data(), from, to)
	}
	return sum
}

// copySpan copies rows [from, to) of arr. What Arrow cannot copy (unions) is given as
// a slice of the original.
func copySpan(mem memory.Allocator, arr arrow.Array, from, to int) (out arrow.Array, err error) {
	span := array.NewSlice(arr, int64(from), int64(to))
	if !copyable(arr.DataType()) {
		return span, nil
	}
	defer span.Release()
	return array.Concatenate([]arrow.Array{span}, mem)
}

func copyable(dt arrow.DataType) bool {
	switch dt := dt.(type) {
	case arrow.UnionType, *arrow.RunEndEncodedType, *arrow.ListViewType, *arrow.LargeListViewType:
		return false
	case arrow.ExtensionType:
		return copyable(dt.StorageType())
	case arrow.NestedType:
		for _, f := range dt.Fields() {
			if !copyable(f.Type) {
				return false
			}
		}
	}
	return true
}

// spanBytes is what the buffers of a copy of rows [from, to) take. It is exact but for
// dictionaries, which are not counted, and views and unions, which are taken on average.
func spanBytes(data arrow.ArrayData, from, to int) int64 {
	if from >= to {
		return 0
	}
	n := int64(to - from)
	var bytes int64
	if data.NullN() != 0 {
		bytes = (n + 7) / 8
	}
	dt := data.DataType()
	if ext, ok := dt.(arrow.ExtensionType); ok {
		dt = ext.StorageType()
	}
	at := data.Offset() + from
	switch dt := dt.(type) {
	case *arrow.StructType:
		for _, child := range data.Children() {
			bytes += spanBytes(child, at, at+int(n))
		}
		return bytes
	case *arrow.FixedSizeListType:
		size := int(dt.Len())
		return bytes + spanBytes(data.Children()[0], at*size, (at+int(n))*size)
	case *arrow.ListType, *arrow.MapType, *arrow.LargeListType:
		lo, hi, width := offsets(data, at, at+int(n), dt.ID() == arrow.LARGE_LIST)
		return bytes + (n+1)*width + spanBytes(data.Children()[0], lo, hi)
	case *arrow.StringType, *arrow.BinaryType, *arrow.LargeStringType, *arrow.LargeBinaryType:
		large := dt.ID() == arrow.LARGE_STRING || dt.ID() == arrow.LARGE_BINARY
		lo, hi, width := offsets(data, at, at+int(n), large)
		return bytes + (n+1)*width + int64(hi-lo)
	case arrow.FixedWidthDataType:
		return bytes + (n*int64(dt.BitWidth())+7)/8
	}
	return bytes + wholeBytes(data)*n/int64(max(data.Len(), 1))
}

// offsets gives offset i and j of variable-size data, and the width of each.
func offsets(data arrow.ArrayData, i, j int, large bool) (lo, hi int, width int64) {
	buf := data.Buffers()[1]
	switch {
	case buf == nil || buf.Len() == 0:
		return 0, 0, 4
	case large:
		all := arrow.Int64Traits.CastFromBytes(buf.Bytes())
		return int(all[i]), int(all[j]), 8
	}
	all := arrow.Int32Traits.CastFromBytes(buf.Bytes())
	return int(all[i]), int(all[j]), 4
}

func wholeBytes(data arrow.ArrayData) int64 {
	var sum int64
	for _, b := range data.Buffers() {
		if b != nil {
			sum += int64(b.Len())
		}
	}
	for _, child := range data.Children() {
		sum += wholeBytes(child)
	}
	return sum
}

// joined makes one array of what a column reader gave, with lists of fixed size where want
// has them.
func joined(chunked *arrow.Chunked, want arrow.DataType) (arrow.Array, error) {
	var one arrow.Array
	switch chunks := chunked.Chunks(); len(chunks) {
	case 0:
		one = array.MakeArrayOfNull(memory.DefaultAllocator, chunked.DataType(), 0)
	case 1:
		one = chunks[0]
		one.Retain()
	default:
		var err error
		if one, err = concatenate(chunks); err != nil {
			return nil, err
		}
	}
	if err := checkIndices(one); err != nil {
		one.Release()
		return nil, err
	}
	if !hasFixedList(want) {
		return one, nil
	}
	defer one.Release()
	data := one.Data()
	data.Retain()
	fixed, err := fixLists(data, want)
	if err != nil {
		return nil, err
	}
	defer fixed.Release()
	return array.MakeFromData(fixed), nil
}

// checkIndices makes sure that the indices of a dictionary column are within it: those of
// a damaged page need not be.
func checkIndices(arr arrow.Array) error {
	d, ok := arr.(*array.Dictionary)
	if !ok {
		return nil
	}
	for i := range d.Len() {
		if at := d.GetValueIndex(i); d.IsValid(i) && (at < 0 || at >= d.Dictionary().Len()) {
			return fmt.Errorf("the data is corrupt: index %d of a dictionary of %d values", at, d.Dictionary().Len())
		}
	}
	return nil
}

// concatenate joins chunks, which may have dictionaries of their own: those are put one
// behind the other. (Arrow 17 unifies them, and then writes the places of nulls over
// other indices.)
func concatenate(chunks []arrow.Array) (arrow.Array, error) {
	dict, ok := chunks[0].DataType().(*arrow.DictionaryType)
	if !ok {
		return array.Concatenate(chunks, memory.DefaultAllocator)
	}
	var values, indices []arrow.Array
	defer func() { release(indices) }()
	base := 0
	for _, c := range chunks {
		d := c.(*array.Dictionary)
		b := array.NewInt32Builder(memory.DefaultAllocator)
		for i := range d.Len() {
			if d.IsNull(i) {
				b.AppendNull()
			} else {
				b.Append(int32(base + d.GetValueIndex(i)))
			}
		}
		base += d.Dictionary().Len()
		values, indices = append(values, d.Dictionary()), append(indices, b.NewArray())
		b.Release()
	}
	allValues, err := array.Concatenate(values, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	defer allValues.Release()
	allIndices, err := array.Concatenate(indices, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	defer allIndices.Release()
	return array.NewDictionaryArray(dict, allIndices, allValues), nil
}

// hasFixedList says whether a type is a list of fixed size or has one in it.
func hasFixedList(dt arrow.DataType) bool {
	if dt.ID() == arrow.FIXED_SIZE_LIST {
		return true
	}
	if nested, ok := dt.(arrow.NestedType); ok {
		for _, f := range nested.Fields() {
			if hasFixedList(f.Type) {
				return true
			}
		}
	}
	return false
}

// fixLists turns lists into lists of fixed size where want has such. It consumes data.
func fixLists(data arrow.ArrayData, want arrow.DataType) (arrow.ArrayData, error) {
	if !hasFixedList(want) {
		return data, nil
	}
	defer data.Release()
	nested := want.(arrow.NestedType)
	children := make([]arrow.ArrayData, len(data.Children()))
	defer func() {
		for _, c := range children {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, child := range data.Children() {
		child.Retain()
		fixed, err := fixLists(child, nested.Fields()[i].Type)
		if err != nil {
			return nil, err
		}
		children[i] = fixed
	}
	if fsl, ok := want.(*arrow.FixedSizeListType); ok {
		return fixList(data, children[0], fsl)
	}
	return array.NewData(want, data.Len(), data.Buffers(), children, data.NullN(), data.Offset()), nil
}

// fixList is one list with its elements. Where it is null it has none, but a list of
// fixed size has room for them there too.
func fixList(data, elems arrow.ArrayData, want *arrow.FixedSizeListType) (arrow.ArrayData, error) {
	if data.Offset() != 0 { // decoders make none
		return nil, fmt.Errorf("a list of fixed size starts at row %d of its buffers", data.Offset())
	}
	values := array.MakeFromData(elems)
	defer values.Release()
	list := array.MakeFromData(data)
	defer list.Release()
	size := int(want.Len())
	var parts []arrow.Array
	defer func() { release(parts) }()
	for i := 0; i < data.Len(); {
		j, null := i+1, list.IsNull(i)
		for j < data.Len() && list.IsNull(j) == null {
			j++
		}
		if null {
			parts = append(parts, array.MakeArrayOfNull(memory.DefaultAllocator, elems.DataType(), (j-i)*size))
			i = j
			continue
		}
		for k := i; k < j; k++ {
			if lo, hi, _ := offsets(data, k, k+1, false); hi-lo != size {
				return nil, fmt.Errorf("the list of row %d has %d elements, but the file's schema says %d", k, hi-lo, size)
			}
		}
		lo, hi, _ := offsets(data, i, j, false)
		parts = append(parts, array.NewSlice(values, int64(lo), int64(hi)))
		i = j
	}
	if len(parts) == 0 {
		parts = append(parts, array.NewSlice(values, 0, 0))
	}
	joined, err := array.Concatenate(parts, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	defer joined.Release()
	return array.NewData(want, data.Len(), data.Buffers()[:1], []arrow.ArrayData{joined.Data()}, data.NullN(), 0), nil
}
