package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

// ErrTooManyFailures ends a job in which more rows failed than OnError allows.
var ErrTooManyFailures = errors.New("pipeline: too many rows failed")

// run is one execution of a plan.
//
// One goroutine, the loop, owns all that is not marked otherwise: the scheduler, the
// operators' queues, order and statistics. Workers, readers and the lister of splits talk to
// it by events alone, and it to them by channels that have room for what it sends, so it
// never waits for them. A worker that hands over a block waits on its task's grant until
// the scheduler has room, or until the run is cancelled.
//
// A block belongs to the operator that made it until the last of its rows is done with
// downstream. Whoever holds a block holds one reference to its record.
type run struct {
	cfg     Config
	plan    *plan
	ledger  *ledger
	sched   *sched.Scheduler
	limit   int64       // for blocks, as the scheduler knows it
	ops     []*operator // sources, stages with a worker, the sink: each behind what it reads
	all     *upstream   // the whole plan
	sink    *operator
	sinkCtx context.Context // of the consumer
	eat     consumer

	ctx     context.Context // of all workers
	cancel  context.CancelCauseFunc
	events  chan event
	pending []sched.Event // to be applied before the loop waits again
	wg      sync.WaitGroup
	stats   statsKeeper
	err     error // the first failure
	stopped bool  // failed or cancelled: what still comes is thrown away
	failed  int64 // rows
	lost    []LostDevice
	trace   *tracer
}

// consumer is the end of a run. Its methods are called by one goroutine, in order.
type consumer interface {
	consume(ctx context.Context, it item) error
	finish(ctx context.Context) error
	// abort is called instead of finish, or when that has failed: it lets go of what it holds.
	abort(ctx context.Context) error
}

// borrower is a consumer that is lent what the workers of the sink are.
type borrower interface{ lend(stage.Env) }

// block is a record on its way.
type block struct {
	item
	owner *operator
	bytes int64  // that owner holds for it
	left  int    // rows that are still to be done with
	uncut int    // rows that are in no batch yet
	made  []pick // rows of other blocks that it is made of, which are done with when it is
	// places are the rows of a window that its rows are, where it is a part of one.
	places []int32
}

// item is what travels: rows, or rows that failed at this place in the order, or both (the
// failed ones stand behind).
type item struct {
	batch  stage.Batch // one whole record
	group  int64
	failed []*stage.RowError
}

// event is something that a goroutine tells the loop.
type event struct {
	kind   eventKind
	op     *operator
	task   *task
	worker int
	blocks []*block
	failed []*stage.RowError
	bytes  int64
	part   bool // the blocks are parts of a window
	splits []stage.Split
	err    error
	busy   time.Duration
	last   time.Duration // of busy, since the last yield
	wait   time.Duration
	rows   int
	turns  []turn
}

type eventKind uint8

const (
	evSplits     eventKind = iota // the lister has found splits
	evListed                      // there are no more, or err
	evUp                          // a worker is open
	evGone                        // a worker has ended
	evYield                       // a task hands over blocks, and waits for its grant
	evReserve                     // a task asks for bytes, and waits for its grant
	evDone                        // a task has ended
	evReturned                    // a task is left undone behind its first rows, for another worker
	evDeviceLost                  // a worker has lost its device, as err says
)

// execute runs a plan into a consumer, which it calls on the caller's goroutine.
func execute(ctx context.Context, p *plan, cfg Config, eat consumer) (Stats, error) {
	r := &run{cfg: cfg, plan: p, eat: eat, events: make(chan event, 256), ledger: newLedger(cfg)}
	defer r.ledger.ended.Store(true)
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.cancel(nil)
	r.trace = newTracer(cfg.Trace)
	r.build()
	for _, o := range r.ops {
		r.trace.name(o)
	}
	if w, ok := eat.(borrower); ok {
		w.lend(r.env(r.sink, stage.WriterBuffers))
	}
	r.stats.began, r.stats.cpu = time.Now(), processCPU()
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		r.loop(ctx)
	}()
	r.runSink()
	<-finished
	r.wg.Wait()
	r.stats.stop(r)
	if err := r.trace.close(); err != nil && r.err == nil {
		r.err = fmt.Errorf("pipeline: write trace: %w", err)
	}
	return r.stats.last, r.err
}

// loop takes events in until nothing is left to happen.
func (r *run) loop(ctx context.Context) {
	tick := time.NewTicker(r.cfg.ProgressEvery)
	defer tick.Stop()
	cancelled := ctx.Done()
	r.settle()
	for !r.finished() {
		select {
		case ev := <-r.events:
			r.handle(ev)
			r.drain()
		case <-cancelled:
			cancelled = nil
			r.fail(context.Cause(ctx))
		case <-tick.C:
			r.pushLimit()
			r.push(sched.Event{Kind: sched.Tick, Seconds: r.cfg.ProgressEvery.Seconds()})
			r.stats.tick(r)
		}
		r.settle()
	}
	close(r.sink.workers[0].tasks)
}

