package infer_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/float16"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// tensorCase is a model of testdata/tensors: rows by the names of inputs and outputs.
type tensorCase struct {
	In, Out map[string][]any
	Batch   int
}

func tensorCases(t testing.TB) map[string]tensorCase {
	raw, err := os.ReadFile("testdata/tensors/expected.json")
	require.NoError(t, err)
	var cases map[string]tensorCase
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.Len(t, cases, 8)
	return cases
}

func tensorModel(t testing.TB, name string) *infer.Model {
	return open(t, infer.Config{Path: filepath.Join("testdata/tensors", name+".onnx")})
}

// column makes a column of rows as JSON has them; nil is null.
func column(t testing.TB, typ arrow.DataType, rows []any) arrow.Array {
	b := array.NewBuilder(memory.DefaultAllocator, typ)
	defer b.Release()
	for _, r := range rows {
		appendJSON(t, b, r)
	}
	return b.NewArray()
}

func appendJSON(t testing.TB, b array.Builder, v any) {
	if v == nil {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case array.ListLikeBuilder:
		b.Append(true)
		for _, item := range v.([]any) {
			appendJSON(t, b.ValueBuilder(), item)
		}
	case *array.BooleanBuilder:
		b.Append(v.(bool))
	case *array.Float16Builder:
		b.Append(float16.New(float32(v.(float64))))
	default:
		require.NoError(t, b.AppendValueFromString(fmt.Sprint(v)))
	}
}

// valueOf is a row as JSON has it.
func valueOf(a arrow.Array, i int) any {
	if a.IsNull(i) {
		return nil
	}
	if list, ok := a.(array.ListLike); ok {
		out := []any{}
		for from, to := list.ValueOffsets(i); from < to; from++ {
			out = append(out, valueOf(list.ListValues(), int(from)))
		}
		return out
	}
	if b, ok := a.(*array.Boolean); ok {
		return b.Value(i)
	}
	var x float64
	if _, err := fmt.Sscan(a.ValueStr(i), &x); err != nil {
		panic(err)
	}
	return x
}

func requireValue(t testing.TB, want, got any, where string) {
	switch want := want.(type) {
	case []any:
		require.IsType(t, want, got, where)
		require.Len(t, got, len(want), where)
		for i := range want {
			requireValue(t, want[i], got.([]any)[i], fmt.Sprintf("%s[%d]", where, i))
		}
	case float64:
		require.InDelta(t, want, got, 2e-3, where)
	default:
		require.Equal(t, want, got, where)
	}
}

// typeFor is the type of a column for rows as JSON has them: their lists around leaf.
func typeFor(leaf arrow.DataType, v any, fixed bool) arrow.DataType {
	list, ok := v.([]any)
	switch {
	case !ok:
		return leaf
	case fixed:
		return arrow.FixedSizeListOf(int32(len(list)), typeFor(leaf, list[0], fixed))
	}
	return arrow.ListOf(typeFor(leaf, list[0], fixed))
}

func tensorRecord(t testing.TB, columns map[string][]any, leaf func(name string) arrow.DataType, fixed bool) arrow.Record {
	var names []string
	for name := range columns {
		names = append(names, name)
	}
	sort.Strings(names)
	var fields []arrow.Field
	var cols []arrow.Array
	rows := 0
	for _, name := range names {
		rows = len(columns[name])
		typ := leaf(name)
		for _, v := range columns[name] {
			if v != nil {
				typ = typeFor(leaf(name), v, fixed)
				break
			}
		}
		c := column(t, typ, columns[name])
		defer c.Release()
		fields, cols = append(fields, arrow.Field{Name: name, Type: typ, Nullable: true}), append(cols, c)
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), cols, int64(rows))
}

// leafOf is a column type for an input: that of the model, or a wider one.
func leafOf(model string, wide bool) func(string) arrow.DataType {
	byName := map[string]arrow.DataType{"int8": arrow.PrimitiveTypes.Int8, "int16": arrow.PrimitiveTypes.Int16, "int32": arrow.PrimitiveTypes.Int32,
		"int64": arrow.PrimitiveTypes.Int64, "uint8": arrow.PrimitiveTypes.Uint8, "uint16": arrow.PrimitiveTypes.Uint16, "uint32": arrow.PrimitiveTypes.Uint32,
		"uint64": arrow.PrimitiveTypes.Uint64, "float32": arrow.PrimitiveTypes.Float32, "float64": arrow.PrimitiveTypes.Float64,
		"bool": arrow.FixedWidthTypes.Boolean, "b": arrow.PrimitiveTypes.Int64}
	return func(name string) arrow.DataType {
		typ, ok := byName[name]
		switch {
		case ok && wide && arrow.IsInteger(typ.ID()):
			return arrow.PrimitiveTypes.Int64
		case ok && (!wide || typ.ID() == arrow.BOOL):
			return typ
		case wide:
			return arrow.PrimitiveTypes.Float64
		case model == "half":
			return arrow.FixedWidthTypes.Float16
		}
		return arrow.PrimitiveTypes.Float32
	}
}

