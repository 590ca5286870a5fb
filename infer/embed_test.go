package infer_test

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/stage"
)

// awkward reads the oracle's texts.
func awkward(t testing.TB) []string {
	t.Helper()
	f, err := os.Open(testkit.Artefact(t, "oracle", "awkward.parquet"))
	require.NoError(t, err)
	defer f.Close()
	pq, err := file.NewParquetReader(f)
	require.NoError(t, err)
	r, err := pqarrow.NewFileReader(pq, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	require.NoError(t, err)
	table, err := r.ReadTable(t.Context())
	require.NoError(t, err)
	defer table.Release()
	var out []string
	for _, chunk := range table.Column(table.Schema().FieldIndices("text")[0]).Data().Chunks() {
		for i := range chunk.Len() {
			out = append(out, chunk.(*array.String).Value(i))
		}
	}
	return out
}

// The embeddings of awkward rows are those of Python's tokenizers and onnxruntime, at any
// number of actors and any size of batch.
func TestEmbeddingsEqualTheOracle(t *testing.T) {
	texts := awkward(t)
	want := readNPY(t, testkit.Artefact(t, "oracle", "awkward_embeddings.npy"))
	ids := readIDs(t, testkit.Artefact(t, "oracle", "awkward_ids.jsonl"))
	require.GreaterOrEqual(t, len(texts), 600)
	m := miniLM(t)
	for _, c := range []struct{ batch, actors int }{{64, 2}, {1000, 1}, {7, 3}} {
		b := newBooks(t)
		task, err := m.Embed(infer.EmbedConfig{Column: "text", BatchSize: c.batch, Actors: c.actors})
		require.NoError(t, err)
		got := embedAll(t, task, b, texts, c.batch, c.actors)
		requireNear(t, want, got, 1e-4)
		tokens := int64(0)
		for _, row := range ids {
			tokens += int64(len(row))
		}
		require.Equal(t, tokens, b.counts[stage.Tokens])
		require.GreaterOrEqual(t, b.counts[stage.PaddedTokens], tokens)
		require.Positive(t, b.counts[stage.Truncated])
		t.Logf("batch %d: %d tokens, %d padded", c.batch, tokens, b.counts[stage.PaddedTokens])
	}
}

// embedAll cuts texts into batches and lets actors take them in turn.
func embedAll(t *testing.T, task stage.Task, b *books, texts []string, batch, actors int) [][]float32 {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	got := make([][]float32, len(texts))
	next := make(chan int)
	var wg sync.WaitGroup
	for range actors {
		c := openChain(t, task, schema, b.env())
		require.Equal(t, stage.Pool{Min: actors, Max: actors}, c.mNeed.Workers)
		require.Equal(t, batch, c.mNeed.Batch.MaxRows)
		wg.Go(func() {
			defer c.close()
			for from := range next {
				to := min(from+batch, len(texts))
				rec, err := c.run(context.Background(), textRecord(b.mem, pointers(texts[from:to])...))
				if err != nil {
					t.Error(err)
					continue
				}
				copy(got[from:to], vectorsOf(rec.Column(0)))
				rec.Release()
			}
		})
	}
	for from := 0; from < len(texts); from += batch {
		next <- from
	}
	close(next)
	wg.Wait()
	return got
}

// The result of a row does not depend on the rows beside it.
func TestBatchEqualsSingle(t *testing.T) {
	texts := awkward(t)
	if len(texts) > 120 {
		texts = texts[len(texts)-120:]
	}
	m := miniLM(t)
	all, err := m.EmbedTexts(t.Context(), texts, infer.EmbedConfig{})
	require.NoError(t, err)
	single := make([][]float32, len(texts))
	for i := range texts {
		one, err := m.EmbedTexts(t.Context(), texts[i:i+1], infer.EmbedConfig{})
		require.NoError(t, err)
		single[i] = one[0]
	}
	requireNear(t, single, all, 1e-5)
}
