package stagetest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

var steady = stage.Need{RowWise: true, Retryable: true, Deterministic: true}

func need(change func(n *stage.Need)) stage.Need {
	n := steady
	change(&n)
	return n
}

func TestFakeStagesKeepTheContract(t *testing.T) {
	in := []arrow.Record{rows(0, 10), rows(10, 31)}
	odd := func(x int64) ([]int64, error) {
		if x%2 == 0 {
			return nil, nil
		}
		return []int64{x}, nil
	}
	for name, st := range map[string]*stagetest.FakeStage{
		"one to one":   {Need: steady},
		"whole rows":   {Need: steady, Whole: true, Piece: 4},
		"in pieces":    {Need: steady, Piece: 3},
		"views":        {Need: need(func(n *stage.Need) { n.Views = true }), Piece: 2},
		"whole views":  {Need: need(func(n *stage.Need) { n.Views = true }), Whole: true},
		"small batch":  {Need: need(func(n *stage.Need) { n.Batch.MaxRows = 5 })},
		"many calls":   {Need: need(func(n *stage.Need) { n.InFlight = 3 }), Piece: 1},
		"filter":       {Need: need(func(n *stage.Need) { n.Rows = stage.Subset }), Map: odd},
		"whole filter": {Need: need(func(n *stage.Need) { n.Rows = stage.Subset }), Map: odd, Whole: true, Piece: 2},
		"drops": {Need: need(func(n *stage.Need) { n.Drops = []string{"tags"} }), Map: func(x int64) ([]int64, error) {
			return []int64{-x}, nil
		}},
		"failures": {Need: steady, Piece: 5, Map: func(x int64) ([]int64, error) {
			if x%7 == 0 {
				return nil, errors.New("seven")
			}
			return []int64{x}, nil
		}},
		"flat map": {Need: need(func(n *stage.Need) { n.Rows = stage.Many }), Piece: 2, Map: func(x int64) ([]int64, error) {
			return make([]int64, x%4), nil
		}},
		"replaces": {Need: steady, Output: "id"},
		"by cost": {Need: need(func(n *stage.Need) {
			n.Batch.MaxCost = 100
			n.Cost = func(rec arrow.Record, dst []int32) {
				for i := range dst {
					dst[i] = int32(rec.Column(0).(*array.Int64).Value(i))
				}
			}
		})},
		"nothing promised": {},
	} {
		t.Run(name, func(t *testing.T) {
			st.Column = "id"
			stagetest.Stage(t, st, in, stagetest.StageOptions{})
			require.Equal(t, st.Opened(), st.Closed())
			require.Positive(t, st.Calls())
		})
	}
}

func TestFakeStageHooks(t *testing.T) {
	run := func(f *stagetest.FakeStage, in stage.Batch) error {
		defer in.Release()
		f.Column = "id"
		bound, err := f.Bind([]*arrow.Schema{schema})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		w, err := bound.Open(ctx, stage.Env{})
		if err != nil {
			return err
		}
		defer w.Close()
		return w.Process(ctx, in, func(out stage.Output) error {
			out.Record.Release()
			return nil
		})
	}
	whole := func() stage.Batch { return stage.NewBatch(rows(0, 4), stage.RowRange(nil, 0, 4)) }
	broken := errors.New("broken")
	require.ErrorIs(t, run(&stagetest.FakeStage{OnProcess: stagetest.FailOn(1, broken)}, whole()), broken)
	require.NoError(t, run(&stagetest.FakeStage{OnProcess: stagetest.FailOn(2, broken)}, whole()))
	require.ErrorIs(t, run(&stagetest.FakeStage{OnOpen: func(context.Context, int) error { return broken }}, whole()), broken)
	require.Panics(t, func() { _ = run(&stagetest.FakeStage{OnProcess: stagetest.PanicOn(1)}, whole()) })
	release := make(chan struct{})
	close(release)
	require.NoError(t, run(&stagetest.FakeStage{OnProcess: stagetest.WaitOn(1, release)}, whole()))
	require.ErrorContains(t, run(&stagetest.FakeStage{Need: need(func(n *stage.Need) { n.Batch.MaxRows = 3 })}, whole()), "MaxRows is 3")
	views := whole()
	views.Parts[0].Rows = []int32{0, 1, 2, 3}
	require.ErrorContains(t, run(&stagetest.FakeStage{}, views), "views")
}

