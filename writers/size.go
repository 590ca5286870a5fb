package writers

import (
	"sort"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// recordBytes is how many bytes of data rows [from, to) hold. It is a sum over rows, so
// it does not depend on how they are cut: bits of validity count for nothing, offsets
// and booleans for whole entries, and a dictionary's values wherever they stand.
func recordBytes(rec arrow.Record, from, to int64) int64 {
	var n int64
	for _, col := range rec.Columns() {
		n += arrayBytes(col, from, to)
	}
	return n
}

func arrayBytes(arr arrow.Array, from, to int64) int64 {
	rows := to - from
	if rows <= 0 {
		return 0
	}
	switch a := arr.(type) {
	case *array.Null:
		return 0
	case *array.Boolean:
		return rows
	case interface{ ValueOffsets() []int32 }: // string, binary
		offs := a.ValueOffsets()
		return 4*rows + int64(offs[to]-offs[from])
	case interface{ ValueOffsets() []int64 }: // large string, large binary
		offs := a.ValueOffsets()
		return 8*rows + offs[to] - offs[from]
	case *array.Struct:
		var n int64
		for i := range a.NumField() {
			n += arrayBytes(a.Field(i), from, to)
		}
		return n
	case *array.Dictionary:
		return eachRow(from, to, func(i int) int64 {
			if a.IsNull(i) {
				return 4
			}
			v := int64(a.GetValueIndex(i))
			return 4 + arrayBytes(a.Dictionary(), v, v+1)
		})
	case array.ExtensionArray:
		return arrayBytes(a.Storage(), from, to)
	case *array.List, *array.LargeList, *array.Map, *array.FixedSizeList:
		l := a.(array.ListLike)
		lo, _ := l.ValueOffsets(int(from))
		_, hi := l.ValueOffsets(int(to - 1))
		return 4*rows + arrayBytes(l.ListValues(), lo, hi)
	case array.ListLike: // views: in any order
		return eachRow(from, to, func(i int) int64 {
			lo, hi := a.ValueOffsets(i)
			return 8 + arrayBytes(a.ListValues(), lo, hi)
		})
	case interface{ ValueLen(int) int }: // string and binary views
		return eachRow(from, to, func(i int) int64 { return 16 + int64(a.ValueLen(i)) })
	}
	if dt, ok := arr.DataType().(arrow.FixedWidthDataType); ok {
		return rows * int64(dt.Bytes())
	}
	return 16 * rows // unions, run-end encoded: a guess
}

func eachRow(from, to int64, size func(i int) int64) (n int64) {
	for i := from; i < to; i++ {
		n += size(int(i))
	}
	return n
}

// cut is how many rows of rec, from row from on, still go into a unit that has room for
// that many rows and bytes, and whether they fill it. At least one row does.
func cut(rec arrow.Record, from int64, room unit) (rows, bytes int64, full bool) {
	rows = min(rec.NumRows()-from, room.rows)
	bytes = recordBytes(rec, from, from+rows)
	if bytes < room.bytes {
		return rows, bytes, rows == room.rows
	}
	rows = 1 + int64(sort.Search(int(rows-1), func(k int) bool {
		return recordBytes(rec, from, from+int64(k)+1) >= room.bytes
	}))
	return rows, recordBytes(rec, from, from+rows), true
}
