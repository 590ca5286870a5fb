package infer_test

import (
	"errors"
	"math"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

var textSchema = arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)

func tinyModel(t testing.TB, name string) *infer.Model {
	return open(t, infer.Config{Path: filepath.Join(tiny, name)})
}

// withNulls are the texts with a null after every second one.
func withNulls(texts []string) []*string {
	var out []*string
	for i, p := range pointers(texts) {
		out = append(out, p)
		if i%2 == 1 {
			out = append(out, nil)
		}
	}
	return out
}

// Both stages of both tasks keep to the contract of stages.
func TestStagesKeepToTheContract(t *testing.T) {
	texts, _ := expected(t)
	rows := withNulls(append(append([]string{}, texts...), texts...))
	m := tinyModel(t, "plain")
	embed, err := m.Embed(infer.EmbedConfig{Column: "text", BatchSize: 8})
	require.NoError(t, err)
	classify, err := m.ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: []infer.Label{{Name: "a"}, {Name: "z"}, {Name: "q w"}}, Template: "{}"})
	require.NoError(t, err)
	for name, task := range map[string]stage.Task{"embed": embed, "classify": classify} {
		t.Run(name, func(t *testing.T) {
			stages, err := task.Expand(stage.Placement{})
			require.NoError(t, err)
			rec := textRecord(memory.DefaultAllocator, rows...)
			defer rec.Release()
			stagetest.Stage(t, stages[0], []arrow.Record{rec}, stagetest.StageOptions{})
			bound, err := stages[0].Bind([]*arrow.Schema{rec.Schema()})
			require.NoError(t, err)
			w, err := bound.Open(t.Context(), stage.Env{})
			require.NoError(t, err)
			ids, err := process(t.Context(), w, stage.NewBatch(textRecord(memory.DefaultAllocator, rows...), stage.Origin{}))
			require.NoError(t, err)
			defer ids.Release()
			stagetest.Stage(t, stages[1], []arrow.Record{ids}, stagetest.StageOptions{Tolerance: 1e-5})
		})
	}
}

// Null rows give null, do not reach the model, and are counted.
func TestNullsAndCounters(t *testing.T) {
	texts, want := expected(t)
	b := newBooks(t)
	task, err := tinyModel(t, "plain").Embed(infer.EmbedConfig{Column: "text", Output: "vector"})
	require.NoError(t, err)
	c := openChain(t, task, textSchema, b.env())
	defer c.close()
	out, err := c.run(t.Context(), textRecord(b.mem, withNulls(texts)...))
	require.NoError(t, err)
	defer out.Release()
	require.Equal(t, "vector", out.ColumnName(0))
	require.Equal(t, arrow.FixedSizeListOf(8, arrow.PrimitiveTypes.Float32), out.Schema().Field(0).Type)
	vectors := vectorsOf(out.Column(0))
	for i, v := range vectors {
		if i%3 == 2 {
			require.Nil(t, v)
		} else {
			requireNear(t, want["plain"][i/3*2+i%3:][:1], [][]float32{v}, 1e-5)
		}
	}
	require.Equal(t, int64(4), b.counts[stage.NullInputs])
	require.Equal(t, int64(1), b.counts[stage.Truncated], "one text is longer than 12 tokens")
	require.Equal(t, int64(5+3+2+11+4+12+6+4+4), b.counts[stage.Tokens])

	all, err := c.run(t.Context(), textRecord(b.mem, nil, nil))
	require.NoError(t, err)
	require.Equal(t, 2, all.Column(0).NullN())
	all.Release()
}

// A batch of views on several records is a batch like any other.
func TestViews(t *testing.T) {
	texts, want := expected(t)
	b := newBooks(t)
	task, err := tinyModel(t, "plain").Embed(infer.EmbedConfig{Column: "text"})
	require.NoError(t, err)
	c := openChain(t, task, textSchema, b.env())
	defer c.close()
	require.True(t, c.mNeed.Views)
	ids, err := process(t.Context(), c.tokens, stage.NewBatch(textRecord(b.mem, pointers(texts)...), stage.Origin{}))
	require.NoError(t, err)
	defer ids.Release()
	tail := ids.NewSlice(3, 9)
	defer tail.Release()
	cost := make([]int32, 6)
	c.mNeed.Cost(tail, cost)
	require.Equal(t, []int32{11, 4, 12, 6, 4, 4}, cost)
	batch := stage.Batch{Parts: []stage.View{{Record: ids, Rows: []int32{8, 0, 2}}, {Record: tail}, {Record: tail, Rows: []int32{5, 5}}}}
	batch.Retain()
	out, err := process(t.Context(), c.model, batch)
	require.NoError(t, err)
	defer out.Release()
	var picked [][]float32
	for _, i := range []int{8, 0, 2, 3, 4, 5, 6, 7, 8, 8, 8} {
		picked = append(picked, want["plain"][i])
	}
	requireNear(t, picked, vectorsOf(out.Column(0)), 1e-5)
}

