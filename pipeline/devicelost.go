package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

// A device that is lost is taken out of the job. The worker that notices says so
// ([stage.DeviceLostError]), and gives what it has not finished of its batch back; the scheduler
// gives its device no more work, closes the workers there, and has others take what came back.

// LostDevice is a device that a job has lost.
type LostDevice struct {
	Device stage.Placement
	Stage  string            // whose worker noticed
	Err    error             // what the device said
	Left   []stage.Placement // the devices that were left
}

// String is a line for people.
func (l LostDevice) String() string {
	to := "; no other is left"
	if len(l.Left) > 0 {
		to = "; its work went to " + listed(l.Left)
	}
	return strings.ReplaceAll(l.error().Error(), "\n", "; ") + to
}

func (l LostDevice) error() error { return &stage.DeviceLostError{Device: l.Device, Err: l.Err} }

func listed(devices []stage.Placement) string {
	names := make([]string, len(devices))
	for i, d := range devices {
		names[i] = d.String()
	}
	return strings.Join(names, ", ")
}

// deviceOf is the device of an operator's worker, if it has one.
func (o *operator) deviceOf(worker int) (device int, ok bool) {
	if o.step == nil || o.step.bound.Need.GPU == 0 {
		return 0, false
	}
	return o.workers[worker].device, true
}

// deviceLost says whether err is that the call's worker has lost its device. Then rows from from
// on are given back.
func (c *stageCall) deviceLost(from int, err error) bool {
	if c.op.step.bound.Need.GPU == 0 || !errors.As(err, &c.lost) {
		return false
	}
	c.left = from
	return true
}

// giveBack tells the loop that the device is lost, and whether there is anything left to do of the
// batch. If so, the task is no longer this worker's.
func (c *stageCall) giveBack() bool {
	c.r.events <- event{kind: evDeviceLost, op: c.op, worker: c.call.worker, err: c.lost}
	if c.left == c.rows {
		return false
	}
	c.rows = c.left
	c.end(event{kind: evReturned})
	return true
}

// taskReturned has a task stand in line again with the rows that are not done.
func (r *run) taskReturned(ev event) {
	t, o := ev.task, ev.op
	r.countFailures(o, ev.failed)
	if o.stopped { // nobody wants the rest
		ev.failed = nil
		r.taskDone(ev)
		return
	}
	o.book(ev)
	if len(ev.failed) > 0 && t.window == nil {
		r.attachFailures(t, ev.failed)
	}
	rest := r.forget(t, ev.rows)
	t.started = false
	r.push(sched.Event{Kind: sched.Returned, Op: o.index, Task: t.id, Bytes: int64(float64(t.bytes) * rest)})
}

// forget takes the first rows out of a task, which are done. It gives the part that is left.
func (r *run) forget(t *task, done int) float64 {
	all := 0
	for _, p := range t.picks {
		all += p.rows()
	}
	for n := done; n > 0; {
		p := &t.picks[0]
		k := min(n, p.rows())
		if n -= k; t.window == nil {
			r.doneWith(p.block, k)
		}
		if p.at != nil {
			p.at = p.at[k:]
		} else {
			p.from += k
		}
		if p.rows() == 0 {
			t.picks = t.picks[1:]
		}
	}
	return float64(all-done) / float64(max(all, 1))
}

// loseDevice takes the device of a worker out of the job.
func (r *run) loseDevice(o *operator, device int, err error) {
	var said *stage.DeviceLostError
	if r.stopped || r.isLost(device) || !errors.As(err, &said) {
		return
	}
	lost := LostDevice{Device: stage.Placement{Device: stage.CUDA, Index: device}, Stage: o.name, Err: said.Err}
	for _, d := range r.cfg.GPUs {
		if d != device && !r.isLost(d) {
			lost.Left = append(lost.Left, stage.Placement{Device: stage.CUDA, Index: d})
		}
	}
	r.lost = append(r.lost, lost)
	r.cfg.Log.Error(lost.String(), "operator", o.name)
	r.push(sched.Event{Kind: sched.DeviceLost, Device: slices.Index(r.cfg.GPUs, device)})
}

func (r *run) isLost(device int) bool {
	return slices.ContainsFunc(r.lost, func(l LostDevice) bool { return l.Device.Index == device })
}

// workerFailed is a worker that could not be opened or closed. On a lost device that fails nothing.
func (r *run) workerFailed(o *operator, worker int, err error) {
	device, ok := o.deviceOf(worker)
	if ok {
		r.loseDevice(o, device, err)
	}
	if !ok || !r.isLost(device) {
		r.fail(err)
		return
	}
	r.cfg.Log.Warn("a worker ended with its device", "operator", o.name, "worker", worker, "cause", err)
	o.workers[worker].closing = true // it holds nothing that it could be asked for
	for id, t := range o.tasks {
		if t.finish && t.worker == worker && !t.started {
			t.done = true
			delete(o.tasks, id)
		}
	}
	r.advance(o)
}

// noPlace ends a run that cannot go on, since the devices that are left have no room for a worker
// of one of its operators. One that has done its work needs none.
func (r *run) noPlace(o *operator) {
	if o.phase >= finishing {
		return
	}
	why := "no device is left"
	if left := r.lost[len(r.lost)-1].Left; len(left) > 0 {
		why = fmt.Sprintf("there is no room on %s for a worker that takes %.3g of a device", listed(left), o.step.bound.Need.GPU)
	}
	err := r.lost[0].error()
	for _, l := range r.lost[1:] {
		err = fmt.Errorf("%w; %w", err, l.error())
	}
	r.fail(fmt.Errorf("%s: %s: %w; %d rows were done", o.name, why, err, r.sink.stat.InRows))
}
