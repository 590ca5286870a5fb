//go:build cuda

package job_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/pipeline"
)

const (
	illegalAddress   = 700 // CUDA_ERROR_ILLEGAL_ADDRESS
	eccUncorrectable = 214
)

const (
	embedStage = "embed: {model: ../infer/testdata/models/plain, batch_size: 8, actors: 2}"
	inferStage = "infer: {model: ../infer/testdata/tensors/fixed.onnx, batch_size: 16, actors: 2}"
)

// runOn runs 300 rows, one of them without text, through stages on emulated devices with faults, and
// gives the bytes of the output. Whatever becomes of the job, nothing is left of it.
func runOn(t *testing.T, devices int, stages, settings string, faults ...cudaemu.Fault) (out string, stats pipeline.Stats, err error) {
	t.Helper()
	var lines strings.Builder
	for i := range 300 {
		if i == 77 {
			lines.WriteString(`{"text": null, "x": [1, 2, 3]}` + "\n")
			continue
		}
		fmt.Fprintf(&lines, `{"text": "%s", "x": [%d, 2, 3]}`+"\n", strings.Repeat(string(rune('a'+i%26))+" ", 1+i%7), i)
	}
	path := filepath.Join(t.TempDir(), "out")
	j, err := job.Parse(fmt.Appendf(nil, "source: {path: %q}\nstages: [%s]\nsink: {path: %q, format: jsonl}\nrun: {device: cuda, memory_limit: 1GiB%s}\n",
		file(t, "in.jsonl", lines.String()), stages, path, settings), "j.yaml")
	require.NoError(t, err)
	require.NoError(t, cudaemu.Reset(cudaemu.Config{MaxDelay: 50 * time.Microsecond, Devices: make([]cudaemu.Device, devices)}))
	for _, f := range faults {
		require.NoError(t, cudaemu.Inject(f))
	}
	before := cmem.HeldAll()
	res, err := j.Run(t.Context(), job.Options{Library: "../build/lib"})
	res.Release()
	if !slices.ContainsFunc(faults, func(f cudaemu.Fault) bool { return f.Call == "cuDevicePrimaryCtxRelease" }) {
		require.False(t, cudaemu.Count().Left(), "%+v after %v", cudaemu.Count(), faults)
	} // else the hold that was to go is the driver's, with all below it
	require.Zero(t, cuda.Held())
	require.Equal(t, before, cmem.HeldAll())
	if err != nil {
		require.NoDirExists(t, path)
		return "", res.Stats, err
	}
	parts, err := filepath.Glob(filepath.Join(path, "part-*"))
	require.NoError(t, err)
	for _, part := range parts { // in their order
		raw, err := os.ReadFile(part)
		require.NoError(t, err)
		out += filepath.Base(part) + "\n" + string(raw)
	}
	return out, res.Stats, nil
}

// TestALostDeviceChangesNoByte has calls of the driver lose the second of two devices: as it is
// opened, at work and as it is closed.
func TestALostDeviceChangesNoByte(t *testing.T) {
	cudaemu.Only(t)
	const both = embedStage + ", " + inferStage
	want, _, err := runOn(t, 2, both, "")
	require.NoError(t, err)
	require.Equal(t, 300, strings.Count(want, "{"))
	calls := cudaemu.Calls()
	lost := 0
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		for _, nth := range slices.Compact([]int{1, max(calls[call]/4, 1)}) {
			f := cudaemu.Fault{Call: call, Nth: nth, Device: 2, Code: illegalAddress, Sticky: true}
			got, stats, err := runOn(t, 2, both, ", on_error: skip", f)
			require.NoError(t, err, "%+v", f)
			require.Equal(t, want, got, "%+v", f)
			require.Zero(t, stats.Failed, "a lost device fails no row: %+v", f)
			for _, l := range stats.Lost {
				require.Regexp(t, `^device cuda:1 lost: .*CUDA_ERROR_ILLEGAL_ADDRESS.*; its work went to cuda:0$`, l.String(), "%+v", f)
				lost++
			}
		}
	}
	t.Logf("%d kinds of calls, %d jobs lost a device", len(calls), lost)
	require.Greater(t, lost, len(calls)/2)
}

// TestAJobThatLosesItsDevicesEnds loses the only device, or both of two.
func TestAJobThatLosesItsDevicesEnds(t *testing.T) {
	cudaemu.Only(t)
	at := func(device, nth int) cudaemu.Fault {
		return cudaemu.Fault{Call: "emu_launch", Nth: nth, Device: device + 1, Code: eccUncorrectable, Late: true}
	}
	for _, on := range []string{"", ", on_error: skip"} {
		_, stats, err := runOn(t, 1, embedStage, on, at(0, 14))
		require.ErrorContains(t, err, "embed: no device is left: device cuda:0 lost: ")
		require.ErrorContains(t, err, "CUDA_ERROR_ECC_UNCORRECTABLE")
		require.ErrorContains(t, err, " rows were done")
		require.ErrorIs(t, err, cuda.ErrDeviceLost)
		require.Zero(t, stats.Failed)
		_, stats, err = runOn(t, 2, embedStage, on, at(0, 9), at(1, 11))
		for _, want := range []string{"embed: no device is left: ", "device cuda:0 lost: ", "device cuda:1 lost: ", " rows were done"} {
			require.ErrorContains(t, err, want)
		}
		require.Len(t, stats.Lost, 2)
		require.Zero(t, stats.Failed)
	}
}