// Every kind of text column is taken; other columns are refused before anything runs.
func TestColumns(t *testing.T) {
	task, err := tinyModel(t, "plain").Embed(infer.EmbedConfig{Column: "text"})
	require.NoError(t, err)
	stages, err := task.Expand(stage.Placement{})
	require.NoError(t, err)
	var fault *stage.ColumnError
	_, err = stages[0].Bind([]*arrow.Schema{arrow.NewSchema([]arrow.Field{{Name: "texts", Type: arrow.BinaryTypes.String}}, nil)})
	require.True(t, errors.As(err, &fault))
	require.Equal(t, "texts", fault.Nearest)
	_, err = stages[0].Bind([]*arrow.Schema{arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.PrimitiveTypes.Int64}}, nil)})
	require.True(t, errors.As(err, &fault))
	require.ErrorContains(t, err, "int64")
	_, err = stages[1].Bind([]*arrow.Schema{textSchema})
	require.True(t, errors.As(err, &fault))

	id := arrow.Field{Name: "id", Type: arrow.PrimitiveTypes.Int64}
	_, second := bindTask(t, task, arrow.NewSchema([]arrow.Field{id, textSchema.Field(0)}, nil))
	require.Equal(t, 3, second.Schema.NumFields(), "the ids do not go on: %s", second.Schema)
	require.True(t, second.Schema.HasField("embedding"))

	_, err = task.Expand(stage.Placement{Device: stage.CUDA})
	require.ErrorContains(t, err, "cuda")
}

// How rows become batches: packed by their tokens, in the order of arrival where that is asked
// for or where the model's shape is fixed.
func TestBatchPolicy(t *testing.T) {
	arrival := stage.Policy{MaxRows: 64}
	for _, c := range []struct {
		model string
		cfg   infer.Config
		batch int
		want  stage.Policy
	}{
		{"plain", infer.Config{}, 0, stage.Policy{MaxCost: 1024, LookAheadRows: 2048}},
		{"plain", infer.Config{RunTokens: 99, LookAheadRows: 5}, 7, stage.Policy{MaxCost: 99, LookAheadRows: 5, MaxRows: 7}},
		{"plain", infer.Config{NoPacking: true}, 0, arrival},
		{"plain", infer.Config{NoPacking: true}, 3, stage.Policy{MaxRows: 3}},
		{"fixed_batch", infer.Config{}, 0, arrival},
		{"fixed_tokens", infer.Config{}, 0, arrival},
	} {
		c.cfg.Path = filepath.Join(tiny, c.model)
		task, err := open(t, c.cfg).Embed(infer.EmbedConfig{Column: "text", BatchSize: c.batch})
		require.NoError(t, err)
		_, second := bindTask(t, task, textSchema)
		require.Equal(t, c.want, second.Need.Batch, "%s %+v", c.model, c.cfg)
	}
}

func TestEmbedConfigFaults(t *testing.T) {
	m := tinyModel(t, "plain")
	_, err := m.Embed(infer.EmbedConfig{})
	require.ErrorContains(t, err, "Column is empty")
	_, err = m.Embed(infer.EmbedConfig{Column: "text", Prompt: "query"})
	require.ErrorContains(t, err, `no prompt "query"`)
}

