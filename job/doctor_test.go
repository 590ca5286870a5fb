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

func find(t *testing.T, findings []job.Finding, what string) job.Finding {
	t.Helper()
	for _, f := range findings {
		if f.What == what {
			return f
		}
	}
	require.Fail(t, "doctor did not look at "+what)
	return job.Finding{}
}

func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "broken"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "broken", "model.onnx"), []byte("no model"), 0o644))
	findings, ok := job.Doctor{Library: testkit.ORTLibrary(t), Models: []string{dir}, Driver: filepath.Join(dir, "libcuda.so.1"),
		NVML: filepath.Join(dir, "libnvidia-ml.so.1")}.Run(t.Context())
	assert.True(t, ok)
	ort := find(t, findings, "ONNX Runtime")
	assert.Equal(t, job.Fine, ort.Status)
	assert.Contains(t, ort.Found, "version 1.32")
	assert.Contains(t, ort.Found, "CPUExecutionProvider")
	for what, want := range map[string]string{"CUDA driver": "models run on the CPU", "GPU load": "looked for " + filepath.Join(dir, "libnvidia-ml.so.1"),
		"GPU provider": "has no CUDAExecutionProvider"} {
		f := find(t, findings, what)
		assert.Equal(t, job.Missing, f.Status, what)
		assert.Contains(t, f.Found, want)
	}
	assert.Contains(t, find(t, findings, "CUDA driver").Fix, "libnvidia-compute")
	assert.Contains(t, find(t, findings, "GPU provider").Fix, "onnxruntime-gpu")
	model := find(t, findings, "model")
	assert.Equal(t, job.Missing, model.Status)
	assert.Contains(t, model.Found, "broken")
	for _, f := range findings {
		assert.NotEmpty(t, f.Found, f.What)
		assert.Equal(t, f.Status != job.Fine, f.Fix != "", "%s: a fix for what is missing, and for nothing else", f.What)
	}
}

func TestDoctorWithoutLibrary(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.so")
	findings, ok := job.Doctor{Library: none, Driver: none, NVML: none}.Run(t.Context())
	assert.False(t, ok)
	ort := find(t, findings, "ONNX Runtime")
	assert.Equal(t, job.Broken, ort.Status)
	assert.Contains(t, ort.Found, "there is no such file")
	assert.Contains(t, ort.Fix, "make setup")
	assert.Equal(t, "not known without ONNX Runtime", find(t, findings, "GPU provider").Found)
}
