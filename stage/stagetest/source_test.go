package stagetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64},
	{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "score", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
	{Name: "tags", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true},
}, nil)

// rows makes rows with the ids [from, to).
func rows(from, to int) arrow.Record {
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	for i := from; i < to; i++ {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%5 == 3 {
			b.Field(1).AppendNull()
			b.Field(2).AppendNull()
			b.Field(3).AppendNull()
			continue
		}
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("row %d", i))
		b.Field(2).(*array.Float32Builder).Append(float32(i) / 3)
		list := b.Field(3).(*array.ListBuilder)
		list.Append(true)
		for k := range i % 3 {
			list.ValueBuilder().(*array.Int32Builder).Append(int32(k))
		}
	}
	return b.NewRecord()
}

// newSource has 40 rows in four splits, one of them without rows.
func newSource() *stagetest.FakeSource {
	return stagetest.NewSource(schema, []arrow.Record{rows(0, 10), rows(10, 25)}, nil, []arrow.Record{rows(25, 26)}, []arrow.Record{rows(26, 40)})
}

func TestFakeSourceKeepsTheContract(t *testing.T) {
	even, err := expr.Parse("id < 20")
	require.NoError(t, err)
	src := newSource()
	src.Faults = &stagetest.Faults{}
	stagetest.Source(t, src, stagetest.SourceOptions{
		Want:    rows(0, 40),
		Bounded: true,
		Faults:  src.Faults,
		Filters: []stagetest.Filter{{Expr: even, Keep: func(rec arrow.Record, row int) bool {
			return rec.Column(0).(*array.Int64).Value(row) < 20
		}}},
	})
	src = newSource()
	src.Unknown = true
	stagetest.Source(t, src, stagetest.SourceOptions{})
	stagetest.Source(t, stagetest.NewSource(schema), stagetest.SourceOptions{Want: rows(0, 0)})
}

// twisted is a source with one thing wrong.
type twisted struct {
	stage.Source
	id   func() stage.StageID
	plan func(req stage.ScanRequest) (stage.Scan, error)
}

func (s twisted) ID() stage.StageID {
	if s.id != nil {
		return s.id()
	}
	return s.Source.ID()
}

func (s twisted) Plan(ctx context.Context, req stage.ScanRequest) (stage.Scan, error) {
	if s.plan != nil {
		return s.plan(req)
	}
	return s.Source.Plan(ctx, req)
}

type twistedScan struct {
	stage.Scan
	schema   *arrow.Schema
	residual func() expr.Expr
	split    func(i int, sp stage.Split) (stage.Split, error)
	splits   iter.Seq2[stage.Split, error]
	open     func(ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error)
}

func (s twistedScan) Schema() *arrow.Schema {
	if s.schema != nil {
		return s.schema
	}
	return s.Scan.Schema()
}

func (s twistedScan) Residual() expr.Expr {
	if s.residual != nil {
		return s.residual()
	}
	return s.Scan.Residual()
}

func (s twistedScan) Splits(ctx context.Context) iter.Seq2[stage.Split, error] {
	if s.splits != nil {
		return s.splits
	}
	if s.split == nil {
		return s.Scan.Splits(ctx)
	}
	return func(yield func(stage.Split, error) bool) {
		i := 0
		for sp, err := range s.Scan.Splits(ctx) {
			if err == nil {
				sp, err = s.split(i, sp)
			}
			if !yield(sp, err) {
				return
			}
			i++
		}
	}
}

func (s twistedScan) Open(ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
	if s.open != nil {
		return s.open(ctx, env, sp, from)
	}
	return s.Scan.Open(ctx, env, sp, from)
}

type twistedReader struct {
	stage.Reader
	env   stage.Env
	calls int
	next  func(r *twistedReader, ctx context.Context, maxBytes int64) (stage.Batch, error)
	close func(r *twistedReader) error
}

func (r *twistedReader) Next(ctx context.Context, maxBytes int64) (stage.Batch, error) {
	r.calls++
	if r.next != nil {
		return r.next(r, ctx, maxBytes)
	}
	return r.Reader.Next(ctx, maxBytes)
}

func (r *twistedReader) Close() error {
	if r.close != nil {
		return r.close(r)
	}
	return r.Reader.Close()
}

func twistScan(twist func(req stage.ScanRequest, s *twistedScan)) stage.Source {
	src := newSource()
	return twisted{Source: src, plan: func(req stage.ScanRequest) (stage.Scan, error) {
		scan, err := src.Plan(context.Background(), req)
		if err != nil {
			return nil, err
		}
		s := &twistedScan{Scan: scan}
		twist(req, s)
		return *s, nil
	}}
}

