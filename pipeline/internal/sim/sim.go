// Package sim runs a scheduler against operators that only pretend to work, in virtual
// time. It answers two questions without a machine: does the policy keep its promises on
// any graph, and how long would a job take.
package sim

import (
	"container/heap"
	"errors"
	"fmt"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
)

// Op is an operator and how it behaves.
type Op struct {
	sched.Op
	Next  []int                // operators that get a copy of what it yields; none: a sink
	Tasks int                  // of a source; other operators get a task for each block that comes
	Open  func(w int) float64  // seconds until a worker is up; nil: at once
	Work  func(t Task) []Yield // what a task does
	Order bool                 // its blocks leave in the order of its tasks, or sets
	Pack  Pack                 // its tasks come in sets
}

// Task is a turn of an operator.
type Task struct {
	ID    int64
	Bytes int64 // that it reads
}

// Yield is a block after some seconds of service. A block of no bytes is not handed over:
// the seconds pass, and the task goes on.
type Yield struct {
	Seconds float64
	Bytes   int64
	Reserve int64 // bytes that are asked for before the block is made
	Cut     int   // each consumer gets this many tasks of the block, of equal size; 0: one
}

// Config is a simulation.
type Config struct {
	Ops    []Op
	Memory int64
	CPUs   float64
	GPUs   int
	Admit  sched.Admission
	Tick   float64 // seconds between the scheduler's looks at its pools and rates; 0: it takes none
	Faults []Fault
	Audit  bool                                // hold every decision against the rules, told anew: see audit
	New    func(sched.Config) *sched.Scheduler // nil: sched.New
}

// Result is how it went.
type Result struct {
	Seconds   float64   // until the last task was done
	Peak      int64     // bytes held and reserved
	Physical  int64     // bytes of blocks, each from when its making begins until its last reader is done, at most
	Alone     int64     // turns over the limit
	Delivered int64     // blocks that sinks have consumed
	Applied   int       // events
	Busy      []float64 // seconds of service by operator
	Opened    []int     // workers by operator, at most at once; of pools
	Closed    int       // workers of pools that were closed
	Returned  int       // tasks that came back from a lost device
	Ended     bool      // no device was left for one of the operators
	Passed    int       // turns of CPU upstream of an operator that lacked nothing but CPU, until its own, at most
}

// ErrStuck is a simulation in which nothing can happen any more, or nothing has for stuckAfter
// seconds but workers that come and go, and not all is done.
var ErrStuck = errors.New("sim: stuck")

// stuckAfter is far beyond what a worker of a random job takes to open.
const stuckAfter = 500

type simulation struct {
	cfg     Config
	s       *sched.Scheduler
	now     float64
	ran     float64 // when a task last started or went on
	clock   agenda
	seq     int64
	bytes   int64 // of blocks that exist
	ops     []opState
	pending []sched.Event
	lost    map[int]bool // devices
	audit   *audit
	res     Result
	err     error
}

type opState struct {
	next  int64 // task number
	tasks map[int64]*simTask
	head  int64
	packer
	lives   map[int]int // of each worker
	device  map[int]int // of each that has a share of one
	workers int         // of a pool: open or opening
	stopped bool
}

type simTask struct {
	Task
	set     *set // nil: it is none's
	from    []*block
	plan    []Yield
	at      int
	worker  int
	out     []*block
	service float64 // seconds since it started or went on
	started bool
	done    bool
	last    bool // of its set to hand in: it makes what goes on
}

type block struct {
	op    int
	bytes int64
	cut   int
	left  int // tasks, or sets, that have not finished with it
}

// Run simulates until everything is delivered.
func Run(cfg Config) (Result, error) {
	sc := sched.Config{Memory: cfg.Memory, CPUs: cfg.CPUs, GPUs: cfg.GPUs, Admission: cfg.Admit}
	for _, o := range cfg.Ops {
		o.Output, o.Ordered = len(o.Next) > 0, o.Order
		o.Sets = o.Pack.Blocks > 0
		sc.Ops = append(sc.Ops, o.Op)
	}
	for i, o := range cfg.Ops {
		for _, n := range o.Next {
			sc.Ops[n].In = append(sc.Ops[n].In, i)
		}
	}
	if cfg.New == nil {
		cfg.New = sched.New
	}
	m := &simulation{cfg: cfg, s: cfg.New(sc), ops: make([]opState, len(cfg.Ops)), lost: map[int]bool{}}
	if cfg.Audit {
		m.audit = newAudit(sc)
	}
	for _, f := range cfg.Faults {
		m.at(f.At, func() { m.inject(f) })
	}
	m.res.Busy = make([]float64, len(cfg.Ops))
	for i, o := range cfg.Ops {
		m.ops[i].tasks, m.ops[i].sets = map[int64]*simTask{}, map[int64]*set{}
		m.ops[i].lives, m.ops[i].device = map[int]int{}, map[int]int{}
		for w := range o.Workers {
			if o.Max == 0 {
				m.open(i, w, o.delay(w))
			}
		}
		for range o.Tasks {
			m.newTask(i, 0, nil)
		}
	}
	m.res.Opened = make([]int, len(cfg.Ops))
	if cfg.Tick > 0 {
		m.at(cfg.Tick, m.tick)
	}
	m.settle()
	for m.err == nil && len(m.clock) > 0 {
		ev := heap.Pop(&m.clock).(appointment)
		m.now = ev.at
		ev.do()
		m.settle()
	}
	m.res.Alone = m.s.Alone()
	if m.err == nil {
		m.err = m.checkAllDone()
	}
	return m.res, m.err
}

