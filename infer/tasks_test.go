package infer_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// taskCases is what testdata/make_tasks.py computed with the library tokenizers and numpy.
type taskCases struct {
	Texts, Others, Candidates []string
	Template                  string
	Classify                  map[string][][]any
	Zeroshot                  map[string][][]float64
	Multi                     map[string][][]float64 `json:"zeroshot_multi"`
	NER                       map[string]map[string][][]any
	Rerank                    map[string][]float64
}

func tasks(t testing.TB) taskCases {
	raw, err := os.ReadFile("testdata/tasks/expected.json")
	require.NoError(t, err)
	var c taskCases
	require.NoError(t, json.Unmarshal(raw, &c))
	require.Len(t, c.Classify, 6)
	require.Len(t, c.NER, 2)
	return c
}

func taskModel(t testing.TB, name string) *infer.Model {
	return open(t, infer.Config{Path: filepath.Join("testdata/tasks", name)})
}

func (c *taskCases) candidates() []infer.Label {
	var out []infer.Label
	for _, l := range c.Candidates {
		out = append(out, infer.Label{Name: l})
	}
	return out
}

// twoTexts is a record of the columns text and other.
func twoTexts(mem memory.Allocator, texts, others []*string) arrow.Record {
	a, b := textRecord(mem, texts...), textRecord(mem, others...)
	defer a.Release()
	defer b.Release()
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "other", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	return array.NewRecord(schema, []arrow.Array{a.Column(0), b.Column(0)}, a.NumRows())
}

// runTask takes a record through all stages of a task, and gives the columns of the last.
// Columns are carried past each stage, as the engine does it. It takes over rec.
func runTask(t testing.TB, task stage.Task, rec arrow.Record, env stage.Env) arrow.Record {
	t.Helper()
	stages, err := task.Expand(stage.Placement{})
	require.NoError(t, err)
	for i, s := range stages {
		bound, err := s.Bind([]*arrow.Schema{rec.Schema()})
		require.NoError(t, err)
		w, err := bound.Open(t.Context(), env)
		require.NoError(t, err)
		out, err := process(t.Context(), w, stage.NewBatch(selected(rec, bound.Need.Reads), stage.Origin{}))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		if i == len(stages)-1 {
			rec.Release()
			return out
		}
		next := array.NewRecord(bound.Schema, append(rec.Columns()[:len(rec.Columns()):len(rec.Columns())], out.Columns()...), out.NumRows())
		out.Release()
		rec.Release()
		rec = next
	}
	panic("no stages")
}

func selected(rec arrow.Record, names []string) arrow.Record {
	var cols []arrow.Array
	var fields []arrow.Field
	for _, name := range names {
		at := rec.Schema().FieldIndices(name)[0]
		cols, fields = append(cols, rec.Column(at)), append(fields, rec.Schema().Field(at))
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), cols, rec.NumRows())
}

// items are the structs of a row of a list, each as its fields; nil: null.
func items(col arrow.Array, row int) [][]any {
	list := col.(*array.List)
	if list.IsNull(row) {
		return nil
	}
	out := [][]any{}
	s := list.ListValues().(*array.Struct)
	for from, to := list.ValueOffsets(row); from < to; from++ {
		var item []any
		for f := range s.NumField() {
			switch a := s.Field(f).(type) {
			case *array.String:
				item = append(item, a.Value(int(from)))
			case *array.Float32:
				item = append(item, float64(a.Value(int(from))))
			case *array.Int32:
				item = append(item, float64(a.Value(int(from))))
			}
		}
		out = append(out, item)
	}
	return out
}

func requireItems(t testing.TB, want []any, got [][]any, fields int, where string) {
	t.Helper()
	require.Len(t, got, len(want), "%s: %v", where, got)
	for i, w := range want {
		for f, v := range w.([]any) {
			if x, ok := v.(float64); ok {
				require.InDelta(t, x, got[i][f], 5e-4, "%s item %d: %v", where, i, got)
			} else {
				require.Equal(t, v, got[i][f], "%s item %d: %v", where, i, got)
			}
		}
		require.Len(t, got[i], fields)
	}
}

