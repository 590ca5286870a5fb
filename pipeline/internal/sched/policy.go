package sched

import "container/heap"

// acceptBlocks takes over all blocks that there is room for.
func (s *Scheduler) acceptBlocks() {
	for again := true; again; {
		again = false
		for i := len(s.ops) - 1; i >= 0; i-- {
			// a block smaller than was reserved leaves room for those of operators further down
			again = s.acceptAll(i) && i < len(s.ops)-1 || again
		}
	}
}

// acceptAll takes over the yielded blocks that there is room for, the oldest first: a block
// exists already, and only downstream can make it go away. It says whether there was any.
func (s *Scheduler) acceptAll(i int) (any bool) {
	o := &s.ops[i]
	for len(o.yields) > 0 && s.rules.turn(o) {
		t := o.yields[0]
		if !s.rules.room(s, o, t.wanted()) {
			o.rule = RuleMemory
			break
		}
		heap.Pop(&o.yields)
		s.accept(i, t, false)
		any = true
	}
	return any
}

func (s *Scheduler) accept(i int, t *task, alone bool) {
	o := &s.ops[i]
	if t.grow {
		s.use(o, 0, t.bytes)
		t.reserved += t.bytes
		if alone { // nothing else runs, and there is no block that could make something run
			s.resume(i, t, true)
		} else {
			s.goOn(i, t)
		}
		return
	}
	s.use(o, t.bytes, -t.reserved)
	s.accepted(o, t)
	t.reserved, t.bytes = 0, 0
	s.act(Action{Kind: Accept, Op: i, Task: t.id, Worker: t.worker.id, Alone: alone})
	s.goOn(i, t)
}

// goOn lets a task go on at once, or has it stand in line: a generator, so that others may
// have their turn, and any task whose CPU is taken by now.
func (s *Scheduler) goOn(i int, t *task) {
	if o := &s.ops[i]; (o.Generator || !s.rules.cpu(s, o)) && !o.stopped {
		t.state = paused
		heap.Push(&o.pauses, t)
		return
	}
	s.resume(i, t, false)
}

func (s *Scheduler) resume(i int, t *task, alone bool) {
	o := &s.ops[i]
	t.state = running
	o.running++
	s.running++
	s.takeCPU(o, t)
	s.act(Action{Kind: Resume, Op: i, Task: t.id, Worker: t.worker.id, Alone: alone})
}

func (s *Scheduler) act(a Action) {
	if a.Alone {
		s.alone++
	}
	s.acts = append(s.acts, a)
}

// step runs the best of what may run, and says whether there was any.
func (s *Scheduler) step() bool {
	wait := -1 // the first of those that lack nothing but CPU
	s.short = -1
	for i := len(s.ops) - 1; i >= 0; i-- {
		o := &s.ops[i]
		o.rule = s.refusal(o)
		if o.rule == RuleMemory && (s.short < 0 || o.held < s.ops[s.short].held) {
			s.short = i
		}
		if o.rule == RuleCPU && (wait < 0 || s.rules.before(o, &s.ops[wait])) {
			wait = i
		}
	}
	best := -1
	for i := len(s.ops) - 1; i >= 0; i-- {
		o := &s.ops[i]
		if o.rule != RuleNone {
			continue
		}
		if o.CPU > 0 && wait >= 0 && s.rules.keep(s, i, wait) {
			o.rule = RuleCPU
			continue
		}
		if best < 0 || s.rules.before(o, &s.ops[best]) {
			best = i
		}
	}
	if best < 0 {
		return false
	}
	s.run(best, false)
	return true
}

// keepFor says that operator i leaves the CPU that is free to operator wait, which has its turn
// first and needs more than there is. Else a wide task would never see enough of it free.
func (s *Scheduler) keepFor(i, wait int) bool {
	if wait > i {
		return !s.rules.before(&s.ops[i], &s.ops[wait])
	}
	return s.rules.before(&s.ops[wait], &s.ops[i])
}

// run lets an operator's next turn happen: a paused task goes on before a new one starts,
// since it is older.
func (s *Scheduler) run(i int, alone bool) {
	o := &s.ops[i]
	if len(o.pauses) > 0 {
		t := heap.Pop(&o.pauses).(*task)
		if o.Generator && t.reserved == 0 { // any other has nothing more to hand over
			t.reserved = s.rules.reserve(o)
			s.use(o, 0, t.reserved)
		}
		s.resume(i, t, alone)
		return
	}
	s.start(i, alone)
}

