package readers_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
)

// flatColumns makes a record of all types that are decoded straight from their pages, with
// nulls in runs and alone; different values of each column are few in one half of the rows
// and many in the other, so that a dictionary is given up in the middle.
func flatColumns(rng *rand.Rand, rows int, nulls float64) arrow.Record {
	types := []arrow.DataType{arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Uint32, arrow.FixedWidthTypes.Date32,
		arrow.FixedWidthTypes.Time32ms, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint64, arrow.FixedWidthTypes.Timestamp_us,
		arrow.FixedWidthTypes.Time64us, arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64, arrow.BinaryTypes.String,
		arrow.BinaryTypes.Binary, arrow.BinaryTypes.LargeString}
	var fields []arrow.Field
	for i, t := range types {
		fields = append(fields, arrow.Field{Name: fmt.Sprintf("%d_%s", i, t), Type: t, Nullable: nulls > 0})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, col := range b.Fields() {
		for row := 0; row < rows; row++ {
			if rng.Float64() < nulls {
				n := min(1+rng.IntN(20)*rng.IntN(2), rows-row)
				col.AppendNulls(n)
				row += n - 1
				continue
			}
			v := rng.IntN(40)
			if row > rows/2 {
				v = rng.IntN(1 << 24)
			}
			appendFlat(col, v)
		}
	}
	return b.NewRecord()
}

func appendFlat(b array.Builder, v int) {
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(v%3 == 0)
	case *array.Int32Builder:
		b.Append(int32(-v))
	case *array.Uint32Builder:
		b.Append(uint32(v) << 8)
	case *array.Date32Builder:
		b.Append(arrow.Date32(v))
	case *array.Time32Builder:
		b.Append(arrow.Time32(v))
	case *array.Int64Builder:
		b.Append(-int64(v) << 20)
	case *array.Uint64Builder:
		b.Append(uint64(v) << 40)
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v))
	case *array.Time64Builder:
		b.Append(arrow.Time64(v))
	case *array.Float32Builder:
		b.Append(float32(v) / 3)
	case *array.Float64Builder:
		b.Append(float64(v) / 3)
	case *array.StringBuilder:
		b.Append(fmt.Sprint("x ", v)[:v%3])
	case *array.BinaryBuilder:
		b.Append(bytes.Repeat([]byte{byte(v)}, v%90))
	case *array.LargeStringBuilder:
		b.Append(fmt.Sprint("large ", v))
	}
}

// flatBytes is parquetBytes with the Arrow schema in the file, which knows of large strings.
func flatBytes(t testing.TB, rec arrow.Record, props ...parquet.WriterProperty) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := pqarrow.NewFileWriter(rec.Schema(), &buf, parquet.NewWriterProperties(props...), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	require.NoError(t, err)
	require.NoError(t, w.Write(rec))
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// Flat columns come out as they went in, whatever the codec, version, encoding, page size
// and record size, and what is booked for them is given back.
func TestParquetFlatColumns(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	codecs := []compress.Compression{compress.Codecs.Snappy, compress.Codecs.Uncompressed, compress.Codecs.Gzip, compress.Codecs.Zstd, compress.Codecs.Brotli}
	dir := t.TempDir()
	for i := range 40 {
		rec := flatColumns(rng, 1+rng.IntN(6000), []float64{0, 0.01, 0.3, 0.97, 1}[i%5])
		version := []parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2}[rng.IntN(2)]
		data := flatBytes(t, rec, parquet.WithCompression(codecs[rng.IntN(len(codecs))]), parquet.WithDataPageVersion(version),
			parquet.WithDictionaryDefault(rng.IntN(3) > 0), parquet.WithDictionaryPageSizeLimit(1<<(6+rng.Int64N(14))),
			parquet.WithDataPageSize(1<<(7+rng.Int64N(12))), parquet.WithBatchSize(1+rng.Int64N(2000)), parquet.WithMaxRowGroupLength(1+rng.Int64N(8000)))
		src := parquetSource(readers.Files{Paths: []string{write(t, dir, "x.parquet", data)}})
		got := read(t, src, stage.ScanRequest{}, 1<<(9+rng.Int64N(12)))
		require.NoError(t, got.err)
		require.EqualValues(t, rec.NumRows(), got.rec.NumRows())
		for c, col := range rec.Columns() {
			require.True(t, array.Equal(col, got.rec.Column(c)), "case %d: column %q", i, rec.ColumnName(c))
		}
		got.rec.Release()
		rec.Release()
	}
}

// A record keeps its values when the reader goes on: they do not lie in memory that it uses
// again.
func TestParquetFlatRecordsAreTheirOwners(t *testing.T) {
	rec := flatColumns(rand.New(rand.NewPCG(7, 8)), 20_000, 0.1)
	defer rec.Release()
	path := write(t, t.TempDir(), "x.parquet", flatBytes(t, rec))
	ctx := context.Background()
	var booked int64
	env := stage.Env{Charge: func(_ stage.Purpose, n int64) { booked += n }}
	scan, err := parquetSource(readers.Files{Paths: []string{path}}).Plan(ctx, stage.ScanRequest{})
	require.NoError(t, err)
	for split, err := range scan.Splits(ctx) {
		require.NoError(t, err)
		r, err := scan.Open(ctx, env, split, 0)
		require.NoError(t, err)
		var kept []stage.Batch
		for {
			batch, err := r.Next(ctx, 64<<10)
			if err != nil {
				break
			}
			kept = append(kept, batch)
		}
		require.Greater(t, len(kept), 5)
		require.NoError(t, r.Close())
		at := int64(0)
		for _, b := range kept {
			want := rec.NewSlice(at, at+b.Record().NumRows())
			for c := range want.Columns() {
				require.True(t, array.Equal(want.Column(c), b.Record().Column(c)), rec.ColumnName(c))
			}
			at += b.Record().NumRows()
			want.Release()
			b.Release()
		}
	}
	require.Zero(t, booked)
}

// Damage anywhere is an error that names the file, or other rows, and never the end of
// the process.
func TestParquetFlatDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	dir := t.TempDir()
	for i := range 200 {
		version := []parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2}[i%2]
		codec := []compress.Compression{compress.Codecs.Snappy, compress.Codecs.Uncompressed}[i/2%2]
		rec := flatColumns(rng, 300, 0.2)
		data := flatBytes(t, rec, parquet.WithCompression(codec), parquet.WithDataPageVersion(version), parquet.WithDataPageSize(512), parquet.WithStats(false))
		rec.Release()
		for range 1 + rng.IntN(4) {
			data[4+rng.IntN(len(data)*3/4)] ^= byte(1 + rng.IntN(255))
		}
		got := read(t, parquetSource(readers.Files{Paths: []string{write(t, dir, "bad.parquet", data)}}), stage.ScanRequest{}, 64<<10)
		if got.err != nil {
			requireParts(t, got.err, "bad.parquet")
		}
		got.rec.Release()
	}
}