func twistReader(twist func(r *twistedReader)) stage.Source {
	return twistScan(func(_ stage.ScanRequest, s *twistedScan) {
		inner := s.Scan
		s.open = func(ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
			rd, err := inner.Open(ctx, env, sp, from)
			if err != nil {
				return nil, err
			}
			r := &twistedReader{Reader: rd, env: env}
			twist(r)
			return r, nil
		}
	})
}

// mapBatch is a reader that does something to each batch.
func mapBatch(f func(r *twistedReader, b stage.Batch) stage.Batch) stage.Source {
	return twistReader(func(r *twistedReader) {
		r.next = func(r *twistedReader, ctx context.Context, maxBytes int64) (stage.Batch, error) {
			b, err := r.Reader.Next(ctx, maxBytes)
			if err != nil {
				return b, err
			}
			return f(r, b), nil
		}
	})
}

func withOrigin(b stage.Batch, o stage.Origin) stage.Batch {
	return stage.Batch{Parts: []stage.View{{Record: b.Parts[0].Record, Origin: o}}}
}

func TestSourceFindsBrokenPlans(t *testing.T) {
	n := 0
	for words, src := range map[string]stage.Source{
		"not the same after planning": twisted{Source: newSource(), id: func() stage.StageID {
			n++
			return stage.StageID{Name: fmt.Sprint("source ", n)}
		}},
		"a nil scan":         twisted{Source: newSource(), plan: func(stage.ScanRequest) (stage.Scan, error) { return nil, nil }},
		"plan: panic: oh no": twisted{Source: newSource(), plan: func(stage.ScanRequest) (stage.Scan, error) { panic("oh no") }},
		"want a ColumnError that names it": twisted{Source: newSource(), plan: func(req stage.ScanRequest) (stage.Scan, error) {
			scan, err := newSource().Plan(context.Background(), req)
			if err != nil {
				err = errors.New("something with a column")
			}
			return scan, err
		}},
		"the schema has": twistScan(func(req stage.ScanRequest, s *twistedScan) {
			if req.Columns != nil {
				s.schema = schema
			}
		}),
		"a record's schema is not the scan's": twistScan(func(req stage.ScanRequest, s *twistedScan) {
			fields := s.Scan.Schema().Fields()
			if len(fields) == 4 {
				fields[0].Nullable = true
			}
			s.schema = arrow.NewSchema(fields, nil)
		}),
		"limit 20": twistScan(func(req stage.ScanRequest, s *twistedScan) {
			if req.Limit == 20 {
				s.splits = func(func(stage.Split, error) bool) {}
			}
		}),
	} {
		refuses(t, words, func(tb testing.TB) { stagetest.Source(tb, src, stagetest.SourceOptions{}) })
	}
	refuses(t, "not the rows that are wanted", func(tb testing.TB) {
		stagetest.Source(tb, newSource(), stagetest.SourceOptions{Want: rows(0, 39)})
	})
	refuses(t, "0 rows were refused, not 1", func(tb testing.TB) {
		stagetest.Source(tb, newSource(), stagetest.SourceOptions{BadRows: 1})
	})
}

func TestSourceFindsBrokenListings(t *testing.T) {
	n := 0
	split := func(f func(i int, sp stage.Split) (stage.Split, error)) stage.Source {
		return twistScan(func(_ stage.ScanRequest, s *twistedScan) { s.split = f })
	}
	for words, src := range map[string]stage.Source{
		"comes twice": split(func(i int, sp stage.Split) (stage.Split, error) {
			sp.ID = "one"
			return sp, nil
		}),
		"list again: split 0 is": split(func(i int, sp stage.Split) (stage.Split, error) {
			n++
			sp.Fingerprint = fmt.Sprint(n)
			return sp, nil
		}),
		"but the split says exactly": split(func(i int, sp stage.Split) (stage.Split, error) {
			sp.Rows++
			return sp, nil
		}),
		"before the end of the split before it": split(func(i int, sp stage.Split) (stage.Split, error) {
			sp.Path = "one file"
			return sp, nil
		}),
		"goes on after an error": split(func(i int, sp stage.Split) (stage.Split, error) {
			if i == 1 {
				return stage.Split{}, errors.New("unreadable")
			}
			return sp, nil
		}),
		"want all of them or context.Canceled": twistScan(func(_ stage.ScanRequest, s *twistedScan) {
			s.split = func(i int, sp stage.Split) (stage.Split, error) { return sp, nil }
			inner := s.Scan
			s.Scan = quietScan{inner}
		}),
		"range function continued iteration": twistScan(func(_ stage.ScanRequest, s *twistedScan) {
			inner := s.Scan
			s.splits = func(yield func(stage.Split, error) bool) {
				for sp, err := range inner.Splits(context.Background()) {
					yield(sp, err)
				}
			}
		}),
	} {
		refuses(t, words, func(tb testing.TB) { stagetest.Source(tb, src, stagetest.SourceOptions{}) })
	}
}

