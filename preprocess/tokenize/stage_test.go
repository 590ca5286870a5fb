package tokenize_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

var openMiniLM = sync.OnceValues(func() (*tokenize.Tokenizer, error) {
	return tokenize.Open("../../build/models/all-MiniLM-L6-v2")
})

func limitedMiniLM(t testing.TB, limit int) *tokenize.Tokenizer {
	t.Helper()
	testkit.MiniLM(t) // says what to run where it is missing
	tok, err := openMiniLM()
	require.NoError(t, err)
	tok, err = tok.With(tokenize.Config{MaxTokens: limit})
	require.NoError(t, err)
	return tok
}

var someTexts = []string{"Where is my parcel?", "", "unaffordable electroencephalography", "crème brûlée 東京 🙂", strings.Repeat("word ", 40), "\x00", "fine"}

// textColumn makes a column of one type of text from the texts, with a null behind each.
func textColumn(t testing.TB, mem memory.Allocator, dt arrow.DataType) arrow.Array {
	t.Helper()
	b := array.NewBuilder(mem, dt)
	defer b.Release()
	for _, s := range someTexts {
		switch b := b.(type) {
		case array.StringLikeBuilder:
			b.Append(s)
		case *array.BinaryDictionaryBuilder:
			require.NoError(t, b.AppendString(s))
		default:
			t.Fatalf("no builder for %s", dt)
		}
		b.AppendNull()
	}
	return b.NewArray()
}

func textRecord(t testing.TB, mem memory.Allocator, dt arrow.DataType) arrow.Record {
	t.Helper()
	col := textColumn(t, mem, dt)
	defer col.Release()
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: dt, Nullable: true}}, nil)
	return array.NewRecord(schema, []arrow.Array{col}, int64(col.Len()))
}

// tokens runs a stage over a record of its column alone.
func tokens(t testing.TB, st stage.Stage, env stage.Env, rec arrow.Record) arrow.Record {
	t.Helper()
	bound, err := st.Bind([]*arrow.Schema{rec.Schema()})
	require.NoError(t, err)
	w, err := bound.Open(t.Context(), env)
	require.NoError(t, err)
	var out arrow.Record
	require.NoError(t, w.Process(t.Context(), stage.NewBatch(rec, stage.Origin{}), func(o stage.Output) error {
		require.Equal(t, int32(rec.NumRows()), o.Through)
		out = o.Record
		return nil
	}))
	require.NoError(t, w.Close())
	return out
}

// Every type of text gives the ids that the tokeniser gives; nulls stay null; what was
// cut is counted.
func TestStageGivesTheTokenizersIDs(t *testing.T) {
	const limit = 12
	tok := limitedMiniLM(t, limit)
	dict := func(values arrow.DataType) arrow.DataType {
		return &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: values}
	}
	for _, dt := range []arrow.DataType{arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.StringView, dict(arrow.BinaryTypes.String)} {
		for _, prefix := range []string{"", "query: "} {
			t.Run(fmt.Sprintf("%s %q", dt, prefix), func(t *testing.T) {
				mem := testkit.Allocator(t)
				truncated := int64(0)
				env := stage.Env{Alloc: func(int) memory.Allocator { return mem }, Count: func(c stage.Counter, n int64) {
					require.Equal(t, stage.Truncated, c)
					truncated += n
				}}
				rec := textRecord(t, mem, dt)
				defer rec.Release()
				out := tokens(t, tokenize.NewStage(tok, tokenize.StageConfig{Column: "text", Output: "ids", Prefix: prefix}), env, rec)
				defer out.Release()
				require.Equal(t, "ids", out.ColumnName(0))
				list := out.Column(0).(*array.List)
				ids := list.ListValues().(*array.Int32).Int32Values()
				long := int64(0)
				for i := range list.Len() {
					if i%2 == 1 {
						require.True(t, list.IsNull(i))
						continue
					}
					from, to := list.ValueOffsets(i)
					want := tok.AppendIDs(nil, prefix+someTexts[i/2])
					require.Equal(t, want, ids[from:to])
					if len(limitedMiniLM(t, 500).AppendIDs(nil, prefix+someTexts[i/2])) > limit {
						long++
					}
				}
				require.Equal(t, long, truncated)
				require.Positive(t, truncated)
			})
		}
	}
}