// Classifiers give what transformers' pipeline gives: all labels, the best, those above a
// threshold.
func TestClassify(t *testing.T) {
	c := tasks(t)
	for name, want := range c.Classify {
		t.Run(name, func(t *testing.T) {
			m, b := taskModel(t, name), newBooks(t)
			run := func(s infer.Scored) arrow.Record {
				task, err := m.Classify(infer.ClassifyConfig{Column: "text", Scored: s})
				require.NoError(t, err)
				return runTask(t, task, textRecord(b.mem, append(pointers(c.Texts), nil)...), b.env())
			}
			all, best := run(infer.Scored{TopK: 99}), run(infer.Scored{})
			defer all.Release()
			defer best.Release()
			middle := want[0][len(want[0])/2].([]any)[1].(float64)
			some := run(infer.Scored{Threshold: max(middle, 1e-3), LabelsColumn: "some"})
			defer some.Release()
			require.Equal(t, "some", some.ColumnName(0))
			for i, labels := range want {
				requireItems(t, labels, items(all.Column(0), i), 2, c.Texts[i])
				first := labels[0].([]any)
				require.Equal(t, first[0], best.Column(0).(*array.String).Value(i))
				require.InDelta(t, first[1], best.Column(1).(*array.Float32).Value(i), 5e-4)
			}
			if middle > 1e-3 {
				requireItems(t, want[0][:len(want[0])/2+1], items(some.Column(0), 0), 2, "threshold")
			}
			last := len(want)
			require.Nil(t, items(all.Column(0), last))
			require.True(t, best.Column(0).IsNull(last) && best.Column(1).IsNull(last))
		})
	}
}

// Models of entailment give what transformers' zero-shot pipeline gives.
func TestZeroShotByEntailment(t *testing.T) {
	c := tasks(t)
	for _, multi := range []bool{false, true} {
		expected := c.Zeroshot
		if multi {
			expected = c.Multi
		}
		for name, want := range expected {
			b := newBooks(t)
			task, err := taskModel(t, name).ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: c.candidates(), Template: c.Template,
				MultiLabel: multi, Scored: infer.Scored{TopK: len(c.Candidates)}})
			require.NoError(t, err)
			out := runTask(t, task, textRecord(b.mem, append([]*string{nil}, pointers(c.Texts)...)...), b.env())
			require.Nil(t, items(out.Column(0), 0))
			for i, scores := range want {
				got := map[string]float64{}
				for _, item := range items(out.Column(0), i+1) {
					got[item[0].(string)] = item[1].(float64)
				}
				for k, l := range c.Candidates {
					require.InDelta(t, scores[k], got[l], 5e-4, "%s multi=%v %q %s", name, multi, c.Texts[i], l)
				}
			}
			require.Equal(t, int64(1), b.counts[stage.NullInputs])
			out.Release()
		}
	}
	_, err := tinyModel(t, "plain").ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: c.candidates(), MultiLabel: true})
	require.ErrorContains(t, err, "a model of entailment is needed")
	_, err = taskModel(t, "nli").ClassifyZeroShot(infer.ZeroShotConfig{Column: "text"})
	require.ErrorContains(t, err, "one or more are needed")
}

