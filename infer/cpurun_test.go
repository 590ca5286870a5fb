package infer_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/stage"
)

// libraryAllocs is what onnxruntime_go v1.27 allocates for a run: the list of the inputs' addresses
// and that of the outputs', which are handed to C and so lie in the heap (RunWithOptions). The
// addresses themselves it would allocate, too, were it not that our tensors keep them.
const libraryAllocs = 2

func newCaller(t *testing.T, cfg infer.Config) *infer.Caller {
	c, err := open(t, cfg).NewCaller(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// Filling the inputs, running the model and pooling what comes out allocate nothing: not for a
// row, not for a run, not for a batch.
func TestRunsAllocateNothing(t *testing.T) {
	short := []int{3, 1, 5, 2, 5, 4, 7}
	long := slices.Repeat(short, 30)
	for _, c := range []struct {
		model   string
		tokens  int // of a run
		packed  bool
		lengths []int
		runs    int
	}{
		{"plain", 1 << 20, false, short, 1},
		{"plain", 1 << 20, false, long, 1},
		{"plain", 64, true, long, len(infer.CutRuns(long, 64, 0))},
		{"plain", 64, false, long, len(infer.CutInTurn(long, 64))},
		{"int32", 1 << 20, false, long, 1}, // the first token's vector
		{"whole", 1 << 20, false, long, 1}, // a vector per text
		{"half", 1 << 20, false, long, 1},
		{"left", 1 << 20, false, long, 1},
		{"fixed_batch", 1 << 20, false, short, 2}, // of four texts each
	} {
		t.Run(c.model, func(t *testing.T) {
			caller := newCaller(t, infer.Config{Path: filepath.Join(tiny, c.model), RunTokens: c.tokens, NoPacking: !c.packed})
			_, run := caller.Batch(c.lengths)
			ctx, cancel := context.WithCancel(t.Context()) // as a job's: one for all batches
			defer cancel()
			allocs := testing.AllocsPerRun(20, func() {
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			})
			require.Equal(t, float64(libraryAllocs*c.runs), allocs, "%d texts in %d runs", len(c.lengths), c.runs)
		})
	}
}

// A worker allocates the columns of a batch, and as often for many rows as for few.
func TestRowsAllocateNothing(t *testing.T) {
	task, err := open(t, infer.Config{Path: filepath.Join(tiny, "plain"), RunTokens: 1 << 20}).Embed(infer.EmbedConfig{Column: "text"})
	require.NoError(t, err)
	c := openChain(t, task, textSchema, stage.Env{})
	defer c.close()
	text := "a b c d"
	allocs := func(rows int) float64 {
		ids, err := process(t.Context(), c.tokens, stage.NewBatch(textRecord(memory.DefaultAllocator, slices.Repeat([]*string{&text, nil}, rows/2)...), stage.Origin{}))
		require.NoError(t, err)
		defer ids.Release()
		batch := stage.NewBatch(ids, stage.Origin{})
		return testing.AllocsPerRun(20, func() {
			if err := c.model.Process(t.Context(), batch, release); err != nil {
				t.Error(err)
			}
		})
	}
	require.Equal(t, allocs(4), allocs(512))
}

func release(o stage.Output) error {
	o.Record.Release()
	return nil
}

// Tensors are held for a bounded number of shapes, and made anew when their memory moves. What
// comes out is the same.
func TestTensorsOfShapes(t *testing.T) {
	c := newCaller(t, infer.Config{Path: filepath.Join(tiny, "plain"), RunTokens: 1 << 20})
	few, runFew := c.Batch([]int{4, 2, 4})
	require.NoError(t, runFew(t.Context()))
	want := make([][]float32, len(few))
	for i, v := range few {
		want[i] = slices.Clone(v)
	}
	require.Equal(t, 1, c.Shapes())

	_, runMany := c.Batch(slices.Repeat([]int{6}, 3*infer.MaxShapes))
	require.NoError(t, runMany(t.Context()))
	require.Equal(t, 1, c.Shapes(), "the memory grew, and the tensors over it are gone")
	for rows := range 3 * infer.MaxShapes {
		_, run := c.Batch(slices.Repeat([]int{3}, rows+1))
		require.NoError(t, run(t.Context()))
	}
	require.Equal(t, infer.MaxShapes, c.Shapes())

	for _, v := range few {
		clear(v)
	}
	require.NoError(t, runFew(t.Context()))
	require.Equal(t, want, few)
	require.Equal(t, infer.MaxShapes, c.Shapes())
}

// openModel opens a worker of a model between columns of numbers, which rec has.
func openModel(t *testing.T, model string, rec arrow.Record) (stage.Worker, stage.Need) {
	task, err := tensorModel(t, model).Infer(infer.InferConfig{BatchSize: 1 << 20})
	require.NoError(t, err)
	w, bound := openTensors(t, task, rec, stage.Env{})
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w, bound.Need
}

// So do runs of models between columns of numbers, where the model says how large its outputs are.
func TestTensorRunsAllocateNothing(t *testing.T) {
	for name, c := range tensorCases(t) {
		if name == "open" {
			continue // ONNX Runtime allocates its outputs
		}
		t.Run(name, func(t *testing.T) {
			rec := tensorRecord(t, c.In, leafOf(name, false), true)
			defer rec.Release()
			w, _ := openModel(t, name, rec)
			run := infer.RunOf(w, 4)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			allocs := testing.AllocsPerRun(20, func() {
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			})
			require.Equal(t, float64(libraryAllocs), allocs)
		})
	}
}

// Rows come out the same however many are in a batch: tensors are held by the number of rows, for
// a bounded number of them, and made anew when their memory moves.
func TestTensorsOfManySizes(t *testing.T) {
	for _, name := range []string{"mixed", "open"} {
		t.Run(name, func(t *testing.T) {
			c := tensorCases(t)[name]
			in := map[string][]any{}
			for k, rows := range c.In {
				in[k] = slices.Repeat(rows, 400)
			}
			rec := tensorRecord(t, in, leafOf(name, false), true)
			defer rec.Release()
			w, need := openModel(t, name, rec)
			sizes := []int{3, 1, 2000, 3, 1, 2000}
			for n := range infer.MaxShapes + 10 {
				sizes = append(sizes, n+1)
			}
			for from, turn := 0, 0; turn < len(sizes); turn++ {
				n := sizes[turn]
				part := rec.NewSlice(int64(from), int64(from+n))
				got, err := process(t.Context(), w, stage.NewBatch(selected(part, need.Reads), stage.Origin{}))
				part.Release()
				require.NoError(t, err)
				for k, want := range c.Out {
					col := got.Column(got.Schema().FieldIndices(k)[0])
					for _, i := range []int{0, n / 2, n - 1} {
						requireValue(t, want[(from+i)%len(want)], valueOf(col, i), fmt.Sprintf("%d rows: %s row %d", n, k, i))
					}
				}
				got.Release()
				from = (from + n) % 100
			}
			require.Equal(t, infer.MaxShapes, infer.HeldBy(w))
		})
	}
}

// The context of a batch is let go of when another comes: one that has ended ends no run of the
// next.
func TestContextOfABatch(t *testing.T) {
	c := newCaller(t, infer.Config{Path: filepath.Join(tiny, "plain")})
	_, run := c.Batch([]int{3, 2})
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, run(ctx))
		require.NoError(t, run(ctx))
		cancel()
		require.ErrorIs(t, run(ctx), context.Canceled)
	}
	require.NoError(t, run(context.Background()))
}
