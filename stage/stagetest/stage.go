package stagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// StageOptions says what is known of a stage. The zero value checks only what every
// stage promises.
type StageOptions struct {
	// Want is what its workers give for all of the input, in the order of the input,
	// with the columns of its records (Need.Adds where Need.Reads is set); nil: not
	// known.
	Want arrow.Record
	// Tolerance is how far a float may be off between two runs over the same rows. Of
	// a stage that does not say Deterministic values are compared only if it is set.
	Tolerance float64
	// Env gives Seed, Attempt and Log; the rest is the check's own.
	Env stage.Env
	// NoNulls leaves the run over nulls out.
	NoNulls bool
	// Patience is how long a call may take; 0: 30 s.
	Patience time.Duration
}

// Stage checks a stage on the rows of in, which it can do: a row of them may fail, a
// Process call may not. It binds it well and badly; runs it over batches of different
// sizes (within Need.Batch), over slices, views, nulls and no rows; with as many calls
// at once as Need.InFlight says and several workers; and makes emit fail, emit wait,
// the context end and reservations fail at each place in turn.
func Stage(t testing.TB, st stage.Stage, in []arrow.Record, opt StageOptions) {
	t.Helper()
	s := &stageCheck{checker: newChecker(t, opt.Patience), st: st, opt: opt}
	s.that(len(in) > 0, "Stage: no input")
	var err error
	s.input, err = joinRecords(heap, in[0].Schema(), in)
	s.must(err, "Stage: the input")
	s.bind()
	s.needs()
	s.misbind()
	s.costs()
	s.openClose()
	s.wholes()
	s.cuts()
	s.noRows()
	s.nulls()
	s.concurrent()
	s.emitFails()
	s.retries()
	s.cancels()
	s.reservations()
}

type stageCheck struct {
	checker
	st    stage.Stage
	opt   StageOptions
	input arrow.Record // all rows, all columns
	reads arrow.Record // the columns that the worker is given
	bound *stage.Bound
	gives *arrow.Schema // of the worker's records
	base  *outcome      // of the largest batches
}

func (s *stageCheck) tryBind(what string, in []*arrow.Schema) (*stage.Bound, error) {
	s.t.Helper()
	var bound *stage.Bound
	err := s.call(what, func() (err error) {
		bound, err = s.st.Bind(in)
		return err
	})
	s.that((bound == nil) == (err != nil), "%s: Bind gave both a Bound and the error %v, or neither", what, err)
	return bound, err
}

func (s *stageCheck) bind() {
	s.t.Helper()
	id := s.st.ID()
	s.that(id.Name != "", "ID: no name")
	bound, err := s.tryBind("bind", []*arrow.Schema{s.input.Schema()})
	s.must(err, "bind")
	again, err := s.tryBind("bind again", []*arrow.Schema{s.input.Schema()})
	s.must(err, "bind again")
	s.that(bound.Schema != nil && bound.Open != nil, "bind: no Schema or no Open")
	s.must(diffSchemas(bound.Schema, again.Schema), "bind again: another schema")
	a, b := bound.Need, again.Need
	s.that(slices.Equal(a.Reads, b.Reads) && slices.Equal(a.Drops, b.Drops) && a.Rows == b.Rows && a.Views == b.Views,
		"bind again: another Need")
	s.that(id.Fingerprint() == s.st.ID().Fingerprint(), "ID: not the same after Bind")
	s.bound = bound
}