// quietScan takes a cancelled listing for a finished one.
type quietScan struct{ stage.Scan }

func (s quietScan) Splits(ctx context.Context) iter.Seq2[stage.Split, error] {
	return func(yield func(stage.Split, error) bool) {
		for sp, err := range s.Scan.Splits(ctx) {
			if err != nil || !yield(sp, nil) {
				return
			}
		}
	}
}

func TestSourceFindsBrokenOpens(t *testing.T) {
	open := func(f func(s stage.Scan, ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error)) stage.Source {
		return twistScan(func(_ stage.ScanRequest, s *twistedScan) {
			inner := s.Scan
			s.open = func(ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
				return f(inner, ctx, env, sp, from)
			}
		})
	}
	for words, src := range map[string]stage.Source{
		"comes after row": open(func(s stage.Scan, ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
			return s.Open(ctx, env, sp, 0)
		}),
		"from row 1": open(func(s stage.Scan, ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
			if from > 0 {
				from++
			}
			return s.Open(ctx, env, sp, from)
		}),
		"stay charged for reader buffers": open(func(s stage.Scan, ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
			env.Book(stage.ReaderBuffers, 100)
			return s.Open(ctx, env, sp, from)
		}),
		"Env.Alloc was asked for field 9": open(func(s stage.Scan, ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
			env.Allocator(9)
			return s.Open(ctx, env, sp, from)
		}),
		"reservation 1 for": open(func(s stage.Scan, ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
			_ = env.Room(ctx, 1)
			return s.Open(ctx, env, sp, from)
		}),
	} {
		refuses(t, words, func(tb testing.TB) { stagetest.Source(tb, src, stagetest.SourceOptions{}) })
	}
}

func TestSourceFindsBrokenReaders(t *testing.T) {
	for words, src := range map[string]stage.Source{
		"its Origin": mapBatch(func(_ *twistedReader, b stage.Batch) stage.Batch {
			return withOrigin(b, b.Origin().Slice(1, b.Origin().Len()))
		}),
		"comes after row": mapBatch(func(_ *twistedReader, b stage.Batch) stage.Batch {
			back := make([]int32, b.NumRows())
			for i := range back {
				back[i] = int32(len(back) - 1 - i)
			}
			return withOrigin(b, b.Origin().Take(back))
		}),
		"is said to be of split": mapBatch(func(_ *twistedReader, b stage.Batch) stage.Batch {
			return withOrigin(b, stage.RowRange(&stage.Split{ID: "other"}, 0, b.NumRows()))
		}),
		"ordinals": mapBatch(func(_ *twistedReader, b stage.Batch) stage.Batch {
			return withOrigin(b, b.Origin().WithInput(1))
		}),
		"not one whole record": mapBatch(func(_ *twistedReader, b stage.Batch) stage.Batch {
			b.Retain()
			return stage.Batch{Parts: append(b.Parts, b.Parts...)}
		}),
		"bytes were not released": mapBatch(func(_ *twistedReader, b stage.Batch) stage.Batch {
			b.Retain()
			return b
		}),
		"under a cancelled context gave": twistReader(func(r *twistedReader) {
			r.next = func(r *twistedReader, _ context.Context, maxBytes int64) (stage.Batch, error) {
				return r.Reader.Next(context.Background(), maxBytes)
			}
		}),
		"not context.Canceled": twistReader(func(r *twistedReader) {
			r.next = func(r *twistedReader, ctx context.Context, maxBytes int64) (stage.Batch, error) {
				b, err := r.Reader.Next(ctx, maxBytes)
				if err != nil && err != io.EOF {
					err = errors.New("something went wrong")
				}
				return b, err
			}
		}),
		"Next after the end gives": twistReader(func(r *twistedReader) {
			ended := false
			r.next = func(r *twistedReader, ctx context.Context, maxBytes int64) (stage.Batch, error) {
				b, err := r.Reader.Next(ctx, maxBytes)
				if ended {
					return b, errors.New("already at the end")
				}
				ended = err == io.EOF
				return b, err
			}
		}),
		"in pieces of 1 bytes": twistReader(func(r *twistedReader) {
			r.next = func(r *twistedReader, ctx context.Context, maxBytes int64) (stage.Batch, error) {
				if r.calls == 5 {
					return stage.Batch{}, io.EOF
				}
				if r.calls > 5 {
					return stage.Batch{}, io.EOF
				}
				return r.Reader.Next(ctx, maxBytes)
			}
		}),
		"the second Close fails": twistReader(func(r *twistedReader) {
			closed := false
			r.close = func(r *twistedReader) error {
				if closed {
					return errors.New("closed already")
				}
				closed = true
				return nil
			}
		}),
		"no return after": twistReader(func(r *twistedReader) {
			r.next = func(r *twistedReader, ctx context.Context, maxBytes int64) (stage.Batch, error) {
				if ctx.Err() != nil {
					<-t.Context().Done()
				}
				return r.Reader.Next(ctx, maxBytes)
			}
		}),
		"gave rows and the error": twistReader(func(r *twistedReader) {
			r.next = func(r *twistedReader, ctx context.Context, maxBytes int64) (stage.Batch, error) {
				b, err := r.Reader.Next(ctx, maxBytes)
				if err == nil {
					err = io.EOF
				}
				return b, err
			}
		}),
	} {
		refuses(t, words, func(tb testing.TB) {
			stagetest.Source(tb, src, stagetest.SourceOptions{Patience: time.Second})
		})
	}
}

