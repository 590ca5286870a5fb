//go:build cuda

package job_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/job"
)

// deviceJob embeds twenty texts with settings put into the job. It gives the embeddings, and what
// the user was told.
func deviceJob(t *testing.T, settings string) (values []float32, notes []string, err error) {
	t.Helper()
	var lines strings.Builder
	for i := range 20 {
		fmt.Fprintf(&lines, `{"text": "%s"}`+"\n", strings.Repeat(string(rune('a'+i))+" ", 1+i%7))
	}
	j, err := job.Parse(fmt.Appendf(nil, "source: {path: %q}\nstages: [embed: {model: ../infer/testdata/models/plain}]\nsink: {path: %q}\nrun: {show: 20, memory_limit: 1GiB, %s}\n",
		file(t, "in.jsonl", lines.String()), filepath.Join(t.TempDir(), "out"), settings), "j.yaml")
	require.NoError(t, err)
	opts := job.Options{Library: "../build/lib", Note: func(text string) { notes = append(notes, text) }}
	res, err := j.Run(t.Context(), opts)
	defer res.Release()
	for _, rec := range res.Shown {
		list := rec.Column(1).(*array.FixedSizeList)
		from, _ := list.ValueOffsets(0)
		_, last := list.ValueOffsets(list.Len() - 1)
		values = append(values, list.ListValues().(*array.Float32).Float32Values()[from:last]...)
	}
	return values, notes, err
}

// TestJobsChooseTheirDevice runs a job with no driver, and then with two devices.
func TestJobsChooseTheirDevice(t *testing.T) {
	if _, err := cuda.Load(""); err == nil {
		t.Skip("there is a driver here: this test looks at what happens without one")
	}
	want, notes, err := deviceJob(t, "actors: 2")
	require.NoError(t, err)
	require.Len(t, want, 20*8)
	require.Empty(t, notes)
	_, _, err = deviceJob(t, "device: cuda")
	require.ErrorContains(t, err, "libcuda.so.1")
	require.ErrorContains(t, err, "device: auto")
	_, _, err = deviceJob(t, "gpus: [0]")
	require.ErrorContains(t, err, "libcuda.so.1")
	_, _, err = deviceJob(t, "device: cpu, gpus: [0]")
	require.ErrorContains(t, err, "leave one of them out")
	got, notes, err := deviceJob(t, "device: auto")
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Len(t, notes, 1)
	require.Contains(t, notes[0], "models run on the CPU")
	require.Contains(t, notes[0], "libcuda.so.1")

	for settings, problem := range map[string]string{
		"device: cuda": "", "device: auto": "", "gpus: [1]": "", "gpus: [1, 0], actors: 4": "", "actors: 2, gpus: [0]": "",
		"gpus: [2]":          "no GPU 2: there are 2",
		"provider: tensorrt": "models run on the CPU", "device: cpu, tensorrt_cache: engines": "models run on the CPU", "cuda_graphs: true": "models run on the CPU",
		"device: cuda, provider: tensorrt": "", "gpus: [0], tensorrt_cache: " + t.TempDir(): "",
		"device: cuda, provider: cuda, tensorrt_cache: engines": "choose TensorRTProvider", "device: cuda, cuda_graphs: true": "its runs have many shapes",
	} {
		cudaemu.Start(t, cudaemu.Config{Devices: make([]cudaemu.Device, 2)})
		got, notes, err := deviceJob(t, settings)
		if problem != "" {
			require.ErrorContains(t, err, problem)
			continue
		}
		require.NoError(t, err, settings)
		require.Empty(t, notes)
		assert.InDeltaSlice(t, want, got, 1e-5, settings)
		require.Positive(t, cudaemu.Count().Copies, settings)
		require.Zero(t, cudaemu.Count().Pageable, settings)
	}
}

// TestInferRunsOnDevices runs a job of numbers, beside a model of text, on the CPU and on a device.
func TestInferRunsOnDevices(t *testing.T) {
	run := func(device string) []string {
		j, err := job.Parse(fmt.Appendf(nil, `
source: {path: %q}
stages:
  - infer: {model: ../infer/testdata/tensors/fixed.onnx}
  - embed: {model: ../infer/testdata/models/plain}
sink: {path: %q}
run: {memory_limit: 1GiB, device: %s, show: 9}
`, file(t, "in.jsonl", `{"text": "a", "x": [1, 2, 3]}`+"\n"+`{"text": "b", "x": [4, 5, 6]}`+"\n"+`{"text": "c", "x": [7, 8, 9]}`+"\n"), filepath.Join(t.TempDir(), "out"), device), "j.yaml")
		require.NoError(t, err)
		res, err := j.Run(t.Context(), job.Options{Library: "../build/lib", Note: func(text string) { t.Error(text) }})
		require.NoError(t, err)
		defer res.Release()
		require.Equal(t, int64(3), res.Stats.Rows)
		var rows []string
		for _, rec := range res.Shown {
			y := rec.Column(rec.Schema().FieldIndices("y")[0])
			for i := range y.Len() {
				rows = append(rows, y.ValueStr(i))
			}
		}
		return rows
	}
	cudaemu.Start(t, cudaemu.Config{Devices: make([]cudaemu.Device, 1)})
	want := run("cpu")
	require.Equal(t, []string{"[1,4,9]", "[16,25,36]", "[49,64,81]"}, want)
	require.Zero(t, cudaemu.Count().Copies)
	for _, device := range []string{"cuda", "auto"} {
		cudaemu.Start(t, cudaemu.Config{Devices: make([]cudaemu.Device, 1)})
		require.Equal(t, want, run(device))
		require.Positive(t, cudaemu.Count().Copies)
		require.Zero(t, cudaemu.Count().Pageable)
	}
}

// TestStagesShareDevices has two models on each device, with one to five actors.
func TestStagesShareDevices(t *testing.T) {
	for _, devices := range []int{1, 2} {
		for _, stages := range []string{
			"embed: {model: ../infer/testdata/models/plain}, classify: {model: ../infer/testdata/tasks/single}",
			"embed: {model: ../infer/testdata/models/plain, actors: 5}, classify: {model: ../infer/testdata/tasks/single}, similarity: {model: ../infer/testdata/models/plain, other: text}",
		} {
			for _, actors := range []string{"", ", actors: 1", ", actors: 2"} {
				cudaemu.Start(t, cudaemu.Config{Devices: make([]cudaemu.Device, devices)})
				j, err := job.Parse(fmt.Appendf(nil, "source: {path: %q}\nstages: [%s]\nsink: {path: %q}\nrun: {memory_limit: 1GiB, device: cuda%s}\n",
					file(t, "in.jsonl", strings.Repeat(`{"text": "a b"}`+"\n", 100)), stages, filepath.Join(t.TempDir(), "out"), actors), "j.yaml")
				require.NoError(t, err)
				res, err := j.Run(t.Context(), job.Options{Library: "../build/lib"})
				require.NoError(t, err, "%d devices: %s%s", devices, stages, actors)
				require.Equal(t, int64(100), res.Stats.Rows)
				require.Positive(t, cudaemu.Count().Copies)
				res.Release()
			}
		}
	}
}
