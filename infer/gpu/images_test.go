//go:build cuda

package gpu_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

// photos are n images as bytes, [height, width, channels], each with its number. With nulls every
// 37th is missing.
func photos(n int, nulls bool) arrow.Record {
	rng := rand.New(rand.NewPCG(uint64(n), 7))
	pixels := arrow.FixedSizeListOf(side, arrow.FixedSizeListOf(side, arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Uint8)))
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "photo", Type: pixels, Nullable: true}}, nil))
	defer b.Release()
	rows := b.Field(1).(*array.FixedSizeListBuilder)
	lines := rows.ValueBuilder().(*array.FixedSizeListBuilder)
	dots := lines.ValueBuilder().(*array.FixedSizeListBuilder)
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if nulls && i%37 == 36 {
			rows.AppendNull()
			continue
		}
		rows.Append(true)
		for range side {
			lines.Append(true)
			for range side {
				dots.Append(true)
				for range 3 {
					dots.ValueBuilder().(*array.Uint8Builder).Append(uint8(rng.Uint32()))
				}
			}
		}
	}
	return b.NewRecord()
}

// imageJob is a job of images.
type imageJob struct {
	model string
	task  infer.InferConfig
	share float64
}

// imageJobs have steps of the model's own before it, or ours, before models of each kind.
var imageJobs = map[string]imageJob{
	"a model of bytes": {model: "image"},
	"float32":          {model: "conv", task: infer.InferConfig{Images: &infer.Images{Mean: []float32{0.4, 0.5, 0.6}, Std: []float32{0.2, 0.3, 0.25}}}},
	"float16":          {model: "conv16", task: infer.InferConfig{Images: &infer.Images{Scale: 1. / 128, Mean: []float32{1}}}},
	"runs of 4":        {model: "conv4", task: infer.InferConfig{Images: &infer.Images{Layout: infer.NCHW}}},
}

// run takes the rows of src through the model, and into sink.
func (j imageJob) run(ctx context.Context, t *testing.T, src stage.Source, sink stage.Sink, cfg pipeline.Config) (pipeline.Stats, error) {
	t.Helper()
	m, err := infer.Open(ctx, infer.Config{Path: filepath.Join("testdata", j.model+".onnx"), Library: "../../build/lib", DeviceShare: j.share})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	j.task.BatchSize = 16
	task, err := m.Infer(j.task)
	require.NoError(t, err)
	cfg.MemoryLimit = 1 << 30
	return pipeline.Read(src).Run(task, pipeline.StageConfig{Name: "infer"}).Drop("photo").Write(ctx, sink, cfg)
}

// parquetFile is a folder with rec in a file of Parquet.
func parquetFile(t *testing.T, rec arrow.Record) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "in")
	to, err := writers.Files(writers.Config{Path: dir, RowGroupRows: 50})
	require.NoError(t, err)
	_, err = pipeline.Read(readers.Records(rec.Schema(), rec)).Write(t.Context(), to, pipeline.Config{MemoryLimit: 1 << 30})
	require.NoError(t, err)
	return dir
}

// fromParquet runs the job from a folder of Parquet into another, and gives what is there then.
func (j imageJob) fromParquet(t *testing.T, in string, cfg pipeline.Config) (arrow.Record, pipeline.Stats) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	to, err := writers.Files(writers.Config{Path: out})
	require.NoError(t, err)
	stats, err := j.run(t.Context(), t, readers.Parquet(readers.ParquetConfig{Files: readers.Paths(in)}), to, cfg)
	require.NoError(t, err)
	var parts []arrow.Record
	for rec, err := range pipeline.Read(readers.Parquet(readers.ParquetConfig{Files: readers.Paths(out)})).Batches(t.Context(), pipeline.Config{MemoryLimit: 1 << 30}) {
		require.NoError(t, err)
		rec.Retain()
		parts = append(parts, rec)
	}
	return joined(t, parts), stats
}

