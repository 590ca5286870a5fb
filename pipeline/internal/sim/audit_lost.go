package sim

import "github.com/penstock-data/penstock/pipeline/internal/sched"

// loseDevice takes a device out of the books: its workers have no call to give any more.
func (a *audit) loseDevice(device int) {
	a.lost[device] = true
	for i := range a.ops {
		o := &a.ops[i]
		for w, d := range o.device {
			switch calls := o.calls[w]; {
			case d != device:
			case calls != nil:
				delete(o.calls, w)
				o.leaving[w] = calls
			case !o.closing[w]:
				o.late[w] = true
			}
		}
	}
}

// up takes a worker into the books that is open, maybe on a device that is lost by now.
func (a *audit) up(o *auditOp, calls, worker int) {
	o.opening--
	o.calls[worker] = &calls
	if device, ok := o.device[worker]; ok && a.lost[device] {
		delete(o.late, worker)
		delete(o.calls, worker)
		o.leaving[worker] = &calls
	}
}

func (o *auditOp) down(worker int) {
	if o.calls[worker] == nil && o.leaving[worker] == nil && !o.closing[worker] {
		o.opening--
	}
	delete(o.calls, worker)
	delete(o.leaving, worker)
	delete(o.late, worker)
	delete(o.device, worker)
}

// comesBack has a task stand in line where it stood.
func (o *auditOp) comesBack(id int64) {
	t := o.tasks[id]
	delete(o.tasks, id)
	*t.calls++
	if o.stopped {
		o.finish(t.set)
		return
	}
	at := 0
	for at < len(o.queue) && o.queue[at].id < id {
		at++
	}
	o.queue = append(o.queue[:at:at], append([]queuedTask{{id, t.set}}, o.queue[at:]...)...)
}

// noPlace holds it against the scheduler if it gives up though each pool could have a device to
// itself.
func (a *audit) noPlace(act sched.Action) error {
	pools, left := 0, a.cfg.GPUs-len(a.lost)
	for i, o := range a.cfg.Ops {
		if o.GPU > 0 && !a.ops[i].stopped {
			pools++
		}
	}
	if len(a.lost) == 0 || pools <= left {
		return fault(FaultGaveUp, "%+v: %d devices are left for %d pools", act, left, pools)
	}
	return nil
}