// openTensors binds a task of one stage to rec's schema and opens a worker, which the caller closes.
func openTensors(t testing.TB, task stage.Task, rec arrow.Record, env stage.Env) (stage.Worker, *stage.Bound) {
	t.Helper()
	stages, err := task.Expand(stage.Placement{})
	require.NoError(t, err)
	require.Len(t, stages, 1)
	bound, err := stages[0].Bind([]*arrow.Schema{rec.Schema()})
	require.NoError(t, err)
	w, err := bound.Open(t.Context(), env)
	require.NoError(t, err)
	return w, bound
}

// runTensors gives what a worker makes of rec.
func runTensors(t testing.TB, task stage.Task, rec arrow.Record, env stage.Env) (stage.Output, *stage.Bound) {
	t.Helper()
	w, bound := openTensors(t, task, rec, env)
	defer func() { require.NoError(t, w.Close()) }()
	reads := selected(rec, bound.Need.Reads)
	var got stage.Output
	err := w.Process(t.Context(), stage.NewBatch(reads, stage.Origin{}), func(o stage.Output) error {
		got = o
		return nil
	})
	reads.Release()
	require.NoError(t, err)
	return got, bound
}

// Models of every type and shape give what numpy gives, from lists of fixed and of any
// size, in the model's types and in wider ones, with nulls between the rows.
func TestTensors(t *testing.T) {
	for name, c := range tensorCases(t) {
		for _, fixed := range []bool{true, false} {
			for _, wide := range []bool{false, true} {
				if name == "open" && !fixed {
					continue // only lists of fixed size say how large its dimension is
				}
				t.Run(fmt.Sprintf("%s fixed=%v wide=%v", name, fixed, wide), func(t *testing.T) {
					in, out := map[string][]any{}, map[string][]any{}
					for k, rows := range c.In {
						in[k] = nullAt(rows)
					}
					for k, rows := range c.Out {
						out[k] = nullAt(rows)
					}
					if c.Batch == 1 { // a scale for the whole run: rows are not alike in other company
						for k := range in {
							in[k] = in[k][:1]
						}
						for k := range out {
							out[k] = out[k][:1]
						}
					}
					rec := tensorRecord(t, in, leafOf(name, wide), fixed)
					defer rec.Release()
					b := newBooks(t)
					task, err := tensorModel(t, name).Infer(infer.InferConfig{})
					require.NoError(t, err)
					got, bound := runTensors(t, task, rec, b.env())
					defer got.Record.Release()
					require.Empty(t, got.Failed)
					require.True(t, got.Record.Schema().Equal(arrow.NewSchema(bound.Need.Adds, nil)), "%s", got.Record.Schema())
					for k, want := range out {
						col := got.Record.Column(got.Record.Schema().FieldIndices(k)[0])
						for i := range want {
							requireValue(t, want[i], valueOf(col, i), fmt.Sprintf("%s row %d", k, i))
						}
					}
				})
			}
		}
	}
}

// nullAt puts a null behind the second row.
func nullAt(rows []any) []any { return slices.Insert(slices.Clone(rows), 2, any(nil)) }

// The columns of outputs say how large they are as far as that is known.
func TestTensorTypes(t *testing.T) {
	rec := tensorRecord(t, tensorCases(t)["open"].In, leafOf("open", false), true)
	defer rec.Release()
	task, err := tensorModel(t, "open").Infer(infer.InferConfig{Outputs: map[string]string{"same": "", "deep": "d", "twice": "t"}})
	require.NoError(t, err)
	_, bound := runTensors2(t, task, rec)
	f32 := arrow.PrimitiveTypes.Float32
	require.Equal(t, []arrow.Field{
		{Name: "same", Type: arrow.FixedSizeListOf(5, f32), Nullable: true},
		{Name: "t", Type: arrow.ListOf(f32), Nullable: true},
		{Name: "d", Type: arrow.FixedSizeListOf(5, arrow.ListOf(arrow.FixedSizeListOf(2, f32))), Nullable: true},
	}, bound.Need.Adds)
}

