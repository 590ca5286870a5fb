package pipeline_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// packed is a stage whose row x costs cost(x), and that notes the batches that it is given.
type packed struct {
	stagetest.FakeStage
	mu      sync.Mutex
	batches [][]int64 // the x of each, sorted
}

func newPacked(policy stage.Policy, cost func(x int64) int32) *packed {
	p := &packed{}
	p.Name, p.Column, p.Output = "packed", "x", "y"
	p.Need = stage.Need{RowWise: true, Batch: policy, Cost: func(rec arrow.Record, dst []int32) {
		for i, x := range rec.Column(0).(*array.Int64).Int64Values() {
			dst[i] = cost(x)
		}
	}}
	p.OnProcess = func(_ context.Context, _ int, in stage.Batch) error {
		var xs []int64
		for _, part := range in.Parts {
			for i := range part.NumRows() {
				xs = append(xs, part.Record.Column(0).(*array.Int64).Value(part.Row(i)))
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.batches = append(p.batches, xs)
		return nil
	}
	return p
}

func (p *packed) seen() [][]int64 {
	slices.SortFunc(p.batches, func(a, b []int64) int { return slices.Compare(a, b) })
	return p.batches
}

func byTens(x int64) int32 { return int32(x%10 + 1) }

// Rows of like cost share batches across blocks, and come out in their order with what was
// carried past the stage.
func TestWindowsPackAcrossBlocks(t *testing.T) {
	var first [][]int64
	for _, views := range []bool{false, true} {
		for _, actors := range []int{1, 3} {
			p := newPacked(stage.Policy{LookAheadRows: 50, MaxCost: 40}, byTens)
			p.Need.Views = views
			got, err := collect(t, pipeline.Read(numbers(30, 45, 45)).Apply(p, pipeline.StageConfig{Actors: actors}), small(pipeline.Config{}))
			require.NoError(t, err)
			require.Len(t, got, 120)
			for i, line := range got {
				require.Equal(t, fmt.Sprintf("x=%d name=row-%d y=%d", i, i, i), line)
			}
			batches := p.seen()
			for _, b := range batches {
				costs := map[int32]bool{}
				for _, x := range b {
					costs[byTens(x)] = true
					require.Equal(t, b[0]/50, x/50, "a batch stays in its window: %v", b)
				}
				require.LessOrEqual(t, len(costs), 4, "rows of like cost: %v", b)
			}
			if first == nil {
				first = batches
			}
			require.Equal(t, first, batches, "batches do not depend on who works on them")
		}
	}
}

// What the batches cost is in the statistics: far less padding than in order of arrival.
func TestPackingIsInTheStatistics(t *testing.T) {
	efficiency := func(ahead int) float64 {
		p := newPacked(stage.Policy{LookAheadRows: ahead, MaxCost: 200}, byTens)
		w := &watch{}
		_, err := pipeline.Read(numbers(500, 500)).Apply(p, pipeline.StageConfig{}).Write(t.Context(), &stagetest.MemorySink{}, w.config(pipeline.Config{}))
		require.NoError(t, err)
		o := w.stats.Operators[1]
		require.Equal(t, "packed", o.Name)
		require.EqualValues(t, 5500, o.Cost)
		return float64(o.Cost) / float64(o.PaddedCost)
	}
	require.Less(t, efficiency(0), 0.6)
	require.Greater(t, efficiency(1000), 0.95)
}

// A row that no batch may hold runs alone, after the others of its window, and the next window
// does not wait for it.
func TestOneEnormousRowHoldsNothingBack(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	p := newPacked(stage.Policy{LookAheadRows: 20, MaxCost: 40}, func(x int64) int32 {
		if x == 3 {
			return 1 << 20
		}
		return 1
	})
	note := p.OnProcess
	p.OnProcess = func(ctx context.Context, n int, in stage.Batch) error {
		require.NoError(t, note(ctx, n, in))
		switch x := in.Parts[0].Record.Column(0).(*array.Int64).Value(in.Parts[0].Row(0)); {
		case x == 3:
			require.Equal(t, 1, in.NumRows())
			<-release
		case x >= 20:
			once.Do(func() { close(release) }) // a row of the next window came through meanwhile
		}
		return nil
	}
	got, err := collect(t, pipeline.Read(numbers(60)).Apply(p, pipeline.StageConfig{Actors: 2}).Select("x"), pipeline.Config{CPUs: 2})
	require.NoError(t, err)
	require.Len(t, got, 60)
	require.Equal(t, "x=3", got[3])
}

// Failed rows leave the window's other rows in their order, and are told in theirs, behind the
// window that they are of.
func TestFailedRowsOfWindows(t *testing.T) {
	for _, every := range []int64{1, 7} {
		p := newPacked(stage.Policy{LookAheadRows: 25, MaxCost: 30}, byTens)
		p.Map = func(x int64) ([]int64, error) {
			if x%every == 0 {
				return nil, errOdd
			}
			return []int64{x}, nil
		}
		sink := &stagetest.MemorySink{}
		w := &watch{}
		_, err := pipeline.Read(numbers(40, 30)).Apply(p, pipeline.StageConfig{Actors: 3}).Write(t.Context(), sink,
			w.config(small(pipeline.Config{OnError: pipeline.OnError{Skip: true}})))
		require.NoError(t, err)
		w.balanced(t)
		var want, dead []string
		for x := range int64(70) {
			if x%every == 0 {
				dead = append(dead, fmt.Sprintf(`{"name":"row-%d","x":%d}`, x, x))
			} else {
				want = append(want, fmt.Sprintf("x=%d name=row-%d y=%d", x, x, x))
			}
		}
		require.Equal(t, want, linesOf(sink))
		var inputs []string
		for _, rec := range sink.Records(true) {
			for i := range int(rec.NumRows()) {
				inputs = append(inputs, rec.Column(rec.Schema().FieldIndices("input")[0]).ValueStr(i))
			}
		}
		require.Equal(t, dead, inputs)
	}
}

// A job that ends early, for whatever reason, leaves nothing of its windows.
func TestWindowsOfJobsThatEndEarly(t *testing.T) {
	policy := stage.Policy{LookAheadRows: 30, MaxCost: 50}
	got, err := collect(t, pipeline.Read(numbers(200)).Apply(newPacked(policy, byTens), pipeline.StageConfig{Actors: 2}).Limit(37).Select("x"), small(pipeline.Config{}))
	require.NoError(t, err)
	require.Len(t, got, 37)
	require.Equal(t, "x=36", got[36])

	for n := range 12 {
		p := newPacked(policy, byTens)
		p.Map = func(x int64) ([]int64, error) {
			if x == int64(n)*15 {
				return nil, errOdd
			}
			return []int64{x}, nil
		}
		_, err = collect(t, pipeline.Read(numbers(100, 100)).Apply(p, pipeline.StageConfig{Actors: 1 + n%3}), small(pipeline.Config{}))
		require.ErrorIs(t, err, errOdd)
	}
}

// A stage whose rows could not be put back keeps the order of arrival.
func TestStagesThatAreNotPacked(t *testing.T) {
	for name, change := range map[string]func(n *stage.Need){
		"not row by row": func(n *stage.Need) { n.RowWise = false },
		"many rows":      func(n *stage.Need) { n.Rows = stage.Many },
		"no cost":        func(n *stage.Need) { n.Cost, n.Batch.MaxRows = nil, 10 },
	} {
		p := newPacked(stage.Policy{LookAheadRows: 100, MaxCost: 20}, byTens)
		change(&p.Need)
		_, err := collect(t, pipeline.Read(numbers(100)).Apply(p, pipeline.StageConfig{}), pipeline.Config{})
		require.NoError(t, err)
		for _, b := range p.seen() {
			require.EqualValues(t, len(b)-1, b[len(b)-1]-b[0], "%s: %v", name, b)
		}
	}
}
