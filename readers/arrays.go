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
	own    []bool // by column: it lies in the memory of its consumer; nil: none does
	booked bool   // cols are booked by whom they come from
	held   int64  // booked for cols
}

func (p *pieces) left() int { return p.n - p.pos }

// set takes over cols, of n rows.
func (p *pieces) set(cols []arrow.Array, n int) {
	p.drop()
	p.cols, p.pos, p.n = cols, 0, n
	for _, c := range cols {
		if !p.booked {
			p.held += wholeBytes(c.Data())
		}
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
	if err := p.env.Room(ctx, p.toCopy(k)); err != nil {
		return nil, err
	}
	out := make([]arrow.Array, len(p.cols))
	defer release(out)
	for i, col := range p.cols {
		field := p.schema.Field(i)
		if p.asIs(i, k) {
			col.Retain()
			out[i] = col
		} else if arr, err := copySpan(p.env.Allocator(i), col, p.pos, p.pos+k); err != nil {
			return nil, fmt.Errorf("column %q: %w", field.Name, err)
		} else {
			out[i] = arr
		}
		if !field.Nullable && out[i].NullN() > 0 {
			return nil, fmt.Errorf("column %q has nulls, which the schema of the first file does not allow", field.Name)
		}
	}
	if p.pos += k; p.pos == p.n {
		defer p.drop()
	}
	return array.NewRecord(p.schema, out, int64(k)), nil
}

// asIs says whether the next k rows of a column can be given without being copied.
func (p *pieces) asIs(col, k int) bool { return k == p.n && col < len(p.own) && p.own[col] }

// toCopy is how many bytes the next k rows take in memory that is still to be made.
func (p *pieces) toCopy(k int) (sum int64) {
	for i, col := range p.cols {
		if !p.asIs(i, k) {
			sum += spanBytes(col.Data(), p.pos, p.pos+k)
		}
	}
	return sum
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
