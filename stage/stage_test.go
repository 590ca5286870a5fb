package stage_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/stage"
)

func field(name string, dt arrow.DataType) arrow.Field { return arrow.Field{Name: name, Type: dt} }

var (
	text = field("text", arrow.BinaryTypes.String)
	id   = field("id", arrow.PrimitiveTypes.Int64)
	vec  = field("embedding", arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Float32))
)

func TestOutputSchema(t *testing.T) {
	meta := arrow.NewMetadata([]string{"made by"}, []string{"a test"})
	in := arrow.NewSchema([]arrow.Field{id, text, vec}, &meta)
	other := field("embedding", arrow.BinaryTypes.Binary)
	label := field("label", arrow.BinaryTypes.String)
	for name, c := range map[string]struct {
		need stage.Need
		want []arrow.Field
	}{
		"nothing":                        {stage.Need{}, []arrow.Field{id, text, vec}},
		"added behind":                   {stage.Need{Adds: []arrow.Field{label}}, []arrow.Field{id, text, vec, label}},
		"added in place":                 {stage.Need{Adds: []arrow.Field{label, other}}, []arrow.Field{id, text, other, label}},
		"dropped":                        {stage.Need{Drops: []string{"text", "nobody"}}, []arrow.Field{id, vec}},
		"dropped and added stays":        {stage.Need{Drops: []string{"embedding"}, Adds: []arrow.Field{other}}, []arrow.Field{id, text, other}},
		"in the order of Adds":           {stage.Need{Adds: []arrow.Field{field("z", arrow.Null), field("a", arrow.Null)}}, []arrow.Field{id, text, vec, field("z", arrow.Null), field("a", arrow.Null)}},
		"what is read stays where it is": {stage.Need{Reads: []string{"embedding", "id"}}, []arrow.Field{id, text, vec}},
	} {
		got := c.need.OutputSchema(in)
		require.Equal(t, arrow.NewSchema(c.want, nil).Fields(), got.Fields(), name)
		require.Equal(t, meta, got.Metadata(), name)
	}
	require.Equal(t, []arrow.Field{id, text, vec}, in.Fields())
}

func TestNeedDefaults(t *testing.T) {
	require.Equal(t, 1, stage.Need{}.Calls())
	require.Equal(t, 4, stage.Need{InFlight: 4}.Calls())
	require.Equal(t, 1., stage.Need{}.CPUTokens())
	require.Equal(t, 0., stage.Need{GPU: 0.5}.CPUTokens())
	require.Equal(t, 2.5, stage.Need{CPU: 2.5, GPU: 1}.CPUTokens())
}

func record(mem memory.Allocator, ids ...int64) arrow.Record {
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{id}, nil))
	defer b.Release()
	b.Field(0).(*array.Int64Builder).AppendValues(ids, nil)
	return b.NewRecord()
}

func TestBatchOfOneRecord(t *testing.T) {
	mem := testkit.Allocator(t)
	b := stage.NewBatch(record(mem, 5, 6, 7), stage.RowRange(splits[0], 5, 3))
	require.Equal(t, 3, b.NumRows())
	require.EqualValues(t, 3, b.Record().NumRows())
	require.Equal(t, 3, b.Origin().Len())
	require.Equal(t, 2, b.Parts[0].Row(2))
	b.Retain()
	b.Release()
	require.NotZero(t, mem.CurrentAlloc())
	b.Release()
}

func TestBatchOfViews(t *testing.T) {
	mem := testkit.Allocator(t)
	b := stage.Batch{Parts: []stage.View{
		{Record: record(mem, 5, 6, 7), Rows: []int32{2, 0}, Origin: stage.RowList(splits[0], []int64{7, 5})},
		{Record: record(mem, 8, 9), Origin: stage.RowRange(splits[1], 8, 2)},
		{Record: record(mem, 1), Rows: []int32{}},
	}}
	defer b.Release()
	require.Equal(t, 4, b.NumRows())
	require.Nil(t, b.Record())
	var got []string
	for _, id := range b.Origin().All() {
		got = append(got, id.String())
	}
	require.Equal(t, []string{"a:7", "a:5", "b:8", "b:9"}, got)
	require.Equal(t, 0, b.Parts[0].Row(1))
	require.Equal(t, 1, b.Parts[1].Row(1))
	require.Zero(t, b.Parts[2].NumRows())
	require.Nil(t, stage.Batch{Parts: b.Parts[:1]}.Record(), "rows picked from a record are not the record")
	require.Nil(t, stage.Batch{}.Record())
	require.Zero(t, stage.Batch{}.Origin().Len())
}

