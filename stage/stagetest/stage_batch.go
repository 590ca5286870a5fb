package stagetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// batch makes rows [from, to) of the input a batch in the scenario's form, for a worker. index says
// which row of the input each of its rows is.
func (r *runner) batch(w stage.Worker, sp span) (in stage.Batch, index []int, err error) {
	split := &stage.Split{ID: "input", Base: -1, Rows: -1}
	whole := stage.RowRange(split, int64(sp.from), sp.to-sp.from)
	for i := sp.from; i < sp.to; i++ {
		index = append(index, i)
	}
	switch r.sc.form {
	case sliced:
		from, to := max(sp.from-3, 0), min(sp.to+2, int(r.s.reads.NumRows()))
		long, err := r.copyRows(from, to)
		if err != nil {
			return in, nil, err
		}
		defer long.Release()
		return stage.NewBatch(long.NewSlice(int64(sp.from-from), int64(sp.to-from)), whole), index, nil
	case views:
		return r.views(sp, whole)
	default:
		rec, err := r.placeRows(w, sp.from, sp.to)
		if err != nil {
			return in, nil, err
		}
		return stage.NewBatch(rec, whole), index, nil
	}
}

// views makes a batch of the rows' later half, backwards, and of their first half as it
// stands, every other row of it picked out of a record with other rows between.
func (r *runner) views(sp span, whole stage.Origin) (in stage.Batch, index []int, err error) {
	mid := (sp.from + sp.to) / 2
	var picks []int32
	for i := sp.to - 1; i >= mid; i-- {
		picks = append(picks, int32(i-mid))
		index = append(index, i)
	}
	late, err := r.copyRows(mid, sp.to)
	if err != nil {
		return in, nil, err
	}
	in.Parts = append(in.Parts, stage.View{Record: late, Rows: picks, Origin: whole.Slice(mid-sp.from, sp.to-sp.from).Take(picks)})
	if mid == sp.from {
		return in, index, nil
	}
	early, err := r.copyRows(sp.from, mid)
	if err != nil {
		late.Release()
		return in, nil, err
	}
	in.Parts = append(in.Parts, stage.View{Record: early, Origin: whole.Slice(0, mid-sp.from)})
	for i := sp.from; i < mid; i++ {
		index = append(index, i)
	}
	return in, index, nil
}

func (r *runner) copyRows(from, to int) (arrow.Record, error) {
	rows := r.s.reads.NewSlice(int64(from), int64(to))
	defer rows.Release()
	return copyRecord(r.inMem.mem, rows)
}

// placeRows copies rows to where the worker wants them.
func (r *runner) placeRows(w stage.Worker, from, to int) (arrow.Record, error) {
	named, ok := w.(stage.InputMemory)
	need := r.s.bound.Need
	if !ok || need.Views || need.Reads == nil {
		return r.copyRows(from, to)
	}
	rows := r.s.reads.NewSlice(int64(from), int64(to))
	defer rows.Release()
	cols := make([]arrow.Array, len(need.Reads))
	for field := range cols {
		mem, err := named.InputAllocator(field)
		if err != nil {
			return nil, fmt.Errorf("InputAllocator(%d): %w", field, err)
		}
		if mem == nil {
			mem = r.inMem.mem
		}
		if cols[field], err = array.Concatenate([]arrow.Array{rows.Column(field)}, mem); err != nil {
			return nil, err
		}
		defer cols[field].Release()
	}
	return array.NewRecord(rows.Schema(), cols, int64(to-from)), nil
}

// copyBatch copies the records of a batch.
func copyBatch(in stage.Batch) ([]arrow.Record, error) {
	out := make([]arrow.Record, len(in.Parts))
	for i, p := range in.Parts {
		var err error
		if out[i], err = copyRecord(heap, p.Record); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func sameBatch(in stage.Batch, before []arrow.Record) error {
	for i, p := range in.Parts {
		if err := intact(before[i], p.Record); err != nil {
			return err
		}
	}
	return nil
}

// fate is what became of a row of a batch.
type fate uint8

const (
	pending fate = iota
	came
	failed
)

// delivery watches over what one Process call emits.
type delivery struct {
	need    stage.Need
	gives   *arrow.Schema
	seen    []fate
	last    int32 // parent emitted
	through int32 // the furthest claim of an emit that returned nil
	emitted []stage.Output
	faults  []error
}

// parents is the batch's row for each row of an output.
func parents(out stage.Output) []int32 {
	if out.Record == nil || out.Parent != nil {
		return out.Parent
	}
	all := make([]int32, out.Record.NumRows())
	for i := range all {
		all[i] = int32(i)
	}
	return all
}

// take checks one output against the batch and what was emitted before.
func (d *delivery) take(out stage.Output) error {
	n := len(d.seen)
	if out.Record == nil && len(out.Parent) > 0 {
		return fmt.Errorf("%d parents and no record", len(out.Parent))
	}
	if out.Record != nil {
		if err := diffSchemas(d.gives, out.Record.Schema()); err != nil {
			return fmt.Errorf("an emitted record has not the stage's schema: %w", err)
		}
		if rows := int(out.Record.NumRows()); out.Parent == nil && rows != n {
			return fmt.Errorf("no Parent, and the record has %d rows of a batch of %d", rows, n)
		} else if out.Parent != nil && len(out.Parent) != rows {
			return fmt.Errorf("%d parents for %d rows", len(out.Parent), rows)
		}
	}
	for _, row := range parents(out) {
		if err := d.mark(row, came); err != nil {
			return err
		}
		if row < d.last {
			return fmt.Errorf("row %d comes after row %d: parents may not descend", row, d.last)
		}
		d.last = row
	}
	for _, f := range out.Failed {
		if f.Err == nil {
			return fmt.Errorf("row %d failed without an error", f.Row)
		}
		if err := d.mark(f.Row, failed); err != nil {
			return err
		}
	}
	return d.claim(out.Through)
}

func (d *delivery) mark(row int32, what fate) error {
	if row < 0 || int(row) >= len(d.seen) {
		return fmt.Errorf("row %d is not of the batch, which has %d", row, len(d.seen))
	}
	if row < d.through {
		return fmt.Errorf("row %d is emitted, but Through had said that %d rows are finished", row, d.through)
	}
	was := d.seen[row]
	many := d.need.Rows == stage.Many || d.need.Rows == stage.Collect
	if was == failed || was == came && what == failed || was == came && !many {
		return fmt.Errorf("row %d is emitted or fails twice (%s)", row, d.need.Rows)
	}
	d.seen[row] = what
	return nil
}

// claim checks Through. 0 claims nothing, so that an output need not repeat an earlier
// claim; any other claim may not be less than it.
func (d *delivery) claim(through int32) error {
	if through < 0 || int(through) > len(d.seen) {
		return fmt.Errorf("a Through of %d in a batch of %d", through, len(d.seen))
	}
	if through != 0 && through < d.through {
		return fmt.Errorf("a Through of %d after %d", through, d.through)
	}
	if d.need.Rows == stage.OneToOne {
		if i := slices.Index(d.seen[:through], pending); i >= 0 {
			return fmt.Errorf("a Through of %d, but row %d neither came nor failed", through, i)
		}
	}
	return nil
}

// done checks that a batch that is finished is accounted for.
func (d *delivery) done() error {
	if d.need.Rows != stage.OneToOne {
		return nil
	}
	var lost []error
	for i, f := range d.seen {
		if f == pending {
			lost = append(lost, fmt.Errorf("row %d neither came nor failed, and the stage is one-to-one", i))
		}
	}
	return errors.Join(lost...)
}
