package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

var testSchema = arrow.NewSchema([]arrow.Field{
	{Name: "x", Type: arrow.PrimitiveTypes.Int64},
	{Name: "name", Type: arrow.BinaryTypes.String},
}, nil)

// numbers is a source with these many rows in each split: x counts from 0 over all.
func numbers(splits ...int) *stagetest.FakeSource {
	var all [][]arrow.Record
	x := int64(0)
	for _, n := range splits {
		b := array.NewRecordBuilder(memory.DefaultAllocator, testSchema)
		for range n {
			b.Field(0).(*array.Int64Builder).Append(x)
			b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("row-%d", x))
			x++
		}
		all = append(all, []arrow.Record{b.NewRecord()})
	}
	return stagetest.NewSource(testSchema, all...)
}

// watch keeps the last Stats, and fails the test unless all memory was given back.
type watch struct{ stats pipeline.Stats }

func (w *watch) config(cfg pipeline.Config) pipeline.Config {
	cfg.Progress = func(s pipeline.Stats) { w.stats = s }
	cfg.ProgressEvery = time.Hour // a run must not need a tick to go on
	return cfg
}

func (w *watch) balanced(t *testing.T) {
	t.Helper()
	assert.Zero(t, w.stats.Memory.Used, "bytes that were not given back: %v", w.stats.Memory.ByPurpose)
}

// collect runs a plan and gives its rows as "column=value …" lines.
func collect(t *testing.T, d *pipeline.Dataset, cfg pipeline.Config) ([]string, error) {
	t.Helper()
	before := runtime.NumGoroutine()
	w := &watch{}
	var out []string
	var failed error
	for rec, err := range d.Batches(context.Background(), w.config(cfg)) {
		if err != nil {
			failed = err
			break
		}
		out = append(out, lines(rec)...)
	}
	w.balanced(t)
	noneLeft(t, before)
	return out, failed
}