func TestFingerprint(t *testing.T) {
	base := stage.StageID{Name: "embed", Version: "1", Settings: json.RawMessage(`{"batch":64}`), Digests: []string{"abc"}}
	print := base.Fingerprint()
	require.Len(t, print, 32)
	again := stage.StageID{Name: "embed", Version: "1", Settings: json.RawMessage(`{"batch":64}`), Digests: []string{"abc"}}
	require.Equal(t, print, again.Fingerprint())

	seen := map[string]string{print: "base"}
	for name, change := range map[string]func(*stage.StageID){
		"name":        func(id *stage.StageID) { id.Name = "embed1" },
		"version":     func(id *stage.StageID) { id.Version = "" },
		"settings":    func(id *stage.StageID) { id.Settings = json.RawMessage(`{"batch":65}`) },
		"digests":     func(id *stage.StageID) { id.Digests = []string{"abc", ""} },
		"no digests":  func(id *stage.StageID) { id.Digests = nil },
		"not JSON":    func(id *stage.StageID) { id.Settings = json.RawMessage(`{`) },
		"not JSON, 2": func(id *stage.StageID) { id.Settings = json.RawMessage(`[`) },
	} {
		other := base
		change(&other)
		got := other.Fingerprint()
		require.Empty(t, seen[got], "%s has the fingerprint of %s", name, seen[got])
		require.Equal(t, got, other.Fingerprint())
		seen[got] = name
	}
}

func TestColumn(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{id, text, vec}, nil)
	at, err := stage.Column(schema, "text")
	require.NoError(t, err)
	require.Equal(t, 1, at)

	_, err = stage.Column(schema, "txt")
	var column *stage.ColumnError
	require.ErrorAs(t, err, &column)
	require.Equal(t, &stage.ColumnError{
		Column: "txt", Problem: "there is no such column", Nearest: "text", Have: []string{"id", "text", "embedding"},
	}, column)
	require.EqualError(t, err, `column "txt": there is no such column; did you mean "text"? (columns: id, text, embedding)`)

	_, err = stage.Column(schema, "price")
	require.EqualError(t, err, `column "price": there is no such column (columns: id, text, embedding)`)
	require.EqualError(t, &stage.ColumnError{Column: "id", Problem: "is int64, not string"}, `column "id": is int64, not string`)
}

func TestNearest(t *testing.T) {
	have := []string{"parquet", "arrow", "csv", "jsonl"}
	require.Equal(t, "parquet", stage.Nearest("parqet", have))
	require.Equal(t, "jsonl", stage.Nearest("json", have))
	require.Equal(t, "", stage.Nearest("avro-like", have))
	require.Equal(t, "", stage.Nearest("x", nil))
	require.Equal(t, "ab", stage.Nearest("ac", []string{"ab", "ad"}), "the first of those that are equally like")
}

func TestRowErrorSaysWhere(t *testing.T) {
	cause := errors.New("bad number")
	for want, err := range map[string]*stage.RowError{
		`csv: a.csv, row 7, column "price": bad number`: {Stage: "csv", Path: "a.csv", Row: 7, Column: "price", Err: cause},
		`a.csv: bad number`:                             {Path: "a.csv", Row: -1, Err: cause},
		`row 0: bad number`:                             {Err: cause},
		`embed: bad number`:                             {Stage: "embed", Row: -1, Err: cause},
	} {
		require.EqualError(t, err, want)
		require.ErrorIs(t, err, cause)
	}
}

type temporary bool

func (t temporary) Error() string   { return "busy" }
func (t temporary) Temporary() bool { return bool(t) }

