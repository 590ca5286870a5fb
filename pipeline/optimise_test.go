package pipeline_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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

var update = flag.Bool("update", false, "write the golden plans anew")

// wide is a source of the columns x, y, f, s and unused without rows.
func wide() *stagetest.FakeSource { return stagetest.NewSource(wideSchema) }

// pure is a stage that adds column out to what it is given, and may be given less.
func pure(in, out string) *stagetest.FakeStage {
	return &stagetest.FakeStage{Name: "pure " + out, Column: in, Output: out, Need: stage.Need{RowWise: true, Deterministic: true}}
}

func where(text string) expr.Expr {
	e, err := expr.Parse(text)
	if err != nil {
		panic(err)
	}
	return e
}

func identity(_ context.Context, in arrow.Record, _ memory.Allocator) (arrow.Record, error) {
	in.Retain()
	return in, nil
}

// TestRules compares what Explain says of a plan for each rule with a golden file.
func TestRules(t *testing.T) {
	read := func() *pipeline.Dataset { return pipeline.Read(wide()) }
	half := func(name string) *pipeline.Dataset { return read().WithColumn(name, where("f / 2")) }
	none := pipeline.StageConfig{}
	skip := pipeline.Config{OnError: pipeline.OnError{Skip: true}}
	for name, c := range map[string]struct {
		d   *pipeline.Dataset
		cfg pipeline.Config
	}{
		"columns":               {d: half("h").Apply(pure("x", "z"), none).Select("h", "z")},
		"columns-dead-stage":    {d: half("h").Apply(pure("x", "z"), none).WithSource("file", "row").Select("z", "f")},
		"columns-between":       {d: read().Apply(pure("x", "a"), none).Apply(pure("a", "b"), none).Drop("a", "unused").Select("s", "b")},
		"columns-whole-rows":    {d: read().Drop("s").MapBatches("all", identity, none).Select("x")},
		"columns-repartition":   {d: read().Repartition(10, 0).Select("x")},
		"columns-of-nothing":    {d: read().WithSource("file", "row").Select("row")},
		"columns-zip":           {d: read().Zip(half("h")).Select("x", "f_1", "h")},
		"columns-zip-one-side":  {d: read().Select("x").Zip(read()).Select("x")},
		"columns-union":         {d: half("h").Union(half("h")).Select("h", "x")},
		"columns-same-name":     {d: pipeline.Read(doubled{wide()}).Select("x", "f")},
		"select-of-select":      {d: read().Select("s", "y", "x").Rename(map[string]string{"y": "z"}).Select("z", "s").Select("s", "z")},
		"select-all":            {d: read().Select("x", "y", "f", "s", "unused").Rename(map[string]string{"x": "x"})},
		"filter":                {d: read().Filter(where("x > 1")).Filter(where("s is not null")).Select("y")},
		"filter-conjuncts":      {d: half("h").Apply(pure("x", "z"), none).Filter(where("h > 1 and x > 2 and (y = 1 or f < 3) and z = 1"))},
		"filter-rename":         {d: read().Rename(map[string]string{"x": "y", "y": "x"}).Select("x", "y", "s").Filter(where("x > 1 and y < 2"))},
		"filter-limit":          {d: read().Limit(10).Filter(where("x > 1"))},
		"filter-zip":            {d: read().Zip(read()).Filter(where("x > 1"))},
		"filter-union":          {d: half("h").Union(half("h").Limit(3), read().Rename(map[string]string{"unused": "h", "s": "unused"}).Select("x", "y", "f", "h").WithColumn("s", where("'a'")).WithColumn("unused", where("'b'")).WithColumn("h", where("f")).Select("x", "y", "f", "s", "unused", "h")).Filter(where("x > 1 and h < 2"))},
		"filter-stage-skipping": {d: half("h").Apply(pure("x", "z"), none).Filter(where("x > 2")), cfg: skip},
		"filter-impure":         {d: read().Apply(&stagetest.FakeStage{Name: "impure", Column: "x", Output: "z", Need: stage.Need{RowWise: true}}, none).Filter(where("x > 2"))},
		"filter-batchwise":      {d: read().Apply(&stagetest.FakeStage{Name: "batchwise", Column: "x", Output: "z", Need: stage.Need{Deterministic: true}}, none).Filter(where("x > 2"))},
		"filter-whole-rows":     {d: read().Apply(&stagetest.FakeStage{Name: "whole", Column: "x", Output: "z", Whole: true, Need: stage.Need{RowWise: true, Deterministic: true}}, none).Filter(where("x > 2"))},
		"filter-flat-map":       {d: read().Apply(&stagetest.FakeStage{Name: "flat", Column: "x", Output: "z", Need: stage.Need{Rows: stage.Many, RowWise: true, Deterministic: true}}, none).Filter(where("x > 2 and z = 1"))},
		"filter-may-fail":       {d: read().Select("x", "y").Filter(where("y != 0")).Filter(where("x / y > 1 and x > 2")).Filter(where("x < 5"))},
		"filter-taken":          {d: pipeline.Read(&pickySource{FakeSource: wide(), takes: 9}).Filter(where("x > 1")).Select("y").Limit(5)},
		"filter-taken-in-part":  {d: pipeline.Read(&pickySource{FakeSource: wide(), takes: 1}).Filter(where("x > 1 and f > 1")).Select("y").Limit(5)},
		"limit":                 {d: half("h").Apply(pure("x", "z"), none).Limit(20).Drop("x").Limit(7).Limit(9)},
		"limit-skipping":        {d: half("h").Apply(pure("x", "z"), none).Limit(5), cfg: skip},
		"limit-filter":          {d: read().RandomSample(0.5, 1).Limit(5)},
		"limit-union":           {d: half("h").Limit(3).Union(half("h")).Limit(5)},
		"limit-zip":             {d: read().Zip(read()).Limit(5)},
		"fuse":                  {d: half("h").Filter(where("h + 0 > 1")).MapBatches("all", identity, none).Select("s", "x").Apply(pure("x", "z"), none).Select("z", "s", "x")},
		"fuse-not": {d: read().Apply(pure("x", "a"), none).Apply(pure("a", "b"), pipeline.StageConfig{BatchSize: 10}).Apply(pure("b", "c"), pipeline.StageConfig{Actors: 2}).
			Apply(pure("c", "d"), pipeline.StageConfig{BatchSize: pipeline.AutoBatch}).Apply(pure("d", "e"), none).Limit(3).Apply(pure("e", "f"), none)},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := c.cfg
			cfg.MemoryLimit, cfg.CPUs, cfg.BlockBytes = 1<<20, 2, 1<<16
			text, err := c.d.Explain(context.Background(), cfg)
			require.NoError(t, err)
			file := filepath.Join("testdata", "optimise", name+".txt")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o777))
				require.NoError(t, os.WriteFile(file, []byte(text), 0o666))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), text)
		})
	}
}

