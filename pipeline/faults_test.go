package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// trap makes one call at one place of a plan fail, panic, or cancel the run.
type trap struct {
	place  string
	at     int64
	kind   string // fail, panic or cancel
	cancel context.CancelFunc
	calls  atomic.Int64
	fired  atomic.Bool

	opened, closed atomic.Int64
}

// at is asked at a place: it says what is to come of the call.
func (tr *trap) hit(place string) error {
	if place != tr.place || tr.calls.Add(1) != tr.at {
		return nil
	}
	tr.fired.Store(true)
	switch tr.kind {
	case "fail":
		return errOdd
	case "panic":
		panic(errOdd.Error())
	}
	tr.cancel()
	return nil
}

func (tr *trap) String() string { return fmt.Sprintf("%s of call %d at %s", tr.kind, tr.at, tr.place) }

// trapped is a stage whose workers ask a trap before each of their calls.
type trapped struct {
	stage.Stage
	trap  *trap
	place string
}

func (s trapped) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	return bindOpening(s.Stage, in, func(ctx context.Context, env stage.Env, open opener) (stage.Worker, error) {
		if err := s.trap.hit(s.place + " open"); err != nil {
			return nil, err
		}
		w, err := open(ctx, env)
		if err != nil {
			return nil, err
		}
		s.trap.opened.Add(1)
		return trappedWorker{w, s}, nil
	})
}

type trappedWorker struct {
	stage.Worker
	of trapped
}

func (w trappedWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	if err := w.of.trap.hit(w.of.place); err != nil {
		return err
	}
	return w.Worker.Process(ctx, in, emit)
}

func (w trappedWorker) Finish(ctx context.Context, emit func(stage.Output) error) error {
	if err := w.of.trap.hit(w.of.place + " finish"); err != nil {
		return err
	}
	return w.Worker.Finish(ctx, emit)
}

func (w trappedWorker) Close() error {
	w.of.trap.closed.Add(1)
	err := w.Worker.Close()
	return errors.Join(err, w.of.trap.hit(w.of.place+" close"))
}

// plain is a stage that changes nothing but adds a column, in batches of 7 rows.
func plain(tr *trap, place string) trapped {
	return trapped{&stagetest.FakeStage{Name: place, Column: "x", Output: place, Need: stage.Need{Batch: stage.Policy{MaxRows: 7}}}, tr, place}
}

// operator is one of Dataset's, over rows with x and name.
type operator struct {
	add   func(d *pipeline.Dataset, tr *trap) *pipeline.Dataset
	own   bool // it calls a function of the user's, at the place "op"
	first bool // it stands right behind the source
}

// sameRows gives the rows again, as functions do that make new rows.
func sameRows(in arrow.Record) arrow.Record {
	in.Retain()
	return in
}

type trapActor struct{ tr *trap }

func (a trapActor) Process(_ context.Context, in arrow.Record, _ memory.Allocator) (arrow.Record, error) {
	if err := a.tr.hit("op"); err != nil {
		return nil, err
	}
	return sameRows(in), nil
}

func (a trapActor) Close() error {
	a.tr.closed.Add(1)
	return a.tr.hit("op close")
}

type trapTask struct{ tr *trap }

func (k trapTask) Expand(stage.Placement) ([]stage.Stage, error) {
	return []stage.Stage{plain(k.tr, "first"), plain(k.tr, "op")}, nil
}

// asked says whether a function is only asked for its schema, which is before the run.
func asked(in arrow.Record) bool { return in.NumRows() == 0 }

var seven = pipeline.StageConfig{BatchSize: 7}

