package pipeline

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

// Stats is what a run has done so far.
type Stats struct {
	Elapsed    time.Duration
	InputRows  int64 // that the source gave
	InputTotal int64 // that it has in all; -1: not known (yet)
	Rows       int64 // that came out
	Failed     int64 // that were skipped
	Parts      int   // of output that were committed
	Done       bool  // the run has ended well
	Operators  []OperatorStats
	LimitedBy  string // what limited the run, in one line
	Memory     MemoryStats
}

// OperatorStats is what one operator has done.
type OperatorStats struct {
	Name      string
	Kind      string // "source", "stage" or "sink"
	Workers   int    // that are open
	BatchSize int    // rows, that was found to be the fastest so far where it is searched for ([AutoBatch]); else 0
	Running   int    // tasks
	Tasks     int64  // that were started
	InRows    int64
	OutRows   int64
	Failed    int64
	OutBytes  int64
	// Cost and PaddedCost are of the batches that were cut, as stages with stage.Need.Cost give
	// it: their rows' own, and rows × dearest. The rest of PaddedCost is padding.
	Cost, PaddedCost int64
	QueuedBytes      int64 // that wait for it
	PeakBytes        int64 // that its output took at most
	Busy             time.Duration
	Blocked          time.Duration // waiting for room at a yield
	Counters         map[stage.Counter]int64
	Throttled        map[string]int64 // how often each rule kept it waiting, in samples
}

// MemoryStats is in bytes.
type MemoryStats struct {
	Limit     int64
	Used      int64 // that is charged to a purpose
	Peak      int64 // of Used
	ByPurpose map[string]int64
	// PeakByPurpose is the most that each purpose took, not all at the same moment.
	PeakByPurpose map[string]int64
	Baseline      int64 // of the process before the run: the program, its libraries and what else it holds
	// Garbage is what the Go runtime holds besides: heap that lies idle or is dead, or was in
	// use only some of the last times that the collector looked, and the runtime's own books.
	Garbage int64
	RSS     int64 // of the process; 0 where the system does not tell
	PeakRSS int64
	// GoLimit is what Limit leaves the Go runtime, beside the program's text and what C
	// libraries hold: for [runtime/debug.SetMemoryLimit].
	GoLimit int64
}

// Unattributed is what of RSS is in no other number.
func (m MemoryStats) Unattributed() int64 {
	return max(m.RSS-m.Baseline-m.Used-m.Garbage, 0)
}

// Counter adds a counter up over all operators.
func (s Stats) Counter(c stage.Counter) int64 {
	var n int64
	for _, o := range s.Operators {
		n += o.Counters[c]
	}
	return n
}

// counters is counted into by many goroutines.
type counters struct {
	mu sync.Mutex
	n  map[stage.Counter]int64
}

func (c *counters) add(name stage.Counter, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[stage.Counter]int64{}
	}
	c.n[name] += n
}

func (c *counters) copy() map[stage.Counter]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}

// statsKeeper makes Stats of a run. It belongs to the loop.
type statsKeeper struct {
	began   time.Time
	last    Stats
	total   int64 // rows of the splits listed so far
	unknown bool  // a split did not say how many it has
}

func (k *statsKeeper) addSplit(s *stage.Split) {
	if s.Exact && s.Rows >= 0 {
		k.total += s.Rows
	} else {
		k.unknown = true
	}
}

// tick looks at the run and tells the observer.
func (k *statsKeeper) tick(r *run) {
	for i, o := range r.ops {
		if rule := r.sched.State(i).Rule; rule != sched.RuleNone && o.phase != ended {
			o.stat.Throttled[string(rule)]++
		}
	}
	k.snapshot(r)
	k.trace(r.trace)
	if r.cfg.Progress != nil {
		r.cfg.Progress(k.last)
	}
}

// trace records what memory is used for, and what waits for each operator.
func (k *statsKeeper) trace(t *tracer) {
	if t == nil {
		return
	}
	memory, queues := map[string]any{}, map[string]any{}
	for purpose, n := range k.last.Memory.ByPurpose {
		memory[purpose] = n
	}
	for _, o := range k.last.Operators[1:] {
		queues[o.Name] = o.QueuedBytes
	}
	t.counters("memory", memory)
	t.counters("queued bytes", queues)
}

func (k *statsKeeper) stop(r *run) {
	k.snapshot(r)
	k.last.Done = r.err == nil
	if r.cfg.Progress != nil {
		r.cfg.Progress(k.last)
	}
}

func (k *statsKeeper) snapshot(r *run) {
	s := Stats{Elapsed: time.Since(k.began), InputTotal: -1, Failed: r.failed}
	for i, o := range r.ops {
		o.stat.PeakBytes = max(o.stat.PeakBytes, r.sched.State(i).Held)
		c := o.stat
		if o.up != nil && len(o.up.ops) > 0 {
			c.QueuedBytes = r.sched.State(o.up.ops[len(o.up.ops)-1].index).Held
		}
		c.Counters, c.Throttled = o.counters.copy(), maps.Clone(o.stat.Throttled)
		if auto, ok := o.cut.(*autoCutter); ok {
			c.BatchSize = auto.best
		}
		s.Operators = append(s.Operators, c)
		for _, f := range o.fused {
			c := f.stat
			c.Workers, c.Counters = o.stat.Workers, f.counters.copy()
			s.Operators = append(s.Operators, c)
		}
	}
	s.InputRows = r.readRows()
	s.Rows = r.sink.stat.InRows
	if r.listed() && !k.unknown {
		s.InputTotal = k.total
	}
	s.Memory = r.ledger.stats()
	s.LimitedBy = limitedBy(s)
	k.last = s
}

// listed says whether all splits of all sources are known.
func (r *run) listed() bool {
	for _, o := range r.ops {
		if o.isSource() && !o.inputEnded {
			return false
		}
	}
	return true
}

// limitedBy names the operator whose workers had the least time to spare.
func limitedBy(s Stats) string {
	best, share := -1, 0.0
	for i, o := range s.Operators {
		if n := float64(o.Workers) * float64(s.Elapsed); n > 0 && float64(o.Busy)/n > share {
			best, share = i, float64(o.Busy)/n
		}
	}
	if best < 0 {
		return "nothing yet"
	}
	o := s.Operators[best]
	return fmt.Sprintf("%s: %d workers %.0f %% busy", o.Name, o.Workers, 100*min(share, 1))
}
