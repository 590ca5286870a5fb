package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/penstock-data/penstock/stage"
)

// call is one task being worked on, on a worker's goroutine.
type call struct {
	r       *run
	op      *operator
	t       *task
	worker  int
	env     stage.Env
	started time.Time
	waited  time.Duration // for grants
	granted time.Duration // of the time at work, at the last yield
	nested  time.Duration // in stages that are fused behind
	turns   []turn        // of those stages
	rows    int           // of the input
	out     int           // rows handed over
	failed  []*stage.RowError
}

// newBlock makes a block of a batch that is one whole record, and takes it over.
func (c *call) newBlock(b stage.Batch) *block {
	return &block{
		item:  item{batch: b, group: c.t.group},
		owner: c.op, bytes: recordBytes(b.Record()), left: b.NumRows(),
	}
}

// handOver gives blocks, and the failed rows behind them, to the loop, and waits until the
// scheduler lets the task go on. It takes ownership of the blocks.
func (c *call) handOver(ctx context.Context, blocks []*block) error {
	ev := event{kind: evYield, op: c.op, task: c.t, blocks: blocks, failed: c.failed}
	for _, b := range blocks {
		ev.bytes += b.bytes
		ev.part = b.places != nil
		if !ev.part {
			c.out += b.left
		}
	}
	c.failed = nil
	ev.busy = c.atWork() - c.granted
	err := c.wait(ctx, ev)
	c.granted = c.atWork()
	return err
}

// atWork is how long the call has been at work itself.
func (c *call) atWork() time.Duration { return time.Since(c.started) - c.waited - c.nested }

// reserve waits until there is room for bytes more.
func (c *call) reserve(ctx context.Context, bytes int64) error {
	if err := c.r.ledger.fits(bytes); err != nil {
		return err
	}
	return c.wait(ctx, event{kind: evReserve, op: c.op, task: c.t, bytes: bytes})
}

func (c *call) wait(ctx context.Context, ev event) error {
	at := time.Now()
	defer func() { c.waited += time.Since(at) }()
	c.r.events <- ev
	select {
	case <-c.t.grant:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// done tells the loop that the task has ended. What it reports once the operator's context
// is cancelled is not a failure of its own.
func (c *call) done(err error) {
	if err != nil && c.r.ctx.Err() != nil && !errors.Is(err, stage.ErrDone) {
		err = nil
	}
	c.end(event{kind: evDone, err: err})
}

// end tells the loop that the worker has no more to do with the task.
func (c *call) end(ev event) {
	total := time.Since(c.started)
	c.r.trace.task(c.op, c.worker, c.started, total, c.rows, c.out)
	ev.op, ev.task, ev.failed, ev.rows, ev.turns = c.op, c.t, c.failed, c.rows, c.turns
	ev.busy, ev.wait = total-c.waited-c.nested, c.waited
	ev.last = ev.busy - c.granted
	c.r.events <- ev
}
