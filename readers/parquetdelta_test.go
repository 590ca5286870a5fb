package readers_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
)

var encodingFiles = []string{"encodings-v1.parquet", "encodings-v2.parquet", "encodings-lz4.parquet"}

// Differences, prefixes, split streams and LZ4 come out as pyarrow put them in.
func TestParquetEncodings(t *testing.T) {
	want := read(t, ipcSource(readers.Paths("testdata/encodings.arrow")), stage.ScanRequest{}, 0)
	require.NoError(t, want.err)
	defer want.rec.Release()
	for _, name := range encodingFiles {
		for _, maxBytes := range []int64{0, 700, 20_000} {
			got := read(t, parquetSource(readers.Paths("testdata/"+name)), stage.ScanRequest{}, maxBytes)
			require.NoError(t, got.err, name)
			require.EqualValues(t, 1500, got.rec.NumRows())
			for c, col := range want.rec.Columns() {
				require.True(t, array.Equal(col, got.rec.Column(c)), "%s: %s", name, want.rec.ColumnName(c))
			}
			got.rec.Release()
		}
	}
}

// Numbers of any size and in any order, and strings with any prefix in common, in any number:
// also in pages that are large.
func TestParquetDeltas(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 32))
	dir := t.TempDir()
	for i := range 40 {
		rows := []int{1, 2, 31, 33, 129, 257, 1 + rng.IntN(5000)}[i%7]
		if i == 39 {
			rows = 700_000
		}
		b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
			{Name: "i32", Type: arrow.PrimitiveTypes.Int32}, {Name: "i64", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
			{Name: "length", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "shared", Type: arrow.BinaryTypes.String},
		}, nil))
		spread := uint64(1) << rng.IntN(64)
		text := strings.Repeat("abcdefgh", 6)
		for row := range rows {
			v := int64(rng.Uint64N(spread)) - int64(spread/2)
			b.Field(0).(*array.Int32Builder).Append(int32(v))
			if row%9 == 4 {
				b.Field(1).AppendNull()
				b.Field(2).AppendNull()
			} else {
				b.Field(1).(*array.Int64Builder).Append(v)
				b.Field(2).(*array.StringBuilder).Append(text[:rng.IntN(20)])
			}
			b.Field(3).(*array.StringBuilder).Append(text[:rng.IntN(40)] + fmt.Sprint(row))
		}
		rec := b.NewRecord()
		b.Release()
		size := int64(1 << (8 + rng.IntN(10)))
		if i == 39 {
			size = 64 << 20
		}
		data := flatBytes(t, rec, parquet.WithDictionaryDefault(false), parquet.WithDataPageSize(size), parquet.WithStats(false),
			parquet.WithDataPageVersion([]parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2}[i%2]), parquet.WithCompression(compress.Codecs.Zstd),
			parquet.WithEncodingFor("i32", parquet.Encodings.DeltaBinaryPacked), parquet.WithEncodingFor("i64", parquet.Encodings.DeltaBinaryPacked),
			parquet.WithEncodingFor("length", parquet.Encodings.DeltaLengthByteArray), parquet.WithEncodingFor("shared", parquet.Encodings.DeltaByteArray))
		got := read(t, parquetSource(readers.Paths(write(t, dir, "x.parquet", data))), stage.ScanRequest{}, 1<<(12+rng.IntN(10)))
		require.NoError(t, got.err)
		for c, col := range rec.Columns() {
			require.True(t, array.Equal(col, got.rec.Column(c)), "case %d, %d rows: %s", i, rows, rec.ColumnName(c))
		}
		got.rec.Release()
		rec.Release()
	}
}

// Damage in these encodings is an error of the file, or other rows.
func TestParquetEncodingsDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(33, 34))
	dir := t.TempDir()
	for _, name := range encodingFiles {
		data, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err)
		for range 60 {
			bad := append([]byte{}, data...)
			for range 1 + rng.IntN(4) {
				bad[4+rng.IntN(len(bad)*9/10)] ^= byte(1 + rng.IntN(math.MaxUint8))
			}
			got := read(t, parquetSource(readers.Paths(write(t, dir, name, bad))), stage.ScanRequest{}, 64<<10)
			if got.err != nil {
				requireParts(t, got.err, name)
			}
			got.rec.Release()
		}
	}
}
