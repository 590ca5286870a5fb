package stagetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// form is how a batch is made of the input's rows.
type form int

const (
	fresh  form = iota // a record of its own
	sliced             // a slice out of a longer record
	views              // picks from several records
)

func (f form) String() string { return [...]string{"records", "slices", "views"}[f] }

// scenario is one life of one or more workers.
type scenario struct {
	spans   []span
	form    form
	workers int // 0: 1
	calls   int // Process calls at once on each worker; 0: 1
	// onEmit is called for each emit with its number over the whole run, from 1. What
	// it returns is what emit returns.
	onEmit func(n int) error
	// mayFail: Process may return an error, and then the run ends.
	mayFail bool
	// retry: Process is called again behind what is finished when emit failed.
	retry  bool
	failAt int // the reservation that fails; 0: none
	ctx    context.Context
}

// outcome is what a run gave, by row of the input.
type outcome struct {
	rows     [][]rowAt // copies
	failed   []bool
	loose    []rowAt // from Finish
	single   bool    // there was one worker
	emits    int
	reserves int
	err      error // of Process or Finish, where it may fail
}

// record is all rows that came out, in the order of the input, and behind them those
// that Finish gave if these are asked for.
func (o *outcome) record(schema *arrow.Schema, loose bool) (arrow.Record, error) {
	all := slices.Concat(o.rows...)
	if loose {
		all = append(all, o.loose...)
	}
	return gather(heap, schema, all)
}

// held is an emitted record, and a copy of what it was when it came.
type held struct{ rec, copy arrow.Record }

// runner is a run under way.
type runner struct {
	s     *stageCheck
	sc    scenario
	probe *probe
	inMem *probe // where the input lies

	mu   sync.Mutex
	out  *outcome
	held []held
}

// run plays a scenario, and checks everything that holds in all of them.
func (s *stageCheck) run(what string, sc scenario) *outcome {
	s.t.Helper()
	if sc.ctx == nil {
		sc.ctx = context.Background()
	}
	n := s.reads.NumRows()
	r := &runner{
		s: s, sc: sc, probe: newProbe(s.checker, s.gives.NumFields()), inMem: newProbe(s.checker, -1),
		out: &outcome{single: sc.workers <= 1, rows: make([][]rowAt, n), failed: make([]bool, n)},
	}
	r.probe.failAt = sc.failAt
	err := s.call(what, func() error { return r.live() })
	s.must(r.releaseHeld(), "%s", what)
	r.probe.settle(what)
	r.inMem.settle(what + ": the input")
	s.that(err == nil || sc.mayFail, "%s: %v", what, err)
	r.out.err, r.out.reserves = err, r.probe.reserves()
	return r.out
}

// live opens the workers, deals the batches out to them, and closes them.
func (r *runner) live() error {
	workers := make([]stage.Worker, max(r.sc.workers, 1))
	errs := make([]error, len(workers))
	var opening sync.WaitGroup
	for i := range workers {
		opening.Go(func() {
			errs[i] = recovered(func() (err error) {
				workers[i], err = r.s.bound.Open(r.sc.ctx, r.probe.env(r.s.opt.Env))
				return err
			})
		})
	}
	opening.Wait()
	err := errors.Join(errs...)
	if err == nil {
		err = r.feed(workers)
	}
	for i, w := range workers {
		if errs[i] == nil {
			err = errors.Join(err, closeTwice(w))
		}
	}
	return err
}

func (r *runner) feed(workers []stage.Worker) error {
	calls := max(r.sc.calls, 1)
	next := make(chan span, len(r.sc.spans))
	for _, sp := range r.sc.spans {
		next <- sp
	}
	close(next)
	errs := make([]error, len(workers)*calls)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			errs[i] = recovered(func() error { return r.work(workers[i/calls], next) })
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, w := range workers {
		if err := r.finish(w); err != nil {
			return err
		}
	}
	return nil
}

