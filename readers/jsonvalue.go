package readers

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-json"
)

// jsonValue reads values of one column, or of what is nested in one, into its builder.
type jsonValue struct {
	width int64 // of a null
	// read appends the next value and says how many bytes it takes. Where it fails,
	// the builder has one row more or none, and can still make an array.
	read func(dec *jsontext.Decoder) (int64, error)
}

func newJSONValue(b array.Builder, field arrow.Field) jsonValue {
	v := jsonValue{width: fixedWidth(field.Type)}
	value := jsonReader(b, field.Type)
	v.read = func(dec *jsontext.Decoder) (int64, error) {
		if dec.PeekKind() != 'n' {
			return value(dec)
		}
		if _, err := dec.ReadToken(); err != nil {
			return 0, err
		}
		if !field.Nullable {
			return 0, errNotNull
		}
		b.AppendNull()
		return v.width, nil
	}
	return v
}

func jsonReader(b array.Builder, dt arrow.DataType) func(*jsontext.Decoder) (int64, error) {
	switch b := b.(type) {
	case *array.Int64Builder:
		return readNumber(dt, func(raw []byte) error {
			v, err := strconv.ParseInt(string(raw), 10, 64)
			if err == nil {
				b.Append(v)
			}
			return err
		})
	case *array.Float64Builder:
		return readNumber(dt, func(raw []byte) error {
			v, err := strconv.ParseFloat(string(raw), 64)
			if err == nil {
				b.Append(v)
			}
			return err
		})
	case *array.BooleanBuilder:
		return func(dec *jsontext.Decoder) (int64, error) {
			raw, err := dec.ReadValue()
			if err != nil {
				return 0, err
			}
			if k := raw.Kind(); k != 't' && k != 'f' {
				return 0, notJSON(raw, dt)
			}
			b.Append(raw.Kind() == 't')
			return 2, nil
		}
	case *array.StringBuilder:
		return readText(b)
	case *array.StructBuilder:
		return readStruct(b, dt.(*arrow.StructType))
	case *array.ListBuilder:
		return readList(b, dt.(*arrow.ListType).ElemField())
	case *array.FixedSizeListBuilder:
		return readFixedList(b, dt.(*arrow.FixedSizeListType))
	}
	if _, nested := dt.(arrow.NestedType); nested || dt.ID() == arrow.DICTIONARY {
		return readNested(b, dt)
	}
	return readScalar(b, dt)
}

func readNumber(dt arrow.DataType, put func(raw []byte) error) func(*jsontext.Decoder) (int64, error) {
	return func(dec *jsontext.Decoder) (int64, error) {
		raw, err := dec.ReadValue()
		if err != nil {
			return 0, err
		}
		if raw.Kind() != '0' || put(raw) != nil {
			return 0, notJSON(raw, dt)
		}
		return 9, nil
	}
}

func readText(b *array.StringBuilder) func(*jsontext.Decoder) (int64, error) {
	var scratch []byte
	return func(dec *jsontext.Decoder) (int64, error) {
		raw, err := dec.ReadValue()
		if err != nil {
			return 0, err
		}
		if raw.Kind() != '"' {
			return 0, notJSON(raw, arrow.BinaryTypes.String)
		}
		text := []byte(raw[1 : len(raw)-1])
		if bytes.IndexByte(text, '\\') >= 0 {
			if scratch, err = jsontext.AppendUnquote(scratch[:0], raw); err != nil {
				return 0, err
			}
			text = scratch
		}
		b.BinaryBuilder.Append(text)
		return 9 + int64(len(text)), nil
	}
}

// readScalar leaves what is not told from samples to Arrow's builder, in the form in which
// Arrow writes it: times as in RFC 3339, bytes in base64.
func readScalar(b array.Builder, dt arrow.DataType) func(*jsontext.Decoder) (int64, error) {
	width := fixedWidth(dt)
	return func(dec *jsontext.Decoder) (int64, error) {
		raw, err := dec.ReadValue()
		if err != nil {
			return 0, err
		}
		text := []byte(raw)
		switch raw.Kind() {
		case '"':
			if text, err = jsontext.AppendUnquote(nil, raw); err != nil {
				return 0, err
			}
		case '{', '[':
			return 0, notJSON(raw, dt)
		}
		if err := appendString(b, string(text)); err != nil {
			return 0, err
		}
		return width + int64(len(text)), nil
	}
}

// readNested leaves the rest, such as maps, to Arrow's builder. A builder that failed
// halfway makes no array: so the value goes into one of its own first.
func readNested(b array.Builder, dt arrow.DataType) func(*jsontext.Decoder) (int64, error) {
	width := fixedWidth(dt)
	unmarshal := func(b array.Builder, raw []byte) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("%v", p)
			}
		}()
		return b.UnmarshalOne(json.NewDecoder(bytes.NewReader(raw)))
	}
	return func(dec *jsontext.Decoder) (int64, error) {
		raw, err := dec.ReadValue()
		if err != nil {
			return 0, err
		}
		trial := array.NewBuilder(memory.DefaultAllocator, dt)
		err = unmarshal(trial, raw)
		if err == nil {
			trial.Release()
			err = unmarshal(b, raw)
		}
		if err != nil {
			return 0, fmt.Errorf("%w (%w)", notJSON(raw, dt), err)
		}
		return width + growth(dt)*int64(len(raw)), nil
	}
}