// badStage is a stage of one's own making.
type badStage struct {
	id      func() stage.StageID
	bind    func(b *stage.Bound, in []*arrow.Schema) (*stage.Bound, error)
	need    func(n *stage.Need)
	open    func(ctx context.Context, env stage.Env) (stage.Worker, error)
	process func(w *badWorker, ctx context.Context, in stage.Batch, emit func(stage.Output) error) error
	finish  func(w *badWorker, emit func(stage.Output) error) error
	close   func(w *badWorker) error
}

type badWorker struct {
	stage badStage
	env   stage.Env
	mu    sync.Mutex
	calls int
	kept  arrow.Record
}

func (s badStage) ID() stage.StageID {
	if s.id != nil {
		return s.id()
	}
	return stage.StageID{Name: "bad"}
}

func (s badStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if len(in) != 1 {
		return nil, errors.New("one input")
	}
	if _, err := stage.Column(in[0], "id"); err != nil {
		return nil, err
	}
	n := need(func(n *stage.Need) {
		n.Reads, n.Adds = []string{"id"}, []arrow.Field{{Name: "out", Type: arrow.PrimitiveTypes.Int64}}
	})
	if s.need != nil {
		s.need(&n)
	}
	b := &stage.Bound{Need: n, Schema: n.OutputSchema(in[0]), Open: func(ctx context.Context, env stage.Env) (stage.Worker, error) {
		if s.open != nil {
			return s.open(ctx, env)
		}
		return &badWorker{stage: s, env: env}, nil
	}}
	if s.bind != nil {
		return s.bind(b, in)
	}
	return b, nil
}

func (w *badWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	w.mu.Lock()
	w.calls++
	w.mu.Unlock()
	if w.stage.process != nil {
		return w.stage.process(w, ctx, in, emit)
	}
	return emit(w.out(in, 0, in.NumRows()))
}

func (w *badWorker) Finish(_ context.Context, emit func(stage.Output) error) error {
	if w.stage.finish != nil {
		return w.stage.finish(w, emit)
	}
	return nil
}

func (w *badWorker) Close() error {
	if w.kept != nil {
		w.kept.Release()
		w.kept = nil
	}
	if w.stage.close != nil {
		return w.stage.close(w)
	}
	return nil
}

// out is the right output for rows [from, to).
func (w *badWorker) out(in stage.Batch, from, to int) stage.Output {
	o := stage.Output{Parent: []int32{}, Through: int32(to)}
	b := array.NewInt64Builder(w.env.Allocator(0))
	defer b.Release()
	for i := from; i < to; i++ {
		b.Append(in.Record().Column(0).(*array.Int64).Value(i) * 2)
		o.Parent = append(o.Parent, int32(i))
	}
	o.Record = w.record(b.NewArray())
	return o
}

func (w *badWorker) record(col arrow.Array) arrow.Record {
	defer col.Release()
	field := arrow.Field{Name: "out", Type: col.DataType()}
	return array.NewRecord(arrow.NewSchema([]arrow.Field{field}, nil), []arrow.Array{col}, int64(col.Len()))
}

type processFunc = func(w *badWorker, ctx context.Context, in stage.Batch, emit func(stage.Output) error) error

// twisting emits the right output with something done to it.
func twisting(twist func(o *stage.Output)) processFunc {
	return func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
		o := w.out(in, 0, in.NumRows())
		if in.NumRows() > 1 {
			twist(&o)
		}
		return emit(o)
	}
}

func checkStage(tb testing.TB, st stage.Stage) {
	stagetest.Stage(tb, st, []arrow.Record{rows(0, 12)}, stagetest.StageOptions{Patience: 5 * time.Second})
}

func TestBadStageIsRightUntilTwisted(t *testing.T) {
	checkStage(t, badStage{})
	checkStage(t, badStage{process: inTwo})
}

// inTwo emits a batch in two pieces.
func inTwo(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
	mid := in.NumRows() / 2
	if err := emit(w.out(in, 0, mid)); err != nil {
		return err
	}
	return emit(w.out(in, mid, in.NumRows()))
}

