package readers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/go-json-experiment/json/jsontext"
)

// shape is what the values of a JSON field are so far.
type shape struct {
	name   string // for errors: "user.address[]"
	kind   kind
	row    int64 // where the kind was seen first
	depth  int
	elem   *shape
	fields []*shape
	keys   []string
	byKey  map[string]*shape
}

// shapeError is a field whose values have no common type. Unlike a row that is not JSON,
// it cannot be passed over.
type shapeError struct{ error }

// inferJSON tells the columns of JSON Lines by a sample.
func inferJSON(ctx context.Context, l *lines) (*arrow.Schema, error) {
	root := &shape{kind: kindStruct, byKey: map[string]*shape{}}
	var bad error // the first row that could not be used
	rows, size := 0, 0
	for rows < sampleRows && size < sampleBytes {
		row := l.row
		line, err := l.next(ctx)
		if err == io.EOF || err != nil && err != errLineTooLong && rows > 0 {
			break
		}
		if err != nil && err != errLineTooLong {
			return nil, err
		}
		if err == nil && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err == nil {
			err = root.line(line, row)
		} else {
			err = l.tooLong()
		}
		if errors.As(err, new(shapeError)) {
			return nil, err
		}
		if err != nil && bad == nil {
			bad = fmt.Errorf("row %d: %w", row, err)
		}
		size += len(line)
		if err == nil {
			rows++
		}
	}
	if rows == 0 && bad != nil {
		return nil, bad
	}
	if rows == 0 {
		return nil, errNoColumns
	}
	return arrow.NewSchema(root.children(), nil), nil
}

// line takes the object of one line in, if it is one.
func (s *shape) line(line []byte, row int64) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(line), jsontext.AllowDuplicateNames(true))
	if err := enterObject(dec); err != nil {
		return err
	}
	for dec.PeekKind() != '}' { // a line that is cut tells no columns
		if _, err := dec.ReadValue(); err != nil {
			return syntaxError(err)
		}
	}
	if err := endObject(dec); err != nil {
		return err
	}
	dec.Reset(bytes.NewBuffer(line), jsontext.AllowDuplicateNames(true))
	if err := enterObject(dec); err != nil {
		return err
	}
	return s.object(dec, row)
}

// object reads the fields of an object, up to its end.
func (s *shape) object(dec *jsontext.Decoder, row int64) error {
	for dec.PeekKind() != '}' {
		quoted, err := dec.ReadValue()
		if err != nil {
			return err
		}
		name, err := jsontext.AppendUnquote(nil, quoted)
		if err != nil {
			return err
		}
		field, known := s.byKey[string(name)]
		if !known {
			field = &shape{name: string(name), depth: s.depth + 1}
			if s.name != "" {
				field.name = s.name + "." + field.name
			}
			s.byKey[string(name)] = field
			s.keys, s.fields = append(s.keys, string(name)), append(s.fields, field)
		}
		if err := field.value(dec, row); err != nil {
			return err
		}
	}
	return nil
}

func (s *shape) value(dec *jsontext.Decoder, row int64) error {
	if s.depth > 64 {
		return shapeError{errTooDeep}
	}
	switch dec.PeekKind() {
	case '{':
		if err := s.see(kindStruct, row); err != nil {
			return err
		}
		if s.byKey == nil {
			s.byKey = map[string]*shape{}
		}
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		if err := s.object(dec, row); err != nil {
			return err
		}
		_, err := dec.ReadToken()
		return err
	case '[':
		if err := s.see(kindList, row); err != nil {
			return err
		}
		return s.list(dec, row)
	}
	raw, err := dec.ReadValue()
	if err != nil {
		return err
	}
	return s.scalar(raw, row)
}

func (s *shape) list(dec *jsontext.Decoder, row int64) error {
	if s.elem == nil {
		s.elem = &shape{name: s.name + "[]", depth: s.depth + 1}
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != ']' {
		if err := s.elem.value(dec, row); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

func (s *shape) scalar(raw jsontext.Value, row int64) error {
	switch raw.Kind() {
	case 'n':
		return nil
	case 't', 'f':
		return s.see(kindBool, row)
	case '"':
		return s.see(kindString, row)
	}
	if bytes.ContainsAny(raw, ".eE") {
		return s.see(kindFloat, row)
	}
	if _, err := strconv.ParseInt(string(raw), 10, 64); err != nil {
		return shapeError{fmt.Errorf("column %q has in row %d the integer %s, which int64 does not hold: give a schema in which the column is uint64 or float64", s.name, row, raw)}
	}
	return s.see(kindInt, row)
}

// see takes in that a value is of a kind.
func (s *shape) see(k kind, row int64) error {
	switch {
	case s.kind == k:
	case s.kind == kindNull:
		s.kind, s.row = k, row
	case min(s.kind, k) == kindInt && max(s.kind, k) == kindFloat:
		s.kind = kindFloat
	default:
		return shapeError{fmt.Errorf("column %q is %s in row %d and %s in row %d: correct one of them, or give a schema that has the column's type", s.name, s.kind, s.row, k, row)}
	}
	return nil
}

func (s *shape) dataType() arrow.DataType {
	switch s.kind {
	case kindStruct:
		return arrow.StructOf(s.children()...)
	case kindList:
		return arrow.ListOf(s.elem.dataType())
	}
	return s.kind.scalar()
}

func (s *shape) children() []arrow.Field {
	fields := make([]arrow.Field, len(s.fields))
	for i, f := range s.fields {
		fields[i] = arrow.Field{Name: s.keys[i], Type: f.dataType(), Nullable: true}
	}
	return fields
}