// drain takes in what has come already, so that a burst is decided on once.
func (r *run) drain() {
	for range cap(r.events) {
		select {
		case ev := <-r.events:
			r.handle(ev)
		default:
			return
		}
	}
}

// settle lets the scheduler decide until it has nothing more to say.
func (r *run) settle() {
	if left := r.ledger.forBlocks(); abs(left-r.limit) > r.ledger.limit/64 {
		r.pushLimit()
	}
	for {
		for len(r.pending) > 0 {
			events := r.pending
			r.pending = nil
			for _, a := range r.sched.Apply(events...) {
				r.act(a)
			}
			r.endOperators()
		}
		acts := r.sched.Settle()
		for _, a := range acts {
			r.act(a)
		}
		if r.endOperators(); len(acts) == 0 && len(r.pending) == 0 {
			return
		}
	}
}

func (r *run) act(a sched.Action) {
	o := r.ops[a.Op]
	switch a.Kind {
	case sched.NoPlace:
		r.noPlace(o)
		return
	case sched.OpenWorker:
		r.openPooled(o, a.Worker, a.Device)
		return
	case sched.CloseWorker:
		if o.phase < finishing && !o.stopped {
			r.finishWorker(o, a.Worker)
		}
		return
	}
	t := o.tasks[a.Task]
	if t == nil { // dropped by a stop that came between the decision and now
		if a.Kind == sched.Start {
			r.push(sched.Event{Kind: sched.Done, Op: o.index, Task: a.Task})
		}
		return
	}
	switch a.Kind {
	case sched.Start:
		t.started = true
		if t.split != nil {
			o.wantSplit()
		}
		o.stat.Tasks++
		o.stat.Running++
		o.workers[a.Worker].tasks <- t // has room for every call of the worker
	case sched.Accept:
		r.accept(t)
	case sched.Resume:
		select {
		case t.grant <- struct{}{}:
		default: // it was cancelled, and did not wait for the last one either
		}
	}
}

func (r *run) handle(ev event) {
	switch ev.kind {
	case evSplits:
		r.addSplits(ev.op, ev.splits)
	case evListed:
		ev.op.inputEnded = true
		if ev.err != nil {
			r.fail(ev.err)
		}
	case evUp:
		ev.op.stat.Workers++
		ev.op.lives.change(1, time.Now())
		r.push(sched.Event{Kind: sched.WorkerUp, Op: ev.op.index, Worker: ev.worker})
	case evGone:
		ev.op.alive--
		if ev.op.lives.open > 0 {
			ev.op.lives.change(-1, time.Now())
		}
		if ev.op.pooled() {
			ev.op.stat.Workers = max(ev.op.stat.Workers-1, 0)
			r.push(sched.Event{Kind: sched.WorkerDown, Op: ev.op.index, Worker: ev.worker})
		}
		if ev.err != nil {
			r.workerFailed(ev.op, ev.worker, ev.err)
		}
	case evYield:
		ev.task.yielded = append(ev.task.yielded, ev.blocks...)
		if ev.op == r.ops[ev.op.index] { // what is fused behind it tells at the end
			ev.op.stat.Busy += ev.busy
		}
		r.countFailures(ev.op, ev.failed)
		if len(ev.failed) > 0 && ev.task.window == nil { // a window keeps its own
			r.attachFailures(ev.task, ev.failed)
		}
		r.push(sched.Event{Kind: sched.Yield, Op: ev.op.index, Task: ev.task.id, Bytes: ev.bytes, Part: ev.part, Seconds: ev.busy.Seconds()})
	case evReserve:
		r.push(sched.Event{Kind: sched.Reserve, Op: ev.op.index, Task: ev.task.id, Bytes: ev.bytes})
	case evDone:
		r.taskDone(ev)
	case evReturned:
		r.taskReturned(ev)
	case evDeviceLost:
		if device, ok := ev.op.deviceOf(ev.worker); ok {
			r.loseDevice(ev.op, device, ev.err)
		}
	}
}

func (r *run) push(ev sched.Event) { r.pending = append(r.pending, ev) }

// pushLimit tells the scheduler what the limit leaves for blocks.
func (r *run) pushLimit() {
	r.limit = r.ledger.forBlocks()
	r.push(sched.Event{Kind: sched.LimitChange, Bytes: r.limit})
}

