//go:build cuda

package gpu_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// numbersFor are n rows of random numbers for the inputs of a model: of its own types or, with
// lists, in wider ones and in lists of any length. Some rows are null.
func numbersFor(t *testing.T, m *infer.Model, n int, lists bool) arrow.Record {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(n), 9))
	var fields []arrow.Field
	for _, in := range m.Inspect().Inputs {
		leaf := map[infer.ElementType]arrow.DataType{
			infer.Float32: arrow.PrimitiveTypes.Float32, infer.Uint8: arrow.PrimitiveTypes.Uint8, infer.Int8: arrow.PrimitiveTypes.Int8,
			infer.Uint16: arrow.PrimitiveTypes.Uint16, infer.Int16: arrow.PrimitiveTypes.Int16, infer.Int32: arrow.PrimitiveTypes.Int32,
			infer.Int64: arrow.PrimitiveTypes.Int64, infer.Bool: arrow.FixedWidthTypes.Boolean, infer.Float16: arrow.FixedWidthTypes.Float16,
			infer.Float64: arrow.PrimitiveTypes.Float64, infer.Uint32: arrow.PrimitiveTypes.Uint32, infer.Uint64: arrow.PrimitiveTypes.Uint64,
		}[in.Type]
		if lists && arrow.IsInteger(leaf.ID()) {
			leaf = arrow.PrimitiveTypes.Int64
		}
		for i := len(in.Shape) - 1; i > 0; i-- {
			if lists {
				leaf = arrow.ListOf(leaf)
			} else {
				leaf = arrow.FixedSizeListOf(sizeOf(in, i), leaf)
			}
		}
		fields = append(fields, arrow.Field{Name: in.Name, Type: leaf, Nullable: true})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for row := range n {
		for c, in := range m.Inspect().Inputs {
			if row%41 == 40 {
				b.Field(c).AppendNull()
			} else {
				appendNumbers(b.Field(c), in, 1, rng)
			}
		}
	}
	return b.NewRecord()
}

// sizeOf is the size of a dimension: 5 where the model leaves it open.
func sizeOf(in infer.TensorInfo, dim int) int32 {
	if in.Shape[dim].Size < 0 {
		return 5
	}
	return int32(in.Shape[dim].Size)
}

func appendNumbers(b array.Builder, in infer.TensorInfo, dim int, rng *rand.Rand) {
	list, ok := b.(array.ListLikeBuilder)
	if !ok {
		if err := b.AppendValueFromString(fmt.Sprint(rng.IntN(100))); err != nil {
			_ = b.AppendValueFromString(fmt.Sprint(rng.IntN(2) == 0)) // bools
		}
		return
	}
	list.Append(true)
	for range sizeOf(in, dim) {
		appendNumbers(list.ValueBuilder(), in, dim+1, rng)
	}
}

// tensorsOf runs a model over columns of numbers, and gives the rows that come out and the counters
// of its stage.
func tensorsOf(t *testing.T, path string, rec arrow.Record, task infer.InferConfig, cfg infer.Config, run pipeline.Config) (arrow.Record, map[stage.Counter]int64) {
	t.Helper()
	cfg.Path, cfg.Library = path, "../../build/lib"
	m, err := infer.Open(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	step, err := m.Infer(task)
	require.NoError(t, err)
	var last atomic.Pointer[pipeline.Stats]
	run.MemoryLimit, run.Progress = 1<<30, func(s pipeline.Stats) { last.Store(&s) }
	var parts []arrow.Record
	for rec, err := range pipeline.Read(readers.Records(rec.Schema(), rec)).Run(step, pipeline.StageConfig{Name: "infer"}).Batches(t.Context(), run) {
		require.NoError(t, err)
		rec.Retain()
		parts = append(parts, rec)
	}
	require.Zero(t, last.Load().Memory.ByPurpose[stage.Pinned.String()])
	for _, o := range last.Load().Operators {
		if o.Name == "infer" {
			return joined(t, parts), o.Counters
		}
	}
	t.Fatal("no operator infer")
	return nil, nil
}

// joined puts records one behind the other, and releases them.
func joined(t *testing.T, parts []arrow.Record) arrow.Record {
	t.Helper()
	var cols []arrow.Array
	rows := int64(0)
	for c := range parts[0].Columns() {
		var list []arrow.Array
		for _, p := range parts {
			list = append(list, p.Column(c))
		}
		col, err := array.Concatenate(list, memory.DefaultAllocator)
		require.NoError(t, err)
		cols = append(cols, col)
	}
	for _, p := range parts {
		rows += p.NumRows()
		defer p.Release()
	}
	return array.NewRecord(parts[0].Schema(), cols, rows)
}

// TestModelsOfNumbersGiveWhatTheCPUGives runs models of every type and shape, of fixed numbers of
// rows and with outputs sized by the run, in batches of which the last is not full.
func TestModelsOfNumbersGiveWhatTheCPUGives(t *testing.T) {
	for _, name := range []string{"mixed", "image", "fixed", "open", "half", "types", "external"} {
		path := filepath.Join("../testdata/tensors", name+".onnx")
		m, err := infer.Open(t.Context(), infer.Config{Path: path})
		require.NoError(t, err)
		for _, lists := range []bool{false, true} {
			if name == "open" && lists {
				continue // only lists of fixed size say how large its dimension is
			}
			what := fmt.Sprintf("%s, lists of any length: %v", name, lists)
			rec := numbersFor(t, m, 150, lists)
			task := infer.InferConfig{BatchSize: 20}
			want, none := tensorsOf(t, path, rec, task, infer.Config{}, pipeline.Config{})
			require.Equal(t, int64(150), want.NumRows())
			machine(t, cudaemu.Config{Seed: 3, MaxDelay: late, Devices: make([]cudaemu.Device, 2)})
			task.Actors = 4
			got, counted := tensorsOf(t, path, rec, task, infer.Config{DeviceShare: 0.5}, pipeline.Config{GPUs: []int{0, 1}})
			require.True(t, array.RecordApproxEqual(want, got, array.WithAbsTolerance(1e-5)), what)
			require.Zero(t, none[stage.StagedBytes]+none[stage.PlacedBytes], what)
			require.Equal(t, none[stage.NullInputs], counted[stage.NullInputs], what)
			c := cudaemu.Count()
			require.False(t, c.Left(), "%s: %+v", what, c)
			require.Positive(t, c.Copies, what)
			require.Zero(t, c.Pageable, what)
		}
		require.NoError(t, m.Close())
	}
}

// TestTensorStageOnADeviceKeepsToTheContract, with several calls of a worker at once.
func TestTensorStageOnADeviceKeepsToTheContract(t *testing.T) {
	for _, name := range []string{"mixed", "fixed", "open"} {
		machine(t, cudaemu.Config{MaxDelay: late / 4})
		m, err := infer.Open(t.Context(), infer.Config{Path: filepath.Join("../testdata/tensors", name+".onnx"), Library: "../../build/lib", DeviceShare: 0.25})
		require.NoError(t, err)
		task, err := m.Infer(infer.InferConfig{BatchSize: 8})
		require.NoError(t, err)
		stages, err := task.Expand(stage.Placement{Device: stage.CUDA})
		require.NoError(t, err)
		stagetest.Stage(t, stages[0], []arrow.Record{numbersFor(t, m, 45, false)}, stagetest.StageOptions{Tolerance: 1e-5})
		require.NoError(t, m.Close())
		require.Zero(t, cudaemu.Count().Pageable)
	}
}