// Entities are those of transformers' pipeline, by every aggregation, with offsets in code
// points and the text that stands there.
func TestEntities(t *testing.T) {
	c := tasks(t)
	for name, byHow := range c.NER {
		for how, want := range byHow {
			t.Run(name+" "+how, func(t *testing.T) {
				aggregation, err := infer.ParseAggregation(how)
				require.NoError(t, err)
				b := newBooks(t)
				task, err := taskModel(t, name).Entities(infer.EntityConfig{Column: "text", Aggregation: aggregation})
				require.NoError(t, err)
				out := runTask(t, task, textRecord(b.mem, append(pointers(c.Texts), nil)...), b.env())
				defer out.Release()
				for i, entities := range want {
					got := items(out.Column(0), i)
					requireItems(t, entities, got, 5, c.Texts[i])
					for _, e := range got {
						require.Equal(t, string([]rune(c.Texts[i])[int(e[2].(float64)):int(e[3].(float64))]), e[4])
					}
				}
				require.Nil(t, items(out.Column(0), len(want)))
			})
		}
	}
	b := newBooks(t)
	task, err := taskModel(t, "ner").Entities(infer.EntityConfig{Column: "text", Ignore: []string{"O", "PER"}, Threshold: 0.9, Output: "found"})
	require.NoError(t, err)
	out := runTask(t, task, textRecord(b.mem, pointers(c.Texts)...), b.env())
	defer out.Release()
	require.Equal(t, "found", out.ColumnName(0))
	n := 0
	for i, want := range c.NER["ner"]["simple"] {
		for _, e := range want {
			if e := e.([]any); e[0] != "PER" && e[1].(float64) >= 0.9 {
				n++
			}
		}
		for _, e := range items(out.Column(0), i) {
			require.NotEqual(t, "PER", e[0])
			n--
		}
	}
	require.Zero(t, n)
}

// What is not UTF-8 counts as Python's errors="replace" counts it, and comes out so.
func TestEntitiesOfInvalidText(t *testing.T) {
	m, b := taskModel(t, "ner"), newBooks(t)
	task, err := m.Entities(infer.EntityConfig{Column: "text", Aggregation: infer.AggregateNone, Ignore: []string{}})
	require.NoError(t, err)
	broken, clean := "a\xff b\xe2\x82 cat", "a\uFFFD b\uFFFD cat"
	out := runTask(t, task, textRecord(b.mem, &broken, &clean), b.env())
	defer out.Release()
	require.Equal(t, items(out.Column(0), 1), items(out.Column(0), 0))
	require.NotEmpty(t, items(out.Column(0), 0))
}

// Scores of pairs are those of sentence-transformers' CrossEncoder, for a query in a column
// and for one query for all.
func TestRerank(t *testing.T) {
	c := tasks(t)
	for name, want := range c.Rerank {
		b := newBooks(t)
		m := taskModel(t, name)
		task, err := m.Rerank(infer.RerankConfig{Column: "text", QueryColumn: "other"})
		require.NoError(t, err)
		out := runTask(t, task, twoTexts(b.mem, append(pointers(c.Texts), nil, &c.Texts[0]), append(pointers(c.Others), &c.Texts[0], nil)), b.env())
		scores := out.Column(0).(*array.Float32)
		for i, w := range want {
			require.InDelta(t, w, scores.Value(i), 1e-4, "%s %q", name, c.Texts[i])
		}
		require.True(t, scores.IsNull(len(want)) && scores.IsNull(len(want)+1))

		task, err = m.Rerank(infer.RerankConfig{Column: "text", Query: c.Others[1], Output: "s"})
		require.NoError(t, err)
		one := runTask(t, task, textRecord(b.mem, pointers(c.Texts)...), b.env())
		require.Equal(t, "s", one.ColumnName(0))
		require.InDelta(t, want[1], one.Column(0).(*array.Float32).Value(1), 1e-4)
		one.Release()
		out.Release()
	}
	m := taskModel(t, "ranker")
	_, err := m.Rerank(infer.RerankConfig{Column: "text"})
	require.ErrorContains(t, err, "one of Query and QueryColumn")
	_, err = taskModel(t, "single").Rerank(infer.RerankConfig{Column: "text", Query: "x"})
	require.ErrorContains(t, err, "gives 3 scores for a pair")
	_, err = tinyModel(t, "plain").Rerank(infer.RerankConfig{Column: "text", Query: "x"})
	require.ErrorContains(t, err, "gives no scores of labels for a text")
	_, err = m.Entities(infer.EntityConfig{Column: "text"})
	require.ErrorContains(t, err, "gives no scores of labels for the tokens")
}

