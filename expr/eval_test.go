package expr_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
)

// sample is three rows, the last of them null all over but in id.
func sample(t *testing.T, mem memory.Allocator) arrow.Record {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "score", Type: arrow.PrimitiveTypes.Float32, Nullable: true},
		{Name: "label", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, Nullable: true},
		{Name: "text", Type: arrow.BinaryTypes.LargeString, Nullable: true},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "vec", Type: arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float32), Nullable: true},
		{Name: "price", Type: &arrow.Decimal128Type{Precision: 10, Scale: 2}, Nullable: true},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "at", Type: arrow.FixedWidthTypes.Timestamp_ms, Nullable: true},
		{Name: "num", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "raw", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "ok", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
		{Name: "small", Type: arrow.PrimitiveTypes.Uint8, Nullable: true},
	}, nil)
	rows := `[
	 {"id": 1, "score": 0.9, "label": "spam", "text": "héllo", "tags": ["a", "b"], "vec": [1, 2], "price": "1.25", "day": "2024-05-01",
	  "at": "2024-05-01T10:00:00.250Z", "num": "12", "raw": "AAE=", "ok": true, "small": 200},
	 {"id": 2, "score": 0.1, "label": "ham", "text": "", "tags": [], "vec": [3, 4], "price": "0.00", "day": "1969-12-31",
	  "at": "1969-12-31T23:59:59.999Z", "num": "x", "raw": "", "ok": false, "small": 0},
	 {"id": 3}]`
	rec, _, err := array.RecordFromJSON(mem, schema, strings.NewReader(rows))
	require.NoError(t, err)
	return rec
}

func evaluate(t *testing.T, rec arrow.Record, mem memory.Allocator, text string) (string, error) {
	e, err := expr.Parse(text)
	require.NoError(t, err, text)
	b, err := expr.Bind(e, rec.Schema())
	if err != nil {
		return "", err
	}
	out, err := b.Eval(ctx, rec, mem)
	if err != nil {
		return "", err
	}
	defer out.Release()
	require.True(t, arrow.TypeEqual(b.Type(), out.DataType()), "%s: says %s, gives %s", text, b.Type(), out.DataType())
	vals := make([]string, out.Len())
	for i := range vals {
		if vals[i] = out.ValueStr(i); out.IsNull(i) {
			vals[i] = "-"
		}
	}
	return out.DataType().String() + " " + strings.Join(vals, " | "), nil
}

