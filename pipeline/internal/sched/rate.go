package sched

import (
	"math"
	"slices"
)

// meter measures what an operator does with the bytes that it reads. Its sums fade, so that
// it follows a job whose rows change.
type meter struct {
	seconds, in, out float64
	recent           float64 // tasks, fading like the other sums
	tasks            int
}

// fade is what is left of a sum after each task, or each block of a source: about the last
// hundred count.
const fade = 0.99

// yielded and done take in what a task has done. That of a source counts at once, for what it
// reads is of no matter; that of others when the task is done, all at once, or its seconds
// would stand beside bytes of other tasks.
func (m *meter) yielded(t *task, ev Event, source bool) {
	t.seconds += ev.Seconds
	if !ev.Part { // what is made of parts counts when it goes on
		t.out += float64(ev.Bytes)
	}
	if source {
		m.take(t, 0)
	}
}

func (m *meter) done(t *task, ev Event) {
	t.seconds += ev.Seconds
	m.tasks++
	m.recent = m.recent*fade + 1
	m.take(t, float64(t.in))
}

// perTask is the seconds of a task that is not a source's.
func (m *meter) perTask() float64 { return m.seconds / m.recent }

func (m *meter) take(t *task, in float64) {
	m.seconds = m.seconds*fade + t.seconds
	m.in = m.in*fade + in
	m.out = m.out*fade + t.out
	t.seconds, t.out = 0, 0
}

// needs says for each operator how many of its tasks must run at once for one byte per second
// to leave the sources: the seconds that it takes per byte it reads, times the bytes that
// reach it for each that leaves a source. A pool that was not measured yet, since its workers
// are still being opened, is taken to be as slow as the slowest that was, and to change
// nothing; anything else, to need nothing. One that has its turn no more, or had nothing to do for a while, needs nothing.
func (s *Scheduler) needs() []float64 {
	needs, gives := make([]float64, len(s.ops)), make([]float64, len(s.ops))
	slowest, unknown := 0.0, make([]bool, len(s.ops))
	for i := range s.ops {
		o, m := &s.ops[i], &s.ops[i].meter
		comes := 0.0
		for _, k := range o.In {
			comes += gives[k]
		}
		switch {
		case len(o.In) == 0 && m.out > 0:
			needs[i], gives[i] = m.seconds/m.out, 1
		case len(o.In) > 0 && m.tasks > 0 && m.in > 0:
			needs[i], gives[i] = m.seconds/m.in*comes, m.out/m.in*comes
		default:
			unknown[i], gives[i] = true, max(comes, 1)
		}
		slowest = max(slowest, needs[i])
	}
	for i := range s.ops {
		o := &s.ops[i]
		switch {
		case o.stopped || o.paused || o.meter.tasks > 0 && o.pool.idle >= idleAfter:
			needs[i] = 0
		case unknown[i] && o.Max > 0:
			needs[i] = slowest
		}
	}
	return needs
}

// measured says that there is anything to go by: without a second of work there is no rate.
func (s *Scheduler) measured() bool {
	return slices.ContainsFunc(s.ops, func(o op) bool { return o.meter.seconds > 0 })
}

// drainOver is the seconds over which what has piled up before a pool is to be worked off,
// beside what comes.
const drainOver = 30

// backlogs says how many tasks must run at once, beside those for what comes, to work off what
// has piled up before a pool: all that is queued but two tasks for each call. That is asked of
// the last pool alone that has such a pile, since it is what the ones before it made too soon.
func (s *Scheduler) backlogs(needs []float64) []float64 {
	out := make([]float64, len(s.ops))
	for i := len(s.ops) - 1; i >= 0; i-- {
		o := &s.ops[i]
		if piled := o.queue.len() - 2*o.pool.open*o.Calls; o.Max > 0 && needs[i] > 0 && o.meter.tasks > 0 && piled > 0 {
			out[i] = float64(piled) * o.meter.perTask() / drainOver
			break
		}
	}
	return out
}

// solve finds the highest rate, in bytes per second that leave the sources, that CPUs, devices
// and the largest sizes of the pools allow beside the backlogs, and the workers of each pool at
// that rate.
func (s *Scheduler) solve(needs, backlogs []float64) (want []int, rate float64) {
	cpu, free, most := 0.0, s.limits.CPUs, math.Inf(1)
	for i, need := range needs {
		if need == 0 {
			continue
		}
		o := &s.ops[i]
		cpu += need * o.CPU
		free -= backlogs[i] * o.CPU
		most = min(most, float64(s.mostTasks(o))/need)
	}
	if cpu > 0 {
		most = min(most, max(free, 0)/cpu)
	}
	if math.IsInf(most, 1) { // nobody has anything to do
		return s.workersAt(0, needs, backlogs), most
	}
	if want = s.workersAt(most, needs, backlogs); s.placeable(want) {
		return want, most
	}
	low := 0.0
	for range 50 {
		middle := (low + most) / 2
		if s.placeable(s.workersAt(middle, needs, backlogs)) {
			low = middle
		} else {
			most = middle
		}
	}
	return s.workersAt(low, needs, backlogs), low
}

// mostTasks is how many tasks of an operator could ever run at once.
func (s *Scheduler) mostTasks(o *op) int {
	n := o.Max
	switch {
	case o.Max == 0:
		n = max(len(o.workers.up)+o.opening, 1)
	case o.GPU > 0:
		n = min(n, s.devices.left()*int(1/o.GPU+sharesError))
	}
	return n * o.Calls
}

// workersAt is how many workers each pool needs at a rate.
func (s *Scheduler) workersAt(rate float64, needs, backlogs []float64) []int {
	want := make([]int, len(s.ops))
	for i := range s.ops {
		o := &s.ops[i]
		if o.Max == 0 {
			continue
		}
		busy := (rate*needs[i] + backlogs[i]) / float64(o.Calls)
		if o.GPU == 0 {
			busy *= spare
		}
		want[i] = min(max(int(math.Ceil(busy-1e-6)), o.Workers), s.rules.most(o))
	}
	return want
}

// placeable says whether the devices have room for so many workers, by the sum of their shares.
func (s *Scheduler) placeable(want []int) bool {
	shares := 0.0
	for i, n := range want {
		shares += float64(n) * s.ops[i].GPU
	}
	return shares <= float64(s.devices.left())+1e-6
}

// rateNow is the rate that the pools allow as they are meant to be now.
func (s *Scheduler) rateNow(needs []float64) float64 {
	rate := math.Inf(1)
	for i, need := range needs {
		if o := &s.ops[i]; o.Max > 0 && need > 0 {
			rate = min(rate, float64(min(o.pool.open, o.pool.want)*o.Calls)/need)
		}
	}
	return rate
}