// work feeds one worker until the batches have run out.
func (r *runner) work(w stage.Worker, next <-chan span) error {
	for sp := range next {
		err := r.process(w, sp)
		if errors.Is(err, stage.ErrDone) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// process gives a batch to a worker, checks what it does with it, and that the batch is
// untouched afterwards.
func (r *runner) process(w stage.Worker, sp span) error {
	in, index, err := r.batch(w, sp)
	if err != nil {
		return breach{err}
	}
	before, err := copyBatch(in)
	if err != nil {
		return breach{err}
	}
	d := &delivery{need: r.s.bound.Need, gives: r.s.gives, seen: make([]fate, sp.to-sp.from)}
	err = r.processBatch(w, in, d, index)
	if changed := sameBatch(in, before); changed != nil {
		return breachf("the batch was changed or released: %w", changed)
	}
	in.Release()
	var b breach
	if errors.As(err, &b) || err != nil && !errors.Is(err, stage.ErrDone) && !(r.sc.retry && errors.Is(err, errEmit)) {
		return err
	}
	if err != nil && !errors.Is(err, stage.ErrDone) {
		r.commit(d, int(d.through), index)
		return r.process(w, span{sp.from + int(d.through), sp.to})
	}
	r.commit(d, sp.to-sp.from, index)
	return err
}

func (r *runner) processBatch(w stage.Worker, in stage.Batch, d *delivery, index []int) error {
	home := goroutine()
	var emitErr error
	err := w.Process(r.sc.ctx, in, func(out stage.Output) error {
		fault := d.take(out)
		if goroutine() != home {
			fault = errors.Join(fault, errors.New("emit was called from another goroutine than Process"))
		}
		if emitErr != nil {
			fault = errors.Join(fault, fmt.Errorf("emit was called again after it returned %q", emitErr))
		}
		if emitErr = r.emitted(d, out, fault); emitErr != nil {
			return emitErr
		}
		d.through = max(d.through, out.Through)
		return nil
	})
	if len(d.faults) > 0 {
		return breach{errors.Join(d.faults...)}
	}
	if emitErr != nil && !errors.Is(err, emitErr) {
		return breachf("emit returned %q, and Process %v: it has to return emit's error, wrapped", emitErr, err)
	}
	if err == nil || errors.Is(err, stage.ErrDone) {
		if fault := d.done(); fault != nil {
			return breachf("Process returned %v: %w", err, fault)
		}
	}
	return err
}

// emitted takes the record over, and asks the scenario what emit returns.
func (r *runner) emitted(d *delivery, out stage.Output, fault error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if fault != nil && d != nil {
		d.faults = append(d.faults, fault)
	}
	var copied arrow.Record
	if out.Record != nil {
		c, err := copyRecord(heap, out.Record)
		if err != nil {
			return breach{err}
		}
		copied = c
		r.held = append(r.held, held{out.Record, c})
	}
	r.out.emits++
	if r.sc.onEmit != nil {
		if err := r.sc.onEmit(r.out.emits); err != nil {
			return err
		}
	}
	if d != nil && fault == nil {
		d.emitted = append(d.emitted, stage.Output{Record: copied, Parent: out.Parent, Failed: out.Failed})
	}
	return nil
}

// commit books what became of the first n rows of a batch; the rest is dropped.
func (r *runner) commit(d *delivery, n int, index []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, out := range d.emitted {
		for i, row := range parents(out) {
			if int(row) < n {
				r.out.rows[index[row]] = append(r.out.rows[index[row]], rowAt{out.Record, i})
			}
		}
		for _, f := range out.Failed {
			if int(f.Row) < n {
				r.out.failed[index[f.Row]] = true
			}
		}
	}
}

func (r *runner) finish(w stage.Worker) error {
	rows := r.s.bound.Need.Rows
	var fault error
	var emitErr error
	err := w.Finish(r.sc.ctx, func(out stage.Output) error {
		if out.Record != nil && out.Record.NumRows() > 0 && (rows == stage.OneToOne || rows == stage.Subset) {
			fault = fmt.Errorf("Finish gave %d rows of a %s stage: a nil return of Process says that all rows are finished", out.Record.NumRows(), rows)
		}
		if out.Record != nil {
			fault = errors.Join(fault, diffSchemas(r.s.gives, out.Record.Schema()))
		}
		if len(out.Failed) > 0 || len(out.Parent) > 0 {
			fault = errors.Join(fault, errors.New("Finish speaks of rows, and there is no batch"))
		}
		if emitErr = r.emitted(nil, out, nil); emitErr == nil && out.Record != nil && fault == nil {
			last := r.held[len(r.held)-1].copy
			for i := range int(last.NumRows()) {
				r.out.loose = append(r.out.loose, rowAt{last, i})
			}
		}
		return emitErr
	})
	if fault != nil {
		return breach{fault}
	}
	if emitErr != nil && !errors.Is(err, emitErr) {
		return breachf("emit returned %q, and Finish %v", emitErr, err)
	}
	return err
}

// releaseHeld releases what was emitted, which by now has outlived batches and workers.
func (r *runner) releaseHeld() error {
	for _, h := range r.held {
		if err := intact(h.copy, h.rec); err != nil {
			return fmt.Errorf("an emitted record was changed or released: %w", err)
		}
	}
	for _, h := range r.held {
		h.rec.Release()
	}
	return nil
}

// goroutine is the number of the running goroutine, as a stack trace shows it.
func goroutine() string {
	buf := make([]byte, 64)
	name, _, _ := strings.Cut(string(buf[:runtime.Stack(buf, false)]), "[")
	return name
}