// attachFailures puts failed rows behind the rows that their task has yielded before, wherever
// those are by now: so the place of the failed ones does not hang on how far they got.
func (r *run) attachFailures(t *task, failed []*stage.RowError) {
	switch last := func(b []*block) *block { return b[len(b)-1] }; {
	case len(t.yielded) > 0:
		b := last(t.yielded)
		b.failed = append(b.failed, failed...)
	case len(t.out) > 0:
		b := last(t.out)
		b.failed = append(b.failed, failed...)
	case r.cfg.Unordered || t.id == t.op.head:
		r.flushBefore(t)
		r.forwardFailed(&t.op.out, t.group, failed)
	default: // nothing of it has gone before
		t.before = append(t.before, failed...)
	}
}

// countFailures ends the run when it is told to by the first failure or the last one too many.
func (r *run) countFailures(o *operator, failed []*stage.RowError) {
	if len(failed) == 0 || r.stopped {
		return
	}
	if !r.cfg.OnError.Skip {
		r.fail(failed[0])
		return
	}
	n := int64(len(failed))
	r.failed += n
	o.stat.Failed += n
	if r.cfg.OnError.DeadLetter != nil {
		for _, f := range failed {
			r.cfg.OnError.DeadLetter(f)
		}
	}
	if err := r.tooMany(); err != nil {
		r.fail(fmt.Errorf("%w: the last one: %w", err, failed[len(failed)-1]))
	}
}

func (r *run) tooMany() error {
	on, read := r.cfg.OnError, r.readRows()
	if on.MaxRows > 0 && r.failed > on.MaxRows {
		return fmt.Errorf("%w: %d, and no more than %d are allowed", ErrTooManyFailures, r.failed, on.MaxRows)
	}
	if on.MaxFraction > 0 && read >= 1000 && float64(r.failed) > on.MaxFraction*float64(read) {
		return fmt.Errorf("%w: %d of %d read, and no more than %.3g %% are allowed", ErrTooManyFailures, r.failed, read, 100*on.MaxFraction)
	}
	return nil
}

// readRows is how many rows the sources have given.
func (r *run) readRows() (n int64) {
	for _, o := range r.ops {
		if o.isSource() {
			n += o.stat.OutRows
		}
	}
	return n
}

// fail ends the run with its first error. Every operator stops; what runs is cancelled and
// awaited.
func (r *run) fail(err error) {
	if r.stopped {
		return
	}
	r.err, r.stopped = err, true
	r.cancel(err)
	r.stopUpstream(r.all)
}

// accept takes over the blocks that a task has yielded.
func (r *run) accept(t *task) {
	blocks := t.yielded
	t.yielded = nil
	for _, b := range blocks {
		if b.places != nil {
			t.window.keep(b)
			continue
		}
		b.owner.stat.OutRows += int64(b.batch.NumRows())
		b.owner.stat.OutBytes += b.bytes
		r.deliver(t, b)
	}
}

// book counts what a task has done since it started.
func (o *operator) book(ev event) {
	o.stat.Running--
	o.stat.Busy += ev.last
	o.stat.Blocked += ev.wait
	o.stat.InRows += int64(ev.rows)
	o.addTurns(ev.turns)
}

func (r *run) taskDone(ev event) {
	t, o := ev.task, ev.op
	o.book(ev)
	if auto, ok := o.cut.(*autoCutter); ok {
		auto.observe(ev.rows, ev.busy)
	}
	for _, b := range t.yielded { // yielded, never accepted: the run was cancelled
		b.batch.Release()
	}
	t.yielded = nil
	r.countFailures(o, ev.failed)
	if t.window == nil {
		t.failed = append(t.failed, ev.failed...)
	}
	switch {
	case ev.err == nil || o.stopped:
	case errors.Is(ev.err, stage.ErrDone):
		r.stopUpstream(o.up)
		o.inputEnded = true
		if o == r.sink { // it wants nothing of what it has in line either
			r.stop(o)
		}
	default:
		r.fail(ev.err)
	}
	r.donePicks(t)
	t.done = true
	delete(o.tasks, t.id)
	r.push(sched.Event{Kind: sched.Done, Op: o.index, Task: t.id, Seconds: ev.last.Seconds()})
	if t.finish && o.phase < finishing { // a worker of a pool that is not needed any more
		o.workers[t.worker].close()
	}
	r.advance(o)
}

// doneWith counts rows of a block as done; with the last of them the block goes.
func (r *run) doneWith(b *block, rows int) {
	if b.left -= rows; b.left > 0 {
		return
	}
	b.batch.Release()
	for _, p := range b.made {
		r.doneWith(p.block, p.rows())
	}
	if b.bytes > 0 {
		r.push(sched.Event{Kind: sched.Free, Op: b.owner.index, Bytes: b.bytes})
	}
}

func (r *run) finished() bool {
	for _, o := range r.ops {
		if o.phase != ended || o.alive > 0 {
			return false
		}
	}
	return true
}
