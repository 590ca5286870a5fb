//go:build cuda

package cuda_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/internal/cudaemu"
)

// child is set in the processes that tests start anew: a process has one driver, and these have
// none.
const child = "PENSTOCK_CUDA_TEST"

// alone runs one test in a process of its own, where LD_LIBRARY_PATH holds nothing.
func alone(t *testing.T) (inside bool) {
	t.Helper()
	if os.Getenv(child) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), child+"="+t.Name(), "LD_LIBRARY_PATH=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

func TestWithoutDriver(t *testing.T) {
	cudaemu.Only(t)
	if known, err := exec.Command("ldconfig", "-p").Output(); err == nil && strings.Contains(string(known), "libcuda.so.1") {
		t.Skip("the loader of this machine knows a driver, and finds it whatever file is named")
	}
	if !alone(t) {
		return
	}
	missing := filepath.Join(t.TempDir(), "libcuda.so.1")
	_, err := cuda.Load(missing)
	require.ErrorIs(t, err, cuda.ErrNoDriver)
	require.ErrorContains(t, err, missing)
	require.ErrorContains(t, err, "No such file", "what the loader said")

	all, err := cuda.Devices()
	require.NoError(t, err, "no driver is no error: there are no devices")
	require.Empty(t, all)

	_, err = cuda.Device(0).Retain()
	require.ErrorIs(t, err, cuda.ErrNoDevice)
	_, err = cuda.Device(0).Info()
	require.ErrorIs(t, err, cuda.ErrNoDevice)
	require.Zero(t, cuda.Held())
}

// TestOneBinary looks at what this test's own binary needs of the system: no CUDA.
func TestOneBinary(t *testing.T) {
	ldd, err := exec.LookPath("ldd")
	if err != nil {
		t.Skip("no ldd here")
	}
	out, err := exec.CommandContext(t.Context(), ldd, os.Args[0]).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, strings.ToLower(string(out)), "cuda")
}
