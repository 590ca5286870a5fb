package sim_test

import (
	"math/rand/v2"
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

// uneven has the items of a stage take from a fifth to nine fifths of their time.
func uneven(cfg sim.Config, seed uint64) sim.Config {
	for i := range cfg.Ops {
		work := cfg.Ops[i].Work
		cfg.Ops[i].Work = func(t sim.Task) []sim.Yield {
			r := rand.New(rand.NewPCG(seed, uint64(i)<<32|uint64(t.ID)))
			out := work(t)
			for k := range out {
				out[k].Seconds *= 0.2 + 1.6*r.Float64()
			}
			return out
		}
	}
	return cfg
}

func TestPoolsAreSizedByTheirRates(t *testing.T) {
	best, err := sim.Run(ratePlan.Split(52)) // the best of all splits, see benchmarks/results/rate.json
	require.NoError(t, err)
	check := func(cfg sim.Config, name string, least float64) {
		res, err := sim.Run(cfg)
		require.NoError(t, err)
		t.Logf("%s: %.2f s, and the best split %.2f s; opened %v, closed %d", name, res.Seconds, best.Seconds, res.Opened[1:3], res.Closed)
		assert.EqualValues(t, ratePlan.Items, res.Delivered)
		assert.GreaterOrEqual(t, ratePlan.SlotsUsed(res), least*ratePlan.SlotsUsed(best), name)
	}
	for _, holding := range []sim.Holding{sim.ByWorker, sim.ByTask} {
		check(ratePlan.Config(holding), string(holding), 0.95)
		for seed := range uint64(3) {
			check(uneven(ratePlan.Config(holding), seed), string(holding)+", uneven", 0.9)
		}
	}
}