func readStruct(b *array.StructBuilder, dt *arrow.StructType) func(*jsontext.Decoder) (int64, error) {
	names := map[string]int{}
	values := make([]jsonValue, dt.NumFields())
	for i, f := range dt.Fields() {
		names[f.Name] = i
		values[i] = newJSONValue(b.FieldBuilder(i), f)
	}
	seen := make([]bool, len(values))
	return func(dec *jsontext.Decoder) (size int64, err error) {
		if dec.PeekKind() != '{' {
			return 0, notNext(dec, dt)
		}
		b.Append(true)
		clear(seen)
		defer func() { // a row that failed is cut off, but the fields must be alike in length
			for i := 0; err != nil && i < len(values); i++ {
				for b.FieldBuilder(i).Len() < b.Len() {
					b.FieldBuilder(i).AppendNull()
				}
			}
		}()
		if size, err = readFields(dec, names, values, seen); err != nil {
			return 0, err
		}
		for i, v := range values {
			if seen[i] {
				continue
			}
			if !dt.Field(i).Nullable {
				return 0, fmt.Errorf("field %q: %w", dt.Field(i).Name, errNotNull)
			}
			b.FieldBuilder(i).AppendNull()
			size += v.width
		}
		return size + 1, nil
	}
}

// readFields reads the object of a struct.
func readFields(dec *jsontext.Decoder, names map[string]int, values []jsonValue, seen []bool) (size int64, err error) {
	if _, err := dec.ReadToken(); err != nil {
		return 0, err
	}
	for dec.PeekKind() != '}' {
		quoted, err := dec.ReadValue()
		if err != nil {
			return 0, err
		}
		name, err := jsontext.AppendUnquote(nil, quoted)
		if err != nil {
			return 0, err
		}
		i, known := names[string(name)]
		if !known {
			return 0, fmt.Errorf("field %q is not in the schema", name)
		}
		if seen[i] {
			return 0, fmt.Errorf("field %q comes twice", name)
		}
		n, err := values[i].read(dec)
		if err != nil {
			return 0, fmt.Errorf("field %q: %w", name, err)
		}
		seen[i] = true
		size += n
	}
	_, err = dec.ReadToken()
	return size, err
}

func readList(b *array.ListBuilder, elem arrow.Field) func(*jsontext.Decoder) (int64, error) {
	value := newJSONValue(b.ValueBuilder(), elem)
	dt := b.Type()
	return func(dec *jsontext.Decoder) (int64, error) {
		if dec.PeekKind() != '[' {
			return 0, notNext(dec, dt)
		}
		b.Append(true)
		_, size, err := readElements(dec, value)
		return size + 9, err
	}
}

func readFixedList(b *array.FixedSizeListBuilder, dt *arrow.FixedSizeListType) func(*jsontext.Decoder) (int64, error) {
	value := newJSONValue(b.ValueBuilder(), dt.ElemField())
	return func(dec *jsontext.Decoder) (int64, error) {
		if dec.PeekKind() != '[' {
			return 0, notNext(dec, dt)
		}
		start := b.ValueBuilder().Len()
		b.Append(true)
		n, size, err := readElements(dec, value)
		if err == nil && n != int(dt.Len()) {
			err = fmt.Errorf("the list has %d elements, not %d", n, dt.Len())
		}
		for err != nil && b.ValueBuilder().Len() < start+int(dt.Len()) {
			b.ValueBuilder().AppendNull()
		}
		return size + 1, err
	}
}

func readElements(dec *jsontext.Decoder, value jsonValue) (n int, size int64, err error) {
	if _, err := dec.ReadToken(); err != nil {
		return 0, 0, err
	}
	for ; dec.PeekKind() != ']'; n++ {
		if dec.PeekKind() == 0 {
			_, err := dec.ReadToken()
			return n, 0, err
		}
		k, err := value.read(dec)
		if err != nil {
			return n, 0, fmt.Errorf("element %d: %w", n, err)
		}
		size += k
	}
	_, err = dec.ReadToken()
	return n, size, err
}

// notNext is the error for a value of the wrong kind that is not read yet.
func notNext(dec *jsontext.Decoder, dt arrow.DataType) error {
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	return notJSON(raw, dt)
}

func notJSON(raw jsontext.Value, dt arrow.DataType) error {
	text := raw
	if len(text) > 64 {
		text = append(bytes.ToValidUTF8(text[:64:64], nil), "…"...)
	}
	return fmt.Errorf("%s is %s, not %s", text, kindOfJSON(raw.Kind()), dt)
}

func kindOfJSON(k jsontext.Kind) string {
	switch k {
	case 'n':
		return kindNull.String()
	case 't', 'f':
		return kindBool.String()
	case '0':
		return kindFloat.String()
	case '"':
		return kindString.String()
	case '[':
		return kindList.String()
	}
	return kindStruct.String()
}

// growth is how many bytes of a record a character of JSON can come to: one, but more
// within lists, where "0," is an element.
func growth(dt arrow.DataType) int64 {
	switch dt := dt.(type) {
	case *arrow.StructType:
		most := int64(1)
		for _, f := range dt.Fields() {
			most = max(most, growth(f.Type))
		}
		return most
	case arrow.ListLikeType:
		return max(1+fixedWidth(dt.Elem())/2, growth(dt.Elem()))
	}
	return 1
}

var errTooDeep = errors.New("objects and lists are nested more than 64 deep: give a schema")
