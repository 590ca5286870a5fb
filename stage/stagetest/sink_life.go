package stagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

func (s *sinkCheck) check(what string, p *place) error {
	s.t.Helper()
	return s.call(what+": check", func() error { return p.sink.Check(context.Background(), s.rows.Schema()) })
}

// life is what every job does.
func (s *sinkCheck) life() {
	s.t.Helper()
	const what = "a whole life"
	p := s.place()
	id := p.sink.ID()
	s.that(id.Name != "", "ID: no name")
	s.must(s.check(what, p), "%s: check", what)
	p.shows("after Check")
	s.that(len(p.begin(what, "job")) == 0, "%s: Begin gave parts of a new output", what)
	p.shows("after Begin")
	done := p.writeAll(what)
	p.shows("before Commit")
	p.commit("commit", done)
	p.shows("after Commit", s.rows)
	p.commit("commit the same parts again", done)
	p.shows("after the second Commit", s.rows)
	s.that(id.Fingerprint() == p.sink.ID().Fingerprint(), "ID: not the same after a job")
}

// nothing commits no parts, and a part without rows.
func (s *sinkCheck) nothing() {
	s.t.Helper()
	p := s.place()
	p.begin("no parts", "job")
	p.commit("commit no parts", nil)
	p.shows("after the commit of no parts")

	p = s.place()
	p.begin("a part without rows", "job")
	var part stage.Part
	err := s.call("a part without rows", func() error {
		w, err := p.sink.OpenPart(context.Background(), p.probe.env(stage.Env{}), stage.PartID{})
		if err != nil {
			return err
		}
		part, err = w.Close(context.Background())
		return err
	})
	s.must(err, "a part without rows")
	s.that(part.Rows == 0, "a part without rows: it says %d", part.Rows)
	p.probe.settle("a part without rows")
	p.commit("commit a part without rows", []stage.Part{part})
	p.shows("after the commit of a part without rows")
}

// some commits some of the parts that are finished.
func (s *sinkCheck) some() {
	s.t.Helper()
	p := s.place()
	p.begin("commit some parts", "job")
	done := p.writeAll("commit some parts")
	p.commit("commit some parts", []stage.Part{done[0], done[2]})
	p.shows("after the commit of parts 0 and 2", s.piece(0), s.piece(2))
}

// reopened drops a part and writes it again, and leaves one unfinished for the next
// process, which writes it anew.
func (s *sinkCheck) reopened() {
	s.t.Helper()
	const what = "a part written again"
	p := s.place()
	p.begin(what, "job")
	err := s.call(what, func() error {
		ctx := context.Background()
		for _, drop := range []bool{true, false} {
			w, err := p.sink.OpenPart(ctx, p.probe.env(stage.Env{}), stage.PartID{})
			if err != nil {
				return err
			}
			if err := p.fill(ctx, w, s.piece(1)); err != nil {
				return err
			}
			if !drop {
				break // as if the process had died
			}
			if err := w.Abort(ctx); err != nil {
				return fmt.Errorf("abort the part: %w", err)
			}
			p.probe.settle(what + ": a part was aborted")
		}
		return nil
	})
	s.must(err, what)
	p = p.again()
	p.probe = newProbe(s.checker, -1) // what the dead process held went with it
	s.that(len(p.begin(what, "job")) == 0, "%s: Begin gave the unfinished part", what)
	p.commit(what, p.writeAll(what))
	p.shows(what, s.rows)
}

// resumed has another process go on with the job, and commit parts that it did not
// write.
func (s *sinkCheck) resumed() {
	s.t.Helper()
	const what = "another process goes on"
	p := s.place()
	p.begin(what, "job")
	done := p.writeAll(what)
	p = p.again()
	found := p.begin(what, "job")
	s.that(sameParts(found, done), "%s: Begin gave %v, not some of %v", what, found, done)
	p.shows(what + ", before it commits")
	for k := range done {
		if slices.ContainsFunc(found, func(f stage.Part) bool { return f.ID == done[k].ID }) {
			continue
		}
		err := s.call(what, func() (err error) {
			done[k], err = p.write(context.Background(), stage.PartID{Group: int64(k)}, s.piece(k))
			return err
		})
		s.must(err, "%s: write part %d", what, k)
	}
	p.commit(what+" and commits", done)
	p.shows(what+" and commits", s.rows)
	p.commit(what+" and commits again", done)
	p.shows(what+" and commits again", s.rows)
}

