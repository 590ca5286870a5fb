package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

var (
	// errContract is a stage that does not keep to its word. It ends the job.
	errContract = errors.New("the stage breaks its contract")
	// errEmitted is a batch that failed when rows of it were gone already, so that it
	// cannot be run again without giving them twice.
	errEmitted = errors.New("rows that the stage did not call finished were passed on before it failed")
)

// emitter takes the outputs of one Process call: it checks them, attaches the columns that
// were carried past the stage, and hands them over. What the stage has not called finished
// is kept back as long as the call may have to be made again.
type emitter struct {
	c        *stageCall
	ctx      context.Context
	in       *input // nil in Finish
	from, to int    // rows of in
	attempts int

	mu        sync.Mutex // an abandoned call may still emit
	gone      bool
	bad       error // the first breach of contract
	last      int32 // parent of the last row, in rows of the call's batch
	through   int   // rows of the call's batch that are finished
	given     int   // rows that came out or failed, for one-to-one
	ordinal   int32 // of the next child of last
	held      []heldBlock
	heldBytes int64
	failed    []stage.RowFailure
	passed    bool // rows behind through were handed over, though they should have been kept
	ahead     bool // rows behind through were handed over
}

// heldBlock is a block and the last row of the batch that it depends on.
type heldBlock struct {
	*block
	last int32
}

// emit is what the stage calls. It owns out.Record from here on.
func (e *emitter) emit(out stage.Output) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if out.Record != nil {
		defer out.Record.Release()
	}
	if e.gone {
		return stage.ErrWorkerLost
	}
	if err := e.take(out); err != nil {
		if e.bad == nil && errors.Is(err, errContract) {
			e.bad = err
		}
		return err
	}
	return e.pass(e.mayRepeat())
}

func (e *emitter) take(out stage.Output) error {
	if err := e.check(out); err != nil {
		return fmt.Errorf("%w: %w", errContract, err)
	}
	e.failed = append(e.failed, out.Failed...)
	if out.Record != nil && out.Record.NumRows() > 0 {
		blocks, err := e.blocks(out)
		if err != nil {
			return err
		}
		for _, b := range blocks {
			e.held = append(e.held, b)
			e.heldBytes += b.bytes
		}
	}
	e.through = max(e.through, int(out.Through))
	return nil
}

// mayRepeat says whether the call may have to be made again if it fails.
func (e *emitter) mayRepeat() bool {
	need := e.c.op.step.bound.Need
	return e.in != nil && (need.Retryable || need.GPU > 0 || need.RowWise && e.c.r.cfg.OnError.Skip)
}

// pass hands over what may go: with keep, no more than is finished, unless it gets too much
// to hold.
func (e *emitter) pass(keep bool) error {
	if keep && e.heldBytes > e.c.r.cfg.BlockBytes && len(e.held) > 0 && int(e.held[len(e.held)-1].last) >= e.through {
		e.passed, keep = true, false
	}
	e.ahead = e.ahead || !keep && e.behind()
	n := len(e.held)
	if keep {
		for n = 0; n < len(e.held) && int(e.held[n].last) < e.through; {
			n++
		}
	}
	e.passFailed(keep)
	if n == 0 {
		return nil
	}
	blocks := e.held[:n]
	e.held = e.held[n:]
	for i, b := range blocks {
		e.heldBytes -= b.bytes
		if err := e.c.send(e.ctx, b.block); err != nil {
			for _, rest := range blocks[i+1:] {
				rest.batch.Release()
			}
			return err
		}
	}
	return nil
}

// behind says that rows are held that the stage has not called finished.
func (e *emitter) behind() bool {
	return len(e.held) > 0 && int(e.held[len(e.held)-1].last) >= e.through ||
		slices.ContainsFunc(e.failed, func(f stage.RowFailure) bool { return int(f.Row) >= e.through })
}

// passFailed reports the failed rows that will not be tried again.
func (e *emitter) passFailed(keep bool) {
	var rest []stage.RowFailure
	for _, f := range e.failed {
		if keep && int(f.Row) >= e.through {
			rest = append(rest, f)
			continue
		}
		err := e.c.rowError(e.from+int(f.Row), 1, f.Err, f.Column)
		if f.Kind != "" {
			err.Kind = f.Kind
		}
		e.c.addFailure(e.from+int(f.Row), e.attempts, err)
	}
	e.failed = rest
}

