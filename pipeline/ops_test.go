package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

type numbered struct {
	X    int64
	Name string
}

type word struct {
	ID   int64 `arrow:"id"`
	Char string
	Seen *time.Time
	Tags []string
	Note string `arrow:"-"`
}

func TestMapOverStructs(t *testing.T) {
	var calls atomic.Int64
	ds := pipeline.Map(pipeline.Read(numbers(20, 3)), "double", func(_ context.Context, in numbered) (word, error) {
		calls.Add(1)
		if in.X == 7 {
			return word{}, errOdd
		}
		at := time.Unix(in.X, 0).UTC()
		return word{Note: "no column", ID: 2 * in.X, Char: strings.ToUpper(in.Name), Seen: &at, Tags: []string{in.Name, "b"}}, nil
	}, pipeline.StageConfig{BatchSize: 6})
	var ids []int64
	for row, err := range pipeline.Rows[word](context.Background(), ds, small(pipeline.Config{OnError: pipeline.OnError{Skip: true}})) {
		require.NoError(t, err)
		ids = append(ids, row.ID)
		require.Empty(t, row.Note)
		require.Equal(t, time.Unix(row.ID/2, 0).UTC(), *row.Seen)
		require.Equal(t, []string{strings.ToLower(row.Char), "b"}, row.Tags)
	}
	require.Len(t, ids, 22)
	require.True(t, slices.IsSorted(ids))
	require.Equal(t, int64(23), calls.Load())

	type wrong struct {
		Nmae string
		X    string
	}
	_, err := pipeline.Map(pipeline.Read(numbers(1)), "bad", func(context.Context, wrong) (numbered, error) { return numbered{}, nil }, pipeline.StageConfig{}).
		Check(context.Background(), pipeline.Config{})
	require.ErrorContains(t, err, `did you mean "name"?`)
	require.ErrorContains(t, err, `column "x": is int64, and does not fit string`)
}

func TestFlatMapAndCollectAreInverse(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 25 {
		sizes := cuts(rng, 150)
		split := pipeline.FlatMap(pipeline.Read(numbers(sizes...)), "letters", func(_ context.Context, in numbered, emit func(word)) error {
			for i, c := range in.Name {
				emit(word{ID: in.X, Char: string(c), Tags: []string{fmt.Sprint(i)}})
			}
			return nil
		}, pipeline.StageConfig{BatchSize: 1 + rng.IntN(30)})
		ds := split.Repartition(1+rng.IntN(40), 0).Collect("char").Select("id", "char").WithSource("f", "r")
		cfg := pipeline.Config{BlockBytes: 64 + rng.Int64N(3000), CPUs: 1 + rng.IntN(4)}
		got, err := collect(t, ds, cfg)
		require.NoError(t, err)
		require.Len(t, got, 150)
		for i, line := range got {
			letters := strings.Split(fmt.Sprintf("row-%d", i), "")
			require.Contains(t, line, fmt.Sprintf("id=%d char=[\"%s\"]", i, strings.Join(letters, `","`)))
		}
	}
	_, err := pipeline.Read(numbers(1)).Collect("nmae").Check(context.Background(), pipeline.Config{})
	require.ErrorContains(t, err, "collect: ")
}

func TestFlatMapBatchesAndFilterFunc(t *testing.T) {
	twice := func(ctx context.Context, in arrow.Record, mem memory.Allocator) (arrow.Record, []int32, error) {
		b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{{Name: "v", Type: arrow.PrimitiveTypes.Int64}}, nil))
		defer b.Release()
		var parent []int32
		for i, x := range in.Column(0).(*array.Int64).Int64Values() {
			b.Field(0).(*array.Int64Builder).AppendValues([]int64{x, -x}, nil)
			parent = append(parent, int32(i), int32(i))
		}
		return b.NewRecord(), parent, nil
	}
	even := func(_ context.Context, in arrow.Record) ([]bool, error) {
		keep := make([]bool, in.NumRows())
		for i, x := range in.Column(0).(*array.Int64).Int64Values() {
			keep[i] = x%2 == 0
		}
		return keep, nil
	}
	got, err := collect(t, pipeline.Read(numbers(5)).FilterFunc("even", even, pipeline.StageConfig{}).FlatMap("twice", twice, pipeline.StageConfig{}), pipeline.Config{})
	require.NoError(t, err)
	require.Equal(t, []string{"v=0", "v=0", "v=2", "v=-2", "v=4", "v=-4"}, got)
}

type addOne struct{ closed *atomic.Int64 }

func (a addOne) Process(_ context.Context, in arrow.Record, mem memory.Allocator) (arrow.Record, error) {
	b := array.NewInt64Builder(mem)
	defer b.Release()
	for _, x := range in.Column(0).(*array.Int64).Int64Values() {
		b.Append(x + 1)
	}
	col := b.NewArray()
	defer col.Release()
	return array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "y", Type: arrow.PrimitiveTypes.Int64}}, nil), []arrow.Array{col}, in.NumRows()), nil
}