// The similarity of two columns is the cosine of their embeddings.
func TestSimilarity(t *testing.T) {
	texts, want := expected(t)
	m := tinyModel(t, "float_mask") // whose vectors are not normalised
	for _, dim := range []int{0, 5} {
		b := newBooks(t)
		task, err := m.Similarity(infer.SimilarityConfig{Column: "text", Other: "other", Dimensions: dim})
		require.NoError(t, err)
		others := append(append([]string{}, texts[1:]...), texts[0])
		out := runTask(t, task, twoTexts(b.mem, append(pointers(texts), nil), append(pointers(others), &texts[0])), b.env())
		got := out.Column(0).(*array.Float32)
		for i := range texts {
			x, y := want["float_mask"][i], want["float_mask"][(i+1)%len(texts)]
			if dim > 0 {
				x, y = x[:dim], y[:dim]
			}
			sum := 0.0
			for k := range x {
				sum += float64(x[k]) * float64(y[k])
			}
			require.InDelta(t, sum/norm(x)/norm(y), got.Value(i), 1e-5)
		}
		require.True(t, got.IsNull(len(texts)))
		out.Release()
	}
	_, err := m.Similarity(infer.SimilarityConfig{Column: "text"})
	require.ErrorContains(t, err, "Column and Other")
}

// Vectors can be cut, pooled in another way and taken from another output; prompts are
// named, written out, or the model's own.
func TestEmbedOptions(t *testing.T) {
	texts, want := expected(t)
	b := newBooks(t)
	embed := func(m *infer.Model, c infer.EmbedConfig, texts ...string) [][]float32 {
		c.Column = "text"
		task, err := m.Embed(c)
		require.NoError(t, err)
		out := runTask(t, task, textRecord(b.mem, pointers(texts)...), b.env())
		defer out.Release()
		return vectorsOf(out.Column(0))
	}
	m := tinyModel(t, "plain")
	for i, v := range embed(m, infer.EmbedConfig{Dimensions: 3}, texts...) {
		cut := append([]float32(nil), want["plain"][i][:3]...)
		n := float32(norm(cut))
		for k := range cut {
			cut[k] /= n
		}
		requireNear(t, [][]float32{cut}, [][]float32{v}, 1e-5)
	}
	_, err := m.Embed(infer.EmbedConfig{Column: "text", Dimensions: 9})
	require.ErrorContains(t, err, "9 dimensions were asked for")

	t.Run("prompts", func(t *testing.T) {
		dir := copyFolder(t, filepath.Join(tiny, "plain"))
		write(t, dir, "config_sentence_transformers.json", `{"prompts": {"query": "a b ", "passage": "z "}, "default_prompt_name": "query"}`)
		p := open(t, infer.Config{Path: dir})
		requireNear(t, want["plain"][:1], embed(p, infer.EmbedConfig{}, "c"), 1e-5)
		requireNear(t, want["plain"][4:5], embed(p, infer.EmbedConfig{Prompt: "passage"}, "z"), 1e-5)
		requireNear(t, want["plain"][:1], embed(p, infer.EmbedConfig{Prompt: infer.NoPrompt}, "a b c"), 1e-5)
		requireNear(t, want["plain"][:1], embed(p, infer.EmbedConfig{Prompt: "a "}, "b c"), 1e-5)
		query, err := p.EmbedTexts(t.Context(), []string{"c"}, infer.EmbedConfig{})
		require.NoError(t, err)
		requireNear(t, want["plain"][:1], query, 1e-5)
	})

	several := tinyModel(t, "several")
	whole := embed(several, infer.EmbedConfig{ModelOutput: "sentence_embedding"}, "a b")
	require.NotEqual(t, whole, embed(several, infer.EmbedConfig{ModelOutput: "last_hidden_state"}, "a b"))
	require.NotEqual(t, embed(several, infer.EmbedConfig{Pooling: infer.MaxPooling}, "a b"), embed(several, infer.EmbedConfig{Pooling: infer.CLSPooling}, "a b"))
	_, err = several.Embed(infer.EmbedConfig{Column: "text", ModelOutput: "sentence_embeding"})
	require.ErrorContains(t, err, `did you mean "sentence_embedding"?`)
}