// otherJob has another job take over what one left unfinished.
func (s *sinkCheck) otherJob() {
	s.t.Helper()
	const what = "another job in the same place"
	p := s.place()
	p.begin(what, "job")
	p.writeAll(what)
	p = p.again()
	s.that(len(p.begin(what, "other job")) == 0, "%s: Begin gave it the parts of the first", what)
	var part stage.Part
	err := s.call(what, func() (err error) {
		part, err = p.write(context.Background(), stage.PartID{Group: 1}, s.piece(0))
		return err
	})
	s.must(err, what)
	p.commit(what, []stage.Part{part})
	p.shows(what, s.piece(0))
}

// aborted aborts a job in a new place, at each step.
func (s *sinkCheck) aborted() {
	s.t.Helper()
	for _, written := range []bool{false, true} {
		what := "abort after Begin"
		p := s.place()
		p.begin(what, "job")
		if written {
			what = "abort after all is written"
			p.writeAll(what)
		}
		p.abort(what)
		p.shows(what)
		p.abort(what + ", twice")
		p = p.again()
		s.that(len(p.begin(what, "job")) == 0, "%s: Begin gave parts that were dropped", what)
		p.commit(what+", then run again", p.writeAll(what))
		p.shows(what+", then run again", s.rows)
	}
}

// keep ends the job at a place without losing its parts; false where it cannot.
func (p *place) keep(what string) bool {
	p.s.t.Helper()
	k, ok := p.sink.(stage.Keeper)
	if ok {
		for _, when := range []string{"", ", twice"} {
			p.s.must(p.s.call(what+when, func() error { return k.Keep(context.Background()) }), "%s%s", what, when)
		}
	}
	return ok
}

// kept ends a job by Keep, in a new place and in one that has data: what is to be seen
// stays as it was, the same job is given the parts, and another one is not.
func (s *sinkCheck) kept() {
	s.t.Helper()
	for _, former := range []bool{false, true} {
		what, seen := "keep in a new place", []arrow.Record(nil)
		if former {
			what, seen = "keep over former data", []arrow.Record{s.rows}
		}
		p := s.place()
		if former {
			p.begin(what, "former")
			p.commit(what, p.writeAll(what))
			if p = p.again(); s.check(what, p) != nil {
				return // it may not be written twice
			}
		}
		p.begin(what, "job")
		if !p.keep(what + ", with no part") {
			return
		}
		p.shows(what+", with no part", seen...)
		s.that(len(p.begin(what, "job")) == 0, "%s: Begin gave parts, and none was written", what)
		done := p.writeAll(what)
		p.keep(what)
		p.shows(what, seen...)
		p = p.again()
		found := p.begin(what, "job")
		s.that(len(found) == len(done) && sameParts(found, done), "%s: Begin gave %v, not %v", what, found, done)
		p.keep(what + ", once more")
		p = p.again()
		s.that(len(p.begin(what, "other job")) == 0, "%s: Begin gave another job the parts that were kept", what)
		p.abort(what + ": abort the other job")
		p.shows(what+", another job aborted", seen...)
		p = p.again()
		s.that(len(p.begin(what, "job")) == 0, "%s: the parts outlived another job", what)
		p.writeAll(what)
		p.keep(what + " again")
		found = p.begin(what, "job")
		p.commit(what+" and commit what was kept", found)
		if s.opt.Appends {
			seen = append(seen, s.rows)
		} else {
			seen = []arrow.Record{s.rows}
		}
		p.shows(what+" and commit what was kept", seen...)
	}
}

// second runs a second job where one has been committed.
func (s *sinkCheck) second() {
	s.t.Helper()
	const what = "a second job"
	p := s.place()
	p.begin(what, "job")
	p.commit(what, p.writeAll(what))
	p = p.again()
	if err := s.check(what, p); err != nil {
		s.that(errors.Is(err, stage.ErrOutputExists), "%s: check: %v, which is not ErrOutputExists", what, err)
		err = s.call(what, func() error {
			_, err := p.sink.Begin(context.Background(), s.rows.Schema(), "second")
			return err
		})
		s.that(errors.Is(err, stage.ErrOutputExists), "%s: Check said ErrOutputExists, and Begin %v", what, err)
		p.shows(what+", refused", s.rows)
		return
	}
	p.begin(what, "second")
	p.writeAll(what)
	p.shows(what+", before Commit", s.rows)
	p.abort(what + ": abort")
	p.shows(what+", aborted", s.rows)

	p = p.again()
	p.begin(what, "third")
	part := p.writeAll(what)[1:2]
	p.commit(what, part)
	want := []arrow.Record{s.piece(1)}
	if s.opt.Appends {
		want = []arrow.Record{s.rows, s.piece(1)}
	}
	p.shows(what+", committed", want...)
	p.commit(what+": commit again", part)
	p.shows(what+", committed again", want...)
}