// doubled is a source that has column x twice.
type doubled struct{ *stagetest.FakeSource }

func (s doubled) Plan(ctx context.Context, req stage.ScanRequest) (stage.Scan, error) {
	if req.Columns != nil {
		return nil, errors.New("a name does not say which column is meant")
	}
	scan, err := s.FakeSource.Plan(ctx, req)
	return doubledScan{scan}, err
}

type doubledScan struct{ stage.Scan }

func (s doubledScan) Schema() *arrow.Schema {
	f := s.Scan.Schema().Fields()
	return arrow.NewSchema(append(slices.Clone(f), f[0]), nil)
}

// TestTheSourceIsAskedForWhatIsNeeded follows the requests that a source gets.
func TestTheSourceIsAskedForWhatIsNeeded(t *testing.T) {
	src := &pickySource{FakeSource: wide(), takes: 9}
	_, err := collect(t, pipeline.Read(src).Filter(where("x > 1")).Select("f", "y").Limit(5), pipeline.Config{})
	require.NoError(t, err)
	var asked []string
	for _, r := range src.asked {
		asked = append(asked, fmt.Sprint(r.Columns, r.Filter, r.Limit))
	}
	require.Equal(t, []string{"[] <nil> 0", "[x y f] x > 1 0", "[y f] x > 1 5"}, asked)
}

// TestASourceThatGivesMoreThanItIsAskedFor has its extra columns left out.
func TestASourceThatGivesMoreThanItIsAskedFor(t *testing.T) {
	got, err := collect(t, pipeline.Read(deafSource{numbers(5)}).Filter(where("x > 2")).Select("name"), pipeline.Config{})
	require.NoError(t, err)
	require.Equal(t, []string{"name=row-3", "name=row-4"}, got)
	got, err = collect(t, pipeline.Read(deafSource{numbers(2)}).Select("name"), pipeline.Config{})
	require.NoError(t, err)
	require.Equal(t, []string{"name=row-0", "name=row-1"}, got)
}

type deafSource struct{ *stagetest.FakeSource }

