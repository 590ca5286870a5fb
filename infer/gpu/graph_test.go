//go:build cuda

package gpu_test

import (
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/infer/gpu"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/pipeline"
)

// graphConfig is an actor whose runs have 8, 4 or 2 rows, and are replayed from graphs.
func graphConfig() infer.DeviceConfig {
	cfg := imageConfig(8)
	cfg.Warm = append(cfg.Warm, imageShape(4), imageShape(2))
	cfg.FixedShapes, cfg.CUDAGraphs = true, true
	return cfg
}

// TestAGraphForEachBucketOfEachSlot: the emulated provider refuses a run whose options have the
// number of a graph that was captured over other memory, where a real one would read and write that.
func TestAGraphForEachBucketOfEachSlot(t *testing.T) {
	cudaemu.Only(t)
	machine(t, cudaemu.Config{Seed: 3, MaxDelay: late})
	a := openActor(t, graphConfig())
	require.Equal(t, 3*3, gpu.Graphs(a), "all are captured when the actor opens")
	k := kernel(t)
	several(30, 3, func(i int) {
		x := newImages(uint64(i), []int{8, 4, 2}[i%3])
		assert.NoError(t, a.Run(t.Context(), x.run()))
		assert.NoError(t, x.right(k))
	})
	require.Equal(t, 3*3, gpu.Graphs(a))
	gpu.MixGraphsUp(a)
	require.ErrorContains(t, a.Run(t.Context(), newImages(1, 2).run()), "was captured over other memory")
}

// TestActorsGoOnWhileOthersCapture: an actor opens, takes memory, runs and closes while another thread
// captures, as actors on their own threads do, and spoils nothing.
func TestActorsGoOnWhileOthersCapture(t *testing.T) {
	cudaemu.Only(t)
	machine(t, cudaemu.Config{Seed: 7, MaxDelay: late})
	cfg := graphConfig()
	cfg.Share = 0.3
	openActor(t, cfg)
	k := kernel(t)
	require.NoError(t, cudaemu.Capture(func() {
		a, err := gpu.Open(t.Context(), cfg)
		if !assert.NoError(t, err) {
			return
		}
		for i, rows := range []int{8, 2, 16, 4, 16} {
			x := newImages(uint64(i), rows)
			assert.NoError(t, a.Run(t.Context(), x.run()))
			assert.NoError(t, x.right(k))
		}
		mem := a.InputMemory()
		last := mem.Allocate(1 << 10)
		assert.NoError(t, a.Close())
		mem.Free(last) // and with it the pool's memory
	}))
}

// TestRunsInPartsAreOfNoGraph: nor are there graphs of memory that a slot had before it grew for them.
func TestRunsInPartsAreOfNoGraph(t *testing.T) {
	cudaemu.Only(t)
	machine(t, cudaemu.Config{MaxDelay: late})
	a := openActor(t, graphConfig())
	k := kernel(t)
	require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: "emu_launch", Times: 1, Code: outOfMemory}))
	for _, rows := range []int{8, 8, 8, 2, 4, 2, 4, 2, 4} {
		x := newImages(1, rows)
		require.NoError(t, a.Run(t.Context(), x.run()))
		require.NoError(t, x.right(k))
	}
	require.Equal(t, int64(1), a.Stats().Halved)
}

// TestGraphsOfMemoryThatGrew: a shape that no slot had room for gets numbers of its own.
func TestGraphsOfMemoryThatGrew(t *testing.T) {
	cudaemu.Only(t)
	machine(t, cudaemu.Config{MaxDelay: late})
	cfg := graphConfig()
	cfg.Slots, cfg.Warm = 1, cfg.Warm[2:]
	a := openActor(t, cfg)
	k := kernel(t)
	for i, rows := range []int{2, 8, 2, 8, 2} {
		x := newImages(uint64(i), rows)
		require.NoError(t, a.Run(t.Context(), x.run()), "run %d", i)
		require.NoError(t, x.right(k), "run %d", i)
	}
	require.LessOrEqual(t, gpu.Graphs(a), 3)
}

// TestInputsInPlaceReplayTheSameGraph: where an input comes from doesn't change where it goes.
func TestInputsInPlaceReplayTheSameGraph(t *testing.T) {
	cudaemu.Only(t)
	machine(t, cudaemu.Config{})
	shape := func() infer.DeviceRun {
		return infer.DeviceRun{Splittable: true, Inputs: []infer.DeviceTensor{{Shape: []int64{4, 3}}, {Shape: []int64{4}}},
			Outputs: []infer.DeviceTensor{{Shape: []int64{4}}}}
	}
	a := openActor(t, infer.DeviceConfig{Library: library(), Model: "../testdata/tensors/mixed.onnx", Inputs: []string{"a", "b"}, Outputs: []string{"total"},
		Warm: []infer.DeviceRun{shape()}, FixedShapes: true, CUDAGraphs: true, InPlace: true})
	captured := gpu.Graphs(a)
	first := a.InputMemory().Allocate(4 * 3 * 4)
	defer a.InputMemory().Free(first)
	for i := range floats(first) {
		floats(first)[i] = float32(i)
	}
	for _, inPlace := range []bool{true, false} {
		r := shape()
		if inPlace {
			r.Inputs[0].Data = first
		}
		r.Fill = func(i int, to []byte) {
			if i == 0 {
				copy(to, first)
			} else {
				clear(to)
			}
		}
		r.Take = func(_ int, from []byte, _ []int64) error {
			assert.Equal(t, []float32{3, 12, 21, 30}, floats(from), "in place: %v", inPlace)
			return nil
		}
		require.NoError(t, a.Run(t.Context(), &r))
	}
	require.Equal(t, captured, gpu.Graphs(a))
}

