package readers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
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

// largeColumns is a table whose columns are larger than a usual page each, with and
// without nulls.
func largeColumns(rows int) arrow.Record {
	mem := memory.DefaultAllocator
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "whole", Type: arrow.BinaryTypes.String},
		{Name: "number", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "real", Type: arrow.PrimitiveTypes.Float32},
		{Name: "fixed", Type: &arrow.FixedSizeBinaryType{ByteWidth: 33}, Nullable: true},
		{Name: "flag", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Int64), Nullable: true},
		{Name: "group", Type: arrow.StructOf(arrow.Field{Name: "a", Type: arrow.BinaryTypes.String, Nullable: true}), Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	rng := rand.New(rand.NewPCG(7, 7))
	word := func() string { return strings.Repeat(fmt.Sprintf("%x", rng.Uint32()), rng.IntN(1_200_000/rows)) }
	for i := range rows {
		null := func(c int, more bool) bool {
			if more || rng.IntN(5) == 0 {
				b.Field(c).AppendNull()
				return true
			}
			return false
		}
		if !null(0, i/5000%2 == 1) { // long runs of nulls too
			b.Field(0).(*array.StringBuilder).Append(word())
		}
		b.Field(1).(*array.StringBuilder).Append(word())
		if !null(2, false) {
			b.Field(2).(*array.Int64Builder).Append(rng.Int64())
		}
		b.Field(3).(*array.Float32Builder).Append(rng.Float32())
		if !null(4, false) {
			b.Field(4).(*array.FixedSizeBinaryBuilder).Append([]byte(fmt.Sprintf("%033d", rng.Uint32())))
		}
		if !null(5, false) {
			b.Field(5).(*array.BooleanBuilder).Append(i%3 == 0)
		}
		if l := b.Field(6).(*array.ListBuilder); !null(6, false) {
			l.Append(true)
			for range rng.IntN(20) {
				l.ValueBuilder().(*array.Int64Builder).Append(rng.Int64())
			}
		}
		if g := b.Field(7).(*array.StructBuilder); !null(7, false) {
			g.Append(true)
			if rng.IntN(9) == 0 {
				g.FieldBuilder(0).AppendNull()
			} else {
				g.FieldBuilder(0).(*array.StringBuilder).Append(word())
			}
		}
	}
	return b.NewRecord()
}

func parquetBytes(t testing.TB, rec arrow.Record, props ...parquet.WriterProperty) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := pqarrow.NewFileWriter(rec.Schema(), &buf, parquet.NewWriterProperties(props...), pqarrow.DefaultWriterProps())
	require.NoError(t, err)
	require.NoError(t, w.Write(rec))
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// Pages of many megabytes give the same rows as those of the usual size, for any codec,
// version and encoding.
func TestParquetLargePages(t *testing.T) {
	long, many := largeColumns(20_000), largeColumns(400_000)
	defer long.Release()
	defer many.Release()
	dir := t.TempDir()
	codecs := map[string]compress.Compression{"snappy": compress.Codecs.Snappy, "none": compress.Codecs.Uncompressed,
		"gzip": compress.Codecs.Gzip, "zstd": compress.Codecs.Zstd}
	if testing.Short() {
		codecs = map[string]compress.Compression{"snappy": compress.Codecs.Snappy}
	}
	for name, codec := range codecs {
		for _, version := range []parquet.DataPageVersion{parquet.DataPageV1, parquet.DataPageV2} {
			for _, dict := range []bool{true, false} {
				at := fmt.Sprintf("%s-%v-%v.parquet", name, version == parquet.DataPageV2, dict)
				rec := long
				if name == "snappy" && !dict { // of numbers it takes many rows to make a large page
					rec = many
				}
				t.Run(at, func(t *testing.T) {
					data := parquetBytes(t, rec, parquet.WithCompression(codec), parquet.WithDataPageVersion(version),
						parquet.WithDictionaryDefault(dict), parquet.WithDataPageSize(64<<20), parquet.WithBatchSize(1<<20), parquet.WithStats(false))
					path := write(t, dir, at, data)
					got := read(t, parquetSource(readers.Files{Paths: []string{path}}), stage.ScanRequest{}, 1<<20)
					require.NoError(t, got.err)
					defer got.rec.Release()
					require.EqualValues(t, rec.NumRows(), got.rec.NumRows())
					for i, col := range rec.Columns() {
						require.True(t, array.Equal(col, got.rec.Column(i)), "column %q", rec.ColumnName(i))
					}
					require.NoError(t, os.Remove(path))
				})
			}
		}
	}
}