// noneLeft waits for goroutines that have nothing left to do to be gone.
func noneLeft(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

func lines(rec arrow.Record) []string {
	out := make([]string, rec.NumRows())
	for i := range out {
		var cells []string
		for c, f := range rec.Schema().Fields() {
			cells = append(cells, f.Name+"="+rec.Column(c).ValueStr(i))
		}
		out[i] = strings.Join(cells, " ")
	}
	return out
}

func small(cfg pipeline.Config) pipeline.Config {
	cfg.BlockBytes = 256
	return cfg
}

func TestRowsComeOutInOrderAtAnyWidth(t *testing.T) {
	want, err := collect(t, pipeline.Read(numbers(100, 1, 57, 300)), pipeline.Config{})
	require.NoError(t, err)
	require.Len(t, want, 458)
	for i, line := range want {
		require.Equal(t, fmt.Sprintf("x=%d name=row-%d", i, i), line)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		actors, batch, calls, block := 1+rng.IntN(5), rng.IntN(70), 1+rng.IntN(3), 64+rng.Int64N(4000)
		st := &stagetest.FakeStage{Column: "x", Output: "y", Piece: rng.IntN(9), Need: stage.Need{InFlight: calls, Views: rng.IntN(2) == 0}}
		ds := pipeline.Read(numbers(100, 1, 57, 300)).Apply(st, pipeline.StageConfig{Actors: actors, BatchSize: batch}).Drop("y")
		cfg := pipeline.Config{CPUs: 1 + rng.IntN(4), BlockBytes: block, BlockLimit: []int64{0, 2000, 100}[rng.IntN(3)], GroupBytes: []int64{0, 500}[rng.IntN(2)]}
		if st.Piece > 0 {
			cfg.OnError.Skip = true
		}
		got, err := collect(t, ds, cfg)
		require.NoError(t, err)
		require.Equal(t, want, got, "actors %d, batch %d, calls %d, %+v", actors, batch, calls, cfg)
		assert.Equal(t, st.Opened(), st.Closed())
		assert.Equal(t, actors, st.Opened())
	}
}

func TestUnorderedGivesEveryRowOnce(t *testing.T) {
	st := &stagetest.FakeStage{Column: "x"}
	got, err := collect(t, pipeline.Read(numbers(50, 70, 3)).Apply(st, pipeline.StageConfig{Actors: 3, BatchSize: 7}).Select("x"), small(pipeline.Config{Unordered: true}))
	require.NoError(t, err)
	slices.Sort(got)
	require.Len(t, slices.Compact(got), 123)
}

func TestOperators(t *testing.T) {
	ds := pipeline.Read(numbers(10, 10)).
		Filter(expr.Ge(expr.Col("x"), expr.Lit(5))).
		WithColumn("twice", expr.Mul(expr.Col("x"), expr.Lit(2))).
		Rename(map[string]string{"x": "id"}).
		Drop("name").
		WithSource("file", "row").
		Limit(7)
	got, err := collect(t, ds, small(pipeline.Config{}))
	require.NoError(t, err)
	require.Equal(t, []string{
		"id=5 twice=10 file=fake-0 row=5", "id=6 twice=12 file=fake-0 row=6", "id=7 twice=14 file=fake-0 row=7",
		"id=8 twice=16 file=fake-0 row=8", "id=9 twice=18 file=fake-0 row=9",
		"id=10 twice=20 file=fake-1 row=0", "id=11 twice=22 file=fake-1 row=1",
	}, got)
}

func TestFlatMapKeepsOriginAndCarriedColumns(t *testing.T) {
	st := &stagetest.FakeStage{Column: "x", Output: "child", Need: stage.Need{Rows: stage.Many}, Map: func(x int64) ([]int64, error) {
		out := make([]int64, x%3)
		for i := range out {
			out[i] = x*10 + int64(i)
		}
		return out, nil
	}}
	got, err := collect(t, pipeline.Read(numbers(4, 2)).Apply(st, pipeline.StageConfig{BatchSize: 4}).WithSource("f", "r"), small(pipeline.Config{}))
	require.NoError(t, err)
	require.Equal(t, []string{
		"x=1 name=row-1 child=10 f=fake-0 r=1",
		"x=2 name=row-2 child=20 f=fake-0 r=2", "x=2 name=row-2 child=21 f=fake-0 r=2",
		"x=4 name=row-4 child=40 f=fake-1 r=0",
		"x=5 name=row-5 child=50 f=fake-1 r=1", "x=5 name=row-5 child=51 f=fake-1 r=1",
	}, got)
}

func TestLimitStopsTheSource(t *testing.T) {
	src := numbers(slices.Repeat([]int{1000}, 50)...)
	var read atomic.Int64
	src.OnNext = func(context.Context, string, int) error { read.Add(1); return nil }
	got, err := collect(t, pipeline.Read(src).Apply(&stagetest.FakeStage{Column: "x"}, pipeline.StageConfig{BatchSize: 10}).Limit(15), small(pipeline.Config{BlockLimit: 20000}))
	require.NoError(t, err)
	require.Len(t, got, 15)
	require.Less(t, read.Load(), int64(300)) // of 4,000 and more: what fits the limit, and a little

	for _, n := range []int64{0, 1, 50_000, 60_000} {
		got, err := collect(t, pipeline.Read(src).Limit(n), pipeline.Config{})
		require.NoError(t, err)
		require.Len(t, got, int(min(n, 50_000)))
	}
}

func TestAPlanIsCheckedBeforeDataMoves(t *testing.T) {
	src := numbers(3)
	src.OnNext = func(context.Context, string, int) error { t.Error("data moved"); return nil }
	_, err := pipeline.Read(src).Select("nmae", "x").Limit(-1).Filter(expr.Gt(expr.Col("y"), expr.Lit(1))).Check(context.Background(), pipeline.Config{CPUs: -1})
	require.Error(t, err)
	for _, part := range []string{`column "nmae"`, `did you mean "name"?`, "a limit of -1 rows", `y: no such column`, "must not be negative"} {
		require.ErrorContains(t, err, part)
	}
	var col *stage.ColumnError
	require.ErrorAs(t, err, &col)
}

var errOdd = errors.New("odd number out")

func failOn(rows ...int64) func(int64) ([]int64, error) {
	return func(x int64) ([]int64, error) {
		if slices.Contains(rows, x) {
			return nil, errOdd
		}
		return []int64{x}, nil
	}
}

func TestTheFirstFailureEndsTheJobAndNamesTheRow(t *testing.T) {
	st := &stagetest.FakeStage{Name: "half", Column: "x", Map: failOn(123)}
	_, err := collect(t, pipeline.Read(numbers(100, 100)).Apply(st, pipeline.StageConfig{BatchSize: 10}), small(pipeline.Config{}))
	require.ErrorIs(t, err, errOdd)
	var row *stage.RowError
	require.ErrorAs(t, err, &row)
	assert.Equal(t, "half: fake-1, column \"x\": odd number out", strings.Replace(row.Error(), ", row 23", "", 1))
}

// batchFault fails a whole batch that holds one of the rows, as a model does.
func batchFault(kind error, rows ...int64) func(context.Context, int, stage.Batch) error {
	return func(_ context.Context, _ int, in stage.Batch) error {
		col := in.Record().Column(0).(*array.Int64)
		for _, x := range col.Int64Values() {
			if slices.Contains(rows, x) {
				if kind == nil {
					panic("cannot do " + fmt.Sprint(x))
				}
				return kind
			}
		}
		return nil
	}
}

func TestSkipLosesTheGuiltyRowsOnly(t *testing.T) {
	bad := []int64{3, 4, 50, 99, 120}
	for name, st := range map[string]*stagetest.FakeStage{
		"reported":  {Column: "x", Map: failOn(bad...), Need: stage.Need{RowWise: true}},
		"bisected":  {Column: "x", OnProcess: batchFault(errOdd, bad...), Need: stage.Need{RowWise: true}},
		"panicking": {Column: "x", OnProcess: batchFault(nil, bad...), Need: stage.Need{RowWise: true}},
	} {
		t.Run(name, func(t *testing.T) {
			var dead []*stage.RowError
			cfg := small(pipeline.Config{OnError: pipeline.OnError{Skip: true, DeadLetter: func(e *stage.RowError) { dead = append(dead, e) }}})
			got, err := collect(t, pipeline.Read(numbers(100, 30)).Apply(st, pipeline.StageConfig{BatchSize: 16, Actors: 2}), cfg)
			require.NoError(t, err)
			require.Len(t, got, 125)
			require.Len(t, dead, 5)
			var rows []int64
			for _, d := range dead {
				assert.Equal(t, 1, d.Attempts)
				assert.Contains(t, d.Input, `"name":"row-`)
				rows = append(rows, d.Row)
			}
			slices.Sort(rows)
			assert.Equal(t, []int64{3, 4, 20, 50, 99}, rows)
		})
	}
}

func TestTooManyFailuresEndTheJob(t *testing.T) {
	st := &stagetest.FakeStage{Column: "x", Map: failOn(1, 2, 3, 4)}
	_, err := collect(t, pipeline.Read(numbers(100)).Apply(st, pipeline.StageConfig{BatchSize: 1}), small(pipeline.Config{OnError: pipeline.OnError{Skip: true, MaxRows: 3}}))
	require.ErrorIs(t, err, pipeline.ErrTooManyFailures)
	require.ErrorIs(t, err, errOdd)
	st = &stagetest.FakeStage{Column: "x", Map: func(x int64) ([]int64, error) {
		if x%2 == 0 {
			return nil, errOdd
		}
		return []int64{x}, nil
	}}
	_, err = collect(t, pipeline.Read(numbers(5000)).Apply(st, pipeline.StageConfig{BatchSize: 50}), small(pipeline.Config{OnError: pipeline.OnError{Skip: true, MaxFraction: 0.25}}))
	require.ErrorIs(t, err, pipeline.ErrTooManyFailures)
}

type temporary struct{}

func (temporary) Error() string   { return "try again" }
func (temporary) Temporary() bool { return true }

func TestTemporaryFailuresAndLostWorkersAreTriedAgain(t *testing.T) {
	for name, cause := range map[string]error{"temporary": temporary{}, "lost": fmt.Errorf("gpu: %w", stage.ErrWorkerLost)} {
		t.Run(name, func(t *testing.T) {
			st := &stagetest.FakeStage{Column: "x", OnProcess: stagetest.FailOn(2, cause), Need: stage.Need{Retryable: true}}
			got, err := collect(t, pipeline.Read(numbers(40)).Apply(st, pipeline.StageConfig{BatchSize: 10, Actors: 1}), small(pipeline.Config{}))
			require.NoError(t, err)
			require.Len(t, got, 40)
			require.Equal(t, 5, st.Calls())
			if name == "lost" {
				require.Equal(t, 2, st.Opened())
			}
			require.Equal(t, st.Opened(), st.Closed())
		})
	}
}

func TestFaultsAtEveryCall(t *testing.T) {
	for n := 1; ; n++ {
		faults := &stagetest.Faults{}
		faults.Arm(n)
		src, sink := numbers(20, 30), &stagetest.MemorySink{Faults: faults}
		src.Faults = faults
		w := &watch{}
		_, err := pipeline.Read(src).Apply(&stagetest.FakeStage{Column: "x"}, pipeline.StageConfig{BatchSize: 7}).
			Write(context.Background(), sink, w.config(small(pipeline.Config{GroupBytes: 300})))
		w.balanced(t)
		if !faults.Hit() {
			require.NoError(t, err)
			require.Greater(t, n, 15)
			return
		}
		require.ErrorIs(t, err, stagetest.ErrInjected, "fault %d", n)
		require.Empty(t, sink.Records(false), "fault %d", n)
	}
}

func TestStageFaultsAtEveryCallAndOpen(t *testing.T) {
	for n := 1; n <= 8; n++ {
		st := &stagetest.FakeStage{Column: "x", OnProcess: stagetest.FailOn(n, errOdd)}
		_, err := collect(t, pipeline.Read(numbers(20, 30)).Apply(st, pipeline.StageConfig{BatchSize: 7, Actors: 2}), small(pipeline.Config{}))
		require.ErrorIs(t, err, errOdd)
		require.Equal(t, st.Opened(), st.Closed())
	}
	st := &stagetest.FakeStage{Name: "model", Column: "x", OnOpen: func(_ context.Context, worker int) error {
		if worker == 2 {
			return errOdd
		}
		return nil
	}}
	_, err := collect(t, pipeline.Read(numbers(20)).Apply(st, pipeline.StageConfig{Actors: 3}), pipeline.Config{})
	require.ErrorContains(t, err, "model: open: ")
	require.ErrorIs(t, err, errOdd)
}

func TestCancelAtEveryStep(t *testing.T) {
	for n := 1; n <= 12; n++ {
		for _, where := range []string{"read", "stage", "write"} {
			ctx, cancel := context.WithCancel(context.Background())
			var seen atomic.Int64
			hit := func() {
				if seen.Add(1) == int64(n) {
					cancel()
				}
			}
			src := numbers(20, 30)
			st := &stagetest.FakeStage{Column: "x"}
			sink := &stagetest.MemorySink{}
			switch where {
			case "read":
				src.OnNext = func(context.Context, string, int) error { hit(); return nil }
			case "stage":
				st.OnProcess = func(context.Context, int, stage.Batch) error { hit(); return nil }
			case "write":
				sink.OnWrite = func(context.Context, stage.PartID, arrow.Record) error { hit(); return nil }
			}
			w := &watch{}
			_, err := pipeline.Read(src).Apply(st, pipeline.StageConfig{BatchSize: 7, Actors: 2}).Write(ctx, sink, w.config(small(pipeline.Config{})))
			cancel()
			w.balanced(t)
			if err == nil { // it was done before the step came, or with it
				require.Len(t, linesOf(sink), 50)
				continue
			}
			require.ErrorIs(t, err, context.Canceled, "%s %d", where, n)
			require.Empty(t, sink.Records(false))
			require.Equal(t, st.Opened(), st.Closed())
		}
	}
}

func linesOf(sink *stagetest.MemorySink) []string {
	var out []string
	for _, rec := range sink.Records(false) {
		out = append(out, lines(rec)...)
	}
	return out
}

func TestWriteMakesAPartPerGroupAndKeepsDeadLetters(t *testing.T) {
	st := &stagetest.FakeStage{Name: "odd", Column: "x", Map: failOn(7, 25), Need: stage.Need{RowWise: true}}
	run := func(actors, batch int) (*stagetest.MemorySink, pipeline.Stats) {
		sink, w := &stagetest.MemorySink{}, &watch{}
		stats, err := pipeline.Read(numbers(20, 30, 10)).Apply(st, pipeline.StageConfig{Actors: actors, BatchSize: batch}).
			Write(context.Background(), sink, w.config(small(pipeline.Config{GroupBytes: 600, OnError: pipeline.OnError{Skip: true}})))
		require.NoError(t, err)
		w.balanced(t)
		return sink, stats
	}
	sink, stats := run(3, 8)
	require.Equal(t, int64(58), stats.Rows)
	require.Equal(t, int64(60), stats.InputRows)
	require.Equal(t, int64(2), stats.Failed)
	require.True(t, stats.Done)
	require.Greater(t, len(sink.Parts()), 2)
	var dead []string
	for _, rec := range sink.Records(true) {
		dead = append(dead, lines(rec)...)
	}
	require.Equal(t, []string{
		`input={"name":"row-7","x":7} stage=odd cause=column x: odd number out kind=data attempts=1 file=fake-0 row=7`,
		`input={"name":"row-25","x":25} stage=odd cause=column x: odd number out kind=data attempts=1 file=fake-1 row=5`,
	}, dead)
	other, _ := run(1, 3)
	require.Equal(t, linesOf(sink), linesOf(other))
	require.Equal(t, len(sink.Parts()), len(other.Parts()))
}

func TestAJobWithoutRowsStillWritesItsSchema(t *testing.T) {
	sink := &stagetest.MemorySink{}
	stats, err := pipeline.Read(numbers()).Write(context.Background(), sink, pipeline.Config{})
	require.NoError(t, err)
	require.Equal(t, 1, stats.Parts)
}

func TestLeavingTheLoopEndsTheRun(t *testing.T) {
	before := runtime.NumGoroutine()
	w := &watch{}
	for rec, err := range pipeline.Read(numbers(1000, 1000)).Batches(context.Background(), w.config(small(pipeline.Config{}))) {
		require.NoError(t, err)
		require.Positive(t, rec.NumRows())
		break
	}
	w.balanced(t)
	noneLeft(t, before)
}

func TestAStageThatBreaksItsContractIsNamed(t *testing.T) {
	ds := pipeline.Read(numbers(10)).MapBatches("shrink", func(_ context.Context, in arrow.Record, _ memory.Allocator) (arrow.Record, error) {
		return in.NewSlice(0, in.NumRows()/2), nil
	}, pipeline.StageConfig{})
	for _, skip := range []bool{false, true} {
		_, err := collect(t, ds, pipeline.Config{OnError: pipeline.OnError{Skip: skip}})
		require.ErrorContains(t, err, "shrink")
		require.ErrorContains(t, err, "breaks its contract")
	}
}

func TestMapBatchesSeesWholeRows(t *testing.T) {
	ds := pipeline.Read(numbers(10, 5)).MapBatches("twice", func(_ context.Context, in arrow.Record, mem memory.Allocator) (arrow.Record, error) {
		b := array.NewInt64Builder(mem)
		defer b.Release()
		for _, x := range in.Column(0).(*array.Int64).Int64Values() {
			b.Append(2 * x)
		}
		col := b.NewArray()
		defer col.Release()
		return array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "y", Type: arrow.PrimitiveTypes.Int64}}, nil), []arrow.Array{col}, in.NumRows()), nil
	}, pipeline.StageConfig{BatchSize: 4})
	got, err := collect(t, ds, small(pipeline.Config{}))
	require.NoError(t, err)
	for i, line := range got {
		require.Equal(t, fmt.Sprintf("y=%d", 2*i), line)
	}
	require.Len(t, got, 15)
}

