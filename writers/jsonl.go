package writers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// jsonFormat writes one object a line, its members in the order of the columns and null
// members too, so that a reader finds every column in the first line. Beside what
// textKindOf says: floats that are NaN or infinite are null, lists are arrays, structs
// objects, and maps objects where their keys are strings and else arrays of
// {"key", "value"}.
type jsonFormat struct {
	schema *arrow.Schema
	keys   [][]byte // {"a": and ,"b":
}

func newJSONFormat(schema *arrow.Schema) (format, error) {
	f := &jsonFormat{schema: schema}
	var faults []error
	for i, field := range schema.Fields() {
		if contains(field.Type, func(dt arrow.DataType) bool { return textKindOf(dt) == textNone }) {
			faults = append(faults, fmt.Errorf("writers: jsonl: %w",
				&stage.ColumnError{Column: field.Name, Problem: fmt.Sprintf("is %s, which JSON lines cannot hold: cast or drop it, or write parquet or ipc", field.Type)}))
		}
		key := []byte{','}
		if i == 0 {
			key[0] = '{'
		}
		f.keys = append(f.keys, append(appendQuoted(key, []byte(field.Name)), ':'))
	}
	return f, errors.Join(faults...)
}

func (f *jsonFormat) open(w *outFile, _ func(int) memory.Allocator) (encoder, error) {
	return &rowEncoder{w: w, bind: f.bind}, nil
}

// bind makes the function that appends a row as a line.
func (f *jsonFormat) bind(rec arrow.Record) cell {
	values := make([]cell, rec.NumCols())
	for i, col := range rec.Columns() {
		values[i] = jsonValue(col)
	}
	return func(b []byte, row int) []byte {
		for i, v := range values {
			b = v(append(b, f.keys[i]...), row)
		}
		return append(b, '}', '\n')
	}
}

func (f *jsonFormat) join(ctx context.Context, w *outFile, from []readFile) error {
	return joinText(ctx, w, from, nil)
}

// rowEncoder writes formats of lines.
type rowEncoder struct {
	w    *outFile
	bind func(rec arrow.Record) cell
	line []byte
}

const textChunk = 64 << 10

func (e *rowEncoder) write(ctx context.Context, rec arrow.Record, _ bool) error {
	row := e.bind(rec)
	for i := range int(rec.NumRows()) {
		e.line = row(e.line, i)
		if len(e.line) < textChunk {
			continue
		}
		e.put()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	e.put()
	return nil
}

func (e *rowEncoder) put() {
	_, _ = e.w.Write(e.line) // never fails
	e.line = e.line[:0]
	if cap(e.line) > 16*textChunk { // after one very long row
		e.line = nil
	}
}

func (e *rowEncoder) held() int64                 { return 0 }
func (e *rowEncoder) flush(context.Context) error { return nil }
func (e *rowEncoder) close(context.Context) error { return nil }
func (e *rowEncoder) abort()                      {}

// jsonValue appends a value as JSON, null where it is null.
func jsonValue(arr arrow.Array) cell {
	var value cell
	switch kind := textKindOf(arr.DataType()); kind {
	case textNull:
		return func(b []byte, _ int) []byte { return append(b, "null"...) }
	case textNested:
		value = jsonNested(arr)
	case textRaw:
		value = textCell(arr)
	case textFloat:
		text := textCell(arr)
		value = func(b []byte, i int) []byte {
			n := len(b)
			b = text(b, i)
			if c := b[len(b)-1]; c == 'f' || c == 'N' { // Inf, -Inf, NaN
				return append(b[:n], "null"...)
			}
			return b
		}
	case textPlain:
		text := textCell(arr)
		value = func(b []byte, i int) []byte { return append(text(append(b, '"'), i), '"') }
	default:
		value = jsonString(arr)
	}
	return func(b []byte, i int) []byte {
		if isNull(arr, i) {
			return append(b, "null"...)
		}
		return value(b, i)
	}
}

func jsonString(arr arrow.Array) cell {
	text := textCell(arr)
	var scratch []byte
	return func(b []byte, i int) []byte {
		scratch = text(scratch[:0], i)
		return appendQuoted(b, scratch)
	}
}

func jsonNested(arr arrow.Array) cell {
	switch a := arr.(type) {
	case *array.Dictionary:
		values := jsonValue(a.Dictionary())
		return func(b []byte, i int) []byte { return values(b, a.GetValueIndex(i)) }
	case array.ExtensionArray:
		return jsonValue(a.Storage())
	case *array.Struct:
		return jsonStruct(a)
	case *array.Map:
		if textKindOf(a.Keys().DataType()) == textString {
			return jsonMap(a)
		}
	}
	l := arr.(array.ListLike)
	item := jsonValue(l.ListValues())
	return func(b []byte, i int) []byte {
		from, to := l.ValueOffsets(i)
		b = append(b, '[')
		for k := from; k < to; k++ {
			if k > from {
				b = append(b, ',')
			}
			b = item(b, int(k))
		}
		return append(b, ']')
	}
}

func jsonStruct(a *array.Struct) cell {
	fields := a.DataType().(*arrow.StructType).Fields()
	keys := make([][]byte, len(fields))
	values := make([]cell, len(fields))
	for i, f := range fields {
		keys[i] = append(appendQuoted(nil, []byte(f.Name)), ':')
		values[i] = jsonValue(a.Field(i))
	}
	return func(b []byte, row int) []byte {
		b = append(b, '{')
		for i, v := range values {
			if i > 0 {
				b = append(b, ',')
			}
			b = v(append(b, keys[i]...), row)
		}
		return append(b, '}')
	}
}

func jsonMap(a *array.Map) cell {
	key, item := jsonString(a.Keys()), jsonValue(a.Items())
	return func(b []byte, i int) []byte {
		from, to := a.ValueOffsets(i)
		b = append(b, '{')
		for k := from; k < to; k++ {
			if k > from {
				b = append(b, ',')
			}
			b = item(append(key(b, int(k)), ':'), int(k))
		}
		return append(b, '}')
	}
}

// appendQuoted appends s as a JSON string (RFC 8259, section 7).
func appendQuoted(b, s []byte) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for len(s) > 0 {
		n := bytes.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' || r == utf8.RuneError })
		if n < 0 {
			b = append(b, s...)
			break
		}
		b = append(b, s[:n]...)
		s = s[n:]
		r, size := utf8.DecodeRune(s)
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r == utf8.RuneError:
			b = append(b, "\uFFFD"...) // as it stood there, or for a byte that is not UTF-8
		default:
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
		}
		s = s[size:]
	}
	return append(b, '"')
}