var evalTable = map[string]string{ // the type and the three values; ! and an error
	"score > 0.5 and label in ('spam', 'ham') and length(text) < 200": "bool true | false | -",
	"score > 0.5 or ok is null":                                       "bool true | false | true",
	"length(text)":                                                    "int64 5 | 0 | -",
	"length(tags)":                                                    "int64 2 | 0 | -",
	"length(vec) = 2":                                                 "bool true | true | -",
	"length(raw)":                                                     "int64 2 | 0 | -",
	"price is null":                                                   "bool false | false | true",
	"not tags is null":                                                "bool true | true | false",
	"score = 0.1":                                                     "bool false | true | -",
	"small < 300":                                                     "bool true | true | -",
	"small + 100":                                                     "int64 300 | 100 | -",
	"small * 1.5":                                                     "float64 300 | 0 | -",
	"score * 2":                                                       "float32 1.8 | 0.2 | -",
	"id / 2":                                                          "int64 0 | 1 | 1",
	"id / 0.0":                                                        "float64 +Inf | +Inf | +Inf",
	"label":                                                           "dictionary<values=utf8, indices=int8, ordered=false> spam | ham | -",
	"label != 'spam'":                                                 "bool false | true | -",
	"day > '2024-04-30'":                                              "bool true | false | -",
	"day = cast(at as date32)":                                        "bool true | true | -",
	"day = at":                                                        "!one has a time zone",
	"cast(at as date32)":                                              "date32 2024-05-01 | 1969-12-31 | -",
	"at >= timestamp '2024-05-01T10:00:00.2500001Z'":    "bool false | false | -",
	"at > timestamp '2024-05-01T10:00:00.2499999Z'":     "bool true | false | -",
	"at = '2024-05-01T12:00:00.25+02:00'":               "bool true | false | -",
	"at in ('2024-05-01T10:00:00.25', '1969-01-01')":    "bool true | false | -",
	"cast(at as string)":                                "utf8 2024-05-01T10:00:00.25Z | 1969-12-31T23:59:59.999Z | -",
	"cast(cast(at as string) as timestamp[ms]) is null": "bool false | false | true",
	"cast(day as string)":                               "utf8 2024-05-01 | 1969-12-31 | -",
	"cast(at as timestamp[s, tz=UTC])":                  "timestamp[s, tz=UTC] 2024-05-01 10:00:00Z | 1969-12-31 23:59:59Z | -",
	"cast(day as int64)":                                "int64 19844 | -1 | -",
	"cast(19844 as date32) = day":                       "bool true | false | -",
	"cast(id as timestamp[s])":                          "timestamp[s] 1970-01-01 00:00:01Z | 1970-01-01 00:00:02Z | 1970-01-01 00:00:03Z",
	"cast(score as string)":                             "utf8 0.9 | 0.1 | -",
	"cast(cast(score as float16) as string)":            "utf8 0.89990234 | 0.099975586 | -",
	"cast(ok as string)":                                "utf8 true | false | -",
	"cast(ok as int8)":                                  "int8 1 | 0 | -",
	"cast(id as large_string)":                          "large_utf8 1 | 2 | 3",
	"cast(label as binary)":                             "binary c3BhbQ== | aGFt | -",
	"cast(text as string) = text":                       "bool true | true | -",
	"cast(-9223372036854775808.0 as int64)":             "int64 -9223372036854775808 | -9223372036854775808 | -9223372036854775808",
	"cast(-0.9 as uint8)":                               "uint8 0 | 0 | 0",
	"cast(id * 1500000.0 as string)":                    "utf8 1500000 | 3000000 | 4500000",
	"cast('7' as int16)":                                "int16 7 | 7 | 7",
	"cast('1.5' as float16)":                            "float16 1.5 | 1.5 | 1.5",
	"cast(null as string)":                              "utf8 - | - | -",
	"cast(score * 10 as int32)":                         "int32 9 | 1 | -",
	"raw = x'0001'":                                     "bool true | false | -",
	"raw = ''":                                          "bool false | true | -",
	"null":                                              "null (null) | (null) | (null)",
	"1 + 1 = 2":                                         "bool true | true | true",
	"ok = null":                                         "bool - | - | -",
	"ok and null":                                       "bool - | false | -",
	"id in (1, null)":                                   "bool true | - | -",
	"id not in ()":                                      "bool true | true | true",
	"num in ('x')":                                      "bool false | true | -",
	"timestamp '2024-05-01'":                            "timestamp[us, tz=UTC] 2024-05-01 00:00:00Z | 2024-05-01 00:00:00Z | 2024-05-01 00:00:00Z",
	"'a'":                                               "utf8 a | a | a",
	"x'61'":                                             "binary YQ== | YQ== | YQ==",
}

func TestEval(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	rec := sample(t, mem)
	defer rec.Release()
	for text, want := range evalTable {
		got, err := evaluate(t, rec, mem, text)
		if strings.HasPrefix(want, "!") {
			require.ErrorContains(t, err, want[1:], text)
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
}

func TestBindErrors(t *testing.T) {
	rec := sample(t, memory.DefaultAllocator)
	defer rec.Release()
	for text, want := range map[string]string{
		"scroe > 0.5":                            "expr: scroe: no such column; did you mean score? (columns: id, score, label,",
		"zzzzzz is null":                         "expr: zzzzzz: no such column (columns:",
		"score > 'x'":                            "expr: score > 'x': can't compare score (float32) with 'x' (string); cast one of them",
		"price > 1":                              "price is decimal(10, 2), which can be tested for null but not compared",
		"price + 1":                              "+ needs numbers, and price is decimal(10, 2)",
		"price in (1)":                           "in is not defined for price, which is decimal(10, 2)",
		"cast(price as int64)":                   "there is no cast from decimal(10, 2) to int64",
		"cast(tags as string)":                   "there is no cast from list<item: utf8, nullable> to string",
		"text + 1":                               "+ needs numbers, and text is large_string",
		"length(id)":                             "length needs a string, binary, list or map, and id is int64",
		"id and ok":                              "and needs a condition, and id is int64",
		"not id":                                 "not needs a condition, and id is int64",
		"day > 'yesterday'":                      `"yesterday" is not a date or a time`,
		"id in (1, 'x')":                         "id (int64) is never equal to 'x' (string)",
		"raw = text":                             "can't compare raw (binary) with text (large_string)",
		"text = x'00'":                           "can't compare",
		"ok > 1":                                 "can't compare ok (bool) with 1 (int64)",
		"1 / 0 = id":                             "1 / 0: integer division by zero",
		"cast('x' as int8)":                      "cast('x' as int8): x:",
		"cast(1e3 as int8)":                      "out of the type's range",
		"id + 18446744073709551615 > 0":          "18446744073709551615 is out of the range of int64",
		"cast(9223372036854775808.0 as int64)":   "out of the type's range",
		"cast(18446744073709551616.0 as uint64)": "out of the type's range",
		"cast(256.0 as uint8)":                   "out of the type's range",
		"cast(-1.0 as uint8)":                    "out of the type's range",
		"cast(nan as int8)":                      "out of the type's range",
		"cast(raw as int64)":                     "there is no cast from binary to int64",
		"vec = vec":                              "vec is fixed_size_list",
		"cast(9223372036854775807 as timestamp[s]) = at": "out of the type's range",
	} {
		e, err := expr.Parse(text)
		require.NoError(t, err, text)
		_, err = expr.Bind(e, rec.Schema())
		var be *expr.BindError
		require.ErrorAs(t, err, &be, text)
		require.ErrorContains(t, err, want)
	}
	twice := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int8}, {Name: "a", Type: arrow.PrimitiveTypes.Int8}}, nil)
	_, err := expr.Bind(expr.Col("a"), twice)
	require.ErrorContains(t, err, "2 columns have this name")
	_, err = expr.Bind(expr.Col("scroe"), rec.Schema())
	var be *expr.BindError
	require.ErrorAs(t, err, &be)
	require.Equal(t, "scroe", be.Column)
	require.Equal(t, "score", be.Nearest)
}

