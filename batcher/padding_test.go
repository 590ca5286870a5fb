package batcher_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/batcher"
	"github.com/penstock-data/penstock/stage"
)

// lengths gives token counts of texts as they are measured: lognormal, mean 63, a 95th
// percentile near 184, cut at 256.
func lengths(n int, seed uint64) []int32 {
	rng := rand.New(rand.NewPCG(seed, 63))
	const mu, sigma = 3.82, 0.85
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(min(max(math.Exp(mu+sigma*rng.NormFloat64()), 3), 256))
	}
	return out
}

// fewest makes a batch so dear that there are as few of them as can be: the same as
// filling each to the bound.
const fewest = 100

type packing struct {
	batches    int
	efficiency float64 // cost over padded cost
}

func packed(all []batcher.Batch) packing {
	var cost, padded int64
	for _, b := range all {
		cost += b.Cost
		padded += b.PaddedCost
	}
	return packing{len(all), float64(cost) / float64(padded)}
}

func packAll(t testing.TB, p stage.Policy, share float64, costs []int32) packing {
	b, err := batcher.New(p)
	require.NoError(t, err)
	if share >= 0 {
		b.SetOverhead(share)
	}
	out := b.Push(batcher.Block{Rows: len(costs), Costs: costs})
	return packed(append(out, b.Flush()...))
}

func TestPaddingEfficiency(t *testing.T) {
	costs := lengths(20*2048, 1)
	var sum float64
	for _, c := range costs {
		sum += float64(c)
	}
	t.Logf("mean length %.1f", sum/float64(len(costs)))
	arrival := packAll(t, stage.Policy{MaxRows: 64}, -1, costs)
	t.Logf("in order of arrival, by 64: %d batches, efficiency %.3f", arrival.batches, arrival.efficiency)
	for _, c := range []struct {
		policy stage.Policy
		least  float64
	}{
		{stage.Policy{LookAheadRows: 2048, MaxCost: 4096}, 0.95},
		{stage.Policy{LookAheadRows: 2048, MaxCost: 1024}, 0.98},
		{stage.Policy{LookAheadRows: 2048, MaxRows: 64}, 0.95},
		{stage.Policy{LookAheadRows: 512, MaxCost: 4096}, 0.85},
		{stage.Policy{LookAheadRows: 2048, MaxCost: 16384}, 0.85},
	} {
		for _, share := range []float64{0, 1. / 256, 1. / 64, 1. / 32, 1. / 16, 1. / 8, fewest} {
			got := packAll(t, c.policy, share, costs)
			require.LessOrEqual(t, packAll(t, c.policy, fewest, costs).batches, got.batches)
			t.Logf("look-ahead %d, MaxRows %d, MaxCost %d, overhead %.4f: %d batches, efficiency %.4f",
				c.policy.LookAheadRows, c.policy.MaxRows, c.policy.MaxCost, share,
				got.batches, got.efficiency)
		}
		got := packAll(t, c.policy, -1, costs)
		require.GreaterOrEqual(t, got.efficiency, c.least)
		require.Greater(t, got.efficiency, packAll(t, c.policy, fewest, costs).efficiency)
	}
}
