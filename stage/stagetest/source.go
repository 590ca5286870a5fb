package stagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// SourceOptions says what is known of a source. The zero value checks only what every
// source promises.
type SourceOptions struct {
	Want    arrow.Record // all rows with all columns, in order; nil: not known
	BadRows int          // rows that its readers refuse with a skippable RowError
	Filters []Filter     // to ask for
	Bounded bool         // the format lets readers keep to maxBytes
	Faults  *Faults      // asked by the storage beneath; nil: no faults are tried
	// Patience is how long a call may take; 0: 30 s.
	Patience time.Duration
}

// Filter is a filter to plan with, and what it means.
type Filter struct {
	Expr expr.Expr
	Keep func(rec arrow.Record, row int) bool // of all columns
}

// Source checks a source. It plans with no columns, all of them, and subsets; lists the
// splits twice; reads them from different rows, in pieces of different sizes, through
// copies that went through JSON, several at once; cancels each step; and makes each
// reservation and each call of the storage fail.
func Source(t testing.TB, src stage.Source, opt SourceOptions) {
	t.Helper()
	s := &sourceCheck{checker: newChecker(t, opt.Patience), src: src, opt: opt, whole: map[string]splitRows{}}
	s.plan()
	s.list()
	s.readAll()
	s.columns()
	s.unknownColumn()
	s.positions()
	s.sizes()
	s.together()
	s.stops()
	s.cancels()
	s.reservations()
	s.limits()
	for i, f := range opt.Filters {
		s.filter(fmt.Sprintf("filter %d", i), f)
	}
	s.faults()
}

type sourceCheck struct {
	checker
	src    stage.Source
	opt    SourceOptions
	scan   stage.Scan
	splits []stage.Split
	whole  map[string]splitRows // by split ID: what reading all of it gives
}

// splitRows is what a reading of a split gave.
type splitRows struct {
	rec     arrow.Record
	rows    []int64 // physical
	bad     int     // skippable errors
	batches int
	largest int64 // bytes of the largest batch that has more than one row
}

// reading is one way to read a split.
type reading struct {
	scan     stage.Scan
	split    stage.Split
	from     int64
	maxBytes int64
	probe    *probe
}

func (s *sourceCheck) planned(what string, req stage.ScanRequest) stage.Scan {
	s.t.Helper()
	var scan stage.Scan
	err := s.call(what, func() (err error) {
		scan, err = s.src.Plan(context.Background(), req)
		return err
	})
	s.must(err, "%s", what)
	s.that(scan != nil, "%s: a nil scan", what)
	s.that(scan.Schema() != nil, "%s: the scan's schema is nil", what)
	return scan
}

func (s *sourceCheck) plan() {
	s.t.Helper()
	before := s.src.ID()
	s.scan = s.planned("plan", stage.ScanRequest{})
	again := s.planned("plan again", stage.ScanRequest{})
	s.must(diffSchemas(s.scan.Schema(), again.Schema()), "plan again: another schema")
	s.that(before.Name != "", "ID: no name")
	s.that(before.Fingerprint() == s.src.ID().Fingerprint(), "ID: not the same after planning")
	s.that(s.scan.Residual() == nil, "plan without a filter: Residual is not nil")
}

// listing takes the splits of a scan, at most most of them, through JSON.
func listing(ctx context.Context, scan stage.Scan, most int) ([]stage.Split, error) {
	var out []stage.Split
	var failed error
	for sp, err := range scan.Splits(ctx) {
		if failed != nil {
			return out, breachf("Splits goes on after an error (%v)", failed)
		}
		if err != nil {
			failed = err
			continue
		}
		raw, err := json.Marshal(sp)
		if err != nil {
			return out, breachf("split %q cannot be made JSON: %v", sp.ID, err)
		}
		var there stage.Split
		if err := json.Unmarshal(raw, &there); err != nil {
			return out, breachf("split %q cannot be read back from JSON: %v", sp.ID, err)
		}
		if out = append(out, there); len(out) == most {
			break
		}
	}
	return out, failed
}