func TestEvalErrorsNameTheRowAndLeakNothing(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	rec := sample(t, mem)
	defer rec.Release()
	for _, c := range []struct {
		text, msg string
		row       int
		is        error
	}{
		{"10 / (id - 2) > 1", "expr: 10 / (id - 2): row 1: integer division by zero", 1, expr.ErrDivideByZero},
		{"id + 9223372036854775806", "row 1: integer overflow", 1, expr.ErrOverflow},
		{"ok and cast(num as int8) > 1", "cast(num as int8): row 1: x: ", 1, nil},
		{"cast(num as date32) is null", `row 0: 12: "12" is not a date or a time`, 0, nil},
		{"cast(small as int8)", "row 0: 200: the value is out of the type's range", 0, nil},
		{"cast(raw as string) = label and cast(num as float64) = 1.0", "cast(num as float64): row 1", 1, nil},
	} {
		for range 2 {
			_, err := evaluate(t, rec, mem, c.text)
			var ee *expr.EvalError
			require.ErrorAs(t, err, &ee, c.text)
			require.ErrorContains(t, err, c.msg)
			require.Equal(t, c.row, ee.Row)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
		}
	}
}

func TestEvalChecksItsInput(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	rec := sample(t, mem)
	defer rec.Release()
	e, err := expr.Parse("score > 0.5 and id < 3")
	require.NoError(t, err)
	b, err := expr.Bind(e, rec.Schema())
	require.NoError(t, err)

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = b.Eval(cancelled, rec, mem)
	require.ErrorIs(t, err, context.Canceled)

	_, err = b.Eval(ctx, emptyRecord(3), mem)
	require.ErrorContains(t, err, "is not the score float32 that it was bound to")

	num, err := expr.Bind(expr.Col("id"), rec.Schema())
	require.NoError(t, err)
	_, err = num.Mask(ctx, rec, mem)
	require.ErrorContains(t, err, "a condition is needed, and this is int64")
}

func TestMask(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	rec := sample(t, mem)
	defer rec.Release()
	none := rec.NewSlice(0, 0)
	defer none.Release()
	for text, want := range map[string][]int32{
		"id < 9": nil, "id > 9": {}, "score > 0.5": {0}, "ok is null or ok": {0, 2}, "null": {}, "true": nil, "ok": {0},
	} {
		e, err := expr.Parse(text)
		require.NoError(t, err)
		b, err := expr.Bind(e, rec.Schema())
		require.NoError(t, err)
		got, err := b.Mask(ctx, rec, mem)
		require.NoError(t, err)
		require.Equal(t, want, got, text)
		got, err = b.Mask(ctx, none, mem)
		require.NoError(t, err)
		require.Nil(t, got, text)
	}
}

func TestBooleanDictionaryMask(t *testing.T) {
	dt := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.FixedWidthTypes.Boolean}
	idx, _, err := array.FromJSON(memory.DefaultAllocator, arrow.PrimitiveTypes.Int8, strings.NewReader("[1, 0, null, 1]"))
	require.NoError(t, err)
	vals, _, err := array.FromJSON(memory.DefaultAllocator, arrow.FixedWidthTypes.Boolean, strings.NewReader("[false, true]"))
	require.NoError(t, err)
	schema := arrow.NewSchema([]arrow.Field{{Name: "d", Type: dt, Nullable: true}}, nil)
	rec := array.NewRecord(schema, []arrow.Array{array.NewDictionaryArray(dt, idx, vals)}, 4)
	b, err := expr.Bind(expr.Col("d"), schema)
	require.NoError(t, err)
	rows, err := b.Mask(ctx, rec, nil)
	require.NoError(t, err)
	require.Equal(t, []int32{0, 3}, rows)
}

