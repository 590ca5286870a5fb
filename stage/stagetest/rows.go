package stagetest

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// heap is memory that nobody counts: the checks' own copies of rows live there, and go
// with the garbage.
var heap = memory.NewGoAllocator()

// rowAt is one row of a record.
type rowAt struct {
	rec arrow.Record
	row int
}

// copyRecord makes a record with the same rows and nothing shared.
func copyRecord(mem memory.Allocator, rec arrow.Record) (arrow.Record, error) {
	return joinRecords(mem, rec.Schema(), []arrow.Record{rec})
}

// joinRecords copies the rows of all recs into one record.
func joinRecords(mem memory.Allocator, schema *arrow.Schema, recs []arrow.Record) (arrow.Record, error) {
	var n int64
	for _, r := range recs {
		if got, want := r.NumCols(), int64(schema.NumFields()); got != want {
			return nil, fmt.Errorf("a record has %d columns, not %d", got, want)
		}
		n += r.NumRows()
	}
	cols := make([]arrow.Array, 0, schema.NumFields())
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	for i, f := range schema.Fields() {
		parts := make([]arrow.Array, len(recs))
		for k, r := range recs {
			parts[k] = r.Column(i)
		}
		if len(parts) == 0 {
			cols = append(cols, emptyArray(mem, f.Type))
			continue
		}
		col, err := array.Concatenate(parts, mem)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Name, err)
		}
		cols = append(cols, col)
	}
	return array.NewRecord(schema, cols, n), nil
}

func emptyArray(mem memory.Allocator, dt arrow.DataType) arrow.Array {
	b := array.NewBuilder(mem, dt)
	defer b.Release()
	return b.NewArray()
}

// gather copies rows into one record. Rows that follow each other are copied as one.
func gather(mem memory.Allocator, schema *arrow.Schema, rows []rowAt) (arrow.Record, error) {
	var runs []arrow.Record
	defer func() {
		for _, r := range runs {
			r.Release()
		}
	}()
	for i := 0; i < len(rows); {
		j := i + 1
		for j < len(rows) && rows[j].rec == rows[i].rec && rows[j].row == rows[j-1].row+1 {
			j++
		}
		runs = append(runs, rows[i].rec.NewSlice(int64(rows[i].row), int64(rows[j-1].row+1)))
		i = j
	}
	return joinRecords(mem, schema, runs)
}

// project is rec with the columns of these names, in this order; it shares them.
func project(rec arrow.Record, names []string) (arrow.Record, error) {
	fields := make([]arrow.Field, len(names))
	cols := make([]arrow.Array, len(names))
	for i, name := range names {
		at := rec.Schema().FieldIndices(name)
		if len(at) == 0 {
			return nil, fmt.Errorf("no column %q among %v", name, columnNames(rec.Schema()))
		}
		fields[i], cols[i] = rec.Schema().Field(at[0]), rec.Column(at[0])
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), cols, rec.NumRows()), nil
}

func columnNames(schema *arrow.Schema) []string {
	names := make([]string, schema.NumFields())
	for i, f := range schema.Fields() {
		names[i] = f.Name
	}
	return names
}

// diffSchemas says how got's fields differ from want's. Metadata of the schema as a
// whole is not compared.
func diffSchemas(want, got *arrow.Schema) error {
	if got == nil {
		return fmt.Errorf("the schema is nil")
	}
	if want.NumFields() != got.NumFields() {
		return fmt.Errorf("columns %v, not %v", columnNames(got), columnNames(want))
	}
	for i, f := range want.Fields() {
		if g := got.Field(i); !f.Equal(g) {
			return fmt.Errorf("column %d is %v, not %v", i, g, f)
		}
	}
	return nil
}

// diffRecords says where got differs from want. Floats may differ by tolerance.
func diffRecords(want, got arrow.Record, tolerance float64) error {
	if err := diffSchemas(want.Schema(), got.Schema()); err != nil {
		return err
	}
	for i := range int(want.NumCols()) {
		w, g := want.Column(i), got.Column(i)
		n := min(w.Len(), g.Len())
		if w.Len() == g.Len() && sameValues(w, g, tolerance) {
			continue
		}
		for row := range n {
			if !sameAt(w, g, row, tolerance) {
				return fmt.Errorf("column %q, row %d: %s, not %s (%d rows, of %d wanted)",
					want.ColumnName(i), row, show(g, row), show(w, row), got.NumRows(), want.NumRows())
			}
		}
	}
	if want.NumRows() != got.NumRows() {
		return fmt.Errorf("%d rows, not %d", got.NumRows(), want.NumRows())
	}
	return nil
}

func sameAt(w, g arrow.Array, row int, tolerance float64) bool {
	ws, gs := array.NewSlice(w, int64(row), int64(row+1)), array.NewSlice(g, int64(row), int64(row+1))
	defer ws.Release()
	defer gs.Release()
	return sameValues(ws, gs, tolerance)
}

// sameValues compares arrays of one length. Dictionaries are compared by what their
// codes stand for.
func sameValues(w, g arrow.Array, tolerance float64) bool {
	if _, ok := w.DataType().(*arrow.DictionaryType); ok {
		return sameText(w, g)
	}
	return array.ApproxEqual(w, g, array.WithNaNsEqual(true), array.WithAbsTolerance(tolerance))
}

func sameText(w, g arrow.Array) bool {
	for i := range w.Len() {
		if w.IsNull(i) != g.IsNull(i) || !w.IsNull(i) && w.ValueStr(i) != g.ValueStr(i) {
			return false
		}
	}
	return true
}

func show(a arrow.Array, row int) string {
	if a.IsNull(row) {
		return "null"
	}
	const most = 80
	s := a.ValueStr(row)
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}

// copyInto copies a record, each column into the memory that env lends for it.
func copyInto(env stage.Env, rec arrow.Record) (arrow.Record, error) {
	cols := make([]arrow.Array, 0, rec.NumCols())
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	for i := range int(rec.NumCols()) {
		col, err := array.Concatenate([]arrow.Array{rec.Column(i)}, env.Allocator(i))
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", rec.ColumnName(i), err)
		}
		cols = append(cols, col)
	}
	return array.NewRecord(rec.Schema(), cols, rec.NumRows()), nil
}

// recordBytes is the size of all buffers that a record refers to, each counted once.
func recordBytes(rec arrow.Record) int64 {
	seen := map[*memory.Buffer]bool{}
	var n int64
	for _, c := range rec.Columns() {
		n += dataBytes(c.Data(), seen)
	}
	return n
}

func dataBytes(d arrow.ArrayData, seen map[*memory.Buffer]bool) int64 {
	var n int64
	for _, b := range d.Buffers() {
		if b != nil && !seen[b] {
			seen[b] = true
			n += int64(b.Len())
		}
	}
	for _, child := range d.Children() {
		n += dataBytes(child, seen)
	}
	if dict, ok := d.Dictionary().(*array.Data); ok && dict != nil {
		n += dataBytes(dict, seen)
	}
	return n
}