func (s *sourceCheck) listed(what string, scan stage.Scan) []stage.Split {
	s.t.Helper()
	var splits []stage.Split
	err := s.call(what, func() (err error) {
		splits, err = listing(context.Background(), scan, -1)
		return err
	})
	s.must(err, "%s", what)
	return splits
}

func (s *sourceCheck) list() {
	s.t.Helper()
	s.splits = s.listed("list", s.scan)
	ids := map[string]bool{}
	for _, sp := range s.splits {
		s.that(sp.ID != "", "list: a split has no ID: %+v", sp)
		s.that(!ids[sp.ID], "list: the ID %q comes twice", sp.ID)
		ids[sp.ID] = true
		s.that(sp.Base >= -1 && sp.Rows >= -1 && sp.Bytes >= -1, "list: split %q: numbers below -1: %+v", sp.ID, sp)
		s.that(!sp.Exact || sp.Rows >= 0, "list: split %q says Exact and no rows", sp.ID)
	}
	s.sameSplits("list again", s.listed("list again", s.scan))
	s.sameSplits("list after planning again", s.listed("list", s.planned("plan", stage.ScanRequest{})))
}

func (s *sourceCheck) sameSplits(what string, got []stage.Split) {
	s.t.Helper()
	s.that(len(got) == len(s.splits), "%s: %d splits, not %d", what, len(got), len(s.splits))
	for i := range got {
		s.that(reflect.DeepEqual(got[i], s.splits[i]), "%s: split %d is %+v, not %+v", what, i, got[i], s.splits[i])
	}
}

// read reads a split to its end. Errors of the reader come back; breaches end the test.
func (s *sourceCheck) read(what string, r reading) (got splitRows, err error) {
	s.t.Helper()
	err = s.call(what, func() (err error) {
		got, err = readSplit(context.Background(), r)
		return err
	})
	return got, err
}

// readNew reads a split under a new probe; nothing may fail.
func (s *sourceCheck) readNew(what string, scan stage.Scan, sp stage.Split, from, maxBytes int64) splitRows {
	s.t.Helper()
	p := newProbe(s.checker, scan.Schema().NumFields())
	got, err := s.read(what, reading{scan: scan, split: sp, from: from, maxBytes: maxBytes, probe: p})
	s.must(err, "%s", what)
	p.settle(what)
	return got
}

// readAll reads everything once: what all later readings are compared with. A scan that
// was planned anew opens the splits, as another process would.
func (s *sourceCheck) readAll() {
	s.t.Helper()
	scan := s.planned("plan", stage.ScanRequest{})
	bad := 0
	ends := map[string]int64{} // by path: behind the last row so far
	for _, sp := range s.splits {
		what := fmt.Sprintf("read %q", sp.ID)
		got := s.readNew(what, scan, sp, 0, 0)
		bad += got.bad
		if n := int64(len(got.rows)); sp.Exact {
			s.that(n == sp.Rows && (n == 0 || got.rows[n-1] == n-1), "%s: %d rows, but the split says exactly %d", what, n, sp.Rows)
		}
		if sp.Base >= 0 && sp.Path != "" {
			s.that(sp.Base >= ends[sp.Path], "%s: its rows begin at %d of %s, before the end of the split before it", what, sp.Base, sp.Path)
			if n := len(got.rows); n > 0 {
				ends[sp.Path] = sp.Base + got.rows[n-1] + 1
			}
		}
		s.whole[sp.ID] = got
	}
	s.that(bad == s.opt.BadRows, "read: %d rows were refused, not %d", bad, s.opt.BadRows)
	if s.opt.Want != nil {
		s.must(diffRecords(s.opt.Want, s.all(), 0), "read: not the rows that are wanted")
	}
}

// all is the rows of every split.
func (s *sourceCheck) all() arrow.Record {
	s.t.Helper()
	recs := make([]arrow.Record, len(s.splits))
	for i, sp := range s.splits {
		recs[i] = s.whole[sp.ID].rec
	}
	rec, err := joinRecords(heap, s.scan.Schema(), recs)
	s.must(err, "read: the splits' records do not fit together")
	return rec
}

