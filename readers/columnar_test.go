package readers_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

func parquetSource(f readers.Files) stage.Source {
	return readers.Parquet(readers.ParquetConfig{Files: f})
}

func ipcSource(f readers.Files) stage.Source { return readers.IPC(readers.IPCConfig{Files: f}) }

func parsed(t testing.TB, text string) expr.Expr {
	t.Helper()
	e, err := expr.Parse(text)
	require.NoError(t, err)
	return e
}

func TestParquetKeepsTheContract(t *testing.T) {
	id := func(rec arrow.Record, row int) int64 { return rec.Column(0).(*array.Int64).Value(row) }
	filters := []stagetest.Filter{
		{Expr: parsed(t, "id >= 20"), Keep: func(rec arrow.Record, row int) bool { return id(rec, row) >= 20 }},
		{Expr: parsed(t, "id < 0"), Keep: func(arrow.Record, int) bool { return false }},
	}
	for _, name := range []string{"flat-snappy", "flat-v2", "nested", "nested-v2"} {
		t.Run(name, func(t *testing.T) {
			conforms(t, parquetSource, stagetest.SourceOptions{Bounded: true, Filters: filters}, "testdata/"+name+".parquet")
		})
	}
}

func TestIPCKeepsTheContract(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"flat.arrow", "flat.arrows", "nested.arrow", "nested.arrows", "nested.feather"} {
		t.Run(name, func(t *testing.T) {
			conforms(t, ipcSource, stagetest.SourceOptions{Bounded: true}, "testdata/"+name)
		})
	}
	stream, err := os.ReadFile("testdata/nested.arrows")
	require.NoError(t, err)
	for _, ext := range []string{".gz", ".zst"} {
		conforms(t, ipcSource, stagetest.SourceOptions{Bounded: true}, write(t, dir, "x.arrows"+ext, stream))
	}
}

// jsonOracle is what pyarrow says is in a file: rows of JSON.
func jsonOracle(t testing.TB, name string) []map[string]any {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".rows.json"))
	require.NoError(t, err)
	defer f.Close()
	var rows []map[string]any
	for s := bufio.NewScanner(f); s.Scan(); {
		var row map[string]any
		require.NoError(t, json.Unmarshal(s.Bytes(), &row))
		rows = append(rows, row)
	}
	return rows
}

// Every file of a table has the same values, and those are pyarrow's.
func TestColumnarValues(t *testing.T) {
	asJSON := map[string][]string{
		"flat":   {"id", "text", "kind", "flag", "small", "word", "real", "double", "half", "none", "large"},
		"nested": {"id", "list", "vector", "whole", "person", "people", "grid", "only", "onlys", "boxes"},
	}
	for name, comparable := range asJSON {
		files, err := filepath.Glob("testdata/" + name + "*.*")
		require.NoError(t, err)
		var first got
		for _, file := range files {
			if strings.HasSuffix(file, ".json") {
				continue
			}
			src, err := readers.Open(t.Context(), readers.Config{Files: readers.Paths(file)})
			require.NoError(t, err)
			g := read(t, src, stage.ScanRequest{}, 0)
			require.NoError(t, g.err, file)
			if first.rec == nil {
				first = g
				oracle := jsonOracle(t, name)
				raw, err := array.RecordToStructArray(g.rec).MarshalJSON()
				require.NoError(t, err)
				var rows []map[string]any
				require.NoError(t, json.Unmarshal(raw, &rows))
				require.Len(t, rows, len(oracle))
				for i := range rows {
					for _, col := range comparable {
						require.Equal(t, oracle[i][col], rows[i][col], "%s row %d column %s", file, i, col)
					}
				}
			}
			for _, f := range g.schema.Fields() {
				if file == "testdata/flat-noschema.parquet" && f.Name == "none" {
					continue // of type null only by Arrow's own schema
				}
				require.Equal(t, column(t, first.rec, f.Name), column(t, g.rec, f.Name), "%s column %s (%s)", file, f.Name, f.Type)
			}
		}
	}
}

func TestParquetTypes(t *testing.T) {
	g := read(t, parquetSource(readers.Paths("testdata/flat-snappy.parquet")), stage.ScanRequest{Columns: []string{"kind", "text", "when"}}, 0)
	require.Equal(t, []string{"kind: dictionary<values=utf8, indices=int32, ordered=false>", "text: utf8", "when: timestamp[us, tz=UTC]"}, types(g.schema))
	g = read(t, parquetSource(readers.Paths("testdata/flat-noschema.parquet")), stage.ScanRequest{Columns: []string{"kind", "large"}}, 0)
	require.Equal(t, []string{"kind: utf8", "large: utf8"}, types(g.schema))
	g = read(t, parquetSource(readers.Paths("testdata/nested.parquet")), stage.ScanRequest{Columns: []string{"vector", "boxes"}}, 0)
	require.Equal(t, []string{"vector: fixed_size_list<item: float32, nullable>[3]", "boxes: list<item: fixed_size_list<item: int16, nullable>[4], nullable>"}, types(g.schema))

	// types that Parquet or this release of Arrow do not have come as what stores them
	g = read(t, parquetSource(readers.Paths("testdata/odd.parquet")), stage.ScanRequest{}, 0)
	require.NoError(t, g.err)
	require.Equal(t, []string{"a", "b"}, column(t, g.rec, "v"))
	require.Equal(t, []string{"[1]", "[]"}, column(t, g.rec, "l"))
	require.Equal(t, []string{"1", "(null)"}, column(t, g.rec, "n"))

	g = read(t, parquetSource(readers.Paths("testdata/split.parquet")), stage.ScanRequest{}, 0)
	requireParts(t, g.err, "split.parquet", `"x"`, "BYTE_STREAM_SPLIT")
}

