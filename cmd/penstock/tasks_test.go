package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
)

// tiny is the path of a model of package infer's tests.
func tiny(t testing.TB, elem ...string) string {
	return filepath.Join(append([]string{testkit.Root(t), "infer", "testdata"}, elem...)...)
}

// TestInferVerb: columns of numbers go through a model, rows that do not fit are data, and
// what cannot fit is refused with both sides shown.
func TestInferVerb(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	in := write(t, "in.jsonl", `{"id":1,"v":[1,2,3],"n":10}`+"\n"+`{"id":2,"v":[1,2],"n":10}`+"\n"+`{"id":3,"v":[0,0,1],"n":-1}`+"\n")
	args := []string{"infer", "--model", tiny(t, "tensors", "mixed.onnx"), "--bind", "a=v,b=n", "--outputs", "total=sum,scaled", "--input", in,
		"--output", out, "--format", "jsonl"}
	r := penstock(t, append(args, "--on-error", "skip")...)
	require.Equal(t, 3, r.code, r.stderr)
	got := rows(t, out)
	require.Len(t, got, 2)
	assert.Equal(t, map[string]any{"id": 1.0, "v": []any{1.0, 2.0, 3.0}, "n": 10.0, "sum": 16.0, "scaled": []any{10.0, 20.0, 30.0}}, got[0])
	assert.Equal(t, 0.0, got[1]["sum"])

	r = penstock(t, append(args, "--mode", "overwrite")...)
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, `input "a": has 2 numbers in dimension 1, the model wants 3`)

	r = penstock(t, "infer", "--model", tiny(t, "tensors", "mixed.onnx"), "--bind", "a=id", "--input", in, "--output", out, "--mode", "overwrite")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, "input a float32[batch, 3] ← column id int64: is one number, not 3")
	assert.Contains(t, r.stderr, "the columns are ")
	for _, bad := range []string{"a", "a=", "=v", "a=v,a=w"} {
		r = penstock(t, "infer", "--model", "m.onnx", "--bind", bad, "--input", in, "--output", out)
		assert.Equal(t, 2, r.code, bad)
		assert.Contains(t, r.stderr, "--bind: ")
	}
	photo := write(t, "photo.jsonl", `{"photo":[[[1,2,3],[4,5,6]],[[7,8,9],[10,11,12]]]}`+"\n")
	r = penstock(t, "infer", "--model", tiny(t, "tensors", "image.onnx"), "--bind", "image=photo", "--scale", "2", "--mean", "1,2,3", "--std", "2",
		"--input", photo, "--output", out, "--mode", "overwrite", "--format", "jsonl")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Equal(t, []any{2.5, 8.5}, rows(t, out)[0]["mean"])
	r = penstock(t, "inspect", tiny(t, "tensors", "mixed.onnx"))
	require.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, "task        infer")
	assert.NotContains(t, r.stdout, "cannot run")
}

