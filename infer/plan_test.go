package infer_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
)

func padded(runs [][]int) int {
	cost := 0
	for _, r := range runs {
		cost += len(r)*max(slices.Max(r), 1) + infer.RunCost
	}
	return cost
}

// cheapest tries every way to cut sorted lengths.
func cheapest(lengths []int, budget, maxRows int) int {
	if len(lengths) == 0 {
		return 0
	}
	best := -1
	for n := 1; n <= len(lengths); n++ {
		run := lengths[:n]
		if n > 1 && (n*max(run[n-1], 1) > budget || maxRows > 0 && n > maxRows) {
			break
		}
		if c := padded([][]int{run}) + cheapest(lengths[n:], budget, maxRows); best < 0 || c < best {
			best = c
		}
	}
	return best
}

// All rows are in a run, within the bounds, at the least cost there is.
func TestCutIsTheCheapest(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		lengths := make([]int, rng.IntN(12)+1)
		for i := range lengths {
			lengths[i] = rng.IntN(1 + rng.IntN(300))
		}
		budget, maxRows := rng.IntN(1000)+1, rng.IntN(6)
		runs := infer.CutRuns(lengths, budget, maxRows)
		slices.Sort(lengths)
		require.Equal(t, lengths, slices.Concat(runs...))
		for _, r := range runs {
			require.True(t, len(r) == 1 || len(r)*slices.Max(r) <= budget && (maxRows == 0 || len(r) <= maxRows), "%v of %d, %d", r, budget, maxRows)
		}
		require.Equal(t, cheapest(lengths, budget, maxRows), padded(runs), "%v", lengths)
	}
}

func TestCutInTurn(t *testing.T) {
	for _, c := range []struct {
		lengths []int
		budget  int
		want    [][]int
	}{
		{[]int{3, 9, 2, 2, 30, 1, 0}, 18, [][]int{{3, 9}, {2, 2}, {30}, {1, 0}}},
		{[]int{5}, 1, [][]int{{5}}},
		{[]int{4, 4, 4}, 12, [][]int{{4, 4, 4}}},
	} {
		require.Equal(t, c.want, infer.CutInTurn(c.lengths, c.budget))
	}
}

func TestCutOfManyRows(t *testing.T) {
	lengths := make([]int, 20_000)
	for i := range lengths {
		lengths[i] = i % 60
	}
	require.Len(t, slices.Concat(infer.CutRuns(lengths, 1024, 0)...), len(lengths))
}