var operators = map[string]operator{
	"read": {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset { return d }},
	"map": {own: true, add: func(d *pipeline.Dataset, tr *trap) *pipeline.Dataset {
		return pipeline.Map(d, "op", func(_ context.Context, in numbered) (numbered, error) { return in, tr.hit("op") }, seven)
	}},
	"flat map of structs": {own: true, add: func(d *pipeline.Dataset, tr *trap) *pipeline.Dataset {
		return pipeline.FlatMap(d, "op", func(_ context.Context, in numbered, emit func(numbered)) error {
			emit(in)
			emit(in)
			return tr.hit("op")
		}, seven)
	}},
	"map batches": {own: true, add: func(d *pipeline.Dataset, tr *trap) *pipeline.Dataset {
		return d.MapBatches("op", func(_ context.Context, in arrow.Record, _ memory.Allocator) (arrow.Record, error) {
			if asked(in) {
				return sameRows(in), nil
			}
			if err := tr.hit("op"); err != nil {
				return nil, err
			}
			return sameRows(in), nil
		}, seven)
	}},
	"map actors": {own: true, add: func(d *pipeline.Dataset, tr *trap) *pipeline.Dataset {
		return d.MapActors("op", testSchema, func(context.Context) (pipeline.BatchWorker, error) {
			if err := tr.hit("op open"); err != nil {
				return nil, err
			}
			tr.opened.Add(1)
			return trapActor{tr}, nil
		}, pipeline.StageConfig{BatchSize: 7, Actors: 2})
	}},
	"flat map": {own: true, add: func(d *pipeline.Dataset, tr *trap) *pipeline.Dataset {
		return d.FlatMap("op", func(_ context.Context, in arrow.Record, _ memory.Allocator) (arrow.Record, []int32, error) {
			if !asked(in) {
				if err := tr.hit("op"); err != nil {
					return nil, nil, err
				}
			}
			parent := make([]int32, in.NumRows())
			for i := range parent {
				parent[i] = int32(i)
			}
			return sameRows(in), parent, nil
		}, seven)
	}},
	"filter func": {own: true, add: func(d *pipeline.Dataset, tr *trap) *pipeline.Dataset {
		return d.FilterFunc("op", func(_ context.Context, in arrow.Record) ([]bool, error) {
			keep := make([]bool, in.NumRows())
			for i := range keep {
				keep[i] = i%3 > 0
			}
			return keep, tr.hit("op")
		}, seven)
	}},
	"task":  {own: true, add: func(d *pipeline.Dataset, tr *trap) *pipeline.Dataset { return d.Run(trapTask{tr}, seven) }},
	"apply": {own: true, add: func(d *pipeline.Dataset, tr *trap) *pipeline.Dataset { return d.Apply(plain(tr, "op"), seven) }},
	"filter": {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset {
		return d.Filter(expr.Gt(expr.Col("x"), expr.Lit(3)))
	}},
	"with column": {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset {
		return d.WithColumn("y", expr.Add(expr.Col("x"), expr.Lit(1)))
	}},
	"select": {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset { return d.Select("x") }},
	"drop":   {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset { return d.Drop("name") }},
	"rename": {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset {
		return d.Rename(map[string]string{"name": "called"})
	}},
	"limit": {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset { return d.Limit(33) }},
	"union": {add: func(d *pipeline.Dataset, tr *trap) *pipeline.Dataset { return d.Union(d, d) }},
	"zip":   {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset { return d.Zip(d) }},
	"zip of other blocks": {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset {
		return d.Zip(d.Repartition(11, 0))
	}},
	"repartition":           {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset { return d.Repartition(9, 0) }},
	"repartition by bytes":  {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset { return d.Repartition(0, 200) }},
	"random sample":         {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset { return d.RandomSample(0.7, 3) }},
	"randomize block order": {first: true, add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset { return d.RandomizeBlockOrder(3) }},
	"with source":           {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset { return d.WithSource("file", "row") }},
	"cache":                 {add: func(d *pipeline.Dataset, _ *trap) *pipeline.Dataset { return d.Cache(small(pipeline.Config{})) }},
	"collect": {own: true, add: func(d *pipeline.Dataset, tr *trap) *pipeline.Dataset {
		return pipeline.FlatMap(d, "op", func(_ context.Context, in numbered, emit func(numbered)) error {
			emit(in)
			emit(in)
			return tr.hit("op")
		}, seven).Collect("name")
	}},
}

