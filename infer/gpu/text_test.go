//go:build cuda

package gpu_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
)

// texts are n lines of one to ten letters, as the tiny models know them, some of them null.
func texts(n int) arrow.Record {
	rng := rand.New(rand.NewPCG(uint64(n), 5))
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "text", Type: arrow.BinaryTypes.String, Nullable: true}}, nil))
	defer b.Release()
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%37 == 36 {
			b.Field(1).AppendNull()
			continue
		}
		words := make([]string, 1+rng.IntN(10))
		for k := range words {
			words[k] = string(rune('a' + rng.IntN(26)))
		}
		b.Field(1).(*array.StringBuilder).Append(strings.Join(words, " "))
	}
	return b.NewRecord()
}

// embedded is the embeddings of rows, by the rows' numbers in the order in which they came.
type embedded struct {
	numbers []int64
	vectors [][]float32 // nil: null
}

func embed(t *testing.T, cfg infer.Config, task infer.EmbedConfig, rec arrow.Record, run pipeline.Config) (embedded, error) {
	t.Helper()
	cfg.Library = "../../build/lib"
	m, err := infer.Open(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	task.Column = "text"
	step, err := m.Embed(task)
	require.NoError(t, err)
	var out embedded
	run.MemoryLimit = 1 << 30
	for rec, err := range pipeline.Read(readers.Records(rec.Schema(), rec)).Run(step, pipeline.StageConfig{}).Batches(t.Context(), run) {
		if err != nil {
			return embedded{}, err
		}
		for i := range int(rec.NumRows()) {
			out.numbers = append(out.numbers, rec.Column(0).(*array.Int64).Value(i))
			out.vectors = append(out.vectors, vectors(rec.Columns()[2:], i))
		}
	}
	return out, nil
}

// vectors are those of row i of the columns, one behind the other; nil: null.
func vectors(columns []arrow.Array, i int) (out []float32) {
	for _, col := range columns {
		list := col.(*array.FixedSizeList)
		if from, to := list.ValueOffsets(i); list.IsValid(i) {
			out = append(out, list.ListValues().(*array.Float32).Float32Values()[from:to]...)
		}
	}
	return out
}

func same(t *testing.T, want, got embedded, tolerance float64, what string) {
	t.Helper()
	require.Equal(t, want.numbers, got.numbers, what)
	for i := range want.vectors {
		require.Equal(t, want.vectors[i] == nil, got.vectors[i] == nil, "%s: row %d", what, i)
		if want.vectors[i] != nil && !assert.InDeltaSlice(t, want.vectors[i], got.vectors[i], tolerance, "%s: row %d", what, i) {
			t.FailNow()
		}
	}
}

// TestTextJobsGiveWhatTheCPUGives runs whole jobs, tokeniser to vectors, on one, two and four
// devices, with one or two actors on each.
func TestTextJobsGiveWhatTheCPUGives(t *testing.T) {
	rec := texts(400)
	defer rec.Release()
	for _, name := range []string{"plain", "int32", "half", "bool_mask", "float_mask", "fixed_batch", "fixed_tokens", "fixed_both", "whole", "ids_only", "external", "left", "left_fixed"} {
		cfg := infer.Config{Path: filepath.Join("../testdata/models", name), RunTokens: 96}
		want, err := embed(t, cfg, infer.EmbedConfig{}, rec, pipeline.Config{})
		require.NoError(t, err)
		require.Len(t, want.numbers, 400)
		for _, devices := range []int{1, 2, 4} {
			what := fmt.Sprintf("%s on %d devices", name, devices)
			cfg, actors := cfg, 1
			if name == "plain" {
				cfg.DeviceShare, actors = 0.5, 2*devices
			}
			machine(t, cudaemu.Config{Seed: uint64(devices), MaxDelay: late, Devices: make([]cudaemu.Device, devices)})
			gpus := make([]int, devices)
			for i := range gpus {
				gpus[i] = i
			}
			got, err := embed(t, cfg, infer.EmbedConfig{Actors: actors}, rec, pipeline.Config{GPUs: gpus})
			require.NoError(t, err, what)
			same(t, want, got, 1e-5, what)
			c := cudaemu.Count()
			require.False(t, c.Left(), "%s: %+v", what, c)
			require.Zero(t, c.Pageable, what)
			require.Positive(t, c.Copies, what)
		}
	}
}

// TestSeveralOutputsOnADevice takes vectors of two outputs of the model, and two of one of them.
func TestSeveralOutputsOnADevice(t *testing.T) {
	rec := texts(200)
	defer rec.Release()
	cfg := infer.Config{Path: "../testdata/models/several", RunTokens: 96}
	task := infer.EmbedConfig{Dimensions: 5, Outputs: []infer.EmbedOutput{{Output: "mean", Pooling: infer.MeanPooling},
		{Output: "whole", ModelOutput: "sentence_embedding"}, {Output: "first", Pooling: infer.CLSPooling}}}
	want, err := embed(t, cfg, task, rec, pipeline.Config{})
	require.NoError(t, err)
	require.Len(t, want.vectors[0], 15)
	machine(t, cudaemu.Config{MaxDelay: late})
	got, err := embed(t, cfg, task, rec, pipeline.Config{GPUs: []int{0}})
	require.NoError(t, err)
	same(t, want, got, 1e-5, "several outputs")
}

// TestTextJobsWithLateStreams has the streams late in ways that the seeds draw.
func TestTextJobsWithLateStreams(t *testing.T) {
	rec := texts(150)
	defer rec.Release()
	cfg := infer.Config{Path: "../testdata/models/plain", RunTokens: 96, DeviceShare: 0.5}
	want, err := embed(t, cfg, infer.EmbedConfig{}, rec, pipeline.Config{})
	require.NoError(t, err)
	for seed := range seeds {
		machine(t, cudaemu.Config{Seed: seed, MaxDelay: late, Devices: make([]cudaemu.Device, 2)})
		got, err := embed(t, cfg, infer.EmbedConfig{Actors: 4}, rec, pipeline.Config{GPUs: []int{0, 1}})
		require.NoError(t, err, "seed %d", seed)
		same(t, want, got, 1e-5, fmt.Sprintf("seed %d", seed))
		c := cudaemu.Count()
		require.False(t, c.Left(), "seed %d: %+v", seed, c)
		require.Zero(t, c.Pageable, "seed %d", seed)
	}
}

func TestMiniLMOnADevice(t *testing.T) {
	rec := texts(24)
	defer rec.Release()
	cfg := infer.Config{Path: "../../build/models/all-MiniLM-L6-v2", RunTokens: 256, MaxTokens: 16}
	want, err := embed(t, cfg, infer.EmbedConfig{}, rec, pipeline.Config{})
	require.NoError(t, err)
	machine(t, cudaemu.Config{MaxDelay: late})
	got, err := embed(t, cfg, infer.EmbedConfig{}, rec, pipeline.Config{GPUs: []int{0}})
	require.NoError(t, err)
	same(t, want, got, 1e-5, "MiniLM")
}

// TestALostDeviceEndsTheJobClearly loses the only device in the middle of a job.
func TestALostDeviceEndsTheJobClearly(t *testing.T) {
	rec := texts(400)
	defer rec.Release()
	cfg := infer.Config{Path: "../testdata/models/plain", RunTokens: 96}
	machine(t, cudaemu.Config{MaxDelay: late})
	require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: "emu_launch", Nth: 14, Device: 1, Code: illegalAddress, Late: true}))
	_, err := embed(t, cfg, infer.EmbedConfig{Actors: 1}, rec, pipeline.Config{GPUs: []int{0}})
	require.ErrorContains(t, err, "embed: no device is left: device cuda:0 lost: ")
	require.ErrorContains(t, err, "rows were done")
	require.ErrorIs(t, err, cuda.ErrDeviceLost)
	require.NotErrorIs(t, err, context.Canceled)
}
