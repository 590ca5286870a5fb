// Package sched decides what a running plan does next. It is a pure state machine: events
// go in, actions come out; it has no clock, no goroutine and no data, so that it can be
// simulated and its decisions compared with recorded ones.
//
// # The model
//
// An operator has a queue of tasks, numbered from 0 in the order they are to be delivered,
// and workers that run them. A running task yields blocks. A block is held by its operator
// from the moment it is accepted until whoever consumes it reports it free.
//
// # The rules, in order
//
//   - memory: an operator may use its share of the limit and what is left of the common
//     part. Half of the limit is dealt out in equal shares, the other half is common. What
//     counts is the blocks an operator holds and what its running tasks are expected to
//     yield next.
//   - order: a task may not run more than Window tasks ahead of the oldest unfinished one.
//   - turn: an operator that is paused gets none, since nobody can use what it makes yet:
//     the later sides of a union, and the side of a zip that is ahead.
//   - workers and CPU: a task needs a free call of a worker and the operator's CPU tokens.
//     A generator gives its tokens back at each yield and stands in line again, so a long
//     read cannot keep a stage nearer to the model from running.
//   - next: of what may run, the operator that holds the fewest bytes goes first; of equals,
//     the one further downstream.
//   - liveness: when nothing runs, no worker is being opened and nothing may run, the head of the operator furthest
//     downstream runs alone, over the limit if it must be. That is counted.
package sched

import "container/heap"

// Op describes an operator to the scheduler.
type Op struct {
	Name      string
	CPU       float64 // tokens that a running task holds
	Workers   int     // that are being opened: as long as one is not up, something still happens
	Calls     int     // tasks at once on one worker; 0: 1
	Window    int64   // tasks that may be started ahead of the oldest unfinished one; 0: no bound
	Generator bool    // yields many blocks per task, and waits before each
	Output    bool    // yields blocks at all: a sink does not, and has no share of the memory
	Estimate  int64   // bytes of a yield before one was seen
}

// Config is a graph: operators from the sources to the sink.
type Config struct {
	Ops    []Op
	Memory int64   // limit for blocks, bytes
	CPUs   float64 // tokens
}

// Rule names what keeps an operator from running.
type Rule string

const (
	RuleNone    Rule = ""
	RuleInput   Rule = "no input"
	RuleWorkers Rule = "all workers busy"
	RuleCPU     Rule = "no CPU free"
	RuleMemory  Rule = "memory limit"
	RuleOrder   Rule = "order window"
	RuleTurn    Rule = "not its turn"
)

// EventKind is what happened.
type EventKind uint8

const (
	Ready         EventKind = iota // task Task of Op can be started; Bytes it reads are held elsewhere. Pin: only on Worker
	WorkerUp                       // Worker of Op is open
	WorkerDown                     // Worker of Op is gone; what it ran is reported Done or runs on
	Yield                          // Task wants to hand over a block of Bytes, and waits
	Reserve                        // Task wants Bytes more before it goes on, and waits
	Done                           // Task is finished
	Free                           // Bytes that Op holds are free again
	Stop                           // Op gets no more turns: what is queued is dropped
	Pause                          // Op gets no turns for now: nobody can use what it makes
	Unpause                        // Op gets turns again
	LimitChange                    // the limit for blocks is now Bytes
	WorkerOpening                  // another worker of Op is being opened: WorkerUp or WorkerDown will tell
)

// Event is one thing that happened.
type Event struct {
	Kind   EventKind
	Op     int
	Task   int64
	Worker int
	Pin    bool
	Bytes  int64
}

// ActionKind is what is to be done.
type ActionKind uint8

const (
	Start  ActionKind = iota // run Task of Op on Worker
	Accept                   // take over the block that Task has yielded
	Resume                   // let Task go on behind its yield
)

// Action is one thing to do. Alone says that it goes over the limit because nothing else
// could run.
type Action struct {
	Kind   ActionKind
	Op     int
	Task   int64
	Worker int
	Alone  bool
}

type taskState uint8

const (
	running taskState = iota
	yielded           // waits until its block is accepted
	paused            // waits to go on
)

type task struct {
	id       int64
	worker   *worker
	place    int // in the heap that it waits in
	state    taskState
	reserved int64 // bytes it is expected to yield next
	bytes    int64 // of the block it has yielded
	grow     bool  // it has yielded no block, but wants bytes more reserved
	cpu      bool  // holds the operator's tokens
}

