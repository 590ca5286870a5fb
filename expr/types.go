package expr

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	"github.com/apache/arrow/go/v17/arrow"
)

// class groups the types that the operators treat alike.
type class uint8

const (
	classOther class = iota // may be carried and tested for null, no more
	classNull
	classBool
	classInt // signed and unsigned
	classFloat
	classText
	classBytes
	classTime // date32, date64, timestamp
)

func classOf(dt arrow.DataType) class {
	switch id := dt.ID(); id {
	case arrow.NULL:
		return classNull
	case arrow.BOOL:
		return classBool
	case arrow.FLOAT16, arrow.FLOAT32, arrow.FLOAT64:
		return classFloat
	case arrow.STRING, arrow.LARGE_STRING:
		return classText
	case arrow.BINARY, arrow.LARGE_BINARY:
		return classBytes
	case arrow.DATE32, arrow.DATE64, arrow.TIMESTAMP:
		return classTime
	default:
		if arrow.IsInteger(id) {
			return classInt
		}
	}
	return classOther
}

func (c class) number() bool { return c == classInt || c == classFloat }

// decoded is the type of a column's values once a dictionary is decoded.
func decoded(dt arrow.DataType) arrow.DataType {
	if d, ok := dt.(*arrow.DictionaryType); ok {
		return d.ValueType
	}
	return dt
}

var typeNames = map[string]arrow.DataType{
	"bool": arrow.FixedWidthTypes.Boolean, "boolean": arrow.FixedWidthTypes.Boolean,
	"int8": arrow.PrimitiveTypes.Int8, "int16": arrow.PrimitiveTypes.Int16, "int32": arrow.PrimitiveTypes.Int32, "int64": arrow.PrimitiveTypes.Int64,
	"uint8": arrow.PrimitiveTypes.Uint8, "uint16": arrow.PrimitiveTypes.Uint16, "uint32": arrow.PrimitiveTypes.Uint32, "uint64": arrow.PrimitiveTypes.Uint64,
	"float16": arrow.FixedWidthTypes.Float16, "float32": arrow.PrimitiveTypes.Float32, "float64": arrow.PrimitiveTypes.Float64,
	"double": arrow.PrimitiveTypes.Float64,
	"string": arrow.BinaryTypes.String, "utf8": arrow.BinaryTypes.String, "text": arrow.BinaryTypes.String,
	"large_string": arrow.BinaryTypes.LargeString, "large_utf8": arrow.BinaryTypes.LargeString,
	"binary": arrow.BinaryTypes.Binary, "large_binary": arrow.BinaryTypes.LargeBinary,
	"date": arrow.FixedWidthTypes.Date32, "date32": arrow.FixedWidthTypes.Date32, "date64": arrow.FixedWidthTypes.Date64,
}

func typeList() []string {
	names := []string{"timestamp"}
	for n := range typeNames {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func typeName(dt arrow.DataType) string {
	switch {
	case dt == nil:
		return "<no type>"
	case dt.ID() == arrow.STRING:
		return "string"
	case dt.ID() == arrow.LARGE_STRING:
		return "large_string"
	}
	return dt.String()
}

// timestampType reads what stands in the brackets of timestamp[us, tz=UTC].
func timestampType(s string) (arrow.DataType, error) {
	unit, zone, zoned := strings.Cut(s, ",")
	dt := &arrow.TimestampType{}
	switch strings.TrimSpace(unit) {
	case "s":
		dt.Unit = arrow.Second
	case "ms":
		dt.Unit = arrow.Millisecond
	case "us":
		dt.Unit = arrow.Microsecond
	case "ns":
		dt.Unit = arrow.Nanosecond
	default:
		return nil, fmt.Errorf("the unit of a timestamp is s, ms, us or ns")
	}
	if zoned {
		dt.TimeZone = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(zone), "tz="))
		if dt.TimeZone == "" {
			return nil, fmt.Errorf("the time zone is empty")
		}
	}
	return dt, nil
}

func parseTime(s string) (time.Time, error) {
	for _, layout := range []string{
		"2006-01-02", time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04", "2006-01-02T15:04",
	} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a date or a time; write 2006-01-02 or 2006-01-02T15:04:05Z", shorten(s, 40))
}

// nearest is the name most like the given one, or nothing if none is like it.
func nearest(name string, names []string) string {
	best, cost := "", max(2, len([]rune(name))/3)+1
	for _, n := range names {
		if d := levenshtein.Distance(strings.ToLower(name), strings.ToLower(n), nil); d < cost {
			best, cost = n, d
		}
	}
	if cost >= len([]rune(name)) && !strings.EqualFold(best, name) {
		return "" // nothing of it is left
	}
	return best
}

// unitOf is the length of one tick of a classTime type, and whether it carries a zone.
func unitOf(dt arrow.DataType) (tick time.Duration, zoned bool) {
	switch dt := dt.(type) {
	case *arrow.TimestampType:
		return dt.Unit.Multiplier(), dt.TimeZone != ""
	case *arrow.Date64Type:
		return time.Millisecond, false
	}
	return 24 * time.Hour, false
}
