package writers_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

func TestMaxRowsPerFile(t *testing.T) {
	for format, ext := range map[writers.Format]string{writers.Parquet: "parquet", writers.IPC: "arrow"} {
		out := filepath.Join(scratch(t), "out")
		require.NoError(t, job(writers.Config{Path: out, Format: format, MaxRowsPerFile: 4}, "a", 0, 1))
		var want []string
		for _, name := range []string{"000000-0000", "000000-0001", "000000-0002", "000001-0000", "000001-0001", "000001-0002"} {
			want = append(want, "part-"+name+"."+ext)
		}
		require.Equal(t, want, names(t, out))
		require.Equal(t, count(0, 20), rowNumbers(t, out))
		m, err := writers.ReadManifest(out)
		require.NoError(t, err)
		require.Equal(t, []int64{4, 4, 2, 4, 4, 2}, fileRows(m))
	}
}

func fileRows(m writers.Manifest) []int64 {
	var rows []int64
	for _, f := range m.Files {
		rows = append(rows, f.Rows)
	}
	return rows
}

func TestMinRowsPerFile(t *testing.T) {
	for _, c := range []struct {
		groups   []int64
		min, max int64
		want     []int64
	}{
		{groups: []int64{0, 1, 2, 3}, min: 15, want: []int64{20, 20}},
		{groups: []int64{0, 1, 2}, min: 15, want: []int64{30}},
		{groups: []int64{0, 1, 2}, min: 100, want: []int64{30}},
		{groups: []int64{0, 1, 2}, min: 10, want: []int64{10, 10, 10}},
		{groups: []int64{0}, min: 50, want: []int64{10}},
		{groups: []int64{0, 1, 2, 3, 4}, min: 20, max: 20, want: []int64{20, 20, 10}},
		{groups: []int64{0, 1}, min: 5, max: 6, want: []int64{6, 4, 6, 4}},
	} {
		for _, cfg := range []writers.Config{{}, {Format: writers.IPC, Compression: writers.Zstd}, {Format: writers.JSONL, Compression: writers.Zstd},
			{Format: writers.JSONL}, {Format: writers.CSV, Compression: writers.Gzip}} {
			t.Run(fmt.Sprintf("%d of %d to %d %s", len(c.groups), c.min, c.max, cfg.Format), func(t *testing.T) {
				out := filepath.Join(scratch(t), "out")
				cfg.Path, cfg.MinRowsPerFile, cfg.MaxRowsPerFile = out, c.min, c.max
				require.NoError(t, job(cfg, "a", c.groups...))
				m, err := writers.ReadManifest(out)
				require.NoError(t, err)
				require.Equal(t, c.want, fileRows(m))
				stands(t, out)
				if cfg.Format == writers.Parquet || cfg.Format == writers.IPC {
					require.Equal(t, count(0, int64(10*len(c.groups))), rowNumbers(t, out))
					return
				}
				var lines []string
				for _, f := range m.Files {
					text := strings.TrimSuffix(readText(t, filepath.Join(out, f.Path)), "\n")
					if cfg.Format == writers.CSV {
						text = strings.TrimPrefix(text, "n,text\n")
					}
					lines = append(lines, strings.Split(text, "\n")...)
				}
				require.Len(t, lines, 10*len(c.groups))
				for i, line := range lines {
					require.Regexp(t, fmt.Sprintf(`^({"n":)?%d,`, i), line)
				}
			})
		}
	}
}

// TestMinRowsPerFileKeepsTypes: joined files are read back as they are stored, so types
// that Parquet lacks survive.
func TestMinRowsPerFileKeepsTypes(t *testing.T) {
	mem := testkit.Allocator(t)
	kinds := scalars()
	for name, k := range nested() {
		kinds[name] = k
	}
	kinds["vectors"] = kind{arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float32), `[[1,2],null,[5,6]]`, nil}
	rec := build(t, mem, kinds, 2)
	defer rec.Release()
	write := func(cfg writers.Config, parts int) (schema string, recs []arrow.Record) {
		out := filepath.Join(scratch(t), "out")
		cfg.Path = out
		s := open(t, cfg)
		_, err := s.Begin(ctx, rec.Schema(), "job")
		require.NoError(t, err)
		var all []stage.Part
		for i := range parts {
			rec.Retain()
			p, err := writePart(s, envOf(mem), partID(int64(i)), rec)
			require.NoError(t, err)
			all = append(all, p)
		}
		require.NoError(t, s.Commit(ctx, all))
		for _, name := range names(t, out) {
			if cfg.Format == writers.IPC {
				_, r := readFile(t, filepath.Join(out, name))
				recs = append(recs, r...)
			} else {
				recs = append(recs, readStored(t, filepath.Join(out, name))...)
				schema = parquetSchema(t, filepath.Join(out, name))
			}
		}
		return schema, recs
	}
	for _, format := range []writers.Format{writers.Parquet, writers.IPC} {
		schema, apart := write(writers.Config{Format: format}, 3)
		schema2, joined := write(writers.Config{Format: format, MinRowsPerFile: 1000}, 3)
		require.Equal(t, schema, schema2)
		for _, f := range rec.Schema().Fields() {
			require.True(t, array.Equal(column(t, apart, f.Name), column(t, joined, f.Name)), f.Name)
		}
	}
}

