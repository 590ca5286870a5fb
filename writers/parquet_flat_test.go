package writers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

var flatTypes = []arrow.DataType{
	arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Uint8, arrow.PrimitiveTypes.Int16,
	arrow.PrimitiveTypes.Uint16, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Uint32, arrow.PrimitiveTypes.Int64,
	arrow.PrimitiveTypes.Uint64, arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Time32ms, arrow.FixedWidthTypes.Time64us,
	arrow.FixedWidthTypes.Timestamp_us, arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64, arrow.BinaryTypes.String,
	arrow.BinaryTypes.Binary, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.LargeBinary, &arrow.FixedSizeBinaryType{ByteWidth: 5},
}

// flatRecord makes a record of all types that are encoded here: with few different values in
// one half of the columns and many in the other, and with nulls alone and in runs.
func flatRecord(mem memory.Allocator, rng *rand.Rand, rows int, nulls float64) arrow.Record {
	var fields []arrow.Field
	for _, kinds := range []string{"few", "many"} {
		for _, t := range flatTypes {
			fields = append(fields, arrow.Field{Name: fmt.Sprintf("%s_%s", kinds, t), Type: t, Nullable: nulls > 0})
		}
	}
	b := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	for i, col := range b.Fields() {
		most := 50
		if i >= len(flatTypes) {
			most = 1 << 30
		}
		for row := 0; row < rows; row++ {
			if rng.Float64() < nulls {
				n := min(1+rng.IntN(200)*rng.IntN(2), rows-row)
				col.AppendNulls(n)
				row += n - 1
				continue
			}
			appendFlat(col, rng.IntN(most))
		}
	}
	return b.NewRecord()
}

func appendFlat(b array.Builder, v int) {
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(v%3 == 0)
	case *array.Int8Builder:
		b.Append(int8(v))
	case *array.Uint8Builder:
		b.Append(uint8(v) + 200)
	case *array.Int16Builder:
		b.Append(int16(v))
	case *array.Uint16Builder:
		b.Append(uint16(v) + 60_000)
	case *array.Int32Builder:
		b.Append(int32(v) - 25)
	case *array.Uint32Builder:
		b.Append(uint32(v) + 1<<31)
	case *array.Int64Builder:
		b.Append(int64(v-25) << 20)
	case *array.Uint64Builder:
		b.Append(uint64(v) + 1<<63)
	case *array.Date32Builder:
		b.Append(arrow.Date32(v % 20_000))
	case *array.Time32Builder:
		b.Append(arrow.Time32(v % 86_400_000))
	case *array.Time64Builder:
		b.Append(arrow.Time64(v))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v-25) << 10)
	case *array.Float32Builder:
		b.Append(float32(v-25) / 3)
	case *array.Float64Builder:
		b.Append(float64(v-25) / 3)
	case *array.StringBuilder:
		b.Append(fmt.Sprintf("text %03d", v)[:3+v%5])
	case *array.BinaryBuilder:
		b.Append(bytes.Repeat([]byte{byte(v)}, v%40))
	case *array.LargeStringBuilder:
		b.Append(fmt.Sprint("large ", v))
	case *array.FixedSizeBinaryBuilder:
		b.Append([]byte(fmt.Sprintf("%05d", v%100_000)))
	}
}

// booking is an environment that counts what is booked.
func booking(mem memory.Allocator, booked, most *atomic.Int64) stage.Env {
	return stage.Env{Alloc: func(int) memory.Allocator { return mem }, Charge: func(_ stage.Purpose, n int64) {
		now := booked.Add(n)
		most.Store(max(most.Load(), now))
	}}
}

// writeBooked writes rec in pieces of about step rows, and says how much was booked at most.
func writeBooked(t testing.TB, cfg writers.Config, mem memory.Allocator, rec arrow.Record, step int64) int64 {
	t.Helper()
	ctx := t.Context()
	s := open(t, cfg)
	_, err := s.Begin(ctx, rec.Schema(), "job")
	require.NoError(t, err)
	var recs []arrow.Record
	for from := int64(0); from < rec.NumRows(); from += step {
		recs = append(recs, rec.NewSlice(from, min(from+step, rec.NumRows())))
	}
	var booked, most atomic.Int64
	part, err := writePart(s, booking(mem, &booked, &most), stage.PartID{}, recs...)
	require.NoError(t, err)
	require.Equal(t, rec.NumRows(), part.Rows)
	require.NoError(t, s.Commit(ctx, []stage.Part{part}))
	require.Zero(t, booked.Load())
	return most.Load()
}

