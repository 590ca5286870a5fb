package infer_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
)

// everyOutput are all vectors that the model "several" can give for a text.
var everyOutput = []infer.EmbedOutput{
	{Output: "usual"},
	{Output: "whole", ModelOutput: "sentence_embedding"},
	{Output: "mean", ModelOutput: "last_hidden_state", Pooling: infer.MeanPooling},
	{Output: "first", Pooling: infer.CLSPooling},
	{Output: "greatest", Pooling: infer.MaxPooling},
	{Output: "last", ModelOutput: "last_hidden_state", Pooling: infer.LastTokenPooling},
}

// embedOutputs gives the columns that c makes of texts, by their names.
func embedOutputs(t *testing.T, m *infer.Model, b *books, c infer.EmbedConfig, texts []*string) map[string][][]float32 {
	t.Helper()
	c.Column = "text"
	task, err := m.Embed(c)
	require.NoError(t, err)
	rec := runTask(t, task, textRecord(b.mem, texts...), b.env())
	defer rec.Release()
	out := map[string][][]float32{}
	for i, f := range rec.Schema().Fields() {
		out[f.Name] = vectorsOf(rec.Column(i))
	}
	return out
}

// Several outputs of one run are, to the bit, those that a run for each of them gives, also
// where they are cut and brought to length 1, where results are kept, and where only some
// of a text's are.
func TestSeveralOutputsEqualSingleOnes(t *testing.T) {
	texts, _ := expected(t)
	rows := append(pointers(texts), nil, &texts[0])
	for name, c := range map[string]infer.EmbedConfig{
		"whole": {}, "cut": {Dimensions: 3}, "of length 1": {Normalize: infer.Always}, "both": {Dimensions: 5, Normalize: infer.Always},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[string][][]float32{}
			m, b := tinyModel(t, "several"), newBooks(t)
			for _, o := range everyOutput {
				one := c
				one.Output, one.ModelOutput, one.Pooling = o.Output, o.ModelOutput, o.Pooling
				want[o.Output] = embedOutputs(t, m, b, one, rows)[o.Output]
			}
			tokens := b.counts[stage.Tokens]
			require.NotEqual(t, want["whole"], want["mean"])
			require.NotEqual(t, want["first"], want["greatest"])
			require.Nil(t, want["first"][len(texts)], "of a null text")

			c.Outputs = everyOutput
			b = newBooks(t)
			require.Equal(t, want, embedOutputs(t, m, b, c, rows))
			require.Equal(t, tokens, int64(len(everyOutput))*b.counts[stage.Tokens], "one run gives all")

			dir := t.TempDir()
			for i, outputs := range [][]infer.EmbedOutput{everyOutput[:2], everyOutput, everyOutput, everyOutput[3:5]} {
				cached := open(t, infer.Config{Path: filepath.Join(tiny, "several"), CacheDir: dir})
				c.Outputs = outputs
				b := newBooks(t)
				for column, vectors := range embedOutputs(t, cached, b, c, rows) {
					requireNear(t, without(want[column], len(texts)), without(vectors, len(texts)), 1e-5)
				}
				require.Equal(t, i < 2, b.counts[stage.Tokens] > 0, "what is kept of each output is found, also for others together")
				require.NoError(t, cached.Close())
			}
		})
	}
}

// EmbedTexts gives what Embed gives, whichever of the vectors are asked for, in turns and at once.
func TestTextsAreEmbeddedAsRows(t *testing.T) {
	texts, _ := expected(t)
	m, b := tinyModel(t, "several"), newBooks(t)
	var wg sync.WaitGroup
	for _, o := range everyOutput {
		for _, c := range []infer.EmbedConfig{{}, {Dimensions: 3}, {Normalize: infer.Never, Prompt: "b "}} {
			c.ModelOutput, c.Pooling = o.ModelOutput, o.Pooling
			want := embedOutputs(t, m, b, c, pointers(texts))["embedding"]
			for range 2 {
				wg.Go(func() {
					for range 5 {
						got, err := m.EmbedTexts(t.Context(), texts, c)
						if assert.NoError(t, err) {
							assert.Equal(t, want, got)
						}
					}
				})
			}
		}
	}
	wg.Wait()
	require.Equal(t, 2, m.Sessions(), "one for each output of the model")
	require.NoError(t, m.Close())
	require.Zero(t, m.Sessions())

	_, err := tinyModel(t, "several").EmbedTexts(t.Context(), texts, infer.EmbedConfig{Outputs: everyOutput})
	require.ErrorContains(t, err, "leave Outputs and Chunk empty")
	none, err := tinyModel(t, "several").EmbedTexts(t.Context(), nil, infer.EmbedConfig{Dimensions: 3})
	require.NoError(t, err)
	require.Empty(t, none)
}

