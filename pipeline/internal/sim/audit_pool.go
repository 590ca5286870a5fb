package sim

import "github.com/penstock-data/penstock/pipeline/internal/sched"

// size takes a worker of a pool that is opened or closed into the books.
func (a *audit) size(o *auditOp, cfg *sched.Op, act sched.Action) error {
	if act.Kind == sched.OpenWorker {
		o.opening++
		if act.Device >= 0 {
			o.device[act.Worker] = act.Device
		}
		if n := o.opening - len(o.late) + len(o.calls); n > cfg.Max || o.stopped {
			return fault(FaultPool, "%+v: %d are open, and %d are the most", act, n, cfg.Max)
		}
		return a.devices(cfg, act)
	}
	calls, lost := o.calls[act.Worker], o.leaving[act.Worker]
	if lost != nil {
		calls = lost
	}
	if calls == nil || *calls != max(cfg.Calls, 1) {
		return fault(FaultWorker, "%+v: it is not idle", act)
	}
	delete(o.calls, act.Worker)
	delete(o.leaving, act.Worker)
	o.closing[act.Worker] = true
	if cfg.GPU > 0 && len(a.lost) > 0 { // the pool may have to make room
		return nil
	}
	if n := o.opening + len(o.calls); n < cfg.Workers {
		return fault(FaultPool, "%+v: %d are left, and %d are the fewest", act, n, cfg.Workers)
	}
	return nil
}

// devices adds up who holds what of the device that was given.
func (a *audit) devices(cfg *sched.Op, act sched.Action) error {
	if act.Device < 0 {
		if cfg.GPU > 0 {
			return fault(FaultDevice, "%+v: on none", act)
		}
		return nil
	}
	if a.lost[act.Device] {
		return fault(FaultLost, "%+v", act)
	}
	held := 0.0
	for i := range a.ops {
		for _, d := range a.ops[i].device {
			if d == act.Device {
				held += a.cfg.Ops[i].GPU
			}
		}
	}
	if act.Device >= a.cfg.GPUs || held > 1+1e-6 {
		return fault(FaultDevice, "%+v: %v of it is held", act, held)
	}
	return nil
}
