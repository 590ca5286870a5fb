package sched

// rules are the decisions of the policy, apart from the books that they are taken on: each
// stands alone, so that a test can put a wrong one in its place and see that it is caught.
type rules struct {
	share   func(memory, outputs int64) int64                    // of the limit, that each operator with output has for itself
	room    func(s *Scheduler, o *op, delta int64) bool          // memory: may it use delta bytes more
	reserve func(o *op) int64                                    // memory: for the next yield
	release func(t *task) int64                                  // memory: of what a task that ends had reserved
	window  func(o *op, set int64) bool                          // order: may a task of the set start yet
	whole   func(o *op, set int64) bool                          // order: is a set finished, one of whose tasks is
	part    func(t *task) int64                                  // next: of a part that was yielded, what nobody can have yet
	admit   func(s *Scheduler, o *op) bool                       // rate: may a source's task start yet
	period  func(slots []float64, cpu float64) float64           // rate: seconds per byte that leaves the sources
	turn    func(o *op) bool                                     // turn
	cpu     func(s *Scheduler, o *op) bool                       // CPU
	before  func(a, b *op) bool                                  // next: does a, which is further upstream, go before b
	keep    func(s *Scheduler, i, wait int) bool                 // next: does i leave its CPU to wait, which lacks some
	idle    func(o *op, w *worker) bool                          // pools: may the worker be closed
	most    func(o *op) int                                      // pools: workers at most
	place   func(d devices, share float64) (device int, ok bool) // pools: where a worker goes
	lose    func(d devices, device int)                          // devices: nothing is placed on it any more
	drain   func(ws *workers, w *worker)                         // devices: the worker of a lost one gets no more tasks
	again   func(o *op, q queued)                                // devices: a task that comes back stands in line
	fewest  func(s *Scheduler) (fewest []int, without int)       // devices: what of the pools fits on those that are left
	beside  func(free devices, ops []Op, missing []int) bool     // devices: have all missing workers a place on what is free
	opening func(s *Scheduler) bool                              // liveness: is a worker still to come
	alone   func(s *Scheduler)                                   // liveness
}

// thePolicy is what the package comment says.
func thePolicy() rules {
	return rules{
		share:   func(memory, outputs int64) int64 { return memory / 2 / max(outputs, 1) },
		room:    (*Scheduler).room,
		reserve: func(o *op) int64 { return o.est.next() },
		release: func(t *task) int64 { return t.reserved },
		window:  func(o *op, set int64) bool { return o.Window <= 0 || set-o.lowest < o.Window },
		whole:   func(o *op, set int64) bool { return o.left[set] == 0 },
		part:    func(t *task) int64 { return t.bytes },
		admit:   (*Scheduler).admit,
		period:  longest,
		// a stopped operator has its turn: what it has left goes, whoever waits
		turn: func(o *op) bool { return !o.paused || o.stopped },
		// fractional tokens are rounded
		cpu:    func(s *Scheduler, o *op) bool { return o.CPU <= s.cpus+1e-9 },
		before: func(a, b *op) bool { return a.ahead() < b.ahead() },
		keep:   (*Scheduler).keepFor,
		idle:   func(o *op, w *worker) bool { return w.free == o.Calls },
		most:   func(o *op) int { return o.Max },
		place:  devices.take,
		lose:   devices.lose,
		drain:  (*workers).close,
		again:  (*op).again,
		fewest: (*Scheduler).fewestThatFit,
		beside: func(free devices, ops []Op, missing []int) bool {
			without, _ := free.placeAll(ops, missing)
			return without < 0
		},
		opening: (*Scheduler).opening,
		alone:   (*Scheduler).keepAlive,
	}
}