func runTensors2(t *testing.T, task stage.Task, rec arrow.Record) (stage.Output, *stage.Bound) {
	got, bound := runTensors(t, task, rec, newBooks(t).env())
	t.Cleanup(got.Record.Release)
	return got, bound
}

// A flat column stands for an image, and the only column that fits for the input.
func TestTensorsByFit(t *testing.T) {
	c := tensorCases(t)["image"]
	var flat []any
	for _, row := range c.In["image"] {
		flat = append(flat, flatten(row))
	}
	rec := tensorRecord(t, map[string][]any{"pixels": flat, "id": {1.0, 2.0, 3.0, 4.0, 5.0}}, leafOf("image", false), true)
	defer rec.Release()
	task, err := tensorModel(t, "image").Infer(infer.InferConfig{})
	require.NoError(t, err)
	got, bound := runTensors2(t, task, rec)
	require.Equal(t, []string{"pixels"}, bound.Need.Reads)
	for i, want := range c.Out["mean"] {
		requireValue(t, want, valueOf(got.Record.Column(0), i), "mean")
	}
}

func flatten(v any) []any {
	list, ok := v.([]any)
	if !ok {
		return []any{v}
	}
	var out []any
	for _, item := range list {
		out = append(out, flatten(item)...)
	}
	return out
}

// Rows that cannot be put into the model fail by themselves.
func TestTensorRowsThatFail(t *testing.T) {
	rec := tensorRecord(t, map[string][]any{
		"a": {[]any{1.0, 2.0, 3.0}, []any{1.0}, []any{1.0, nil, 3.0}, nil, []any{4.0, 5.0, 6.0}},
		"b": {1.0, 1.0, 1.0, 1.0, 2.0}}, func(string) arrow.DataType { return arrow.PrimitiveTypes.Int64 }, false)
	defer rec.Release()
	task, err := tensorModel(t, "mixed").Infer(infer.InferConfig{Outputs: map[string]string{"total": "sum"}})
	require.NoError(t, err)
	b := newBooks(t)
	got, _ := runTensors(t, task, rec, b.env())
	defer got.Record.Release()
	require.Equal(t, []int32{0, 3, 4}, got.Parent)
	sums := got.Record.Column(0)
	require.Equal(t, []any{7.0, nil, 17.0}, []any{valueOf(sums, 0), valueOf(sums, 1), valueOf(sums, 2)})
	require.Len(t, got.Failed, 2)
	require.Equal(t, "a", got.Failed[0].Column)
	require.Equal(t, stage.BadData, got.Failed[0].Kind)
	require.ErrorContains(t, got.Failed[0].Err, "has 1 numbers in dimension 1, the model wants 3")
	require.ErrorContains(t, got.Failed[1].Err, "number 1 of its list is null")
	require.Equal(t, int64(1), b.counts[stage.NullInputs])

	whole := tensorRecord(t, map[string][]any{"x": {200.0, 7.0}, "y": {-1.0, 3.0}}, func(string) arrow.DataType { return arrow.PrimitiveTypes.Int64 }, true)
	defer whole.Release()
	types := map[string]string{"int8": "x", "uint64": "y"}
	for _, name := range []string{"int16", "int32", "int64", "uint8", "uint16", "uint32", "float32", "float64"} {
		types[name] = "x"
	}
	task, err = tensorModel(t, "types").Infer(infer.InferConfig{Bind: types})
	require.NoError(t, err)
	stages, err := task.Expand(stage.Placement{})
	require.NoError(t, err)
	_, err = stages[0].Bind([]*arrow.Schema{whole.Schema()})
	require.ErrorContains(t, err, "input bool bool[batch] ← no column has its name, and none fits")
}