// TestImageJobsGiveWhatTheCPUGives runs jobs from Parquet to Parquet on one, two and four devices,
// with one or two actors on each. Where no image is missing, each byte of the images is copied once
// on the host, into page-locked memory, and the device reads it there.
func TestImageJobsGiveWhatTheCPUGives(t *testing.T) {
	const rows = 240
	for _, nulls := range []bool{false, true} {
		rec := photos(rows, nulls)
		in := parquetFile(t, rec)
		for name, j := range imageJobs {
			want, stats := j.fromParquet(t, in, pipeline.Config{})
			require.Equal(t, int64(rows), want.NumRows())
			require.Zero(t, stats.Counter(stage.PlacedBytes))
			for _, devices := range []int{1, 2, 4} {
				what := fmt.Sprintf("%s on %d devices, with nulls: %v", name, devices, nulls)
				machine(t, cudaemu.Config{Seed: uint64(devices), MaxDelay: late, Devices: make([]cudaemu.Device, devices)})
				var cfg pipeline.Config
				for i := range devices {
					cfg.GPUs = append(cfg.GPUs, i)
				}
				j.share, j.task.Actors = 1, devices
				if name == "float32" {
					j.share, j.task.Actors = 0.5, 2*devices
				}
				got, stats := j.fromParquet(t, in, cfg)
				require.True(t, array.RecordApproxEqual(want, got, array.WithAbsTolerance(1e-5)), what)
				if !nulls {
					require.Equal(t, int64(rows*pixels), stats.Counter(stage.PlacedBytes), what)
					require.Zero(t, stats.Counter(stage.StagedBytes), what)
				}
				require.Zero(t, stats.Memory.Used, "%s: %v", what, stats.Memory.ByPurpose)
				c := cudaemu.Count()
				require.False(t, c.Left(), "%s: %+v", what, c)
				require.Zero(t, c.Pageable, what)
				require.GreaterOrEqual(t, c.CopyBytes, int64(rows*(pixels+4*features)), what)
			}
		}
	}
}

// TestImageJobsWithLateStreams has the streams late in ways that the seeds draw.
func TestImageJobsWithLateStreams(t *testing.T) {
	rec := photos(100, true)
	j := imageJobs["float32"]
	want, err := j.rows(t, rec, pipeline.Config{})
	require.NoError(t, err)
	for seed := range seeds {
		machine(t, cudaemu.Config{Seed: seed, MaxDelay: late, Devices: make([]cudaemu.Device, 2)})
		got, err := j.rows(t, rec, pipeline.Config{GPUs: []int{0, 1}})
		require.NoError(t, err, "seed %d", seed)
		require.Equal(t, want, got, "seed %d", seed)
		c := cudaemu.Count()
		require.False(t, c.Left(), "seed %d: %+v", seed, c)
		require.Zero(t, c.Pageable, "seed %d", seed)
	}
}

// TestImagesAreBytesOnTheBus: steps before a model of floats run on the device, so that images go
// there as bytes. What warms the actors is the same for both jobs.
func TestImagesAreBytesOnTheBus(t *testing.T) {
	cudaemu.Only(t)
	var copied [2]int64
	for i, rows := range []int{160, 480} {
		rec := photos(rows, false)
		machine(t, cudaemu.Config{})
		to, err := writers.Files(writers.Config{Path: filepath.Join(t.TempDir(), "out")})
		require.NoError(t, err)
		_, err = imageJobs["float32"].run(t.Context(), t, readers.Records(rec.Schema(), rec), to, pipeline.Config{GPUs: []int{0}})
		require.NoError(t, err)
		copied[i] = cudaemu.Count().CopyBytes
	}
	require.Equal(t, int64(320*(pixels+4*features)), copied[1]-copied[0])
}

// TestImageJobsHalveWhatADeviceHasNoRoomFor has the device refuse a batch that is read in place, and
// its half.
func TestImageJobsHalveWhatADeviceHasNoRoomFor(t *testing.T) {
	cudaemu.Only(t)
	rec := photos(160, false)
	j := imageJobs["float32"]
	j.task.Actors = 1
	want, err := j.rows(t, rec, pipeline.Config{})
	require.NoError(t, err)
	machine(t, cudaemu.Config{MaxDelay: late})
	_, err = j.rows(t, rec, pipeline.Config{GPUs: []int{0}})
	require.NoError(t, err)
	launches := cudaemu.Calls()["emu_launch"]
	require.NoError(t, cudaemu.Reset(cudaemu.Config{MaxDelay: late, Record: true}))
	require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: "emu_launch", Nth: launches - 5, Times: 2, Code: outOfMemory}))
	got, err := j.rows(t, rec, pipeline.Config{GPUs: []int{0}})
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Greater(t, cudaemu.Calls()["emu_launch"], launches+2, "in parts")
	require.Zero(t, cudaemu.Count().Pageable)
}