// A row's result does not depend on the rows beside it, nor on their order; a text of 100 kB
// is a text like others.
func TestTasksRowByRow(t *testing.T) {
	c := tasks(t)
	texts := append(append([]string{}, c.Texts...), strings.Repeat("cat on a mat ", 8000), "\xff\xfe", strings.Repeat("\xc3", 100<<10))
	tasks := map[string]stage.Task{}
	var err error
	tasks["classify"], err = taskModel(t, "single").Classify(infer.ClassifyConfig{Column: "text", Scored: infer.Scored{TopK: 3}})
	require.NoError(t, err)
	tasks["zeroshot"], err = taskModel(t, "nli").ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: c.candidates(), Template: c.Template, Scored: infer.Scored{TopK: 3}})
	require.NoError(t, err)
	tasks["ner"], err = taskModel(t, "ner").Entities(infer.EntityConfig{Column: "text", Aggregation: infer.AggregateFirst})
	require.NoError(t, err)
	tasks["rerank"], err = taskModel(t, "ranker").Rerank(infer.RerankConfig{Column: "text", Query: "the cat"})
	require.NoError(t, err)
	tasks["similarity"], err = tinyModel(t, "plain").Similarity(infer.SimilarityConfig{Column: "text", Other: "text"})
	require.NoError(t, err)
	for name, task := range tasks {
		t.Run(name, func(t *testing.T) {
			b := newBooks(t)
			all := runTask(t, task, textRecord(b.mem, pointers(texts)...), b.env())
			defer all.Release()
			order := rand.New(rand.NewPCG(1, 2)).Perm(len(texts))
			var shuffled []*string
			for _, i := range order {
				shuffled = append(shuffled, &texts[i])
			}
			other := runTask(t, task, textRecord(b.mem, shuffled...), b.env())
			defer other.Release()
			for k, i := range order {
				one := runTask(t, task, textRecord(b.mem, &texts[i]), b.env())
				requireSame(t, all.Column(0), i, one.Column(0), 0)
				requireSame(t, all.Column(0), i, other.Column(0), k)
				one.Release()
			}
		})
	}
}

// requireSame holds that two rows are the same, floats nearly.
func requireSame(t testing.TB, a arrow.Array, i int, b arrow.Array, k int) {
	t.Helper()
	if x, ok := a.(*array.Float32); ok {
		require.InDelta(t, x.Value(i), b.(*array.Float32).Value(k), 1e-5)
		return
	}
	var want []any
	for _, item := range items(a, i) {
		want = append(want, item)
	}
	requireItems(t, want, items(b, k), len(a.(*array.List).ListValues().(*array.Struct).DataType().(*arrow.StructType).Fields()), "row")
}

// The stages of every task keep to the contract of stages.
func TestTaskStagesKeepToTheContract(t *testing.T) {
	c := tasks(t)
	zero, err := taskModel(t, "nli").ClassifyZeroShot(infer.ZeroShotConfig{Column: "text", Labels: c.candidates(), Template: c.Template, BatchSize: 8})
	require.NoError(t, err)
	ner, err := taskModel(t, "ner").Entities(infer.EntityConfig{Column: "text", BatchSize: 8})
	require.NoError(t, err)
	rank, err := taskModel(t, "ranker").Rerank(infer.RerankConfig{Column: "text", QueryColumn: "other", BatchSize: 8})
	require.NoError(t, err)
	same, err := tinyModel(t, "plain").Similarity(infer.SimilarityConfig{Column: "text", Other: "other", BatchSize: 8})
	require.NoError(t, err)
	for name, task := range map[string]stage.Task{"zeroshot": zero, "ner": ner, "rerank": rank, "similarity": same} {
		t.Run(name, func(t *testing.T) {
			stages, err := task.Expand(stage.Placement{})
			require.NoError(t, err)
			rec := twoTexts(memory.DefaultAllocator, append(pointers(c.Texts), nil), append([]*string{nil}, pointers(c.Others)...))
			for _, s := range stages[:len(stages)-1] {
				bound, err := s.Bind([]*arrow.Schema{rec.Schema()})
				require.NoError(t, err)
				w, err := bound.Open(t.Context(), stage.Env{})
				require.NoError(t, err)
				out, err := process(t.Context(), w, stage.NewBatch(selected(rec, bound.Need.Reads), stage.Origin{}))
				require.NoError(t, err)
				rec = array.NewRecord(bound.Schema, append(rec.Columns()[:len(rec.Columns()):len(rec.Columns())], out.Columns()...), out.NumRows())
			}
			stagetest.Stage(t, stages[len(stages)-1], []arrow.Record{rec}, stagetest.StageOptions{Tolerance: 1e-4})
		})
	}
}

