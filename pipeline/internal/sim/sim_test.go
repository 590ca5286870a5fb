package sim_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/pipeline/internal/sim"
)

// never raises what is in use over the limit but by the liveness rule.
func withinLimit(limit int64) func(*sched.Scheduler, bool, int64) error {
	return func(s *sched.Scheduler, settled bool, before int64) error {
		if used := s.Used(); !settled && used > max(limit, before) {
			return fmt.Errorf("%d bytes in use, %d before, and the limit is %d", used, before, limit)
		}
		if s.CPUFree() < -1e-6 && !settled {
			return fmt.Errorf("%v CPU tokens are free", s.CPUFree())
		}
		return nil
	}
}

// graph makes a random graph: 1 to 8 operators in a chain with side branches, estimates that
// are wrong, tasks of skewed cost, slow starts, limits near one block.
func graph(seed uint64) (sim.Config, int64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	n := 1 + rng.IntN(8)
	unit := int64(1 + rng.IntN(1000))
	cfg := sim.Config{CPUs: float64(1 + rng.IntN(8)), Memory: unit * int64(1+rng.IntN(40))}
	copies := make([]int64, n+1) // blocks that reach each operator
	for i := range n + 1 {
		o := sim.Op{Order: rng.IntN(3) > 0}
		o.Name = fmt.Sprint(i)
		o.Workers, o.Calls = 1+rng.IntN(4), 1+rng.IntN(3)
		o.CPU = []float64{0, 0.5, 1, 1, min(2, cfg.CPUs)}[rng.IntN(5)]
		o.Estimate = unit * int64(rng.IntN(5)) / 2
		if o.Order && rng.IntN(2) == 0 {
			o.Window = int64(1 + rng.IntN(10))
		}
		delay := rng.Float64() * float64(rng.IntN(20))
		o.Open = func(w int) float64 { return delay * float64(w+1) }
		if i == 0 {
			o.Tasks = rng.IntN(12)
		}
		if i < n {
			o.Next = []int{i + 1}
			if i+2 <= n && rng.IntN(4) == 0 {
				o.Next = append(o.Next, i+2) // a branch that joins again
			}
		}
		o.Generator = i == 0 || rng.IntN(4) == 0
		fan := 1
		if o.Generator {
			fan = rng.IntN(4)
		}
		tasks := copies[i]
		if i == 0 {
			tasks = int64(o.Tasks)
		}
		for _, next := range o.Next {
			copies[next] += tasks * int64(fan)
		}
		skew, speed := rng.IntN(3) == 0, rng.Float64()
		o.Work = func(t sim.Task) []sim.Yield {
			r := rand.New(rand.NewPCG(seed, uint64(i)<<32|uint64(t.ID)))
			out := make([]sim.Yield, fan)
			for k := range out {
				bytes := 1 + r.Int64N(unit)
				if skew && r.IntN(20) == 0 {
					bytes *= 100
				}
				out[k] = sim.Yield{Seconds: speed * r.Float64(), Bytes: bytes}
				if r.IntN(4) == 0 {
					out[k].Reserve = 1 + r.Int64N(2*bytes)
				}
			}
			if i == n {
				return []sim.Yield{{Seconds: speed * r.Float64()}}
			}
			return out
		}
		cfg.Ops = append(cfg.Ops, o)
	}
	cfg.Watch = withinLimit(cfg.Memory)
	return cfg, copies[n]
}

func TestRandomGraphsAreDeliveredWithinTheLimit(t *testing.T) {
	for seed := range uint64(graphs) {
		cfg, want := graph(seed)
		res, err := sim.Run(cfg)
		require.NoError(t, err, "seed %d: %+v", seed, cfg)
		require.Equal(t, want, res.Delivered, "seed %d", seed)
	}
}