func TestKindOf(t *testing.T) {
	busy := fmt.Errorf("call: %w", temporary(true))
	require.True(t, stage.IsTemporary(busy))
	require.False(t, stage.IsTemporary(temporary(false)))
	require.False(t, stage.IsTemporary(errors.New("broken")))
	require.False(t, stage.IsTemporary(nil))

	require.Equal(t, stage.Temporary, stage.KindOf(busy))
	require.Equal(t, stage.Failed, stage.KindOf(errors.New("broken")))
	require.Equal(t, stage.BadData, stage.KindOf(fmt.Errorf("x: %w", &stage.RowError{Kind: stage.BadData, Err: busy})))
	require.Equal(t, stage.Temporary, stage.KindOf(&stage.RowError{Err: busy}))
}

func TestZeroEnvWorks(t *testing.T) {
	var env stage.Env
	require.Equal(t, memory.DefaultAllocator, env.Allocator(3))
	require.NoError(t, env.Room(context.Background(), 1<<40))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, env.Room(ctx, 1), context.Canceled)
	env.Book(stage.Weights, 10)
	env.Add(stage.Tokens, 10)
	env.Report(stage.DeviceRun{})
	env.Tell("nobody hears this either")
	env.Logger().Error("nobody hears this")
}

func TestEnvLendsWhatItHas(t *testing.T) {
	mem := testkit.Allocator(t)
	full := errors.New("no room")
	booked, counted := map[stage.Purpose]int64{}, map[stage.Counter]int64{}
	var ran []stage.DeviceRun
	told := ""
	env := stage.Env{
		Alloc:   func(int) memory.Allocator { return mem },
		Reserve: func(context.Context, int64) error { return full },
		Charge:  func(p stage.Purpose, delta int64) { booked[p] += delta },
		Count:   func(c stage.Counter, n int64) { counted[c] += n },
		Ran:     func(r stage.DeviceRun) { ran = append(ran, r) },
		Note:    func(text string) { told += text },
	}
	require.Equal(t, memory.Allocator(mem), env.Allocator(0))
	require.ErrorIs(t, env.Room(context.Background(), 1), full)
	env.Book(stage.Arena, 7)
	env.Book(stage.Arena, -3)
	env.Add(stage.Tokens, 5)
	env.Add(stage.Truncated, 0)
	require.Equal(t, map[stage.Purpose]int64{stage.Arena: 4}, booked)
	require.Equal(t, map[stage.Counter]int64{stage.Tokens: 5}, counted, "nothing is not counted")
	env.Tell("so it is")
	require.Equal(t, "so it is", told)
	run := stage.DeviceRun{Device: 2}
	run.Spans[stage.Compute] = stage.Span{Begin: time.Unix(5, 0), Duration: time.Second}
	env.Report(run)
	require.Equal(t, []stage.DeviceRun{run}, ran)
	require.Equal(t, time.Unix(6, 0), run.Spans[stage.Compute].End())
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for l := range stage.Lanes {
		require.NotEmpty(t, stage.Lane(l).String())
	}
	for p := range stage.Purposes {
		name := stage.Purpose(p).String()
		require.NotEmpty(t, name)
		require.False(t, seen[name], name)
		seen[name] = true
	}
	require.Equal(t, "collect", stage.Collect.String())
	require.Equal(t, "one-to-one", stage.OneToOne.String())
	require.Equal(t, "cuda", stage.CUDA.String())
	require.Equal(t, "part-000012", stage.PartID{Group: 12}.String())
	require.Equal(t, "errors-000003", stage.PartID{Group: 3, Errors: true}.String())
}

func TestSplitsAndPartsGoThroughJSON(t *testing.T) {
	split := stage.Split{
		ID: "a#1", Fingerprint: "12-34", Spec: json.RawMessage(`{"group":1}`), Path: "a.parquet", Base: 100, Rows: 50, Bytes: 4096, Exact: true,
	}
	part := stage.Part{ID: stage.PartID{Group: 2, Errors: true}, Rows: 3, Bytes: 99, Spec: json.RawMessage(`"x"`)}
	var split2 stage.Split
	var part2 stage.Part
	for from, to := range map[any]any{&split: &split2, &part: &part2} {
		raw, err := json.Marshal(from)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, to))
	}
	require.Equal(t, split, split2)
	require.Equal(t, part, part2)
}

func TestErrorSchema(t *testing.T) {
	var names []string
	for _, f := range stage.ErrorSchema().Fields() {
		names = append(names, f.Name)
	}
	require.Equal(t, []string{"input", "stage", "cause", "kind", "attempts", "file", "row"}, names)
}