// TestDeadLettersAreInTheirGroup has rows fail at the very end of a group, in a stage that others
// stand behind: a part holds what became of the rows of its group, and nothing else.
func TestDeadLettersAreInTheirGroup(t *testing.T) {
	for name, knobs := range map[string]struct{ actors, batch int }{"one row at a time": {1, 1}, "in batches": {3, 4}, "in blocks": {2, 0}} {
		t.Run(name, func(t *testing.T) {
			st := &stagetest.FakeStage{Name: "odd", Column: "x", Map: failOn(18, 19, 20, 49, 59), Need: stage.Need{RowWise: true}}
			sink, w := &stagetest.MemorySink{}, &watch{}
			_, err := pipeline.Read(numbers(20, 30, 10)).Apply(st, pipeline.StageConfig{Actors: knobs.actors, BatchSize: knobs.batch}).
				Apply(&stagetest.FakeStage{Column: "x", Output: "y"}, pipeline.StageConfig{BatchSize: 3}).
				Filter(where("x <> 48")).
				Write(context.Background(), sink, w.config(small(pipeline.Config{GroupBytes: 1, OnError: pipeline.OnError{Skip: true}})))
			require.NoError(t, err)
			w.balanced(t)
			rows := map[stage.PartID]int64{}
			for _, p := range sink.Parts() {
				rows[p.ID] = p.Rows
			}
			require.Equal(t, map[stage.PartID]int64{
				{Group: 0}: 18, {Group: 1}: 27, {Group: 2}: 9,
				{Group: 0, Errors: true}: 2, {Group: 1, Errors: true}: 2, {Group: 2, Errors: true}: 1,
			}, rows)
		})
	}
}

