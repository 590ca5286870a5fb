package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

const (
	maxAttempts  = 4 // of a batch whose failure is temporary, or whose worker was lost
	firstBackoff = 100 * time.Millisecond
)

// startStage opens all of a stage's workers at once, each on a goroutine of its own.
func (r *run) startStage(o *operator) {
	o.ctx = r.operatorContext(o)
	if o.pooled() { // the scheduler says when
		return
	}
	o.addWorkers(r.poolSize(o), o.step.bound.Need.Calls())
	for w := range o.workers {
		r.startWorker(o, w)
	}
}

func (r *run) startWorker(o *operator, w int) {
	tasks := o.workers[w].tasks // the list of workers belongs to the loop
	device := o.workers[w].device
	r.wg.Go(func() {
		err := r.work(o, w, device, tasks)
		r.events <- event{kind: evGone, op: o, worker: w, err: err}
	})
}

// pooled says whether the scheduler opens and closes the operator's workers as it needs them.
func (o *operator) pooled() bool {
	if o.step == nil {
		return false
	}
	need := o.step.bound.Need
	return need.GPU > 0 || need.Workers.Min > 0 && need.Workers.Max > need.Workers.Min
}

// openPooled opens another worker of a pool, on a device of the list or on none (-1).
func (r *run) openPooled(o *operator, w, device int) {
	o.addWorkers(1, o.step.bound.Need.Calls())
	if device >= 0 {
		o.workers[w].device = r.cfg.GPUs[device]
	}
	if o.phase >= finishing || o.stopped { // too late: nothing is left for it
		o.alive--
		o.workers[w].closing = true
		o.workers[w].close()
		if o.unused = append(o.unused, w); o.stopped || o.phase == ended {
			r.giveUpUnused(o)
		}
		return
	}
	r.startWorker(o, w)
}

// giveUpUnused gives the places back of workers that were to be opened too late. It is done once
// the scheduler knows that the operator needs none, or it would open others.
func (r *run) giveUpUnused(o *operator) {
	for _, w := range o.unused {
		r.push(sched.Event{Kind: sched.WorkerDown, Op: o.index, Worker: w})
	}
	o.unused = nil
}

// slot is the place of one worker. A worker that is lost is replaced in its place, once no
// call is in it any more: calls hold the lock for reading.
type slot struct {
	mu     sync.RWMutex
	worker stage.Worker
	device int       // ordinal
	op     *operator // whose worker it is
	next   *slot     // of the stage that is fused behind
	did    turn      // as a fused stage, in the task that runs
}

// work opens a worker, runs its tasks and closes it.
func (r *run) work(o *operator, w, device int, tasks <-chan *task) (err error) {
	ctx := o.ctx
	s, err := r.openSlots(ctx, o, device)
	if err != nil {
		if ctx.Err() != nil {
			err = nil
		}
		return err
	}
	defer func() {
		if e := s.close(); e != nil && err == nil {
			err = e
		}
	}()
	r.events <- event{kind: evUp, op: o, worker: w}
	var calls sync.WaitGroup
	for range o.step.bound.Need.Calls() {
		calls.Go(func() {
			for t := range tasks {
				r.runTask(ctx, o, w, s, t)
			}
		})
	}
	calls.Wait()
	return nil
}

func (r *run) openWorker(ctx context.Context, o *operator, device int) (w stage.Worker, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: open: panic: %v", o.name, p)
		}
	}()
	env := r.env(o, stage.Blocks)
	env.Device = device
	if o.step.bound.Need.GPU > 0 {
		env.Ran = r.reporter(o)
	}
	w, err = o.step.bound.Open(ctx, env)
	if err != nil {
		return nil, fmt.Errorf("%s: open: %w", o.name, err)
	}
	return w, nil
}

// closeWorker closes a worker, and makes an error of its panic.
func closeWorker(w stage.Worker) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return w.Close()
}

