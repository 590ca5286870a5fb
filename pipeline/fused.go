package pipeline

import (
	"context"
	"fmt"
	"time"
)

// Stages that are fused run within the calls of the first of them: a block goes from one to
// the next on the same goroutine, as soon as it may, and what the last one makes is handed over
// to the loop. Each has workers, errors, counters and retries of its own, and gets the same
// batches as it would get as an operator, so that nothing else changes.

// turn is what a fused stage did within a task.
type turn struct {
	calls int
	rows  int
	bytes int64
	busy  time.Duration
	wait  time.Duration
}

// openSlots opens a worker of a stage, and one of each that is fused behind.
func (r *run) openSlots(ctx context.Context, o *operator, device int) (*slot, error) {
	var first, last *slot
	for i := -1; i < len(o.fused); i++ {
		of := o
		if i >= 0 {
			of = o.fused[i]
		}
		w, err := r.openWorker(ctx, of, device)
		if err != nil {
			_ = first.close() // the first error is the one that counts
			return nil, err
		}
		s := &slot{worker: w, device: device, op: of}
		if last == nil {
			first = s
		} else {
			last.next = s
		}
		last = s
	}
	return first, nil
}

// close closes the workers of a slot and of those behind, and gives the first error.
func (s *slot) close() (err error) {
	for ; s != nil; s = s.next {
		if e := closeWorker(s.worker); e != nil && err == nil {
			err = fmt.Errorf("%s: close: %w", s.op.name, e)
		}
	}
	return err
}

// takeTurns gives what the stages behind have done since it was called last.
func (s *slot) takeTurns() []turn {
	var out []turn
	for f := s.next; f != nil; f = f.next {
		out = append(out, f.did)
		f.did = turn{}
	}
	return out
}

// addTurns books what the stages that are fused behind o did in one of its tasks.
func (o *operator) addTurns(turns []turn) {
	from := o
	for i, t := range turns {
		f := o.fused[i]
		from.stat.OutRows += int64(t.rows)
		from.stat.OutBytes += t.bytes
		f.stat.Tasks += int64(t.calls)
		f.stat.InRows += int64(t.rows)
		f.stat.Busy += t.busy
		f.stat.Blocked += t.wait
		from = f
	}
}

// send passes a block on, and takes it over: to the stage that is fused behind, or to the loop.
func (c *stageCall) send(ctx context.Context, b *block) error {
	if c.slot.next == nil {
		return c.handOver(ctx, []*block{b})
	}
	defer func() { b.batch.Release() }()
	if c.down != nil {
		return c.down
	}
	return c.onward(ctx, func(d *stageCall) error {
		d.slot.did.calls++
		d.slot.did.rows += b.left
		d.slot.did.bytes += b.bytes
		if s := d.op.shape; s != nil {
			b.replace(project(b.batch.Record(), s.out, s.cols))
		}
		return d.batch(ctx, []pick{{block: b, to: b.left}})
	})
}

// onward makes a call of the stage that is fused behind, within this one.
func (c *stageCall) onward(ctx context.Context, f func(d *stageCall) error) error {
	next := c.slot.next
	d := newStageCall(call{r: c.r, op: next.op, t: c.t, worker: c.call.worker}, next)
	err := f(d)
	if len(d.failed) > 0 && ctx.Err() == nil {
		if e := d.handOver(ctx, nil); err == nil {
			err = e
		}
	}
	took := time.Since(d.started)
	c.nested += took
	next.did.busy += took - d.waited - d.nested
	next.did.wait += d.waited
	c.down = err
	return err
}