// Text is the one form in which every value survives.
func TestCastToTextAndBack(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		tab := randomTable(r, mem)
		for _, f := range tab.rec.Schema().Fields() {
			x := tab.col(f.Name)
			if k := kindOf(x.typ); k == "bytes" || k == "null" || k == "time" {
				continue
			}
			for _, via := range []arrow.DataType{arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString} {
				check(t, tab, term{e: expr.Cast(expr.Cast(x.e, via), x.typ), typ: x.typ, at: x.at}, mem)
				if kindOf(x.typ) == "text" {
					check(t, tab, term{e: expr.Cast(expr.Cast(x.e, arrow.BinaryTypes.LargeBinary), via), typ: via, at: x.at}, mem)
				}
			}
		}
		tab.rec.Release()
		mem.AssertSize(t, 0)
	}
}

func TestOneBoundExpressionServesManyGoroutines(t *testing.T) {
	rec := sample(t, memory.DefaultAllocator)
	defer rec.Release()
	e, err := expr.Parse("cast(cast(id as string) as int64) + 1 > 2 and label in ('spam', 'ham') and text != 'a'")
	require.NoError(t, err)
	b, err := expr.Bind(e, rec.Schema())
	require.NoError(t, err)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			for range 50 {
				rows, err := b.Mask(ctx, rec, memory.DefaultAllocator)
				if err == nil && fmt.Sprint(rows) != "[1]" {
					err = fmt.Errorf("got %v", rows)
				}
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
}

func BenchmarkMask(b *testing.B) {
	const n = 65536
	ints := array.NewInt64Builder(memory.DefaultAllocator)
	floats := array.NewFloat32Builder(memory.DefaultAllocator)
	texts := array.NewStringBuilder(memory.DefaultAllocator)
	for i := range n {
		ints.Append(int64(i))
		floats.Append(float32(i%100) / 100)
		texts.Append(words[i%len(words)])
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Int64}, {Name: "f", Type: arrow.PrimitiveTypes.Float32},
		{Name: "s", Type: arrow.BinaryTypes.String}}, nil)
	rec := array.NewRecord(schema, []arrow.Array{ints.NewArray(), floats.NewArray(), texts.NewArray()}, n)
	for _, text := range []string{"i > 1000", "f > 0.5", "s = 'spam'", "s in ('spam', 'ham')", "i + 1 > 5", "f > 0.5 and i > 1000 and s != 'a'"} {
		e, err := expr.Parse(text)
		require.NoError(b, err)
		bound, err := expr.Bind(e, schema)
		require.NoError(b, err)
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				if _, err := bound.Mask(ctx, rec, memory.DefaultAllocator); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}

func TestDictionaryWithNullValues(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	fromJSON := func(dt arrow.DataType, text string) arrow.Array {
		arr, _, err := array.FromJSON(mem, dt, strings.NewReader(text))
		require.NoError(t, err)
		return arr
	}
	idx := fromJSON(arrow.PrimitiveTypes.Int8, "[1, 0, null, 1]")
	defer idx.Release()
	for _, c := range []struct {
		dt     arrow.DataType
		values string
	}{
		{arrow.BinaryTypes.String, `[null, "a"]`}, {arrow.PrimitiveTypes.Float64, "[null, 2]"}, {arrow.FixedWidthTypes.Boolean, "[null, true]"},
		{&arrow.Decimal128Type{Precision: 5, Scale: 1}, `[null, "1.5"]`},
	} {
		vals := fromJSON(c.dt, c.values)
		dict := array.NewDictionaryArray(&arrow.DictionaryType{IndexType: idx.DataType(), ValueType: c.dt}, idx, vals)
		rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: "d", Type: dict.DataType(), Nullable: true}}, nil), []arrow.Array{dict}, 4)
		got, err := evaluate(t, rec, mem, "d is null")
		require.NoError(t, err)
		require.Equal(t, "bool false | true | true | false", got)
		if c.dt.ID() != arrow.DECIMAL128 {
			got, err = evaluate(t, rec, mem, "d = d")
			require.NoError(t, err)
			require.Equal(t, "bool true | - | - | true", got)
		}
		rec.Release()
		dict.Release()
		vals.Release()
	}
}
