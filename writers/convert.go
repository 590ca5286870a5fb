package writers

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/compute"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// converter gives an array in the form in which a format stores it. The result is the
// caller's to release; it may share memory with arr.
type converter func(mem memory.Allocator, arr arrow.Array) (arrow.Array, error)

// stored says in which type a format keeps values of type dt, and how to get there; no
// converter: as they are. Both formats of arrow's own get values in the place of
// dictionaries: the dictionaries of different records differ, and files of either kind
// hold one (Parquet makes its own while it encodes).
//
// For Parquet, lists of all kinds become plain lists that hold no values behind a null
// and begin at their first value: arrow v17 refuses the first and mistakes the nulls of
// fixed-size lists. The file's Arrow schema still names the true types, and readers
// that know them give them back.
func stored(dt arrow.DataType, parquet bool) (arrow.DataType, converter) {
	switch dt := dt.(type) {
	case *arrow.DictionaryType:
		to, conv := stored(dt.ValueType, parquet)
		return to, chain(dense, conv)
	case arrow.ExtensionType:
		to, conv := stored(dt.StorageType(), parquet)
		if conv == nil && !parquet {
			return dt, nil
		}
		return to, chain(storage, conv)
	case *arrow.StructType:
		return storedStruct(dt, parquet)
	case *arrow.MapType:
		to, conv := stored(dt.Elem(), parquet)
		if conv == nil && !parquet {
			return dt, nil
		}
		st := to.(*arrow.StructType)
		m := arrow.MapOf(st.Field(0).Type, st.Field(1).Type)
		m.SetItemNullable(st.Field(1).Nullable)
		return m, func(mem memory.Allocator, arr arrow.Array) (arrow.Array, error) {
			return relist(mem, arr.(array.ListLike), m, conv)
		}
	case *arrow.ListType, *arrow.LargeListType, *arrow.FixedSizeListType:
		elem := dt.(arrow.ListLikeType).ElemField()
		to, conv := stored(elem.Type, parquet)
		if conv == nil && !parquet {
			return dt, nil
		}
		elem.Type = to
		list := arrow.ListOfField(elem)
		return list, func(mem memory.Allocator, arr arrow.Array) (arrow.Array, error) {
			return relist(mem, arr.(array.ListLike), list, conv)
		}
	case *arrow.DurationType:
		if parquet {
			return arrow.PrimitiveTypes.Int64, retyped(arrow.PrimitiveTypes.Int64)
		}
	case *arrow.StringViewType:
		if parquet {
			return arrow.BinaryTypes.String, unview(arrow.BinaryTypes.String)
		}
	case *arrow.BinaryViewType:
		if parquet {
			return arrow.BinaryTypes.Binary, unview(arrow.BinaryTypes.Binary)
		}
	}
	return dt, nil
}

// chain is first and then second; either may be nil.
func chain(first, second converter) converter {
	if second == nil {
		return first
	}
	return func(mem memory.Allocator, arr arrow.Array) (arrow.Array, error) {
		mid, err := first(mem, arr)
		if err != nil {
			return nil, err
		}
		defer mid.Release()
		return second(mem, mid)
	}
}

// dense looks every value of a dictionary up.
func dense(mem memory.Allocator, arr arrow.Array) (arrow.Array, error) {
	d := arr.(*array.Dictionary)
	ctx := compute.WithAllocator(context.Background(), mem)
	return compute.TakeArrayOpts(ctx, d.Dictionary(), d.Indices(), compute.TakeOptions{BoundsCheck: true})
}

func storage(_ memory.Allocator, arr arrow.Array) (arrow.Array, error) {
	s := arr.(array.ExtensionArray).Storage()
	s.Retain()
	return s, nil
}

// retyped reads the same buffers as another type.
func retyped(to arrow.DataType) converter {
	return func(_ memory.Allocator, arr arrow.Array) (arrow.Array, error) {
		d := arr.Data()
		data := array.NewData(to, d.Len(), d.Buffers(), nil, d.NullN(), d.Offset())
		defer data.Release()
		return array.MakeFromData(data), nil
	}
}

func unview(to arrow.BinaryDataType) converter {
	return func(mem memory.Allocator, arr arrow.Array) (arrow.Array, error) {
		b := array.NewBinaryBuilder(mem, to)
		defer b.Release()
		for i := range arr.Len() {
			switch a := arr.(type) {
			case *array.StringView:
				if a.IsValid(i) {
					b.AppendString(a.Value(i))
					continue
				}
			case *array.BinaryView:
				if a.IsValid(i) {
					b.Append(a.Value(i))
					continue
				}
			}
			b.AppendNull()
		}
		return b.NewArray(), nil
	}
}

