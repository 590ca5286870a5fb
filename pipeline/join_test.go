package pipeline_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

func TestUnionGivesOneSideAfterTheOther(t *testing.T) {
	a, b := pipeline.Read(numbers(30, 5)), pipeline.Read(numbers(17)).Filter(expr.Gt(expr.Col("x"), expr.Lit(9)))
	var want []string
	for i := range 35 {
		want = append(want, fmt.Sprintf("x=%d name=row-%d", i, i))
	}
	for i := 10; i < 17; i++ {
		want = append(want, fmt.Sprintf("x=%d name=row-%d", i, i))
	}
	want = append(want, want[:35]...)
	for _, limit := range []int64{0, 500, 50} {
		st := &stagetest.FakeStage{Column: "x"}
		ds := a.Union(b, a).Apply(st, pipeline.StageConfig{Actors: 3, BatchSize: 4}).Drop("x_out")
		got, err := collect(t, ds, small(pipeline.Config{BlockLimit: limit}))
		require.NoError(t, err)
		require.Equal(t, want, got)
		got, err = collect(t, ds.Limit(33), small(pipeline.Config{BlockLimit: limit}))
		require.NoError(t, err)
		require.Equal(t, want[:33], got)
	}
}

func TestUnionReadsItsSidesInTurn(t *testing.T) {
	first, second := numbers(slices.Repeat([]int{100}, 20)...), numbers(100)
	var done atomic.Int64
	first.OnNext = func(context.Context, string, int) error { done.Add(1); return nil }
	second.OnNext = func(context.Context, string, int) error {
		if done.Load() < 20 {
			t.Error("the second side was read before the first had ended")
		}
		return nil
	}
	got, err := collect(t, pipeline.Read(first).Union(pipeline.Read(second)), small(pipeline.Config{BlockLimit: 2000}))
	require.NoError(t, err)
	require.Len(t, got, 2100)
}

func TestZipAtAnyBlocking(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 30 {
		left, right := numbers(cuts(rng, 200)...), numbers(cuts(rng, 200)...)
		st := &stagetest.FakeStage{Column: "x", Output: "y"}
		b := pipeline.Read(right).Apply(st, pipeline.StageConfig{BatchSize: 1 + rng.IntN(20), Actors: 2}).Select("y", "x")
		cfg := pipeline.Config{BlockBytes: 64 + rng.Int64N(2000), BlockLimit: []int64{0, 1000, 50}[rng.IntN(3)]}
		got, err := collect(t, pipeline.Read(left).Zip(b), cfg)
		require.NoError(t, err)
		require.Len(t, got, 200)
		for i, line := range got {
			require.Equal(t, fmt.Sprintf("x=%d name=row-%d y=%d x_1=%d", i, i, i, i), line)
		}
		got, err = collect(t, pipeline.Read(left).Zip(b).Limit(77), cfg)
		require.NoError(t, err)
		require.Len(t, got, 77)
	}
}

// cuts is a random list of sizes that add up to n.
func cuts(rng *rand.Rand, n int) []int {
	var out []int
	for n > 0 {
		k := min(n, 1+rng.IntN(60))
		out = append(out, k)
		n -= k
	}
	return out
}

func TestZipDemandsEqualRowCounts(t *testing.T) {
	for _, sizes := range [][2]int{{10, 11}, {11, 10}, {0, 1}, {1000, 10}} {
		_, err := collect(t, pipeline.Read(numbers(sizes[0])).Zip(pipeline.Read(numbers(sizes[1]))), small(pipeline.Config{}))
		require.ErrorIs(t, err, pipeline.ErrRowCounts, "%v", sizes)
	}
	got, err := collect(t, pipeline.Read(numbers()).Zip(pipeline.Read(numbers())), small(pipeline.Config{}))
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestJoinsAreCheckedBeforeDataMoves(t *testing.T) {
	a := pipeline.Read(numbers(3))
	_, err := a.Union(a.Select("name", "x")).Check(context.Background(), pipeline.Config{})
	require.ErrorContains(t, err, "union: column 0 of side 1 is \"name\"")
	_, err = a.Select("q").Union(a.Select("p")).Check(context.Background(), pipeline.Config{})
	require.ErrorContains(t, err, `"q"`)
	require.ErrorContains(t, err, `"p"`)
}

func TestFaultsBehindJoinsLeaveNothing(t *testing.T) {
	for n := 1; n < 40; n++ {
		for _, join := range []func(a, b *pipeline.Dataset) *pipeline.Dataset{
			func(a, b *pipeline.Dataset) *pipeline.Dataset { return a.Union(b) },
			func(a, b *pipeline.Dataset) *pipeline.Dataset { return a.Zip(b) },
		} {
			st := &stagetest.FakeStage{Column: "x", OnProcess: stagetest.FailOn(n, errOdd)}
			a := pipeline.Read(numbers(50)).Apply(st, pipeline.StageConfig{BatchSize: 3})
			b := pipeline.Read(numbers(20, 30)).Apply(st, pipeline.StageConfig{BatchSize: 4})
			_, err := collect(t, join(a, b), small(pipeline.Config{}))
			if err != nil {
				require.ErrorIs(t, err, errOdd)
			}
			require.Equal(t, st.Opened(), st.Closed())
		}
	}
}

func TestRowsThatFailBeforeAZipEndIt(t *testing.T) {
	st := &stagetest.FakeStage{Column: "x", Map: failOn(3), Need: stage.Need{RowWise: true}}
	_, err := collect(t, pipeline.Read(numbers(50)).Apply(st, pipeline.StageConfig{BatchSize: 3}).Zip(pipeline.Read(numbers(50))), small(pipeline.Config{OnError: pipeline.OnError{Skip: true}}))
	require.ErrorIs(t, err, pipeline.ErrRowCounts)
}
