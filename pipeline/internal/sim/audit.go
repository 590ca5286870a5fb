package sim

import (
	"fmt"
	"math"
	"slices"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
)

// audit holds every decision of a scheduler against the rules of its package comment. It
// keeps books of its own from events and actions alone, in the plainest way there is, and
// takes from the scheduler no more than what an operator has reserved, which it bounds.
//
// Its faults are named, so that a test can say which rule a broken policy breaks.
type audit struct {
	cfg     sched.Config
	ops     []auditOp
	memory  int64
	passed  int // see Result
	waiting []int
	lost    map[int]bool // devices
	granted float64      // tasks of sources, by the rate rule
	started float64      // of them
}

type auditOp struct {
	queue           []queuedTask
	tasks           map[int64]*auditTask
	calls           map[int]*int // free calls of each worker that is up
	opening         int
	closing         map[int]bool
	leaving         map[int]*int // free calls of each worker that is up on a lost device
	late            map[int]bool // those that are being opened on one
	device          map[int]int  // of each worker that holds a share of one
	paused, stopped bool
	left            map[int64]int // tasks of each set that are not done
	lowest          int64         // set
	done            map[int64]bool
	held            int64
	behind          map[int64]int64 // bytes of held that older sets keep back, by set
	parts           int64           // of held
	mean, peak      float64
}

type queuedTask struct{ id, set int64 }

type auditTask struct {
	set      int64
	calls    *int // of its worker
	state    auditState
	reserved int64
	bytes    int64 // yielded or asked for
	part     bool  // what was yielded stays
}

type auditState uint8

const (
	runs    auditState = iota
	offers             // waits until its block is accepted
	asks               // waits until more bytes are reserved
	between            // waits to go on
)

// Fault names: what a decision has broken.
const (
	FaultLimit    = "over the limit"
	FaultCPU      = "more CPU than there is"
	FaultBooks    = "bytes miscounted"
	FaultStarved  = "runnable, and left"
	FaultOrder    = "out of order"
	FaultWindow   = "outside the window"
	FaultWorker   = "no such call free"
	FaultTurn     = "not its turn"
	FaultNext     = "not the one that holds least"
	FaultLiveness = "alone without need"
	FaultPool     = "not a size for this pool"
	FaultDevice   = "more of a device than there is"
	FaultRate     = "past the rate"
	FaultLost     = "on a lost device"
	FaultGaveUp   = "gave up without need"
)

// AuditError is a decision against the rules.
type AuditError struct{ Fault, Detail string }

func (e *AuditError) Error() string { return "sim: " + e.Fault + ": " + e.Detail }

func fault(name, format string, args ...any) error {
	return &AuditError{name, fmt.Sprintf(format, args...)}
}

func newAudit(cfg sched.Config) *audit {
	a := &audit{cfg: cfg, memory: cfg.Memory, waiting: make([]int, len(cfg.Ops)), lost: map[int]bool{}}
	for _, o := range cfg.Ops {
		a.ops = append(a.ops, auditOp{tasks: map[int64]*auditTask{}, calls: map[int]*int{}, closing: map[int]bool{}, device: map[int]int{},
			leaving: map[int]*int{}, late: map[int]bool{},
			done: map[int64]bool{}, left: map[int64]int{}, behind: map[int64]int64{}, mean: float64(o.Estimate), peak: float64(o.Estimate)})
		if o.Max == 0 {
			a.ops[len(a.ops)-1].opening = o.Workers
		}
	}
	return a
}

