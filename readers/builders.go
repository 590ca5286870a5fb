package readers

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// rowBuilders are the builders of all columns of a file. Those that are not asked for are
// decoded too, since a row that cannot be read is the same row whatever is read of it;
// what comes of them is thrown away as soon as it has some size.
type rowBuilders struct {
	wanted []array.Builder // by the columns asked for
	others []array.Builder
	waste  int64 // bytes in others
}

const maxWaste = 1 << 20

// newRowBuilders calls each with the builder of every column of the file.
func newRowBuilders(env stage.Env, scan *fileScan, each func(col int, b array.Builder, wanted bool)) *rowBuilders {
	r := &rowBuilders{wanted: make([]array.Builder, len(scan.cols))}
	for col, field := range scan.full.Fields() {
		i := slices.Index(scan.cols, col)
		if i < 0 {
			b := array.NewBuilder(memory.DefaultAllocator, field.Type)
			r.others = append(r.others, b)
			each(col, b, false)
			continue
		}
		r.wanted[i] = array.NewBuilder(env.Allocator(i), field.Type)
		each(col, r.wanted[i], true)
	}
	return r
}

// added takes note of a row's size.
func (r *rowBuilders) added(waste int64) {
	if r.waste += waste; r.waste > maxWaste {
		finish(r.others, 0)
		r.waste = 0
	}
}

func (r *rowBuilders) record(n int) ([]arrow.Array, error) { return finish(r.wanted, n), nil }

func (r *rowBuilders) reset() {
	finish(r.wanted, 0)
	finish(r.others, 0)
	r.waste = 0
}

func (r *rowBuilders) release() {
	for _, b := range slices.Concat(r.wanted, r.others) {
		b.Release()
	}
	r.wanted, r.others = nil, nil
}

// finish makes the first n rows of the builders into arrays and empties the builders. A
// builder may have one row more, from a row that failed.
func finish(builders []array.Builder, n int) []arrow.Array {
	out := make([]arrow.Array, len(builders))
	for i, b := range builders {
		if b.Len() == 0 && n == 0 {
			continue
		}
		arr := b.NewArray()
		if arr.Len() > n {
			whole := arr
			arr = array.NewSlice(whole, 0, int64(n))
			whole.Release()
		}
		out[i] = arr
	}
	if n == 0 {
		release(out)
		return nil
	}
	return out
}

// fixedWidth is what a value of a type takes in a record beside its characters: its
// width, offsets, and a byte for what stands in bitmaps.
func fixedWidth(dt arrow.DataType) int64 {
	switch dt := dt.(type) {
	case arrow.ExtensionType:
		return fixedWidth(dt.StorageType())
	case *arrow.DictionaryType:
		return 1 + 8 + fixedWidth(dt.ValueType)
	case *arrow.StructType:
		sum := int64(1)
		for _, f := range dt.Fields() {
			sum += fixedWidth(f.Type)
		}
		return sum
	case *arrow.FixedSizeListType:
		return 1 + int64(dt.Len())*fixedWidth(dt.Elem())
	case arrow.FixedWidthDataType:
		return 1 + int64(dt.BitWidth()+7)/8
	}
	return 1 + 8 // two 32-bit offsets in the first row, or one of 64 bits
}

// cell puts the values of one CSV column into its builder.
type cell struct {
	width  int64 // of a value beside its characters
	wanted bool  // the column is asked for
	put    func(s string) (int64, error)
}

func newCell(b array.Builder, cfg CSVConfig, field arrow.Field, wanted bool) cell {
	width := fixedWidth(b.Type())
	_, text := b.(*array.StringBuilder)
	value := cellValue(b)
	put := func(s string) (int64, error) {
		if s == "" && (!text || cfg.EmptyIsNull) || slices.Contains(cfg.NullValues, s) {
			if !field.Nullable {
				return 0, errors.New("there is no value, and the column's schema does not allow that")
			}
			b.AppendNull()
			return width, nil
		}
		return width + int64(len(s)), value(s)
	}
	return cell{width: width, wanted: wanted, put: put}
}

// cellValue parses and appends one value; where it fails nothing is appended.
func cellValue(b array.Builder) func(s string) error {
	switch b := b.(type) {
	case *array.StringBuilder:
		return func(s string) error {
			if !utf8.ValidString(s) {
				return errors.New("the value is not UTF-8 (iconv -f ISO-8859-1 -t UTF-8 converts a Latin-1 file)")
			}
			b.Append(s)
			return nil
		}
	case *array.Int64Builder:
		return func(s string) error {
			v, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return notA(s, b.Type())
			}
			b.Append(v)
			return nil
		}
	case *array.Float64Builder:
		return func(s string) error {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return notA(s, b.Type())
			}
			b.Append(v)
			return nil
		}
	case *array.BooleanBuilder:
		return func(s string) error {
			v, ok := parseBool(s)
			if !ok {
				return notA(s, b.Type())
			}
			b.Append(v)
			return nil
		}
	}
	return func(s string) error { return appendString(b, s) }
}

// appendString leaves the parsing of a value to Arrow's builder.
func appendString(b array.Builder, s string) (err error) {
	n := b.Len()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w (%v)", notA(s, b.Type()), p)
		}
		for err != nil && b.Len() <= n { // a row that failed is cut off; here it counts
			b.AppendNull()
		}
	}()
	if err := b.AppendValueFromString(s); err != nil {
		return fmt.Errorf("%w (%w)", notA(s, b.Type()), err)
	}
	return nil
}

func notA(s string, dt arrow.DataType) error {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return fmt.Errorf("%q is not %s", s, dt)
}

func parseBool(s string) (value, ok bool) {
	switch {
	case strings.EqualFold(s, "true"):
		return true, true
	case strings.EqualFold(s, "false"):
		return false, true
	}
	return false, false
}

// schemaText names the columns and types of a schema, for IDs.
func schemaText(s *arrow.Schema) string {
	if s == nil {
		return ""
	}
	return s.String()
}
