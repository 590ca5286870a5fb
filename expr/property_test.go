package expr_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
)

// maker makes random terms that bind over a table.
type maker struct {
	*rand.Rand
	t *table
}

func (m maker) column(kinds ...string) term {
	schema := m.t.rec.Schema()
	for {
		c := m.t.col(schema.Field(m.IntN(schema.NumFields())).Name)
		if len(kinds) == 0 {
			return c
		}
		for _, k := range kinds {
			if kindOf(c.typ) == k {
				return c
			}
		}
	}
}

// literal gives the Go value too, for In.
func (m maker) literal(kind string) (term, any) {
	var v, want any
	typ := arrow.DataType(arrow.Null)
	switch kind {
	case "int", "float":
		if m.IntN(2) == 0 {
			f := randomFloat(m.Rand)
			v, want, typ = f, f, f64T
			break
		}
		i := randomInt(m.Rand, []arrow.DataType{arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Uint8, int64T, uint64T}[m.IntN(4)])
		want, typ = i, int64T
		if v = i.Int64(); !i.IsInt64() {
			v, typ = i.Uint64(), uint64T
		}
	case "text":
		s := words[m.IntN(len(words))]
		v, want, typ = s, s, arrow.BinaryTypes.String
	case "bytes":
		s := words[m.IntN(len(words))]
		v, want, typ = []byte(s), s, arrow.BinaryTypes.Binary
		if m.IntN(2) == 0 {
			v, typ = s, arrow.BinaryTypes.String
		}
	case "bool":
		b := m.IntN(2) == 0
		v, want, typ = b, b, boolean
	case "time":
		at := time.Unix(int64(m.IntN(9)-4)*86400/2, int64(m.IntN(3)-1)).UTC()
		if m.IntN(4) == 0 {
			at = time.Date([]int{1, 1700, 2200, 9999}[m.IntN(4)], 2, 3, 4, 5, 6, 0, time.UTC)
		}
		nanos := new(big.Int).Add(new(big.Int).Mul(big.NewInt(at.Unix()), big.NewInt(1e9)), big.NewInt(int64(at.Nanosecond())))
		v, want, typ = at, nanos, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
		if m.IntN(2) == 0 {
			v, typ = at.Format(time.RFC3339Nano), arrow.BinaryTypes.String
		}
	}
	if m.IntN(12) == 0 {
		v, want, typ = nil, nil, arrow.Null
	}
	return term{e: expr.Lit(v), typ: typ, lit: true, konst: true, null: v == nil, at: func(int) (any, error) { return want, nil }}, v
}

func (m maker) number(depth int) term {
	switch n := m.IntN(10); {
	case depth == 0 || n < 3:
		if m.IntN(4) == 0 {
			l, _ := m.literal("int")
			return l
		}
		return m.column("int", "float", "int")
	case n < 8:
		return arithmetic([]string{"+", "-", "*", "/"}[m.IntN(4)], m.number(depth-1), m.number(depth-1))
	case n < 9:
		return length(m.column("text", "bytes"))
	}
	x := m.number(depth - 1)
	if x.null {
		return x
	}
	p, w := arrow.PrimitiveTypes, arrow.FixedWidthTypes
	to := []arrow.DataType{p.Int8, p.Int16, p.Int32, p.Int64, p.Uint8, p.Uint16, p.Uint32, p.Uint64, w.Float16, p.Float32, p.Float64}
	return cast(x, to[m.IntN(len(to))])
}

// pair gives two terms that can be compared.
func (m maker) pair(depth int) (term, term) {
	switch k := []string{"number", "text", "bytes", "bool", "time", "time"}[m.IntN(6)]; k {
	case "number":
		return m.number(depth), m.number(depth)
	case "bool":
		return m.condition(depth - 1), m.condition(depth - 1)
	case "time":
		x := m.column("time")
		if m.IntN(2) == 0 {
			l, _ := m.literal("time")
			return x, l
		}
		for {
			if y := m.column("time"); zoned(y.typ) == zoned(x.typ) {
				return x, y
			}
		}
	default:
		x := m.column(k)
		if m.IntN(2) == 0 {
			l, _ := m.literal(k)
			return x, l
		}
		return x, m.column(k)
	}
}

func (m maker) condition(depth int) term {
	if depth <= 0 {
		switch m.IntN(4) {
		case 0:
			l, _ := m.literal("bool")
			return l
		case 1:
			return isNullTerm(m.column(), m.IntN(2) == 0)
		case 2:
			return m.column("null", "bool")
		}
		return m.column("bool")
	}
	switch m.IntN(8) {
	case 0, 1, 2:
		l, r := m.pair(depth)
		if m.IntN(2) == 0 {
			l, r = r, l
		}
		return comparison([]string{"=", "!=", "<", "<=", ">", ">="}[m.IntN(6)], l, r)
	case 3, 4:
		ts := make([]term, 2+m.IntN(3))
		for i := range ts {
			ts[i] = m.condition(depth - 1)
		}
		return logic([]string{"and", "or"}[m.IntN(2)], ts...)
	case 5:
		return not(m.condition(depth - 1))
	case 6:
		return m.in()
	}
	return isNullTerm(m.number(depth-1), m.IntN(2) == 0)
}