func TestPartitionBy(t *testing.T) {
	mem := testkit.Allocator(t)
	kinds := map[string]kind{
		"id":   {arrow.PrimitiveTypes.Int64, `[0,1,2,3,4,5]`, nil},
		"lang": {arrow.BinaryTypes.String, `["de","en",null,"de","a/b=c%","de"]`, nil},
		"year": {arrow.PrimitiveTypes.Int16, `[2023,2024,2024,2024,null,2023]`, nil},
	}
	rec := build(t, mem, kinds, 1)
	defer rec.Release()
	rec6 := array.NewRecord(rec.Schema(), rec.Columns(), 6)
	defer rec6.Release()
	out := filepath.Join(scratch(t), "out")
	writeOne(t, writers.Config{Path: out, PartitionBy: []string{"year", "lang"}}, mem, rec6, 4)
	want := map[string]string{
		"year=2023/lang=de/part-000000-0000.parquet":                                 "[0 5]",
		"year=2024/lang=en/part-000000-0000.parquet":                                 "[1]",
		"year=2024/lang=__HIVE_DEFAULT_PARTITION__/part-000000-0000.parquet":         "[2]",
		"year=2024/lang=de/part-000000-0000.parquet":                                 "[3]",
		"year=__HIVE_DEFAULT_PARTITION__/lang=a%2Fb%3Dc%25/part-000000-0000.parquet": "[4]",
	}
	require.Equal(t, sortedKeys(want), names(t, out))
	for name, ids := range want {
		schema, recs := readFile(t, filepath.Join(out, name))
		require.Equal(t, 1, schema.NumFields(), "the columns are in the folders' names")
		require.Equal(t, ids, column(t, recs, "id").String())
	}
	m, err := writers.ReadManifest(out)
	require.NoError(t, err)
	require.Equal(t, []string{"year", "lang"}, m.PartitionBy)
	require.Len(t, m.Schema, 3)
	stands(t, out)
}

func TestPartitionByIsChecked(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "language", Type: arrow.BinaryTypes.String}, {Name: "vec", Type: arrow.ListOf(arrow.PrimitiveTypes.Float32)}}, nil)
	out := filepath.Join(scratch(t), "out")
	for _, c := range []struct {
		by   []string
		want string
	}{
		{[]string{"langage"}, `did you mean "language"?`},
		{[]string{"vec"}, "cannot be names of folders"},
	} {
		require.ErrorContains(t, open(t, writers.Config{Path: out, PartitionBy: c.by}).Check(ctx, schema), c.want)
	}
	one := arrow.NewSchema(schema.Fields()[:1], nil)
	require.ErrorContains(t, open(t, writers.Config{Path: out, PartitionBy: []string{"language"}}).Check(ctx, one), "no column is left")
	long := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	long.Field(0).(*array.StringBuilder).Append(strings.Repeat("x", 300))
	long.Field(1).AppendNull()
	s := open(t, writers.Config{Path: out, PartitionBy: []string{"language"}})
	nullable := arrow.NewSchema([]arrow.Field{{Name: "language", Type: arrow.BinaryTypes.String}, {Name: "vec", Type: arrow.ListOf(arrow.PrimitiveTypes.Float32), Nullable: true}}, nil)
	_, err := s.Begin(ctx, nullable, "a")
	require.NoError(t, err)
	_, err = writePart(s, stage.Env{}, partID(0), long.NewRecord())
	require.ErrorContains(t, err, "too long for the name of a folder")
	require.NoError(t, s.Abort(ctx))
}