// consumers run a plan and say what came of it; the place "end" is theirs.
var consumers = map[string]func(ctx context.Context, d *pipeline.Dataset, tr *trap, cfg pipeline.Config) error{
	"batches": func(ctx context.Context, d *pipeline.Dataset, tr *trap, cfg pipeline.Config) error {
		for _, err := range d.Batches(ctx, cfg) {
			if err != nil {
				return err
			}
			if err := tr.hit("end"); err != nil {
				return err
			}
		}
		return nil
	},
	"write": func(ctx context.Context, d *pipeline.Dataset, tr *trap, cfg pipeline.Config) error {
		sink := &stagetest.MemorySink{OnWrite: func(context.Context, stage.PartID, arrow.Record) error { return tr.hit("end") }}
		_, err := d.Write(ctx, sink, cfg)
		if err != nil && len(sink.Records(false)) > 0 {
			return fmt.Errorf("rows are to be seen after %w", err)
		}
		return err
	},
	"take": func(ctx context.Context, d *pipeline.Dataset, _ *trap, cfg pipeline.Config) error {
		recs, err := d.Take(ctx, 1000, cfg)
		for _, rec := range recs {
			rec.Release()
		}
		return err
	},
	"materialize": func(ctx context.Context, d *pipeline.Dataset, _ *trap, cfg pipeline.Config) error {
		_, err := d.Materialize(ctx, cfg)
		return err
	},
	"show": func(ctx context.Context, d *pipeline.Dataset, _ *trap, cfg pipeline.Config) error {
		return d.Show(ctx, new(bytes.Buffer), 1000, cfg)
	},
	"count": func(ctx context.Context, d *pipeline.Dataset, _ *trap, cfg pipeline.Config) error {
		_, err := d.Count(ctx, cfg)
		return err
	},
}

