package stagetest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// twistedSink is a memory sink with one thing wrong.
type twistedSink struct {
	*stagetest.MemorySink
	mu     sync.Mutex
	shown  []arrow.Record // beside what is committed
	hidden bool
	begun  int

	check  func(s *twistedSink) error
	begin  func(s *twistedSink, ctx context.Context, schema *arrow.Schema, job stage.JobID) ([]stage.Part, error)
	open   func(s *twistedSink, ctx context.Context, env stage.Env, part stage.PartID) (stage.PartWriter, error)
	commit func(s *twistedSink, ctx context.Context, parts []stage.Part) error
	abort  func(s *twistedSink, ctx context.Context) error
	keep   func(s *twistedSink, ctx context.Context) error
	write  func(w *twistedWriter, ctx context.Context, rec arrow.Record) error
	close  func(w *twistedWriter, ctx context.Context) (stage.Part, error)
	drop   func(w *twistedWriter, ctx context.Context) error
}

type twistedWriter struct {
	stage.PartWriter
	sink   *twistedSink
	id     stage.PartID
	env    stage.Env
	closed bool
}

func (s *twistedSink) show(rec arrow.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown = append(s.shown, rec)
}

func (s *twistedSink) Check(ctx context.Context, schema *arrow.Schema) error {
	if s.check != nil {
		return s.check(s)
	}
	return s.MemorySink.Check(ctx, schema)
}

func (s *twistedSink) Begin(ctx context.Context, schema *arrow.Schema, job stage.JobID) ([]stage.Part, error) {
	s.begun++
	if s.begin != nil {
		return s.begin(s, ctx, schema, job)
	}
	return s.MemorySink.Begin(ctx, schema, job)
}

func (s *twistedSink) OpenPart(ctx context.Context, env stage.Env, part stage.PartID) (stage.PartWriter, error) {
	if s.open != nil {
		return s.open(s, ctx, env, part)
	}
	return s.writer(ctx, env, part)
}

func (s *twistedSink) writer(ctx context.Context, env stage.Env, part stage.PartID) (stage.PartWriter, error) {
	w, err := s.MemorySink.OpenPart(ctx, env, part)
	if err != nil {
		return nil, err
	}
	return &twistedWriter{PartWriter: w, sink: s, id: part, env: env}, nil
}

func (s *twistedSink) Commit(ctx context.Context, parts []stage.Part) error {
	if s.commit != nil {
		return s.commit(s, ctx, parts)
	}
	return s.MemorySink.Commit(ctx, parts)
}

func (s *twistedSink) Abort(ctx context.Context) error {
	if s.abort != nil {
		return s.abort(s, ctx)
	}
	return s.MemorySink.Abort(ctx)
}

func (s *twistedSink) Keep(ctx context.Context) error {
	if s.keep != nil {
		return s.keep(s, ctx)
	}
	return s.MemorySink.Keep(ctx)
}

func (w *twistedWriter) Write(ctx context.Context, rec arrow.Record) error {
	if w.sink.write != nil {
		return w.sink.write(w, ctx, rec)
	}
	return w.PartWriter.Write(ctx, rec)
}

func (w *twistedWriter) Close(ctx context.Context) (stage.Part, error) {
	w.closed = true
	if w.sink.close != nil {
		return w.sink.close(w, ctx)
	}
	return w.PartWriter.Close(ctx)
}

func (w *twistedWriter) Abort(ctx context.Context) error {
	if w.sink.drop != nil {
		return w.sink.drop(w, ctx)
	}
	return w.PartWriter.Abort(ctx)
}

// checkSink checks memory sinks that were twisted.
func checkSink(tb testing.TB, twist func(s *twistedSink), opt stagetest.SinkOptions) {
	all := map[string]*twistedSink{}
	opt.Patience = time.Second
	stagetest.Sink(tb, func(dir string) stage.Sink {
		if all[dir] == nil {
			all[dir] = &twistedSink{MemorySink: &stagetest.MemorySink{Faults: opt.Faults}}
			twist(all[dir])
		}
		return all[dir]
	}, func(dir string) ([]arrow.Record, error) {
		s := all[dir]
		if s.hidden {
			return nil, nil
		}
		recs := append(s.Records(false), s.shown...)
		for _, r := range recs {
			r.Retain()
		}
		return recs, nil
	}, opt)
}

