package stagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// together reads all splits at once through one scan.
func (s *sourceCheck) together() {
	s.t.Helper()
	const most = 8
	splits := s.splits[:min(len(s.splits), most)]
	p := newProbe(s.checker, s.scan.Schema().NumFields())
	got := make([]splitRows, len(splits))
	errs := make([]error, len(splits))
	err := s.call("read all splits at once", func() error {
		var all sync.WaitGroup
		for i, sp := range splits {
			all.Go(func() {
				errs[i] = recovered(func() (err error) {
					got[i], err = readSplit(context.Background(), reading{scan: s.scan, split: sp, maxBytes: 64, probe: p})
					return err
				})
			})
		}
		all.Wait()
		return errors.Join(errs...)
	})
	s.must(err, "read all splits at once")
	for i, sp := range splits {
		s.expect("read all splits at once", sp, nil, 0, got[i])
	}
	p.settle("read all splits at once")
}

// stops leaves listings and readers before their end.
func (s *sourceCheck) stops() {
	s.t.Helper()
	for _, k := range spread(len(s.splits), 10) {
		err := s.call("stop listing", func() error {
			_, err := listing(context.Background(), s.scan, k+1)
			return err
		})
		s.must(err, "stop listing after %d splits", k+1)
	}
	for _, sp := range s.splits {
		for _, k := range spread(s.whole[sp.ID].batches+1, 10) {
			what := fmt.Sprintf("close the reader of %q after %d batches", sp.ID, k)
			p := newProbe(s.checker, s.scan.Schema().NumFields())
			err := s.call(what, func() error { return s.readSome(context.Background(), p, sp, k, nil) })
			s.must(err, "%s", what)
			p.settle(what)
		}
	}
}

// readSome reads k batches, then does next with the reader, then closes it twice.
func (s *sourceCheck) readSome(ctx context.Context, p *probe, sp stage.Split, k int, next func(stage.Reader) error) error {
	rd, err := s.scan.Open(ctx, p.env(stage.Env{}), sp, 0)
	if err != nil {
		return err
	}
	for range k {
		b, err := rd.Next(ctx, 0)
		var bad *stage.RowError
		if err == io.EOF || errors.As(err, &bad) && bad.Skippable {
			continue
		}
		if err != nil {
			return errors.Join(err, rd.Close())
		}
		b.Release()
	}
	if next != nil {
		if err := next(rd); err != nil {
			return errors.Join(err, rd.Close())
		}
	}
	if err := rd.Close(); err != nil {
		return breachf("Close: %w", err)
	}
	if err := rd.Close(); err != nil {
		return breachf("the second Close: %w", err)
	}
	return nil
}

// cancels cancels the listing after each split, and reading before each Next.
func (s *sourceCheck) cancels() {
	s.t.Helper()
	for _, k := range spread(len(s.splits)+1, 10) {
		what := fmt.Sprintf("cancel the listing after %d splits", k)
		n, err := s.cancelListing(what, k)
		s.that(cancelled(err) || err == nil && n == len(s.splits),
			"%s: %d of %d splits and the error %v; want all of them or context.Canceled", what, n, len(s.splits), err)
	}
	for _, sp := range s.splits {
		batches := s.whole[sp.ID].batches + s.whole[sp.ID].bad
		for _, k := range spread(batches+1, 20) {
			what := fmt.Sprintf("cancel before Next number %d of %q", k+1, sp.ID)
			p := newProbe(s.checker, s.scan.Schema().NumFields())
			err := s.call(what, func() error {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				return s.readSome(ctx, p, sp, k, func(rd stage.Reader) error {
					cancel()
					return nextCancelled(ctx, rd, k >= batches)
				})
			})
			s.must(err, "%s", what)
			p.settle(what)
		}
		s.openCancelled(sp)
	}
}

func nextCancelled(ctx context.Context, rd stage.Reader, atEnd bool) error {
	b, err := rd.Next(ctx, 0)
	if len(b.Parts) > 0 {
		n := b.NumRows()
		b.Release()
		return breachf("Next under a cancelled context gave %d rows and the error %v", n, err)
	}
	if !cancelled(err) && !(atEnd && err == io.EOF) {
		return breachf("Next under a cancelled context: %v, not context.Canceled", err)
	}
	return nil
}

func (s *sourceCheck) cancelListing(what string, k int) (n int, err error) {
	s.t.Helper()
	err = s.call(what, func() error {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if k == 0 {
			cancel()
		}
		for _, err := range s.scan.Splits(ctx) {
			if err != nil {
				return err
			}
			if n++; n == k {
				cancel()
			}
		}
		return nil
	})
	return n, err
}

func (s *sourceCheck) openCancelled(sp stage.Split) {
	s.t.Helper()
	what := fmt.Sprintf("open %q under a cancelled context", sp.ID)
	p := newProbe(s.checker, s.scan.Schema().NumFields())
	err := s.call(what, func() error {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		rd, err := s.scan.Open(ctx, p.env(stage.Env{}), sp, 0)
		if err != nil {
			return err
		}
		return errors.Join(nextCancelled(ctx, rd, s.whole[sp.ID].batches == 0), rd.Close())
	})
	s.that(err == nil || cancelled(err), "%s: %v, not context.Canceled", what, err)
	p.settle(what)
}

