package pipeline

import (
	"context"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/batcher"
	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

// operator is a running step that has workers: a source, a stage, the sink.
type operator struct {
	index    int
	name     string
	node     *planNode   // nil for the sink
	step     *step       // nil for a source and the sink
	place    int         // in the plan as it was written
	fused    []*operator // stages that work on this one's blocks within its calls; they have its index, and no workers of their own
	shape    *step       // of a fused stage: the choice of columns before it; nil: none
	up       *upstream   // of what it reads
	out      outlet
	workers  []*worker
	alive    int   // workers that have not ended
	unused   []int // workers of a pool that were to be opened when nothing was left for them
	tasks    map[int64]*task
	nextID   int64
	stopped  bool
	stat     OperatorStats
	lives    lives
	counters counters
	actors   actors
	notes    notes

	// of a source
	source     int32         // which one of the plan
	splitRoom  chan struct{} // how many splits the lister may be ahead
	groupBytes int64         // of the splits of the group that is being made

	// order: outputs leave in the order of the tasks
	order map[int64]*task // tasks that are not yet delivered
	head  int64           // the oldest of them

	// input
	reads      projection
	layout     []layoutColumn
	cut        cutter           // nil: blocks are taken as they come
	packs      bool             // batches are cut from windows
	blocks     map[int64]*block // in cut, by number
	blockID    int64
	nextSet    int64 // of tasks, where the scheduler is told of sets
	group      int64
	failed     []*stage.RowError // that stand before the next task
	inputEnded bool
	phase      phase
	ctx        context.Context // of a stage's workers
	stopWork   func()          // cancels it
}

// phase is how far an operator is. Phases only ever go up.
type phase uint8

const (
	working   phase = iota
	flushed         // no more input: what was left of it became tasks
	finishing       // every batch is done, and Finish was called for
	ended           // nothing more will come
)

// worker is one of an operator's workers, seen from the loop.
type worker struct {
	tasks   chan *task
	device  int  // ordinal of the one that it has a share of
	closing bool // it is asked for what it still holds, and then goes
	closed  bool // tasks is closed
}

// close ends a worker once it has done what it was given.
func (w *worker) close() {
	if !w.closed {
		w.closed = true
		close(w.tasks)
	}
}

// task is one turn of a worker: a split to read, a batch to process, a block to consume, or
// the call of Finish.
type task struct {
	op      *operator
	id      int64
	group   int64
	grant   chan struct{} // one place: the scheduler lets a waiting task go on
	split   *stage.Split
	picks   []pick
	window  *window // that its rows are of; nil: the rows that it makes go on as they are
	bytes   int64   // that it reads
	finish  bool
	worker  int // that is called, of a finish
	started bool
	done    bool
	yielded []*block          // handed over, not yet accepted
	out     []*block          // accepted, but older tasks come first
	before  []*stage.RowError // failed further up, and stand before this task's rows
	failed  []*stage.RowError // behind all that was yielded
	after   []*stage.RowError // failed further up, and stand behind the last batch of the group, which this one is
}

// pick is some rows of a block.
type pick struct {
	block    *block
	from, to int     // rows [from, to), where at is nil
	at       []int32 // the rows, ascending; nil: a range
}

func (p pick) rows() int {
	if p.at != nil {
		return len(p.at)
	}
	return p.to - p.from
}

// row is the row of the block that is row i of the pick.
func (p pick) row(i int) int {
	if p.at != nil {
		return int(p.at[i])
	}
	return p.from + i
}

// origin is that of the picked rows.
func (p pick) origin() stage.Origin {
	if p.at != nil {
		return p.block.batch.Origin().Take(p.at)
	}
	return p.block.batch.Origin().Slice(p.from, p.to)
}

// outlet is where blocks leave an operator or a junction. The steps between it and the next one
// that only choose columns or count rows are inline: they happen as a block passes.
type outlet struct {
	inline  []inlineStep
	next    target
	port    int
	up      *upstream // what makes the blocks, the owner included
	stopped bool      // what comes out is not wanted any more
	ended   bool      // next was told that no more comes
}

// target is what blocks go to: an operator or a junction.
type target interface {
	input(r *run, port int, b *block)
	reject(r *run, port int, group int64, failed []*stage.RowError)
	end(r *run, port int)
}

// upstream is a part of the plan from its sources on.
type upstream struct {
	ops       []*operator
	last      []*operator // whose blocks come out
	junctions []*junction
}

// inlineStep is a step without workers.
type inlineStep struct {
	step *step
	seen int64 // rows, of a limit
}

func (o *operator) isSource() bool { return o.node != nil && o.node.scan != nil }

// calls is how many tasks one worker runs at once.
func (o *operator) calls() int {
	if o.step == nil {
		return 1
	}
	return o.step.bound.Need.Calls()
}

// addWorkers makes the places of n workers, before any of them runs.
func (o *operator) addWorkers(n, calls int) {
	for range n {
		o.workers = append(o.workers, &worker{tasks: make(chan *task, calls)})
	}
	o.alive += n
}

func (r *run) newTask(o *operator, group int64) *task {
	t := &task{op: o, id: o.nextID, group: group, grant: make(chan struct{}, 1), before: o.failed}
	o.failed = nil
	o.nextID++
	o.tasks[t.id], o.order[t.id] = t, t
	return t
}

func (r *run) ready(t *task, ev sched.Event) {
	ev.Kind, ev.Op, ev.Task, t.bytes = sched.Ready, t.op.index, t.id, ev.Bytes
	if t.window != nil {
		ev.Set = t.window.set
	} else { // a set of its own
		ev.Set = t.op.nextSet
		t.op.nextSet++
	}
	r.push(ev)
}

// replace puts a record in the place of the block's own, and takes it over.
func (b *block) replace(rec arrow.Record) {
	b.batch.Parts[0].Record.Release()
	b.batch.Parts[0].Record = rec
}

// deliver passes a block on, or keeps it until its turn.
func (r *run) deliver(t *task, b *block) {
	if !r.cfg.Unordered && t.id != t.op.head {
		t.out = append(t.out, b)
		return
	}
	r.flushBefore(t)
	r.forward(&t.op.out, b)
}

// flushBefore passes the failed rows on that stand before a task's own output.
func (r *run) flushBefore(t *task) {
	if len(t.before) > 0 && t.op != r.sink { // which has consumed them
		r.forwardFailed(&t.op.out, t.group, t.before)
		t.before = nil
	}
}

// advance passes on whatever has its turn, and moves the head over the tasks that are done.
func (r *run) advance(o *operator) {
	for {
		t, ok := o.order[o.head]
		if !ok {
			return
		}
		r.flushBefore(t)
		out := t.out
		t.out = nil
		for _, b := range out {
			r.forward(&o.out, b)
		}
		if !t.done {
			return
		}
		r.forwardFailed(&o.out, t.group, t.failed)
		r.forwardFailed(&o.out, t.group, t.after)
		delete(o.order, o.head)
		o.head++
	}
}

// forward takes a block through the inline steps to what comes next.
func (r *run) forward(out *outlet, b *block) {
	failed := b.failed
	b.failed = nil
	if out.stopped || out.next == nil {
		r.doneWith(b, b.left)
		return
	}
	some, last := out.pass(b)
	if some {
		out.next.input(r, out.port, b)
	} else {
		r.doneWith(b, b.left)
	}
	r.forwardFailed(out, b.group, failed)
	if last {
		r.stopUpstream(out.up)
		r.endOutlet(out)
	}
}

func (r *run) forwardFailed(out *outlet, group int64, failed []*stage.RowError) {
	if len(failed) > 0 && !out.stopped && out.next != nil {
		out.next.reject(r, out.port, group, failed)
	}
}

// endOutlet tells what comes next that no more will.
func (r *run) endOutlet(out *outlet) {
	if !out.ended && out.next != nil {
		out.ended = true
		out.next.end(r, out.port)
	}
}

// pass applies the inline steps. It says whether any row is left, and whether these are the
// last that a limit lets through.
func (out *outlet) pass(b *block) (some, last bool) {
	for i := range out.inline {
		in := &out.inline[i]
		rec := b.batch.Record()
		if in.step.cols != nil {
			b.replace(project(rec, in.step.out, in.step.cols))
			continue
		}
		n := min(rec.NumRows(), *in.step.limit-in.seen)
		in.seen += n
		last = last || in.seen == *in.step.limit
		if n == 0 {
			return false, last
		}
		if n < rec.NumRows() {
			b.replace(rec.NewSlice(0, n))
			b.batch.Parts[0].Origin = b.batch.Parts[0].Origin.Slice(0, int(n))
			b.left = int(n)
		}
	}
	return true, last
}

func (o *operator) end(*run, int) { o.inputEnded = true }

// reject takes rows that failed further up: they stand before whatever comes next.
func (o *operator) reject(r *run, _ int, group int64, failed []*stage.RowError) {
	r.turnTo(o, group)
	o.failed = append(o.failed, failed...)
	if o == r.sink { // it has no batches to cut: it takes them as they come
		r.ready(r.newTask(o, group), sched.Event{})
	}
}

// input takes a block into an operator's queue.
func (o *operator) input(r *run, _ int, b *block) {
	if o.stopped {
		r.doneWith(b, b.left)
		return
	}
	r.turnTo(o, b.group)
	if o.cut == nil {
		t := r.newTask(o, b.group)
		t.picks = []pick{{block: b, to: b.left}}
		r.ready(t, sched.Event{Bytes: b.bytes})
		return
	}
	b.uncut = b.left
	o.blocks[o.blockID] = b
	in := batcher.Block{ID: o.blockID, Rows: b.left, Bytes: b.bytes, Costs: o.costs(b.batch.Record())}
	o.blockID++
	r.batches(o, o.cut.push(b, in))
}

// turnTo notes the group of what comes next. What an operator still has to say at its end is of
// the last one.
func (r *run) turnTo(o *operator, group int64) {
	if group != o.group {
		r.flush(o)
		r.endGroup(o)
		o.group = group
	}
}

// endGroup passes on the failed rows that stand behind the last batch of a group, so that they
// don't become the first of the next one.
func (r *run) endGroup(o *operator) {
	failed := o.failed
	o.failed = nil
	if last := o.order[o.nextID-1]; last != nil {
		last.after = append(last.after, failed...)
	} else { // everything before them has gone
		r.forwardFailed(&o.out, o.group, failed)
	}
}

// flush makes what is left in the batcher into batches: they never cross a group.
func (r *run) flush(o *operator) {
	if o.cut != nil {
		r.batches(o, o.cut.flush())
	}
}

func (r *run) batches(o *operator, all []batcher.Batch) {
	var windows []*window
	if o.packs {
		windows = o.openWindows(all)
	}
	for i, b := range all {
		t := r.newTask(o, o.group)
		if o.packs {
			if i > 0 && b.Window != all[i-1].Window {
				windows = windows[1:]
			}
			t.window = windows[0]
		}
		for _, p := range b.Picks {
			blk := o.blocks[p.Block]
			t.picks = append(t.picks, pick{blk, int(p.From), int(p.To), p.Rows})
			if blk.uncut -= p.Len(); blk.uncut == 0 {
				delete(o.blocks, p.Block)
			}
		}
		o.stat.Cost += b.Cost
		o.stat.PaddedCost += b.PaddedCost
		r.ready(t, sched.Event{Bytes: b.Bytes})
	}
}

// endOperators finds operators that have no more input and nothing left to do.
func (r *run) endOperators() {
	for _, o := range r.ops {
		if o.stopped {
			r.advance(o)
		}
		if o.inputEnded || o.stopped {
			r.endOperator(o)
		}
		if o.phase == ended && !o.out.ended {
			failed := o.failed // behind the last batch
			o.failed = nil
			r.forwardFailed(&o.out, o.group, failed)
			r.endOutlet(&o.out)
		}
	}
}

// endOperator moves an operator whose input has ended through its last phases.
func (r *run) endOperator(o *operator) {
	if o.phase == working {
		o.phase = flushed
		if !o.stopped {
			r.flush(o)
		}
	}
	if o.phase == flushed && len(o.order) == 0 {
		o.phase = finishing
		if o.step != nil && !o.stopped {
			r.finishWorkers(o)
		}
	}
	if o.phase == finishing && len(o.order) == 0 {
		o.phase = ended
		if o.pooled() { // it needs no workers any more, not even its fewest
			r.push(sched.Event{Kind: sched.Stop, Op: o.index})
			r.giveUpUnused(o)
		}
		if o != r.sink { // the loop itself ends the sink's
			for _, w := range o.workers {
				w.close()
			}
		}
	}
}

// finishWorkers has every worker of a stage called for what it still holds.
func (r *run) finishWorkers(o *operator) {
	for w := range o.workers {
		r.finishWorker(o, w)
	}
}

// finishWorker has one worker called for what it still holds, if it was not yet.
func (r *run) finishWorker(o *operator, w int) {
	if o.workers[w].closing {
		return
	}
	o.workers[w].closing = true
	t := r.newTask(o, o.group)
	t.finish = true
	t.worker = w
	r.ready(t, sched.Event{Worker: w, Pin: true})
}

// stop drops what an operator has queued. Its running tasks are cancelled and end soon; what
// they still hand over is thrown away.
func (r *run) stop(o *operator) {
	if o.stopped || o.phase == ended {
		return
	}
	o.stopped, o.out.stopped = true, true
	o.stopWork()
	r.push(sched.Event{Kind: sched.Stop, Op: o.index})
	r.giveUpUnused(o)
	for id, t := range o.tasks {
		if !t.started {
			r.donePicks(t)
			t.done = true
			delete(o.tasks, id)
		}
	}
	for id, b := range o.blocks {
		delete(o.blocks, id)
		r.doneWith(b, b.uncut)
	}
}

// stopUpstream stops a part of the plan: nothing it makes is wanted any more.
func (r *run) stopUpstream(up *upstream) {
	for _, o := range up.ops {
		r.stop(o)
	}
	for _, j := range up.junctions {
		j.stop(r)
	}
}

func (r *run) donePicks(t *task) {
	if t.window != nil {
		t.failed = append(t.failed, r.leaveWindow(t)...)
		t.picks = nil
		return
	}
	for _, p := range t.picks {
		r.doneWith(p.block, p.rows())
	}
	t.picks = nil
}

// costs is what each row costs the operator's stage; nil where it does not say.
func (o *operator) costs(rec arrow.Record) []int32 {
	if o.step == nil || o.step.bound.Need.Cost == nil {
		return nil
	}
	in := o.reads.of(rec)
	defer in.Release()
	costs := make([]int32, rec.NumRows())
	o.step.bound.Need.Cost(in, costs)
	return costs
}