// end closes the books of a call that returned err: what is finished goes on, the rest is
// thrown away if the call failed.
func (e *emitter) end(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.bad != nil {
		err = e.bad
	}
	if err == nil || errors.Is(err, stage.ErrDone) {
		if miss := e.to - e.from - e.given; e.in != nil && err == nil && miss != 0 && e.c.op.step.bound.Need.Rows == stage.OneToOne {
			err = fmt.Errorf("%w: it is one-to-one, but of %d rows %d did not come out", errContract, e.to-e.from, miss)
		} else {
			e.through = e.to - e.from
			if e2 := e.pass(false); e2 != nil {
				err = e2
			}
		}
	} else if e.passed || e.ahead && errors.Is(err, stage.ErrWorkerLost) {
		err = fmt.Errorf("%w: %w", errEmitted, err)
	}
	for _, b := range e.held {
		b.batch.Release()
	}
	e.held, e.failed = nil, nil
	return err
}

// abandon lets a call go that does not return. What it still emits is dropped.
func (e *emitter) abandon() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
}

func (e *emitter) abandoned() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.gone
}

// check holds an output against the contract of its stage.
func (e *emitter) check(out stage.Output) error {
	need := e.c.op.step.bound.Need
	n := e.to - e.from
	if out.Record != nil {
		if err := e.checkSchema(out.Record); err != nil {
			return err
		}
		if err := e.checkParents(out, n); err != nil {
			return err
		}
	}
	if out.Through < 0 || int(out.Through) > n {
		return fmt.Errorf("it calls %d rows finished, and was given %d", out.Through, n)
	}
	for _, f := range out.Failed {
		if f.Row < 0 || int(f.Row) >= n || f.Err == nil {
			return fmt.Errorf("it says that row %d of %d failed: %w", f.Row, n, errOr(f.Err, "without a cause"))
		}
	}
	e.given += len(out.Failed)
	if out.Record != nil {
		e.given += int(out.Record.NumRows())
	}
	if (need.Rows == stage.OneToOne || need.Rows == stage.Subset) && e.in != nil && e.given > n {
		return fmt.Errorf("it is %s, but gave %d rows for %d", need.Rows, e.given, n)
	}
	return nil
}

func errOr(err error, text string) error {
	if err != nil {
		return err
	}
	return errors.New(text)
}

func (e *emitter) checkSchema(rec arrow.Record) error {
	want := e.c.op.step.bound.Schema.Fields()
	if need := e.c.op.step.bound.Need; need.Reads != nil {
		want = need.Adds
	}
	if int(rec.NumCols()) != len(want) {
		return fmt.Errorf("it gives %d columns, and said %d", rec.NumCols(), len(want))
	}
	for i, f := range want {
		if got := rec.Column(i).DataType(); !arrow.TypeEqual(got, f.Type) {
			return fmt.Errorf("column %q is %s, and it said %s", f.Name, got, f.Type)
		}
	}
	return nil
}

func (e *emitter) checkParents(out stage.Output, n int) error {
	rows := int(out.Record.NumRows())
	if e.in == nil {
		if out.Parent != nil {
			return errors.New("it names parents in Finish, where there are none")
		}
		return nil
	}
	if out.Parent == nil {
		if rows != n || e.given > 0 && rows > 0 {
			return fmt.Errorf("it names no parents, and gives %d rows for %d", rows, n)
		}
		return nil
	}
	if len(out.Parent) != rows {
		return fmt.Errorf("it names %d parents for %d rows", len(out.Parent), rows)
	}
	many := e.c.op.step.bound.Need.Rows == stage.Many
	last := e.last
	for _, p := range out.Parent {
		if p < 0 || int(p) >= n {
			return fmt.Errorf("it names row %d as a parent, and was given %d", p, n)
		}
		if p < last || p == last && !many {
			return fmt.Errorf("row %d comes out behind row %d", p, last)
		}
		last = p
	}
	return nil
}

// blocks makes the blocks of an output: rows that came from one block of the input with what
// that block carries past the stage.
func (e *emitter) blocks(out stage.Output) ([]heldBlock, error) {
	o := e.c.op
	rec := out.Record
	if e.in == nil {
		b := stage.NewBatch(e.whole(rec), stage.RowRange(nil, 0, int(rec.NumRows())))
		return e.cutUp(b, -1), nil
	}
	if e.c.t.window != nil {
		return e.part(out), nil
	}
	parent, ordinals := e.parents(out)
	if o.step.bound.Need.Reads == nil {
		origin := e.originOf(e.in.origin(), parent, ordinals)
		return e.cutUp(stage.NewBatch(e.whole(rec), origin), parent[len(parent)-1]-int32(e.from)), nil
	}
	return e.carryAll(rec, parent, ordinals)
}

// carryAll makes a block of the rows of each pick, with what it carries past the stage.
func (e *emitter) carryAll(rec arrow.Record, parent, ordinals []int32) ([]heldBlock, error) {
	var all []heldBlock
	for i := 0; i < len(parent); {
		k, _ := e.in.find(int(parent[i]))
		end := int32(e.in.starts[k] + e.in.picks[k].rows())
		j := i + 1
		for j < len(parent) && parent[j] < end {
			j++
		}
		b, err := e.carry(rec, i, j, k, parent, ordinals)
		if err != nil {
			for _, h := range all {
				h.batch.Release()
			}
			return nil, err
		}
		all = append(all, e.cutUp(b, parent[j-1]-int32(e.from))...)
		i = j
	}
	return all, nil
}