func storedStruct(dt *arrow.StructType, parquet bool) (arrow.DataType, converter) {
	fields := make([]arrow.Field, dt.NumFields())
	convs := make([]converter, dt.NumFields())
	changed := false
	for i, f := range dt.Fields() {
		fields[i] = f
		fields[i].Type, convs[i] = stored(f.Type, parquet)
		changed = changed || convs[i] != nil
	}
	if !changed {
		return dt, nil
	}
	to := arrow.StructOf(fields...)
	return to, func(mem memory.Allocator, arr arrow.Array) (arrow.Array, error) {
		s := arr.(*array.Struct)
		children := make([]arrow.ArrayData, 0, len(convs))
		defer func() { release(children) }()
		for i, conv := range convs {
			child := s.Field(i)
			if conv == nil {
				child.Data().Retain()
				children = append(children, child.Data())
				continue
			}
			child, err := conv(mem, child)
			if err != nil {
				return nil, err
			}
			child.Data().Retain()
			children = append(children, child.Data())
			child.Release()
		}
		valid := validity(mem, arr)
		defer drop(valid)
		data := array.NewData(to, arr.Len(), []*memory.Buffer{valid}, children, arr.NullN(), 0)
		defer data.Release()
		return array.MakeFromData(data), nil
	}
}

// relist makes a list of any layout one of type to, with offsets from 0 and no values
// that no row has; conv is applied to the values.
func relist(mem memory.Allocator, l array.ListLike, to arrow.DataType, conv converter) (arrow.Array, error) {
	n := l.Len()
	offsets := memory.NewResizableBuffer(mem)
	defer offsets.Release()
	offsets.Resize(arrow.Int32Traits.BytesRequired(n + 1))
	at := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	at[0] = 0
	var spans []span // of values that rows have
	var total int64
	for i := range n {
		if l.IsValid(i) {
			from, to := l.ValueOffsets(i)
			total += to - from
			if k := len(spans) - 1; k >= 0 && spans[k].to == from {
				spans[k].to = to
			} else if from < to {
				spans = append(spans, span{from, to})
			}
		}
		if total > 1<<31-1 {
			return nil, fmt.Errorf("a list column has more than 2^31-1 values in one piece")
		}
		at[i+1] = int32(total)
	}
	values, err := pick(mem, l.ListValues(), spans)
	if err != nil {
		return nil, err
	}
	defer func() { values.Release() }()
	if conv != nil {
		converted, err := conv(mem, values)
		if err != nil {
			return nil, err
		}
		values.Release()
		values = converted
	}
	valid := validity(mem, l)
	defer drop(valid)
	data := array.NewData(to, n, []*memory.Buffer{valid, offsets}, []arrow.ArrayData{values.Data()}, l.NullN(), 0)
	defer data.Release()
	return array.MakeFromData(data), nil
}

// pick is the spans of an array; nothing is copied where there is one.
func pick(mem memory.Allocator, arr arrow.Array, spans []span) (arrow.Array, error) {
	if len(spans) <= 1 {
		s := span{}
		if len(spans) == 1 {
			s = spans[0]
		}
		return array.NewSlice(arr, s.from, s.to), nil
	}
	pieces := make([]arrow.Array, len(spans))
	defer release(pieces)
	for i, s := range spans {
		pieces[i] = array.NewSlice(arr, s.from, s.to)
	}
	return array.Concatenate(pieces, mem)
}

// validity is the bitmap of an array, beginning at its first value; nil: no nulls.
func validity(mem memory.Allocator, arr arrow.Array) *memory.Buffer {
	if arr.NullN() == 0 {
		return nil
	}
	b := memory.NewResizableBuffer(mem)
	b.Resize(int(bitutil.BytesForBits(int64(arr.Len()))))
	bitutil.CopyBitmap(arr.NullBitmapBytes(), arr.Data().Offset(), arr.Len(), b.Bytes(), 0)
	return b
}

func drop(b *memory.Buffer) {
	if b != nil {
		b.Release()
	}
}

// contains says whether a type is or holds one that is so.
func contains(dt arrow.DataType, is func(arrow.DataType) bool) bool {
	if is(dt) {
		return true
	}
	switch dt := dt.(type) {
	case *arrow.DictionaryType:
		return contains(dt.ValueType, is)
	case arrow.ExtensionType:
		return contains(dt.StorageType(), is)
	case arrow.NestedType:
		for _, f := range dt.Fields() {
			if contains(f.Type, is) {
				return true
			}
		}
	}
	return false
}

// isLoose says whether arrow cannot put arrays of a type together.
func isLoose(dt arrow.DataType) bool {
	switch dt.ID() {
	case arrow.DENSE_UNION, arrow.SPARSE_UNION, arrow.RUN_END_ENCODED:
		return true
	}
	return false
}
