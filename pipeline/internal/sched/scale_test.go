package sched_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/pipeline/internal/sim"
)

// wide is a job of many splits that many workers read, work on and write. lost says that a
// worker of the stage is lost every second, and comes up again.
func wide(splits, workers int, lost bool) sim.Config {
	cfg := sim.Config{CPUs: float64(workers), Memory: int64(workers) << 22}
	yield := func(seconds float64, blocks int) func(sim.Task) []sim.Yield {
		return func(t sim.Task) (out []sim.Yield) {
			for k := range blocks {
				out = append(out, sim.Yield{Seconds: seconds * float64(1+(int(t.ID)+k)%7), Bytes: 1 << 19})
			}
			return out
		}
	}
	cfg.Ops = []sim.Op{
		{Op: sched.Op{Name: "read", CPU: 1, Workers: workers, Generator: true, Estimate: 1 << 20, Window: int64(4 * workers)}, Next: []int{1}, Tasks: splits, Order: true, Work: yield(0.01, 3)},
		{Op: sched.Op{Name: "work", CPU: 1, Workers: workers, Calls: 2, Estimate: 1 << 20, Window: int64(8 * workers)}, Next: []int{2}, Order: true, Work: yield(0.02, 1)},
		{Op: sched.Op{Name: "write", CPU: 1, Workers: 1, Calls: workers}, Order: true, Work: func(sim.Task) []sim.Yield { return []sim.Yield{{Seconds: 0.001}} }},
	}
	if lost {
		for k := range 20 {
			cfg.Faults = append(cfg.Faults, sim.Fault{At: float64(k), Kind: sched.WorkerDown, Op: 1, Worker: k % workers, For: 1})
		}
	}
	return cfg
}

// looksPerEvent bounds what an event makes the scheduler look at, for three operators: each is
// asked once or twice before an event is settled, and once more for each action.
const looksPerEvent = 24

func TestWhatAnEventCostsDependsOnWhatChanged(t *testing.T) {
	perEvent := func(splits, workers int) float64 {
		looks := 0
		cfg := wide(splits, workers, true)
		cfg.New = func(c sched.Config) *sched.Scheduler { return sched.NewCounting(c, &looks) }
		res, err := sim.Run(cfg)
		require.NoError(t, err)
		require.EqualValues(t, 3*splits, res.Delivered)
		return float64(looks) / float64(res.Applied)
	}
	small, large := perEvent(100, 5), perEvent(10_000, 500)
	t.Logf("looks per event: %.1f with 100 splits and 5 workers, %.1f with 10,000 and 500", small, large)
	assert.Less(t, large, float64(looksPerEvent))
	assert.Less(t, large, 1.5*small)
}

// BenchmarkEvent is the cost of an event with what follows from it, in the scheduler and in
// the simulator that asks it.
func BenchmarkEvent(b *testing.B) {
	for _, size := range []struct {
		name            string
		splits, workers int
	}{{"100x5", 100, 5}, {"1000x50", 1000, 50}, {"10000x500", 10_000, 500}} {
		b.Run(size.name, func(b *testing.B) {
			events := 0
			for b.Loop() {
				res, err := sim.Run(wide(size.splits, size.workers, true))
				require.NoError(b, err)
				events += res.Applied
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(events), "ns/event")
		})
	}
}

// Blocks of one size, so that a limit of at most 40 of them bounds how often an operator that
// holds less can go first.
func TestNobodyWaitsForEver(t *testing.T) {
	const block, blocks = 100, 40
	most := 0
	for seed := range uint64(100) {
		cfg, _ := sim.Random(seed)
		cfg.CPUs, cfg.Memory = 1, block*(2+int64(seed)%blocks)
		cfg.Ops[0].Tasks *= 10
		for i := range cfg.Ops {
			cfg.Ops[i].CPU = min(cfg.Ops[i].CPU, 1)
			work := cfg.Ops[i].Work
			cfg.Ops[i].Work = func(t sim.Task) []sim.Yield {
				out := work(t)
				for k := range out {
					out[k].Bytes, out[k].Reserve = min(out[k].Bytes*block, block), 0
				}
				return out
			}
		}
		res, err := sim.Run(cfg)
		require.NoError(t, err, "seed %d", seed)
		most = max(most, res.Passed)
	}
	t.Logf("%d turns at most", most)
	assert.Less(t, most, 5*blocks)
}