func TestStageFindsBrokenBinds(t *testing.T) {
	n := 0
	reads := func(name string) func(*stage.Need) {
		return func(n *stage.Need) { n.Reads = []string{name} }
	}
	for words, st := range map[string]badStage{
		"ID: not the same": {id: func() stage.StageID {
			n++
			return stage.StageID{Name: fmt.Sprint("stage ", n)}
		}},
		"another schema": {bind: func(b *stage.Bound, in []*arrow.Schema) (*stage.Bound, error) {
			n++
			b.Schema = arrow.NewSchema([]arrow.Field{{Name: fmt.Sprint(n), Type: arrow.PrimitiveTypes.Int64}}, nil)
			return b, nil
		}},
		"not Need.OutputSchema": {bind: func(b *stage.Bound, in []*arrow.Schema) (*stage.Bound, error) {
			b.Schema = in[0]
			return b, nil
		}},
		"both a Bound and the error": {bind: func(b *stage.Bound, in []*arrow.Schema) (*stage.Bound, error) {
			return b, errors.New("but")
		}},
		"bind: panic": {bind: func(*stage.Bound, []*arrow.Schema) (*stage.Bound, error) { panic("oh") }},
		"it is lost": {bind: func(b *stage.Bound, in []*arrow.Schema) (*stage.Bound, error) {
			if in[0].NumFields() > 4 {
				b.Need.Drops = []string{"carried past"}
				b.Schema = b.Need.OutputSchema(in[0])
			}
			return b, nil
		}},
		`want a ColumnError that names it, got <nil>`: {need: reads("text")},
		"which the input does not have":               {need: reads("other")},
		"Adds or Drops without Reads":                 {need: func(n *stage.Need) { n.Reads = nil }},
		"a negative bound":                            {need: func(n *stage.Need) { n.Batch.MaxRows = -1 }},
		"not ascending": {need: func(n *stage.Need) {
			n.Batch.Buckets = []int32{3, 1}
			n.Cost = func(arrow.Record, []int32) {}
		}},
		"goes by cost": {need: func(n *stage.Need) { n.Batch.MaxCost = 5 }},
		"a negative cost": {need: func(n *stage.Need) {
			n.Cost = func(_ arrow.Record, dst []int32) {
				for i := range dst {
					dst[i] = -1
				}
			}
		}},
		"Need.Cost: of rows": {need: func(n *stage.Need) {
			n.Cost = func(_ arrow.Record, dst []int32) {
				for i := range dst {
					dst[i] = int32(i)
				}
			}
		}},
		"a negative amount": {need: func(n *stage.Need) { n.InFlight = -1 }},
	} {
		refuses(t, words, func(tb testing.TB) { checkStage(tb, st) })
	}
	refuses(t, "bind to nothing: no error", func(tb testing.TB) { checkStage(tb, loose{badStage{}}) })
}

// loose binds to anything.
type loose struct{ badStage }

func (l loose) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if len(in) == 0 {
		in = []*arrow.Schema{schema}
	}
	return l.badStage.Bind(in)
}

func TestStageFindsBrokenWorkers(t *testing.T) {
	closed := errors.New("closed already")
	for words, st := range map[string]badStage{
		"open and close: no weights": {open: func(context.Context, stage.Env) (stage.Worker, error) { return nil, errors.New("no weights") }},
		"stay charged for weights": {open: func(_ context.Context, env stage.Env) (stage.Worker, error) {
			env.Book(stage.Weights, 10)
			return &badWorker{env: env}, nil
		}},
		"the second Close": {open: func(_ context.Context, env stage.Env) (stage.Worker, error) {
			again := false
			return &badWorker{env: env, stage: badStage{close: func(*badWorker) error {
				if again {
					return closed
				}
				again = true
				return nil
			}}}, nil
		}},
		"Process, panic": {process: func(*badWorker, context.Context, stage.Batch, func(stage.Output) error) error {
			panic("Process, panic")
		}},
		"no return after": {process: func(w *badWorker, ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
			<-t.Context().Done()
			return nil
		}},
		"the batch was changed": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			if in.NumRows() > 0 {
				in.Record().Column(0).(*array.Int64).Int64Values()[0]++
			}
			return emit(w.out(in, 0, in.NumRows()))
		}},
		"the batch was changed or released": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			o := w.out(in, 0, in.NumRows())
			in.Release()
			return emit(o)
		}},
		"the input: ": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			in.Retain()
			return emit(w.out(in, 0, in.NumRows()))
		}},
		"bytes were not released": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			o := w.out(in, 0, in.NumRows())
			o.Record.Retain()
			return emit(o)
		}},
		"an emitted record was changed or released": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			o := w.out(in, 0, in.NumRows())
			err := emit(o)
			o.Record.Release()
			return err
		}},
		"an emitted record was changed": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			o := w.out(in, 0, in.NumRows())
			err := emit(o)
			if in.NumRows() > 0 {
				o.Record.Column(0).(*array.Int64).Int64Values()[0] = -1
			}
			return err
		}},
		"from another goroutine": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			done := make(chan error)
			go func() { done <- emit(w.out(in, 0, in.NumRows())) }()
			return <-done
		}},
		"Env.Alloc was asked for field 1": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			w.env.Allocator(1)
			return emit(w.out(in, 0, in.NumRows()))
		}},
		"run again: not what": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			o := w.out(in, 0, in.NumRows())
			if in.NumRows() > 0 {
				o.Record.Column(0).(*array.Int64).Int64Values()[0] = time.Now().UnixNano()
			}
			return emit(o)
		}},
		"run over records of 1 rows": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			o := w.out(in, 0, in.NumRows())
			for i := range in.NumRows() {
				o.Record.Column(0).(*array.Int64).Int64Values()[i] = int64(in.NumRows())
			}
			return emit(o)
		}},
		"run over slices": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			o := w.out(in, 0, in.NumRows())
			raw := arrow.Int64Traits.CastFromBytes(in.Record().Column(0).Data().Buffers()[1].Bytes())
			copy(o.Record.Column(0).(*array.Int64).Int64Values(), raw)
			return emit(o)
		}},
		"run over nulls": {
			need: func(n *stage.Need) { n.Reads = []string{"id", "text"} },
			bind: func(b *stage.Bound, in []*arrow.Schema) (*stage.Bound, error) {
				_, err := stage.Column(in[0], "text")
				if err != nil {
					return nil, err
				}
				return b, nil
			},
			process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
				if n := in.NumRows(); n == 3 && in.Record().Column(1).NullN() == n {
					_ = in.Record().Column(1).(*array.String).Value(n)
				}
				return emit(w.out(in, 0, in.NumRows()))
			}},
		"run over a batch of no rows": {process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			if in.NumRows() == 0 {
				return errors.New("an empty batch")
			}
			return emit(w.out(in, 0, in.NumRows()))
		}},
	} {
		refuses(t, words, func(tb testing.TB) {
			stagetest.Stage(tb, st, []arrow.Record{rows(0, 12)}, stagetest.StageOptions{Patience: time.Second})
		})
	}
}

