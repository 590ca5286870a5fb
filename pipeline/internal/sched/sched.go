package sched

import "container/heap"

type taskState uint8

const (
	running taskState = iota
	yielded           // waits until its block is accepted
	paused            // waits to go on
)

type task struct {
	id, set  int64
	worker   *worker
	place    int // in the heap that it waits in
	state    taskState
	reserved int64   // bytes it is expected to yield next
	in       int64   // bytes it reads
	seconds  float64 // and the next: what its operator's meter has not taken yet
	out      float64
	made     int64 // bytes, in all
	bytes    int64 // of the block it has yielded
	part     bool  // which nobody can have yet
	grow     bool  // it has yielded no block, but wants bytes more reserved
	cpu      bool  // holds the operator's tokens
}

type queued struct {
	id     int64
	set    int64
	bytes  int64
	pin    bool
	worker int
}

type op struct {
	Op
	index   int
	queue   fifo[queued]
	pinned  fifo[queued] // goes before queue
	workers workers
	pool    pool
	meter   meter
	opening int // workers that are to come
	tasks   map[int64]*task
	yields  taskHeap      // yielded, oldest first
	pauses  taskHeap      // paused, oldest first
	running int           // tasks in state running
	left    map[int64]int // unfinished tasks by set, where there are sets
	lowest  int64         // oldest unfinished set
	done    map[int64]bool
	held    int64
	stuck   int64           // of held: what nobody can have yet, since its set or an older one is not finished
	behind  map[int64]int64 // stuck bytes by set, without parts
	resv    int64
	stopped bool
	paused  bool
	est     estimate
	rule    Rule
}

// Scheduler is the state. Make one with New.
type Scheduler struct {
	rules   rules
	ops     []op
	memory  int64
	share   int64 // of each operator with output
	common  int64
	over    int64 // of the common part that is in use
	used    int64 // held and reserved over all operators
	cpus    float64
	limits  Config // what there was of CPUs and devices at first
	devices devices
	refit   bool // a device was lost, or a pool that others had no room beside has ended
	without bool // there was no room for all pools
	packing bool // workers make room on the devices that are left
	short   int  // of the operators further downstream than the one looked at that wait for room, the first; -1: none
	running int
	alone   int64 // times that liveness went over the limit
	acts    []Action

	admission admission
}

// New makes a scheduler for a graph.
func New(cfg Config) *Scheduler { return newScheduler(cfg, thePolicy()) }

func newScheduler(cfg Config, policy rules) *Scheduler {
	s := &Scheduler{rules: policy, ops: make([]op, len(cfg.Ops)), cpus: cfg.CPUs, limits: cfg, devices: newDevices(cfg.GPUs)}
	for i, o := range cfg.Ops {
		o.Calls, o.CPU = max(o.Calls, 1), min(o.CPU, cfg.CPUs)
		s.ops[i] = op{
			Op: o, index: i, opening: o.Workers,
			workers: workers{up: map[int]*worker{}},
			pool:    pool{device: map[int]int{}, going: map[int]bool{}},
			tasks:   map[int64]*task{}, behind: map[int64]int64{}, done: map[int64]bool{}, left: map[int64]int{},
			est: estimate{mean: float64(o.Estimate), peak: float64(o.Estimate)},
		}
		if o.Max > 0 { // it opens them itself
			s.ops[i].opening, s.ops[i].pool.want = 0, max(o.Workers, 1)
			s.ops[i].Op.Workers, s.ops[i].Op.Max = max(o.Workers, 1), max(o.Max, o.Workers, 1)
		}
	}
	s.admission.granted = cfg.CPUs
	s.setLimit(cfg.Memory)
	return s
}

// Apply takes events in, and says what goes on at once: blocks that there is room for. The
// result is valid until the next call.
func (s *Scheduler) Apply(events ...Event) []Action {
	s.acts = s.acts[:0]
	for _, ev := range events {
		switch ev.Kind {
		case LimitChange:
			s.setLimit(ev.Bytes)
		case Tick:
			s.tick(ev.Seconds)
		case DeviceLost:
			s.lose(ev.Device)
		default:
			s.apply(&s.ops[ev.Op], ev)
		}
	}
	if s.refit {
		s.refit = false
		s.fit()
	}
	s.openWanted()
	s.acceptBlocks()
	return s.acts
}

// Settle is called when all that has happened was applied, and what it led to was done: so
// whoever reads a block that was accepted stands in line too when it says who goes next. If
// nothing runs then, nothing will ever happen again by itself, and liveness decides. When it
// says nothing, there is nothing to do but to wait.
func (s *Scheduler) Settle() []Action {
	s.acts = s.acts[:0]
	s.openWanted()
	if s.acceptBlocks(); len(s.acts) > 0 { // liveness has made room
		return s.acts
	}
	for s.step() {
	}
	if s.running == 0 && !s.rules.opening(s) {
		s.rules.alone(s)
	}
	return s.acts
}

// opening says whether a worker is still to come that an operator lacks. Where its tasks have all
// that they could use, another changes nothing, and may take minutes to load.
func (s *Scheduler) opening() bool {
	for i := range s.ops {
		if o := &s.ops[i]; o.opening > 0 && !o.stopped && o.lacksWorker() {
			return true
		}
	}
	return false
}

