package tokenize_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
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

// libraryStage is the Rust library over the same rows: a text alone, in windows, and as pairs.
const libraryStage = `
import json, sys
from tokenizers import Tokenizer
q = json.load(sys.stdin)
t = Tokenizer.from_file(q["file"])
t.no_padding()
def say(e):
    return {"ids": e.ids, "types": e.type_ids, "offsets": e.offsets, "special": e.special_tokens_mask}
out = {"texts": [], "windows": [], "pairs": []}
t.enable_truncation(q["limit"])
out["texts"] = [say(t.encode(s)) for s in q["texts"]]
out["pairs"] = [[say(t.encode(o, s)) for o in q["others"]] for s in q["texts"]]
t.enable_truncation(q["window"], stride=q["stride"])
for s in q["texts"]:
    e = t.encode(s)
    out["windows"].append([say(w) for w in [e] + e.overflowing])
json.dump(out, sys.stdout)
`

type libraryRow struct {
	IDs, Types, Special []int32
	Offsets             [][2]int32
}

type libraryAnswer struct {
	Texts   []libraryRow
	Windows [][]libraryRow
	Pairs   [][]libraryRow
}

var pairTexts = []string{
	"Where is my parcel?", "", "unaffordable electroencephalography is unaffordable", "crème brûlée 東京 🙂 ﬁn", strings.Repeat("the parcel — naïve — is late, ", 9),
	"   ", "a", strings.Repeat("word ", 14), "x" + strings.Repeat(" 東", 31),
}

var otherTexts = []string{"late", "crème", strings.Repeat("over and over ", 8)}

func askLibrary(t *testing.T, limit, window, stride int) libraryAnswer {
	t.Helper()
	in, err := json.Marshal(map[string]any{"file": testkit.MiniLM(t) + "/tokenizer.json", "texts": pairTexts, "others": otherTexts,
		"limit": limit, "window": window, "stride": stride})
	require.NoError(t, err)
	cmd := exec.Command(testkit.Python(t), "-c", libraryStage)
	cmd.Stdin = bytes.NewReader(in)
	raw, err := cmd.Output()
	require.NoError(t, err)
	var out libraryAnswer
	require.NoError(t, json.Unmarshal(raw, &out))
	return out
}

func stringRecord(mem memory.Allocator, names []string, columns ...[]string) arrow.Record {
	var fields []arrow.Field
	var cols []arrow.Array
	for i, values := range columns {
		b := array.NewStringBuilder(mem)
		b.AppendValues(values, nil)
		cols = append(cols, b.NewArray())
		b.Release()
		fields = append(fields, arrow.Field{Name: names[i], Type: arrow.BinaryTypes.String, Nullable: true})
	}
	rec := array.NewRecord(arrow.NewSchema(fields, nil), cols, int64(len(columns[0])))
	for _, c := range cols {
		c.Release()
	}
	return rec
}

// list is row i of a column of lists.
func list(rec arrow.Record, column string, i int) []int32 {
	col := rec.Column(rec.Schema().FieldIndices(column)[0]).(*array.List)
	from, to := col.ValueOffsets(i)
	return col.ListValues().(*array.Int32).Int32Values()[from:to]
}

// checkSpans holds the spans of a row against the library's offsets, which are characters.
func checkSpans(t *testing.T, want libraryRow, got []int32, text string) {
	t.Helper()
	runes := []rune(text)
	require.Len(t, got, 4*len(want.IDs))
	for i, at := range want.Offsets {
		s := got[4*i : 4*i+4]
		if want.Special[i] == 1 {
			require.Equal(t, []int32{-1, -1, -1, -1}, s)
			continue
		}
		require.Equal(t, at[:], s[2:])
		require.Equal(t, string(runes[at[0]:at[1]]), text[s[0]:s[1]])
	}
}

func TestStageTypesAndSpans(t *testing.T) {
	const limit = 20
	want := askLibrary(t, limit, 12, 3)
	mem := testkit.Allocator(t)
	rec := stringRecord(mem, []string{"text"}, pairTexts)
	defer rec.Release()
	out := tokens(t, tokenize.NewStage(limitedMiniLM(t, limit), tokenize.StageConfig{Column: "text", Types: "types", Spans: "spans"}),
		stage.Env{Alloc: func(int) memory.Allocator { return mem }}, rec)
	defer out.Release()
	for i, text := range pairTexts {
		require.Equal(t, want.Texts[i].IDs, list(out, "tokens", i))
		require.Equal(t, want.Texts[i].Types, list(out, "types", i))
		checkSpans(t, want.Texts[i], list(out, "spans", i), text)
	}
}

