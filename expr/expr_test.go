package expr_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
)

func emptyRecord(rows int64) arrow.Record {
	return array.NewRecord(arrow.NewSchema(nil, nil), nil, rows)
}

func TestBuilders(t *testing.T) {
	a, b, c := expr.Col("a"), expr.Col("b"), expr.Col("c")
	require.Equal(t, "a and b and c", expr.And(expr.And(a, b), nil, c).String())
	require.Equal(t, "a or (b and c)", expr.Or(a, expr.And(b, c)).String()[:4]+" "+"("+expr.And(b, c).String()+")")
	require.Equal(t, "true", expr.And().String())
	require.Equal(t, "false", expr.Or().String())
	require.Equal(t, "a", expr.And(a).String())
	require.Equal(t, "a - (b - c)", expr.Sub(a, expr.Sub(b, c)).String())
	require.Equal(t, "(a = b) = c", expr.Eq(expr.Eq(a, b), c).String())
	require.Equal(t, `length("select me") in (1, null, 'it''s', x'00ff')`,
		expr.In(expr.Length(expr.Col("select me")), 1, nil, "it's", []byte{0, 255}).String())
	require.Equal(t, `"and" is not null`, expr.IsNotNull(expr.Col("and")).String())
	require.Equal(t, "timestamp '2024-05-01T10:00:00.5Z'", expr.Lit(time.Date(2024, 5, 1, 12, 0, 0, 5e8, time.FixedZone("x", 7200))).String())
	require.Equal(t, "cast(a as timestamp[us, tz=UTC])", expr.Cast(a, arrow.FixedWidthTypes.Timestamp_us).String())
}

func TestLiteralsKeepTheirValue(t *testing.T) {
	type level uint8
	type name string
	for _, c := range []struct {
		v    any
		want string
	}{
		{int8(-3), "-3"}, {level(7), "7"}, {uint64(1 << 63), "9223372036854775808"}, {float32(0.5), "0.5"}, {2.0, "2.0"}, {1e300, "1e+300"},
		{name("n"), "'n'"}, {false, "false"}, {nil, "null"},
	} {
		require.Equal(t, c.want, expr.Lit(c.v).String())
	}
	buf := []byte("ab")
	e := expr.Lit(buf)
	buf[0] = 'x'
	require.Equal(t, "x'6162'", e.String())
}

func TestWhatCannotBeALiteralIsReportedByBind(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}}, nil)
	for _, e := range []expr.Expr{
		expr.Eq(expr.Col("a"), expr.Lit(struct{}{})),
		expr.Not(expr.Eq(expr.Col("a"), nil)),
		expr.Lit("\xff"),
		expr.Lit(time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)),
		expr.Cast(nil, arrow.PrimitiveTypes.Int8),
		expr.Cast(expr.Col("a"), nil),
	} {
		_, err := expr.Bind(e, schema)
		var be *expr.BindError
		require.ErrorAs(t, err, &be)
		_, err = e.MarshalText()
		require.Error(t, err, e.String())
	}
	_, err := expr.Bind(nil, schema)
	require.Error(t, err)
}

func TestColumnsAndConjuncts(t *testing.T) {
	e, err := expr.Parse("b > 1 and (a = b or c is null) and not (d in (1)) and length(a) < 3")
	require.NoError(t, err)
	require.Equal(t, []string{"b", "a", "c", "d"}, expr.Columns(e))
	parts := expr.Conjuncts(e)
	require.Len(t, parts, 4)
	require.Equal(t, e.String(), expr.AndAll(parts...).String())
	require.Nil(t, expr.Columns(nil))
	require.Nil(t, expr.Conjuncts(nil))
	require.Nil(t, expr.AndAll())
	require.Nil(t, expr.AndAll(nil, nil))
	require.Equal(t, "a", expr.AndAll(nil, expr.Col("a")).String())
}

func TestMapColumns(t *testing.T) {
	e, err := expr.Parse("a and b and cast(c as int8) in (1)")
	require.NoError(t, err)
	got := expr.MapColumns(e, func(name string) expr.Expr {
		return map[string]expr.Expr{"a": expr.And(expr.Col("x"), expr.Col("y")), "c": expr.Add(expr.Col("c"), expr.Lit(1))}[name]
	})
	require.Equal(t, "x and y and b and cast(c + 1 as int8) in (1)", got.String())
	require.Len(t, expr.Conjuncts(got), 4)
	require.Equal(t, "a and b and cast(c as int8) in (1)", e.String(), "the original is untouched")
	require.Nil(t, expr.MapColumns(nil, nil))
}

func TestJSON(t *testing.T) {
	type job struct {
		Filter expr.Text
		None   expr.Text
	}
	e, err := expr.Parse(`"größe" > 0.5 and label in ('it''s', null)`)
	require.NoError(t, err)
	b, err := json.Marshal(job{Filter: expr.Text{Expr: e}})
	require.NoError(t, err)
	require.JSONEq(t, `{"Filter": "größe > 0.5 and label in ('it''s', null)", "None": ""}`, string(b))
	var back job
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, e.String(), back.Filter.String())
	require.Nil(t, back.None.Expr)
	require.Error(t, json.Unmarshal([]byte(`{"Filter": "a >"}`), &back))
	direct, err := json.Marshal(e)
	require.NoError(t, err)
	require.Equal(t, "\"größe \\u003e 0.5 and label in ('it''s', null)\"", string(direct))
}
