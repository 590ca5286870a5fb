package sim_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline/internal/sim"
)

var memoryPlan = sim.MemoryPlan{
	LoadTasks: 160, LoadSeconds: 5, BlocksPerTask: 5, BlockBytes: 100e6, TransformSeconds: 0.5, InferSeconds: 0.5,
	CPUs: 8, GPUs: 4, EstimateBytes: 8 << 20,
}

// publishedOptimum is what the paper's solver found, in seconds.
const publishedOptimum = 153

func TestTheMemoryExperimentStaysNearTheOptimum(t *testing.T) {
	for _, reading := range []sim.Reading{sim.Streamed, sim.Whole} {
		for gb, most := range map[int64]float64{6: 1.25, 8: 1.15, 16: 1.10} {
			res, err := sim.Run(memoryPlan.Config(gb*1e9, reading))
			require.NoError(t, err)
			t.Logf("%s, %d GB: %.1f s, %.2f GB counted, %.2f GB in memory", reading, gb, res.Seconds, float64(res.Peak)/1e9, float64(res.Physical)/1e9)
			assert.EqualValues(t, 800, res.Delivered)
			assert.GreaterOrEqual(t, res.Seconds, memoryPlan.Bound(), "it beat what no schedule can")
			assert.LessOrEqual(t, res.Seconds, most*publishedOptimum)
			assert.LessOrEqual(t, res.Physical, gb*1e9)
			assert.Zero(t, res.Alone)
		}
	}
}

var ratePlan = sim.RatePlan{
	Slots: 126, Items: 20_000, FastSeconds: 0.17, SlowSeconds: 0.21, StartSeconds: 9, TickSeconds: 0.2,
	ItemBytes: 1 << 20, MemoryItems: 10_000, BlocksPerSplit: 100,
}

func TestPoolsAreSizedByTheirRates(t *testing.T) {
	best, err := sim.Run(ratePlan.Split(56))
	require.NoError(t, err)
	t.Logf("56/70: %.2f s, %.1f slots", best.Seconds, ratePlan.SlotsUsed(best))
	for _, holding := range []sim.Holding{sim.ByWorker, sim.ByTask} {
		res, err := sim.Run(ratePlan.Config(holding))
		require.NoError(t, err)
		t.Logf("%s: %.2f s, %.1f slots, opened %v, closed %d", holding, res.Seconds, ratePlan.SlotsUsed(res), res.Opened, res.Closed)
		assert.GreaterOrEqual(t, ratePlan.SlotsUsed(res), 0.95*ratePlan.SlotsUsed(best))
	}
}