// Columns of the input's own type are taken as they lie, but for rows that have nulls inside.
func TestTensorRowsWithNullsInside(t *testing.T) {
	rec := tensorRecord(t, map[string][]any{
		"a": {[]any{0.0, 0.0, 0.0}, []any{1.0, 2.0, 3.0}, nil, []any{1.0, nil, 3.0}, []any{4.0, 5.0, 6.0}, []any{7.0, 8.0, 9.0}},
		"b": {1.0, 1.0, 1.0, 1.0, 2.0, nil}}, leafOf("mixed", false), true)
	defer rec.Release()
	task, err := tensorModel(t, "mixed").Infer(infer.InferConfig{Outputs: map[string]string{"total": ""}})
	require.NoError(t, err)
	cut := rec.NewSlice(1, 6)
	defer cut.Release()
	got, _ := runTensors2(t, task, cut)
	require.Equal(t, []int32{0, 1, 3, 4}, got.Parent)
	require.Len(t, got.Failed, 1)
	require.Equal(t, int32(2), got.Failed[0].Row)
	require.ErrorContains(t, got.Failed[0].Err, "number 1 of its list is null")
	for i, want := range []any{7.0, nil, 17.0, nil} {
		requireValue(t, want, valueOf(got.Record.Column(0), i), "total")
	}
}

// Whole numbers that the input's type does not have fail their row.
func TestTensorRange(t *testing.T) {
	names := []string{"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"}
	columns := map[string][]any{"bool": {true, true, true}}
	for _, name := range names {
		columns[name] = []any{1.0, 1.0, 1.0}
	}
	columns["int8"], columns["uint64"] = []any{127.0, 128.0, 5.0}, []any{1.0, 1.0, -1.0}
	rec := tensorRecord(t, columns, leafOf("types", true), true)
	defer rec.Release()
	task, err := tensorModel(t, "types").Infer(infer.InferConfig{})
	require.NoError(t, err)
	got, _ := runTensors2(t, task, rec)
	require.Equal(t, []int32{0}, got.Parent)
	require.ErrorContains(t, got.Failed[0].Err, `input "int8": 128 is out of the range`)
	require.ErrorContains(t, got.Failed[1].Err, `input "uint64": -1 is out of the range`)
}

// What does not fit is refused before the first row, the model's side beside the data's.
func TestTensorFaults(t *testing.T) {
	schema := func(fields ...arrow.Field) *arrow.Schema { return arrow.NewSchema(fields, nil) }
	f32 := arrow.PrimitiveTypes.Float32
	a := func(t arrow.DataType) arrow.Field { return arrow.Field{Name: "a", Type: t} }
	b := arrow.Field{Name: "b", Type: arrow.PrimitiveTypes.Int64}
	cases := map[string]struct {
		model  string
		config infer.InferConfig
		schema *arrow.Schema
		want   []string
	}{
		"size": {"mixed", infer.InferConfig{}, schema(a(arrow.FixedSizeListOf(4, f32)), b),
			[]string{"tensors/mixed.onnx: the model's inputs and the columns do not fit", "input a float32[batch, 3] ← column a fixed_size_list<float32>[4]: has 4 numbers in dimension 1, not 3",
				"the columns are a fixed_size_list<float32>[4], b int64"}},
		"type":       {"mixed", infer.InferConfig{}, schema(a(arrow.BinaryTypes.String), b), []string{"column a string: holds no numbers"}},
		"float":      {"mixed", infer.InferConfig{Bind: map[string]string{"b": "c"}}, schema(a(arrow.FixedSizeListOf(3, f32)), arrow.Field{Name: "c", Type: f32}), []string{"input b int64[batch] ← column c float32: int64 is wanted: round it first"}},
		"dimensions": {"image", infer.InferConfig{Bind: map[string]string{"image": "a"}}, schema(a(arrow.FixedSizeListOf(2, arrow.FixedSizeListOf(6, f32)))), []string{"has 2 dimensions, not 3"}},
		"flat":       {"image", infer.InferConfig{Bind: map[string]string{"image": "a"}}, schema(a(arrow.FixedSizeListOf(11, f32))), []string{"has 11 numbers, not 12"}},
		"open":       {"open", infer.InferConfig{Bind: map[string]string{"x": "a"}}, schema(a(arrow.ListOf(f32))), []string{"only fixed_size_list says how long"}},
		"several":    {"fixed", infer.InferConfig{}, schema(a(arrow.FixedSizeListOf(3, f32)), arrow.Field{Name: "c", Type: arrow.FixedSizeListOf(3, f32)}), []string{"several fit: bind one of a, c"}},
		"no column":  {"fixed", infer.InferConfig{Bind: map[string]string{"x": "aa"}}, schema(a(arrow.FixedSizeListOf(3, f32))), []string{`did you mean "a"?`}},
		"no input":   {"fixed", infer.InferConfig{Bind: map[string]string{"xx": "a"}}, schema(a(arrow.FixedSizeListOf(3, f32))), []string{`no input "xx"`, `did you mean "x"?`}},
		"taken":      {"fixed", infer.InferConfig{Outputs: map[string]string{"y": "a"}, Bind: map[string]string{"x": "a"}}, schema(a(arrow.FixedSizeListOf(3, f32))), []string{"the input has it already"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			task, err := tensorModel(t, c.model).Infer(c.config)
			require.NoError(t, err)
			stages, err := task.Expand(stage.Placement{})
			require.NoError(t, err)
			_, err = stages[0].Bind([]*arrow.Schema{c.schema})
			for _, part := range c.want {
				require.ErrorContains(t, err, part)
			}
		})
	}
	m := tensorModel(t, "whole")
	_, err := m.Infer(infer.InferConfig{})
	require.ErrorContains(t, err, "output sum float32[] has no dimension for the rows")
	_, err = m.Infer(infer.InferConfig{Outputs: map[string]string{"z": ""}})
	require.ErrorContains(t, err, `has no output "z"`)
	rec := tensorRecord(t, map[string][]any{"x": {[]any{1.0, 2.0}, []any{3.0, 4.0}}}, leafOf("whole", false), true)
	defer rec.Release()
	task, err := m.Infer(infer.InferConfig{Outputs: map[string]string{"y": ""}})
	require.NoError(t, err)
	_, bound := runTensors2(t, task, rec)
	require.Len(t, bound.Need.Adds, 1)

	// What only the run shows is an error, too: this output has one row, whatever goes in.
	task, err = m.Infer(infer.InferConfig{Outputs: map[string]string{"first": ""}})
	require.NoError(t, err)
	w, _ := openTensors(t, task, rec, stage.Env{})
	defer w.Close()
	rec.Retain()
	_, err = process(t.Context(), w, stage.NewBatch(rec, stage.Origin{}))
	require.ErrorContains(t, err, "first")
}