func TestMemorySinkKeepsTheContract(t *testing.T) {
	plain := func(*twistedSink) {}
	checkSink(t, plain, stagetest.SinkOptions{Faults: &stagetest.Faults{}})
	checkSink(t, plain, stagetest.SinkOptions{Records: []arrow.Record{rows(0, 6), rows(6, 9)}, Text: true})
	checkSink(t, plain, stagetest.SinkOptions{Unordered: true})
	checkSink(t, func(s *twistedSink) { s.NoErrors = true }, stagetest.SinkOptions{})
	checkSink(t, func(s *twistedSink) { // one that may not replace
		refuse := func(s *twistedSink) error {
			if s.Commits() > 0 {
				return fmt.Errorf("there: %w", stage.ErrOutputExists)
			}
			return nil
		}
		s.check = refuse
		s.begin = func(s *twistedSink, ctx context.Context, schema *arrow.Schema, job stage.JobID) ([]stage.Part, error) {
			if err := refuse(s); err != nil {
				return nil, err
			}
			return s.MemorySink.Begin(ctx, schema, job)
		}
	}, stagetest.SinkOptions{})
}

func TestMemorySinkTellsWhatItHolds(t *testing.T) {
	m := &stagetest.MemorySink{}
	ctx := context.Background()
	_, err := m.Begin(ctx, schema, "job")
	require.NoError(t, err)
	var done []stage.Part
	for _, id := range []stage.PartID{{Group: 1}, {Group: 0, Errors: true}, {Group: 0}} {
		w, err := m.OpenPart(ctx, stage.Env{}, id)
		require.NoError(t, err)
		require.NoError(t, w.Write(ctx, rows(int(id.Group)*2, int(id.Group)*2+2)))
		part, err := w.Close(ctx)
		require.NoError(t, err)
		done = append(done, part)
	}
	require.Empty(t, m.Records(false))
	require.NoError(t, m.Commit(ctx, done))
	require.Len(t, m.Records(false), 2)
	require.Len(t, m.Records(true), 1)
	require.Equal(t, 1, m.Commits())
	require.Equal(t, []stage.Part{done[2], done[0], done[1]}, m.Parts())
	require.ErrorContains(t, m.Commit(ctx, []stage.Part{{ID: stage.PartID{Group: 9}}}), "never finished")
}