func (a *audit) apply(events []sched.Event) {
	for _, ev := range events {
		switch ev.Kind {
		case sched.LimitChange:
			a.memory = ev.Bytes
			continue
		case sched.DeviceLost:
			a.loseDevice(ev.Device)
			continue
		}
		o := &a.ops[ev.Op]
		switch ev.Kind {
		case sched.Ready:
			q := queuedTask{ev.Task, ev.Task}
			if a.cfg.Ops[ev.Op].Sets {
				q.set = ev.Set
			}
			if o.left[q.set]++; o.stopped {
				o.finish(q.set)
			} else {
				o.queue = append(o.queue, q)
			}
		case sched.WorkerOpening:
			o.opening++
		case sched.WorkerUp:
			a.up(o, max(a.cfg.Ops[ev.Op].Calls, 1), ev.Worker)
		case sched.WorkerDown:
			o.down(ev.Worker)
		case sched.Yield:
			if ev.Part == a.cfg.Ops[ev.Op].Sets {
				o.see(float64(ev.Bytes))
			}
			t := o.tasks[ev.Task]
			t.state, t.bytes, t.part = offers, ev.Bytes, ev.Part
		case sched.Reserve:
			t := o.tasks[ev.Task]
			t.state, t.bytes = asks, ev.Bytes
		case sched.Done:
			o.taskDone(ev.Task)
		case sched.Returned:
			o.comesBack(ev.Task)
		case sched.Free:
			o.held -= ev.Bytes
			if ev.Part {
				o.parts = max(o.parts-ev.Bytes, 0) // none, where it is stopped
			}
		case sched.Pause, sched.Unpause:
			o.paused = ev.Kind == sched.Pause
		case sched.Stop:
			o.stopped = true
			clear(o.behind)
			o.parts = 0
			for _, q := range o.queue {
				o.finish(q.set)
			}
			o.queue = nil
		}
	}
}

func (o *auditOp) see(bytes float64) {
	switch {
	case bytes == 0:
	case o.mean < 0: // seen before: the mean is kept negated, to tell
		o.mean, o.peak = -(-o.mean + 0.2*(bytes+o.mean)), max(bytes, 0.98*o.peak)
	default:
		o.mean, o.peak = -bytes, bytes
	}
}

func (o *auditOp) estimate() int64 { return int64(max(math.Abs(o.mean), o.peak)) }

func (o *auditOp) taskDone(id int64) {
	t := o.tasks[id]
	delete(o.tasks, id)
	*t.calls++
	o.finish(t.set)
}

func (o *auditOp) finish(set int64) {
	if o.left[set]--; o.left[set] > 0 {
		return
	}
	for o.done[set] = true; o.done[o.lowest]; o.lowest++ {
		delete(o.done, o.lowest)
		delete(o.behind, o.lowest)
	}
	delete(o.behind, o.lowest)
}

// ahead is the bytes that wait for those who read them.
func (o *auditOp) ahead() int64 {
	n := o.held - o.parts
	for _, bytes := range o.behind {
		n -= bytes
	}
	return n
}

// decided looks at what the scheduler has said. before is what was in use when it was asked.
func (a *audit) decided(s *sched.Scheduler, acts []sched.Action, settled bool, before int64) error {
	a.granted = s.Granted()
	free, idle, alone := a.cpuFree(), a.running() == 0 && !a.opening(), false
	final := settled // nothing more is decided before something happens
	for _, act := range acts {
		if alone = alone || act.Alone; act.Alone && (!settled || !idle) {
			return fault(FaultLiveness, "%+v, and %d tasks run", act, a.running())
		}
		if err := a.act(act); err != nil {
			return err
		}
		final = final && (act.Kind == sched.Start || act.Kind == sched.Resume)
	}
	if left := a.cpuFree(); !alone && left < min(free, 0)-1e-6 {
		return fault(FaultCPU, "%v tokens left of %v", left, free)
	}
	if err := a.balance(s, alone, before); err != nil || alone || !final {
		return err
	}
	return a.fair(s, acts)
}

func (a *audit) running() (n int) {
	for i := range a.ops {
		for _, t := range a.ops[i].tasks {
			if t.state == runs {
				n++
			}
		}
	}
	return n
}

// opening says that a worker is to come where there is none, or none for a task that is queued.
func (a *audit) opening() bool {
	for i := range a.ops {
		if o := &a.ops[i]; o.opening > 0 && !o.stopped && (len(o.calls) == 0 || len(o.queue) > 0 && !o.freeCall()) {
			return true
		}
	}
	return false
}

// act takes one action into the books, if it is one that the rules allow.
func (a *audit) act(act sched.Action) error {
	o, cfg := &a.ops[act.Op], &a.cfg.Ops[act.Op]
	switch act.Kind {
	case sched.OpenWorker, sched.CloseWorker:
		return a.size(o, cfg, act)
	case sched.NoPlace:
		return a.noPlace(act)
	}
	if o.paused && !o.stopped {
		return fault(FaultTurn, "%+v", act)
	}
	if act.Kind == sched.Start {
		return a.start(o, cfg, act)
	}
	t := o.tasks[act.Task]
	switch {
	case t == nil:
		return fault(FaultOrder, "%+v: it does not run", act)
	case act.Kind == sched.Accept && t.state == offers:
		o.held += t.bytes
		switch {
		case o.stopped:
		case t.part:
			o.parts += t.bytes
		case cfg.Ordered && t.set != o.lowest:
			o.behind[t.set] += t.bytes
		}
		t.state, t.reserved = between, 0
	case act.Kind == sched.Resume && (t.state == between || t.state == asks):
		if t.state == asks {
			t.reserved += t.bytes
		}
		if cfg.Generator && t.reserved == 0 {
			t.reserved = o.estimate()
		}
		t.state = runs
	default:
		return fault(FaultOrder, "%+v in state %d", act, t.state)
	}
	return nil
}

