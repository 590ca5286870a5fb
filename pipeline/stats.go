package pipeline

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

// Stats is what a run has done so far.
type Stats struct {
	Elapsed    time.Duration
	CPU        time.Duration // that the process used meanwhile; 0 where the system does not tell
	InputRows  int64         // that the source gave
	InputTotal int64         // that it has in all; -1: not known (yet)
	Rows       int64         // that came out
	Failed     int64         // that were skipped
	Parts      int           // of output that were committed
	Done       bool          // the run has ended well
	Operators  []OperatorStats
	Lost       []LostDevice // devices that the run goes on without, or has ended for
	LimitedBy  string       // what limited the run, in one line: "infer: 2 GPU actors 93 % busy"
	Memory     MemoryStats
	Devices    []DeviceLoad // that the job's models run on; none where nobody samples them
}

// OperatorStats is what one operator has done.
type OperatorStats struct {
	Name      string
	Kind      string  // "source", "stage" or "sink"
	Workers   int     // that are open; behind the operator's end, the most that were
	GPU       float64 // share of a device that each worker holds
	BatchSize int     // rows, that was found to be the fastest so far where it is searched for ([AutoBatch]); else 0
	Running   int     // tasks
	Tasks     int64   // that were started
	InRows    int64
	OutRows   int64
	Failed    int64
	OutBytes  int64
	// Cost and PaddedCost are of the batches that were cut, as stages with stage.Need.Cost give
	// it: their rows' own, and rows × dearest. The rest of PaddedCost is padding.
	Cost, PaddedCost int64
	QueuedBytes      int64         // that wait for it
	HeldBytes        int64         // of its output, that nobody is done with yet
	PeakBytes        int64         // that its output took at most
	Busy             time.Duration // at work, over all workers; of a task that goes on, up to its last yield
	Blocked          time.Duration // waiting for room at a yield, by tasks that have ended
	Waiting          time.Duration // of open workers, for work
	Actors           []ActorStats  // that ran a model on a device, in the order of their first runs
	Notes            []string      // that its workers have for the user
	Counters         map[stage.Counter]int64
	Throttled        map[string]int64 // how often each rule kept it waiting, in samples
	Samples          int64            // looks at it, every ProgressEvery

	open time.Duration // of its workers, by the calls that each may have at once
}

// ServiceRate is the rows per second that one call at a time works off, or that a source gives.
func (o OperatorStats) ServiceRate() float64 {
	if o.Busy <= 0 {
		return 0
	}
	rows := o.InRows
	if o.Kind == kindSource {
		rows = o.OutRows
	}
	return float64(rows) / o.Busy.Seconds()
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
	// Alone is how often something went over the limit for blocks since nothing else could run: one
	// block that is larger than all that is left, or than the limit itself.
	Alone int64
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

// notes are written by many goroutines.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) add(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.all, text) {
		n.all = append(n.all, text)
	}
}

func (n *notes) copy() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.all)
}

// statsKeeper makes Stats of a run. It belongs to the loop.
type statsKeeper struct {
	began   time.Time
	last    Stats
	total   int64         // rows of the splits listed so far
	unknown bool          // a split did not say how many it has
	cpu     time.Duration // of the process, when it began
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
		if o.phase != ended {
			o.stat.Samples++
		}
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
	s := Stats{Elapsed: time.Since(k.began), CPU: processCPU() - k.cpu, InputTotal: -1, Failed: r.failed}
	for i, o := range r.ops {
		o.stat.HeldBytes = r.sched.State(i).Held
		o.stat.PeakBytes = max(o.stat.PeakBytes, o.stat.HeldBytes)
		c := o.stat
		c.open = o.lives.sum(time.Now()) * time.Duration(o.calls())
		c.Waiting = c.open - c.Busy - c.Blocked
		for _, f := range o.fused {
			c.Waiting -= f.stat.Busy + f.stat.Blocked
		}
		c.Waiting = max(c.Waiting, 0)
		if o.phase == ended {
			c.Workers = o.lives.most
		}
		if o.up != nil && len(o.up.ops) > 0 {
			c.QueuedBytes = r.sched.State(o.up.ops[len(o.up.ops)-1].index).Held
		}
		c.Counters, c.Throttled = o.counters.copy(), maps.Clone(o.stat.Throttled)
		c.Actors, c.Notes = o.actors.copy(), o.notes.copy()
		if auto, ok := o.cut.(*autoCutter); ok {
			c.BatchSize = auto.best
		}
		s.Operators = append(s.Operators, c)
		for _, f := range o.fused {
			c := f.stat
			host := s.Operators[len(s.Operators)-1]
			c.Workers, c.open, c.Waiting, c.Counters = host.Workers, host.open, host.Waiting, f.counters.copy()
			c.Notes = f.notes.copy()
			s.Operators = append(s.Operators, c)
		}
	}
	s.InputRows, s.Lost = r.readRows(), slices.Clone(r.lost)
	s.Rows = r.sink.stat.InRows
	if r.listed() && !k.unknown {
		s.InputTotal = k.total
	}
	s.Memory = r.ledger.stats()
	s.Memory.Alone = r.sched.Alone()
	s.LimitedBy = limitedBy(s, r.cfg.CPUs)
	if r.cfg.DeviceLoad != nil {
		s.Devices = r.cfg.DeviceLoad()
	}
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