func (m *simulation) checkAllDone() error {
	for i := range m.ops {
		if n := len(m.ops[i].tasks) + len(m.ops[i].sets) + len(m.ops[i].filling); n > 0 {
			return fmt.Errorf("%w: operator %d (%s) has %d tasks left: %+v", ErrStuck, i, m.cfg.Ops[i].Name, n, m.s.State(i))
		}
	}
	if used := m.s.Used(); used != 0 {
		return fmt.Errorf("sim: all is done, and %d bytes are still counted", used)
	}
	return nil
}

// delay is how long worker w takes to open.
func (o *Op) delay(w int) float64 {
	if o.Open == nil {
		return 0
	}
	return o.Open(w)
}

// tick goes on for as long as anything else does.
func (m *simulation) tick() {
	if m.s.Running() == 0 && m.now-m.ran > stuckAfter {
		m.err = fmt.Errorf("%w: at %.0f s nothing has run for %.0f s", ErrStuck, m.now, m.now-m.ran)
		return
	}
	m.push(sched.Event{Kind: sched.Tick, Seconds: m.cfg.Tick})
	if len(m.clock) > 0 {
		m.at(m.cfg.Tick, m.tick)
	}
}

func (m *simulation) push(ev sched.Event) { m.pending = append(m.pending, ev) }

func (m *simulation) settle() {
	for m.err == nil {
		for len(m.pending) > 0 && m.err == nil {
			events := m.pending
			m.pending = nil
			m.res.Applied += len(events)
			if m.audit != nil {
				m.audit.apply(events)
			}
			m.decide(false, func() []sched.Action { return m.s.Apply(events...) })
		}
		if m.err != nil {
			return
		}
		if !m.decide(true, m.s.Settle) && len(m.pending) == 0 && !m.flushSets() {
			return
		}
	}
}

// decide asks the scheduler and does what it says. It says whether that was anything.
func (m *simulation) decide(settled bool, f func() []sched.Action) bool {
	before := m.s.Used()
	acts := f()
	m.res.Peak = max(m.res.Peak, m.s.Used())
	if m.audit != nil {
		m.err = m.audit.decided(m.s, acts, settled, before)
		m.res.Passed = max(m.res.Passed, m.audit.passed)
	}
	ends := false
	for _, a := range acts {
		switch a.Kind {
		case sched.OpenWorker, sched.CloseWorker:
			m.size(a)
			continue
		case sched.NoPlace:
			ends = true
			continue
		}
		t := m.ops[a.Op].tasks[a.Task]
		if t == nil {
			m.err = fmt.Errorf("sim: %+v: there is no such task", a)
			return false
		}
		switch a.Kind {
		case sched.Start:
			if t.started {
				m.err = fmt.Errorf("sim: task %d of operator %d started twice", a.Task, a.Op)
				return false
			}
			t.started, t.worker, m.ran = true, a.Worker, m.now
			t.plan = m.cfg.Ops[a.Op].Work(t.Task)
			m.step(a.Op, t)
		case sched.Accept:
			m.accept(a.Op, t)
		case sched.Resume:
			m.ran = m.now
			if p := &t.plan[t.at]; p.Reserve > 0 {
				p.Reserve = 0
			} else {
				t.at++
			}
			m.step(a.Op, t)
		}
	}
	if ends {
		m.end()
	}
	return len(acts) > 0
}

// size opens or closes a worker of a pool.
func (m *simulation) size(a sched.Action) {
	o := &m.ops[a.Op]
	if a.Kind == sched.CloseWorker {
		o.workers--
		o.lives[a.Worker]++
		m.res.Closed++
		m.push(sched.Event{Kind: sched.WorkerDown, Op: a.Op, Worker: a.Worker})
		return
	}
	o.workers++
	if a.Device >= 0 {
		o.device[a.Worker] = a.Device
	}
	m.res.Opened[a.Op] = max(m.res.Opened[a.Op], o.workers)
	m.open(a.Op, a.Worker, m.cfg.Ops[a.Op].delay(a.Worker))
}

