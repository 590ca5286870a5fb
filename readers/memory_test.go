package readers_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

var splitSchema = arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "s", Type: arrow.BinaryTypes.String}}, nil)

func numbers(t testing.TB, env stage.Env, from, to int) arrow.Record {
	t.Helper()
	n, s := array.NewInt64Builder(env.Allocator(0)), array.NewStringBuilder(env.Allocator(1))
	for i := from; i < to; i++ {
		n.Append(int64(i))
		s.Append("row")
	}
	cols := []arrow.Array{n.NewArray(), s.NewArray()}
	defer cols[0].Release()
	defer cols[1].Release()
	n.Release()
	s.Release()
	return array.NewRecord(splitSchema, cols, int64(to-from))
}

func TestRecordsKeepTheContract(t *testing.T) {
	var recs []arrow.Record
	for i := range 3 {
		rec := numbers(t, stage.Env{}, 10*i, 10*i+10*(i%2)+7)
		defer rec.Release()
		recs = append(recs, rec)
	}
	stagetest.Source(t, readers.Records(splitSchema, recs...), stagetest.SourceOptions{})
	stagetest.Source(t, readers.Records(splitSchema), stagetest.SourceOptions{})
	require.Len(t, splits(t, readers.Records(splitSchema, recs...), stage.ScanRequest{Limit: 8}), 2)
	other := arrow.NewSchema(splitSchema.Fields()[:1], nil)
	requireParts(t, read(t, readers.Records(other, recs...), stage.ScanRequest{}, 0).err, "records#0", "other columns")
}

func TestRangeKeepsTheContract(t *testing.T) {
	stagetest.Source(t, readers.Ranges(readers.RangeConfig{Rows: 25_000, RowsPerSplit: 10_000}), stagetest.SourceOptions{})
	g := read(t, readers.Range(100_000), stage.ScanRequest{}, 0)
	require.NoError(t, g.err)
	require.EqualValues(t, 100_000, g.rec.NumRows())
	for i, v := range g.rec.Column(0).(*array.Int64).Int64Values() {
		require.EqualValues(t, i, v)
	}
	require.Len(t, splits(t, readers.Range(100_000), stage.ScanRequest{}), 2)
	require.Empty(t, splits(t, readers.Range(0), stage.ScanRequest{}))
}

func TestFuncKeepsTheContract(t *testing.T) {
	cfg := readers.FuncConfig{Name: "numbers", Schema: splitSchema, Splits: 3, Settings: map[string]int{"n": 1}}
	cfg.Read = func(ctx context.Context, env stage.Env, split int) iter.Seq2[arrow.Record, error] {
		return func(yield func(arrow.Record, error) bool) {
			for i := range 4 {
				if !yield(numbers(t, env, 100*split+10*i, 100*split+10*i+5*(i%3)), nil) {
					return
				}
			}
		}
	}
	stagetest.Source(t, readers.Func(cfg), stagetest.SourceOptions{})
	boom := errors.New("boom")
	cfg.Read = func(ctx context.Context, env stage.Env, split int) iter.Seq2[arrow.Record, error] {
		return func(yield func(arrow.Record, error) bool) {
			if yield(numbers(t, env, 0, 5), nil) {
				yield(nil, boom)
			}
		}
	}
	g := read(t, readers.Func(cfg), stage.ScanRequest{Columns: []string{"s"}}, 0)
	require.ErrorIs(t, g.err, boom)
	require.EqualValues(t, 5, g.rec.NumRows())
}