// reservations makes each call of Env.Reserve fail in turn.
func (s *sourceCheck) reservations() {
	s.t.Helper()
	for _, sp := range s.splits {
		p := newProbe(s.checker, s.scan.Schema().NumFields())
		_, err := s.read("count reservations", reading{scan: s.scan, split: sp, probe: p})
		s.must(err, "read %q", sp.ID)
		for _, k := range spread(p.reserves(), 10) {
			what := fmt.Sprintf("reservation %d for %q fails", k+1, sp.ID)
			q := newProbe(s.checker, s.scan.Schema().NumFields())
			q.failAt = k + 1
			_, err := s.read(what, reading{scan: s.scan, split: sp, probe: q})
			s.that(injected(err), "%s: the reader's error is %v", what, err)
			q.settle(what)
		}
	}
}

// stream reads all splits of a newly planned scan, one after the other.
func (s *sourceCheck) stream(what string, req stage.ScanRequest) (stage.Scan, []splitRows, []stage.Split) {
	s.t.Helper()
	scan := s.planned(what, req)
	splits := s.listed(what, scan)
	got := make([]splitRows, len(splits))
	for i, sp := range splits {
		_, known := s.whole[sp.ID]
		s.that(known, "%s: split %q is not among those of the whole source", what, sp.ID)
		got[i] = s.readNew(what, scan, sp, 0, 0)
	}
	return scan, got, splits
}

// limits asks for the first rows only: at least those must come, and come first.
func (s *sourceCheck) limits() {
	s.t.Helper()
	all := s.all()
	for _, limit := range []int64{1, all.NumRows() / 2, all.NumRows()} {
		if limit == 0 {
			continue
		}
		what := fmt.Sprintf("limit %d", limit)
		scan, got, _ := s.stream(what, stage.ScanRequest{Limit: limit})
		recs := make([]arrow.Record, len(got))
		for i := range got {
			recs[i] = got[i].rec
		}
		rec, err := joinRecords(heap, scan.Schema(), recs)
		s.must(err, "%s", what)
		want := min(limit, all.NumRows())
		s.that(rec.NumRows() >= want, "%s: only %d rows", what, rec.NumRows())
		s.must(diffRecords(all.NewSlice(0, want), rec.NewSlice(0, want), 0), "%s", what)
	}
}

// filter plans with a filter: the rows that it keeps must come, and others only if the
// scan leaves something of the filter to us.
func (s *sourceCheck) filter(what string, f Filter) {
	s.t.Helper()
	scan, got, splits := s.stream(what, stage.ScanRequest{Filter: f.Expr})
	at := map[string]splitRows{}
	for i, sp := range splits {
		at[sp.ID] = got[i]
	}
	for _, sp := range s.splits {
		base, have := s.whole[sp.ID], at[sp.ID]
		var rows []rowAt
		k := 0
		for i, row := range base.rows {
			came := k < len(have.rows) && have.rows[k] == row
			if came {
				rows = append(rows, rowAt{base.rec, i})
				k++
			}
			keep := f.Keep(base.rec, i)
			s.that(came || !keep, "%s: row %d of %q is missing", what, row, sp.ID)
			s.that(keep || !came || scan.Residual() != nil, "%s: row %d of %q does not pass it, and Residual is nil", what, row, sp.ID)
		}
		s.that(k == len(have.rows), "%s: split %q has rows that it has not without the filter", what, sp.ID)
		if len(rows) == 0 {
			continue
		}
		want, err := gather(heap, scan.Schema(), rows)
		s.must(err, "%s", what)
		s.must(diffRecords(want, have.rec, 0), "%s: split %q", what, sp.ID)
	}
}

// faults makes each call of the storage fail in turn: an error or all the rows, and no
// trace of it afterwards.
func (s *sourceCheck) faults() {
	s.t.Helper()
	if s.opt.Faults == nil {
		return
	}
	s.opt.Faults.each(func(n int) bool {
		what := fmt.Sprintf("storage call %d fails", n)
		p := newProbe(s.checker, s.scan.Schema().NumFields())
		got := map[string]splitRows{}
		err := s.call(what, func() error { return s.readSource(p, got) })
		hit := s.opt.Faults.Hit()
		s.opt.Faults.Arm(0)
		p.settle(what)
		if err != nil {
			s.that(hit, "%s: %v, though no call failed", what, err)
			s.that(injected(err), "%s: the error does not tell its cause: %v", what, err)
			return hit
		}
		s.that(len(got) == len(s.splits), "%s: %d splits, not %d, and no error", what, len(got), len(s.splits))
		for _, sp := range s.splits {
			s.that(got[sp.ID].bad == s.whole[sp.ID].bad, "%s: %q has lost rows to skippable errors", what, sp.ID)
			s.expect(what+", and no error came of it", sp, nil, 0, got[sp.ID])
		}
		return hit
	})
	p := newProbe(s.checker, s.scan.Schema().NumFields())
	s.must(s.call("read after the faults", func() error { return s.readSource(p, map[string]splitRows{}) }), "read after the faults")
	p.settle("read after the faults")
}

// readSource plans, lists and reads all, from the start.
func (s *sourceCheck) readSource(p *probe, got map[string]splitRows) error {
	ctx := context.Background()
	scan, err := s.src.Plan(ctx, stage.ScanRequest{})
	if err != nil {
		return err
	}
	splits, err := listing(ctx, scan, -1)
	if err != nil {
		return err
	}
	for _, sp := range splits {
		if got[sp.ID], err = readSplit(ctx, reading{scan: scan, split: sp, probe: p}); err != nil {
			return err
		}
	}
	return nil
}