func (s *stageCheck) needs() {
	s.t.Helper()
	n := s.bound.Need
	s.that(n.Rows <= stage.Collect, "Need.Rows: %d is no cardinality", n.Rows)
	s.that(n.CPU >= 0 && n.GPU >= 0 && n.InFlight >= 0 && n.Timeout >= 0, "Need: a negative amount")
	s.that(n.Workers.Min >= 0 && (n.Workers.Max == 0 || n.Workers.Max >= n.Workers.Min), "Need.Workers: %+v", n.Workers)
	p := n.Batch
	s.that(p.MaxRows >= 0 && p.MaxBytes >= 0 && p.MaxCost >= 0 && p.LookAheadRows >= 0 && p.MaxDelay >= 0, "Need.Batch: a negative bound: %+v", p)
	s.that(slices.IsSorted(p.Buckets), "Need.Batch.Buckets: not ascending: %v", p.Buckets)
	s.that(n.Cost != nil || p.MaxCost == 0 && p.LookAheadRows == 0 && len(p.Buckets) == 0, "Need.Batch goes by cost, and Need.Cost is nil")
	if n.Reads == nil {
		s.that(len(n.Adds) == 0 && len(n.Drops) == 0, "Need: Adds or Drops without Reads")
		s.reads, s.gives = s.input, s.bound.Schema
		return
	}
	for _, name := range slices.Concat(n.Reads, n.Drops) {
		s.that(s.input.Schema().HasField(name), "Need: reads or drops %q, which the input does not have", name)
	}
	var err error
	s.reads, err = project(s.input, n.Reads)
	s.must(err, "Need.Reads")
	s.gives = arrow.NewSchema(n.Adds, nil)
	s.must(diffSchemas(n.OutputSchema(s.input.Schema()), s.bound.Schema), "bind: the schema is not Need.OutputSchema of the input")
	s.extraColumn()
}

// extraColumn binds with one more column, which has to be carried past the stage.
func (s *stageCheck) extraColumn() {
	s.t.Helper()
	more := arrow.Field{Name: "carried past", Type: arrow.FixedWidthTypes.Boolean}
	wide := arrow.NewSchema(append(s.input.Schema().Fields(), more), nil)
	bound, err := s.tryBind("bind with one more column", []*arrow.Schema{wide})
	s.must(err, "bind with one more column")
	s.must(diffSchemas(bound.Need.OutputSchema(wide), bound.Schema), "bind with one more column")
	s.that(bound.Schema.HasField(more.Name), "bind with one more column: it is lost")
}

func (s *stageCheck) misbind() {
	s.t.Helper()
	_, err := s.tryBind("bind to nothing", nil)
	s.that(err != nil, "bind to nothing: no error")
	_, err = s.tryBind("bind to two inputs", []*arrow.Schema{s.input.Schema(), s.input.Schema()})
	s.that(err != nil, "bind to two inputs: no error")
	for _, name := range s.bound.Need.Reads {
		fields := slices.DeleteFunc(slices.Clone(s.input.Schema().Fields()), func(f arrow.Field) bool { return f.Name == name })
		what := fmt.Sprintf("bind without column %q", name)
		_, err := s.tryBind(what, []*arrow.Schema{arrow.NewSchema(fields, nil)})
		var at *stage.ColumnError
		s.that(errors.As(err, &at) && at.Column == name, "%s: want a ColumnError that names it, got %v", what, err)
	}
}

// costs checks that a row's cost depends on the row alone.
func (s *stageCheck) costs() {
	s.t.Helper()
	cost := s.bound.Need.Cost
	if cost == nil {
		return
	}
	err := s.call("Need.Cost", func() error {
		n := int(s.reads.NumRows())
		all := s.costsOf(s.reads)
		for _, k := range spread(n, 20) {
			piece := s.reads.NewSlice(int64(k), int64(n))
			if got := s.costsOf(piece); !slices.Equal(got, all[k:]) {
				return breachf("of rows %d to %d it is %v, but among all rows %v", k, n, got, all[k:])
			}
		}
		if n > 0 && slices.Min(all) < 0 {
			return breachf("a negative cost: %v", all)
		}
		return nil
	})
	s.must(err, "Need.Cost")
}

func (s *stageCheck) costsOf(rec arrow.Record) []int32 {
	dst := make([]int32, rec.NumRows())
	s.bound.Need.Cost(rec, dst)
	return dst
}

// openClose opens and closes workers without using them.
func (s *stageCheck) openClose() {
	s.t.Helper()
	for _, stop := range []bool{false, true} {
		what := "open and close"
		if stop {
			what = "open under a cancelled context and close"
		}
		p := newProbe(s.checker, s.gives.NumFields())
		err := s.call(what, func() error {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if stop {
				cancel()
			}
			w, err := s.bound.Open(ctx, p.env(s.opt.Env))
			if err != nil {
				return err
			}
			return closeTwice(w)
		})
		s.that(err == nil || stop && cancelled(err), "%s: %v", what, err)
		p.settle(what)
	}
}

