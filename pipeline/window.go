package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/batcher"
	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

const (
	// windowsAhead is how many windows of an operator may be worked on at once: while the last
	// batches of one run, workers that have none go on with the next.
	windowsAhead = 2
	// A window holds no more than this part of the memory limit, and no more than the batcher's
	// own bound.
	windowShare = 16
)

// packs says of a stage that its rows are put together by what they cost, within windows. A
// stage whose rows could not be put back in their places keeps the order of arrival.
func packs(need stage.Need) bool {
	return need.Batch.LookAheadRows > 0 && need.Cost != nil && need.Reads != nil && need.RowWise && need.Rows == stage.OneToOne
}

// window is rows that an operator packs into batches, each a task. What the tasks make are
// parts: the columns that the stage adds, in the order of the batches. The last task to be done
// puts them back in the order of the rows, beside the columns that were carried past the stage.
// The blocks that the rows are in stay until then.
//
// What stands before mu is the loop's, and workers read the rows' places in it; mu guards the
// rest, until every task has handed in.
type window struct {
	set    int64
	picks  []pick // runs of rows, in their order, each of another block
	starts []int  // row of the window at which each begins
	rows   int
	tasks  int // that have not ended

	mu      sync.Mutex
	working int // tasks that have not handed in all their parts
	parts   []*block
	failed  []placedError
	given   bool // its blocks were handed over
}

// placedError is a failed row of a window.
type placedError struct {
	row int32
	err *stage.RowError
}

// openWindows makes the windows that batches belong to, each of which follows the last.
func (o *operator) openWindows(all []batcher.Batch) []*window {
	var out []*window
	for at := 0; at < len(all); {
		end := at + 1
		for end < len(all) && all[end].Window == all[at].Window {
			end++
		}
		out = append(out, o.openWindow(all[at:end]))
		at = end
	}
	return out
}

func (o *operator) openWindow(all []batcher.Batch) *window {
	w := &window{set: o.nextSet, tasks: len(all), working: len(all)}
	o.nextSet++
	runs := map[int64]*pick{}
	var ids []int64 // blocks are numbered as they come
	for _, b := range all {
		for _, p := range b.Picks {
			first := p.From
			if p.Rows != nil {
				first = p.Rows[0]
			}
			run := runs[p.Block]
			if run == nil {
				run = &pick{block: o.blocks[p.Block], from: int(first), to: int(first)}
				runs[p.Block] = run
				ids = append(ids, p.Block)
			}
			size := run.rows() + p.Len()
			run.from = min(run.from, int(first))
			run.to = run.from + size
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		w.picks = append(w.picks, *runs[id])
		w.starts = append(w.starts, w.rows)
		w.rows += runs[id].rows()
	}
	return w
}

// place is the row of the window that is this row of a block.
func (w *window) place(b *block, row int) int32 {
	i := slices.IndexFunc(w.picks, func(p pick) bool { return p.block == b })
	return int32(w.starts[i] + row - w.picks[i].from)
}

// keep takes a part over.
func (w *window) keep(part *block) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parts = append(w.parts, part)
}

func (w *window) fail(row int32, err *stage.RowError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, placedError{row, err})
}

// handIn says that a task has no more parts to give, and whether it is the last one.
func (w *window) handIn() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.working--
	return w.working == 0
}

// failures are the failed rows in their order.
func (w *window) failures() []*stage.RowError {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.failed, func(a, b placedError) int { return cmp.Compare(a.row, b.row) })
	var out []*stage.RowError
	for _, f := range w.failed {
		out = append(out, f.err)
	}
	return out
}

// leaveWindow takes a task that has ended out of its window. With the last one goes what the
// window has kept. It gives the failed rows where no row came out that they could stand behind.
func (r *run) leaveWindow(t *task) []*stage.RowError {
	w := t.window
	if w.tasks--; w.tasks > 0 {
		return nil
	}
	var bytes int64
	for _, p := range w.parts {
		bytes += p.bytes
		p.batch.Release()
	}
	w.parts = nil
	if bytes > 0 {
		r.push(sched.Event{Kind: sched.Free, Op: t.op.index, Bytes: bytes, Part: true})
	}
	for _, p := range w.picks {
		r.doneWith(p.block, p.rows())
	}
	if w.given {
		return nil
	}
	return w.failures()
}

// part makes a part of an output: rows without what is carried past the stage.
func (e *emitter) part(out stage.Output) []heldBlock {
	w := e.c.t.window
	parent, _ := e.parents(out)
	places := make([]int32, len(parent))
	for i, p := range parent {
		k, at := e.in.find(int(p))
		places[i] = w.place(e.in.picks[k].block, at)
	}
	out.Record.Retain()
	b := &block{
		item:  item{batch: stage.NewBatch(out.Record, stage.Origin{}), group: e.c.t.group},
		owner: e.c.op, bytes: recordBytes(out.Record), left: len(parent), places: places,
	}
	return []heldBlock{{b, parent[len(parent)-1] - int32(e.from)}}
}

// handIn ends a task's part of its window; the last one gives what all have made.
func (c *stageCall) handIn(ctx context.Context) error {
	if len(c.failed) > 0 { // they are counted before their window goes on
		if err := c.handOver(ctx, nil); err != nil {
			return err
		}
	}
	if !c.t.window.handIn() {
		return nil
	}
	return c.giveWindow(ctx)
}

// giveWindow makes blocks of all parts of the window and hands them over: a block for each one
// that the rows are from, so that what was carried past the stage is not copied unless rows
// failed.
func (c *stageCall) giveWindow(ctx context.Context) error {
	w := c.t.window
	var bytes int64
	for _, p := range w.parts {
		bytes += p.bytes
	}
	if bytes == 0 {
		return nil
	}
	if err := c.reserve(ctx, bytes); err != nil {
		return err
	}
	added, rows, err := w.inOrder(c.env)
	if err != nil {
		return fmt.Errorf("%s: put the rows of a window in their order: %w", c.op.name, err)
	}
	defer added.Release()
	e := &emitter{c: c, ctx: ctx, in: &input{picks: w.picks, starts: w.starts, rows: w.rows}, to: w.rows}
	blocks, err := e.carryAll(added, rows, nil)
	if err != nil {
		return err
	}
	out := make([]*block, len(blocks))
	for i, b := range blocks {
		out[i] = b.block
	}
	out[len(out)-1].failed = w.failures()
	w.given = true
	return c.handOver(ctx, out)
}

// inOrder is the rows of all parts in the order of the window, and which row of it each is.
func (w *window) inOrder(env stage.Env) (rec arrow.Record, rows []int32, err error) {
	recs := make([]arrow.Record, len(w.parts))
	at := make([]int32, w.rows) // where in the parts each row of the window is; -1: nowhere
	for i := range at {
		at[i] = -1
	}
	next := int32(0)
	for i, p := range w.parts {
		recs[i] = p.batch.Record()
		for _, row := range p.places {
			at[row] = next
			next++
		}
	}
	all := recs[0]
	if all.Retain(); len(recs) > 1 {
		all.Release()
		if all, err = concatRecords(recs, env.Allocator(0)); err != nil {
			return nil, nil, err
		}
	}
	defer all.Release()
	rows = make([]int32, 0, next)
	for row, from := range at {
		if from >= 0 {
			at[len(rows)] = from // never ahead of row
			rows = append(rows, int32(row))
		}
	}
	rec, err = takeRecord(all, at[:len(rows)], env.Allocator(0))
	return rec, rows, err
}