// TestTextVerbs: each task by its verb, and what inspect calls its model.
func TestTextVerbs(t *testing.T) {
	in := write(t, "in.jsonl", `{"text":"the cat sat on a mat","q":"cat"}`+"\n"+`{"text":null,"q":"x"}`+"\n"+`{"text":"日本語 ab","q":""}`+"\n")
	run := func(t *testing.T, args ...string) []map[string]any {
		t.Helper()
		out := filepath.Join(t.TempDir(), "out")
		r := penstock(t, append(args, "--input", in, "--output", out, "--format", "jsonl")...)
		require.Equal(t, 0, r.code, r.stderr)
		got := rows(t, out)
		require.Len(t, got, 3)
		return got
	}
	model := func(name string) string { return tiny(t, "tasks", name) }

	got := run(t, "classify", "--model", model("single"))
	assert.Contains(t, []string{"calm", "angry", "glad"}, got[0]["label"])
	assert.Nil(t, got[1]["label"])
	got = run(t, "classify", "--model", model("single"), "--top-k", "2")
	labels := got[0]["labels"].([]any)
	require.Len(t, labels, 2)
	assert.Greater(t, labels[0].(map[string]any)["score"], labels[1].(map[string]any)["score"])
	got = run(t, "classify", "--model", model("nli"), "--labels", "cat,x", "--multi-label", "--threshold", "0.000001")
	assert.Len(t, got[0]["labels"], 2)
	assert.Equal(t, got, run(t, "zeroshot", "--model", model("nli"), "--labels", "cat,x", "--multi-label", "--threshold", "0.000001"))

	got = run(t, "ner", "--model", model("ner"), "--aggregation", "none", "--ignore", "nothing")
	last := got[2]["entities"].([]any)[3].(map[string]any)
	assert.Equal(t, []any{4.0, 5.0, "a"}, []any{last["start"], last["end"], last["text"]}, "offsets count characters")
	assert.Nil(t, got[1]["entities"])

	byColumn := run(t, "rerank", "--model", model("ranker"), "--query-column", "q")
	byText := run(t, "rerank", "--model", model("ranker"), "--query", "cat")
	assert.InDelta(t, byColumn[0]["score"], byText[0]["score"], 1e-6)
	assert.Nil(t, byColumn[1]["score"])
	got = run(t, "similarity", "--model", tiny(t, "models", "plain"), "--other", "text")
	assert.InDelta(t, 1, got[0]["similarity"], 1e-5)

	for name, task := range map[string]string{"single": "classify", "nli": "zeroshot", "ner": "ner", "ranker": "rerank"} {
		assert.Contains(t, penstock(t, "inspect", model(name)).stdout, "task        "+task+" (bert)")
	}
	r := penstock(t, "classify", "--model", tiny(t, "models", "plain"), "--input", in, "--output", "nowhere")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, "gives no scores of labels for a text")
	assert.Contains(t, r.stderr, "give labels")
	r = penstock(t, "rerank", "--model", model("ranker"), "--query", "a", "--query-column", "q", "--input", in, "--output", "nowhere")
	assert.Equal(t, 2, r.code)
}

// TestEmbedChunks: chunks are rows that say where they stand, or are one row again with
// the mean of their embeddings.
func TestEmbedChunks(t *testing.T) {
	in := write(t, "in.jsonl", `{"id":1,"text":"a b c d e f g"}`+"\n"+`{"id":2,"text":"z"}`+"\n"+`{"id":3,"text":null}`+"\n")
	run := func(args ...string) []map[string]any {
		out := filepath.Join(t.TempDir(), "out")
		r := penstock(t, append([]string{"embed", "--model", tiny(t, "models", "plain"), "--input", in, "--output", out, "--format", "jsonl", "--chunk", "5",
			"--overlap", "1"}, args...)...)
		require.Equal(t, 0, r.code, r.stderr)
		return rows(t, out)
	}
	pieces := run()
	require.Len(t, pieces, 5)
	assert.Equal(t, "a b c", pieces[0]["text"])
	assert.Equal(t, []any{1.0, "c d e", 1.0, 4.0, 9.0}, []any{pieces[1]["id"], pieces[1]["text"], pieces[1]["chunk"], pieces[1]["chunk_start"], pieces[1]["chunk_end"]})
	whole := run("--average-chunks")
	require.Len(t, whole, 3)
	assert.Equal(t, "a b c d e f g", whole[0]["text"])
	assert.Equal(t, pieces[3]["embedding"], whole[1]["embedding"])
	assert.Nil(t, whole[2]["embedding"])
	mean := make([]float64, 8)
	norm := 0.0
	for d := range mean {
		for _, p := range pieces[:3] {
			mean[d] += p["embedding"].([]any)[d].(float64)
		}
		norm += mean[d] * mean[d]
	}
	for d, x := range whole[0]["embedding"].([]any) {
		assert.InDelta(t, mean[d]/math.Sqrt(norm), x, 1e-5)
	}

	short := run("--dimensions", "3", "--prompt", "q ", "--pooling", "cls", "--no-normalize")
	assert.Len(t, short[0]["embedding"], 3)
	r := penstock(t, "embed", "--model", "m", "--overlap", "2", "--input", in, "--output", "nowhere")
	assert.Equal(t, 2, r.code)
	assert.Contains(t, r.stderr, "need --chunk=TOKENS")
}