// A column whose dictionary outgrew its page has more than one dictionary.
func TestParquetDictionaryFallback(t *testing.T) {
	for _, maxBytes := range []int64{0, 1000} {
		g := read(t, parquetSource(readers.Paths("testdata/fallback.parquet")), stage.ScanRequest{}, maxBytes)
		require.NoError(t, g.err)
		require.Equal(t, arrow.DICTIONARY, g.schema.Field(0).Type.ID())
		for i, v := range column(t, g.rec, "many") {
			want := fmt.Sprintf("value %d", i*7919%500)
			if i%5 == 3 {
				want = "(null)"
			}
			require.Equal(t, want, v, "row %d", i)
		}
	}
}

func splits(t testing.TB, src stage.Source, req stage.ScanRequest) []stage.Split {
	t.Helper()
	scan, err := src.Plan(t.Context(), req)
	require.NoError(t, err)
	var out []stage.Split
	for s, err := range scan.Splits(t.Context()) {
		require.NoError(t, err)
		out = append(out, s)
	}
	return out
}

func TestColumnarSplits(t *testing.T) {
	for _, src := range []stage.Source{parquetSource(readers.Paths("testdata/flat-none.parquet")), ipcSource(readers.Paths("testdata/flat.arrow"))} {
		all := splits(t, src, stage.ScanRequest{})
		require.Len(t, all, 3)
		for i, s := range all {
			require.EqualValues(t, i*17, s.Base)
			require.EqualValues(t, min(17, 40-i*17), s.Rows)
			require.True(t, s.Exact)
			require.Positive(t, s.Bytes)
		}
		require.Len(t, splits(t, src, stage.ScanRequest{Limit: 17}), 1)
		require.Len(t, splits(t, src, stage.ScanRequest{Limit: 18}), 2)
	}
	src := parquetSource(readers.Paths("testdata/flat-none.parquet"))
	require.Equal(t, "testdata/flat-none.parquet#rg=1", splits(t, src, stage.ScanRequest{})[1].ID)
	some := splits(t, src, stage.ScanRequest{Columns: []string{"id"}})
	require.Less(t, some[0].Bytes, splits(t, src, stage.ScanRequest{})[0].Bytes)
}

func TestParquetPruning(t *testing.T) {
	src := parquetSource(readers.Paths("testdata/flat-none.parquet"))
	for text, want := range map[string]int{
		"id < 17":            1,
		"id >= 17":           2,
		"id = 35":            1,
		"double > 100":       0,
		"text = 'z'":         0,
		"flag":               3,
		"day > '2024-02-01'": 2,
		"id is null":         0,
		"small >= -30":       2,
		"word < 600":         1,
		"kind = 'd'":         0,
		"real < -1":          0,
	} {
		e, err := expr.Parse(text)
		require.NoError(t, err, text)
		got := splits(t, src, stage.ScanRequest{Filter: e, Limit: 1})
		require.Len(t, got, want, text)
		for _, s := range got {
			require.False(t, s.Exact)
		}
	}
	_, err := src.Plan(t.Context(), stage.ScanRequest{Filter: parsed(t, "idd = 1")})
	var missing *stage.ColumnError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, "id", missing.Nearest)
}

// A file cut anywhere is an error that names it.
func TestColumnarCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	for name, src := range map[string]func(readers.Files) stage.Source{
		"split.parquet": parquetSource, "odd.parquet": parquetSource,
		"nested.arrow": ipcSource, "nested.arrows": ipcSource,
	} {
		data, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err)
		step := max(1, len(data)/300)
		for cut := 0; cut < len(data); cut += step {
			file := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(file, data[:cut], 0o666))
			g := read(t, src(readers.Paths(file)), stage.ScanRequest{}, 0)
			requireParts(t, g.err, name)
		}
	}
	data, err := os.ReadFile("testdata/nested.arrows")
	require.NoError(t, err)
	file := write(t, dir, "noend.arrows", data[:len(data)-8])
	requireParts(t, read(t, ipcSource(readers.Paths(file)), stage.ScanRequest{}, 0).err, "row 30", "end marker")
	g := read(t, readers.IPC(readers.IPCConfig{Files: readers.Paths(file), AllowNoEnd: true}), stage.ScanRequest{}, 0)
	require.NoError(t, g.err)
	require.EqualValues(t, 30, g.rec.NumRows())
}

