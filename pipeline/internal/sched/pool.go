package sched

import (
	"maps"
	"slices"
)

// pool is the workers of an operator that the scheduler itself opens and closes.
type pool struct {
	want   int         // workers, by the last decision
	open   int         // being opened or up, without those that are being closed
	next   int         // number of the next one
	device map[int]int // of each that holds a share of one
	above  float64     // seconds for which more were open than the rates ask for
	full   bool        // there is no place for another now
	idle   float64     // seconds for which there was nothing to do
}

const (
	// shrinkAfter is how long a pool stays larger than the rates ask for, in seconds, and
	// makePlaceAfter how long one does so on devices, where others may want its place. Opening
	// a worker may load a model: to close one in haste is dearer than that.
	shrinkAfter, makePlaceAfter = 30, 10
	// idleAfter is how long a pool with nothing to do counts as in use, in seconds.
	idleAfter = 5
	// worthMoving is how many times faster the job must get for a worker of one pool to make
	// place on a device for one of another.
	worthMoving = 1.05
	// spare is how many more workers a pool without devices gets than are busy at the rates
	// that the job reaches: an idle one costs nothing but its memory, and takes up what comes
	// unevenly.
	spare = 1.25
)

// tick looks at all pools, and decides at once how many workers each is to have.
func (s *Scheduler) tick(seconds float64) {
	s.refill(seconds)
	pools := false
	for i := range s.ops {
		o := &s.ops[i]
		pools = pools || o.Max > 0
		if o.pool.idle += seconds; o.queued()+len(o.tasks) > 0 {
			o.pool.idle = 0
		}
	}
	if !pools || !s.measured() {
		return
	}
	needs := s.needs()
	want, rate := s.solve(needs, s.backlogs(needs))
	worth := rate > worthMoving*s.rateNow(needs)
	for i := range s.ops {
		o := &s.ops[i]
		if o.Max == 0 || o.stopped {
			continue
		}
		if o.pool.above += seconds; want[i] >= o.pool.open {
			o.pool.above = 0
		}
		patience := float64(shrinkAfter)
		if o.GPU > 0 {
			patience = makePlaceAfter
		}
		if want[i] > o.pool.want || worth && o.GPU > 0 || o.pool.above >= patience {
			o.pool.want = want[i]
		}
		s.closeIdle(o)
	}
}

// closeIdle closes workers that have nothing to do, the newest first, until the pool is as
// large as it is to be. Others go when they have nothing to do.
func (s *Scheduler) closeIdle(o *op) {
	if o.pool.open <= o.pool.want {
		return
	}
	ids := slices.Sorted(maps.Keys(o.workers.up))
	for _, id := range slices.Backward(ids) {
		s.retire(o, o.workers.up[id])
	}
}

// retire closes a worker if its pool is too large and nothing runs in it.
func (s *Scheduler) retire(o *op, w *worker) {
	if o.Max == 0 || o.pool.open <= o.pool.want || w.gone || w.closed || !s.rules.idle(o, w) {
		return
	}
	o.workers.close(w)
	o.pool.open--
	s.act(Action{Kind: CloseWorker, Op: o.index, Worker: w.id, Device: o.pool.deviceOf(w.id)})
}

// openWanted opens all workers that pools want and that there is a place for, the largest
// shares first, since they are the hardest to place.
func (s *Scheduler) openWanted() {
	for i := range s.ops {
		s.ops[i].pool.full = false
	}
	for {
		best := -1
		for i := range s.ops {
			o := &s.ops[i]
			if o.Max == 0 || o.stopped || o.pool.open >= o.pool.want || o.pool.full {
				continue
			}
			if best < 0 || o.GPU >= s.ops[best].GPU {
				best = i
			}
		}
		if best < 0 {
			return
		}
		s.openOne(best)
	}
}

func (s *Scheduler) openOne(i int) {
	o := &s.ops[i]
	device, ok := s.rules.place(s.devices, o.GPU)
	if o.pool.full = !ok; !ok {
		return
	}
	if device >= 0 {
		o.pool.device[o.pool.next] = device
	}
	s.act(Action{Kind: OpenWorker, Op: i, Worker: o.pool.next, Device: device})
	o.pool.next++
	o.pool.open++
	o.opening++
}

// placeFree gives the place of a worker back that is gone, or that never came up. If the pool
// did not close it, another is opened.
func (s *Scheduler) placeFree(o *op, id int, w *worker) {
	if o.Max == 0 {
		return
	}
	if w == nil || !w.closed {
		o.pool.open--
	}
	if device, ok := o.pool.device[id]; ok {
		delete(o.pool.device, id)
		s.devices.giveBack(device, o.GPU)
	}
}

func (p *pool) deviceOf(worker int) int {
	if d, ok := p.device[worker]; ok {
		return d
	}
	return -1
}

// devices is how much of each device is free.
type devices []float64

func newDevices(n int) devices {
	d := make(devices, n)
	for k := range d {
		d[k] = 1
	}
	return d
}

// sharesError allows for the rounding of shares like a third.
const sharesError = 1e-9

// take takes a share of the device that has most left, so that workers spread; -1 and true
// if none is needed.
func (d devices) take(share float64) (int, bool) {
	if share == 0 {
		return -1, true
	}
	best := -1
	for k, free := range d {
		if free >= share-sharesError && (best < 0 || free > d[best]) {
			best = k
		}
	}
	if best >= 0 {
		d[best] -= share
	}
	return best, best >= 0
}

func (d devices) giveBack(device int, share float64) { d[device] += share }
