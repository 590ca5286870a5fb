package writers

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// textKind says how values of a type stand in text.
type textKind uint8

const (
	textNone   textKind = iota // not at all
	textNull                   // only as null
	textRaw                    // numbers, true and false: without quotes in JSON
	textFloat                  // numbers that JSON may lack: NaN, Inf
	textPlain                  // dates, times, base64: quoted in JSON, never in need of escapes
	textString                 // anything
	textNested
)

// textKindOf sorts the types. Values stand in text like this:
//
//	bool                 true, false
//	integers, decimals   in digits; durations as the number of their units
//	floats               the shortest digits that give the same value
//	strings              as they are; bytes that are not UTF-8 as U+FFFD in JSON
//	binary               base64, standard alphabet with padding
//	dates                2006-01-02
//	times of day         15:04:05.999999999
//	timestamps           RFC 3339 at the offset of their zone, with Z where they have none
//	dictionaries, extensions   as what they stand for
func textKindOf(dt arrow.DataType) textKind {
	switch dt := dt.(type) {
	case *arrow.NullType:
		return textNull
	case *arrow.Float16Type, *arrow.Float32Type, *arrow.Float64Type:
		return textFloat
	case *arrow.BooleanType, arrow.DecimalType, *arrow.DurationType, *arrow.MonthIntervalType:
		return textRaw
	case *arrow.Date32Type, *arrow.Date64Type, *arrow.Time32Type, *arrow.Time64Type, *arrow.TimestampType:
		return textPlain
	case *arrow.DictionaryType:
		return textKindOf(dt.ValueType)
	case arrow.ExtensionType:
		return textKindOf(dt.StorageType())
	case *arrow.StructType, *arrow.ListType, *arrow.LargeListType, *arrow.FixedSizeListType, *arrow.MapType,
		*arrow.ListViewType, *arrow.LargeListViewType:
		return textNested
	}
	switch {
	case arrow.IsInteger(dt.ID()):
		return textRaw
	case isBinary(dt):
		return textPlain
	case dt.ID() == arrow.STRING, dt.ID() == arrow.LARGE_STRING, dt.ID() == arrow.STRING_VIEW:
		return textString
	}
	return textNone
}

func isBinary(dt arrow.DataType) bool {
	switch dt := dt.(type) {
	case *arrow.DictionaryType:
		return isBinary(dt.ValueType)
	case arrow.ExtensionType:
		return isBinary(dt.StorageType())
	}
	switch dt.ID() {
	case arrow.BINARY, arrow.LARGE_BINARY, arrow.FIXED_SIZE_BINARY, arrow.BINARY_VIEW:
		return true
	}
	return false
}

// cell appends the text of one value of an array that is not null and not nested.
type cell func(dst []byte, row int) []byte

func textCell(arr arrow.Array) cell {
	switch a := arr.(type) {
	case *array.Boolean:
		return func(b []byte, i int) []byte { return strconv.AppendBool(b, a.Value(i)) }
	case *array.Dictionary:
		values := textCell(a.Dictionary())
		return func(b []byte, i int) []byte { return values(b, a.GetValueIndex(i)) }
	case array.ExtensionArray:
		return textCell(a.Storage())
	case *array.Float16:
		return func(b []byte, i int) []byte { return appendFloat(b, float64(a.Value(i).Float32()), 32) }
	case *array.Float32:
		return func(b []byte, i int) []byte { return appendFloat(b, float64(a.Value(i)), 32) }
	case *array.Float64:
		return func(b []byte, i int) []byte { return appendFloat(b, a.Value(i), 64) }
	case *array.Decimal128:
		scale := a.DataType().(arrow.DecimalType).GetScale()
		return func(b []byte, i int) []byte { return append(b, a.Value(i).ToString(scale)...) }
	case *array.Decimal256:
		scale := a.DataType().(arrow.DecimalType).GetScale()
		return func(b []byte, i int) []byte { return append(b, a.Value(i).ToString(scale)...) }
	case *array.Duration:
		return func(b []byte, i int) []byte { return strconv.AppendInt(b, int64(a.Value(i)), 10) }
	case *array.MonthInterval:
		return func(b []byte, i int) []byte { return strconv.AppendInt(b, int64(a.Value(i)), 10) }
	case interface{ Value(int) string }: // strings of all layouts
		return func(b []byte, i int) []byte { return append(b, a.Value(i)...) }
	case interface{ Value(int) []byte }: // binary of all layouts
		return func(b []byte, i int) []byte { return base64.StdEncoding.AppendEncode(b, a.Value(i)) }
	}
	if c := timeCell(arr); c != nil {
		return c
	}
	return integerCell(arr)
}

func appendFloat(b []byte, v float64, bits int) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(b, "Inf"...)
	case math.IsInf(v, -1):
		return append(b, "-Inf"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, bits) // NaN is written so
}

// timeCell is that of dates and times; nil for others.
func timeCell(arr arrow.Array) cell {
	at := func(layout string, value func(i int) time.Time) cell {
		return func(b []byte, i int) []byte { return value(i).AppendFormat(b, layout) }
	}
	const timeOfDay = "15:04:05.999999999"
	switch a := arr.(type) {
	case *array.Date32:
		return at(time.DateOnly, func(i int) time.Time { return a.Value(i).ToTime() })
	case *array.Date64:
		return at(time.DateOnly, func(i int) time.Time { return a.Value(i).ToTime() })
	case *array.Time32:
		unit := a.DataType().(*arrow.Time32Type).Unit
		return at(timeOfDay, func(i int) time.Time { return a.Value(i).ToTime(unit) })
	case *array.Time64:
		unit := a.DataType().(*arrow.Time64Type).Unit
		return at(timeOfDay, func(i int) time.Time { return a.Value(i).ToTime(unit) })
	case *array.Timestamp:
		dt := a.DataType().(*arrow.TimestampType)
		zone := time.UTC
		if loc, err := dt.GetZone(); err == nil && dt.TimeZone != "" {
			zone = loc
		}
		return at(time.RFC3339Nano, func(i int) time.Time { return a.Value(i).ToTime(dt.Unit).In(zone) })
	}
	return nil
}

// integerCell is that of integers of all widths; nil for other types.
func integerCell(arr arrow.Array) cell {
	switch a := arr.(type) {
	case *array.Int8:
		return signed(a.Int8Values())
	case *array.Int16:
		return signed(a.Int16Values())
	case *array.Int32:
		return signed(a.Int32Values())
	case *array.Int64:
		return signed(a.Int64Values())
	case *array.Uint8:
		return unsigned(a.Uint8Values())
	case *array.Uint16:
		return unsigned(a.Uint16Values())
	case *array.Uint32:
		return unsigned(a.Uint32Values())
	case *array.Uint64:
		return unsigned(a.Uint64Values())
	}
	return nil
}

func signed[T int8 | int16 | int32 | int64](values []T) cell {
	return func(b []byte, i int) []byte { return strconv.AppendInt(b, int64(values[i]), 10) }
}

func unsigned[T uint8 | uint16 | uint32 | uint64](values []T) cell {
	return func(b []byte, i int) []byte { return strconv.AppendUint(b, uint64(values[i]), 10) }
}