func (r *run) runTask(ctx context.Context, o *operator, w int, s *slot, t *task) {
	c := newStageCall(call{r: r, op: o, t: t, worker: w}, s)
	var err error
	if t.finish {
		err = c.finish(ctx)
	} else {
		err = c.batch(ctx, t.picks)
		if c.lost != nil {
			if c.giveBack() {
				return
			}
			err = nil
		}
		if (err == nil || errors.Is(err, stage.ErrDone)) && t.window != nil {
			err = errors.Join(err, c.handIn(ctx))
		}
	}
	c.turns = s.takeTurns()
	c.done(err)
}

func newStageCall(c call, s *slot) *stageCall {
	out := &stageCall{call: c, slot: s}
	out.started = time.Now()
	out.env = c.r.env(c.op, stage.Blocks)
	out.env.Reserve = out.reserve
	return out
}

// stageCall is a batch being processed.
type stageCall struct {
	call
	slot   *slot
	in     *input
	worker stage.Worker // of the last attempt
	down   error        // what a stage that is fused behind ended with: it is not this stage's fault
	lost   *stage.DeviceLostError
	left   int // where the rows begin that are not done, since the device is lost
}

// finish asks a worker for what it still holds, and then those that are fused behind.
func (c *stageCall) finish(ctx context.Context) error {
	e := &emitter{c: c, ctx: ctx, last: -1}
	err := c.guard(func() error { return c.slot.worker.Finish(ctx, e.emit) })
	err = e.end(err)
	switch {
	case c.down != nil:
		return c.down
	case err != nil:
		return fmt.Errorf("%s: finish: %w", c.op.name, err)
	case c.slot.next != nil:
		return c.onward(ctx, func(d *stageCall) error { return d.finish(ctx) })
	}
	return nil
}

// batch processes rows: all at once, and where that fails, what is left of them again, or in
// halves.
func (c *stageCall) batch(ctx context.Context, picks []pick) error {
	for _, p := range picks {
		c.rows += p.rows()
	}
	named, err := c.inputMemory()
	if err != nil {
		c.deviceLost(0, err)
		return fmt.Errorf("%s: %w", c.op.name, err)
	}
	in, err := assemble(c.op, picks, named, c.env)
	if err != nil {
		return fmt.Errorf("%s: %w", c.op.name, err)
	}
	c.in = in
	defer in.release()
	return c.rowsFrom(ctx, 0, in.rows)
}

// rowsFrom processes rows [from, to) of the batch.
func (c *stageCall) rowsFrom(ctx context.Context, from, to int) error {
	need := c.op.step.bound.Need
	for attempt := 0; ; attempt++ {
		through, err := c.attempt(ctx, from, to, attempt)
		from += through
		switch {
		case c.down != nil:
			return c.down
		case err == nil, errors.Is(err, stage.ErrDone):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, errEmitted), errors.Is(err, errContract):
			return c.rowError(from, to-from, err, "")
		case c.deviceLost(from, err):
			return c.lost
		case errors.Is(err, stage.ErrWorkerLost) && attempt+1 < maxAttempts:
			if e := c.replaceWorker(ctx, err); e != nil {
				c.deviceLost(from, e)
				return e
			}
		case stage.IsTemporary(err) && need.Retryable && attempt+1 < maxAttempts:
			if e := sleep(ctx, firstBackoff<<attempt); e != nil {
				return e
			}
		case !c.r.cfg.OnError.Skip:
			return c.rowError(from, to-from, err, "")
		case to-from <= 1 || !need.RowWise:
			return c.fail(ctx, from, to, attempt+1, err)
		default:
			mid := from + (to-from)/2
			if e := c.rowsFrom(ctx, from, mid); e != nil {
				return e
			}
			return c.rowsFrom(ctx, mid, to)
		}
	}
}

// attempt makes one Process call over rows [from, to), and says how many of them are
// finished even if it failed.
func (c *stageCall) attempt(ctx context.Context, from, to, attempt int) (int, error) {
	b := c.in.slice(from, to)
	defer b.Release()
	e := &emitter{c: c, ctx: ctx, in: c.in, from: from, to: to, attempts: attempt + 1, last: -1}
	c.slot.mu.RLock()
	c.worker = c.slot.worker
	err := c.process(ctx, b, e)
	c.slot.mu.RUnlock()
	err = e.end(err)
	return e.through, err
}

