package gpu_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
)

// check runs scripts/gpu_check.py and gives its exit code and what it says.
func check(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testkit.Python(t), append([]string{filepath.Join(testkit.Root(t), "scripts", "gpu_check.py")}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// On a machine without a card the targets say what is missing, by package, and fail.
func TestWhatIsMissing(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "libcuda.so.1")
	code, text := check(t, "--driver", nowhere, "--what", "bench-copy")
	assert.Equal(t, 1, code)
	assert.Contains(t, text, "bench-copy needs a GPU and its libraries; missing here:")
	assert.Contains(t, text, "CUDA's driver: looked for "+nowhere)
	assert.Contains(t, text, "nvidia-driver-NNN")
	assert.NotContains(t, text, "libcudnn")

	libs := filepath.Join(t.TempDir(), "none")
	code, text = check(t, "--driver", nowhere, "--libs", libs, "--python", "/nowhere/python", "--what", "bench-gpu")
	assert.Equal(t, 1, code)
	for _, want := range []string{"libonnxruntime_providers_cuda.so (package onnxruntime-gpu) in " + libs, "make gpu-libs", "a Python with onnxruntime-gpu for the bare loop"} {
		assert.Contains(t, text, want)
	}

	code, text = check(t, "--driver", nowhere, "--python", testkit.Python(t))
	assert.Equal(t, 1, code)
	assert.Contains(t, text, "onnxruntime with the CUDA provider in "+testkit.Python(t)+" (package onnxruntime-gpu): it has the CPU alone")
}

// The whole is there once a driver with a device is.
func TestNothingIsMissing(t *testing.T) {
	emulator := os.Getenv("PENSTOCK_CUDA_EMULATOR")
	if emulator == "" {
		t.Skip("no emulated driver: run tests by make")
	}
	code, text := check(t, "--driver", emulator)
	assert.Zero(t, code, text)
	assert.Empty(t, text)
}

// The copy loops, ours and the bare one, run on the emulated driver.
func TestCopyLoops(t *testing.T) {
	emulator := os.Getenv("PENSTOCK_CUDA_EMULATOR")
	if emulator == "" {
		t.Skip("no emulated driver: run tests by make")
	}
	cmd := exec.CommandContext(t.Context(), testkit.Python(t), "copy.py", "--quick", "--driver", emulator)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, want := range []string{" 9.6MB h2d: penstock ", "64MiB d2h: penstock ", `Emulated GPU 0 {"vs_bare_h2d": `, "vs_pageable"} {
		assert.Contains(t, string(out), want)
	}
}

// The actor and the bare loop run the same model on the emulated driver, and agree.
func TestActorBesideBareLoop(t *testing.T) {
	emulator := os.Getenv("PENSTOCK_CUDA_EMULATOR")
	if emulator == "" {
		t.Skip("no emulated driver: run tests by make")
	}
	cmd := exec.CommandContext(t.Context(), testkit.Python(t), "gpu.py", "--quick", "--only", "resnet50", "--driver", emulator,
		"--libs", filepath.Dir(testkit.ORTLibrary(t)), "--python", testkit.Python(t))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, want := range []string{"resnet50  penstock: ", "resnet50      bare: ", "resnet50  resident: ", `Emulated GPU 0 {"vs_bare_resnet50": `, `"gpu_busy": `} {
		assert.Contains(t, string(out), want)
	}
}
