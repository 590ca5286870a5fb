package main

import (
	"path/filepath"
	"testing"

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
	r = penstock(t, "inspect", tiny(t, "tensors", "mixed.onnx"))
	require.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, "task        infer")
	assert.NotContains(t, r.stdout, "cannot run")
}