func TestStageFindsBrokenOutputs(t *testing.T) {
	boom := errors.New("boom")
	for words, process := range map[string]processFunc{
		"the stage's schema": func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			b := array.NewInt32Builder(w.env.Allocator(0))
			defer b.Release()
			return emit(stage.Output{Record: w.record(b.NewArray()), Parent: []int32{}})
		},
		"no Parent, and": twisting(func(o *stage.Output) {
			whole := o.Record
			o.Record, o.Parent = whole.NewSlice(0, 1), nil
			whole.Release()
		}),
		"parents may not descend": twisting(func(o *stage.Output) {
			o.Parent[0], o.Parent[1] = o.Parent[1], o.Parent[0]
		}),
		"row 0 comes after row 11": func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			mid := in.NumRows() / 2
			late := w.out(in, mid, in.NumRows())
			late.Through = 0
			if err := emit(late); err != nil {
				return err
			}
			return emit(w.out(in, 0, mid))
		},
		"parents for":                  twisting(func(o *stage.Output) { o.Parent = o.Parent[1:] }),
		"is not of the batch":          twisting(func(o *stage.Output) { o.Parent[0] = int32(len(o.Parent)) }),
		"row -1 is not of the batch":   twisting(func(o *stage.Output) { o.Parent[0] = -1 }),
		"emitted or fails twice":       twisting(func(o *stage.Output) { o.Parent[0] = 1 }),
		"fails twice (one-to-one)":     twisting(func(o *stage.Output) { o.Failed = []stage.RowFailure{{Row: 0, Err: boom}} }),
		"failed without an error":      twisting(func(o *stage.Output) { o.Failed = []stage.RowFailure{{Row: 0}} }),
		"a Through of 13 in a batch":   twisting(func(o *stage.Output) { o.Through++ }),
		"neither came nor failed, and": func(*badWorker, context.Context, stage.Batch, func(stage.Output) error) error { return nil },
		"but row 6 neither came nor failed": func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			mid := in.NumRows() / 2
			o := w.out(in, 0, mid)
			o.Through = int32(in.NumRows())
			if err := emit(o); err != nil {
				return err
			}
			return emit(w.out(in, mid, in.NumRows()))
		},
		"Through had said": func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			if err := emit(w.out(in, 0, in.NumRows())); err != nil {
				return err
			}
			return emit(w.out(in, 0, in.NumRows()))
		},
		"a Through of 6 after 12": func(w *badWorker, ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
			if err := inTwo(w, ctx, in, emit); err != nil {
				return err
			}
			return emit(stage.Output{Through: int32(in.NumRows() / 2)})
		},
		"it has to return emit's error": func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			if emit(w.out(in, 0, in.NumRows())) != nil {
				return boom
			}
			return nil
		},
		"emit was called again after": func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			mid := in.NumRows() / 2
			err := emit(w.out(in, 0, mid))
			return errors.Join(err, emit(w.out(in, mid, in.NumRows())))
		},
		"cancel at emit": func(w *badWorker, ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
			before := ctx.Err()
			if err := emit(w.out(in, 0, in.NumRows())); err != nil {
				return err
			}
			if before == nil && ctx.Err() != nil {
				return boom
			}
			return nil
		},
		"reservation 1 fails": func(w *badWorker, ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
			_ = w.env.Room(ctx, 100)
			return emit(w.out(in, 0, in.NumRows()))
		},
		"and Process emitting": func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			if err := emit(w.out(in, 0, in.NumRows())); err != nil {
				return fmt.Errorf("emitting: %v", err)
			}
			return nil
		},
	} {
		refuses(t, words, func(tb testing.TB) { checkStage(tb, badStage{process: process}) })
	}
}