// TestManyPartitions: more than can be open at a time; every row arrives, in order.
func TestManyPartitions(t *testing.T) {
	mem := testkit.Allocator(t)
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "k", Type: arrow.PrimitiveTypes.Int32}}, nil)
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	rng := rand.New(rand.NewPCG(1, 2))
	want := map[string][]string{}
	for i := range 3000 {
		k := rng.IntN(150)
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		b.Field(1).(*array.Int32Builder).Append(int32(k))
		folder := fmt.Sprintf("k=%d", k)
		want[folder] = append(want[folder], fmt.Sprint(i))
	}
	rec := b.NewRecord()
	defer rec.Release()
	out := filepath.Join(scratch(t), "out")
	writeOne(t, writers.Config{Path: out, Format: writers.CSV, PartitionBy: []string{"k"}}, mem, rec, 100, 1500)
	got := map[string][]string{}
	for _, name := range names(t, out) {
		got[filepath.Dir(name)] = append(got[filepath.Dir(name)], lineRows(t, filepath.Join(out, name))...)
	}
	require.Equal(t, want, got)
}

func TestFileName(t *testing.T) {
	out := filepath.Join(scratch(t), "out")
	require.NoError(t, job(writers.Config{Path: out, FileName: "{run}.rows.{group}", Format: writers.JSONL}, "a", 12))
	require.Regexp(t, `^[0-9a-f]{8}\.rows\.000012\.jsonl$`, names(t, out)[0])
	for template, want := range map[string]string{
		"x":             "lacks {group}",
		"{group}{row}":  "the placeholders are",
		"a/{group}":     "not a path",
		"_{group}":      "pass over",
		".hide-{group}": "pass over",
	} {
		_, err := writers.Files(writers.Config{Path: out, FileName: template})
		require.ErrorContains(t, err, want)
	}
}

func TestConfigFaultsAreAllSaid(t *testing.T) {
	_, err := writers.Files(writers.Config{MaxRowsPerFile: 5, MinRowsPerFile: 6, RowGroupRows: -1, Compression: writers.LZ4,
		PartitionBy: []string{"a", "a", "_b"}, FileName: "x"})
	for _, want := range []string{"no output folder", "MinRowsPerFile 6 is more", "RowGroupRows is -1", "cannot be compressed with lz4", `column "a" twice`, `"_b"`, "{group}"} {
		require.ErrorContains(t, err, want)
	}
	_, err = writers.ParseFormat("parket")
	require.ErrorContains(t, err, `did you mean "parquet"?`)
	_, err = writers.ParseMode("overwritte")
	require.ErrorContains(t, err, `did you mean "overwrite"?`)
	var f writers.Format
	require.NoError(t, f.UnmarshalText([]byte("NDJSON")))
	require.Equal(t, writers.JSONL, f)
}

// mixed is rows with texts of all lengths, vectors, nulls in both, and a few keys.
func mixed(mem memory.Allocator, rows int) arrow.Record {
	rng := rand.New(rand.NewPCG(7, 7))
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "vec", Type: arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Float32), Nullable: true},
		{Name: "key", Type: arrow.PrimitiveTypes.Int8},
	}, nil))
	defer b.Release()
	for i := range rows {
		if rng.IntN(10) == 0 {
			b.Field(0).AppendNull()
		} else {
			b.Field(0).(*array.StringBuilder).Append(strings.Repeat("abc ", rng.IntN(60)))
		}
		vec := b.Field(1).(*array.FixedSizeListBuilder)
		vec.Append(i%100 != 0)
		for range 3 {
			vec.ValueBuilder().(*array.Float32Builder).Append(rng.Float32())
		}
		b.Field(2).(*array.Int8Builder).Append(int8(rng.IntN(3)))
	}
	return b.NewRecord()
}

// TestFilesDependOnRowsAlone: however the rows were cut into records, the same bytes.
func TestFilesDependOnRowsAlone(t *testing.T) {
	const rows = 40_000
	mem := testkit.Allocator(t)
	rng := rand.New(rand.NewPCG(3, 3))
	rec := mixed(mem, rows)
	defer rec.Release()
	for name, cfg := range map[string]writers.Config{
		"parquet":     {RowGroupBytes: 3 << 20, MaxRowsPerFile: 33_333},
		"partitioned": {PartitionBy: []string{"key"}, RowGroupBytes: 2 << 20},
		"ipc":         {Format: writers.IPC, Compression: writers.LZ4},
		"jsonl.zst":   {Format: writers.JSONL, Compression: writers.Zstd},
		"csv.gz":      {Format: writers.CSV, Compression: writers.Gzip},
	} {
		t.Run(name, func(t *testing.T) {
			use := rec
			if cfg.Format == writers.CSV {
				use = array.NewRecord(arrow.NewSchema(rec.Schema().Fields()[:1], nil), rec.Columns()[:1], rows)
				defer use.Release()
			}
			var want map[string]string
			for _, step := range []int64{rows, 64, 4096, 9_999, 0} {
				var cuts []int64
				for at := int64(0); ; {
					n := step
					if n == 0 {
						n = 1 + rng.Int64N(3000)
					}
					if at += n; at >= rows {
						break
					}
					cuts = append(cuts, at)
				}
				out := filepath.Join(scratch(t), "out")
				cfg.Path = out
				writeOne(t, cfg, mem, use, cuts...)
				got := tree(t, out)
				if want == nil {
					want = got
				}
				require.Equal(t, sortedKeys(want), sortedKeys(got))
				for name := range want {
					require.True(t, want[name] == got[name], "%s differs when cut by %d", name, step)
				}
			}
		})
	}
}

