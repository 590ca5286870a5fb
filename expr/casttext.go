package expr

import (
	"errors"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

var (
	errUTF8 = errors.New("the bytes are not UTF-8")
	errLong = errors.New("more than 2 GiB of text for 32-bit offsets; cast to large_string or large_binary")
)

// toText writes each value as text that the opposite cast reads back.
func toText(f *frame, arr arrow.Array, to arrow.DataType) (arrow.Array, int, error) {
	switch classOf(arr.DataType()) {
	case classText, classBytes:
		return copyText(f, arr, to)
	case classTime:
		return formatTimes(f, arr, to)
	case classBool:
		vals := boolBytes(arr)
		return buildText(f, arr, to, func(b []byte, i int) ([]byte, error) { return strconv.AppendBool(b, vals[i] == 1), nil })
	}
	bits := 64
	if id := arr.DataType().ID(); id == arrow.FLOAT16 || id == arrow.FLOAT32 {
		bits = 32
	}
	return buildText(f, arr, to, func(b []byte, i int) ([]byte, error) {
		v, err := valueAt(arr, i)
		switch v := v.(type) {
		case int64:
			return strconv.AppendInt(b, v, 10), err
		case uint64:
			return strconv.AppendUint(b, v, 10), err
		default:
			return appendFloat(b, v.(float64), bits), err
		}
	})
}

// appendFloat writes the shortest decimal that reads back as v; with an exponent only where it would be long without.
func appendFloat(b []byte, v float64, bits int) []byte {
	format := byte('f')
	if a := math.Abs(v); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, v, format, -1, bits)
}

// formatTimes writes dates as 2006-01-02 and timestamps as RFC 3339 with as many decimals as needed, in UTC, with a Z if the type has a zone.
func formatTimes(f *frame, arr arrow.Array, to arrow.DataType) (arrow.Array, int, error) {
	layout := "2006-01-02"
	if _, zoned := unitOf(arr.DataType()); zoned {
		layout = "2006-01-02T15:04:05.999999999Z"
	} else if arr.DataType().ID() == arrow.TIMESTAMP {
		layout = "2006-01-02T15:04:05.999999999"
	}
	return buildText(f, arr, to, func(b []byte, i int) ([]byte, error) {
		v, err := valueAt(arr, i)
		if err != nil {
			return nil, err
		}
		return v.(time.Time).AppendFormat(b, layout), nil
	})
}

// buildText makes a text array of what at appends for each row that isn't null.
func buildText(f *frame, arr arrow.Array, to arrow.DataType, at func(b []byte, i int) ([]byte, error)) (arrow.Array, int, error) {
	b := array.NewBuilder(f.mem, to).(array.StringLikeBuilder)
	defer b.Release()
	valid := validBits(arr)
	var buf []byte
	for i := range arr.Len() {
		if !bitSet(valid, i) {
			b.AppendNull()
			continue
		}
		var err error
		if buf, err = at(buf[:0], i); err != nil {
			return nil, i, err
		}
		b.Append(string(buf))
	}
	return b.NewArray(), 0, nil
}

// copyText converts among strings and binary. The buffers are shared where the width of the offsets stays.
func copyText(f *frame, arr arrow.Array, to arrow.DataType) (arrow.Array, int, error) {
	n, t, valid := arr.Len(), textOf(arr), validBits(arr)
	if classOf(arr.DataType()) == classBytes && classOf(to) == classText {
		for i := range n {
			if bitSet(valid, i) && !utf8.ValidString(t.at(i)) {
				return nil, i, errUTF8
			}
		}
	}
	if wideOffsets(arr.DataType()) == wideOffsets(to) {
		return relabel(arr, to), 0, nil
	}
	size := 0
	for i := range n {
		if bitSet(valid, i) {
			if size += len(t.at(i)); size > math.MaxInt32 && !wideOffsets(to) {
				return nil, i, errLong
			}
		}
	}
	return gatherText(f.mem, to, n, size, valid, t.at), 0, nil
}

func wideOffsets(dt arrow.DataType) bool {
	return dt.ID() == arrow.LARGE_STRING || dt.ID() == arrow.LARGE_BINARY
}

// relabel is the same memory as another type of the same layout.
func relabel(arr arrow.Array, to arrow.DataType) arrow.Array {
	d := arr.Data()
	data := array.NewData(to, d.Len(), d.Buffers(), nil, d.NullN(), d.Offset())
	defer data.Release()
	return array.MakeFromData(data)
}

// parseNumbers reads numbers and bools, each from a whole text.
func parseNumbers(f *frame, arr arrow.Array, to arrow.DataType) (arrow.Array, int, error) {
	t, n, valid := textOf(arr), arr.Len(), validBits(arr)
	bits := to.(arrow.FixedWidthDataType).BitWidth()
	switch {
	case to.ID() == arrow.BOOL:
		return parseInto(f, n, valid, to, func(i int) (uint8, error) {
			v, err := strconv.ParseBool(t.at(i))
			if v {
				return 1, err
			}
			return 0, err
		})
	case classOf(to) == classFloat:
		return parseInto(f, n, valid, to, func(i int) (float64, error) { return strconv.ParseFloat(t.at(i), max(bits, 32)) })
	case arrow.IsUnsignedInteger(to.ID()):
		return parseInto(f, n, valid, to, func(i int) (uint64, error) { return strconv.ParseUint(t.at(i), 10, bits) })
	}
	return parseInto(f, n, valid, to, func(i int) (int64, error) { return strconv.ParseInt(t.at(i), 10, bits) })
}

func parseInto[T number](f *frame, n int, valid []byte, to arrow.DataType, at func(i int) (T, error)) (arrow.Array, int, error) {
	out := make([]T, n)
	for i := range out {
		if !bitSet(valid, i) {
			continue
		}
		v, err := at(i)
		if errors.Is(err, strconv.ErrRange) {
			return nil, i, errRange
		} else if err != nil {
			return nil, i, errors.New("not a " + typeName(to))
		}
		out[i] = v
	}
	return castFrom(f, out, valid, to)
}

func parseTimes(f *frame, arr arrow.Array, to arrow.DataType) (arrow.Array, int, error) {
	t := textOf(arr)
	return buildTimes(f, to, arr.Len(), validBits(arr), func(i int) (int64, error) {
		at, err := parseTime(t.at(i))
		if err != nil {
			return 0, err
		}
		v, _ := exactValue(at, to)
		if v.where != onValue && v.where != betweenValues {
			return 0, errRange
		}
		return v.floor.i, nil
	})
}