func (s *Scheduler) apply(o *op, ev Event) {
	switch ev.Kind {
	case Ready:
		switch q := o.enter(ev); {
		case o.stopped:
			s.finish(o, q.set)
		case ev.Pin:
			o.pinned.push(q)
		default:
			o.queue.push(q)
		}
	case WorkerOpening:
		o.opening++
	case WorkerUp:
		o.opening--
		w := o.workers.add(ev.Worker, o.Calls)
		if s.devices.lost(o.pool.deviceOf(ev.Worker)) {
			s.rules.drain(&o.workers, w)
		}
		s.retire(o, w)
	case WorkerDown:
		w := o.workers.remove(ev.Worker)
		if w == nil {
			o.opening-- // it never came up
		}
		s.placeFree(o, ev.Worker, w)
	case Yield:
		o.meter.yielded(o.tasks[ev.Task], ev, len(o.In) == 0)
		o.tasks[ev.Task].made += ev.Bytes
		if ev.Bytes > 0 && ev.Part == o.Sets { // else it has only failed rows to hand over, or has reserved what it needs
			o.est.see(ev.Bytes)
		}
		s.wait(o, ev)
	case Reserve:
		s.wait(o, ev)
	case Done:
		o.meter.done(o.tasks[ev.Task], ev)
		if len(o.In) == 0 {
			s.admission.made(o.tasks[ev.Task])
		}
		s.finish(o, s.taskLeaves(o, ev.Task))
	case Returned:
		if set := s.taskLeaves(o, ev.Task); o.stopped {
			s.finish(o, set)
		} else {
			s.rules.again(o, queued{id: ev.Task, set: set, bytes: ev.Bytes})
		}
	case Free:
		s.use(o, -ev.Bytes, 0)
		if ev.Part && !o.stopped {
			o.stuck -= ev.Bytes
		}
	case Pause, Unpause:
		o.paused = ev.Kind == Pause
	case Stop:
		o.stopped, o.stuck = true, 0
		s.refit = s.refit || s.without
		clear(o.behind)
		for _, q := range append(o.queue.all(), o.pinned.all()...) {
			s.finish(o, q.set)
		}
		o.queue, o.pinned = fifo[queued]{}, fifo[queued]{}
	}
}

// wait makes a task stand in line until there is room for what it has or wants.
func (s *Scheduler) wait(o *op, ev Event) {
	t := o.tasks[ev.Task]
	t.state, t.bytes, t.part, t.grow = yielded, ev.Bytes, ev.Part, ev.Kind == Reserve
	o.running--
	s.running--
	s.giveCPU(o, t)
	heap.Push(&o.yields, t)
}

// wanted is how many bytes more than it has reserved a waiting task needs.
func (t *task) wanted() int64 {
	if t.grow {
		return t.bytes
	}
	return t.bytes - t.reserved
}

// taskLeaves takes a task off its worker. It gives the set that it is of.
func (s *Scheduler) taskLeaves(o *op, id int64) int64 {
	t := o.tasks[id]
	delete(o.tasks, id)
	switch t.state {
	case running:
		o.running--
		s.running--
	case yielded:
		heap.Remove(&o.yields, t.place)
	case paused:
		heap.Remove(&o.pauses, t.place)
	}
	s.giveCPU(o, t)
	s.use(o, 0, -s.rules.release(t))
	o.workers.giveBack(t.worker)
	s.retire(o, t.worker)
	return t.set
}

// enter counts a task into its set.
func (o *op) enter(ev Event) queued {
	q := queued{id: ev.Task, set: ev.Task, bytes: ev.Bytes, pin: ev.Pin, worker: ev.Worker}
	if o.Sets {
		q.set = ev.Set
		o.left[q.set]++
	}
	return q
}

// finish takes a task out of its set, and moves the oldest unfinished set on.
func (s *Scheduler) finish(o *op, set int64) {
	if o.Sets {
		if o.left[set]--; !s.rules.whole(o, set) {
			return
		}
		if delete(o.left, set); set < o.lowest { // of a stopped operator, whose tasks end one by one
			return
		}
	}
	o.done[set] = true
	for o.done[o.lowest] {
		delete(o.done, o.lowest)
		o.lowest++
		o.stuck -= o.behind[o.lowest]
		delete(o.behind, o.lowest)
	}
}

// accepted counts a block as stuck if it cannot go on yet.
func (s *Scheduler) accepted(o *op, t *task) {
	switch {
	case o.stopped:
	case t.part:
		o.stuck += s.rules.part(t)
	case o.Ordered && t.set != o.lowest:
		o.behind[t.set] += t.bytes
		o.stuck += t.bytes
	}
}

// ahead is the bytes that wait for those who read them.
func (o *op) ahead() int64 { return o.held - o.stuck }

// use changes what an operator holds and has reserved, and with it the common part in use.
func (s *Scheduler) use(o *op, held, resv int64) {
	before := max(0, o.held+o.resv-s.share)
	o.held += held
	o.resv += resv
	s.used += held + resv
	s.over += max(0, o.held+o.resv-s.share) - before
}

// room says whether an operator may use delta bytes more. The sum over all operators stays
// within the limit by itself, but for what liveness has let through: hence the last test.
func (s *Scheduler) room(o *op, delta int64) bool {
	if !o.Output || delta <= 0 {
		return true
	}
	used := o.held + o.resv
	more := max(0, used+delta-s.share) - max(0, used-s.share)
	return (more == 0 || s.over+more <= s.common) && s.used+delta <= s.memory
}

func (s *Scheduler) setLimit(memory int64) {
	n := int64(0)
	for i := range s.ops {
		if s.ops[i].Output {
			n++
		}
	}
	s.memory = memory
	s.share = s.rules.share(memory, n)
	s.common = memory - s.share*n
	s.over = 0
	for i := range s.ops {
		s.over += max(0, s.ops[i].held+s.ops[i].resv-s.share)
	}
}

func (s *Scheduler) takeCPU(o *op, t *task) {
	if !t.cpu {
		t.cpu = true
		s.cpus -= o.CPU
	}
}

func (s *Scheduler) giveCPU(o *op, t *task) {
	if t.cpu {
		t.cpu = false
		s.cpus += o.CPU
	}
}