// A flipped byte gives an error or rows, never a panic or fewer rows.
func TestColumnarCorrupt(t *testing.T) {
	dir := t.TempDir()
	for name, src := range map[string]func(readers.Files) stage.Source{
		"flat-snappy.parquet": parquetSource, "flat-gzip.parquet": parquetSource, "flat-v2.parquet": parquetSource,
		"nested.parquet": parquetSource, "nested-v2.parquet": parquetSource,
	} {
		data, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err)
		for at := 4; at < len(data); at += 149 {
			bad := append([]byte{}, data...)
			bad[at] ^= 0xff
			g := read(t, src(readers.Paths(write(t, dir, name, bad))), stage.ScanRequest{}, 0)
			if g.err == nil {
				require.Contains(t, []int64{30, 40}, g.rec.NumRows(), "%s, byte %d", name, at)
			}
		}
	}
}

// A row group of large rows is never held whole: what lives on the heap while it is read
// is a small part of it.
func TestParquetLargeRowGroup(t *testing.T) {
	const rows, size = 1600, 50_000
	src := parquetSource(readers.Paths(largeRows(t, rows, size)))
	runtime.GC()
	var before, during runtime.MemStats
	runtime.ReadMemStats(&before)
	peak, booked, most, n := uint64(0), int64(0), int64(0), int64(0)
	env := stage.Env{Charge: func(_ stage.Purpose, delta int64) {
		booked += delta
		most = max(most, booked)
	}}
	scan, err := src.Plan(t.Context(), stage.ScanRequest{})
	require.NoError(t, err)
	for split, err := range scan.Splits(t.Context()) {
		require.NoError(t, err)
		r, err := scan.Open(t.Context(), env, split, 0)
		require.NoError(t, err)
		for {
			b, err := r.Next(t.Context(), 4<<20)
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			n += int64(b.NumRows())
			b.Release()
			runtime.GC()
			runtime.ReadMemStats(&during)
			peak = max(peak, during.HeapAlloc)
		}
		require.NoError(t, r.Close())
	}
	require.EqualValues(t, rows, n)
	require.Less(t, int64(peak)-int64(before.HeapAlloc), int64(rows*size/4))
	require.Less(t, most, int64(rows*size/4))
	require.Zero(t, booked)
}

func TestColumnarBadInput(t *testing.T) {
	dir := t.TempDir()
	text := write(t, dir, "x.parquet", []byte("this is not a Parquet file at all"))
	requireParts(t, read(t, parquetSource(readers.Paths(text)), stage.ScanRequest{}, 0).err, "x.parquet (33 bytes)", "not a Parquet file, or cut short")
	empty := write(t, dir, "empty.parquet", nil)
	requireParts(t, read(t, parquetSource(readers.Paths(empty)), stage.ScanRequest{}, 0).err, "empty.parquet", "not a Parquet file")
	both := parquetSource(readers.Paths("testdata/flat-none.parquet", "testdata/nested.parquet"))
	requireParts(t, read(t, both, stage.ScanRequest{}, 0).err, "nested.parquet", "flat-none.parquet", "column")
	shared := read(t, parquetSource(readers.Paths("testdata/flat-none.parquet", "testdata/nested.parquet")), stage.ScanRequest{Columns: []string{"id"}}, 0)
	require.NoError(t, shared.err)
	require.EqualValues(t, 70, shared.rec.NumRows())
	kinds := parquetSource(readers.Paths("testdata/flat-none.parquet", "testdata/flat-noschema.parquet"))
	requireParts(t, read(t, kinds, stage.ScanRequest{}, 0).err, `column "kind" is utf8 here and dictionary`)
	g := read(t, parquetSource(readers.Paths("testdata/flat-none.parquet")), stage.ScanRequest{Columns: []string{"txt"}}, 0)
	var missing *stage.ColumnError
	require.ErrorAs(t, g.err, &missing)
	require.Equal(t, "text", missing.Nearest)
	feather := write(t, dir, "old.feather", []byte("FEA1 and so on"))
	requireParts(t, read(t, ipcSource(readers.Paths(feather)), stage.ScanRequest{}, 0).err, "old.feather", "Feather V1")

	data, err := os.ReadFile("testdata/flat-none.parquet")
	require.NoError(t, err)
	file := write(t, dir, "changing.parquet", data)
	src := parquetSource(readers.Paths(file))
	all := splits(t, src, stage.ScanRequest{})
	scan, err := src.Plan(t.Context(), stage.ScanRequest{})
	require.NoError(t, err)
	write(t, dir, "changing.parquet", append(data, data...))
	_, err = scan.Open(t.Context(), stage.Env{}, all[0], 0)
	requireParts(t, err, "changing.parquet", "has changed")
}