func (s deafSource) Plan(ctx context.Context, req stage.ScanRequest) (stage.Scan, error) {
	return s.FakeSource.Plan(ctx, stage.ScanRequest{Filter: req.Filter})
}

func TestCountReadsNothingWhereTheSplitsSayIt(t *testing.T) {
	src := numbers(100, 50, 7)
	reads := 0
	var mu sync.Mutex
	src.OnNext = func(context.Context, string, int) error { mu.Lock(); defer mu.Unlock(); reads++; return nil }
	read := func() *pipeline.Dataset { return pipeline.Read(src) }
	count := func(d *pipeline.Dataset, want int64) int {
		t.Helper()
		reads = 0
		n, err := d.Count(context.Background(), pipeline.Config{})
		require.NoError(t, err)
		require.Equal(t, want, n)
		return reads
	}
	assert.Zero(t, count(read(), 157))
	assert.Zero(t, count(read().WithColumn("y", where("cast(x as float64)")).Drop("x").WithSource("f", "r").Limit(120), 120))
	assert.Zero(t, count(read().Limit(0), 0))
	assert.Zero(t, count(read().Union(read().Limit(3)).Limit(1000), 160))
	assert.Zero(t, count(read().Repartition(3, 0), 157))
	assert.NotZero(t, count(read().Filter(where("x < 10")), 10))
	assert.NotZero(t, count(read().WithColumn("y", where("x + 1")), 157)) // might overflow
	assert.NotZero(t, count(read().Apply(pure("x", "y"), pipeline.StageConfig{}), 157))
	assert.NotZero(t, count(read().Zip(read()), 157)) // might not fit
	src.Unknown = true
	assert.NotZero(t, count(read(), 157))
}

// seeded writes what its workers were lent.
type seeded struct {
	*stagetest.FakeStage
	seeds *sync.Map
}

func (s seeded) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	return bindOpening(s.FakeStage, in, func(ctx context.Context, env stage.Env, open opener) (stage.Worker, error) {
		s.seeds.Store(s.Name, env.Seed)
		env.Add(stage.Tokens, 3)
		return open(ctx, env)
	})
}

// TestFusedStagesAreThemselves follows stages that share their calls: seeds, statistics,
// workers and the names in errors are those of each.
func TestFusedStagesAreThemselves(t *testing.T) {
	for _, plain := range []bool{true, false} {
		t.Run(fmt.Sprint("plain ", plain), func(t *testing.T) {
			var seeds sync.Map
			a, b, c := pure("x", "a"), pure("a", "b"), pure("b", "c")
			b.Map = failOn(7)
			d := pipeline.Read(numbers(20, 20)).Filter(where("x >= 0")).
				Apply(seeded{a, &seeds}, pipeline.StageConfig{}).Apply(seeded{b, &seeds}, pipeline.StageConfig{}).Apply(seeded{c, &seeds}, pipeline.StageConfig{})
			var dead []*stage.RowError
			w := &watch{}
			cfg := w.config(small(pipeline.Config{CPUs: 2, NoOptimise: plain}))
			cfg.OnError = pipeline.OnError{Skip: true, DeadLetter: func(e *stage.RowError) { dead = append(dead, e) }}
			got, err := d.Count(context.Background(), cfg)
			require.NoError(t, err)
			require.Equal(t, int64(39), got)
			w.balanced(t)

			require.Len(t, dead, 1)
			assert.Equal(t, "pure b", dead[0].Stage)
			assert.Equal(t, int64(7), dead[0].Row)
			assert.Contains(t, dead[0].Input, `"a":7`)
			assert.NotContains(t, dead[0].Input, `"c"`)

			rows := map[string]string{}
			for _, o := range w.stats.Operators {
				if strings.HasPrefix(o.Name, "pure") {
					rows[o.Name] = fmt.Sprint(o.InRows, o.OutRows, o.Failed, o.Workers, o.Counters[stage.Tokens])
					assert.Positive(t, o.Busy)
					assert.Positive(t, o.Tasks)
				}
			}
			assert.Equal(t, map[string]string{"pure a": "40 40 0 2 6", "pure b": "40 39 1 2 6", "pure c": "39 39 0 2 6"}, rows)
			for i, name := range []string{"pure a", "pure b", "pure c"} {
				seed, _ := seeds.Load(name)
				assert.Equal(t, uint64(i+2)*0x9e3779b97f4a7c15, seed)
			}
			for _, st := range []*stagetest.FakeStage{a, b, c} {
				assert.Equal(t, 2, st.Opened())
				assert.Equal(t, 2, st.Closed())
			}
		})
	}
}

