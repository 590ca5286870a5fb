package sched

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// pool is the workers of an operator that the scheduler itself opens and closes.
type pool struct {
	want   int          // workers, by the last decision
	open   int          // being opened or up, without those that are being closed
	next   int          // number of the next one
	device map[int]int  // of each that holds a share of one
	above  float64      // seconds for which more were up than the rates ask for, and none was being opened
	full   bool         // there is no place for another now
	going  map[int]bool // those that make room for others behind the loss of a device
	idle   float64      // seconds for which there was nothing to do
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
		if o.pool.above += seconds; want[i] >= o.pool.open || o.opening > 0 {
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

// retire closes a worker if nothing runs in it and more are up than its pool is to have, its
// device is lost, or it is to make room. Those that are still being opened do not count: one that
// is there does not go for one that may take minutes to load.
func (s *Scheduler) retire(o *op, w *worker) {
	goes := w.closed || o.pool.going[w.id] || o.pool.open-o.opening > o.pool.want
	if o.Max == 0 || !goes || w.gone || w.told || !s.rules.idle(o, w) {
		return
	}
	if !w.closed {
		o.workers.close(w)
		o.pool.open--
	}
	w.told = true
	s.act(Action{Kind: CloseWorker, Op: o.index, Worker: w.id, Device: o.pool.deviceOf(w.id)})
}

// openWanted opens all workers that pools want and that there is a place for: those of pools that
// have less than their fewest first, and of these the largest shares, since they are the hardest
// to place.
func (s *Scheduler) openWanted() {
	packed := s.packed()
	for i := range s.ops {
		s.ops[i].pool.full = !packed && s.ops[i].GPU > 0
	}
	for {
		best := -1
		for i := range s.ops {
			o := &s.ops[i]
			if o.Max == 0 || o.stopped || o.pool.open >= o.pool.want || o.pool.full {
				continue
			}
			if best < 0 || o.opensBefore(&s.ops[best]) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		s.openOne(best)
	}
}

func (o *op) opensBefore(other *op) bool {
	if short := o.pool.open < o.Op.Workers; short != (other.pool.open < other.Op.Workers) {
		return short
	}
	return o.GPU >= other.GPU
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
	device := o.pool.deviceOf(id)
	if left := s.devices.lost(device); w == nil && !left || w != nil && !w.closed {
		o.pool.open--
	}
	if delete(o.pool.going, id); device >= 0 {
		delete(o.pool.device, id)
		s.devices.giveBack(device, o.GPU)
	}
	s.unpin(o, id)
}

// unpin drops the tasks that only a worker of a pool could run that is gone.
func (s *Scheduler) unpin(o *op, worker int) {
	rest := fifo[queued]{}
	for _, q := range o.pinned.all() {
		if q.worker == worker {
			s.finish(o, q.set)
		} else {
			rest.push(q)
		}
	}
	o.pinned = rest
}

func (p *pool) deviceOf(worker int) int {
	if d, ok := p.device[worker]; ok {
		return d
	}
	return -1
}

// devices is how much of each device is free: of a lost one, less than any share.
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

// placeAll takes a place for n workers of each operator, the largest shares first, as they are
// opened. It gives the operator for which there was no place, and how many of it had one; -1: all
// have.
func (d devices) placeAll(ops []Op, n []int) (without, placed int) {
	order := make([]int, len(ops))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ops[b].GPU, ops[a].GPU) })
	for _, i := range order {
		for placed := range n[i] {
			if _, ok := d.take(ops[i].GPU); !ok {
				return i, placed
			}
		}
	}
	return -1, 0
}

func (d devices) lose(device int) { d[device] = math.Inf(-1) }

func (d devices) lost(device int) bool { return device >= 0 && math.IsInf(d[device], -1) }

// empty are the devices that are left as they are without workers.
func (d devices) empty() devices {
	out := newDevices(len(d))
	for k := range d {
		if d.lost(k) {
			out.lose(k)
		}
	}
	return out
}

// left is how many devices are not lost.
func (d devices) left() (n int) {
	for k := range d {
		if !d.lost(k) {
			n++
		}
	}
	return n
}
