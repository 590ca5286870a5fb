package sim

import "github.com/penstock-data/penstock/pipeline/internal/sched"

// RatePlan is the constants of ray-project/ray issue 65540: two actor pools share slots, the
// first fast and up at once, the second slower and slow to start.
type RatePlan struct {
	Slots          int     `json:"slots"`
	Items          int     `json:"items"`
	FastSeconds    float64 `json:"fast_seconds"`  // of service per item
	SlowSeconds    float64 `json:"slow_seconds"`  // of service per item
	StartSeconds   float64 `json:"start_seconds"` // until a worker of the slow pool is up
	TickSeconds    float64 `json:"tick_seconds"`
	ItemBytes      int64   `json:"item_bytes"`
	MemoryItems    int64   `json:"memory_items"` // the limit, in items
	BlocksPerSplit int     `json:"blocks_per_split"`
}

// Holding is how a pool holds slots.
type Holding string

const (
	// ByWorker has each open worker hold a slot for as long as it is open, as an actor of Ray
	// does, busy or not.
	ByWorker Holding = "by worker"
	// ByTask has each running task hold one, as a CPU token.
	ByTask Holding = "by task"
)

// Config is the plan with pools of 1 to Slots workers each, which the scheduler sizes.
func (p RatePlan) Config(holding Holding) Config {
	cfg := p.config()
	for i, o := range []*Op{&cfg.Ops[1], &cfg.Ops[2]} {
		o.Workers, o.Max = 1, p.Slots
		if holding == ByTask {
			o.CPU = 1
		} else {
			o.GPU = 1 / float64(p.Slots)
		}
		if i == 1 {
			o.Open = func(int) float64 { return p.StartSeconds }
		}
	}
	return cfg
}

// Split is the plan with pools of fixed sizes that are opened at once.
func (p RatePlan) Split(fast int) Config {
	cfg := p.config()
	cfg.Ops[1].Workers, cfg.Ops[2].Workers = fast, p.Slots-fast
	cfg.Ops[2].Open = func(int) float64 { return p.StartSeconds }
	cfg.Tick = 0
	return cfg
}

func (p RatePlan) config() Config {
	stage := func(seconds float64) func(Task) []Yield {
		return func(Task) []Yield { return []Yield{{Seconds: seconds, Bytes: p.ItemBytes}} }
	}
	read := func(t Task) []Yield {
		out := make([]Yield, min(p.BlocksPerSplit, p.Items-int(t.ID)*p.BlocksPerSplit))
		for k := range out {
			out[k].Bytes = p.ItemBytes
		}
		return out
	}
	return Config{
		CPUs: float64(p.Slots), GPUs: 1, Tick: p.TickSeconds, Memory: p.ItemBytes * p.MemoryItems,
		Ops: []Op{
			{Op: sched.Op{Name: "read", Workers: 1, Generator: true, Estimate: p.ItemBytes}, Next: []int{1}, Tasks: (p.Items + p.BlocksPerSplit - 1) / p.BlocksPerSplit, Work: read},
			{Op: sched.Op{Name: "fast", Estimate: p.ItemBytes}, Next: []int{2}, Work: stage(p.FastSeconds)},
			{Op: sched.Op{Name: "slow", Estimate: p.ItemBytes}, Next: []int{3}, Work: stage(p.SlowSeconds)},
			{Op: sched.Op{Name: "write", Workers: 1, Calls: p.Slots}, Work: func(Task) []Yield { return nil }},
		},
	}
}

// SlotsUsed is how many slots were at work on average.
func (p RatePlan) SlotsUsed(res Result) float64 { return (res.Busy[1] + res.Busy[2]) / res.Seconds }