// whole gives a record of whole rows the bound schema, names and metadata included.
func (e *emitter) whole(rec arrow.Record) arrow.Record {
	return array.NewRecord(e.c.op.step.bound.Schema, rec.Columns(), rec.NumRows())
}

// parents is the parent of each row as a row of the task's input, and for a flat-map each
// row's ordinal among the children of its parent.
func (e *emitter) parents(out stage.Output) (parent, ordinals []int32) {
	n := int(out.Record.NumRows())
	parent = make([]int32, n)
	many := e.c.op.step.bound.Need.Rows == stage.Many
	if many {
		ordinals = make([]int32, n)
	}
	for i := range n {
		p := int32(i)
		if out.Parent != nil {
			p = out.Parent[i]
		}
		if p != e.last {
			e.ordinal = 0
		}
		if many {
			ordinals[i] = e.ordinal
			e.ordinal++
		}
		e.last = p
		parent[i] = p + int32(e.from)
	}
	return parent, ordinals
}

func (e *emitter) originOf(in stage.Origin, parent, ordinals []int32) stage.Origin {
	switch {
	case ordinals != nil:
		return in.Children(parent, ordinals)
	case e.c.op.step.bound.Need.Rows == stage.Collect:
		return in.Take(parent).Parents()
	}
	return in.Take(parent)
}

// carry makes a record of rows [i, j) of rec, whose parents all lie in pick k, and of the
// columns that their parents carry past the stage.
func (e *emitter) carry(rec arrow.Record, i, j, k int, parent, ordinals []int32) (stage.Batch, error) {
	o := e.c.op
	p := e.in.picks[k]
	rows := make([]int32, j-i)
	dense := true
	for n := range rows {
		rows[n] = int32(p.row(int(parent[i+n]) - e.in.starts[k]))
		dense = dense && rows[n] == rows[0]+int32(n)
	}
	from := p.block.batch.Record()
	cols := make([]arrow.Array, len(o.layout))
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for n, l := range o.layout {
		switch {
		case l.added:
			cols[n] = array.NewSlice(rec.Column(l.at), int64(i), int64(j))
		case dense:
			cols[n] = array.NewSlice(from.Column(l.at), int64(rows[0]), int64(rows[0])+int64(len(rows)))
		default:
			col, err := takeRows(from.Column(l.at), rows, e.c.env.Allocator(n))
			if err != nil {
				return stage.Batch{}, fmt.Errorf("carry column %q past the stage: %w", o.step.out.Field(n).Name, err)
			}
			cols[n] = col
		}
	}
	var ord []int32
	if ordinals != nil {
		ord = ordinals[i:j]
	}
	origin := e.originOf(p.block.batch.Origin(), rows, ord)
	return stage.NewBatch(array.NewRecord(o.step.out, cols, int64(len(rows))), origin), nil
}

// cutUp cuts a batch that is much larger than a block should be. Rows of a block that was cut
// are all taken to depend on its last row.
func (e *emitter) cutUp(b stage.Batch, last int32) []heldBlock {
	whole := e.c.newBlock(b)
	target := e.c.r.cfg.BlockBytes
	n := int((whole.bytes + target - 1) / target)
	if whole.bytes <= 2*target || whole.left == 1 {
		return []heldBlock{{whole, last}}
	}
	defer b.Release()
	rows := (whole.left + n - 1) / n
	var out []heldBlock
	for at := 0; at < whole.left; at += rows {
		end := min(at+rows, whole.left)
		piece := stage.NewBatch(b.Record().NewSlice(int64(at), int64(end)), b.Origin().Slice(at, end))
		out = append(out, heldBlock{e.c.newBlock(piece), last})
	}
	return out
}

// layoutColumn is a column of a stage's output: added by it, or carried past it.
type layoutColumn struct {
	added bool
	at    int // in the stage's record, or in the input's
}

func layoutOf(s *step) []layoutColumn {
	need := s.bound.Need
	if need.Reads == nil {
		return nil
	}
	added := map[string]int{}
	for i, f := range need.Adds {
		added[f.Name] = i
	}
	out := make([]layoutColumn, s.out.NumFields())
	for i, f := range s.out.Fields() {
		if at, ok := added[f.Name]; ok {
			out[i] = layoutColumn{true, at}
		} else {
			out[i] = layoutColumn{false, s.in.FieldIndices(f.Name)[0]}
		}
	}
	return out
}
