package readers

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/parquet"
)

// stats gives what a row group's statistics say of a column, in the form that
// [expr.MayMatch] takes.
func (f *parquetFile) stats(rg int) func(string) (min, max any, nulls, rows int64, ok bool) {
	return func(name string) (lo, hi any, nulls, rows int64, ok bool) {
		nulls, rows = -1, f.MetaData().RowGroups[rg].NumRows
		for i, field := range f.fields {
			if field.Name != name {
				continue
			}
			node := f.nodes[i]
			if len(node.Children) > 0 {
				return nil, nil, -1, rows, false
			}
			chunk := f.MetaData().RowGroups[rg].Columns[node.ColIndex].GetMetaData()
			if !chunk.IsSetStatistics() {
				return nil, nil, -1, rows, false
			}
			st := chunk.GetStatistics()
			if st.IsSetNullCount() {
				nulls = st.GetNullCount()
			}
			// the older fields min and max have no order that can be relied on
			if f.MetaData().IsSetColumnOrders() {
				physical := f.MetaData().Schema.Column(node.ColIndex).PhysicalType()
				lo, hi = bound(st.MinValue, field.Type, physical), bound(st.MaxValue, field.Type, physical)
			}
			return lo, hi, nulls, rows, true
		}
		return nil, nil, -1, rows, false
	}
}

// bound decodes a bound of a column; nil: it is not known, or of a type that has no order
// which expressions know.
func bound(raw []byte, dt arrow.DataType, physical parquet.Type) any {
	if dict, ok := dt.(*arrow.DictionaryType); ok {
		dt = dict.ValueType
	}
	if raw == nil {
		return nil
	}
	switch physical {
	case parquet.Types.Boolean:
		if len(raw) == 1 && dt.ID() == arrow.BOOL {
			return raw[0] != 0
		}
	case parquet.Types.Int32:
		if len(raw) == 4 {
			return integerBound(int64(int32(binary.LittleEndian.Uint32(raw))), uint64(binary.LittleEndian.Uint32(raw)), dt)
		}
	case parquet.Types.Int64:
		if len(raw) == 8 {
			return integerBound(int64(binary.LittleEndian.Uint64(raw)), binary.LittleEndian.Uint64(raw), dt)
		}
	case parquet.Types.Float:
		if len(raw) == 4 && dt.ID() == arrow.FLOAT32 {
			return math.Float32frombits(binary.LittleEndian.Uint32(raw))
		}
	case parquet.Types.Double:
		if len(raw) == 8 && dt.ID() == arrow.FLOAT64 {
			return math.Float64frombits(binary.LittleEndian.Uint64(raw))
		}
	case parquet.Types.ByteArray:
		switch dt.ID() {
		case arrow.STRING, arrow.LARGE_STRING:
			return string(raw)
		case arrow.BINARY, arrow.LARGE_BINARY:
			return raw
		}
	}
	return nil
}

func integerBound(signed int64, unsigned uint64, dt arrow.DataType) any {
	switch dt := dt.(type) {
	case *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type, *arrow.Int64Type:
		return signed
	case *arrow.Uint8Type, *arrow.Uint16Type, *arrow.Uint32Type, *arrow.Uint64Type:
		return unsigned
	case *arrow.Date32Type:
		return time.Unix(signed*86400, 0).UTC()
	case *arrow.TimestampType:
		return arrow.Timestamp(signed).ToTime(dt.Unit)
	}
	return nil
}