// step lets a task do its next piece of work.
func (m *simulation) step(i int, t *simTask) {
	if t.at == len(t.plan) && !t.handIn() {
		m.at(0, func() { m.done(i, t) })
		return
	}
	y := t.plan[t.at]
	if y.Reserve > 0 {
		m.push(sched.Event{Kind: sched.Reserve, Op: i, Task: t.ID, Bytes: y.Reserve})
		return
	}
	m.res.Busy[i] += y.Seconds
	t.service += y.Seconds
	m.exist(y.Bytes)
	m.at(y.Seconds, func() {
		switch {
		case t.done: // it was stopped
			return
		case m.comesBack(i, t):
			m.exist(-y.Bytes)
			m.giveBack(i, t)
			return
		case y.Bytes == 0:
			t.at++
			m.step(i, t)
			return
		}
		m.push(sched.Event{Kind: sched.Yield, Op: i, Task: t.ID, Bytes: y.Bytes, Seconds: t.service, Part: t.yieldsPart(y.Bytes)})
		t.service = 0
	})
}

// exist counts a block that is being made, or one that is gone.
func (m *simulation) exist(bytes int64) {
	m.bytes += bytes
	m.res.Physical = max(m.res.Physical, m.bytes)
}

func (m *simulation) accept(i int, t *simTask) {
	b := &block{op: i, bytes: t.plan[t.at].Bytes, cut: max(t.plan[t.at].Cut, 1)}
	if t.set != nil && !t.last {
		t.set.kept += b.bytes
		return
	}
	if m.ops[i].stopped {
		m.push(sched.Event{Kind: sched.Free, Op: i, Bytes: b.bytes})
		return
	}
	t.out = append(t.out, b)
	m.deliver(i, t)
}

// deliver passes on what a task has yielded, if it has its turn, and what waits behind it.
func (m *simulation) deliver(i int, t *simTask) {
	o := &m.ops[i]
	if !m.cfg.Ops[i].Order {
		m.flush(i, t)
		return
	}
	if t.set != nil {
		m.deliverSets(i)
		return
	}
	if t.ID != o.head {
		return
	}
	for {
		t, ok := o.tasks[o.head]
		if !ok {
			return
		}
		m.flush(i, t)
		if !t.done {
			return
		}
		delete(o.tasks, o.head)
		o.head++
	}
}

func (m *simulation) flush(i int, t *simTask) {
	for _, b := range t.out {
		next := m.cfg.Ops[i].Next
		b.left = 0
		for _, n := range next {
			b.left += m.cfg.Ops[n].readers(b)
		}
		for _, n := range next {
			if m.cfg.Ops[n].Pack.Blocks > 0 {
				m.fill(n, b)
				continue
			}
			for range b.cut {
				m.newTask(n, b.bytes/int64(b.cut), []*block{b})
			}
		}
	}
	t.out = nil
}

func (m *simulation) newTask(i int, bytes int64, from []*block) {
	o := &m.ops[i]
	if o.stopped {
		m.free(from)
		return
	}
	t := o.add(bytes)
	t.from = from
	m.push(sched.Event{Kind: sched.Ready, Op: i, Task: t.ID, Bytes: bytes})
}

func (m *simulation) done(i int, t *simTask) {
	if t.done {
		return
	}
	if len(m.cfg.Ops[i].Next) == 0 && !m.ops[i].stopped {
		m.res.Delivered += int64(len(t.from))
	}
	m.free(t.from)
	t.done = true
	m.res.Seconds = m.now
	m.setDone(i, t)
	m.push(sched.Event{Kind: sched.Done, Op: i, Task: t.ID, Seconds: t.service})
	if m.cfg.Ops[i].Order && t.set == nil {
		m.deliver(i, t)
	} else {
		delete(m.ops[i].tasks, t.ID)
	}
}

// free lets go of blocks that a task has read.
func (m *simulation) free(from []*block) {
	for _, b := range from {
		if b.left--; b.left == 0 {
			m.exist(-b.bytes)
			m.push(sched.Event{Kind: sched.Free, Op: b.op, Bytes: b.bytes})
		}
	}
}

// agenda is what will happen, by time.
type agenda []appointment

type appointment struct {
	at  float64
	seq int64
	do  func()
}

func (m *simulation) at(delay float64, do func()) {
	m.seq++
	heap.Push(&m.clock, appointment{m.now + delay, m.seq, do})
}

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if a[i].at != a[j].at {
		return a[i].at < a[j].at
	}
	return a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(appointment)) }
func (a *agenda) Pop() any {
	old := *a
	x := old[len(old)-1]
	*a = old[:len(old)-1]
	return x
}