func (a addOne) Close() error { a.closed.Add(1); return nil }

func TestMapActorsOpensAndClosesEachWorker(t *testing.T) {
	var opened, closed atomic.Int64
	schema := arrow.NewSchema([]arrow.Field{{Name: "y", Type: arrow.PrimitiveTypes.Int64}}, nil)
	ds := pipeline.Read(numbers(30)).MapActors("add", schema, func(context.Context) (pipeline.BatchWorker, error) {
		opened.Add(1)
		return addOne{&closed}, nil
	}, pipeline.StageConfig{Actors: 3, BatchSize: 4})
	got, err := collect(t, ds, small(pipeline.Config{}))
	require.NoError(t, err)
	require.Len(t, got, 30)
	require.Equal(t, "y=30", got[29])
	require.Equal(t, int64(3), opened.Load())
	require.Equal(t, int64(3), closed.Load())
}

func TestRandomSampleDependsOnTheRowAlone(t *testing.T) {
	ds := pipeline.Read(numbers(4000, 6000)).RandomSample(0.2, 42)
	first, err := collect(t, ds, pipeline.Config{})
	require.NoError(t, err)
	require.InDelta(t, 2000, len(first), 200)
	again, err := collect(t, ds, pipeline.Config{BlockBytes: 333, CPUs: 3})
	require.NoError(t, err)
	require.Equal(t, first, again)
	other, err := collect(t, pipeline.Read(numbers(4000, 6000)).RandomSample(0.2, 43), pipeline.Config{})
	require.NoError(t, err)
	require.NotEqual(t, first, other)
	_, err = pipeline.Read(numbers(1)).RandomSample(1.5, 0).Check(context.Background(), pipeline.Config{})
	require.ErrorContains(t, err, "between 0 and 1")
}

func TestRandomizeBlockOrderMovesSplits(t *testing.T) {
	src := numbers(slices.Repeat([]int{10}, 30)...)
	plain, err := collect(t, pipeline.Read(src), pipeline.Config{})
	require.NoError(t, err)
	mixed, err := collect(t, pipeline.Read(src).RandomizeBlockOrder(1), pipeline.Config{})
	require.NoError(t, err)
	again, err := collect(t, pipeline.Read(src).RandomizeBlockOrder(1), pipeline.Config{CPUs: 4})
	require.NoError(t, err)
	require.NotEqual(t, plain, mixed)
	require.Equal(t, mixed, again)
	require.Equal(t, mixed[0][:3], again[0][:3])
	slices.Sort(plain)
	slices.Sort(mixed)
	require.Equal(t, plain, mixed)
	_, err = pipeline.Read(src).Limit(3).RandomizeBlockOrder(1).Check(context.Background(), pipeline.Config{})
	require.ErrorContains(t, err, "right behind Read")
}

func TestMaterializeRunsThePlanOnce(t *testing.T) {
	st := &stagetest.FakeStage{Column: "x"}
	kept, err := pipeline.Read(numbers(100, 20)).Apply(st, pipeline.StageConfig{BatchSize: 10}).Materialize(context.Background(), small(pipeline.Config{}))
	require.NoError(t, err)
	calls := st.Calls()
	for range 2 {
		got, err := collect(t, kept.Select("x").Limit(115), small(pipeline.Config{}))
		require.NoError(t, err)
		require.Len(t, got, 115)
		require.Equal(t, "x=114", got[114])
	}
	require.Equal(t, calls, st.Calls())
	n, err := kept.Count(context.Background(), pipeline.Config{})
	require.NoError(t, err)
	require.Equal(t, int64(120), n)
}

func TestRepartitionMakesBlocksOfThatSize(t *testing.T) {
	var sizes []int64
	for rec, err := range pipeline.Read(numbers(33, 1, 70)).Repartition(25, 0).Batches(context.Background(), small(pipeline.Config{BlockBytes: 4000})) {
		require.NoError(t, err)
		sizes = append(sizes, rec.NumRows())
	}
	require.Equal(t, []int64{25, 25, 25, 25, 4}, sizes)
	_, err := pipeline.Read(numbers(1)).Repartition(0, 0).Check(context.Background(), pipeline.Config{})
	require.Error(t, err)
}

func TestShowWritesATable(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, pipeline.Read(numbers(5)).Show(context.Background(), &out, 2, pipeline.Config{}))
	require.Equal(t, "x  name\n0  row-0\n1  row-1\n", out.String())
}