func TestSinkFindsBrokenSinks(t *testing.T) {
	boom := errors.New("boom")
	for words, twist := range map[string]func(s *twistedSink){
		"after Check: 2 rows": func(s *twistedSink) {
			s.check = func(s *twistedSink) error { s.show(sampleRows(2)); return nil }
		},
		"before Commit: 3 rows": func(s *twistedSink) {
			s.close = func(w *twistedWriter, ctx context.Context) (stage.Part, error) {
				w.sink.show(sampleRows(1))
				return w.PartWriter.Close(ctx)
			}
		},
		"after Commit: 0 rows, not 50": func(s *twistedSink) { s.hidden = true },
		"after the second Commit": func(s *twistedSink) {
			s.commit = func(s *twistedSink, ctx context.Context, parts []stage.Part) error {
				if s.Commits() > 0 {
					s.show(sampleRows(1))
				}
				return s.MemorySink.Commit(ctx, parts)
			}
		},
		"commit the same parts again: boom": func(s *twistedSink) {
			s.commit = func(s *twistedSink, ctx context.Context, parts []stage.Part) error {
				if s.Commits() > 0 {
					return boom
				}
				return s.MemorySink.Commit(ctx, parts)
			}
		},
		"commit no parts: boom": func(s *twistedSink) {
			s.commit = func(s *twistedSink, ctx context.Context, parts []stage.Part) error {
				if len(parts) == 0 {
					return boom
				}
				return s.MemorySink.Commit(ctx, parts)
			}
		},
		"after the commit of parts 0 and 2": func(s *twistedSink) {
			var all []stage.Part
			s.close = func(w *twistedWriter, ctx context.Context) (stage.Part, error) {
				p, err := w.PartWriter.Close(ctx)
				w.sink.mu.Lock()
				defer w.sink.mu.Unlock()
				all = append(all, p)
				return p, err
			}
			s.commit = func(s *twistedSink, ctx context.Context, _ []stage.Part) error { return s.MemorySink.Commit(ctx, all) }
		},
		"Close gave": func(s *twistedSink) {
			s.close = func(w *twistedWriter, ctx context.Context) (stage.Part, error) {
				p, err := w.PartWriter.Close(ctx)
				p.Rows++
				return p, err
			}
		},
		"cannot go through JSON": func(s *twistedSink) {
			s.close = func(w *twistedWriter, ctx context.Context) (stage.Part, error) {
				p, err := w.PartWriter.Close(ctx)
				p.Spec = []byte("{")
				return p, err
			}
		},
		"Abort after Close: boom": func(s *twistedSink) {
			s.drop = func(w *twistedWriter, ctx context.Context) error {
				if w.closed {
					return boom
				}
				return nil
			}
		},
		"Begin gave the unfinished part": func(s *twistedSink) {
			s.begin = func(s *twistedSink, ctx context.Context, schema *arrow.Schema, job stage.JobID) ([]stage.Part, error) {
				found, err := s.MemorySink.Begin(ctx, schema, job)
				if s.begun > 1 && len(found) == 0 {
					found = []stage.Part{{}}
				}
				return found, err
			}
		},
		"another process goes on: Begin gave": func(s *twistedSink) {
			s.begin = func(s *twistedSink, ctx context.Context, schema *arrow.Schema, job stage.JobID) ([]stage.Part, error) {
				found, err := s.MemorySink.Begin(ctx, schema, job)
				for i := range found {
					found[i].Rows = 0
				}
				return found, err
			}
		},
		"Begin gave it the parts of the first": func(s *twistedSink) {
			s.begin = func(s *twistedSink, ctx context.Context, schema *arrow.Schema, _ stage.JobID) ([]stage.Part, error) {
				return s.MemorySink.Begin(ctx, schema, "job")
			}
		},
		"keep in a new place, with no part: boom": func(s *twistedSink) {
			s.keep = func(*twistedSink, context.Context) error { return boom }
		},
		"keep in a new place: Begin gave []": func(s *twistedSink) {
			s.keep = func(s *twistedSink, ctx context.Context) error { return s.MemorySink.Abort(ctx) }
		},
		"keep over former data, with no part: 0 rows, not 50": func(s *twistedSink) {
			s.keep = func(s *twistedSink, ctx context.Context) error {
				s.hidden = s.Commits() > 0
				return nil
			}
		},
		"Begin gave parts that were dropped": func(s *twistedSink) {
			s.abort = func(*twistedSink, context.Context) error { return nil }
		},
		"twice: boom": func(s *twistedSink) {
			aborts := 0
			s.abort = func(s *twistedSink, ctx context.Context) error {
				if aborts++; aborts > 1 {
					return boom
				}
				return s.MemorySink.Abort(ctx)
			}
		},
		"a second job, aborted: 0 rows, not 50": func(s *twistedSink) {
			s.abort = func(s *twistedSink, ctx context.Context) error {
				s.hidden = s.Commits() > 0
				return s.MemorySink.Abort(ctx)
			}
		},
		"a second job, before Commit: 0 rows": func(s *twistedSink) {
			s.begin = func(s *twistedSink, ctx context.Context, schema *arrow.Schema, job stage.JobID) ([]stage.Part, error) {
				s.hidden = job == "second"
				return s.MemorySink.Begin(ctx, schema, job)
			}
		},
		"which is not ErrOutputExists": func(s *twistedSink) {
			s.check = func(s *twistedSink) error {
				if s.Commits() > 0 {
					return boom
				}
				return nil
			}
		},
		"Check said ErrOutputExists, and Begin <nil>": func(s *twistedSink) {
			s.check = func(s *twistedSink) error {
				if s.Commits() > 0 {
					return stage.ErrOutputExists
				}
				return nil
			}
		},
		"neither written nor refused": func(s *twistedSink) {
			s.open = func(s *twistedSink, ctx context.Context, env stage.Env, part stage.PartID) (stage.PartWriter, error) {
				if part.Errors {
					return nil, boom
				}
				return s.writer(ctx, env, part)
			}
		},
		"a part of failed rows: 53 rows": func(s *twistedSink) {
			s.close = func(w *twistedWriter, ctx context.Context) (stage.Part, error) {
				if w.id.Errors {
					w.sink.show(sampleRows(3))
				}
				return w.PartWriter.Close(ctx)
			}
		},
		"Write changed or released its record": func(s *twistedSink) {
			s.write = func(w *twistedWriter, ctx context.Context, rec arrow.Record) error {
				err := w.PartWriter.Write(ctx, rec)
				rec.Release()
				return err
			}
		},
		"bytes were not released": func(s *twistedSink) {
			s.write = func(w *twistedWriter, ctx context.Context, rec arrow.Record) error {
				rec.Retain()
				return w.PartWriter.Write(ctx, rec)
			}
		},
		"stay charged for writer buffers": func(s *twistedSink) {
			s.open = func(s *twistedSink, ctx context.Context, env stage.Env, part stage.PartID) (stage.PartWriter, error) {
				env.Book(stage.WriterBuffers, 10)
				return s.writer(ctx, env, part)
			}
		},
		"write: panic": func(s *twistedSink) {
			s.write = func(*twistedWriter, context.Context, arrow.Record) error { panic("oh") }
		},
		"no return after": func(s *twistedSink) {
			s.commit = func(s *twistedSink, ctx context.Context, parts []stage.Part) error {
				<-t.Context().Done()
				return nil
			}
		},
		"not context.Canceled": func(s *twistedSink) {
			s.commit = func(s *twistedSink, ctx context.Context, parts []stage.Part) error {
				if ctx.Err() != nil {
					return boom
				}
				return s.MemorySink.Commit(ctx, parts)
			}
		},
		"neither nothing nor all is to be seen": func(s *twistedSink) {
			s.commit = func(s *twistedSink, ctx context.Context, parts []stage.Part) error {
				if ctx.Err() != nil {
					s.show(sampleRows(5))
				}
				return s.MemorySink.Commit(ctx, parts)
			}
		},
		"call 3 of a job under a cancelled context, and no error came of it": func(s *twistedSink) {
			s.write = func(w *twistedWriter, ctx context.Context, rec arrow.Record) error {
				if ctx.Err() != nil {
					return nil
				}
				return w.PartWriter.Write(ctx, rec)
			}
		},
	} {
		refuses(t, words, func(tb testing.TB) { checkSink(tb, twist, stagetest.SinkOptions{}) })
	}
}

// sampleRows has the first rows that the check writes.
func sampleRows(n int) arrow.Record { return stagetest.Sample().NewSlice(0, int64(n)) }

func TestSinkFindsSwallowedFaults(t *testing.T) {
	for words, fail := range map[string]func(w *twistedWriter, err error) error{
		"and no error came of it: ": func(*twistedWriter, error) error { return nil },
		"does not tell its cause":   func(*twistedWriter, error) error { return errors.New("disk") },
		"panic: no error handling":  func(*twistedWriter, error) error { panic("no error handling") },
		"writer buffers": func(w *twistedWriter, err error) error {
			w.env.Book(stage.WriterBuffers, 1)
			return err
		},
	} {
		faults := &stagetest.Faults{}
		refuses(t, words, func(tb testing.TB) {
			checkSink(tb, func(s *twistedSink) {
				s.write = func(w *twistedWriter, ctx context.Context, rec arrow.Record) error {
					err := w.PartWriter.Write(ctx, rec)
					if errors.Is(err, stagetest.ErrInjected) {
						return fail(w, err)
					}
					return err
				}
			}, stagetest.SinkOptions{Faults: faults})
		})
	}
}