// TestUnits: a record is cut where its rows or bytes reach the bound, and never at no row.
func TestUnits(t *testing.T) {
	mem := testkit.Allocator(t)
	rec := numbered(mem, 0, 50)
	defer rec.Release()
	for from := int64(0); from < 50; from++ {
		for _, bytes := range []int64{1, 30, 200, 10_000} {
			for _, rows := range []int64{1, 7, 100} {
				n, size, full := writers.CutRecord(rec, from, writers.Cut(rows, bytes))
				require.Positive(t, n)
				require.Equal(t, writers.RecordBytes(rec, from, from+n), size)
				require.LessOrEqual(t, n, rows)
				require.LessOrEqual(t, from+n, int64(50))
				if n > 1 {
					require.Less(t, writers.RecordBytes(rec, from, from+n-1), bytes)
				}
				require.Equal(t, n == rows || size >= bytes, full)
			}
		}
	}
	var sum int64
	for i := int64(0); i < 50; i++ {
		sum += writers.RecordBytes(rec, i, i+1)
	}
	require.Equal(t, writers.RecordBytes(rec, 0, 50), sum)
}

// TestConcurrentParts: writers of different parts do not disturb each other.
func TestConcurrentParts(t *testing.T) {
	mem := testkit.Allocator(t)
	out := filepath.Join(scratch(t), "out")
	s := open(t, writers.Config{Path: out, MaxRowsPerFile: 300})
	_, err := s.Begin(ctx, simple(), "a")
	require.NoError(t, err)
	var mu sync.Mutex
	var written, buffers int64
	env := envOf(mem)
	env.Count = func(c stage.Counter, n int64) {
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, stage.WrittenBytes, c)
		written += n
	}
	env.Charge = func(p stage.Purpose, n int64) {
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, stage.WriterBuffers, p)
		buffers += n
	}
	parts := make([]stage.Part, 16)
	var wg sync.WaitGroup
	for g := range parts {
		wg.Go(func() {
			w, err := s.OpenPart(ctx, env, partID(int64(g)))
			if err != nil {
				t.Error(err)
				return
			}
			for k := range 10 {
				rec := numbered(mem, g*1000+k*100, 100)
				if err := w.Write(ctx, rec); err != nil {
					t.Error(err)
				}
				rec.Release()
			}
			parts[g], err = w.Close(ctx)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	rand.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	require.NoError(t, s.Commit(ctx, parts))
	require.Equal(t, count(0, 16_000), rowNumbers(t, out))
	require.Zero(t, buffers)
	m, err := writers.ReadManifest(out)
	require.NoError(t, err)
	require.Equal(t, m.Bytes, written)
	require.Equal(t, int64(16_000), m.Rows)
	paths := make([]string, len(m.Files))
	for i, f := range m.Files {
		paths[i] = f.Path
	}
	require.True(t, sort.StringsAreSorted(paths), "files stand in the order of their rows")
	clean(t, out)
}

func TestManifestGolden(t *testing.T) {
	mem := testkit.Allocator(t)
	out := filepath.Join(scratch(t), "out")
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: arrow.PrimitiveTypes.Int64},
		{Name: "vec", Type: arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float32), Nullable: true},
	}, nil)
	s := open(t, writers.Config{Path: out, Format: writers.JSONL})
	_, err := s.Begin(ctx, schema, "0123456789abcdef")
	require.NoError(t, err)
	rec, _, err := array.RecordFromJSON(mem, schema, strings.NewReader(`[{"n":1,"vec":[1,2]},{"n":2,"vec":null}]`))
	require.NoError(t, err)
	p, err := writePart(s, envOf(mem), partID(0), rec)
	require.NoError(t, err)
	bad, err := writePart(s, envOf(mem), stage.PartID{Group: 0, Errors: true}, deadLetters(mem, 1))
	require.NoError(t, err)
	require.NoError(t, s.Commit(ctx, []stage.Part{bad, p}))
	got, err := os.ReadFile(filepath.Join(out, writers.ManifestName))
	require.NoError(t, err)
	want, err := os.ReadFile(filepath.Join("testdata", "manifest.json"))
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}