// Normalisation can be overridden, and a prompt is put before every text if asked for.
func TestEmbedSettings(t *testing.T) {
	texts, want := expected(t)
	dir := copyFolder(t, filepath.Join(tiny, "plain"))
	write(t, dir, "config_sentence_transformers.json", `{"prompts": {"query": "a b ", "document": ""}}`)
	m := open(t, infer.Config{Path: dir})
	embed := func(c infer.EmbedConfig, text string) []float32 {
		b := newBooks(t)
		c.Column = "text"
		task, err := m.Embed(c)
		require.NoError(t, err)
		chain := openChain(t, task, textSchema, b.env())
		defer chain.close()
		rec, err := chain.run(t.Context(), textRecord(b.mem, &text))
		require.NoError(t, err)
		defer rec.Release()
		return vectorsOf(rec.Column(0))[0]
	}
	raw := embed(infer.EmbedConfig{Normalize: infer.Never}, texts[0])
	require.InDelta(t, 1, norm(embed(infer.EmbedConfig{}, texts[0])), 1e-6)
	require.Greater(t, math.Abs(norm(raw)-1), 1e-3)
	requireNear(t, want["plain"][:1], [][]float32{embed(infer.EmbedConfig{Prompt: "query"}, "c")}, 1e-5)

	_, err := m.Embed(infer.EmbedConfig{Column: "text", Prompt: "documents"})
	require.ErrorContains(t, err, `did you mean "document"?`)
	always, err := tinyModel(t, "int32").Embed(infer.EmbedConfig{Column: "text", Normalize: infer.Always})
	require.NoError(t, err)
	first, err := always.Expand(stage.Placement{})
	require.NoError(t, err)
	as, err := tinyModel(t, "int32").Embed(infer.EmbedConfig{Column: "text"})
	require.NoError(t, err)
	second, err := as.Expand(stage.Placement{})
	require.NoError(t, err)
	require.NotEqual(t, first[1].ID().Fingerprint(), second[1].ID().Fingerprint())
	require.Equal(t, first[0].ID().Fingerprint(), second[0].ID().Fingerprint())
}

func norm(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

// Zero-shot scores are the softmax of cosines over the labels.
func TestZeroShot(t *testing.T) {
	texts, want := expected(t)
	m := tinyModel(t, "plain")
	labels := []infer.Label{{Name: "first", Description: "a b c"}, {Name: "d"}, {Name: "third", Description: "z z"}}
	task, err := m.ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: labels, Template: "{}", Temperature: 0.2, Scored: infer.Scored{ScoreColumn: "p"}})
	require.NoError(t, err)
	b := newBooks(t)
	c := openChain(t, task, textSchema, b.env())
	defer c.close()
	out, err := c.run(t.Context(), textRecord(b.mem, withNulls(texts)...))
	require.NoError(t, err)
	defer out.Release()
	names, scores := out.Column(0).(*array.String), out.Column(1).(*array.Float32)
	require.Equal(t, "label", out.ColumnName(0))
	require.Equal(t, "p", out.ColumnName(1))
	centres := [][]float32{want["plain"][0], want["plain"][1], want["plain"][4]}
	for i := range int(out.NumRows()) {
		if i%3 == 2 {
			require.True(t, names.IsNull(i) && scores.IsNull(i))
			continue
		}
		best, sum := 0, 0.0
		cos := make([]float64, 3)
		for k, centre := range centres {
			for d := range centre {
				cos[k] += float64(centre[d]) * float64(want["plain"][i/3*2+i%3][d])
			}
			if cos[k] > cos[best] {
				best = k
			}
			sum += math.Exp(cos[k] / 0.2)
		}
		require.Equal(t, labels[best].Name, names.Value(i), "row %d", i)
		require.InDelta(t, math.Exp(cos[best]/0.2)/sum, scores.Value(i), 1e-4)
	}
	require.Equal(t, int64(4), b.counts[stage.NullInputs])
}

func TestZeroShotFaults(t *testing.T) {
	m := tinyModel(t, "plain")
	_, err := m.ClassifyZeroShot(infer.ZeroShotConfig{Labels: []infer.Label{{Name: "a"}}, Template: "about", Temperature: -1, Scored: infer.Scored{ScoreColumn: "label"}})
	for _, part := range []string{"Column is empty", "two or more", "has no {}", "temperature -1", `column "label"`} {
		require.ErrorContains(t, err, part)
	}
	_, err = m.ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: []infer.Label{{Name: "a"}, {Name: "a"}, {Name: " "}}})
	require.ErrorContains(t, err, `label "a" was given twice`)
	require.ErrorContains(t, err, "label 3 has no name")
}

// Messages that people send fall under the labels that people would give them.
func TestZeroShotMiniLM(t *testing.T) {
	task, err := miniLM(t).ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: []infer.Label{
		{Name: "bill", Description: "an invoice or a payment"}, {Name: "fault", Description: "something that is broken"},
		{Name: "thanks", Description: "gratitude and praise"}}})
	require.NoError(t, err)
	b := newBooks(t)
	c := openChain(t, task, textSchema, b.env())
	defer c.close()
	texts := []string{"Why was I charged twice this month?", "The screen went black and will not turn on.", "Thank you so much, you were wonderful!"}
	out, err := c.run(t.Context(), textRecord(b.mem, pointers(texts)...))
	require.NoError(t, err)
	defer out.Release()
	for i, want := range []string{"bill", "fault", "thanks"} {
		require.Equal(t, want, out.Column(0).(*array.String).Value(i))
		require.Greater(t, out.Column(1).(*array.Float32).Value(i), float32(0.5))
	}
}