func TestGraphsAreRefusedWhereShapesAreOpen(t *testing.T) {
	machine(t, cudaemu.Config{})
	for want, change := range map[string]func(c *infer.DeviceConfig){
		"fixed shapes":  func(c *infer.DeviceConfig) { c.FixedShapes = false },
		"is warmed for": func(c *infer.DeviceConfig) { c.Warm = nil },
		"known size":    func(c *infer.DeviceConfig) { c.Warm[1].Outputs[0].Shape = nil },
		"TensorRT":      func(c *infer.DeviceConfig) { c.Provider = infer.TensorRTProvider },
	} {
		cfg := graphConfig()
		change(&cfg)
		_, err := gpu.Open(t.Context(), cfg)
		require.ErrorContains(t, err, want)
	}
}

// TestProviderOptions: what a job says of providers goes to ONNX Runtime by the names that it knows.
func TestProviderOptions(t *testing.T) {
	machine(t, cudaemu.Config{})
	cuda, trt := gpu.Options(openActor(t, imageConfig(4)))
	require.Nil(t, trt)
	require.NotContains(t, cuda, "enable_cuda_graph")
	require.Equal(t, "HEURISTIC", cuda["cudnn_conv_algo_search"])

	cuda, trt = gpu.Options(openActor(t, graphConfig()))
	require.Nil(t, trt)
	require.Equal(t, "1", cuda["enable_cuda_graph"])
	require.Equal(t, "EXHAUSTIVE", cuda["cudnn_conv_algo_search"])
}

func TestTensorRTOptions(t *testing.T) {
	cudaemu.Only(t) // TensorRT's libraries are not among those that a real run asks for
	machine(t, cudaemu.Config{})
	cfg := imageConfig(4)
	cfg.Share = 0.2
	cfg.Provider = infer.TensorRTProvider
	_, trt := gpu.Options(openActor(t, cfg))
	require.NotContains(t, trt, "trt_engine_cache_enable")
	require.Equal(t, "pixels:4x6x6x3", trt["trt_profile_max_shapes"])
	require.NotEmpty(t, trt["user_compute_stream"])
	cfg.TensorRTCache = filepath.Join(t.TempDir(), "below", "engines")
	_, trt = gpu.Options(openActor(t, cfg))
	require.DirExists(t, cfg.TensorRTCache)
	require.Equal(t, "1", trt["trt_engine_cache_enable"])
	require.Equal(t, cfg.TensorRTCache, trt["trt_engine_cache_path"])
	cfg.TensorRTCache = "testdata/image.onnx/engines"
	_, err := gpu.Open(t.Context(), cfg)
	require.ErrorContains(t, err, "the folder for TensorRT's engines: mkdir testdata/image.onnx")
}

// TestTextJobsOfFixedShapeReplayGraphs runs a whole job.
func TestTextJobsOfFixedShapeReplayGraphs(t *testing.T) {
	rec := texts(100)
	defer rec.Release()
	cfg := infer.Config{Path: filepath.Join("../testdata/models", "fixed_both")}
	want, err := embed(t, cfg, infer.EmbedConfig{}, rec, pipeline.Config{})
	require.NoError(t, err)
	machine(t, cudaemu.Config{MaxDelay: late})
	cfg.CUDAGraphs = true
	got, err := embed(t, cfg, infer.EmbedConfig{}, rec, pipeline.Config{GPUs: []int{0}})
	require.NoError(t, err)
	same(t, want, got, 1e-5, "with graphs")
	cfg.Path = filepath.Join("../testdata/models", "plain")
	_, err = embed(t, cfg, infer.EmbedConfig{}, rec, pipeline.Config{GPUs: []int{0}})
	require.ErrorContains(t, err, "CUDA graphs")
}

// TestModelsOfNumbersReplayGraphs: their batches have few sizes, and the last one is padded to one of
// them.
func TestModelsOfNumbersReplayGraphs(t *testing.T) {
	path := filepath.Join("../testdata/tensors", "mixed.onnx")
	m, err := infer.Open(t.Context(), infer.Config{Path: path})
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	rec := numbersFor(t, m, 150, false)
	task := infer.InferConfig{BatchSize: 20, Actors: 1}
	want, _ := tensorsOf(t, path, rec, task, infer.Config{}, pipeline.Config{})
	machine(t, cudaemu.Config{Seed: 5, MaxDelay: late})
	got, _ := tensorsOf(t, path, rec, task, infer.Config{CUDAGraphs: true}, pipeline.Config{GPUs: []int{0}})
	require.True(t, array.RecordApproxEqual(want, got, array.WithAbsTolerance(1e-5)))
}
