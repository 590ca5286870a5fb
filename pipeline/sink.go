package pipeline

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

// startSink gives the sink its one worker, which runs on the caller's goroutine.
func (r *run) startSink() {
	o := r.sink
	r.sinkCtx = r.operatorContext(o)
	o.workers = []*worker{{tasks: make(chan *task, 1)}}
	o.stat.Workers = 1
	o.lives.change(1, time.Now())
	r.push(sched.Event{Kind: sched.WorkerUp, Op: o.index})
}

// runSink consumes what comes out, in order, until the loop closes the sink's tasks.
func (r *run) runSink() {
	o := r.sink
	for t := range o.workers[0].tasks {
		r.sinkTask(&call{r: r, op: o, t: t, started: time.Now()})
	}
	if r.err == nil {
		r.err = r.eat.finish(r.ctx)
	}
	if r.err != nil { // what is left is cleared away even though the run was cancelled
		if err := r.eat.abort(context.WithoutCancel(r.ctx)); err != nil {
			r.err = errors.Join(r.err, err)
		}
	}
}

func (r *run) sinkTask(c *call) {
	returned := false
	defer func() {
		if !returned {
			r.unwind(c)
		}
	}()
	it := item{group: c.t.group, failed: c.t.before}
	for _, p := range c.t.picks {
		it.batch = p.block.batch
		c.rows += p.rows()
	}
	err := r.sinkCtx.Err()
	if err == nil {
		err = r.eat.consume(r.sinkCtx, it)
	}
	returned = true
	c.done(err)
}

var errUnwound = errors.New("pipeline: the consumer did not return")

// unwind ends a run whose consumer panics or ends its goroutine, such as the body of a loop,
// before that goes on in the caller.
func (r *run) unwind(c *call) {
	c.done(errUnwound)
	for t := range r.sink.workers[0].tasks {
		(&call{r: r, op: r.sink, t: t, started: time.Now()}).done(nil)
	}
	r.wg.Wait()
	r.stats.stop(r)
}

// writer is the consumer of Dataset.Write: it writes each group's rows to a part of the sink,
// and each group's failed rows to one beside it.
type writer struct {
	sink   stage.Sink
	env    stage.Env
	parts  []stage.Part
	whole  map[stage.PartID]bool // parts that the sink has finished, now or in an earlier run
	rows   stage.PartWriter
	errors stage.PartWriter
	group  int64
	failed []*stage.RowError // of the group, to be written
	log    *deadLetters      // nil: the sink cannot hold any
}

func (w *writer) consume(ctx context.Context, it item) (err error) {
	defer func() { err = w.named(err) }()
	defer func() {
		if p := recover(); p != nil {
			w.env.Logger().Error("sink panicked", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return w.write(ctx, it)
}

// named says which sink an error is of.
func (w *writer) named(err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", w.sink.ID().Name, err)
	}
	return err
}

func (w *writer) write(ctx context.Context, it item) error {
	if it.group != w.group {
		if err := w.closeParts(ctx); err != nil {
			return err
		}
		w.group = it.group
	}
	if err := w.reject(ctx, it.failed, failuresAtOnce); err != nil {
		return err
	}
	rec := it.batch
	if len(rec.Parts) == 0 {
		return nil
	}
	if w.rows == nil {
		var err error
		if w.rows, err = w.open(ctx, stage.PartID{Group: w.group}); err != nil {
			return err
		}
	}
	return w.rows.Write(ctx, rec.Record())
}

// open opens a part, which is not whole from then on.
func (w *writer) open(ctx context.Context, id stage.PartID) (stage.PartWriter, error) {
	delete(w.whole, id)
	return w.sink.OpenPart(ctx, w.env, id)
}

// reject takes failed rows, and writes them as dead letters, where the sink can hold them: full
// ones of so many, whatever pieces they come in, so that the file does not hang on those.
func (w *writer) reject(ctx context.Context, failed []*stage.RowError, full int) error {
	if w.log == nil {
		return nil
	}
	w.failed = append(w.failed, failed...)
	for len(w.failed) >= full && len(w.failed) > 0 {
		n := min(len(w.failed), failuresAtOnce)
		if err := w.bury(ctx, w.failed[:n]); err != nil {
			return err
		}
		w.failed = w.failed[n:]
	}
	return nil
}

// bury writes dead letters.
func (w *writer) bury(ctx context.Context, failed []*stage.RowError) error {
	if w.errors == nil && w.log != nil {
		part, err := w.open(ctx, stage.PartID{Group: w.group, Errors: true})
		if errors.Is(err, errors.ErrUnsupported) {
			w.log = nil
		} else if err != nil {
			return err
		}
		w.errors = part
	}
	if w.log == nil {
		return nil
	}
	rec := w.log.record(failed)
	defer rec.Release()
	return w.errors.Write(ctx, rec)
}

func (w *writer) closeParts(ctx context.Context) error {
	if err := w.reject(ctx, nil, 1); err != nil {
		return err
	}
	for _, p := range []*stage.PartWriter{&w.rows, &w.errors} {
		if *p == nil {
			continue
		}
		part, err := (*p).Close(ctx)
		if err != nil {
			return err
		}
		*p = nil
		w.parts = append(w.parts, part)
		w.whole[part.ID] = true
	}
	return nil
}

// finish closes the last parts; a job without rows still gets one part, for its schema.
func (w *writer) finish(ctx context.Context) error {
	return w.named(w.closeAll(ctx))
}

func (w *writer) closeAll(ctx context.Context) error {
	if err := w.closeParts(ctx); err != nil {
		return err
	}
	for _, p := range w.parts {
		if !p.ID.Errors {
			return nil
		}
	}
	part, err := w.open(ctx, stage.PartID{})
	if err != nil {
		return err
	}
	w.rows = part
	return w.closeParts(ctx)
}

// leave ends a job that failed: with its finished parts for a later run, where there are any
// and the sink can keep them.
func (w *writer) leave(ctx context.Context) error {
	if k, ok := w.sink.(stage.Keeper); ok && len(w.whole) > 0 {
		return k.Keep(ctx)
	}
	return w.sink.Abort(ctx)
}

// abort drops the parts that are still open.
func (w *writer) abort(ctx context.Context) error {
	var errs []error
	for _, p := range []stage.PartWriter{w.rows, w.errors} {
		if p != nil {
			errs = append(errs, p.Abort(ctx))
		}
	}
	w.rows, w.errors = nil, nil
	return errors.Join(errs...)
}