// The spans of a text behind a prefix are those in the text.
func TestStageSpansBehindAPrefix(t *testing.T) {
	rec := stringRecord(memory.DefaultAllocator, []string{"text"}, []string{"naïve parcel", "bad \xe2\x82 byte"})
	out := tokens(t, tokenize.NewStage(limitedMiniLM(t, 0), tokenize.StageConfig{Column: "text", Spans: "spans", Prefix: "query: "}), stage.Env{}, rec)
	require.Equal(t, []int32{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 6, 0, 5, 7, 13, 6, 12, -1, -1, -1, -1}, list(out, "spans", 0))
	spans := list(out, "spans", 1)
	require.Equal(t, []int32{7, 11, 6, 10}, spans[len(spans)-8:len(spans)-4], "two bytes that are one bad character")
}

// Pairs are the library's, whichever side the other text stands on, and cut ones count.
func TestStagePairs(t *testing.T) {
	const limit = 20
	want := askLibrary(t, limit, 12, 3)
	tok, err := limitedMiniLM(t, limit).With(tokenize.Config{TruncationStrategy: tokenize.LongestFirst})
	require.NoError(t, err)
	mem := testkit.Allocator(t)
	truncated := int64(0)
	env := stage.Env{Alloc: func(int) memory.Allocator { return mem }, Count: func(_ stage.Counter, n int64) { truncated += n }}

	rec := stringRecord(mem, []string{"text"}, pairTexts)
	defer rec.Release()
	many := tokens(t, tokenize.NewStage(tok, tokenize.StageConfig{Column: "text", Types: "types", Pair: tokenize.Pair{Texts: otherTexts, First: true, Ends: "ends"}}), env, rec)
	defer many.Release()
	for i := range pairTexts {
		var ids, types, ends []int32
		for _, p := range want.Pairs[i] {
			ids, types = append(ids, p.IDs...), append(types, p.Types...)
			ends = append(ends, int32(len(ids)))
		}
		require.Equal(t, ids, list(many, "tokens", i))
		require.Equal(t, types, list(many, "types", i))
		require.Equal(t, ends, list(many, "ends", i))
	}
	require.Equal(t, int64(len(pairTexts)), truncated, "with the third text every pair is cut")

	column := make([]string, len(pairTexts))
	for i := range column {
		column[i] = otherTexts[i%3]
	}
	two := stringRecord(mem, []string{"doc", "query"}, pairTexts, column)
	defer two.Release()
	out := tokens(t, tokenize.NewStage(tok, tokenize.StageConfig{Column: "doc", Pair: tokenize.Pair{Column: "query", First: true}}), env, two)
	defer out.Release()
	back := tokens(t, tokenize.NewStage(tok, tokenize.StageConfig{Column: "query", Pair: tokenize.Pair{Column: "doc"}}), env,
		stringRecord(memory.DefaultAllocator, []string{"query", "doc"}, column, pairTexts))
	defer back.Release()
	for i := range pairTexts {
		require.Equal(t, want.Pairs[i][i%3].IDs, list(out, "tokens", i))
		require.Equal(t, want.Pairs[i][i%3].IDs, list(back, "tokens", i))
	}
}

// A pair that the strategy cannot cut fails alone.
func TestStagePairThatCannotBeCut(t *testing.T) {
	tok, err := limitedMiniLM(t, 8).With(tokenize.Config{TruncationStrategy: tokenize.OnlyFirst})
	require.NoError(t, err)
	st := tokenize.NewStage(tok, tokenize.StageConfig{Column: "a", Pair: tokenize.Pair{Column: "b"}})
	rec := stringRecord(memory.DefaultAllocator, []string{"a", "b"}, []string{"x", "y", "z"}, []string{"short", "one two three four five six", "short"})
	bound, err := st.Bind([]*arrow.Schema{rec.Schema()})
	require.NoError(t, err)
	w, err := bound.Open(t.Context(), stage.Env{})
	require.NoError(t, err)
	require.NoError(t, w.Process(t.Context(), stage.NewBatch(rec, stage.Origin{}), func(o stage.Output) error {
		require.Equal(t, []int32{0, 2}, o.Parent)
		require.Len(t, o.Failed, 1)
		require.Equal(t, int32(1), o.Failed[0].Row)
		require.ErrorIs(t, o.Failed[0].Err, tokenize.ErrNotTruncated)
		require.Equal(t, tok.AppendIDs(nil, "z short")[1:2], list(o.Record, "tokens", 1)[1:2])
		return nil
	}))
}