// spring runs a plan with a trap in it, and checks that nothing is left of the run. It gives
// what came of it.
func spring(t *testing.T, op operator, consumer string, tr *trap, cfg pipeline.Config) error {
	t.Helper()
	before := runtime.NumGoroutine()
	src := numbers(20, 20)
	src.OnNext = func(context.Context, string, int) error { return tr.hit("read") }
	d := pipeline.Read(src)
	if !op.first {
		d = d.Apply(plain(tr, "before"), pipeline.StageConfig{Actors: 2}).Drop("before")
	}
	d = op.add(d, tr).Apply(plain(tr, "behind"), pipeline.StageConfig{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tr.cancel = cancel
	w := &watch{}
	err := consumers[consumer](ctx, d, tr, w.config(small(cfg)))
	noneLeft(t, before)
	if consumer == "batches" || consumer == "write" || consumer == "count" { // the others keep rows until the run is over
		w.balanced(t)
	}
	assert.Equal(t, tr.opened.Load(), tr.closed.Load(), "workers opened and closed")
	return err
}

// who is what an error must name that comes of a place.
func who(place string) []string {
	switch place {
	case "read":
		return []string{"fake: ", "fake-"}
	case "end":
		return nil
	}
	return []string{place + ": ", "fake-", "row"}
}

// TestFaultsInEveryOperator lets every call of every operator's functions, of its source, of the
// stages around it and of its consumer fail, panic, and cancel the run.
func TestFaultsInEveryOperator(t *testing.T) {
	ends := []string{"batches", "write", "take", "materialize", "show", "count"}
	turn := 0
	for _, name := range slices.Sorted(maps.Keys(operators)) {
		op := operators[name]
		t.Run(name, func(t *testing.T) {
			for _, place := range []string{"read", "before", "op", "behind", "end"} {
				if place == "op" && !op.own || place == "before" && op.first {
					continue
				}
				for _, kind := range []string{"fail", "panic", "cancel"} {
					for at := int64(1); ; at++ {
						if kind != "cancel" && at > 2 && at != 5 {
							if at > 5 {
								break
							}
							continue
						}
						turn++
						consumer := ends[turn%len(ends)]
						if place == "end" {
							consumer = ends[turn%2]
							if kind == "panic" || kind == "fail" {
								consumer = "write"
							}
						}
						tr := &trap{place: place, at: at, kind: kind}
						err := spring(t, op, consumer, tr, pipeline.Config{NoOptimise: turn%3 == 0, CPUs: 1 + turn%2, GroupBytes: int64(300 * (turn % 2))})
						what := fmt.Sprintf("%v, %s: %v", tr, consumer, err)
						if !tr.fired.Load() {
							require.NoError(t, err, what)
							break
						}
						judge(t, name, tr, err, what)
						if t.Failed() {
							t.Fatal(what)
						}
					}
				}
			}
		})
	}
}

// judge holds the error of a run whose trap has fired against what it must say.
func judge(t *testing.T, op string, tr *trap, err error, what string) {
	t.Helper()
	switch {
	case err == nil && tr.kind == "cancel":
		return // it came with the end of the run
	case err == nil && op == "limit":
		return // it had all its rows
	case tr.kind == "cancel":
		require.ErrorIs(t, err, context.Canceled, what)
		return
	}
	require.Error(t, err, what)
	require.ErrorContains(t, err, errOdd.Error(), what)
	if tr.kind == "fail" {
		require.ErrorIs(t, err, errOdd, what)
	} else {
		require.ErrorContains(t, err, "panic", what)
	}
	for _, word := range who(tr.place) {
		require.ErrorContains(t, err, word, what)
	}
}

// TestFaultsWhereStagesOpenFinishAndClose has the calls fail that a worker gets but once.
func TestFaultsWhereStagesOpenFinishAndClose(t *testing.T) {
	for _, place := range []string{"before open", "behind open", "op open", "before finish", "behind finish", "before close", "behind close", "op close"} {
		for _, kind := range []string{"fail", "panic", "cancel"} {
			for at := int64(1); at <= 2; at++ {
				for _, consumer := range []string{"batches", "write"} {
					tr := &trap{place: place, at: at, kind: kind}
					err := spring(t, operators["map actors"], consumer, tr, pipeline.Config{NoOptimise: at == 1, CPUs: 2})
					what := fmt.Sprintf("%v, %s: %v", tr, consumer, err)
					require.True(t, tr.fired.Load(), what)
					if kind == "cancel" {
						judge(t, "", tr, err, what)
						continue
					}
					stageName, step, _ := strings.Cut(place, " ")
					require.ErrorContains(t, err, stageName+": "+step+": ", what)
					require.ErrorContains(t, err, errOdd.Error(), what)
				}
			}
		}
	}
}

// TestFaultsOfTheSourceUnderEveryOperator has every call of a source fail: planning, listing,
// opening and reading.
func TestFaultsOfTheSourceUnderEveryOperator(t *testing.T) {
	for name, op := range operators {
		for n := 1; ; n++ {
			before := runtime.NumGoroutine()
			faults := &stagetest.Faults{}
			faults.Arm(n)
			src := numbers(20, 20)
			src.Faults = faults
			tr := &trap{}
			w := &watch{}
			cfg := w.config(small(pipeline.Config{CPUs: 1 + n%2}))
			err := consumers["batches"](context.Background(), op.add(pipeline.Read(src), tr), tr, cfg)
			noneLeft(t, before)
			w.balanced(t)
			if !faults.Hit() {
				require.NoError(t, err, name)
				break
			}
			if err == nil && name == "limit" {
				continue
			}
			require.ErrorIs(t, err, stagetest.ErrInjected, "%s, call %d", name, n)
			require.ErrorContains(t, err, "fake: ", "%s, call %d", name, n)
		}
	}
}

// listing is a source whose listing panics behind the first split, or which panics when it is
// closed.
type listing struct {
	*stagetest.FakeSource
	close bool
}

func (l listing) Plan(ctx context.Context, req stage.ScanRequest) (stage.Scan, error) {
	scan, err := l.FakeSource.Plan(ctx, req)
	return listingScan{scan, l.close}, err
}

type listingScan struct {
	stage.Scan
	close bool
}

func (s listingScan) Splits(ctx context.Context) iter.Seq2[stage.Split, error] {
	return func(yield func(stage.Split, error) bool) {
		for split, err := range s.Scan.Splits(ctx) {
			if !yield(split, err) {
				return
			}
			if !s.close {
				panic("the listing is broken")
			}
		}
	}
}

func (s listingScan) Open(ctx context.Context, env stage.Env, split stage.Split, from int64) (stage.Reader, error) {
	r, err := s.Scan.Open(ctx, env, split, from)
	if s.close {
		return stuckReader{r}, err
	}
	return r, err
}

type stuckReader struct{ stage.Reader }

func (stuckReader) Close() error { panic("the file is stuck") }

func TestAPanickingSourceEndsTheJobAndNotTheProcess(t *testing.T) {
	_, err := collect(t, pipeline.Read(listing{numbers(20, 20), false}), small(pipeline.Config{}))
	require.EqualError(t, err, "fake: list: panic: the listing is broken")
	_, err = collect(t, pipeline.Read(listing{numbers(20, 20), true}), small(pipeline.Config{CPUs: 1}))
	require.ErrorContains(t, err, "fake: fake-")
	require.ErrorContains(t, err, ": panic: the file is stuck")
}

// TestALoopThatIsUnwoundEndsTheRun has the body of a loop panic, and end its goroutine.
func TestALoopThatIsUnwoundEndsTheRun(t *testing.T) {
	for _, leave := range []func(){func() { panic("in the loop") }, runtime.Goexit} {
		for n := 1; n < 6; n++ {
			before := runtime.NumGoroutine()
			w := &watch{}
			ended := make(chan any)
			go func() {
				defer func() { ended <- recover() }()
				turns := 0
				for range pipeline.Read(numbers(30, 30)).Apply(plain(&trap{}, "op"), pipeline.StageConfig{}).Batches(context.Background(), w.config(small(pipeline.Config{}))) {
					if turns++; turns == n {
						leave()
					}
				}
			}()
			if p := <-ended; p != nil {
				require.Equal(t, "in the loop", p)
			}
			noneLeft(t, before)
			w.balanced(t)
		}
	}
}

// TestExpressionsThatFailNameTheRow: an expression is the stage's own, and rows are to blame.
func TestExpressionsThatFailNameTheRow(t *testing.T) {
	for _, bad := range []int{0, 7, 39} {
		b := array.NewRecordBuilder(memory.DefaultAllocator, testSchema)
		for i := range 40 {
			text := strconv.Itoa(i)
			if i == bad {
				text = "many"
			}
			b.Field(0).(*array.Int64Builder).Append(int64(i))
			b.Field(1).(*array.StringBuilder).Append(text)
		}
		rec := b.NewRecord()
		src := func() *pipeline.Dataset {
			return pipeline.Read(stagetest.NewSource(testSchema, []arrow.Record{rec.NewSlice(0, 20)}, []arrow.Record{rec.NewSlice(20, 40)}))
		}
		number := expr.Cast(expr.Col("name"), arrow.PrimitiveTypes.Int64)
		for name, d := range map[string]*pipeline.Dataset{
			"filter: ":      src().Filter(expr.Ge(number, expr.Lit(0))),
			"with_column: ": src().WithColumn("n", number),
		} {
			_, err := collect(t, d, small(pipeline.Config{}))
			require.ErrorContains(t, err, name)
			require.ErrorContains(t, err, fmt.Sprintf("fake-%d, row ", bad/20))
			for _, plain := range []bool{false, true} {
				var dead []string
				got, err := collect(t, d, small(pipeline.Config{NoOptimise: plain, OnError: pipeline.OnError{Skip: true, DeadLetter: func(e *stage.RowError) {
					dead = append(dead, fmt.Sprint(e.Path, " ", e.Row))
				}}}))
				require.NoError(t, err)
				require.Len(t, got, 39)
				require.Equal(t, []string{fmt.Sprintf("fake-%d %d", bad/20, bad%20)}, dead)
			}
		}
	}
}
