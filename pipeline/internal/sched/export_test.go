package sched

// Mutant makes schedulers whose policy has one fault.
type Mutant struct {
	Name  string
	Fault string // what it must be caught at: a fault of the simulator's audit, or of a run
	spoil func(*rules)
}

// New makes a scheduler with the faulty policy.
func (m Mutant) New(cfg Config) *Scheduler {
	policy := thePolicy()
	m.spoil(&policy)
	return newScheduler(cfg, policy)
}

// Mutants are the faulty policies.
func Mutants() []Mutant {
	return []Mutant{
		{"ignores the memory rule", "over the limit", func(r *rules) {
			r.room = func(*Scheduler, *op, int64) bool { return true }
		}},
		{"deals out shares that sum up to more than the limit", "over the limit", func(r *rules) {
			r.share = func(memory, _ int64) int64 { return memory }
			r.room = func(s *Scheduler, o *op, delta int64) bool {
				return !o.Output || delta <= 0 || o.held+o.resv+delta <= s.share
			}
		}},
		{"leaves half of the memory unused", "runnable, and left", func(r *rules) {
			r.room = func(s *Scheduler, o *op, delta int64) bool {
				return s.room(o, delta) && (!o.Output || delta <= 0 || s.used+delta <= s.memory/2)
			}
		}},
		{"reserves nothing for what is being made", "bytes miscounted", func(r *rules) {
			r.reserve = func(*op) int64 { return 0 }
		}},
		{"keeps the reservation of a task that ended", "bytes miscounted", func(r *rules) {
			r.release = func(*task) int64 { return 0 }
		}},
		{"ignores the order window", "outside the window", func(r *rules) {
			r.window = func(*op, int64) bool { return true }
		}},
		{"takes a set for finished with its first task", "outside the window", func(r *rules) {
			r.whole = func(*op, int64) bool { return true }
		}},
		{"never takes a set for finished", "stuck", func(r *rules) {
			r.whole = func(o *op, _ int64) bool { return !o.Sets }
		}},
		{"counts the parts of a set as if somebody could have them", "not the one that holds least", func(r *rules) {
			r.part = func(*task) int64 { return 0 }
		}},
		{"starts sources past their rate", "past the rate", func(r *rules) {
			r.admit = func(*Scheduler, *op) bool { return true }
		}},
		{"keeps sources back though nothing runs", "runnable, and left", func(r *rules) {
			r.admit = func(s *Scheduler, o *op) bool {
				return len(o.In) > 0 || s.limits.Admission != ByRate || s.admission.budget() >= 1
			}
		}},
		{"gives turns to the paused", "not its turn", func(r *rules) {
			r.turn = func(*op) bool { return true }
		}},
		{"never lets the paused have a turn again", "stuck", func(r *rules) {
			asked := map[*op]bool{}
			r.turn = func(o *op) bool { asked[o] = asked[o] || o.paused; return !asked[o] || o.stopped }
		}},
		{"resumes generators without CPU", "more CPU than there is", func(r *rules) {
			cpu := r.cpu
			r.cpu = func(s *Scheduler, o *op) bool { return len(o.pauses) > 0 || cpu(s, o) }
		}},
		{"keeps one CPU token back", "runnable, and left", func(r *rules) {
			r.cpu = func(s *Scheduler, o *op) bool { return o.CPU == 0 || o.CPU < s.cpus-1e-9 }
		}},
		{"runs the operator first that holds most", "not the one that holds least", func(r *rules) {
			r.before = func(a, b *op) bool { return a.held > b.held }
		}},
		{"counts against an operator what waits for its own older tasks", "not the one that holds least", func(r *rules) {
			r.before = func(a, b *op) bool { return a.held < b.held }
		}},
		{"starves what is upstream", "not the one that holds least", func(r *rules) {
			r.before = func(*op, *op) bool { return false }
		}},
		{"lets narrow tasks take the CPU that a wide one waits for", "not the one that holds least", func(r *rules) {
			r.keep = func(*Scheduler, int, int) bool { return false }
		}},
		{"closes workers that are at work", "no such call free", func(r *rules) {
			r.idle = func(*op, *worker) bool { return true }
		}},
		{"lets pools grow past their largest size", "not a size for this pool", func(r *rules) {
			r.most = func(o *op) int { return 2*o.Max + 2 }
		}},
		{"puts more on a device than it has", "more of a device than there is", func(r *rules) {
			r.place = func(d devices, share float64) (int, bool) {
				if share == 0 {
					return -1, true
				}
				d[0] -= share
				return 0, true
			}
		}},
		{"places workers on a lost device", "on a lost device", func(r *rules) {
			r.lose = func(devices, int) {}
		}},
		{"gives the workers of a lost device more work", "on a lost device", func(r *rules) {
			r.drain = func(*workers, *worker) {}
		}},
		{"forgets what comes back from a lost device", "runnable, and left", func(r *rules) {
			r.again = func(*op, queued) {}
		}},
		{"puts what comes back from a lost device behind all else", "out of order", func(r *rules) {
			r.again = func(o *op, q queued) { o.queue.push(q) }
		}},
		{"gives up when a device is lost, though others are left", "gave up without need", func(r *rules) {
			r.fewest = func(s *Scheduler) ([]int, int) {
				for i := range s.ops {
					if s.ops[i].GPU > 0 && !s.ops[i].stopped {
						return nil, i
					}
				}
				return s.fewestThatFit()
			}
		}},
		{"makes no room on the devices that are left for a pool that has none", "stuck", func(r *rules) {
			r.beside = func(devices, []Op, []int) bool { return true }
		}},
		{"has no liveness rule", "stuck", func(r *rules) {
			r.alone = func(*Scheduler) {}
		}},
		{"goes over the limit while workers are opening", "alone without need", func(r *rules) {
			r.opening = func(*Scheduler) bool { return false }
		}},
	}
}

// NewUpstreamFirst makes a scheduler that has what is furthest upstream go first.
func NewUpstreamFirst(cfg Config) *Scheduler {
	policy := thePolicy()
	policy.before = func(*op, *op) bool { return true }
	return newScheduler(cfg, policy)
}

// NewBySum makes a scheduler that admits by rate as the paper has it: by the sum over all
// operators.
func NewBySum(cfg Config) *Scheduler {
	policy := thePolicy()
	policy.period = func(slots []float64, _ float64) (sum float64) {
		for _, x := range slots {
			sum += x
		}
		return sum
	}
	return newScheduler(cfg, policy)
}

// NewCounting makes a scheduler that counts how often it asks one of its rules: how much it
// looks at.
func NewCounting(cfg Config, looks *int) *Scheduler {
	policy := thePolicy()
	room, window, turn, cpu, before := policy.room, policy.window, policy.turn, policy.cpu, policy.before
	policy.room = func(s *Scheduler, o *op, delta int64) bool { *looks++; return room(s, o, delta) }
	policy.window = func(o *op, id int64) bool { *looks++; return window(o, id) }
	policy.turn = func(o *op) bool { *looks++; return turn(o) }
	policy.cpu = func(s *Scheduler, o *op) bool { *looks++; return cpu(s, o) }
	policy.before = func(a, b *op) bool { *looks++; return before(a, b) }
	return newScheduler(cfg, policy)
}
