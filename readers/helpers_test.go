package readers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// write makes a file under dir, compressed as its name says.
func write(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(dir, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o777))
	require.NoError(t, os.WriteFile(file, packed(t, name, data), 0o666))
	return file
}

func packed(t testing.TB, name string, data []byte) []byte {
	var buf bytes.Buffer
	switch filepath.Ext(name) {
	case ".gz":
		w := gzip.NewWriter(&buf)
		w.Write(data)
		require.NoError(t, w.Close())
	case ".zst":
		w, err := zstd.NewWriter(&buf)
		require.NoError(t, err)
		w.Write(data)
		require.NoError(t, w.Close())
	default:
		return data
	}
	return buf.Bytes()
}

// faultyDisk asks faults before each of its operations.
type faultyDisk struct {
	faults *stagetest.Faults
	opened atomic.Int64
}

func (d *faultyDisk) Open(_ context.Context, name string) (readers.File, error) {
	if err := d.faults.Call(); err != nil {
		return nil, err
	}
	d.opened.Add(1)
	f, err := os.Open(name)
	return faultyFile{f, d.faults}, err
}

func (d *faultyDisk) ReadDir(_ context.Context, name string) ([]fs.DirEntry, error) {
	if err := d.faults.Call(); err != nil {
		return nil, err
	}
	return os.ReadDir(name)
}

func (d *faultyDisk) Stat(_ context.Context, name string) (fs.FileInfo, error) {
	if err := d.faults.Call(); err != nil {
		return nil, err
	}
	return os.Stat(name)
}

type faultyFile struct {
	*os.File
	faults *stagetest.Faults
}

func (f faultyFile) Read(p []byte) (int, error) {
	if err := f.faults.Call(); err != nil {
		return 0, err
	}
	return f.File.Read(p)
}

func (f faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.faults.Call(); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

// got is what reading a source to its end gave.
type got struct {
	rec    arrow.Record // of all rows; ordinary memory
	rows   []int64      // of the files, or of the splits where that is unknown
	paths  []string
	errs   []string // skippable
	err    error    // that ended it
	schema *arrow.Schema
}

// read reads all of a source, with a check that all memory comes back.
func read(t testing.TB, src stage.Source, req stage.ScanRequest, maxBytes int64) got {
	t.Helper()
	mem := testkit.Allocator(t)
	var booked int64
	env := stage.Env{
		Alloc:  func(int) memory.Allocator { return mem },
		Charge: func(_ stage.Purpose, n int64) { booked += n },
	}
	ctx := context.Background()
	var g got
	scan, err := src.Plan(ctx, req)
	if err != nil {
		return got{err: err}
	}
	g.schema = scan.Schema()
	var recs []arrow.Record
	for split, err := range scan.Splits(ctx) {
		if err != nil {
			g.err = err
			break
		}
		r, err := scan.Open(ctx, env, split, 0)
		if err != nil {
			g.err = err
			break
		}
		recs = g.drain(t, r, maxBytes, recs)
		require.NoError(t, r.Close())
		if g.err != nil {
			break
		}
	}
	require.Zero(t, booked, "bytes stay booked")
	g.rec = join(t, g.schema, recs)
	for _, r := range recs {
		r.Release()
	}
	return g
}

func (g *got) drain(t testing.TB, r stage.Reader, maxBytes int64, recs []arrow.Record) []arrow.Record {
	for {
		b, err := r.Next(context.Background(), maxBytes)
		var bad *stage.RowError
		switch {
		case err == io.EOF:
			return recs
		case errors.As(err, &bad) && bad.Skippable:
			g.errs = append(g.errs, err.Error())
			continue
		case err != nil:
			g.err = err
			return recs
		}
		require.Equal(t, b.NumRows(), b.Origin().Len())
		for _, id := range b.Origin().All() {
			row := id.Row
			if id.FileRow() >= 0 {
				row = id.FileRow()
			}
			g.rows, g.paths = append(g.rows, row), append(g.paths, id.Split.Path)
		}
		recs = append(recs, b.Record())
	}
}

func join(t testing.TB, schema *arrow.Schema, recs []arrow.Record) arrow.Record {
	t.Helper()
	cols := make([]arrow.Array, schema.NumFields())
	var n int64
	for _, r := range recs {
		n += r.NumRows()
	}
	fields := schema.Fields()
	for i, f := range fields {
		if f.Type.ID() == arrow.DICTIONARY { // arrow.Concatenate is wrong where the dictionaries differ
			cols[i] = plainStrings(recs, i)
			fields[i].Type = arrow.BinaryTypes.String
			continue
		}
		var parts []arrow.Array
		for _, r := range recs {
			parts = append(parts, r.Column(i))
		}
		if len(parts) == 0 {
			parts = append(parts, array.MakeArrayOfNull(memory.DefaultAllocator, f.Type, 0))
		}
		col, err := array.Concatenate(parts, memory.DefaultAllocator)
		require.NoError(t, err, f.Name)
		cols[i] = col
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), cols, n)
}

func plainStrings(recs []arrow.Record, col int) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	for _, rec := range recs {
		for i := range int(rec.NumRows()) {
			if arr := rec.Column(col); arr.IsNull(i) {
				b.AppendNull()
			} else {
				b.Append(arr.ValueStr(i))
			}
		}
	}
	return b.NewArray()
}

// column is column name of rec as text, "(null)" where null.
func column(t testing.TB, rec arrow.Record, name string) []string {
	t.Helper()
	at := rec.Schema().FieldIndices(name)
	require.Len(t, at, 1, "column %q of %s", name, rec.Schema())
	out := make([]string, rec.NumRows())
	for i := range out {
		out[i] = rec.Column(at[0]).ValueStr(i)
	}
	return out
}

// types gives the columns of a schema as "name: type".
func types(s *arrow.Schema) []string {
	out := make([]string, s.NumFields())
	for i, f := range s.Fields() {
		out[i] = fmt.Sprintf("%s: %s", f.Name, f.Type)
	}
	return out
}

// conforms checks a source against the contract, with every storage call failing in turn.
func conforms(t *testing.T, make func(readers.Files) stage.Source, opt stagetest.SourceOptions, paths ...string) {
	t.Helper()
	opt.Faults = &stagetest.Faults{}
	stagetest.Source(t, make(readers.Files{Paths: paths, FS: &faultyDisk{faults: opt.Faults}}), opt)
}

func requireParts(t testing.TB, err error, parts ...string) {
	t.Helper()
	require.Error(t, err)
	for _, p := range parts {
		require.Contains(t, err.Error(), p)
	}
}

func lineNumbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %d%s\n", i, strings.Repeat("é", i%7))
	}
	return b.String()
}