// The stage keeps to the contract of stages, with runs of any and of fixed size.
func TestTensorStageKeepsToTheContract(t *testing.T) {
	cases := tensorCases(t)
	for _, name := range []string{"mixed", "fixed", "open"} {
		t.Run(name, func(t *testing.T) {
			in := map[string][]any{}
			for k, rows := range cases[name].In {
				in[k] = nullAt(append(slices.Clone(rows), rows...))
			}
			rec := tensorRecord(t, in, leafOf(name, false), true)
			defer rec.Release()
			task, err := tensorModel(t, name).Infer(infer.InferConfig{BatchSize: 8})
			require.NoError(t, err)
			stages, err := task.Expand(stage.Placement{})
			require.NoError(t, err)
			stagetest.Stage(t, stages[0], []arrow.Record{rec}, stagetest.StageOptions{Tolerance: 1e-5})
		})
	}
}

// What ONNX Runtime's arena is estimated to hold is charged beside inputs and outputs, for the
// largest run so far, until the worker closes.
func TestTensorActivationsAreCharged(t *testing.T) {
	task, err := tensorModel(t, "mixed").Infer(infer.InferConfig{Outputs: map[string]string{"total": "total", "scaled": "scaled"}})
	require.NoError(t, err)
	stages, err := task.Expand(stage.Placement{})
	require.NoError(t, err)
	rows := func(n int) arrow.Record {
		return tensorRecord(t, map[string][]any{"a": slices.Repeat([]any{[]any{1.0, 2.0, 3.0}}, n), "b": slices.Repeat([]any{2.0}, n)},
			func(string) arrow.DataType { return arrow.PrimitiveTypes.Int64 }, true)
	}
	one := rows(1)
	defer one.Release()
	bound, err := stages[0].Bind([]*arrow.Schema{one.Schema()})
	require.NoError(t, err)
	b := newBooks(t)
	w, err := bound.Open(t.Context(), b.env())
	require.NoError(t, err)
	require.Zero(t, b.held(stage.Arena))
	const slabs = 4 * 4096 // a, b, total and scaled
	numbers := func(n int) int64 { return int64(n * (3 + 1 + 1 + 3)) }
	for _, c := range []struct{ rows, largest int }{{3, 3}, {1, 3}, {20, 20}, {7, 20}} {
		rec := rows(c.rows)
		out, err := process(t.Context(), w, stage.NewBatch(selected(rec, bound.Need.Reads), stage.Origin{}))
		rec.Release()
		require.NoError(t, err)
		out.Release()
		require.Equal(t, slabs+18*4*numbers(c.largest), b.held(stage.Arena), "%d rows", c.rows)
	}
	require.NoError(t, w.Close())
	require.Zero(t, b.held(stage.Arena))
}
