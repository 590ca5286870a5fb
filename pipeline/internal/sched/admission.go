package sched

// Admission says when tasks of sources may start, beside what all other rules say.
type Admission uint8

const (
	// ByBytes lets them start as soon as the other rules do.
	ByBytes Admission = iota
	// ByRate lets them start no faster than the job is measured to work off what they make: the
	// Ray Data paper's Algorithm 2. At first as many may start as there are CPUs.
	//
	//	α_i = α_{i-1} · O_i / I_i          bytes that leave operator i for each of a source's
	//	P   = max T_i / E_i · tasks_i      seconds per source task
	//	budget += seconds / P              source tasks
	//
	// T_i is the seconds of a task, E_i the slots that its operator may use, and tasks_i how many
	// of operator i a source task leads to. The paper takes the sum in the place of the largest,
	// as if operators on CPUs and on devices took turns: here what CPUs are needed for is summed
	// up, and what each operator's workers are needed for stands beside that.
	ByRate
)

// admission is the budget of source tasks.
type admission struct {
	granted float64 // tasks, in all
	started float64 // of them
	bytes   float64 // that finished tasks of sources have made, fading; and how many they were
	tasks   float64
}

func (a *admission) budget() float64 { return a.granted - a.started }

// admit is the rate rule. Where nothing runs, nothing can be ahead of the rate.
func (s *Scheduler) admit(o *op) bool {
	return len(o.In) > 0 || s.limits.Admission != ByRate || s.running == 0 || s.admission.budget() >= 1
}

// admitted takes a source task that starts off the budget.
func (s *Scheduler) admitted(o *op) {
	if a := &s.admission; len(o.In) == 0 && a.budget() >= 1 {
		a.started++
	}
}

// made notes what a task of a source has made, once it is finished.
func (a *admission) made(t *task) {
	a.bytes = a.bytes*fade + float64(t.made)
	a.tasks = a.tasks*fade + 1
}

// refill adds to the budget what the job has worked off in some seconds.
func (s *Scheduler) refill(seconds float64) {
	if s.limits.Admission != ByRate || s.admission.tasks == 0 {
		return
	}
	needs := s.needs()
	slots := make([]float64, len(needs)) // seconds of its slots for each byte that leaves a source
	cpu := 0.0
	for i, need := range needs {
		o := &s.ops[i]
		slots[i] = need / float64(s.slots(o))
		cpu += need * o.CPU / s.limits.CPUs
	}
	if p := s.rules.period(slots, cpu) * s.admission.bytes / s.admission.tasks; p > 0 {
		s.admission.granted += seconds / p
	}
}

// slots is how many tasks of an operator could run at once as its workers are.
func (s *Scheduler) slots(o *op) int {
	n := len(o.workers.up) + o.opening
	if o.Max > 0 {
		n = o.pool.open
	}
	return max(n, 1) * o.Calls
}

// longest is the seconds per byte of the slots, or of the CPUs, that are needed most.
func longest(slots []float64, cpu float64) float64 {
	for _, x := range slots {
		cpu = max(cpu, x)
	}
	return cpu
}

// Granted is how many tasks of sources the rate rule has let start so far.
func (s *Scheduler) Granted() float64 { return s.admission.granted }
