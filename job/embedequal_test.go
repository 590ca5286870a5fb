package job_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/writers"
)

// parquetFile writes a record as one file, in row groups of so many rows.
func parquetFile(t *testing.T, rec arrow.Record, groupRows int64) string {
	t.Helper()
	table := array.NewTableFromRecords(rec.Schema(), []arrow.Record{rec})
	defer table.Release()
	var buf bytes.Buffer
	require.NoError(t, pqarrow.WriteTable(table, &buf, groupRows, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps()))
	path := filepath.Join(t.TempDir(), "in.parquet")
	require.NoError(t, os.WriteFile(path, buf.Bytes(), 0o644))
	return path
}

// mixedTexts are n rows of a number and a text: short ones, long ones, some that were there before,
// empty ones and nulls.
func mixedTexts(n int) arrow.Record {
	rng := rand.New(rand.NewPCG(5, 5))
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "text", Type: arrow.BinaryTypes.String, Nullable: true}}, nil))
	defer b.Release()
	texts := []string{""}
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		kind, words := rng.IntN(20), 1+rng.IntN(10)
		switch {
		case kind == 0:
			b.Field(1).AppendNull()
			continue
		case kind == 1:
			words = 0
		case kind == 2:
			words = 400
		case kind < 6:
			b.Field(1).(*array.StringBuilder).Append(texts[rng.IntN(len(texts))])
			continue
		}
		text := make([]string, words)
		for k := range text {
			text[k] = string(rune('a' + rng.IntN(26)))
		}
		texts = append(texts, strings.Join(text, " "))
		b.Field(1).(*array.StringBuilder).Append(texts[len(texts)-1])
	}
	return b.NewRecord()
}

// embedding is what a run of an embedding job comes to: the digests of its files, and the tokens of
// the batches that were cut, without and with padding, which tell how the texts were packed.
type embedding struct {
	files        map[string]string
	cost, padded int64
}

func embedFile(t *testing.T, in string, actors int, noPacking bool, cfg pipeline.Config) (got embedding) {
	t.Helper()
	m, err := infer.Open(t.Context(), infer.Config{Path: "../infer/testdata/models/plain", Library: testkit.ORTLibrary(t), NoPacking: noPacking})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	task, err := m.Embed(infer.EmbedConfig{Column: "text", Actors: actors})
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), "out")
	sink, err := writers.Files(writers.Config{Path: out})
	require.NoError(t, err)
	data := pipeline.Read(readers.Parquet(readers.ParquetConfig{Files: readers.Paths(in)})).Run(task, pipeline.StageConfig{})
	stats, err := data.Write(t.Context(), sink, cfg)
	require.NoError(t, err)
	for _, o := range stats.Operators {
		got.cost, got.padded = got.cost+o.Cost, got.padded+o.PaddedCost
	}
	got.files = digests(t, out)
	return got
}

// TestEmbeddingsAreTheSameBytesAtAnyParallelism: texts go through the model packed with others of
// like length. Which ones these are, and so every bit of an embedding, hangs on the rows alone: not
// on how many workers there are, on memory, on the blocks that rows come in, or on the row groups
// that they were read from.
func TestEmbeddingsAreTheSameBytesAtAnyParallelism(t *testing.T) {
	const rows = 5000 // more than two windows
	rec := mixedTexts(rows)
	defer rec.Release()
	var want embedding
	for _, group := range []int64{rows, 700, 64} {
		in := parquetFile(t, rec, group)
		for _, c := range []struct {
			actors int
			cfg    pipeline.Config
		}{
			{1, pipeline.Config{CPUs: 1}},
			{2, pipeline.Config{CPUs: 2}},
			{4, pipeline.Config{CPUs: 4}},
			{4, pipeline.Config{CPUs: 1}},
			{1, pipeline.Config{CPUs: 4, MemoryLimit: 1 << 30}},
			{2, pipeline.Config{CPUs: 2, MemoryLimit: 400 << 20}},
			{4, pipeline.Config{CPUs: 2, BlockLimit: 64 << 10}},
			{2, pipeline.Config{CPUs: 4, BlockBytes: 4 << 10}},
		} {
			got := embedFile(t, in, c.actors, false, c.cfg)
			if want.files == nil {
				want = got
				require.Len(t, want.files, 1)
			}
			require.Equal(t, want, got, "%d actors, row groups of %d: %+v", c.actors, group, c.cfg)
		}
	}
	arrival := embedFile(t, parquetFile(t, rec, rows), 2, true, pipeline.Config{})
	require.Less(t, want.padded, arrival.padded*3/4, "packing was on")
}
