//go:build cuda

package main

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
)

// TestDeviceFlags: without a driver --device cuda fails before anything is written, by a verb and
// over a job's own settings, and --device auto goes on with the CPU and says so.
func TestDeviceFlags(t *testing.T) {
	if _, err := cuda.Load(""); err == nil {
		t.Skip("there is a driver here: this test looks at what happens without one")
	}
	model := filepath.Join("infer", "testdata", "models", "plain")
	in := write(t, "in.jsonl", `{"text":"a b c"}`+"\n")
	out := filepath.Join(t.TempDir(), "out")
	job := write(t, "j.yaml", fmt.Sprintf("source: {path: %q}\nstages: [embed: {model: %s}]\nsink: {path: %q}\nrun: {device: cpu}\n", in, model, out))
	for _, args := range [][]string{
		{"embed", "--model", model, "--input", in, "--output", out, "--device", "cuda"},
		{"embed", "--model", model, "--input", in, "--output", out, "--gpus", "0"},
		{"run", job, "--device", "cuda"},
	} {
		r := penstock(t, args...)
		assert.NotZero(t, r.code, "%v", args)
		assert.Contains(t, r.stderr, "libcuda.so.1", "%v", args)
		assert.NoDirExists(t, out)
	}
	for _, flags := range [][]string{{"--provider", "tensorrt"}, {"--tensorrt-cache", "engines"}, {"--cuda-graphs"}} {
		r := penstock(t, append([]string{"run", job}, flags...)...)
		assert.NotZero(t, r.code, "%v", flags)
		assert.Contains(t, r.stderr, "models run on the CPU: say device: cuda", "%v", flags)
		assert.NoDirExists(t, out)
	}
	r := penstock(t, "embed", "--model", model, "--input", in, "--output", out, "--device", "auto")
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stderr, "models run on the CPU")
	require.DirExists(t, out)
}
