package writers_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/writers"
)

// TestParquetNullVectors: an embedding of a null text is null, so null fixed-size lists
// are common; and their values, which stand there all the same, must not reach the file.
func TestParquetNullVectors(t *testing.T) {
	mem := testkit.Allocator(t)
	kinds := map[string]kind{
		"v":   {arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float32), `[[1,2],null,[3,4],null,null,[5,6]]`, nil},
		"s":   {arrow.StructOf(arrow.Field{Name: "v", Type: arrow.FixedSizeListOf(1, arrow.PrimitiveTypes.Int32), Nullable: true}), `[{"v":[1]},{"v":null},null,{"v":[2]},null,{"v":[3]}]`, nil},
		"all": {arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Int32), `[null,null,null,null,null,null]`, nil},
	}
	rec := build(t, mem, kinds, 1)
	defer rec.Release()
	rec6 := array.NewRecord(rec.Schema(), rec.Columns(), 6)
	defer rec6.Release()
	out := filepath.Join(t.TempDir(), "out")
	writeOne(t, writers.Config{Path: out}, mem, rec6, 1, 4)
	recs := readStored(t, filepath.Join(out, "part-000000.parquet"))
	for i, f := range rec.Schema().Fields() {
		requireSame(t, rec.Column(i), column(t, recs, f.Name), f.Name)
	}
}

// readStored reads a Parquet file without its Arrow schema: arrow v17 cannot give null
// fixed-size lists back.
func readStored(t *testing.T, path string) []arrow.Record {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	pf, err := file.NewParquetReader(bytes.NewReader(raw))
	require.NoError(t, err)
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: 1 << 20}, memory.DefaultAllocator)
	require.NoError(t, err)
	fr.Manifest, err = pqarrow.NewSchemaManifest(pf.MetaData().Schema, nil, &fr.Props)
	require.NoError(t, err)
	rr, err := fr.GetRecordReader(context.Background(), nil, nil)
	require.NoError(t, err)
	var recs []arrow.Record
	for rr.Next() {
		rr.Record().Retain()
		recs = append(recs, rr.Record())
	}
	return recs
}

// parquetSchema is a file's own schema and what it says of its Arrow schema.
func parquetSchema(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	pf, err := file.NewParquetReader(bytes.NewReader(raw))
	require.NoError(t, err)
	return fmt.Sprint(pf.MetaData().Schema, pf.MetaData().KeyValueMetadata().Values())
}

// TestParquetValuesBehindNullLists: a list that is null may have values behind it.
func TestParquetValuesBehindNullLists(t *testing.T) {
	mem := testkit.Allocator(t)
	values, _, err := array.FromJSON(mem, arrow.PrimitiveTypes.Int32, strings.NewReader(`[1,2,3,4,5]`))
	require.NoError(t, err)
	defer values.Release()
	offsets := memory.NewBufferBytes(arrow.Int32Traits.CastToBytes([]int32{1, 2, 4, 5}))
	data := array.NewData(arrow.ListOf(arrow.PrimitiveTypes.Int32), 3,
		[]*memory.Buffer{memory.NewBufferBytes([]byte{0b101}), offsets}, []arrow.ArrayData{values.Data()}, 1, 0)
	defer data.Release()
	list := array.MakeFromData(data)
	defer list.Release()
	rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "l", Type: list.DataType(), Nullable: true}}, nil), []arrow.Array{list}, 3)
	defer rec.Release()
	out := filepath.Join(t.TempDir(), "out")
	writeOne(t, writers.Config{Path: out}, mem, rec)
	_, recs := readFile(t, filepath.Join(out, "part-000000.parquet"))
	require.Equal(t, "[[2] (null) [5]]", column(t, recs, "l").String())
}

func TestParquetRowGroups(t *testing.T) {
	for _, c := range []struct {
		rows, bytes int64
		want        []int64
	}{
		{rows: 400, want: []int64{400, 400, 200}},
		{bytes: 1, want: []int64{1000}}, // units end at the part's end only: they are smaller than their bound
		{want: []int64{1000}},
	} {
		mem := testkit.Allocator(t)
		rec := numbered(mem, 0, 1000)
		out := filepath.Join(t.TempDir(), "out")
		writeOne(t, writers.Config{Path: out, RowGroupRows: c.rows, RowGroupBytes: c.bytes}, mem, rec, 10, 333, 700)
		rec.Release()
		raw, err := os.ReadFile(filepath.Join(out, "part-000000.parquet"))
		require.NoError(t, err)
		pf, err := file.NewParquetReader(bytes.NewReader(raw))
		require.NoError(t, err)
		var got []int64
		for i := range pf.NumRowGroups() {
			got = append(got, pf.RowGroup(i).NumRows())
		}
		require.Equal(t, c.want, got)
		require.Equal(t, count(0, 1000), rowNumbers(t, out))
	}
}

// TestMemoryIsBounded: what a writer holds does not grow with the rows of its part.
func TestMemoryIsBounded(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	most := &peak{Allocator: mem}
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for i := range 1000 {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("%d %s", i, strings.Repeat("x", 10_000)))
	}
	rec := b.NewRecord() // 10 MB
	defer rec.Release()
	ctx := context.Background()
	s := open(t, writers.Config{Path: filepath.Join(t.TempDir(), "out"), RowGroupBytes: 4 << 20})
	_, err := s.Begin(ctx, schema, "job")
	require.NoError(t, err)
	w, err := s.OpenPart(ctx, envOf(most), partID(0))
	require.NoError(t, err)
	for range 5 {
		require.NoError(t, w.Write(ctx, rec))
	}
	_, err = w.Close(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Abort(ctx))
	mem.AssertSize(t, 0)
	// One row group and the unit that ends it, the copies of a unit, and pages.
	require.Less(t, most.most.Load(), int64(10<<20))
}