func (m maker) in() term {
	kind := []string{"int", "float", "text", "bytes", "bool", "time"}[m.IntN(6)]
	x := m.column(kind)
	var vals []any
	var lits []term
	for range m.IntN(14) {
		l, v := m.literal(kind)
		vals, lits = append(vals, v), append(lits, l)
	}
	return in(x, vals, lits)
}

// check evaluates a term both ways.
func check(t *testing.T, tab *table, x term, mem memory.Allocator) {
	rows := int(tab.rec.NumRows())
	want, errs := make([]any, rows), make([]error, rows)
	failing := false
	for i := range rows {
		want[i], errs[i] = x.at(i)
		failing = failing || errs[i] != nil
	}
	b, err := expr.Bind(x.e, tab.rec.Schema())
	var be *expr.BindError
	if x.bad { // a constant part without a result is refused, and nothing else
		require.ErrorAs(t, err, &be, x.e.String())
		return
	}
	require.NoError(t, err)
	if d, lone := b.Type().(*arrow.DictionaryType); lone { // a column by itself is passed through
		require.Equal(t, x.typ, d.ValueType)
	} else if kindOf(x.typ) != "other" && x.typ.ID() != arrow.NULL {
		require.Truef(t, arrow.TypeEqual(x.typ, b.Type()) || kindOf(x.typ) == kindOf(b.Type()) && kindOf(x.typ) == "text", "%s: %s, want %s", x.e, b.Type(), x.typ)
	}
	out, err := b.Eval(ctx, tab.rec, mem)
	if err != nil {
		var ee *expr.EvalError
		require.ErrorAs(t, err, &ee)
		require.True(t, failing, "%s: %v", x.e, err)
		require.Error(t, errs[ee.Row], "%s: %v", x.e, err)
		return
	}
	defer out.Release()
	require.False(t, failing, "%s should have failed: %v", x.e, errors.Join(errs...))
	require.Equal(t, rows, out.Len())
	for i := range want {
		if !same(t, out, i, want[i]) {
			require.Failf(t, "wrong value", "%s\nrow %d: got %s, want %v", x.e, i, out.ValueStr(i), want[i])
		}
	}
	nulls := 0
	for i := range rows {
		if want[i] == nil {
			nulls++
		}
	}
	require.Equal(t, nulls, out.NullN())
	if x.typ.ID() == arrow.BOOL {
		checkMask(t, tab, b, want, mem)
	}
}

func checkMask(t *testing.T, tab *table, b *expr.Bound, want []any, mem memory.Allocator) {
	mask, err := b.Mask(ctx, tab.rec, mem)
	require.NoError(t, err)
	kept := []int32{}
	for i, v := range want {
		if v == true {
			kept = append(kept, int32(i))
		}
	}
	if len(kept) == len(want) {
		require.Nil(t, mask)
	} else {
		require.Equal(t, kept, mask)
	}
}

func TestAgainstOracle(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		tab := randomTable(r, mem)
		m := maker{r, tab}
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			for range 30 {
				x := m.condition(3)
				if m.IntN(3) == 0 {
					x = m.number(2)
				}
				check(t, tab, x, mem)
				back, err := expr.Parse(x.e.String())
				require.NoError(t, err, x.e.String())
				require.Equal(t, x.e.String(), back.String())
			}
			for _, f := range tab.rec.Schema().Fields() {
				if kindOf(f.Type) != "time" && kindOf(f.Type) != "bytes" {
					check(t, tab, tab.col(f.Name), mem)
				}
			}
		})
		tab.rec.Release()
		mem.AssertSize(t, 0)
		if !ok {
			return
		}
	}
}

func TestIntegerEdges(t *testing.T) {
	edges := []int64{math.MinInt64, math.MinInt64 + 1, -1 << 62, -2, -1, 0, 1, 2, 1 << 62, math.MaxInt64 - 1, math.MaxInt64}
	for _, a := range edges {
		for _, b := range edges {
			for _, op := range []string{"+", "-", "*", "/"} {
				la := term{e: expr.Lit(a), typ: int64T, lit: true, konst: true, at: func(int) (any, error) { return big.NewInt(a), nil }}
				lb := term{e: expr.Lit(b), typ: int64T, lit: true, konst: true, at: func(int) (any, error) { return big.NewInt(b), nil }}
				x := arithmetic(op, la, lb)
				want, werr := x.at(0)
				bound, err := expr.Bind(x.e, arrow.NewSchema(nil, nil))
				require.Equal(t, werr != nil, err != nil, "%s: %v", x.e, err)
				if err == nil {
					rec := emptyRecord(1)
					out, err := bound.Eval(ctx, rec, nil)
					require.NoError(t, err)
					require.True(t, same(t, out, 0, want), "%s = %s, want %v", x.e, out.ValueStr(0), want)
					out.Release()
				}
			}
		}
	}
}
