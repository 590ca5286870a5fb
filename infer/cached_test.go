package infer_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/stage"
)

// Results that are kept are those that were computed, to the bit, for every task; texts
// that come again cost no tokens; and what is damaged is computed again.
func TestCachedResults(t *testing.T) {
	c := tasks(t)
	texts := append(append([]string{}, c.Texts...), c.Texts[:5]...)
	for name, make := range map[string]func(dir string) (*infer.Model, stage.Task, error){
		"embed": func(dir string) (*infer.Model, stage.Task, error) {
			m := open(t, infer.Config{Path: filepath.Join(tiny, "plain"), CacheDir: dir})
			task, err := m.Embed(infer.EmbedConfig{Column: "text"})
			return m, task, err
		},
		"classify": func(dir string) (*infer.Model, stage.Task, error) {
			m := open(t, infer.Config{Path: "testdata/tasks/single", CacheDir: dir})
			task, err := m.Classify(infer.ClassifyConfig{Column: "text", Scored: infer.Scored{TopK: 3}})
			return m, task, err
		},
		"zeroshot": func(dir string) (*infer.Model, stage.Task, error) {
			m := open(t, infer.Config{Path: "testdata/tasks/nli", CacheDir: dir})
			task, err := m.ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: c.candidates(), Template: c.Template, Scored: infer.Scored{TopK: 3}})
			return m, task, err
		},
		"zeroshot by embeddings": func(dir string) (*infer.Model, stage.Task, error) {
			m := open(t, infer.Config{Path: filepath.Join(tiny, "plain"), CacheDir: dir})
			task, err := m.ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: c.candidates()})
			return m, task, err
		},
		"ner": func(dir string) (*infer.Model, stage.Task, error) {
			m := open(t, infer.Config{Path: "testdata/tasks/ner", CacheDir: dir})
			task, err := m.Entities(infer.EntityConfig{Column: "text", Aggregation: infer.AggregateAverage})
			return m, task, err
		},
		"left": func(dir string) (*infer.Model, stage.Task, error) {
			m := open(t, infer.Config{Path: "testdata/tasks/left", CacheDir: dir})
			task, err := m.Classify(infer.ClassifyConfig{Column: "text"})
			return m, task, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			run := func(dir string) (rows []string, tokens, hits int64) {
				b := newBooks(t)
				m, task, err := make(dir)
				require.NoError(t, err)
				out := runTask(t, task, textRecord(b.mem, append(pointers(texts), nil)...), b.env())
				defer out.Release()
				for i := range int(out.NumRows()) {
					text := ""
					for _, col := range out.Columns() {
						text += col.ValueStr(i) + "|"
					}
					rows = append(rows, text)
				}
				require.NoError(t, m.Close())
				return rows, b.counts[stage.Tokens], b.counts[stage.CacheHits]
			}
			plain, all, none := run("")
			require.Zero(t, none)
			first, some, twins := run(dir)
			requireNearRows(t, plain, first)
			require.Less(t, some, all, "texts that are there twice run once")
			require.Positive(t, twins)
			second, nothing, hits := run(dir)
			require.Equal(t, first, second, "to the bit")
			require.Zero(t, nothing)
			require.Greater(t, hits, twins)

			files, err := filepath.Glob(filepath.Join(dir, "*.values"))
			require.NoError(t, err)
			raw, err := os.ReadFile(files[0])
			require.NoError(t, err)
			raw[len(raw)-1] ^= 1
			require.NoError(t, os.WriteFile(files[0], raw, 0o644))
			third, again, _ := run(dir)
			requireNearRows(t, plain, third)
			require.Positive(t, again)
		})
	}
}

// requireNearRows holds that rows are the same, their numbers nearly: which texts run
// together changes the last bits.
func requireNearRows(t testing.TB, want, got []string) {
	t.Helper()
	decimal := regexp.MustCompile(`-?\d+\.\d+(e-?\d+)?`)
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, decimal.ReplaceAllString(want[i], "#"), decimal.ReplaceAllString(got[i], "#"))
		numbers := decimal.FindAllString(got[i], -1)
		for k, text := range decimal.FindAllString(want[i], -1) {
			a, err := strconv.ParseFloat(text, 64)
			require.NoError(t, err)
			b, err := strconv.ParseFloat(numbers[k], 64)
			require.NoError(t, err)
			require.InDelta(t, a, b, 1e-5)
		}
	}
}

// Another model, output or pooling finds nothing of what was kept.
func TestCacheKeepsModelsApart(t *testing.T) {
	texts, _ := expected(t)
	dir := t.TempDir()
	run := func(model string, c infer.EmbedConfig) (hits int64) {
		b := newBooks(t)
		m := open(t, infer.Config{Path: filepath.Join(tiny, model), CacheDir: dir})
		c.Column = "text"
		task, err := m.Embed(c)
		require.NoError(t, err)
		runTask(t, task, textRecord(b.mem, pointers(texts)...), b.env()).Release()
		require.NoError(t, m.Close())
		return b.counts[stage.CacheHits]
	}
	require.Zero(t, run("plain", infer.EmbedConfig{}))
	require.Zero(t, run("int32", infer.EmbedConfig{}))
	require.Zero(t, run("plain", infer.EmbedConfig{Pooling: infer.CLSPooling}))
	require.Equal(t, int64(len(texts)), run("plain", infer.EmbedConfig{Dimensions: 3, Normalize: infer.Never}), "what a head makes of it is not kept")
	_, err := open(t, infer.Config{Path: filepath.Join(tiny, "plain"), CacheDir: "/dev/null/x"}).Embed(infer.EmbedConfig{Column: "text"})
	require.NoError(t, err, "the folder is opened with the first worker")
}

// The index of what is kept is charged once, to someone who is there, and not at all in the end.
func TestTheIndexOfTheCacheIsCharged(t *testing.T) {
	m := open(t, infer.Config{Path: filepath.Join(tiny, "plain"), CacheDir: t.TempDir()})
	task, err := m.Embed(infer.EmbedConfig{Column: "text"})
	require.NoError(t, err)
	list := make([]*books, 3)
	workers := make([]*chain, 3)
	start := func(i int) {
		list[i] = newBooks(t)
		workers[i] = openChain(t, task, textSchema, list[i].env())
	}
	embed := func(i int, texts ...string) {
		rec, err := workers[i].run(t.Context(), textRecord(list[i].mem, pointers(texts)...))
		require.NoError(t, err)
		rec.Release()
	}
	held := func() (entries []int64) {
		for _, b := range list {
			if b == nil {
				return entries
			}
			entries = append(entries, b.held(stage.Indexes)/64)
		}
		return entries
	}
	start(0)
	start(1)
	require.Equal(t, []int64{0, 0}, held())
	embed(0, "a", "b", "a", "c")
	require.Equal(t, []int64{3, 0}, held())
	embed(1, "d", "a")
	require.Equal(t, []int64{4, 0}, held(), "what one of them adds, the first pays for")
	workers[0].close()
	require.Equal(t, []int64{0, 4}, held())
	start(2)
	require.NoError(t, m.Close())
	embed(2, "a")
	require.Equal(t, []int64{0, 0, 0}, held(), "a model that was closed keeps nothing")
	workers[1].close()
	workers[2].close()
	require.Equal(t, []int64{0, 0, 0}, held())
}
