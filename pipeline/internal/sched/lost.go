package sched

import (
	"maps"
	"slices"
)

// lose takes a device out of the job. Its workers get no more tasks, and are closed once nothing
// runs in them; what they give back, others take.
func (s *Scheduler) lose(device int) {
	if s.devices.lost(device) {
		return
	}
	s.rules.lose(s.devices, device)
	for i := range s.ops {
		o := &s.ops[i]
		for _, id := range slices.Sorted(maps.Keys(o.pool.device)) {
			if o.pool.device[id] == device {
				s.leave(o, o.workers.up[id])
			}
		}
	}
	s.refit = true
}

// leave has a worker of a lost device get no more tasks; nil: one that is not up yet.
func (s *Scheduler) leave(o *op, w *worker) {
	switch {
	case w == nil:
		o.pool.open--
	case !w.closed:
		o.pool.open--
		s.rules.drain(&o.workers, w)
		s.retire(o, w)
	}
}

// again has a task stand in line that it had left, in its old place: the older go first.
func (o *op) again(q queued) {
	at := slices.IndexFunc(o.queue.all(), func(other queued) bool { return other.id > q.id })
	if at < 0 {
		at = o.queue.len()
	}
	o.queue.items = slices.Insert(o.queue.items, o.queue.at+at, q)
}

// fit has pools go with the devices that are left. Their fewest workers become as many as have a
// place there, one at least; where there is none for that one, it says so. Workers that have their
// place keep it if those that are to come find theirs beside them; else pools that have more than
// their fewest make room, the newest first; and if that does not do either, all are placed anew.
func (s *Scheduler) fit() {
	fewest, without := s.rules.fewest(s)
	if s.without = without >= 0; s.without {
		s.act(Action{Kind: NoPlace, Op: without, Device: -1})
		return
	}
	for i, n := range fewest {
		if n > 0 {
			s.ops[i].Op.Workers = n
		}
	}
	for _, keep := range []func(open, fewest int) int{
		func(open, _ int) int { return open },
		func(open, fewest int) int { return min(open, fewest) },
		func(int, int) int { return 0 },
	} {
		if s.keep(fewest, keep) {
			break
		}
	}
	s.packing = true
}

// keep tries whether the fewest workers of all pools have a place if each pool keeps so many of
// those that are open, the oldest. If so, the others are to go.
func (s *Scheduler) keep(fewest []int, of func(open, fewest int) int) bool {
	free, missing, going := s.devices.empty(), make([]int, len(s.ops)), make([][]int, len(s.ops))
	for i, few := range fewest {
		o, open := &s.ops[i], s.ops[i].placed(s.devices)
		if few == 0 {
			continue
		}
		n := of(len(open), few)
		for _, id := range open[:n] {
			free[o.pool.device[id]] -= o.GPU
		}
		missing[i], going[i] = max(few-n, 0), open[n:]
	}
	if !s.rules.beside(free, s.limits.Ops, missing) {
		return false
	}
	for i, few := range fewest {
		if few == 0 {
			continue
		}
		o := &s.ops[i]
		o.pool.want = max(min(o.pool.want, o.pool.open-len(going[i])), few)
		clear(o.pool.going)
		for _, id := range going[i] {
			o.pool.going[id] = true
			if w := o.workers.up[id]; w != nil {
				s.retire(o, w)
			}
		}
	}
	return true
}

// placed are the workers of a pool that have a place on a device and are not being closed, the
// oldest first.
func (o *op) placed(d devices) (ids []int) {
	for _, id := range slices.Sorted(maps.Keys(o.pool.device)) {
		if w := o.workers.up[id]; !d.lost(o.pool.device[id]) && (w == nil || !w.closed) {
			ids = append(ids, id)
		}
	}
	return ids
}

// fewestThatFit are as many workers of each pool on devices, up to its fewest, as those that are
// left have room for together: the pool that asks for most gives one up after the other. If one
// of each is too many, it gives the operator that is left without.
func (s *Scheduler) fewestThatFit() (fewest []int, without int) {
	fewest = make([]int, len(s.ops))
	for i := range s.ops {
		if o := &s.ops[i]; o.Max > 0 && o.GPU > 0 && !o.stopped {
			fewest[i] = o.Op.Workers
		}
	}
	for {
		if without, _ = s.devices.empty().placeAll(s.limits.Ops, fewest); without < 0 {
			return fewest, without
		}
		most := -1
		for i, n := range fewest {
			if n > 1 && (most < 0 || float64(n)*s.ops[i].GPU > float64(fewest[most])*s.ops[most].GPU) {
				most = i
			}
		}
		if most < 0 {
			return nil, without
		}
		fewest[most]--
	}
}

// packed says that all workers that were to make room have gone. Until then none is opened: a
// place that is free for a small share by then is one that a large share may need.
func (s *Scheduler) packed() bool {
	if !s.packing {
		return true
	}
	for i := range s.ops {
		o := &s.ops[i]
		places := 0
		for _, d := range o.pool.device {
			if !s.devices.lost(d) {
				places++
			}
		}
		if places > 0 && o.stopped || places > o.pool.open || len(o.pool.going) > 0 {
			return false
		}
	}
	s.packing = false
	return true
}