// admit is the rate rule, for a source's task.
func (a *audit) admit(cfg *sched.Op) bool {
	return len(cfg.In) > 0 || a.cfg.Admission != sched.ByRate || a.granted-a.started >= 1 || a.running() == 0
}

func (a *audit) start(o *auditOp, cfg *sched.Op, act sched.Action) error {
	if !a.admit(cfg) {
		return fault(FaultRate, "%+v: %v of %v have started", act, a.started, a.granted)
	}
	if len(cfg.In) == 0 && a.granted-a.started >= 1 {
		a.started++
	}
	if len(o.queue) == 0 || o.queue[0].id != act.Task {
		return fault(FaultOrder, "%+v, and the queue is %v", act, o.queue)
	}
	set := o.queue[0].set
	if cfg.Window > 0 && set-o.lowest >= cfg.Window {
		return fault(FaultWindow, "%+v of set %d, and %d is not finished", act, set, o.lowest)
	}
	if o.leaving[act.Worker] != nil {
		return fault(FaultLost, "%+v", act)
	}
	calls := o.calls[act.Worker]
	if calls == nil || *calls == 0 {
		return fault(FaultWorker, "%+v", act)
	}
	*calls--
	o.queue = o.queue[1:]
	t := &auditTask{set: set, calls: calls}
	if cfg.Output {
		t.reserved = o.estimate()
	}
	o.tasks[act.Task] = t
	return nil
}

// balance compares the scheduler's sums with the audit's own.
func (a *audit) balance(s *sched.Scheduler, alone bool, before int64) error {
	if used := s.Used(); !alone && used > max(a.memory, before) {
		return fault(FaultLimit, "%d bytes in use, %d before, and the limit is %d", used, before, a.memory)
	}
	if free := a.cpuFree(); math.Abs(free-s.CPUFree()) > 1e-6 {
		return fault(FaultCPU, "%v free, said to be %v", free, s.CPUFree())
	}
	for i := range a.ops {
		st, least, most := s.State(i), int64(0), int64(0)
		for _, t := range a.ops[i].tasks {
			least += t.reserved
			if most += t.reserved; t.state == asks {
				most += t.bytes // a generator's is granted before it goes on
			}
		}
		if st.Held != a.ops[i].held || st.Reserved < least || st.Reserved > most {
			return fault(FaultBooks, "operator %d holds %d and has %d to %d reserved: %+v", i, a.ops[i].held, least, most, st)
		}
	}
	return nil
}

func (a *audit) cpuFree() float64 {
	free := a.cfg.CPUs
	for i := range a.ops {
		for _, t := range a.ops[i].tasks {
			if t.state == runs {
				free -= a.cfg.Ops[i].CPU
			}
		}
	}
	return free
}

// fair sees to it that nothing that may run was left, and that where CPU was short the
// operators that held less had it.
func (a *audit) fair(s *sched.Scheduler, acts []sched.Action) error {
	started, turns := map[int]bool{}, map[int]int{}
	for _, act := range acts {
		started[act.Op] = started[act.Op] || act.Kind == sched.Start
		turns[act.Op]++
	}
	wanting := a.wanting(s)
	for _, j := range wanting {
		if err := a.fairTo(s, j, wanting, started); err != nil {
			return err
		}
		for i := range j {
			if a.cfg.Ops[i].CPU > 0 {
				a.waiting[j] += turns[i]
			}
		}
		if turns[j] > 0 {
			a.waiting[j] = 0
		}
		a.passed = max(a.passed, a.waiting[j])
	}
	return nil
}

