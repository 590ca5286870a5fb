//go:build cuda

package main

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/cudaemu"
)

// Doctor says which driver library was looked for, and lists what it has; here it is the emulator's.
func TestDoctorOnDrivers(t *testing.T) {
	r := penstock(t, "doctor", "--cuda-driver", "/nowhere/libcuda.so.1")
	assert.Equal(t, 0, r.code, "a GPU is not needed")
	assert.Contains(t, r.stdout, "no driver library: looked for /nowhere/libcuda.so.1: ")
	assert.Contains(t, r.stdout, "No such file")
	assert.Contains(t, r.stdout, "libnvidia-compute-NNN")

	emulator := os.Getenv(cudaemu.Variable)
	require.NotEmpty(t, emulator, "run tests by make")
	r = penstock(t, "doctor", "--cuda-driver", emulator)
	require.Equal(t, 0, r.code, r.stdout)
	assert.Regexp(t, `ok +CUDA driver +`+regexp.QuoteMeta(emulator)+`, for CUDA up to 1\d\.\d`, r.stdout)
	assert.Regexp(t, `ok +CUDA device +0: .*, 1 GiB, compute capability 9\.0, 0000:e0:00\.0`, r.stdout)
}

// The linker does not complain of C functions that nobody defines, since go-nvml forbids it to: so
// the loader is asked. NVML's own are found when its library is there.
func TestOneBinaryThatLacksNothing(t *testing.T) {
	ldd, err := exec.LookPath("ldd")
	if err != nil {
		t.Skip("no ldd here")
	}
	out, err := exec.CommandContext(t.Context(), ldd, "-r", binary).CombinedOutput()
	require.NoError(t, err, "%s", out)
	missing := regexp.MustCompile(`undefined symbol: (\S+)`).FindAllSubmatch(out, -1)
	for _, m := range missing {
		assert.Regexp(t, "^nvml[A-Z]", string(m[1]))
	}
	require.NotEmpty(t, missing, "NVML's were seen")
	assert.NotRegexp(t, `lib(cuda|nvidia|cudart|onnxruntime)`, string(out))
}