// Flat columns come back as they were from Arrow's own reader, with true statistics, in pages
// of bounded size, whatever the codec, the nulls and the rows of a page; and the bytes do not
// hang on how the rows were cut or on how many processors there are.
func TestParquetFlatRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	codecs := []writers.Compression{writers.Snappy, writers.NoCompression, writers.Zstd, writers.Gzip}
	rows := []int{70_000, 4_000, 31_000, 1, 20_000}
	if testing.Short() {
		rows = rows[1:4]
	}
	for i, n := range rows {
		nulls := []float64{0.02, 0, 0.4, 1, 0.9}[i]
		t.Run(fmt.Sprintf("%d-%v", n, nulls), func(t *testing.T) {
			mem := testkit.Allocator(t)
			rec := flatRecord(mem, rng, n, nulls)
			defer rec.Release()
			var first []byte
			for _, cpus := range []int{1, 3} {
				was := runtime.GOMAXPROCS(cpus)
				out := filepath.Join(scratch(t), "out")
				most := writeBooked(t, writers.Config{Path: out, Compression: codecs[i%4], RowGroupRows: 50_000}, mem, rec, 1+rng.Int64N(9000))
				runtime.GOMAXPROCS(was)
				require.Positive(t, most)
				data, err := os.ReadFile(filepath.Join(out, "part-000000.parquet"))
				require.NoError(t, err)
				if first == nil {
					first = data
				}
				require.True(t, bytes.Equal(first, data), "another file on %d processors", cpus)
			}
			schema, recs := readParquet(t, first)
			for c, col := range rec.Columns() {
				require.True(t, arrow.TypeEqual(col.DataType(), schema.Field(c).Type), "%s: %s", rec.ColumnName(c), schema.Field(c).Type)
				require.Equal(t, rec.Schema().Field(c).Nullable, schema.Field(c).Nullable)
				got := column(t, recs, rec.ColumnName(c))
				require.True(t, array.Equal(col, got), rec.ColumnName(c))
				got.Release()
			}
			requireChunks(t, first, rec)
		})
	}
}

// requireChunks looks at the statistics and the pages of a file.
func requireChunks(t *testing.T, data []byte, rec arrow.Record) {
	t.Helper()
	r, err := file.NewParquetReader(bytes.NewReader(data))
	require.NoError(t, err)
	base := int64(0)
	for g := range r.NumRowGroups() {
		group := r.RowGroup(g)
		for c := range group.NumColumns() {
			name := rec.ColumnName(c)
			col := array.NewSlice(rec.Column(c), base, base+group.NumRows())
			chunk, err := group.MetaData().ColumnChunk(c)
			require.NoError(t, err)
			stats, err := chunk.Statistics()
			require.NoError(t, err)
			require.EqualValues(t, col.NullN(), stats.NullCount(), name)
			requireBounds(t, stats, col, name)
			if group.NumRows() > 1000 && c < len(flatTypes) { // few values: they have a dictionary, but for booleans
				require.Equal(t, c > 0 && col.NullN() < col.Len(), chunk.HasDictionaryPage(), name)
			}
			pages, err := group.GetColumnPageReader(c)
			require.NoError(t, err)
			sum := int64(0)
			for pages.Next() {
				p := pages.Page()
				if _, dict := p.(*file.DictionaryPage); dict {
					continue
				}
				require.LessOrEqual(t, p.NumValues(), int32(30<<10))
				require.LessOrEqual(t, len(p.Data()), 600<<10)
				sum += int64(p.NumValues())
			}
			require.NoError(t, pages.Err())
			require.Equal(t, group.NumRows(), sum, name)
			col.Release()
		}
		base += group.NumRows()
	}
	require.Equal(t, rec.NumRows(), base)
}

// requireBounds compares the least and the greatest value with those of the rows.
func requireBounds(t *testing.T, stats metadata.TypedStatistics, col arrow.Array, name string) {
	t.Helper()
	if col.NullN() == col.Len() {
		require.False(t, stats.HasMinMax(), name)
		return
	}
	require.True(t, stats.HasMinMax(), name)
	switch s := stats.(type) {
	case *metadata.Int64Statistics:
		if a, ok := col.(*array.Int64); ok {
			least, most := int64(math.MaxInt64), int64(math.MinInt64)
			for i := range a.Len() {
				if a.IsValid(i) {
					least, most = min(least, a.Value(i)), max(most, a.Value(i))
				}
			}
			require.Equal(t, []int64{least, most}, []int64{s.Min(), s.Max()}, name)
		}
	case *metadata.Int32Statistics:
		if a, ok := col.(*array.Uint32); ok {
			least, most := uint32(math.MaxUint32), uint32(0)
			for i := range a.Len() {
				if a.IsValid(i) {
					least, most = min(least, a.Value(i)), max(most, a.Value(i))
				}
			}
			require.Equal(t, []uint32{least, most}, []uint32{uint32(s.Min()), uint32(s.Max())}, name)
		}
	case *metadata.ByteArrayStatistics:
		if a, ok := col.(*array.String); ok {
			var least, most []byte
			for i := range a.Len() {
				v := []byte(a.Value(i))
				if a.IsValid(i) && (least == nil || bytes.Compare(v, least) < 0) {
					least = v
				}
				if a.IsValid(i) && bytes.Compare(v, most) > 0 {
					most = v
				}
			}
			require.Equal(t, []parquet.ByteArray{least, most}, []parquet.ByteArray{s.Min(), s.Max()}, name)
		}
	}
}