// failedRows writes a part of dead letters, which are not among the rows.
func (s *sinkCheck) failedRows() {
	s.t.Helper()
	const what = "a part of failed rows"
	p := s.place()
	p.begin(what, "job")
	done := p.writeAll(what)
	var part stage.Part
	err := s.call(what, func() (err error) {
		part, err = p.write(context.Background(), stage.PartID{Errors: true}, deadLetters())
		return err
	})
	if errors.Is(err, errors.ErrUnsupported) {
		return
	}
	s.must(err, "%s: neither written nor refused with errors.ErrUnsupported", what)
	p.probe.settle(what)
	p.commit(what, append(done, part))
	p.shows(what, s.rows)
}

func deadLetters() arrow.Record {
	b := array.NewRecordBuilder(heap, stage.ErrorSchema())
	defer b.Release()
	for i := range 3 {
		for _, k := range []int{0, 1, 2, 3, 5} {
			b.Field(k).(*array.StringBuilder).Append(fmt.Sprintf("%d.%d", i, k))
		}
		b.Field(4).(*array.Int32Builder).Append(1)
		b.Field(6).(*array.Int64Builder).Append(int64(i))
	}
	return b.NewRecord()
}

// steps is a job as the calls that it makes, one after the other.
func (p *place) steps(ctx func(step int) context.Context) (committing bool, done []stage.Part, err error) {
	step := 0
	next := func() context.Context {
		step++
		return ctx(step)
	}
	if _, err := p.sink.Begin(next(), p.s.rows.Schema(), "job"); err != nil {
		return false, nil, err
	}
	for k := range parts {
		part, err := p.writeSteps(next, stage.PartID{Group: int64(k)}, p.s.piece(k))
		if err != nil {
			return false, nil, err
		}
		done = append(done, part)
	}
	return true, done, p.sink.Commit(next(), done)
}

func (p *place) writeSteps(next func() context.Context, id stage.PartID, rec arrow.Record) (stage.Part, error) {
	w, err := p.sink.OpenPart(next(), p.probe.env(stage.Env{}), id)
	if err != nil {
		return stage.Part{}, err
	}
	if err = p.fill(next(), w, rec); err == nil {
		var part stage.Part
		if part, err = w.Close(next()); err == nil {
			return throughJSON(part)
		}
	}
	return stage.Part{}, errors.Join(err, w.Abort(context.Background()))
}

const stepsOfJob = 2 + 3*parts

// cancels makes each call of a job with a cancelled context: it fails with
// context.Canceled or does its work, and nothing is to be seen of half a job.
func (s *sinkCheck) cancels() {
	s.t.Helper()
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	for step := 1; step <= stepsOfJob; step++ {
		what := fmt.Sprintf("call %d of a job under a cancelled context", step)
		p := s.place()
		var committing bool
		var done []stage.Part
		err := s.call(what, func() (err error) {
			committing, done, err = p.steps(func(n int) context.Context {
				if n == step {
					return stopped
				}
				return context.Background()
			})
			return err
		})
		s.that(err == nil || cancelled(err), "%s: %v, not context.Canceled", what, err)
		s.mend(what, p, committing, done, err)
	}
}

// faults makes each call of the storage fail in turn.
func (s *sinkCheck) faults() {
	s.t.Helper()
	if s.opt.Faults == nil {
		return
	}
	s.opt.Faults.each(func(n int) bool {
		what := fmt.Sprintf("storage call %d fails", n)
		s.opt.Faults.Arm(0)
		p := s.place()
		s.opt.Faults.Arm(n)
		var committing bool
		var done []stage.Part
		err := s.call(what, func() (err error) {
			committing, done, err = p.steps(func(int) context.Context { return context.Background() })
			return err
		})
		hit := s.opt.Faults.Hit()
		s.opt.Faults.Arm(0)
		s.that(err == nil || hit, "%s: %v, though no call failed", what, err)
		s.that(err == nil || injected(err), "%s: the error does not tell its cause: %v", what, err)
		s.mend(what, p, committing, done, err)
		return hit
	})
}

// mend checks what is to be seen of a job that ended with err, and brings it to its
// end: a commit is called again, anything else is aborted.
func (s *sinkCheck) mend(what string, p *place, committing bool, done []stage.Part, err error) {
	s.t.Helper()
	p.probe.settle(what)
	switch {
	case err == nil:
		p.shows(what+", and no error came of it", s.rows)
	case committing:
		if p.differs() != nil {
			p.shows(what+": neither nothing nor all is to be seen", s.rows)
		}
		p.commit(what+": commit again", done)
		p.shows(what+": commit again", s.rows)
	default:
		p.shows(what)
		p.abort(what + ": abort")
		p.shows(what + ": abort")
	}
}