func closeTwice(w stage.Worker) error {
	if err := w.Close(); err != nil {
		return breachf("Close: %w", err)
	}
	if err := w.Close(); err != nil {
		return breachf("the second Close: %w", err)
	}
	return nil
}

// span is rows [from, to) of the input.
type span struct{ from, to int }

// cut divides the input into batches of up to rows rows, as Need.Batch allows.
func (s *stageCheck) cut(rows int) []span {
	policy := s.bound.Need.Batch
	if policy.MaxRows > 0 {
		rows = min(rows, policy.MaxRows)
	}
	var costs []int32
	if policy.MaxCost > 0 {
		costs = s.costsOf(s.reads)
	}
	var out []span
	n := int(s.reads.NumRows())
	for from := 0; from < n; {
		to := min(from+rows, n)
		for policy.MaxCost > 0 && to > from+1 && int64(to-from)*int64(slices.Max(costs[from:to])) > policy.MaxCost {
			to--
		}
		out = append(out, span{from, to})
		from = to
	}
	return out
}

// wholes runs the largest batches there may be: what all other runs are compared with.
func (s *stageCheck) wholes() {
	s.t.Helper()
	const what = "run over whole batches"
	s.base = s.run(what, scenario{spans: s.largest()})
	if s.opt.Want != nil {
		got, err := s.base.record(s.gives, true)
		s.must(err, what)
		s.must(diffRecords(s.opt.Want, got, s.opt.Tolerance), "%s: not the rows that are wanted", what)
	}
	again := s.run("run again", scenario{spans: s.largest()})
	if s.bound.Need.Deterministic || s.bound.Need.RowWise {
		s.same("run again", again)
	}
}

// same compares an outcome with the first one: which rows came and which failed, and
// the values where the stage or the test says that they stay.
func (s *stageCheck) same(what string, got *outcome) {
	s.t.Helper()
	for i := range s.base.rows {
		s.that(len(got.rows[i]) == len(s.base.rows[i]) && got.failed[i] == s.base.failed[i],
			"%s: row %d gives %d rows (failed: %t), not %d (%t) as in whole batches",
			what, i, len(got.rows[i]), got.failed[i], len(s.base.rows[i]), s.base.failed[i])
	}
	if !s.bound.Need.Deterministic && s.opt.Tolerance == 0 {
		return
	}
	want, err := s.base.record(s.gives, got.single)
	s.must(err, "%s", what)
	rec, err := got.record(s.gives, got.single)
	s.must(err, "%s", what)
	s.must(diffRecords(want, rec, s.opt.Tolerance), "%s: not what whole batches give", what)
}

// cuts runs over batches of other sizes and forms.
func (s *stageCheck) cuts() {
	s.t.Helper()
	forms := []form{fresh, sliced}
	if s.bound.Need.Views {
		forms = append(forms, views)
	}
	for _, rows := range []int{1, 2, 3, 7, 64, int(s.reads.NumRows())} {
		for _, f := range forms {
			what := fmt.Sprintf("run over %s of %d rows", f, rows)
			got := s.run(what, scenario{spans: s.cut(max(1, rows)), form: f})
			if s.bound.Need.RowWise {
				s.same(what, got)
			}
		}
	}
}

func (s *stageCheck) noRows() {
	s.t.Helper()
	got := s.run("run over a batch of no rows", scenario{spans: []span{{0, 0}}})
	s.that(len(got.loose) == 0 || s.bound.Need.Rows == stage.Collect || s.bound.Need.Rows == stage.Many,
		"run over a batch of no rows: %d rows came", len(got.loose))
	s.run("run over no batches", scenario{})
}

// nulls runs over rows that are null in every column that may be.
func (s *stageCheck) nulls() {
	s.t.Helper()
	if s.opt.NoNulls || s.reads.NumRows() == 0 {
		return
	}
	n := min(s.reads.NumRows(), 3)
	rows := s.reads.NewSlice(0, n)
	cols := slices.Clone(rows.Columns())
	for i, f := range rows.Schema().Fields() {
		if f.Nullable {
			cols[i] = array.MakeArrayOfNull(heap, f.Type, int(n))
		}
	}
	saved := s.reads
	defer func() { s.reads = saved }()
	s.reads = array.NewRecord(rows.Schema(), cols, n)
	s.run("run over nulls", scenario{spans: s.cut(int(n)), mayFail: true})
}
