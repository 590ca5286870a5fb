package readers_test

import (
	"fmt"
	"io"
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

// benchmark reads a source to its end, again and again.
func benchmark(b *testing.B, src stage.Source, bytes int) {
	b.Helper()
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		scan, err := src.Plan(b.Context(), stage.ScanRequest{})
		require.NoError(b, err)
		for split, err := range scan.Splits(b.Context()) {
			require.NoError(b, err)
			r, err := scan.Open(b.Context(), stage.Env{}, split, 0)
			require.NoError(b, err)
			for {
				batch, err := r.Next(b.Context(), 0)
				if err == io.EOF {
					break
				}
				require.NoError(b, err)
				batch.Release()
			}
			require.NoError(b, r.Close())
		}
	}
}

func BenchmarkText(b *testing.B) {
	data := []byte(strings.Repeat("a line of text as people write them, of some length\n", 400_000))
	benchmark(b, textSource(readers.Paths(write(b, b.TempDir(), "x.txt", data))), len(data))
}

func BenchmarkCSV(b *testing.B) {
	var s strings.Builder
	s.WriteString("id,text,score,ok\n")
	for i := range 200_000 {
		fmt.Fprintf(&s, "%d,a line of text as people write them,%g,true\n", i, float64(i)/7)
	}
	benchmark(b, csvSource(readers.Paths(write(b, b.TempDir(), "x.csv", []byte(s.String())))), s.Len())
}

func BenchmarkJSONL(b *testing.B) {
	var s strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&s, `{"id": %d, "text": "a line of text as people write them", "score": %g, "ok": true}`+"\n", i, float64(i)/7)
	}
	benchmark(b, jsonlSource(readers.Paths(write(b, b.TempDir(), "x.jsonl", []byte(s.String())))), s.Len())
}

// largeRows writes a Parquet file of one row group that has n rows of the given size.
func largeRows(t testing.TB, n, size int) string {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "blob", Type: arrow.BinaryTypes.Binary}}, nil)
	file := filepath.Join(t.TempDir(), "large.parquet")
	f, err := os.Create(file)
	require.NoError(t, err)
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy), parquet.WithDictionaryDefault(false), parquet.WithMaxRowGroupLength(int64(n)))
	w, err := pqarrow.NewFileWriter(schema, f, props, pqarrow.DefaultWriterProps())
	require.NoError(t, err)
	random := rand.NewChaCha8([32]byte{})
	blob := make([]byte, size)
	w.NewBufferedRowGroup()
	batch := max(1, min(n, 500_000/size))
	for i := 0; i < n; i += batch {
		ids, blobs := array.NewInt64Builder(memory.DefaultAllocator), array.NewBinaryBuilder(memory.DefaultAllocator, arrow.BinaryTypes.Binary)
		for k := range batch {
			random.Read(blob)
			ids.Append(int64(i + k))
			blobs.Append(blob)
		}
		rec := array.NewRecord(schema, []arrow.Array{ids.NewArray(), blobs.NewArray()}, int64(batch))
		require.NoError(t, w.WriteBuffered(rec))
	}
	require.NoError(t, w.Close())
	return file
}

func BenchmarkParquetLargeRows(b *testing.B) {
	benchmark(b, parquetSource(readers.Paths(largeRows(b, 2000, 50_000))), 2000*50_000)
}

func BenchmarkParquetSmallRows(b *testing.B) {
	benchmark(b, parquetSource(readers.Paths(largeRows(b, 400_000, 50))), 400_000*58)
}
