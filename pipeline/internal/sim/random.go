package sim

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
)

// Random makes a random job of 1 to 8 operators and a sink: side branches that join again,
// second sources, estimates that are wrong, tasks of skewed size and cost, slow starts,
// limits near one block. It gives the number of blocks that reach sinks. The same seed
// makes the same job.
func Random(seed uint64) (Config, int64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	n := 1 + rng.IntN(8)
	unit := int64(1 + rng.IntN(1000))
	cfg := Config{CPUs: float64(1 + rng.IntN(8)), Memory: unit * int64(1+rng.IntN(40)), Audit: true}
	copies := make([]int64, n+2) // blocks that reach each operator
	second := 0
	if n > 2 && rng.IntN(5) == 0 {
		second = 1 + rng.IntN(n-1)
	}
	for i := range n + 1 {
		o := randomOp(rng, i, unit, cfg.CPUs)
		source := i == 0 || i == second
		if source {
			o.Tasks = rng.IntN(12)
		}
		if i < n {
			o.Next = []int{i + 1}
			if i+1 == second {
				o.Next[0] = i + 2
			} else if i+2 <= n && rng.IntN(4) == 0 {
				o.Next = append(o.Next, i+2) // a branch that joins again
				if i+2 == second {
					o.Next = o.Next[:1]
				}
			}
		}
		o.Generator = source || rng.IntN(4) == 0
		fan := 1
		if o.Generator {
			fan = rng.IntN(4)
		}
		tasks := copies[i]
		if source {
			tasks = int64(o.Tasks)
		}
		for _, next := range o.Next {
			copies[next] += tasks * int64(fan)
		}
		o.Work = randomWork(seed, i, fan, unit, rng.IntN(3) == 0, rng.Float64(), i == n)
		cfg.Ops = append(cfg.Ops, o)
	}
	return cfg, copies[n]
}

func randomOp(rng *rand.Rand, i int, unit int64, cpus float64) Op {
	o := Op{Order: rng.IntN(3) > 0}
	o.Name = fmt.Sprint(i)
	o.Workers, o.Calls = 1+rng.IntN(4), 1+rng.IntN(3)
	o.CPU = []float64{0, 0.5, 1, 1, min(2, cpus)}[rng.IntN(5)]
	o.Estimate = unit * int64(rng.IntN(5)) / 2
	if o.Order && rng.IntN(2) == 0 {
		o.Window = int64(1 + rng.IntN(10))
	}
	delay := rng.Float64() * float64(rng.IntN(20))
	o.Open = func(w int) float64 { return delay * float64(w+1) }
	return o
}

func randomWork(seed uint64, i, fan int, unit int64, skew bool, speed float64, sink bool) func(Task) []Yield {
	return func(t Task) []Yield {
		r := rand.New(rand.NewPCG(seed, uint64(i)<<32|uint64(t.ID)))
		if sink {
			return []Yield{{Seconds: speed * r.Float64()}}
		}
		out := make([]Yield, fan)
		for k := range out {
			bytes := 1 + r.Int64N(unit)
			if skew && r.IntN(20) == 0 {
				bytes *= 100
			}
			out[k] = Yield{Seconds: speed * r.Float64(), Bytes: bytes}
			if r.IntN(4) == 0 {
				out[k].Reserve = 1 + r.Int64N(2*bytes)
			}
		}
		return out
	}
}

// WithFaults adds to a random job what may happen from outside: pauses, lost workers and
// changes of the limit. It loses no block.
func WithFaults(cfg Config, seed uint64) Config {
	rng := rand.New(rand.NewPCG(seed, 11))
	for range 1 + rng.IntN(6) {
		f := Fault{At: 15 * rng.Float64(), Op: rng.IntN(len(cfg.Ops)), For: 5 * rng.Float64()}
		switch rng.IntN(3) {
		case 0:
			f.Kind = sched.Pause
		case 1:
			f.Kind, f.Worker = sched.WorkerDown, rng.IntN(cfg.Ops[f.Op].Workers)
		default:
			f.Kind, f.Bytes = sched.LimitChange, 1+rng.Int64N(2*cfg.Memory)
		}
		cfg.Faults = append(cfg.Faults, f)
	}
	return cfg
}

// WithStop has an operator of a random job stop at a random moment, with all that only it
// consumes, as a limit or a failure does.
func WithStop(cfg Config, seed uint64) Config {
	rng := rand.New(rand.NewPCG(seed, 13))
	op := rng.IntN(len(cfg.Ops))
	cfg.Faults = append(cfg.Faults, Fault{At: 15 * rng.Float64(), Kind: sched.Stop, Op: op})
	return cfg
}

// WithAdmission has a random job admit source tasks by rate.
func WithAdmission(cfg Config, seed uint64) Config {
	rng := rand.New(rand.NewPCG(seed, 23))
	cfg.Admit, cfg.Tick = sched.ByRate, 0.1+2*rng.Float64()
	return cfg
}

// WithPools makes pools of some operators of a random job, some with shares of devices.
func WithPools(cfg Config, seed uint64) Config {
	rng := rand.New(rand.NewPCG(seed, 17))
	cfg.Tick = 0.1 + rng.Float64()
	cfg.GPUs = 1 + rng.IntN(3)
	left := float64(cfg.GPUs)
	for i := range cfg.Ops {
		o := &cfg.Ops[i]
		if rng.IntN(2) == 0 {
			continue
		}
		o.Max = o.Workers + rng.IntN(8)
		share := []float64{0, 0, 0.5, 0.25, 1, 1.0 / 3}[rng.IntN(6)]
		if whole := math.Ceil(share * float64(o.Workers)); whole <= left { // each pool's fewest fit on devices of its own
			o.GPU = share
			left -= whole
		}
	}
	return cfg
}