// Inspect names the task that config.json speaks of.
func TestInspectTasks(t *testing.T) {
	for name, task := range map[string]string{"single": "classify", "multi": "classify", "one": "classify", "regress": "classify", "nli": "zeroshot",
		"nli_first": "zeroshot", "ner": "ner", "ranker": "rerank", "ranker_old": "rerank", "ranker_raw": "rerank"} {
		info := taskModel(t, name).Inspect()
		require.Equal(t, task, info.Task, name)
		require.Empty(t, info.Cannot, name)
		require.NotEmpty(t, info.Labels, name)
	}
	require.Equal(t, "infer", tensorModel(t, "mixed").Inspect().Task)
	dir := copyFolder(t, "testdata/tasks/single")
	write(t, dir, "config.json", `{"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "1": "b"}}`)
	require.Contains(t, open(t, infer.Config{Path: dir}).Inspect().Cannot, "names 2 labels (id2label: a, b), and the model gives scores for 3")
}

// The mean of the embeddings of a text's chunks, what has none left out.
func TestAverageChunks(t *testing.T) {
	m := tinyModel(t, "plain")
	c := infer.EmbedConfig{Column: "text", Chunk: infer.Chunk{Tokens: 5, Overlap: 1, Together: true}}
	task, err := m.AverageChunks(c)
	require.NoError(t, err)
	stages, err := task.Expand(stage.Placement{})
	require.NoError(t, err)
	vector := arrow.FixedSizeListOf(8, arrow.PrimitiveTypes.Float32)
	b := array.NewBuilder(memory.DefaultAllocator, arrow.ListOf(vector)).(*array.ListBuilder)
	defer b.Release()
	rows := [][][]float32{{{1, 0, 0, 0, 0, 0, 0, 0}, {0, 1, 0, 0, 0, 0, 0, 0}, nil}, nil, {}, {nil}, {{0, 0, 3, 0, 0, 0, 0, 4}, {0, 0, 3, 0, 0, 0, 0, 4}}}
	for _, row := range rows {
		b.Append(row != nil)
		list := b.ValueBuilder().(*array.FixedSizeListBuilder)
		for _, v := range row {
			list.Append(v != nil)
			if v == nil {
				v = make([]float32, 8)
			}
			list.ValueBuilder().(*array.Float32Builder).AppendValues(v, nil)
		}
	}
	col := b.NewArray()
	rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "embedding", Type: col.DataType(), Nullable: true}}, nil), []arrow.Array{col}, int64(len(rows)))
	defer rec.Release()
	got, _ := runTensors2(t, task, rec)
	half := float32(math.Sqrt(0.5))
	requireNear(t, [][]float32{{half, half, 0, 0, 0, 0, 0, 0}, nil, nil, nil, {0, 0, 0.6, 0, 0, 0, 0, 0.8}}, vectorsOf(got.Record.Column(0)), 1e-6)
	stagetest.Stage(t, stages[0], []arrow.Record{rec}, stagetest.StageOptions{})

	c.Chunk.Together = false
	_, err = m.AverageChunks(c)
	require.ErrorContains(t, err, "Chunk.Together")
}
