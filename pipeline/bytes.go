package pipeline

import (
	"github.com/apache/arrow/go/v17/arrow"
)

// recordBytes is the size of a record's rows in bytes, as they would be if they stood in
// buffers of their own: a slice counts for its rows only. It looks at offsets, not at
// values.
func recordBytes(rec arrow.Record) int64 {
	var n int64
	for _, col := range rec.Columns() {
		n += dataBytes(col.Data(), 0, col.Len())
	}
	return n
}

// dataBytes is the size of rows [from, from+n) behind the array's own offset.
func dataBytes(d arrow.ArrayData, from, n int) int64 {
	if n == 0 {
		return 0
	}
	var size int64
	if b := d.Buffers(); len(b) > 0 && b[0] != nil {
		size += int64(n+7) / 8
	}
	at := d.Offset() + from
	dt := d.DataType()
	if ext, ok := dt.(arrow.ExtensionType); ok {
		dt = ext.StorageType()
	}
	switch t := dt.(type) {
	case *arrow.FixedSizeListType:
		k := int(t.Len())
		return size + dataBytes(d.Children()[0], at*k, n*k)
	case *arrow.ListType, *arrow.MapType:
		off := offsets32(d)
		if off == nil {
			return size
		}
		return size + int64(4*n) + dataBytes(d.Children()[0], int(off[at]), int(off[at+n]-off[at]))
	case *arrow.LargeListType:
		off := offsets64(d)
		if off == nil {
			return size
		}
		return size + int64(8*n) + dataBytes(d.Children()[0], int(off[at]), int(off[at+n]-off[at]))
	case *arrow.StringType, *arrow.BinaryType:
		off := offsets32(d)
		if off == nil {
			return size
		}
		return size + int64(4*n) + int64(off[at+n]-off[at])
	case *arrow.LargeStringType, *arrow.LargeBinaryType:
		off := offsets64(d)
		if off == nil {
			return size
		}
		return size + int64(8*n) + off[at+n] - off[at]
	case *arrow.StructType:
		for _, c := range d.Children() {
			size += dataBytes(c, at, n)
		}
		return size
	case *arrow.DictionaryType:
		// the dictionary is shared, but may be all there is to a small slice
		dict := d.Dictionary()
		return size + int64(n)*int64(t.IndexType.(arrow.FixedWidthDataType).BitWidth())/8 + dataBytes(dict, 0, dict.Len())
	case arrow.FixedWidthDataType:
		return size + (int64(n)*int64(t.BitWidth())+7)/8
	}
	for _, b := range d.Buffers() { // views, unions and run-ends: a share of the whole
		if b != nil && d.Len() > 0 {
			size += int64(b.Len()) * int64(n) / int64(d.Len())
		}
	}
	return size
}

func offsets32(d arrow.ArrayData) []int32 {
	if b := d.Buffers(); len(b) > 1 && b[1] != nil && b[1].Len() > 0 {
		return arrow.Int32Traits.CastFromBytes(b[1].Bytes())
	}
	return nil
}

func offsets64(d arrow.ArrayData) []int64 {
	if b := d.Buffers(); len(b) > 1 && b[1] != nil && b[1].Len() > 0 {
		return arrow.Int64Traits.CastFromBytes(b[1].Bytes())
	}
	return nil
}
