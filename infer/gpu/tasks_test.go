//go:build cuda

package gpu_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
)

// textTasks are all tasks that read text, but for [infer.Model.Embed].
var textTasks = map[string]struct {
	model string
	open  func(m *infer.Model) (stage.Task, error)
}{
	"classify": {"tasks/single", func(m *infer.Model) (stage.Task, error) {
		return m.Classify(infer.ClassifyConfig{Column: "text", Scored: infer.Scored{TopK: 3}})
	}},
	"entities": {"tasks/ner", func(m *infer.Model) (stage.Task, error) {
		return m.Entities(infer.EntityConfig{Column: "text"})
	}},
	"rerank": {"tasks/ranker", func(m *infer.Model) (stage.Task, error) {
		return m.Rerank(infer.RerankConfig{Column: "text", QueryColumn: "other"})
	}},
	"similarity": {"models/plain", func(m *infer.Model) (stage.Task, error) {
		return m.Similarity(infer.SimilarityConfig{Column: "text", Other: "other"})
	}},
	"zero-shot by embeddings": {"models/plain", func(m *infer.Model) (stage.Task, error) {
		return m.ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: labels, Template: "a {}", Scored: infer.Scored{TopK: 3}})
	}},
	"zero-shot by entailment": {"tasks/nli", func(m *infer.Model) (stage.Task, error) {
		return m.ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: labels, Template: "a {}", MultiLabel: true, Scored: infer.Scored{TopK: 3}})
	}},
	"chunks": {"models/plain", func(m *infer.Model) (stage.Task, error) {
		return m.Embed(infer.EmbedConfig{Column: "text", Chunk: infer.Chunk{Tokens: 5, Overlap: 1}})
	}},
}

var labels = []infer.Label{{Name: "b"}, {Name: "c d"}, {Name: "e f g"}}

// pairs are the rows of texts(n), each with the text of the row before it.
func pairs(n int) arrow.Record {
	rec := texts(n)
	defer rec.Release()
	text := rec.Column(1).(*array.String)
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	for i := range n {
		if from := (i + n - 1) % n; text.IsNull(from) {
			b.AppendNull()
		} else {
			b.Append(text.Value(from))
		}
	}
	other := b.NewStringArray()
	defer other.Release()
	fields := append(slices.Clone(rec.Schema().Fields()), arrow.Field{Name: "other", Type: arrow.BinaryTypes.String, Nullable: true})
	return array.NewRecord(arrow.NewSchema(fields, nil), append(slices.Clone(rec.Columns()), other), int64(n))
}

// columnsOf runs a task, and gives the columns that come out as one array each, and how many
// tokens were run and how many texts' results were kept from before.
func columnsOf(t *testing.T, name string, cfg infer.Config, run pipeline.Config) (all []arrow.Array, tokens, hits int64) {
	t.Helper()
	task := textTasks[name]
	cfg.Path, cfg.Library, cfg.RunTokens = filepath.Join("../testdata", task.model), "../../build/lib", 96
	m, err := infer.Open(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	step, err := task.open(m)
	require.NoError(t, err)
	var last atomic.Pointer[pipeline.Stats]
	run.MemoryLimit, run.Progress = 1<<30, func(s pipeline.Stats) { last.Store(&s) }
	rec := pairs(300)
	defer rec.Release()
	var parts [][]arrow.Array // of each column
	for rec, err := range pipeline.Read(readers.Records(rec.Schema(), rec)).Run(step, pipeline.StageConfig{}).Batches(t.Context(), run) {
		require.NoError(t, err)
		parts = append(parts, make([][]arrow.Array, int(rec.NumCols())-len(parts))...)
		for c, col := range rec.Columns() {
			col.Retain()
			parts[c] = append(parts[c], col)
		}
	}
	for _, p := range parts {
		whole, err := array.Concatenate(p, memory.DefaultAllocator)
		require.NoError(t, err)
		all = append(all, whole)
		for _, col := range p {
			col.Release()
		}
	}
	for _, o := range last.Load().Operators {
		tokens, hits = tokens+o.Counters[stage.Tokens], hits+o.Counters[stage.CacheHits]
	}
	return all, tokens, hits
}

// TestTextTasksGiveWhatTheCPUGives runs every task on two devices, and again where results are
// kept, where three calls of a worker look for them at once.
func TestTextTasksGiveWhatTheCPUGives(t *testing.T) {
	for name := range textTasks {
		want, tokens, _ := columnsOf(t, name, infer.Config{}, pipeline.Config{})
		require.Positive(t, tokens, name)
		compare := func(got []arrow.Array, what string) {
			require.Len(t, got, len(want), what)
			for c := range want {
				require.True(t, array.ApproxEqual(want[c], got[c], array.WithAbsTolerance(1e-4)), "%s: column %d", what, c)
			}
		}
		dir := filepath.Join(t.TempDir(), "kept")
		for again, kept := range []string{"", dir, dir} {
			what := fmt.Sprintf("%s, run %d", name, again)
			machine(t, cudaemu.Config{Seed: uint64(again), MaxDelay: late, Devices: make([]cudaemu.Device, 2)})
			got, ran, hits := columnsOf(t, name, infer.Config{CacheDir: kept}, pipeline.Config{GPUs: []int{0, 1}})
			compare(got, what)
			switch again {
			case 0:
				require.Equal(t, tokens, ran, what)
				require.Zero(t, hits, what)
			case 1:
				require.Positive(t, ran, what)
			case 2:
				require.Zero(t, ran, what)
				require.Positive(t, hits, what)
			}
			c := cudaemu.Count()
			require.Positive(t, c.Copies, what)
			require.Zero(t, c.Pageable, what)
		}
		// What devices gave is not taken for what the CPU gives.
		got, ran, _ := columnsOf(t, name, infer.Config{CacheDir: dir}, pipeline.Config{})
		compare(got, name+" on the CPU")
		require.Positive(t, ran, name)
	}
}