// What a reader books for pages of 60 MB is a small part of them, and it is all there is.
func TestParquetLargePagesTakeLittleMemory(t *testing.T) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.LargeString}}, nil))
	defer b.Release()
	b.Field(0).(*array.LargeStringBuilder).Reserve(1200)
	for i := range 1200 {
		b.Field(0).(*array.LargeStringBuilder).Append(strings.Repeat(fmt.Sprintf("%06d ", i), 50_000/7))
	}
	rec := b.NewRecord()
	defer rec.Release()
	path := filepath.Join(t.TempDir(), "x.parquet")
	require.NoError(t, os.WriteFile(path, parquetBytes(t, rec, parquet.WithDataPageSize(256<<20), parquet.WithDictionaryDefault(false),
		parquet.WithCompression(compress.Codecs.Zstd)), 0o666))
	ctx := context.Background()
	var booked, peak int64
	env := stage.Env{Charge: func(_ stage.Purpose, n int64) {
		booked += n
		peak = max(peak, booked)
	}}
	scan, err := parquetSource(readers.Files{Paths: []string{path}}).Plan(ctx, stage.ScanRequest{})
	require.NoError(t, err)
	for split, err := range scan.Splits(ctx) {
		require.NoError(t, err)
		r, err := scan.Open(ctx, env, split, 0)
		require.NoError(t, err)
		var rows int64
		for {
			batch, err := r.Next(ctx, 1<<20)
			if err != nil {
				break
			}
			rows += int64(batch.NumRows())
			batch.Release()
		}
		require.EqualValues(t, 1200, rows)
		require.NoError(t, r.Close())
	}
	require.Zero(t, booked)
	require.Less(t, peak, int64(20<<20))
}

// Damage in a large page is an error of its row group, whatever byte it hits.
func TestParquetLargePagesDamaged(t *testing.T) {
	rec := largeColumns(12_000)
	defer rec.Release()
	data := parquetBytes(t, rec, parquet.WithCompression(compress.Codecs.Snappy), parquet.WithDictionaryDefault(false),
		parquet.WithDataPageSize(64<<20), parquet.WithBatchSize(1<<20), parquet.WithStats(false))
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(8, 8))
	for i := range 30 {
		bad := bytes.Clone(data)
		for range 1 + i%3 {
			bad[4+rng.IntN(len(bad)-20_000)] ^= byte(1 + rng.IntN(255))
		}
		got := read(t, parquetSource(readers.Files{Paths: []string{write(t, dir, "bad.parquet", bad)}}), stage.ScanRequest{}, 4<<20)
		if got.err != nil {
			requireParts(t, got.err, "bad.parquet")
		}
		got.rec.Release()
	}
}

// A value that there is no room for is named by its row, before it is read.
func TestParquetNamesTheRowThatIsTooLarge(t *testing.T) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true}}, nil))
	defer b.Release()
	const large = 77
	for i := range 100 {
		switch {
		case i == large:
			b.Field(0).(*array.StringBuilder).Append(strings.Repeat("x", 5<<20))
		case i%7 == 0:
			b.Field(0).AppendNull()
		default:
			b.Field(0).(*array.StringBuilder).Append("short")
		}
	}
	rec := b.NewRecord()
	defer rec.Release()
	path := write(t, t.TempDir(), "x.parquet", parquetBytes(t, rec, parquet.WithDictionaryDefault(false), parquet.WithStats(false)))
	ctx := context.Background()
	full := errors.New("no room")
	env := stage.Env{Reserve: func(_ context.Context, n int64) error {
		if n >= 5<<20 {
			return full
		}
		return nil
	}}
	scan, err := parquetSource(readers.Files{Paths: []string{path}}).Plan(ctx, stage.ScanRequest{})
	require.NoError(t, err)
	for split, err := range scan.Splits(ctx) {
		require.NoError(t, err)
		r, err := scan.Open(ctx, env, split, 0)
		require.NoError(t, err)
		_, err = r.Next(ctx, 1<<20)
		var row *stage.RowError
		require.ErrorAs(t, err, &row)
		require.ErrorIs(t, err, full)
		require.EqualValues(t, large, row.Row)
		require.Equal(t, path, row.Path)
		require.Equal(t, "text", row.Column)
		require.NoError(t, r.Close())
	}
}