// TestImageJobsGoOnWithoutALostDevice loses one of two devices while its actor is warmed, and at
// each of the first runs that it is given: batches that lay in its memory are put together anew for
// the other.
func TestImageJobsGoOnWithoutALostDevice(t *testing.T) {
	cudaemu.Only(t)
	rec := photos(320, true)
	j := imageJobs["float32"]
	j.task.Actors = 2
	want, err := j.rows(t, rec, pipeline.Config{})
	require.NoError(t, err)
	lost := 0
	for _, run := range []int{warmRuns / 2, warmRuns + 1, warmRuns + 2, warmRuns + 3, warmRuns + 5} {
		machine(t, cudaemu.Config{Seed: uint64(run), MaxDelay: late, Devices: make([]cudaemu.Device, 2)})
		require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: "emu_launch", Nth: run, Device: 2, Code: illegalAddress, Late: true}))
		var last atomic.Pointer[pipeline.Stats]
		got, err := j.rows(t, rec, pipeline.Config{GPUs: []int{0, 1}, Progress: func(s pipeline.Stats) { last.Store(&s) }})
		require.NoError(t, err, "run %d", run)
		require.Equal(t, want, got, "run %d", run)
		lost += len(last.Load().Lost)
		c := cudaemu.Count()
		require.False(t, c.Left(), "run %d: %+v", run, c)
		require.Zero(t, c.Pageable, "run %d", run)
	}
	require.Positive(t, lost)
}

// warmRuns is what an actor runs before its first batch of up to 16 rows: the largest on each slot,
// and each smaller size.
const warmRuns = 3 + 7

// TestEveryCallOfAnImageJobFails has each call of the driver fail at its first, second, middle and
// last time, in a way that passes and with the device lost: there is an error or the right rows,
// nothing hangs, and nothing is left.
func TestEveryCallOfAnImageJobFails(t *testing.T) {
	cudaemu.Only(t)
	rec := photos(80, true)
	j := imageJobs["float32"]
	j.task.Actors = 1
	want, err := j.rows(t, rec, pipeline.Config{})
	require.NoError(t, err)
	cfg := cudaemu.Config{MaxDelay: late / 4}
	machine(t, cfg)
	onGPU := pipeline.Config{GPUs: []int{0}}
	_, err = j.rows(t, rec, onGPU)
	require.NoError(t, err)
	calls := cudaemu.Calls()
	failed := 0
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		for _, nth := range slices.Compact([]int{1, min(2, calls[call]), (calls[call] + 1) / 2, calls[call]}) {
			for _, code := range []int{invalidValue, illegalAddress} {
				what := fmt.Sprintf("%s at call %d of %d with code %d", call, nth, calls[call], code)
				require.NoError(t, cudaemu.Reset(cfg))
				require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: call, Nth: nth, Code: code, Sticky: code == illegalAddress}))
				var got []string
				err := within(t, what, func() (err error) {
					got, err = j.rows(t, rec, onGPU)
					return err
				})
				if err != nil {
					failed++
				} else {
					require.Equal(t, want, got, what)
				}
				c := cudaemu.Count()
				if call == "cuDevicePrimaryCtxRelease" && code == illegalAddress {
					c = cudaemu.Counters{} // the hold that was to go is the driver's, with all below it
				}
				require.False(t, c.Left(), "%s: %+v", what, c)
				require.Zero(t, cuda.Held(), what)
				require.Zero(t, c.Pageable, what)
			}
		}
	}
	require.Greater(t, failed, len(calls), "the faults did something")
}

// rows runs the job over rec, and gives the rows that come out, rounded.
func (j imageJob) rows(t *testing.T, rec arrow.Record, cfg pipeline.Config) (out []string, err error) {
	m, err := infer.Open(t.Context(), infer.Config{Path: filepath.Join("testdata", j.model+".onnx"), Library: "../../build/lib"})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	j.task.BatchSize = 16
	task, err := m.Infer(j.task)
	require.NoError(t, err)
	cfg.MemoryLimit = 1 << 30
	for rec, err := range pipeline.Read(readers.Records(rec.Schema(), rec)).Run(task, pipeline.StageConfig{}).Batches(t.Context(), cfg) {
		if err != nil {
			return nil, err
		}
		list := rec.Column(2).(*array.FixedSizeList)
		values := list.ListValues().(*array.Float32)
		for i := range int(rec.NumRows()) {
			line := rec.Column(0).ValueStr(i)
			for k, end := list.ValueOffsets(i); k < end && list.IsValid(i); k++ {
				line += fmt.Sprintf(" %.3f", values.Value(int(k)))
			}
			out = append(out, line)
		}
	}
	return out, nil
}
