package writers

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// csvFormat writes RFC 4180 with a line of names first, "\n" at line ends and values as
// textKindOf says. A null is an empty field, an empty string is ""; where there is
// one column alone a null is "" too, since readers pass over empty lines. Floats may be
// NaN, Inf and -Inf.
type csvFormat struct {
	header []byte
}

func newCSVFormat(schema *arrow.Schema) (format, error) {
	f := &csvFormat{}
	var faults []error
	for i, field := range schema.Fields() {
		if k := textKindOf(field.Type); k == textNone || k == textNested {
			faults = append(faults, fmt.Errorf("writers: csv: %w",
				&stage.ColumnError{Column: field.Name, Problem: fmt.Sprintf("is %s, which CSV cannot hold: drop it, or write parquet, jsonl or ipc", field.Type)}))
		}
		if i > 0 {
			f.header = append(f.header, ',')
		}
		f.header = appendField(f.header, []byte(field.Name))
	}
	f.header = append(f.header, '\n')
	return f, errors.Join(faults...)
}

func (f *csvFormat) open(w *outFile, _ func(int) memory.Allocator) (encoder, error) {
	_, _ = w.Write(f.header) // never fails
	return &rowEncoder{w: w, bind: f.bind}, nil
}

// bind makes the function that appends a row as a line.
func (f *csvFormat) bind(rec arrow.Record) cell {
	values := make([]cell, rec.NumCols())
	for i, col := range rec.Columns() {
		values[i] = csvValue(col, rec.NumCols() == 1)
	}
	return func(b []byte, row int) []byte {
		for i, v := range values {
			if i > 0 {
				b = append(b, ',')
			}
			b = v(b, row)
		}
		return append(b, '\n')
	}
}

func (f *csvFormat) join(ctx context.Context, w *outFile, from []readFile) error {
	_, _ = w.Write(f.header) // never fails
	return joinText(ctx, w, from, f.header)
}

func csvValue(arr arrow.Array, alone bool) cell {
	kind := textKindOf(arr.DataType())
	var scratch, null []byte
	if alone {
		null = []byte(`""`)
	}
	if kind == textNull {
		return func(b []byte, _ int) []byte { return append(b, null...) }
	}
	text := textCell(arr)
	return func(b []byte, i int) []byte {
		switch {
		case isNull(arr, i):
			return append(b, null...)
		case kind != textString:
			return text(b, i)
		}
		scratch = text(scratch[:0], i)
		return appendField(b, scratch)
	}
}

// isNull also looks into a dictionary, whose values may be null.
func isNull(arr arrow.Array, i int) bool {
	if arr.IsNull(i) {
		return true
	}
	if d, ok := arr.(interface {
		Dictionary() arrow.Array
		GetValueIndex(int) int
	}); ok {
		return d.Dictionary().IsNull(d.GetValueIndex(i))
	}
	return false
}

// appendField appends a field, quoted where a reader would not take it as it is. An
// empty field is quoted, to tell it from null.
func appendField(b, s []byte) []byte {
	if len(s) > 0 && !bytes.ContainsAny(s, ",\"\r\n") && s[0] != ' ' && s[0] != '\t' && s[len(s)-1] != ' ' {
		return append(b, s...)
	}
	b = append(b, '"')
	for {
		n := bytes.IndexByte(s, '"')
		if n < 0 {
			break
		}
		b = append(append(b, s[:n]...), '"', '"')
		s = s[n+1:]
	}
	return append(append(b, s...), '"')
}
