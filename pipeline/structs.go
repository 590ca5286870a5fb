package pipeline

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// A Go struct stands for a row: each exported field for the column that its tag names
// (`arrow:"text"`), or that has the field's name in lower case; `arrow:"-"` is no column.
// Fields are bool, integers, floats, string, []byte, time.Time (timestamps in UTC), slices of
// these (lists), and pointers to these, nil where the column is null. A null where the field is
// no pointer is a failure of its row.

// structField is a field of a struct and its column.
type structField struct {
	name  string
	index int
	typ   reflect.Type
}

func structFields(t reflect.Type) ([]structField, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s is no struct", t)
	}
	var out []structField
	var errs []error
	for i := range t.NumField() {
		f := t.Field(i)
		name, tagged := f.Tag.Lookup("arrow")
		if !f.IsExported() || name == "-" {
			continue
		}
		if !tagged {
			name = strings.ToLower(f.Name)
		}
		if _, err := arrowType(f.Type); err != nil {
			errs = append(errs, fmt.Errorf("field %s: %w", f.Name, err))
		}
		out = append(out, structField{name, i, f.Type})
	}
	return out, errors.Join(errs...)
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
)

var kindTypes = map[reflect.Kind]arrow.DataType{
	reflect.Bool: arrow.FixedWidthTypes.Boolean, reflect.String: arrow.BinaryTypes.String,
	reflect.Int: arrow.PrimitiveTypes.Int64, reflect.Int8: arrow.PrimitiveTypes.Int8, reflect.Int16: arrow.PrimitiveTypes.Int16,
	reflect.Int32: arrow.PrimitiveTypes.Int32, reflect.Int64: arrow.PrimitiveTypes.Int64,
	reflect.Uint: arrow.PrimitiveTypes.Uint64, reflect.Uint8: arrow.PrimitiveTypes.Uint8, reflect.Uint16: arrow.PrimitiveTypes.Uint16,
	reflect.Uint32: arrow.PrimitiveTypes.Uint32, reflect.Uint64: arrow.PrimitiveTypes.Uint64,
	reflect.Float32: arrow.PrimitiveTypes.Float32, reflect.Float64: arrow.PrimitiveTypes.Float64,
}

// arrowType is the column type of a field's type.
func arrowType(t reflect.Type) (arrow.DataType, error) {
	switch {
	case t.Kind() == reflect.Pointer:
		return arrowType(t.Elem())
	case t == timeType:
		return arrow.FixedWidthTypes.Timestamp_us, nil
	case t == bytesType:
		return arrow.BinaryTypes.Binary, nil
	case t.Kind() == reflect.Slice:
		elem, err := arrowType(t.Elem())
		if err != nil {
			return nil, err
		}
		return arrow.ListOf(elem), nil
	}
	if dt := kindTypes[t.Kind()]; dt != nil {
		return dt, nil
	}
	return nil, fmt.Errorf("%s stands for no column type", t)
}

// structSchema is the schema of rows that a struct stands for.
func structSchema(fields []structField) *arrow.Schema {
	out := make([]arrow.Field, len(fields))
	for i, f := range fields {
		dt, _ := arrowType(f.typ) // structFields has seen to it
		nullable := f.typ.Kind() == reflect.Pointer || f.typ.Kind() == reflect.Slice
		out[i] = arrow.Field{Name: f.name, Type: dt, Nullable: nullable}
	}
	return arrow.NewSchema(out, nil)
}

// scanner sets the fields of a struct from a row of a record with just their columns.
type scanner struct {
	fields []structField
}

