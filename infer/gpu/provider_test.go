//go:build cuda

package gpu_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/infer/gpu"
	"github.com/penstock-data/penstock/internal/cudaemu"
)

// TestMissingProvidersAreNamed asks the library of the CPU, in a process that has opened no driver:
// the emulated one stands for every provider.
func TestMissingProvidersAreNamed(t *testing.T) {
	cudaemu.Only(t)
	const child = "PENSTOCK_GPU_TEST"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: "+t.Name())
		return
	}
	for p, want := range map[infer.Provider]string{infer.CUDAProvider: "CUDA's: the package onnxruntime-gpu", infer.TensorRTProvider: "tensorrt-cu12"} {
		err := gpu.Provides("../../build/lib", p)
		require.ErrorIs(t, err, gpu.ErrNoProvider, p)
		require.ErrorContains(t, err, want)
	}
	require.ErrorContains(t, gpu.Provides("no/such/lib", infer.CUDAProvider), "no/such/lib")
}