// without leaves row i out.
func without(rows [][]float32, i int) [][]float32 {
	return append(rows[:i:i], rows[i+1:]...)
}

// The means of chunks are those of each output.
func TestSeveralOutputsOfChunks(t *testing.T) {
	m := tinyModel(t, "several")
	long := "a b c d e f g h i j k l m n o p"
	b := newBooks(t)
	run := func(c infer.EmbedConfig, columns ...string) map[string][][]float32 {
		c.Column, c.Chunk = "text", infer.Chunk{Tokens: 6, Together: true}
		embed, err := m.Embed(c)
		require.NoError(t, err)
		average, err := m.AverageChunks(c)
		require.NoError(t, err)
		in := textRecord(b.mem, &long, nil, &long)
		defer in.Release()
		out := map[string][][]float32{}
		d := pipeline.Read(readers.Records(in.Schema(), in)).Run(embed, pipeline.StageConfig{}).Collect(columns...).Run(average, pipeline.StageConfig{})
		for rec, err := range d.Batches(context.Background(), pipeline.Config{MemoryLimit: 1 << 28}) {
			require.NoError(t, err)
			for _, name := range columns {
				out[name] = append(out[name], vectorsOf(rec.Column(rec.Schema().FieldIndices(name)[0]))...)
			}
		}
		return out
	}
	both := run(infer.EmbedConfig{Outputs: everyOutput[1:4:4]}, "whole", "mean", "first")
	for _, o := range everyOutput[1:4] {
		one := run(infer.EmbedConfig{Output: o.Output, ModelOutput: o.ModelOutput, Pooling: o.Pooling}, o.Output)
		require.Len(t, one[o.Output], 3)
		require.Equal(t, one[o.Output], both[o.Output])
	}
}

func TestSeveralOutputsFaults(t *testing.T) {
	m := tinyModel(t, "several")
	ask := func(c infer.EmbedConfig) error {
		c.Column = "text"
		_, err := m.Embed(c)
		return err
	}
	two := []infer.EmbedOutput{{Output: "a"}, {Output: "a", Pooling: infer.CLSPooling}}
	require.ErrorContains(t, ask(infer.EmbedConfig{Outputs: two}), `two outputs have the column "a"`)
	require.ErrorContains(t, ask(infer.EmbedConfig{Outputs: two[:1], Pooling: infer.CLSPooling}), "there are Outputs as well")
	require.ErrorContains(t, ask(infer.EmbedConfig{Outputs: []infer.EmbedOutput{{}}}), "output 1 has no column")
	require.ErrorContains(t, ask(infer.EmbedConfig{Outputs: []infer.EmbedOutput{{Output: "a", ModelOutput: "sentence"}}}), `no output "sentence"`)
	require.ErrorContains(t, ask(infer.EmbedConfig{Outputs: two[:1], Dimensions: 9}), "9 dimensions were asked for")

	task, err := m.Embed(infer.EmbedConfig{Column: "text", Outputs: []infer.EmbedOutput{{Output: "a"}, {Output: "text", Pooling: infer.CLSPooling}}})
	require.NoError(t, err)
	stages, err := task.Expand(stage.Placement{})
	require.NoError(t, err)
	tokens, err := stages[0].Bind([]*arrow.Schema{textSchema})
	require.NoError(t, err)
	_, err = stages[1].Bind([]*arrow.Schema{tokens.Schema})
	require.ErrorContains(t, err, "the input has it already")
}