func (s *Scheduler) start(i int, alone bool) {
	o := &s.ops[i]
	line, _ := s.line(o)
	q := line.pop()
	t := &task{id: q.id, set: q.set, in: q.bytes, worker: o.workers.take(q)}
	if o.Output {
		t.reserved = s.rules.reserve(o)
	}
	s.admitted(o)
	o.tasks[q.id] = t
	s.use(o, 0, t.reserved)
	o.running++
	s.running++
	s.takeCPU(o, t)
	s.act(Action{Kind: Start, Op: i, Task: q.id, Worker: t.worker.id, Alone: alone})
}

// refusal names the rule that keeps an operator from taking its next turn.
func (s *Scheduler) refusal(o *op) Rule {
	if !s.rules.turn(o) {
		return RuleTurn
	}
	if len(o.pauses) > 0 && !o.stopped {
		switch {
		case o.Generator && !s.roomFor(o):
			return RuleMemory
		case !s.rules.cpu(s, o):
			return RuleCPU
		}
		return RuleNone
	}
	if o.queued() == 0 {
		if len(o.yields) > 0 {
			return RuleMemory
		}
		return RuleInput
	}
	if _, r := s.line(o); r != RuleNone {
		return r
	}
	switch {
	case o.Output && !s.roomFor(o), len(o.yields) > 0:
		return RuleMemory
	case !s.rules.cpu(s, o):
		return RuleCPU
	}
	return RuleNone
}

// roomFor says whether there is room for an operator's next block. Where one further downstream
// waits for room, that is for it: this one keeps to its own share.
func (s *Scheduler) roomFor(o *op) bool {
	next := o.est.next()
	return s.rules.room(s, o, next) && (s.short < 0 || o.held+o.resv+next <= s.share || o.held < s.ops[s.short].held)
}

func (o *op) queued() int { return o.queue.len() + o.pinned.len() }

// lacksWorker says that an operator has no worker at all, or none with a free call for the next of
// the tasks that are queued.
func (o *op) lacksWorker() bool {
	switch {
	case o.workers.none():
		return true
	case o.pinned.len() > 0 && o.workers.has(*o.pinned.front()):
		return false
	case o.queue.len() > 0:
		return !o.workers.has(*o.queue.front())
	}
	return o.pinned.len() > 0
}

// line gives the queue whose head is next, by what no limit of memory or CPU can change: the
// tasks that only one worker may run go first.
func (s *Scheduler) line(o *op) (*fifo[queued], Rule) {
	pinned, rule := RuleWorkers, RuleWorkers
	if o.pinned.len() > 0 {
		pinned = s.startable(o, *o.pinned.front())
	}
	if o.queue.len() > 0 && pinned != RuleNone {
		rule = s.startable(o, *o.queue.front())
	} else {
		return &o.pinned, pinned
	}
	return &o.queue, rule
}

func (s *Scheduler) startable(o *op, q queued) Rule {
	switch {
	case !o.workers.has(q):
		return RuleWorkers
	case !q.pin && !s.rules.window(o, q.set): // a pool may have to close all its workers before others go on
		return RuleOrder
	case !s.rules.admit(s, o):
		return RuleRate
	}
	return RuleNone
}

// keepAlive is the liveness rule. It looks from the sink upwards, since only what is
// downstream frees memory.
func (s *Scheduler) keepAlive() {
	for i := len(s.ops) - 1; i >= 0; i-- {
		o := &s.ops[i]
		switch {
		case !s.rules.turn(o):
		case len(o.yields) > 0:
			t := heap.Pop(&o.yields).(*task)
			s.accept(i, t, true)
			return
		case len(o.pauses) > 0:
			s.run(i, true)
			return
		case o.queued() > 0:
			if _, r := s.line(o); r == RuleNone {
				s.start(i, true)
				return
			}
		}
	}
}

// Running is the number of tasks that run.
func (s *Scheduler) Running() int { return s.running }

// Alone is how often liveness let something run over the limit.
func (s *Scheduler) Alone() int64 { return s.alone }

// Used is the bytes that are held or reserved over all operators.
func (s *Scheduler) Used() int64 { return s.used }

// OpState is an operator as it stands.
type OpState struct {
	Queued, Running, Waiting int
	Held, Reserved           int64
	Rule                     Rule // what keeps it from running more
}

// State shows operator i.
func (s *Scheduler) State(i int) OpState {
	o := &s.ops[i]
	return OpState{
		Queued: o.queued(), Running: o.running, Waiting: len(o.yields) + len(o.pauses),
		Held: o.held, Reserved: o.resv, Rule: o.rule,
	}
}

// CPUFree is how many CPU tokens are free.
func (s *Scheduler) CPUFree() float64 { return s.cpus }
