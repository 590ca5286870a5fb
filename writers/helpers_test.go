package writers_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

// simple is the schema of most tests: a number that names the row, and a text.
func simple() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: arrow.PrimitiveTypes.Int64},
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
}

// numbered makes rows from, from+1, … of simple; every seventh text is null.
func numbered(mem memory.Allocator, from, rows int) arrow.Record {
	b := array.NewRecordBuilder(mem, simple())
	defer b.Release()
	for i := from; i < from+rows; i++ {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%7 == 3 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("row %d, \"so\" to say", i))
		}
	}
	return b.NewRecord()
}

func envOf(mem memory.Allocator) stage.Env {
	return stage.Env{Alloc: func(int) memory.Allocator { return mem }}
}

func open(t testing.TB, cfg writers.Config) stage.Sink {
	t.Helper()
	s, err := writers.Files(cfg)
	require.NoError(t, err)
	return s
}

// writePart writes records as one part and releases them.
func writePart(s stage.Sink, env stage.Env, id stage.PartID, recs ...arrow.Record) (stage.Part, error) {
	defer func() {
		for _, r := range recs {
			r.Release()
		}
	}()
	ctx := context.Background()
	w, err := s.OpenPart(ctx, env, id)
	if err != nil {
		return stage.Part{}, err
	}
	for _, r := range recs {
		if err := w.Write(ctx, r); err != nil {
			return stage.Part{}, joinErr(err, w.Abort(ctx))
		}
	}
	return w.Close(ctx)
}

func joinErr(err, other error) error {
	if other != nil {
		return fmt.Errorf("%w; and %w", err, other)
	}
	return err
}

// job writes parts of ten rows each: part g has rows 10g, 10g+1, …
func job(cfg writers.Config, name stage.JobID, groups ...int64) error {
	s, err := writers.Files(cfg)
	if err != nil {
		return err
	}
	return runJob(s, name, groups...)
}

func runJob(s stage.Sink, name stage.JobID, groups ...int64) error {
	ctx := context.Background()
	if err := s.Check(ctx, simple()); err != nil {
		return err
	}
	done, err := s.Begin(ctx, simple(), name)
	if err != nil {
		return err
	}
	parts := map[stage.PartID]stage.Part{}
	for _, p := range done {
		parts[p.ID] = p
	}
	var all []stage.Part
	for _, g := range groups {
		id := stage.PartID{Group: g}
		p, ok := parts[id]
		if !ok {
			p, err = writePart(s, stage.Env{}, id, numbered(memory.DefaultAllocator, int(g)*10, 10))
			if err != nil {
				return joinErr(err, s.Abort(ctx))
			}
		}
		all = append(all, p)
	}
	if err := s.Commit(ctx, all); err != nil {
		return joinErr(err, s.Abort(ctx))
	}
	return nil
}

// scratch is a folder for the test, in memory where the system has such a place: these
// tests make thousands of small files.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "penstock-writers-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// tree is all files below a folder, with their bytes.
func tree(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(path)
		out[filepath.ToSlash(rel)] = string(raw)
		return err
	})
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	return out
}

// names is the data files below a folder that readers would read, in their order.
func names(t testing.TB, root string) []string {
	t.Helper()
	var out []string
	for name := range tree(t, root) {
		if !strings.HasPrefix(name, "_") && !strings.Contains(name, "/_") && !strings.HasPrefix(name, ".") {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}

// readFile gives the records of a Parquet or IPC file.
func readFile(t testing.TB, path string) (*arrow.Schema, []arrow.Record) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	if strings.HasSuffix(path, ".arrow") {
		r, err := ipc.NewFileReader(bytes.NewReader(raw))
		require.NoError(t, err)
		var recs []arrow.Record
		for i := range r.NumRecords() {
			rec, err := r.RecordAt(i)
			require.NoError(t, err)
			recs = append(recs, rec)
		}
		return r.Schema(), recs
	}
	return readParquet(t, raw)
}

func readParquet(t testing.TB, raw []byte) (*arrow.Schema, []arrow.Record) {
	t.Helper()
	pf, err := file.NewParquetReader(bytes.NewReader(raw))
	require.NoError(t, err)
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: 4096}, memory.DefaultAllocator)
	require.NoError(t, err)
	schema, err := fr.Schema()
	require.NoError(t, err)
	rr, err := fr.GetRecordReader(context.Background(), nil, nil)
	require.NoError(t, err)
	var recs []arrow.Record
	for rr.Next() {
		rr.Record().Retain()
		recs = append(recs, rr.Record())
	}
	if rr.Err() != io.EOF {
		require.NoError(t, rr.Err())
	}
	return schema, recs
}

// column is one column of all records, put together.
func column(t testing.TB, recs []arrow.Record, name string) arrow.Array {
	t.Helper()
	var pieces []arrow.Array
	for _, r := range recs {
		at := r.Schema().FieldIndices(name)
		require.Len(t, at, 1, "column %s", name)
		pieces = append(pieces, r.Column(at[0]))
	}
	if len(pieces) == 1 {
		return pieces[0]
	}
	arr, err := array.Concatenate(pieces, memory.DefaultAllocator)
	require.NoError(t, err)
	return arr
}

// rowNumbers is column n of all Parquet files below root, in the order of names.
func rowNumbers(t testing.TB, root string) []int64 {
	t.Helper()
	var out []int64
	for _, name := range names(t, root) {
		_, recs := readFile(t, filepath.Join(root, name))
		for _, r := range recs {
			out = append(out, r.Column(r.Schema().FieldIndices("n")[0]).(*array.Int64).Int64Values()...)
		}
	}
	return out
}

func count(from, to int64) []int64 {
	var out []int64
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

// readText gives the text of a file, uncompressed by its suffix.
func readText(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(path) {
	case ".gz":
		r, err = gzip.NewReader(f)
	case ".zst":
		var z *zstd.Decoder
		z, err = zstd.NewReader(f)
		defer z.Close()
		r = z
	}
	require.NoError(t, err)
	raw, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(raw)
}

// clean fails the test if anything but the output stands in its folder.
func clean(t testing.TB, out string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(out))
	require.NoError(t, err)
	for _, e := range entries {
		if e.Name() != filepath.Base(out) {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}
