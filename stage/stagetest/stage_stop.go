package stagetest

import (
	"context"
	"errors"
	"fmt"
)

// errEmit is what a failing emit returns.
var errEmit = fmt.Errorf("emit: %w", ErrInjected)

// concurrent runs several workers at once, and as many calls on each as the stage says.
func (s *stageCheck) concurrent() {
	s.t.Helper()
	calls := s.bound.Need.Calls()
	rows := max(1, int(s.reads.NumRows())/(4*calls))
	for _, workers := range []int{1, 2} {
		what := fmt.Sprintf("run %d workers with %d calls at once", workers, calls)
		got := s.run(what, scenario{spans: s.cut(rows), workers: workers, calls: calls})
		if s.bound.Need.RowWise {
			s.same(what, got)
		}
	}
}

// emitFails makes each emit fail in turn.
func (s *stageCheck) emitFails() {
	s.t.Helper()
	for _, k := range spread(s.base.emits, 20) {
		what := fmt.Sprintf("emit number %d fails", k+1)
		got := s.run(what, scenario{spans: s.largest(), mayFail: true, onEmit: failAt(k + 1)})
		s.that(errors.Is(got.err, errEmit), "%s: Process returned %v", what, got.err)
	}
}

// largest is the spans of the run that all others are compared with.
func (s *stageCheck) largest() []span { return s.cut(max(1, int(s.reads.NumRows()))) }

func failAt(k int) func(int) error {
	return func(n int) error {
		if n == k {
			return errEmit
		}
		return nil
	}
}

// retries makes each emit fail in turn, and has the same worker go on behind the rows
// that Through said are finished: all in all the outcome must be the same.
func (s *stageCheck) retries() {
	s.t.Helper()
	if !s.bound.Need.Retryable {
		return
	}
	for _, k := range spread(s.base.emits, 20) {
		what := fmt.Sprintf("emit number %d fails, and the rows behind Through are tried again", k+1)
		got := s.run(what, scenario{spans: s.largest(), retry: true, mayFail: true, onEmit: failAt(k + 1)})
		if errors.Is(got.err, errEmit) {
			return // in Finish, which has no rows to try again
		}
		s.must(got.err, "%s", what)
		if s.bound.Need.RowWise {
			s.same(what, got)
		}
	}
}

// cancels ends the context before the first batch and at each emit, which returns nil
// the one time, as if there had been room, and the context's error the other.
func (s *stageCheck) cancels() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	got := s.run("run under a cancelled context", scenario{spans: s.largest(), mayFail: true, ctx: ctx})
	s.that(got.err == nil || cancelled(got.err), "run under a cancelled context: %v", got.err)
	for _, k := range spread(s.base.emits, 20) {
		for _, refuse := range []bool{false, true} {
			what := fmt.Sprintf("cancel at emit number %d", k+1)
			if refuse {
				what = fmt.Sprintf("cancel while emit number %d waits", k+1)
			}
			ctx, cancel := context.WithCancel(context.Background())
			got := s.run(what, scenario{spans: s.largest(), mayFail: true, ctx: ctx, onEmit: func(n int) error {
				if n <= k {
					return nil
				}
				cancel()
				if refuse {
					return ctx.Err()
				}
				return nil
			}})
			cancel()
			s.that(cancelled(got.err) || got.err == nil && !refuse, "%s: %v, not context.Canceled", what, got.err)
		}
	}
}

// reservations makes each call of Env.Reserve fail in turn.
func (s *stageCheck) reservations() {
	s.t.Helper()
	for _, k := range spread(s.base.reserves, 10) {
		what := fmt.Sprintf("reservation %d fails", k+1)
		got := s.run(what, scenario{spans: s.largest(), mayFail: true, failAt: k + 1})
		s.that(injected(got.err), "%s: Process returned %v", what, got.err)
	}
}