// NaN is no bound, and a zero is written as the format asks.
func TestParquetFloatBounds(t *testing.T) {
	mem := testkit.Allocator(t)
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Float64}, {Name: "nan", Type: arrow.PrimitiveTypes.Float32}}, nil))
	defer b.Release()
	b.Field(0).(*array.Float64Builder).AppendValues([]float64{0, math.NaN(), 0}, nil)
	b.Field(1).(*array.Float32Builder).AppendValues([]float32{float32(math.NaN()), float32(math.NaN()), float32(math.NaN())}, nil)
	rec := b.NewRecord()
	defer rec.Release()
	out := filepath.Join(t.TempDir(), "out")
	writeOne(t, writers.Config{Path: out}, mem, rec)
	data, err := os.ReadFile(filepath.Join(out, "part-000000.parquet"))
	require.NoError(t, err)
	r, err := file.NewParquetReader(bytes.NewReader(data))
	require.NoError(t, err)
	chunk, err := r.MetaData().RowGroup(0).ColumnChunk(0)
	require.NoError(t, err)
	stats, err := chunk.Statistics()
	require.NoError(t, err)
	least, most := stats.(*metadata.Float64Statistics).Min(), stats.(*metadata.Float64Statistics).Max()
	require.Equal(t, []bool{true, false}, []bool{math.Signbit(least), math.Signbit(most)})
	require.Equal(t, []float64{0, 0}, []float64{math.Abs(least), most})
	chunk, err = r.MetaData().RowGroup(0).ColumnChunk(1)
	require.NoError(t, err)
	stats, err = chunk.Statistics()
	require.NoError(t, err)
	require.False(t, stats != nil && stats.HasMinMax())
}

// Long values get pages of their own, and no bounds.
func TestParquetLongValues(t *testing.T) {
	mem := testkit.Allocator(t)
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.BinaryTypes.Binary, Nullable: true}}, nil))
	defer b.Release()
	for i := range 20 {
		if i%5 == 2 {
			b.Field(0).AppendNull()
		} else {
			b.Field(0).(*array.BinaryBuilder).Append(bytes.Repeat([]byte{byte(i)}, i%4*400_000))
		}
	}
	rec := b.NewRecord()
	defer rec.Release()
	out := filepath.Join(t.TempDir(), "out")
	writeBooked(t, writers.Config{Path: out}, mem, rec, 7)
	_, recs := readFile(t, filepath.Join(out, "part-000000.parquet"))
	require.True(t, array.Equal(rec.Column(0), column(t, recs, "x")))
}

// A part that is dropped gives back what it booked, also while pages are being compressed.
func TestParquetDroppedPartGivesBack(t *testing.T) {
	mem := testkit.Allocator(t)
	rec := flatRecord(mem, rand.New(rand.NewPCG(13, 14)), 40_000, 0.1)
	defer rec.Release()
	var booked, most atomic.Int64
	ctx := context.Background()
	s := open(t, writers.Config{Path: filepath.Join(t.TempDir(), "out")})
	_, err := s.Begin(ctx, rec.Schema(), "job")
	require.NoError(t, err)
	w, err := s.OpenPart(ctx, booking(mem, &booked, &most), partID(0))
	require.NoError(t, err)
	require.NoError(t, w.Write(ctx, rec))
	require.Greater(t, booked.Load(), int64(1<<20))
	require.NoError(t, w.Abort(ctx))
	require.Zero(t, booked.Load())
	require.NoError(t, s.Abort(ctx))
}

// pyarrow reads the same rows as Arrow's Go library wrote to an IPC file, and the same
// statistics. The peers' environment holds it: `make bench-peers`.
func TestParquetIsReadByPyarrow(t *testing.T) {
	python := filepath.Join(testkit.Root(t), "build", "peers", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Skip("no pyarrow: make bench-peers")
	}
	mem := testkit.Allocator(t)
	rec := flatRecord(mem, rand.New(rand.NewPCG(15, 16)), 40_000, 0.1)
	defer rec.Release()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "want.arrow"))
	require.NoError(t, err)
	w, err := ipc.NewFileWriter(f, ipc.WithSchema(rec.Schema()))
	require.NoError(t, err)
	require.NoError(t, w.Write(rec))
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
	for _, c := range []writers.Compression{writers.Snappy, writers.NoCompression, writers.Zstd, writers.Gzip} {
		out := filepath.Join(dir, c.String())
		writeBooked(t, writers.Config{Path: out, Compression: c, RowGroupRows: 33_000}, mem, rec, 6000)
		cmd := exec.Command(python, "testdata/compare.py", filepath.Join(dir, "want.arrow"), filepath.Join(out, "part-000000.parquet"))
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, string(said))
		var got struct {
			Rows, Groups int
			Codecs       []string
		}
		require.NoError(t, json.Unmarshal(said, &got))
		require.Equal(t, 40_000, got.Rows)
		require.Equal(t, 2, got.Groups)
		require.Len(t, got.Codecs, 1)
	}
}