// expect compares a reading with what is known of the split: these columns (nil: all),
// from a physical row on.
func (s *sourceCheck) expect(what string, sp stage.Split, names []string, from int64, got splitRows) {
	s.t.Helper()
	base := s.whole[sp.ID]
	start, _ := slices.BinarySearch(base.rows, from)
	want := base.rec.NewSlice(int64(start), base.rec.NumRows())
	if names != nil {
		var err error
		want, err = project(want, names)
		s.must(err, "%s", what)
	}
	s.must(diffRecords(want, got.rec, 0), "%s", what)
	s.that(slices.Equal(base.rows[start:], got.rows), "%s: the rows are numbered %v, not %v", what, got.rows, base.rows[start:])
}

func (s *sourceCheck) columns() {
	s.t.Helper()
	for _, names := range subsets(columnNames(s.scan.Schema())) {
		what := fmt.Sprintf("columns %v", names)
		scan := s.planned(what, stage.ScanRequest{Columns: names})
		s.that(slices.Equal(columnNames(scan.Schema()), names), "%s: the schema has %v", what, columnNames(scan.Schema()))
		splits := s.listed(what, scan)
		s.that(len(splits) == len(s.splits), "%s: %d splits, not %d", what, len(splits), len(s.splits))
		for i, sp := range splits {
			s.that(sp.ID == s.splits[i].ID, "%s: split %d is %q, not %q", what, i, sp.ID, s.splits[i].ID)
			s.expect(what, sp, names, 0, s.readNew(what, scan, sp, 0, 0))
		}
	}
}

// subsets is none of the names, each alone, each left out, all of them backwards, and
// where the names are few every subset.
func subsets(names []string) [][]string {
	out := [][]string{{}}
	if len(names) <= 3 {
		for mask := 1; mask < 1<<len(names); mask++ {
			var sub []string
			for i, name := range names {
				if mask>>i&1 == 1 {
					sub = append(sub, name)
				}
			}
			out = append(out, sub)
		}
	} else {
		for _, i := range spread(len(names), 8) {
			out = append(out, []string{names[i]}, slices.Delete(slices.Clone(names), i, i+1))
		}
	}
	back := slices.Clone(names)
	slices.Reverse(back)
	return append(out, back)
}

func (s *sourceCheck) unknownColumn() {
	s.t.Helper()
	const name = "no such column"
	err := s.call("plan with an unknown column", func() error {
		_, err := s.src.Plan(context.Background(), stage.ScanRequest{Columns: []string{name}})
		return err
	})
	var at *stage.ColumnError
	s.that(errors.As(err, &at) && at.Column == name, "plan with an unknown column: want a ColumnError that names it, got %v", err)
}

// positions opens the splits at rows all over them, and right behind the last one.
func (s *sourceCheck) positions() {
	s.t.Helper()
	for _, sp := range s.splits {
		end := 0
		if rows := s.whole[sp.ID].rows; len(rows) > 0 {
			end = int(rows[len(rows)-1]) + 1
		}
		for _, from := range spread(end+1, 50) {
			what := fmt.Sprintf("read %q from row %d", sp.ID, from)
			s.expect(what, sp, nil, int64(from), s.readNew(what, s.scan, sp, int64(from), 0))
		}
	}
}

// sizes reads in small pieces and large ones.
func (s *sourceCheck) sizes() {
	s.t.Helper()
	for _, sp := range s.splits {
		for _, size := range []int64{1, 64, 1 << 10, 16 << 10, 1 << 30} {
			what := fmt.Sprintf("read %q in pieces of %d bytes", sp.ID, size)
			got := s.readNew(what, s.scan, sp, 0, size)
			s.expect(what, sp, nil, 0, got)
			// Buffers are rounded up and grow by doubling: twice the size, and a line of
			// cache for each of a few buffers, is still kept to.
			room := 2*size + 256*int64(1+s.scan.Schema().NumFields())
			s.that(!s.opt.Bounded || got.largest <= room, "%s: a batch has %d bytes", what, got.largest)
		}
	}
}