func TestStageFindsFalseThrough(t *testing.T) {
	// Rows that a filter claims to be through with come out later: only a retry shows
	// what is lost by it.
	filter := func(n *stage.Need) { n.Rows = stage.Subset }
	early := func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
		mid := in.NumRows() / 2
		if err := emit(stage.Output{Through: int32(mid)}); err != nil {
			return err
		}
		return emit(w.out(in, 0, in.NumRows()))
	}
	refuses(t, "Through had said", func(tb testing.TB) { checkStage(tb, badStage{need: filter, process: early}) })
	swallowed := func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		o := w.out(in, 0, in.NumRows())
		if w.calls%2 == 0 && in.NumRows() == 12 { // a second try forgets the first row
			o.Parent = o.Parent[1:]
			rec := o.Record
			o.Record = rec.NewSlice(1, rec.NumRows())
			rec.Release()
		}
		return emit(o)
	}
	refuses(t, "are tried again", func(tb testing.TB) { checkStage(tb, badStage{need: filter, process: swallowed}) })
}

func TestStageRunsCallsAtOnce(t *testing.T) {
	// The rows are wrong only while two calls overlap.
	var live atomic.Int32
	st := badStage{
		need: func(n *stage.Need) { n.InFlight = 2 },
		process: func(w *badWorker, _ context.Context, in stage.Batch, emit func(stage.Output) error) error {
			live.Add(1)
			defer live.Add(-1)
			for i := 0; i < 2000 && live.Load() < 2; i++ {
				runtime.Gosched()
			}
			o := w.out(in, 0, in.NumRows())
			if live.Load() > 1 {
				o.Record.Column(0).(*array.Int64).Int64Values()[0] = -7
			}
			return emit(o)
		},
	}
	refuses(t, "with 2 calls at once: not what whole batches give", func(tb testing.TB) { checkStage(tb, st) })
}

func TestStageFindsWrongFinish(t *testing.T) {
	rec := func(w *badWorker) stage.Output {
		b := array.NewInt64Builder(memory.DefaultAllocator)
		defer b.Release()
		b.Append(1)
		return stage.Output{Record: w.record(b.NewArray())}
	}
	late := badStage{finish: func(w *badWorker, emit func(stage.Output) error) error { return emit(rec(w)) }}
	refuses(t, "a nil return of Process says that all rows are finished", func(tb testing.TB) { checkStage(tb, late) })

	many := badStage{need: func(n *stage.Need) { n.Rows = stage.Many }, finish: func(w *badWorker, emit func(stage.Output) error) error {
		_ = emit(rec(w))
		return nil
	}}
	refuses(t, "and Finish <nil>", func(tb testing.TB) { checkStage(tb, many) })

	speaks := badStage{finish: func(w *badWorker, emit func(stage.Output) error) error {
		return emit(stage.Output{Failed: []stage.RowFailure{{Err: errors.New("late")}}})
	}}
	refuses(t, "there is no batch", func(tb testing.TB) { checkStage(tb, speaks) })
}

func TestStageComparesWithWhatIsWanted(t *testing.T) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "out", Type: arrow.PrimitiveTypes.Int64}}, nil))
	for i := range 12 {
		b.Field(0).(*array.Int64Builder).Append(int64(i * 2))
	}
	want := b.NewRecord()
	in := []arrow.Record{rows(0, 12)}
	stagetest.Stage(t, badStage{}, in, stagetest.StageOptions{Want: want})
	refuses(t, "not the rows that are wanted", func(tb testing.TB) {
		stagetest.Stage(tb, badStage{}, in, stagetest.StageOptions{Want: want.NewSlice(0, 11)})
	})
}