func TestFusedStagesFailAtEveryCall(t *testing.T) {
	for _, temporarily := range []bool{false, true} {
		for n := 1; n <= 12; n++ {
			for _, at := range []int{0, 1, 2} {
				var all []*stagetest.FakeStage
				d := pipeline.Read(numbers(20, 30))
				for i, in := range []string{"x", "c0", "c1"} {
					st := pure(in, fmt.Sprint("c", i))
					st.Need.Retryable = true
					st.Piece = i * 2
					all = append(all, st)
					d = d.Apply(st, pipeline.StageConfig{})
				}
				cause := errOdd
				if temporarily {
					cause = fmt.Errorf("worker: %w", stage.ErrWorkerLost)
				}
				all[at].OnProcess = stagetest.FailOn(n, cause)
				got, err := collect(t, d, small(pipeline.Config{CPUs: 1 + n%2}))
				if all[at].Calls() < n || temporarily {
					require.NoError(t, err)
					require.Len(t, got, 50)
				} else {
					require.ErrorIs(t, err, errOdd)
					require.ErrorContains(t, err, all[at].Name+": ")
				}
				for _, st := range all {
					require.Equal(t, st.Opened(), st.Closed())
				}
			}
		}
	}
}

func TestFusedStagesOpenAllOrNone(t *testing.T) {
	a, b := pure("x", "a"), pure("a", "b")
	b.OnOpen = func(context.Context, int) error { return errOdd }
	_, err := collect(t, pipeline.Read(numbers(20)).Apply(a, pipeline.StageConfig{}).Apply(b, pipeline.StageConfig{}), pipeline.Config{CPUs: 3})
	require.ErrorContains(t, err, "pure b: open: ")
	require.Equal(t, a.Opened(), a.Closed())
}

// lastOf keeps rows until its workers finish, and then gives how many there were.
type lastOf struct{ name string }

func (s lastOf) ID() stage.StageID { return stage.StageID{Name: s.name} }

func (s lastOf) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) {
		return &lastOfWorker{env: env, schema: schema}, nil
	}
	return &stage.Bound{Schema: schema, Need: stage.Need{Rows: stage.Many}, Open: open}, nil
}

type lastOfWorker struct {
	env    stage.Env
	schema *arrow.Schema
	n      int64
}

func (w *lastOfWorker) Process(_ context.Context, in stage.Batch, _ func(stage.Output) error) error {
	w.n += int64(in.NumRows())
	return nil
}

func (w *lastOfWorker) Finish(_ context.Context, emit func(stage.Output) error) error {
	b := array.NewRecordBuilder(w.env.Allocator(0), w.schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).Append(w.n)
	return emit(stage.Output{Record: b.NewRecord()})
}

func (w *lastOfWorker) Close() error { return nil }

func TestFusedStagesFinishInTurn(t *testing.T) {
	d := pipeline.Read(numbers(20, 30)).Apply(lastOf{"first"}, pipeline.StageConfig{}).WithColumn("m", where("n + 1")).
		Apply(lastOf{"second"}, pipeline.StageConfig{}).WithColumn("k", where("n * 10"))
	for _, plain := range []bool{true, false} {
		got, err := collect(t, d, small(pipeline.Config{CPUs: 1, NoOptimise: plain}))
		require.NoError(t, err)
		require.Equal(t, []string{"n=1 k=10"}, got)
	}
}

func TestPlanningIsFast(t *testing.T) {
	d := pipeline.Read(wide())
	for i := range 50 {
		switch i % 5 {
		case 0:
			d = d.Filter(where(fmt.Sprintf("x > %d and f < 5", -i)))
		case 1:
			d = d.WithColumn(fmt.Sprint("w", i), where("f / 2"))
		case 2:
			d = d.Apply(pure("y", fmt.Sprint("z", i)), pipeline.StageConfig{})
		case 3:
			d = d.Rename(map[string]string{fmt.Sprint("w", i-2): "w", "s": "t"}).Rename(map[string]string{"t": "s"})
		case 4:
			d = d.Drop("w")
		}
	}
	best := time.Hour
	for range 10 {
		began := time.Now()
		_, err := d.Explain(context.Background(), pipeline.Config{})
		require.NoError(t, err)
		best = min(best, time.Since(began))
	}
	t.Log("a plan of 50 steps, shown:", best)
	require.Less(t, best, 50*time.Millisecond) // 5 ms, and what a race detector costs
}
