package pipeline

import (
	"context"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

// sourceWindow bounds how many splits are read or buffered ahead of the oldest one.
const sourceWindow = 4

// build makes the operators and the scheduler of a plan, and starts its goroutines.
func (r *run) build() {
	r.all = &upstream{}
	last := r.chain(r.plan.root)
	r.sink = r.addOperator("write", kindSink, nil)
	r.sink.up = last.up
	last.next = r.sink
	r.all.ops = r.ops
	r.sched = sched.New(r.schedule())
	for _, j := range r.all.junctions {
		j.pause(r)
	}
	for _, o := range r.ops {
		switch {
		case o == r.sink:
			r.startSink()
		case o.isSource():
			r.startSource(o)
		default:
			r.startStage(o)
		}
	}
}

// chain makes the operators of a part of a plan and gives the outlet where its rows come out.
func (r *run) chain(n *planNode) *outlet {
	if n.join != noJoin {
		return r.addJunction(n)
	}
	if n.scan != nil {
		o := r.addOperator(n.name, kindSource, n)
		o.place = n.place
		for _, other := range r.ops[:o.index] {
			if other.isSource() {
				o.source++
			}
		}
		o.out.up = &upstream{ops: []*operator{o}, last: []*operator{o}}
		return &o.out
	}
	in := r.chain(n.in[0])
	if n.step.bound == nil {
		in.inline = append(in.inline, inlineStep{step: n.step})
		return in
	}
	o := r.addOperator(n.name, kindStage, n)
	o.setStep(n.step)
	o.stat.GPU = n.step.bound.Need.GPU
	if n.step.auto {
		o.cut = newAutoCutter(r.ledger.forBlocks())
	} else {
		o.cut, o.packs = cutterOf(n.step.bound.Need, r.cfg.MemoryLimit), packs(n.step.bound.Need)
	}
	o.fuse(n.fused)
	in.next, o.up = o, in.up
	o.out.up = &upstream{ops: append(slices.Clone(in.up.ops), o), last: []*operator{o}, junctions: in.up.junctions}
	return &o.out
}

func (o *operator) setStep(s *step) {
	o.step, o.place = s, s.place
	o.reads, o.layout = readsOf(s.in, s.bound.Need), layoutOf(s)
}

// fuse makes the operators of stages that run within the calls of o.
func (o *operator) fuse(steps []*step) {
	var shape *step
	for _, s := range steps {
		if s.bound == nil {
			shape = s
			continue
		}
		f := &operator{index: o.index, name: s.name, shape: shape, stat: OperatorStats{Name: s.name, Kind: kindStage}}
		f.setStep(s)
		o.fused = append(o.fused, f)
		shape = nil
	}
}

func (r *run) addJunction(n *planNode) *outlet {
	j := &junction{kind: n.join, schema: n.schema}
	j.out.up = &upstream{}
	for port, from := range n.in {
		in := r.chain(from)
		in.next, in.port = j, port
		j.sides = append(j.sides, &side{up: in.up})
		j.out.up.ops = append(j.out.up.ops, in.up.ops...)
		j.out.up.last = append(j.out.up.last, in.up.last...)
		j.out.up.junctions = append(j.out.up.junctions, in.up.junctions...)
	}
	j.out.up.junctions = append(j.out.up.junctions, j)
	r.all.junctions = append(r.all.junctions, j)
	return &j.out
}

func (r *run) addOperator(name, kind string, n *planNode) *operator {
	o := &operator{
		index: len(r.ops), name: name, node: n,
		tasks: map[int64]*task{}, order: map[int64]*task{}, blocks: map[int64]*block{},
		stat: OperatorStats{Name: name, Kind: kind, Throttled: map[string]int64{}},
	}
	r.ops = append(r.ops, o)
	return o
}

// schedule describes the operators to the scheduler.
func (r *run) schedule() sched.Config {
	cfg := sched.Config{Memory: r.ledger.forBlocks(), CPUs: float64(r.cfg.CPUs), GPUs: len(r.cfg.GPUs)}
	if r.cfg.Admission == ByRate {
		cfg.Admission = sched.ByRate
	}
	for _, o := range r.ops {
		d := sched.Op{Name: o.name, CPU: 1, Output: true, Estimate: r.cfg.BlockBytes}
		switch {
		case o.isSource():
			d.Workers, d.Generator, d.Window = r.readers(), true, int64(sourceWindow*r.readers())
		case o == r.sink:
			d.Workers, d.Output = 1, false
		default:
			need := o.step.bound.Need
			d.Workers, d.CPU, d.Calls = r.poolSize(o), need.CPUTokens(), need.Calls()
			if o.pooled() {
				d.Workers, d.Max, d.GPU = max(need.Workers.Min, 1), r.poolSize(o), need.GPU
			}
			d.Generator = need.Rows == stage.Many || slices.ContainsFunc(o.fused, func(f *operator) bool { return f.step.bound.Need.Rows == stage.Many })
			if d.Sets, d.Window = o.packs, int64(4*r.poolSize(o)*d.Calls); o.packs {
				d.Window = windowsAhead
			}
			d.Estimate = r.cfg.BlockBytes / 4
		}
		d.Ordered = !r.cfg.Unordered
		if o.up != nil {
			for _, from := range o.up.last {
				d.In = append(d.In, from.index)
			}
		}
		d.CPU = min(d.CPU, float64(r.cfg.CPUs)) // a stage that asks for more than there is gets all
		cfg.Ops = append(cfg.Ops, d)
	}
	return cfg
}

func (r *run) readers() int { return max(r.cfg.CPUs, 2) }

// poolSize is how many workers a stage gets.
func (r *run) poolSize(o *operator) int {
	need := o.step.bound.Need
	switch pool := need.Workers; {
	case pool.Max > 0:
		return pool.Max
	case need.GPU > 0:
		return max(pool.Min, len(r.cfg.GPUs)*int(1/need.GPU))
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
		Note:   o.notes.add,
		Seed:   r.cfg.Seed + uint64(o.place)*0x9e3779b97f4a7c15,
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
