package sim

import (
	"slices"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
)

// Fault is something that happens to a job from outside.
type Fault struct {
	At     float64 // seconds
	Kind   sched.EventKind
	Op     int
	Worker int     // WorkerDown
	Device int     // DeviceLost
	For    float64 // Pause, WorkerDown: seconds until Unpause, or until another worker is up
	Bytes  int64   // LimitChange
}

// inject lets a fault happen. Stop stops an operator and all that only it consumes, as the
// executor does; a worker that goes down leaves what it runs to end by itself.
func (m *simulation) inject(f Fault) {
	switch f.Kind {
	case sched.Pause:
		m.push(sched.Event{Kind: sched.Pause, Op: f.Op})
		m.at(f.For, func() { m.push(sched.Event{Kind: sched.Unpause, Op: f.Op}) })
	case sched.WorkerDown:
		m.lose(f)
	case sched.DeviceLost:
		m.loseDevice(f.Device)
	case sched.LimitChange:
		m.push(sched.Event{Kind: sched.LimitChange, Bytes: f.Bytes})
	case sched.Stop:
		for i := f.Op; i >= 0; i-- {
			if i == f.Op || m.feedsOnly(i) {
				m.stop(i)
			}
		}
	}
}

// lose takes a worker away. One of a pool is replaced by the scheduler.
func (m *simulation) lose(f Fault) {
	lives := m.ops[f.Op].lives
	if m.cfg.Ops[f.Op].Max == 0 {
		m.push(sched.Event{Kind: sched.WorkerDown, Op: f.Op, Worker: f.Worker})
		m.push(sched.Event{Kind: sched.WorkerOpening, Op: f.Op})
		m.open(f.Op, f.Worker, f.For)
		return
	}
	if lives[f.Worker]%2 == 1 { // opening or up, not closed yet
		lives[f.Worker]++
		m.ops[f.Op].workers--
		m.push(sched.Event{Kind: sched.WorkerDown, Op: f.Op, Worker: f.Worker})
	}
}

// open has a worker come up, unless it is lost before.
func (m *simulation) open(i, worker int, delay float64) {
	lives := m.ops[i].lives
	lives[worker]++
	life := lives[worker]
	m.at(delay, func() {
		switch {
		case lives[worker] != life:
		case m.onLost(i, worker) && worker%2 == 0: // it does not open there any more
			m.lose(Fault{Op: i, Worker: worker})
		default:
			m.push(sched.Event{Kind: sched.WorkerUp, Op: i, Worker: worker})
		}
	})
}

// feedsOnly says that all consumers of operator i are stopped.
func (m *simulation) feedsOnly(i int) bool {
	return !slices.ContainsFunc(m.cfg.Ops[i].Next, func(n int) bool { return !m.ops[n].stopped })
}

// stop drops what an operator has queued and cancels what it runs: each of its tasks ends
// at once, whatever it was at.
func (m *simulation) stop(i int) {
	o := &m.ops[i]
	if o.stopped {
		return
	}
	o.stopped = true
	m.push(sched.Event{Kind: sched.Stop, Op: i})
	m.dropSets(i)
	ids := make([]int64, 0, len(o.tasks))
	for id := range o.tasks {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		t := o.tasks[id]
		delete(o.tasks, id)
		for _, b := range t.out {
			m.push(sched.Event{Kind: sched.Free, Op: i, Bytes: b.bytes})
		}
		if t.done {
			continue
		}
		m.free(t.from)
		t.done = true
		if t.started {
			m.push(sched.Event{Kind: sched.Done, Op: i, Task: id})
		}
	}
}