// Pieces are the library's windows, with their text and place; all of them together are
// the text.
func TestStageChunks(t *testing.T) {
	const window, stride = 12, 3
	want := askLibrary(t, 20, window, stride)
	mem := testkit.Allocator(t)
	rec := stringRecord(mem, []string{"text"}, pairTexts)
	defer rec.Release()
	st := tokenize.NewStage(limitedMiniLM(t, 256), tokenize.StageConfig{Column: "text", Spans: "spans", Chunk: tokenize.Chunk{Tokens: window, Overlap: stride}})
	bound, err := st.Bind([]*arrow.Schema{rec.Schema()})
	require.NoError(t, err)
	require.Equal(t, stage.Many, bound.Need.Rows)
	w, err := bound.Open(t.Context(), stage.Env{Alloc: func(int) memory.Allocator { return mem }})
	require.NoError(t, err)
	require.NoError(t, w.Process(t.Context(), stage.NewBatch(rec, stage.Origin{}), func(o stage.Output) error {
		defer o.Record.Release()
		at, column := 0, func(name string) arrow.Array { return o.Record.Column(o.Record.Schema().FieldIndices(name)[0]) }
		for i, windows := range want.Windows {
			runes := []rune(pairTexts[i])
			for k, piece := range windows {
				require.Equal(t, int32(i), o.Parent[at])
				require.Equal(t, piece.IDs, list(o.Record, "tokens", at))
				text := column("text").(*array.String).Value(at)
				start, end := column("chunk_start").(*array.Int32).Value(at), column("chunk_end").(*array.Int32).Value(at)
				require.Equal(t, int32(k), column("chunk").(*array.Int32).Value(at))
				require.Equal(t, string(runes[start:end]), text)
				for n := range piece.Offsets { // from the piece's beginning on
					if piece.Special[n] == 0 {
						piece.Offsets[n][0] -= start
						piece.Offsets[n][1] -= start
					}
				}
				checkSpans(t, piece, list(o.Record, "spans", at), text)
				at++
			}
		}
		require.Len(t, o.Parent, at)
		return nil
	}))
}

// A prefix stands before every piece, and a text that fits is one piece as if it had not
// been cut.
func TestStageChunksBehindAPrefix(t *testing.T) {
	tok := limitedMiniLM(t, 256)
	st := tokenize.NewStage(tok, tokenize.StageConfig{Column: "text", Prefix: "query: ", Chunk: tokenize.Chunk{Tokens: 8, Overlap: 1}})
	rec := stringRecord(memory.DefaultAllocator, []string{"text"}, []string{"one two three four five six seven", "one two"})
	out := tokens(t, st, stage.Env{}, rec)
	var texts []string
	for i := range int(out.NumRows()) {
		text := out.Column(1).(*array.String).Value(i)
		texts = append(texts, text)
		require.Equal(t, tok.AppendIDs(nil, "query: "+text), list(out, "tokens", i))
	}
	require.Equal(t, []string{"one two three four", "four five six seven", "one two"}, texts)
}

func TestStageChunksKeepToTheContract(t *testing.T) {
	rec := textRecord(t, memory.DefaultAllocator, arrow.BinaryTypes.LargeString)
	defer rec.Release()
	for _, together := range []bool{false, true} {
		st := tokenize.NewStage(limitedMiniLM(t, 64), tokenize.StageConfig{Column: "text", Chunk: tokenize.Chunk{Tokens: 6, Overlap: 2, Together: together}})
		stagetest.Stage(t, st, []arrow.Record{rec, rec}, stagetest.StageOptions{})
	}
	st := tokenize.NewStage(limitedMiniLM(t, 8), tokenize.StageConfig{Column: "text", Types: "t", Spans: "s", Pair: tokenize.Pair{Texts: []string{"a", "b"}, Ends: "e"}})
	stagetest.Stage(t, st, []arrow.Record{rec}, stagetest.StageOptions{})
}

func TestStageChunkFaults(t *testing.T) {
	for problem, c := range map[string]tokenize.StageConfig{
		"are over the limit of 16":         {Column: "text", Chunk: tokenize.Chunk{Tokens: 17}},
		"no room for an overlap of 6":      {Column: "text", Chunk: tokenize.Chunk{Tokens: 8, Overlap: 6}},
		"no room for an overlap of 3":      {Column: "text", Prefix: "query: ", Chunk: tokenize.Chunk{Tokens: 7, Overlap: 3}},
		"no room for an overlap of -1":     {Column: "text", Chunk: tokenize.Chunk{Tokens: 8, Overlap: -1}},
		"cannot be cut into chunks":        {Column: "text", Chunk: tokenize.Chunk{Tokens: 8}, Pair: tokenize.Pair{Texts: []string{"x"}}},
		`column "other": there is no such`: {Column: "text", Pair: tokenize.Pair{Column: "other"}},
	} {
		_, err := tokenize.NewStage(limitedMiniLM(t, 16), c).Bind([]*arrow.Schema{arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}}, nil)})
		require.ErrorContains(t, err, problem)
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "text", Type: arrow.BinaryTypes.String}, {Name: "chunk", Type: arrow.PrimitiveTypes.Int64}}, nil)
	_, err := tokenize.NewStage(limitedMiniLM(t, 16), tokenize.StageConfig{Column: "text", Chunk: tokenize.Chunk{Tokens: 8}}).Bind([]*arrow.Schema{schema})
	require.ErrorContains(t, err, `column "chunk": the input has it already`)
}