func TestASlowWorkerIsReplaced(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	st := &stagetest.FakeStage{Column: "x", Need: stage.Need{Timeout: 20 * time.Millisecond, Retryable: true}}
	st.OnProcess = func(ctx context.Context, call int, _ stage.Batch) error {
		if call == 2 {
			<-release // deaf to its context
		}
		return nil
	}
	w := &watch{}
	n := 0
	for rec, err := range pipeline.Read(numbers(30)).Apply(st, pipeline.StageConfig{BatchSize: 10, Actors: 1}).Batches(context.Background(), w.config(pipeline.Config{})) {
		require.NoError(t, err)
		n += int(rec.NumRows())
	}
	require.Equal(t, 30, n)
	require.Equal(t, 2, st.Opened())

	st = &stagetest.FakeStage{Column: "x", Need: stage.Need{Timeout: 10 * time.Millisecond}}
	st.OnProcess = func(ctx context.Context, _ int, _ stage.Batch) error { <-ctx.Done(); return ctx.Err() }
	_, err := collect(t, pipeline.Read(numbers(3)).Apply(st, pipeline.StageConfig{}), pipeline.Config{})
	var row *stage.RowError
	require.True(t, errors.As(err, &row))
	require.Equal(t, stage.TimedOut, row.Kind)
}

// Plans that give the same columns from others are not the same job.
func TestTheColumnsOfAPlanAreInItsName(t *testing.T) {
	src := pipeline.Read(numbers(1))
	for _, pair := range [][2]*pipeline.Dataset{
		{src.Select("x"), src.Select("name")},
		{src.Drop("x"), src.Drop("name")},
		{src.Rename(map[string]string{"x": "a"}), src.Rename(map[string]string{"name": "a"})},
		{src.Collect("x"), src.Collect("name")},
	} {
		require.NotEqual(t, pipeline.StageIDs(pair[0]), pipeline.StageIDs(pair[1]))
		require.Equal(t, pipeline.StageIDs(pair[0]), pipeline.StageIDs(pair[0]))
	}
}

func TestCacheRunsThePlanOnceAndLate(t *testing.T) {
	st := &stagetest.FakeStage{Column: "x", Map: failOn(3, 30), Need: stage.Need{RowWise: true}}
	skip := pipeline.OnError{Skip: true}
	kept := pipeline.Read(numbers(20, 20)).Apply(st, pipeline.StageConfig{}).Cache(small(pipeline.Config{OnError: skip}))
	_, err := kept.Explain(context.Background(), pipeline.Config{})
	require.NoError(t, err)
	require.Zero(t, st.Calls(), "it ran before rows were wanted")
	calls := 0
	for turn := range 2 {
		w := &watch{}
		var got []string
		for rec, err := range kept.Filter(where("x > 1")).Batches(context.Background(), w.config(small(pipeline.Config{OnError: skip}))) {
			require.NoError(t, err)
			got = append(got, lines(rec)...)
		}
		require.Len(t, got, 36)
		require.Equal(t, "x=2 name=row-2 x_out=2", got[0])
		require.EqualValues(t, 2, w.stats.Failed)
		if turn == 0 {
			calls = st.Calls()
		}
	}
	require.Equal(t, calls, st.Calls())
	require.Positive(t, calls)
	again := pipeline.Read(numbers(5)).Apply(&stagetest.FakeStage{Column: "x"}, pipeline.StageConfig{}).Cache(pipeline.Config{})
	n, err := again.Count(context.Background(), pipeline.Config{})
	require.NoError(t, err)
	require.EqualValues(t, 5, n)
	_, err = collect(t, pipeline.Read(numbers(5)).Apply(&stagetest.FakeStage{Column: "x", Map: failOn(3)}, pipeline.StageConfig{}).Cache(pipeline.Config{}), pipeline.Config{})
	require.ErrorContains(t, err, "row 3")
}

func TestACacheOfFailuresAloneTellsThem(t *testing.T) {
	st := &stagetest.FakeStage{Column: "x", Map: failOn(0, 1), Need: stage.Need{RowWise: true}}
	skip := pipeline.Config{OnError: pipeline.OnError{Skip: true}}
	w := &watch{}
	for range pipeline.Read(numbers(2)).Apply(st, pipeline.StageConfig{}).Cache(skip).Batches(context.Background(), w.config(skip)) {
		t.Fatal("a row came out")
	}
	require.EqualValues(t, 2, w.stats.Failed)
}

// TestKeptRowsKnowTheirFile: rows that were kept in memory still say where they were read.
func TestKeptRowsKnowTheirFile(t *testing.T) {
	d := pipeline.Read(numbers(5, 5)).Filter(where("x > 3"))
	want, err := collect(t, d.WithSource("file", "row"), pipeline.Config{})
	require.NoError(t, err)
	require.Equal(t, "x=5 name=row-5 file=fake-1 row=0", want[1])
	kept, err := d.Materialize(context.Background(), pipeline.Config{})
	require.NoError(t, err)
	for _, again := range []*pipeline.Dataset{kept, d.Cache(pipeline.Config{}), d.Cache(pipeline.Config{}).Filter(where("x > 0"))} {
		got, err := collect(t, again.WithSource("file", "row"), small(pipeline.Config{}))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}
