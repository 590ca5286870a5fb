package job_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/job"
)

// TestOptimize: variants are made beside the model, measured on the sample, and used by
// their name.
func TestOptimize(t *testing.T) {
	sample := file(t, "in.jsonl", `{"text":"the cat sat on a mat"}`+"\n"+`{"text":null}`+"\n"+`{"text":"a b c"}`+"\n")
	for _, c := range []struct {
		folder, kind, task, of string
		agree                  bool
	}{
		{"tasks/single", "int8", "classify", "difference of the scores", true},
		{"tasks/ner", "int8", "ner", "difference of the scores", true},
		{"tasks/ranker", "fp16", "rerank", "difference of the scores", false},
		{"models/plain", "fp16", "embed", "cosine of the embeddings", false},
	} {
		t.Run(c.folder, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(testkit.Root(t), "infer", "testdata", c.folder))))
			o := job.Optimize{Model: dir, Kind: c.kind, Sample: job.Source{Path: job.Strings{sample}}, Python: testkit.Python(t), Library: testkit.ORTLibrary(t)}
			res, err := o.Run(t.Context())
			require.NoError(t, err)
			assert.Equal(t, c.task, res.Task)
			assert.Equal(t, c.of, res.PercentileOf)
			assert.Equal(t, int64(3), res.Rows)
			assert.Equal(t, c.agree, res.Agreement != nil)
			assert.Positive(t, res.Rate)
			assert.Positive(t, res.RateBefore)
			require.Len(t, res.Percentiles, 5)
			worst := res.Percentiles[0].Value
			if c.task == "embed" {
				assert.Greater(t, worst, 0.999)
			} else {
				assert.Less(t, worst, 0.1)
			}
			assert.FileExists(t, res.File)
			found, err := job.Inspect(t.Context(), dir)
			require.NoError(t, err)
			assert.Equal(t, []string{c.kind}, found.Model.Variants)

			_, err = o.Run(t.Context())
			assert.ErrorContains(t, err, "is there already")
			left, err := filepath.Glob(filepath.Join(filepath.Dir(res.File), "*.new"))
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}

func TestOptimizeFaults(t *testing.T) {
	sample := job.Source{Path: job.Strings{file(t, "in.txt", "a\n")}}
	model := func(name string) string {
		dir := t.TempDir()
		require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(testkit.Root(t), "infer", "testdata", name))))
		return dir
	}
	bare := filepath.Join(t.TempDir(), "python")
	require.NoError(t, os.WriteFile(bare, []byte("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'onnx'\"\nexit 1\n"), 0o755))
	for name, c := range map[string]struct {
		o    job.Optimize
		want string
	}{
		"kind":      {job.Optimize{Model: model("models/plain"), Kind: "int4"}, "neither int8 nor fp16"},
		"no model":  {job.Optimize{Model: "/nowhere", Kind: "int8"}, "/nowhere"},
		"no Python": {job.Optimize{Model: model("models/plain"), Kind: "int8", Python: "/nowhere/python"}, "/nowhere/python"},
		"no tools":  {job.Optimize{Model: model("models/plain"), Kind: "int8", Python: bare}, "No module named 'onnx'): `pip install onnx onnxruntime` there"},
		"no text":   {job.Optimize{Model: filepath.Join(testkit.Root(t), "infer/testdata/tensors/mixed.onnx"), Kind: "int8"}, "only models that read text are measured"},
	} {
		c.o.Sample, c.o.Library = sample, testkit.ORTLibrary(t)
		_, err := c.o.Run(t.Context())
		assert.ErrorContains(t, err, c.want, name)
	}
}