// TestSearchAsEmbedded: a query's embedding is made as those of the column were, with the prompt of
// queries.
func TestSearchAsEmbedded(t *testing.T) {
	model := filepath.Join(t.TempDir(), "model")
	require.NoError(t, os.CopyFS(model, os.DirFS(tiny(t, "models", "several"))))
	require.NoError(t, os.WriteFile(filepath.Join(model, "config_sentence_transformers.json"), []byte(`{"prompts": {"query": "a b ", "other": "z z "}}`), 0o644))
	onnx, err := os.ReadFile(filepath.Join(model, "onnx", "model.onnx"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(model, "onnx", "model_copy.onnx"), onnx, 0o644))
	in := write(t, "in.jsonl", `{"text":"a b c"}`+"\n"+`{"text":"z z c"}`+"\n")
	for _, how := range [][]string{nil, {"--dimensions", "3"}, {"--pooling", "cls", "--dimensions", "4"}, {"--model-output", "sentence_embedding"}, {"--pooling", "max", "--variant", "copy"}} {
		out := filepath.Join(t.TempDir(), "out")
		r := penstock(t, slices.Concat([]string{"embed", "--model", model, "--input", in, "--output", out}, how)...)
		require.Equal(t, 0, r.code, r.stderr)
		for prompt, want := range map[string]string{"": "a b c", "other": "z z c", "a b ": "a b c"} {
			r = penstock(t, "search", "c", "--in", out, "--top", "1", "--prompt", prompt)
			require.Equal(t, 0, r.code, r.stderr)
			assert.Equal(t, "1.000    "+want+"\n", r.stdout, "%v with the prompt %q", how, prompt)
		}
		r = penstock(t, "search", "c", "--in", out, "--variant", "none")
		assert.Equal(t, 1, r.code, "a variant that is asked for takes the place of the column's")
	}
}

// TestEmbedOutputs: several columns of one run, by flags and by a job file; each says which
// model made it.
func TestEmbedOutputs(t *testing.T) {
	in := write(t, "in.jsonl", `{"text":"a b c"}`+"\n"+`{"text":null}`+"\n")
	dir := t.TempDir()
	run := func(name string, args ...string) []map[string]any {
		out := filepath.Join(dir, name)
		r := penstock(t, append([]string{"embed", "--model", tiny(t, "models", "several"), "--input", in, "--output", out, "--format", "jsonl"}, args...)...)
		require.Equal(t, 0, r.code, r.stderr)
		return rows(t, out)
	}
	both := run("both", "--outputs", "sentence_embedding=whole,last_hidden_state:cls=first")
	whole, first := run("whole", "--model-output", "sentence_embedding"), run("first", "--pooling", "cls")
	assert.Equal(t, []map[string]any{{"text": "a b c", "whole": whole[0]["embedding"], "first": first[0]["embedding"]}, {"text": nil, "whole": nil, "first": nil}}, both)
	usual := run("usual", "--outputs", ":cls=first,last_hidden_state=mean")
	assert.Equal(t, both[0]["first"], usual[0]["first"])
	assert.Equal(t, run("mean")[0]["embedding"], usual[0]["mean"])

	job := write(t, "job.yaml", fmt.Sprintf(`
source: {path: %q}
stages:
  - embed:
      model: %q
      outputs:
        - {output: whole, model_output: sentence_embedding}
        - {output: first, pooling: cls}
sink: {path: %q, format: parquet}
`, in, tiny(t, "models", "several"), filepath.Join(dir, "job")))
	r := penstock(t, "run", job)
	require.Equal(t, 0, r.code, r.stderr)
	for _, column := range []string{"whole", "first"} {
		r = penstock(t, "search", "a b c", "--in", filepath.Join(dir, "job"), "--column", column)
		require.Equal(t, 0, r.code, "the column says which model made it: %s", r.stderr)
		require.Equal(t, "1.000    a b c\n", r.stdout, "and by which output and pooling")
	}

	for _, bad := range [][]string{{"--outputs", "a"}, {"--outputs", "a:cls="}, {"--outputs", "a=b", "--pooling", "cls"}, {"--outputs", "a=b", "--model-output", "c"}} {
		r := penstock(t, append([]string{"embed", "--model", "m", "--input", in, "--output", "nowhere"}, bad...)...)
		assert.Equal(t, 2, r.code, bad)
		assert.Contains(t, r.stderr, "--outputs")
	}
}