func TestSourceFindsLargeBatches(t *testing.T) {
	large := stagetest.NewSource(schema, []arrow.Record{rows(0, 1000)})
	src := twisted{Source: large, plan: func(req stage.ScanRequest) (stage.Scan, error) {
		scan, err := large.Plan(context.Background(), req)
		if err != nil {
			return nil, err
		}
		return twistedScan{Scan: scan, open: func(ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
			rd, err := scan.Open(ctx, env, sp, from)
			return &twistedReader{Reader: rd, next: func(r *twistedReader, ctx context.Context, _ int64) (stage.Batch, error) {
				return r.Reader.Next(ctx, 0)
			}}, err
		}}, nil
	}}
	refuses(t, "a batch has", func(tb testing.TB) { stagetest.Source(tb, src, stagetest.SourceOptions{Bounded: true}) })
	stagetest.Source(t, large, stagetest.SourceOptions{Bounded: true})
}

func TestSourceFindsSwallowedFaults(t *testing.T) {
	broken := func(fail func(r *twistedReader, err error) error) (stage.Source, *stagetest.Faults) {
		inner := newSource()
		inner.Faults = &stagetest.Faults{}
		src := twisted{Source: inner, plan: func(req stage.ScanRequest) (stage.Scan, error) {
			scan, err := inner.Plan(context.Background(), req)
			if err != nil {
				return nil, err
			}
			return twistedScan{Scan: scan, open: func(ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
				rd, err := scan.Open(ctx, env, sp, from)
				if err != nil {
					return nil, err
				}
				return &twistedReader{Reader: rd, env: env, next: func(r *twistedReader, ctx context.Context, maxBytes int64) (stage.Batch, error) {
					b, err := r.Reader.Next(ctx, maxBytes)
					if inner.Faults.Hit() && errors.Is(err, stagetest.ErrInjected) {
						err = fail(r, err)
					}
					return b, err
				}}, nil
			}}, nil
		}}
		return src, inner.Faults
	}
	for words, fail := range map[string]func(r *twistedReader, err error) error{
		"and no error came of it": func(r *twistedReader, _ error) error {
			r.next = func(*twistedReader, context.Context, int64) (stage.Batch, error) { return stage.Batch{}, io.EOF }
			return io.EOF
		},
		"does not tell its cause":    func(*twistedReader, error) error { return errors.New("broken") },
		"panic":                      func(*twistedReader, error) error { panic("no error handling") },
		"lost rows to skippable err": func(_ *twistedReader, err error) error { return &stage.RowError{Skippable: true, Err: err} },
		"bytes were not released": func(r *twistedReader, err error) error {
			r.env.Allocator(0).Allocate(64)
			return err
		},
	} {
		src, faults := broken(fail)
		refuses(t, words, func(tb testing.TB) { stagetest.Source(tb, src, stagetest.SourceOptions{Faults: faults}) })
	}
}

func TestSourceFindsBrokenFilters(t *testing.T) {
	filter, err := expr.Parse("id < 20")
	require.NoError(t, err)
	keep := func(rec arrow.Record, row int) bool { return rec.Column(0).(*array.Int64).Value(row) < 20 }
	opt := stagetest.SourceOptions{Filters: []stagetest.Filter{{Expr: filter, Keep: keep}}}

	lazy := twistScan(func(req stage.ScanRequest, s *twistedScan) {
		s.residual = func() expr.Expr { return nil }
	})
	refuses(t, "does not pass it, and Residual is nil", func(tb testing.TB) { stagetest.Source(tb, lazy, opt) })

	eager := twistScan(func(req stage.ScanRequest, s *twistedScan) {
		if req.Filter != nil {
			s.splits = func(func(stage.Split, error) bool) {}
		}
	})
	refuses(t, "is missing", func(tb testing.TB) { stagetest.Source(tb, eager, opt) })
}
