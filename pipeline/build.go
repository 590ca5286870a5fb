package pipeline

import (
	"context"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/batcher"
	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

// sourceWindow bounds how many splits are read or buffered ahead of the oldest one.
const sourceWindow = 4

// build makes the operators and the scheduler of a plan, and starts its goroutines.
func (r *run) build() {
	src := r.addOperator("read", "source", nil)
	last := src
	for i := range r.plan.steps {
		s := &r.plan.steps[i]
		if s.bound == nil {
			last.inline = append(last.inline, inlineStep{step: s, done: false})
			continue
		}
		o := r.addOperator(s.name, "stage", s)
		o.reads, o.layout = readsOf(s.in, s.bound.Need), layoutOf(s)
		if p := s.bound.Need.Batch; p.MaxRows > 0 || p.MaxBytes > 0 || p.MaxCost > 0 {
			p.LookAheadRows = 0       // rows stay in the order of arrival
			o.cut, _ = batcher.New(p) // checked when the plan was bound
		}
		last.next, last = o, o
	}
	r.sink = r.addOperator("write", "sink", nil)
	last.next = r.sink
	r.sched = sched.New(r.schedule())
	r.startSource(src)
	for _, o := range r.ops[1 : len(r.ops)-1] {
		r.startStage(o)
	}
	r.startSink()
}

func (r *run) addOperator(name, kind string, s *step) *operator {
	o := &operator{
		index: len(r.ops), name: name, step: s,
		tasks: map[int64]*task{}, order: map[int64]*task{}, blocks: map[int64]*block{},
		stat: OperatorStats{Name: name, Kind: kind, Counters: map[stage.Counter]int64{}, Throttled: map[string]int64{}},
	}
	r.ops = append(r.ops, o)
	return o
}

// schedule describes the operators to the scheduler.
func (r *run) schedule() sched.Config {
	cfg := sched.Config{Memory: r.ledger.forBlocks(), CPUs: float64(r.cfg.CPUs)}
	for _, o := range r.ops {
		d := sched.Op{Name: o.name, CPU: 1, Output: true, Estimate: r.cfg.BlockBytes}
		switch {
		case o == r.ops[0]:
			d.Workers, d.Generator, d.Window = r.readers(), true, int64(sourceWindow*r.readers())
		case o == r.sink:
			d.Workers, d.Output = 1, false
		default:
			need := o.step.bound.Need
			d.Workers, d.CPU, d.Calls = r.poolSize(o), need.CPUTokens(), need.Calls()
			d.Generator = need.Rows == stage.Many
			d.Window = int64(4 * r.poolSize(o) * d.Calls)
			d.Estimate = r.cfg.BlockBytes / 4
		}
		d.CPU = min(d.CPU, float64(r.cfg.CPUs)) // a stage that asks for more than there is gets all
		cfg.Ops = append(cfg.Ops, d)
	}
	return cfg
}

func (r *run) readers() int { return max(r.cfg.CPUs, 2) }

// poolSize is how many workers a stage gets.
func (r *run) poolSize(o *operator) int {
	pool := o.step.bound.Need.Workers
	switch {
	case pool.Max > 0:
		return pool.Max
	case pool.Min > 0:
		return max(pool.Min, r.cfg.CPUs)
	}
	return r.cfg.CPUs
}

// operatorContext is the context of an operator's workers: it ends with the run, or when
// the operator is stopped.
func (r *run) operatorContext(o *operator) context.Context {
	ctx, cancel := context.WithCancel(r.ctx)
	o.stopWork = cancel
	return ctx
}

// env is what the workers of an operator are lent. reserve waits on behalf of a task.
func (r *run) env(o *operator, purpose stage.Purpose) stage.Env {
	mem := &allocator{mem: memory.DefaultAllocator, ledger: r.ledger, purpose: purpose}
	return stage.Env{
		Alloc:  func(int) memory.Allocator { return mem },
		Charge: r.ledger.charge,
		Count:  func(c stage.Counter, n int64) { o.counters.add(c, n) },
		Seed:   r.cfg.Seed + uint64(o.index)*0x9e3779b97f4a7c15,
		Log:    r.cfg.Log.With("operator", o.name),
	}
}

// projection is the columns that a stage reads, made from a record without copying.
type projection struct {
	schema *arrow.Schema
	cols   []column // nil with a nil schema: the whole record
}

func readsOf(in *arrow.Schema, need stage.Need) projection {
	if need.Reads == nil {
		return projection{}
	}
	cols, _ := selectColumns(in, need.Reads) // checked when the plan was bound
	return projection{projectedSchema(in, cols), cols}
}

// of gives the columns of rec, owned by the caller.
func (p projection) of(rec arrow.Record) arrow.Record {
	if p.schema == nil {
		rec.Retain()
		return rec
	}
	return project(rec, p.schema, p.cols)
}