// A value of the dictionary that is null is a null row.
func TestStageNullInDictionary(t *testing.T) {
	mem := testkit.Allocator(t)
	b := array.NewStringBuilder(mem)
	b.AppendValues([]string{"yes", ""}, []bool{true, false})
	values := b.NewArray()
	b.Release()
	defer values.Release()
	k := array.NewInt32Builder(mem)
	k.AppendValues([]int32{0, 1, 0}, nil)
	keys := k.NewArray()
	k.Release()
	defer keys.Release()
	dt := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	col := array.NewDictionaryArray(dt, keys, values)
	defer col.Release()
	rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "text", Type: dt}}, nil), []arrow.Array{col}, 3)
	defer rec.Release()
	out := tokens(t, tokenize.NewStage(limitedMiniLM(t, 0), tokenize.StageConfig{Column: "text"}), stage.Env{}, rec)
	defer out.Release()
	require.Equal(t, "tokens", out.ColumnName(0))
	require.Equal(t, []bool{false, true, false}, []bool{out.Column(0).IsNull(0), out.Column(0).IsNull(1), out.Column(0).IsNull(2)})
}

func TestStageKeepsToTheContract(t *testing.T) {
	rec := textRecord(t, memory.DefaultAllocator, arrow.BinaryTypes.String)
	defer rec.Release()
	st := tokenize.NewStage(limitedMiniLM(t, 8), tokenize.StageConfig{Column: "text"})
	stagetest.Stage(t, st, []arrow.Record{rec, rec, rec}, stagetest.StageOptions{})
}

func TestStageRefusesOtherColumns(t *testing.T) {
	st := tokenize.NewStage(limitedMiniLM(t, 0), tokenize.StageConfig{Column: "text"})
	var fault *stage.ColumnError
	for name, dt := range map[string]arrow.DataType{"text": arrow.BinaryTypes.Binary, "txt": arrow.BinaryTypes.String} {
		_, err := st.Bind([]*arrow.Schema{arrow.NewSchema([]arrow.Field{{Name: name, Type: dt}}, nil)})
		require.ErrorAs(t, err, &fault)
	}
	_, err := st.Bind([]*arrow.Schema{arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.ListOf(arrow.BinaryTypes.String)}}, nil)})
	require.ErrorContains(t, err, "is list<")
}

func TestStageIdentity(t *testing.T) {
	id := func(limit int, c tokenize.StageConfig) string {
		return tokenize.NewStage(limitedMiniLM(t, limit), c).ID().Fingerprint()
	}
	base := id(8, tokenize.StageConfig{Column: "text"})
	require.Equal(t, base, id(8, tokenize.StageConfig{Column: "text", Output: "tokens"}))
	require.NotEqual(t, base, id(9, tokenize.StageConfig{Column: "text"}))
	require.NotEqual(t, base, id(8, tokenize.StageConfig{Column: "text", Prefix: "x"}))
	require.NotEqual(t, base, id(8, tokenize.StageConfig{Column: "text", Digests: func() []string { return []string{"y"} }}))
}

// A stage in the steady state allocates for a batch, not for each row of it.
func TestStageAllocatesPerBatch(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools at random")
	}
	st := tokenize.NewStage(limitedMiniLM(t, 64), tokenize.StageConfig{Column: "text"})
	rec := textRecord(t, memory.DefaultAllocator, arrow.BinaryTypes.String)
	defer rec.Release()
	bound, err := st.Bind([]*arrow.Schema{rec.Schema()})
	require.NoError(t, err)
	w, err := bound.Open(t.Context(), stage.Env{})
	require.NoError(t, err)
	many := make([]arrow.Array, 100)
	for i := range many {
		many[i] = rec.Column(0)
	}
	col, err := array.Concatenate(many, memory.DefaultAllocator)
	require.NoError(t, err)
	big := array.NewRecord(rec.Schema(), []arrow.Array{col}, int64(col.Len()))
	run := func(r arrow.Record) float64 {
		return testing.AllocsPerRun(5, func() {
			err = w.Process(context.Background(), stage.NewBatch(r, stage.Origin{}), func(o stage.Output) error {
				o.Record.Release()
				return nil
			})
		})
	}
	run(big)
	require.InDelta(t, run(rec), run(big), 20)
	require.NoError(t, err)
	require.NoError(t, w.Close())
}