// TestCacheFlag: a second run finds what the first one kept, and gives the same.
func TestCacheFlag(t *testing.T) {
	dir, in := filepath.Join(t.TempDir(), "cache"), write(t, "in.txt", "a b c\nd\na b c\n")
	run := func() (string, []map[string]any) {
		out := filepath.Join(t.TempDir(), "out")
		r := penstock(t, "embed", "--model", tiny(t, "models", "plain"), "--input", in, "--output", out, "--format", "jsonl", "--cache", dir, "--cache-size", "1MiB",
			"--stats", "json")
		require.Equal(t, 0, r.code, r.stderr)
		return r.stdout, rows(t, out)
	}
	stats, first := run()
	assert.Regexp(t, `"cache_hits": ?1\b`, stats)
	stats, second := run()
	assert.Regexp(t, `"cache_hits": ?3\b`, stats)
	assert.Equal(t, first, second)
	r := penstock(t, "embed", "--model", tiny(t, "models", "plain"), "--input", in, "--output", dir+"2", "--cache", in)
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, in)
}

// TestInvalidUTF8Flag: a text that is not UTF-8 is read as Python reads it, or its row fails.
func TestInvalidUTF8Flag(t *testing.T) {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.AppendValues([]string{"a b", "c\xff"}, nil)
	col := b.NewArray()
	defer col.Release()
	rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil), []arrow.Array{col}, 2)
	defer rec.Release()
	var file bytes.Buffer
	w := ipc.NewWriter(&file, ipc.WithSchema(rec.Schema()))
	require.NoError(t, w.Write(rec))
	require.NoError(t, w.Close())
	in := write(t, "in.arrows", file.String())
	run := func(flags ...string) result {
		return penstock(t, append([]string{"embed", "--model", tiny(t, "models", "plain"), "--input", in, "--output", filepath.Join(t.TempDir(), "out")}, flags...)...)
	}
	r := run()
	assert.Equal(t, 0, r.code, r.stderr)
	r = run("--invalid-utf8", "refuse")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, in+`, row 1, column "text": the text is not UTF-8 at byte 1 (0xFF)`)
	r = run("--invalid-utf8", "refuse", "--on-error", "skip")
	assert.Equal(t, 3, r.code, r.stderr)
	r = run("--invalid-utf8", "drop")
	assert.Equal(t, 2, r.code)
}

// TestOptimizeVerb: the variant is made, told of, and used by its name.
func TestOptimizeVerb(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(tiny(t, "tasks", "single"))))
	in := write(t, "in.txt", "the cat\nsat\n")
	r := penstock(t, "optimize", dir, "--int8", "--sample", in)
	require.Equal(t, 0, r.code, r.stderr)
	assert.Regexp(t, `(?s)wrote +.*model_int8\.onnx.*speed .*rows/s instead of.*the same.*likeness.*--variant int8`, r.stdout)
	r = penstock(t, "classify", "--model", dir, "--variant", "int8", "--input", in, "--output", filepath.Join(dir, "out"))
	assert.Equal(t, 0, r.code, r.stderr)
	r = penstock(t, "optimize", dir, "--sample", in)
	assert.Equal(t, 2, r.code)
	assert.Contains(t, r.stderr, "--int8")
}
