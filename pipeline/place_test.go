package pipeline_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// deviceMemory is memory that a worker names for its input. It knows its blocks.
type deviceMemory struct {
	mu     sync.Mutex
	blocks map[uintptr]int
	made   int
}

func (m *deviceMemory) Allocate(n int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := make([]byte, n, n+64)
	m.blocks[uintptr(unsafe.Pointer(unsafe.SliceData(b)))] = n
	m.made++
	return b
}

func (m *deviceMemory) Reallocate(n int, b []byte) []byte {
	next := m.Allocate(n)
	copy(next, b)
	m.Free(b)
	return next
}

func (m *deviceMemory) Free(b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blocks, uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// holds says whether numbers lie in a block, wherever in it.
func (m *deviceMemory) holds(numbers []int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := uintptr(unsafe.Pointer(unsafe.SliceData(numbers)))
	for from, n := range m.blocks {
		if at >= from && at+uintptr(8*len(numbers)) <= from+uintptr(n) {
			return true
		}
	}
	return false
}

// placing is a fake stage whose workers name memory for the column that they read.
type placing struct {
	*stagetest.FakeStage
	mem memory.Allocator
	err error
}

func (s placing) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	return bindOpening(s.FakeStage, in, func(ctx context.Context, env stage.Env, open opener) (stage.Worker, error) {
		w, err := open(ctx, env)
		return placingWorker{w, s}, err
	})
}

type placingWorker struct {
	stage.Worker
	s placing
}

func (w placingWorker) InputAllocator(int) (memory.Allocator, error) { return w.s.mem, w.s.err }

// TestBatchesArePutIntoTheMemoryThatAWorkerNames has batches of one piece and of many, of rows
// picked here and there, and batches that are halved and tried again: each lies whole in the
// worker's memory, in one block that was written once.
func TestBatchesArePutIntoTheMemoryThatAWorkerNames(t *testing.T) {
	byCost := func(rec arrow.Record, dst []int32) {
		for i, x := range rec.Column(0).(*array.Int64).Int64Values() {
			dst[i] = int32(x%3) + 1
		}
	}
	for name, need := range map[string]stage.Need{
		"blocks as they come": {},
		"parts of blocks":     {Batch: stage.Policy{MaxRows: 3}},
		"several blocks":      {Batch: stage.Policy{MaxRows: 50}, InFlight: 3},
		"packed":              {Batch: stage.Policy{MaxCost: 30, LookAheadRows: 100}, Cost: byCost},
	} {
		t.Run(name, func(t *testing.T) {
			mem := &deviceMemory{blocks: map[uintptr]int{}}
			f := &stagetest.FakeStage{Name: "infer", Column: "x", Output: "y", Need: need}
			f.Need.RowWise, f.Need.Retryable = true, true
			first := true
			var mu sync.Mutex
			f.OnProcess = func(_ context.Context, _ int, in stage.Batch) error {
				mu.Lock()
				defer mu.Unlock()
				assert.True(t, mem.holds(in.Record().Column(0).(*array.Int64).Int64Values()))
				if first {
					first = false
					return temporary{}
				}
				for _, x := range in.Record().Column(0).(*array.Int64).Int64Values() {
					if x == 77 {
						return errors.New("not this one")
					}
				}
				return nil
			}
			w := &watch{}
			cfg := small(w.config(pipeline.Config{OnError: pipeline.OnError{Skip: true}}))
			rows := 0
			for rec, err := range pipeline.Read(numbers(200, 1, 99)).Apply(placing{f, mem, nil}, pipeline.StageConfig{}).Batches(t.Context(), cfg) {
				require.NoError(t, err)
				for i := range int(rec.NumRows()) {
					require.Equal(t, rec.Column(0).ValueStr(i), rec.Column(2).ValueStr(i))
				}
				rows += int(rec.NumRows())
			}
			require.Equal(t, 299, rows)
			w.balanced(t)
			require.Equal(t, int64(300*8), w.stats.Counter(stage.PlacedBytes), "each row once, also of batches that were tried again")
			require.Empty(t, mem.blocks)
			for _, o := range w.stats.Operators {
				if o.Kind == "stage" {
					require.Equal(t, o.Tasks-int64(o.Workers), int64(mem.made), "a block for each batch, but none for Finish")
				}
			}
		})
	}
}

// TestWorkersThatNameNoMemory: nil is any memory, and an error ends the job with its cause.
func TestWorkersThatNameNoMemory(t *testing.T) {
	w := &watch{}
	f := &stagetest.FakeStage{Name: "infer", Column: "x", Output: "y"}
	d := pipeline.Read(numbers(100)).Apply(placing{FakeStage: f}, pipeline.StageConfig{})
	for _, err := range d.Batches(t.Context(), w.config(pipeline.Config{})) {
		require.NoError(t, err)
	}
	require.Zero(t, w.stats.Counter(stage.PlacedBytes))

	full := errors.New("nothing is left")
	_, err := collect(t, pipeline.Read(numbers(100)).Apply(placing{FakeStage: f, err: full}, pipeline.StageConfig{}), pipeline.Config{})
	require.ErrorIs(t, err, full)
	require.ErrorContains(t, err, `memory for column "x"`)
}