// wanting gives the operators that lack nothing but perhaps CPU.
func (a *audit) wanting(s *sched.Scheduler) (out []int) {
	for j := range a.ops {
		if a.wants(s, j) {
			out = append(out, j)
		} else {
			a.waiting[j] = 0
		}
	}
	return out
}

func (a *audit) fairTo(s *sched.Scheduler, j int, wanting []int, started map[int]bool) error {
	cpu, free := a.cfg.Ops[j].CPU, a.cpuFree()
	first := true // none that lacks CPU goes before it
	for k := range a.ops {
		lacks := a.cfg.Ops[k].CPU > free+1e-9 && (slices.Contains(wanting, k) || a.unsure(k))
		first = first && (k == j || !lacks || !a.before(k, j))
	}
	if cpu <= free+1e-9 && (first || cpu == 0) {
		return fault(FaultStarved, "operator %d: %+v", j, s.State(j))
	}
	for i := range a.ops {
		if i != j && started[i] && a.cfg.Ops[i].CPU > 0 && cpu > free+1e-9 && a.ops[i].ahead() > a.ops[j].ahead() {
			return fault(FaultNext, "operator %d, which holds %d, had a turn before %d, which holds %d", i, a.ops[i].ahead(), j, a.ops[j].ahead())
		}
	}
	return nil
}

// before is the rule of who goes next.
func (a *audit) before(i, j int) bool {
	return a.ops[i].ahead() < a.ops[j].ahead() || a.ops[i].ahead() == a.ops[j].ahead() && i > j
}

// wants says that an operator lacks nothing but perhaps CPU.
func (a *audit) wants(s *sched.Scheduler, i int) bool {
	o, cfg := &a.ops[i], &a.cfg.Ops[i]
	if o.paused && !o.stopped {
		return false
	}
	var goesOn, waits bool
	oldest := int64(math.MaxInt64)
	for id, t := range o.tasks {
		switch t.state {
		case between:
			goesOn = true
		case asks, offers:
			waits = true
			oldest = min(oldest, id)
		case runs:
		}
	}
	switch {
	case a.unsure(i):
		return false
	case goesOn:
		return !cfg.Generator || a.roomForNext(s, i)
	case waits:
		t := o.tasks[oldest]
		want := t.bytes
		if t.state == offers {
			want -= t.reserved
		}
		return a.room(s, i, want)
	case !a.admit(cfg), len(o.queue) == 0, cfg.Window > 0 && o.queue[0].set-o.lowest >= cfg.Window:
		return false
	}
	return o.freeCall() && a.roomForNext(s, i)
}

func (o *auditOp) freeCall() bool {
	for _, calls := range o.calls {
		if *calls > 0 {
			return true
		}
	}
	return false
}

// unsure says that a task has asked for bytes: they are granted without an action where it
// then has to wait to go on.
func (a *audit) unsure(i int) bool {
	for _, t := range a.ops[i].tasks {
		if t.state == asks {
			return true
		}
	}
	return false
}

// roomForNext is the memory rule for a block that is not made yet: past its share, an operator
// leaves the memory to one further downstream that waits for some and holds no more.
func (a *audit) roomForNext(s *sched.Scheduler, i int) bool {
	o, next := &a.ops[i], a.ops[i].estimate()
	if o.held+s.State(i).Reserved+next > a.share() {
		for k := i + 1; k < len(a.ops); k++ {
			if s.State(k).Rule == sched.RuleMemory && a.ops[k].held <= o.held {
				return !a.cfg.Ops[i].Output
			}
		}
	}
	return a.room(s, i, next)
}

// share is what each operator with output has for itself.
func (a *audit) share() int64 { return a.memory / 2 / max(a.outputs(), 1) }

func (a *audit) outputs() (n int64) {
	for _, o := range a.cfg.Ops {
		if o.Output {
			n++
		}
	}
	return n
}

// room is the memory rule: half of the limit is dealt out in equal shares.
func (a *audit) room(s *sched.Scheduler, i int, delta int64) bool {
	if !a.cfg.Ops[i].Output || delta <= 0 {
		return true
	}
	share := a.share()
	total, over, more := int64(0), int64(0), int64(0)
	for k := range a.ops {
		st := s.State(k)
		used := st.Held + st.Reserved
		if k == i {
			more = max(0, used+delta-share) - max(0, used-share)
		}
		total += used
		over += max(0, used-share)
	}
	return total+delta <= a.memory && (more == 0 || over+more <= a.memory-share*a.outputs())
}