type queued struct {
	id     int64
	bytes  int64
	pin    bool
	worker int
}

type op struct {
	Op
	queue   fifo[queued]
	workers workers
	opening int // workers that are to come
	tasks   map[int64]*task
	yields  taskHeap // yielded, oldest first
	pauses  taskHeap // paused, oldest first
	running int      // tasks in state running
	lowest  int64    // oldest unfinished task
	done    map[int64]bool
	held    int64
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
	running int
	alone   int64 // times that liveness went over the limit
	order   []int
	acts    []Action
}

// New makes a scheduler for a graph.
func New(cfg Config) *Scheduler { return newScheduler(cfg, thePolicy()) }

func newScheduler(cfg Config, policy rules) *Scheduler {
	s := &Scheduler{rules: policy, ops: make([]op, len(cfg.Ops)), cpus: cfg.CPUs}
	for i, o := range cfg.Ops {
		o.Calls, o.CPU = max(o.Calls, 1), min(o.CPU, cfg.CPUs)
		s.ops[i] = op{
			Op: o, opening: o.Workers, tasks: map[int64]*task{}, done: map[int64]bool{},
			workers: workers{up: map[int]*worker{}},
			est:     estimate{mean: float64(o.Estimate), peak: float64(o.Estimate)},
		}
		s.order = append(s.order, i)
	}
	s.setLimit(cfg.Memory)
	return s
}

// Apply takes events in, and says what goes on at once: blocks that there is room for. The
// result is valid until the next call.
func (s *Scheduler) Apply(events ...Event) []Action {
	s.acts = s.acts[:0]
	for _, ev := range events {
		if ev.Kind == LimitChange {
			s.setLimit(ev.Bytes)
		} else {
			s.apply(&s.ops[ev.Op], ev)
		}
	}
	s.acceptBlocks()
	return s.acts
}

// Settle is called when all that has happened was applied, and what it led to was done: so
// whoever reads a block that was accepted stands in line too when it says who goes next. If
// nothing runs then, nothing will ever happen again by itself, and liveness decides. When it
// says nothing, there is nothing to do but to wait.
func (s *Scheduler) Settle() []Action {
	s.acts = s.acts[:0]
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

// opening says whether a worker is still to come.
func (s *Scheduler) opening() bool {
	for i := range s.ops {
		if o := &s.ops[i]; o.opening > 0 && !o.stopped {
			return true
		}
	}
	return false
}

func (s *Scheduler) apply(o *op, ev Event) {
	switch ev.Kind {
	case Ready:
		if !o.stopped {
			o.queue.push(queued{ev.Task, ev.Bytes, ev.Pin, ev.Worker})
		} else {
			o.finish(ev.Task)
		}
	case WorkerOpening:
		o.opening++
	case WorkerUp:
		o.opening--
		o.workers.add(ev.Worker, o.Calls)
	case WorkerDown:
		if !o.workers.remove(ev.Worker) {
			o.opening-- // it never came up
		}
	case Yield:
		if ev.Bytes > 0 { // else it has only failed rows to hand over
			o.est.see(ev.Bytes)
		}
		s.wait(o, ev)
	case Reserve:
		s.wait(o, ev)
	case Done:
		s.taskDone(o, ev.Task)
	case Free:
		s.use(o, -ev.Bytes, 0)
	case Pause, Unpause:
		o.paused = ev.Kind == Pause
	case Stop:
		o.stopped = true
		for _, q := range o.queue.all() {
			o.finish(q.id)
		}
		o.queue = fifo[queued]{}
	}
}

// wait makes a task stand in line until there is room for what it has or wants.
func (s *Scheduler) wait(o *op, ev Event) {
	t := o.tasks[ev.Task]
	t.state, t.bytes, t.grow = yielded, ev.Bytes, ev.Kind == Reserve
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

func (s *Scheduler) taskDone(o *op, id int64) {
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
	o.finish(id)
}

// finish moves the oldest unfinished task on.
func (o *op) finish(id int64) {
	o.done[id] = true
	for o.done[o.lowest] {
		delete(o.done, o.lowest)
		o.lowest++
	}
}

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
