package sim

import "github.com/penstock-data/penstock/pipeline/internal/sched"

// admission is the Ray Data paper's Algorithm 2 in front of a scheduler: source tasks are
// handed on at the rate at which the rest of the job is measured to work them off, budget by
// budget. The scheduler's own rules stay above it. It stands here to be compared with those
// rules alone; package sched says what came of that.
//
//	α_i = α_{i-1} · O_i / I_i          bytes that leave operator i for each of a source's
//	P   = Σ T_i / E_i · tasks_i        seconds per source task, over all operators
//	budget += seconds / P              source tasks
//
// T_i is the seconds of a task, E_i the slots that its operator may use, and tasks_i how many of
// operator i a source task leads to. Where operators use slots of different kinds, the sum is
// more than what they need side by side; the kinder reading takes the largest of the kinds.
type admission struct {
	rule   Admission
	budget float64
	held   []held // source tasks that are not handed on yet
	ops    []flow
}

// Admission is a reading of the algorithm.
type Admission string

const (
	AdmitAll    Admission = ""     // every source task at once: the scheduler's own rules alone
	AdmitBySum  Admission = "sum"  // P as it is written
	AdmitByKind Admission = "kind" // P of the kind of slot, CPUs or a pool's workers, that is needed most
)

type held struct {
	op int
	t  *simTask
}

// flow is what was measured of an operator.
type flow struct {
	tasks, seconds, in, out float64
}

// admitEvery is the seconds between two refills.
const admitEvery = 1

func newAdmission(cfg Config) *admission {
	return &admission{rule: cfg.Admit, ops: make([]flow, len(cfg.Ops)), budget: cfg.CPUs}
}

// refill adds to the budget what the job has worked off, and hands source tasks on.
func (m *simulation) refill() {
	a := m.admit
	if p := a.secondsPerTask(m.cfg); p > 0 {
		a.budget += admitEvery / p
	}
	m.handOn()
	if len(m.clock) > 0 || len(a.held) > 0 {
		m.at(admitEvery, m.refill)
	}
}

func (m *simulation) handOn() {
	a := m.admit
	for len(a.held) > 0 && a.budget >= 1 {
		h := a.held[0]
		a.held = a.held[1:]
		a.budget--
		m.push(sched.Event{Kind: sched.Ready, Op: h.op, Task: h.t.ID, Bytes: h.t.Bytes})
	}
}

// secondsPerTask is P; 0 as long as a source was not measured.
func (a *admission) secondsPerTask(cfg Config) float64 {
	tasks := make([]float64, len(cfg.Ops)) // of each operator for one of a source
	sum, cpu, most := 0.0, 0.0, 0.0
	for i, o := range cfg.Ops {
		f := &a.ops[i]
		if o.Tasks > 0 {
			tasks[i] = 1
		}
		if f.tasks == 0 {
			continue
		}
		slots := float64(o.Workers * max(o.Calls, 1))
		if o.CPU > 0 {
			slots = min(slots, cfg.CPUs/o.CPU)
		}
		p := f.seconds / f.tasks / slots * tasks[i]
		sum += p
		if most = max(most, p); o.CPU > 0 {
			cpu += f.seconds / f.tasks * o.CPU / cfg.CPUs * tasks[i]
		}
		for _, n := range o.Next {
			if next := &a.ops[n]; next.in > 0 {
				tasks[n] += tasks[i] * (f.out / f.tasks) / (next.in / next.tasks)
			}
		}
	}
	if a.rule == AdmitBySum {
		return sum
	}
	return max(most, cpu)
}