// TestDeadLettersHoldTheRowWhole: also where the job needs few of its columns.
func TestDeadLettersHoldTheRowWhole(t *testing.T) {
	st := &stagetest.FakeStage{Name: "odd", Column: "x", Output: "y", Map: failOn(7), Need: stage.Need{RowWise: true}}
	d := pipeline.Read(numbers(20)).WithColumn("twice", where("x * 2")).Apply(st, pipeline.StageConfig{}).Select("y")
	var inputs []string
	cfg := small(pipeline.Config{OnError: pipeline.OnError{Skip: true, DeadLetter: func(e *stage.RowError) { inputs = append(inputs, e.Input) }}})
	got, err := collect(t, d, cfg)
	require.NoError(t, err)
	require.Len(t, got, 19)
	require.Equal(t, "y=0", got[0])
	require.Equal(t, []string{`{"name":"row-7","twice":14,"x":7}`}, inputs)
}

// TestAdmissionByRateGivesTheSameRows: also where nobody looks at the rates.
func TestAdmissionByRateGivesTheSameRows(t *testing.T) {
	splits := slices.Repeat([]int{37}, 40)
	want, err := collect(t, pipeline.Read(numbers(splits...)), pipeline.Config{})
	require.NoError(t, err)
	st := &stagetest.FakeStage{Column: "x", Output: "y"}
	d := pipeline.Read(numbers(splits...)).Apply(st, pipeline.StageConfig{BatchSize: 5, Actors: 2}).Select("x", "name")
	got, err := collect(t, d, small(pipeline.Config{Admission: pipeline.ByRate}))
	require.NoError(t, err)
	require.Equal(t, want, got)
	var n int
	for rec, err := range d.Batches(context.Background(), small(pipeline.Config{Admission: pipeline.ByRate, ProgressEvery: time.Millisecond})) {
		require.NoError(t, err)
		n += int(rec.NumRows())
	}
	require.Equal(t, 37*40, n)
	_, err = d.Check(context.Background(), pipeline.Config{Admission: 7})
	require.ErrorContains(t, err, "there is no Admission 7")
}