// process calls the worker, with a time limit where the stage has one. A call that outlives
// it is left to itself, with its batch, and its worker counts as lost.
func (c *stageCall) process(ctx context.Context, b stage.Batch, e *emitter) error {
	worker := c.worker
	limit := c.op.step.bound.Need.Timeout
	if limit == 0 {
		return c.guard(func() error { return worker.Process(ctx, b, e.emit) })
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b.Retain()
	result := make(chan error, 1)
	go func() {
		defer b.Release()
		result <- c.guard(func() error { return worker.Process(ctx, b, e.emit) })
		if e.abandoned() {
			_ = closeWorker(worker) // nobody is left to tell
		}
	}()
	grace := time.NewTimer(2 * limit)
	defer grace.Stop()
	select {
	case err := <-result:
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = &stage.RowError{Row: -1, Kind: stage.TimedOut, Err: fmt.Errorf("no answer within %v", limit)}
		}
		return err
	case <-grace.C:
		e.abandon()
		return &lostError{worker, fmt.Errorf("no answer within %v: %w", 2*limit, stage.ErrWorkerLost)}
	}
}

// lostError is a worker that is still busy with a call that nobody waits for.
type lostError struct {
	busy stage.Worker
	err  error
}

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// guard turns a panic into an error of the rows.
func (c *stageCall) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.env.Logger().Error("stage panicked", "panic", p, "stack", string(debug.Stack()))
			err = &stage.RowError{Row: -1, Kind: stage.Panicked, Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	return f()
}

// replaceWorker opens a worker in the place of the one that cause says is lost. Of several
// calls that were in it, the first does so.
func (c *stageCall) replaceWorker(ctx context.Context, cause error) error {
	c.slot.mu.Lock()
	defer c.slot.mu.Unlock()
	if c.slot.worker != c.worker {
		return nil
	}
	c.env.Logger().Warn("worker lost", "cause", cause)
	var busy *lostError
	if !errors.As(cause, &busy) {
		if err := closeWorker(c.slot.worker); err != nil {
			c.env.Logger().Warn("closing a lost worker", "err", err)
		}
	}
	c.slot.worker = closedWorker{}
	w, err := c.r.openWorker(ctx, c.op, c.slot.device)
	if err != nil {
		return err
	}
	c.slot.worker = w
	return nil
}

// closedWorker stands where a lost worker could not be replaced.
type closedWorker struct{}

func (closedWorker) Process(context.Context, stage.Batch, func(stage.Output) error) error {
	return stage.ErrWorkerLost
}
func (closedWorker) Finish(context.Context, func(stage.Output) error) error { return nil }
func (closedWorker) Close() error                                           { return nil }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rowError says which rows a failure belongs to: n of them from row on.
func (c *stageCall) rowError(row, n int, err error, column string) *stage.RowError {
	out := &stage.RowError{Stage: c.op.name, Row: -1, Column: column, Kind: stage.KindOf(err), Err: err}
	var inner *stage.RowError
	if errors.As(err, &inner) && inner == err { // do not say "row" twice
		out.Err, out.Column = inner.Err, nameOr(column, inner.Column)
	}
	id := c.in.origin().At(row)
	out.Row = id.FileRow()
	if id.Split != nil {
		out.Path = id.Split.Path
	}
	if n > 1 {
		out.Err = fmt.Errorf("a batch of %d rows from here on: %w", n, out.Err)
	}
	return out
}

// fail gives rows [from, to) up: each becomes a dead letter.
func (c *stageCall) fail(ctx context.Context, from, to, attempts int, err error) error {
	for row := from; row < to; row++ {
		c.addFailure(row, attempts, c.rowError(row, 1, err, ""))
	}
	if len(c.failed) < failuresAtOnce {
		return nil
	}
	return c.handOver(ctx, nil)
}

func (c *stageCall) addFailure(row, attempts int, e *stage.RowError) {
	e.Attempts = attempts
	if c.r.cfg.OnError.Skip {
		e.Input = c.in.json(row)
	}
	if w := c.t.window; w != nil {
		k, at := c.in.find(row)
		w.fail(w.place(c.in.picks[k].block, at), e)
	}
	c.failed = append(c.failed, e)
}