// newScanner checks that every field can take its column.
func newScanner(t reflect.Type, schema *arrow.Schema) (*scanner, error) {
	fields, err := structFields(t)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, f := range fields {
		at, err := stage.Column(schema, f.name)
		if err == nil && !takes(f.typ, schema.Field(at).Type) {
			err = &stage.ColumnError{Column: f.name, Problem: fmt.Sprintf("is %s, and does not fit %s", schema.Field(at).Type, f.typ)}
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return &scanner{fields}, errors.Join(errs...)
}

func (s *scanner) columns() []string {
	out := make([]string, len(s.fields))
	for i, f := range s.fields {
		out[i] = f.name
	}
	return out
}

// takes says whether a field can hold every value of a column type.
func takes(t reflect.Type, dt arrow.DataType) bool {
	if t.Kind() == reflect.Pointer {
		return takes(t.Elem(), dt)
	}
	switch dt := dt.(type) {
	case *arrow.TimestampType:
		return t == timeType
	case *arrow.LargeStringType:
		return t.Kind() == reflect.String
	case *arrow.LargeBinaryType, *arrow.BinaryType:
		return t == bytesType
	case arrow.ListLikeType:
		return t.Kind() == reflect.Slice && t != bytesType && takes(t.Elem(), dt.Elem())
	}
	want, err := arrowType(t)
	return err == nil && t.Kind() != reflect.Slice && arrow.TypeEqual(want, dt)
}

// scan sets the struct v from row i. cols are those of columns().
func (s *scanner) scan(v reflect.Value, cols []arrow.Array, i int) error {
	for k, f := range s.fields {
		if err := setValue(v.Field(f.index), cols[k], i); err != nil {
			return fmt.Errorf("column %q: %w", f.name, err)
		}
	}
	return nil
}

var errNull = errors.New("null, and its field is no pointer")

func setValue(v reflect.Value, col arrow.Array, i int) error {
	if col.IsNull(i) {
		if v.Kind() != reflect.Pointer && v.Kind() != reflect.Slice {
			return errNull
		}
		v.SetZero()
		return nil
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch col := col.(type) {
	case *array.Boolean:
		v.SetBool(col.Value(i))
	case *array.String:
		v.SetString(strings.Clone(col.Value(i))) // outlives the record
	case *array.LargeString:
		v.SetString(strings.Clone(col.Value(i)))
	case *array.Binary:
		v.SetBytes(append([]byte{}, col.Value(i)...))
	case *array.LargeBinary:
		v.SetBytes(append([]byte{}, col.Value(i)...))
	case *array.Timestamp:
		v.Set(reflect.ValueOf(col.Value(i).ToTime(col.DataType().(*arrow.TimestampType).Unit)))
	case array.ListLike:
		from, to := col.ValueOffsets(i)
		out := reflect.MakeSlice(v.Type(), int(to-from), int(to-from))
		for k := range out.Len() {
			if err := setValue(out.Index(k), col.ListValues(), int(from)+k); err != nil {
				return err
			}
		}
		v.Set(out)
	default:
		return setNumber(v, col, i)
	}
	return nil
}

func setNumber(v reflect.Value, col arrow.Array, i int) error {
	switch col := col.(type) {
	case *array.Int8:
		v.SetInt(int64(col.Value(i)))
	case *array.Int16:
		v.SetInt(int64(col.Value(i)))
	case *array.Int32:
		v.SetInt(int64(col.Value(i)))
	case *array.Int64:
		v.SetInt(col.Value(i))
	case *array.Uint8:
		v.SetUint(uint64(col.Value(i)))
	case *array.Uint16:
		v.SetUint(uint64(col.Value(i)))
	case *array.Uint32:
		v.SetUint(uint64(col.Value(i)))
	case *array.Uint64:
		v.SetUint(col.Value(i))
	case *array.Float32:
		v.SetFloat(float64(col.Value(i)))
	case *array.Float64:
		v.SetFloat(col.Value(i))
	default:
		return fmt.Errorf("%s stands for no Go type", col.DataType())
	}
	return nil
}

// appendStruct adds the fields of v as a row.
func appendStruct(b *array.RecordBuilder, fields []structField, v reflect.Value) error {
	for k, f := range fields {
		if err := appendValue(b.Field(k), v.Field(f.index)); err != nil {
			return fmt.Errorf("column %q: %w", f.name, err)
		}
	}
	return nil
}

func appendValue(b array.Builder, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			b.AppendNull()
			return nil
		}
		return appendValue(b, v.Elem())
	case reflect.Slice:
		if v.IsNil() {
			b.AppendNull()
			return nil
		}
	}
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(v.Bool())
	case *array.StringBuilder:
		b.Append(v.String())
	case *array.BinaryBuilder:
		b.Append(v.Bytes())
	case *array.TimestampBuilder:
		at, err := arrow.TimestampFromTime(v.Interface().(time.Time), arrow.Microsecond)
		if err != nil {
			return err
		}
		b.Append(at)
	case *array.ListBuilder:
		b.Append(true)
		for i := range v.Len() {
			if err := appendValue(b.ValueBuilder(), v.Index(i)); err != nil {
				return err
			}
		}
	default:
		return appendNumber(b, v)
	}
	return nil
}

func appendNumber(b array.Builder, v reflect.Value) error {
	switch b := b.(type) {
	case *array.Int8Builder:
		b.Append(int8(v.Int()))
	case *array.Int16Builder:
		b.Append(int16(v.Int()))
	case *array.Int32Builder:
		b.Append(int32(v.Int()))
	case *array.Int64Builder:
		b.Append(v.Int())
	case *array.Uint8Builder:
		b.Append(uint8(v.Uint()))
	case *array.Uint16Builder:
		b.Append(uint16(v.Uint()))
	case *array.Uint32Builder:
		b.Append(uint32(v.Uint()))
	case *array.Uint64Builder:
		b.Append(v.Uint())
	case *array.Float32Builder:
		b.Append(float32(v.Float()))
	case *array.Float64Builder:
		b.Append(v.Float())
	default:
		return fmt.Errorf("%s stands for no Go type", b.Type())
	}
	return nil
}
