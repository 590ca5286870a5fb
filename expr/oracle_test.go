package expr_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/float16"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
)

// The oracle: a naive interpreter, one row at a time, over exact numbers. A term carries an expression beside a function that computes what it should
// be. Values: nil, bool, *big.Int (integers, and times in nanoseconds), float64, string (also for binary).
type term struct {
	e    expr.Expr
	typ  arrow.DataType
	lit  bool // adapts to the other side
	null bool // the literal null
	at   func(row int) (any, error)

	konst bool // made of literals alone
	bad   bool // a part made of literals alone has no result: Bind refuses it
}

func (t term) of(parts ...term) term {
	t.konst = true
	for _, p := range parts {
		t.konst = t.konst && p.konst
		t.bad = t.bad || p.bad
	}
	t.konst = t.konst || t.null // known, whatever the other part is
	if t.konst {
		v, err := t.at(0)
		t.bad = t.bad || err != nil
		t.null = t.null || err == nil && v == nil
	}
	return t
}

var (
	errRow  = errors.New("no result")
	boolean = arrow.FixedWidthTypes.Boolean
	int64T  = arrow.PrimitiveTypes.Int64
	uint64T = arrow.PrimitiveTypes.Uint64
	f32T    = arrow.PrimitiveTypes.Float32
	f64T    = arrow.PrimitiveTypes.Float64
)

func kindOf(dt arrow.DataType) string {
	switch id := dt.ID(); id {
	case arrow.FLOAT16, arrow.FLOAT32, arrow.FLOAT64:
		return "float"
	case arrow.STRING, arrow.LARGE_STRING:
		return "text"
	case arrow.BINARY, arrow.LARGE_BINARY:
		return "bytes"
	case arrow.DATE32, arrow.DATE64, arrow.TIMESTAMP:
		return "time"
	case arrow.BOOL:
		return "bool"
	case arrow.NULL:
		return "null"
	default:
		if arrow.IsInteger(id) {
			return "int"
		}
	}
	return "other"
}

func zoned(dt arrow.DataType) bool {
	ts, ok := dt.(*arrow.TimestampType)
	return ok && ts.TimeZone != ""
}

func bound(dt arrow.DataType) (lo, hi *big.Int) {
	bits := uint(dt.(arrow.FixedWidthDataType).BitWidth())
	one := big.NewInt(1)
	if arrow.IsUnsignedInteger(dt.ID()) {
		return big.NewInt(0), new(big.Int).Sub(new(big.Int).Lsh(one, bits), one)
	}
	h := new(big.Int).Lsh(one, bits-1)
	return new(big.Int).Neg(h), new(big.Int).Sub(h, one)
}

func fits(v *big.Int, dt arrow.DataType) bool {
	lo, hi := bound(dt)
	return v.Cmp(lo) >= 0 && v.Cmp(hi) <= 0
}

func asF64(v any) float64 {
	if f, ok := v.(float64); ok {
		return f
	}
	i := v.(*big.Int)
	if i.IsInt64() {
		return float64(i.Int64())
	}
	return float64(i.Uint64())
}

func asF32(v any) float64 {
	if f, ok := v.(float64); ok {
		return float64(float32(f))
	}
	i := v.(*big.Int)
	if i.IsInt64() {
		return float64(float32(i.Int64()))
	}
	return float64(float32(i.Uint64()))
}

// tooBig: a finite number that float32 makes infinite.
func tooBig(v any) bool { return v != nil && !math.IsInf(asF64(v), 0) && math.IsInf(asF32(v), 0) }

// compare3 orders two values exactly; unordered for NaN.
func compare3(a, b any) (c int, unordered bool) {
	switch a := a.(type) {
	case string:
		if a < b.(string) {
			return -1, false
		} else if a > b.(string) {
			return 1, false
		}
		return 0, false
	case bool:
		x, y := 0, 0
		if a {
			x = 1
		}
		if b.(bool) {
			y = 1
		}
		return x - y, false
	}
	x, y := a, b
	if f, ok := x.(float64); ok && math.IsNaN(f) {
		return 0, true
	}
	if f, ok := y.(float64); ok && math.IsNaN(f) {
		return 0, true
	}
	exact := func(v any) *big.Float {
		f := new(big.Float).SetPrec(200)
		if i, ok := v.(*big.Int); ok {
			return f.SetInt(i)
		}
		return f.SetFloat64(v.(float64))
	}
	return exact(x).Cmp(exact(y)), false
}

// adapt gives the two values as they are compared.
func adapt(l, r term, a, b any) (any, any) {
	isFloat := func(t term) bool { return kindOf(t.typ) == "float" }
	small := func(t term) bool { return isFloat(t) && t.typ.ID() != arrow.FLOAT64 }
	toCol := func(v any, col term) any {
		if small(col) && !tooBig(v) {
			return asF32(v)
		}
		return asF64(v)
	}
	switch {
	case l.lit && r.lit:
	case r.lit && isFloat(l):
		b = toCol(b, l)
	case l.lit && isFloat(r):
		a = toCol(a, r)
	case !l.lit && !r.lit && isFloat(l) != isFloat(r):
		a, b = asF64(a), asF64(b)
	}
	return a, b
}

func holds(op string, c int, unordered bool) bool {
	if unordered {
		return op == "!="
	}
	switch op {
	case "=":
		return c == 0
	case "!=":
		return c != 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

// both evaluates two terms; a literal null spares the other.
func both(l, r term, row int) (a, b any, err error) {
	if l.null || r.null {
		return nil, nil, nil
	}
	a, errA := l.at(row)
	b, errB := r.at(row)
	return a, b, errors.Join(errA, errB)
}

var comparers = map[string]func(a, b expr.Expr) expr.Expr{
	"=": expr.Eq, "!=": expr.Ne, "<": expr.Lt, "<=": expr.Le, ">": expr.Gt, ">=": expr.Ge,
}

func comparison(op string, l, r term) term {
	return term{e: comparers[op](l.e, r.e), typ: boolean, null: l.null || r.null, at: func(row int) (any, error) {
		a, b, err := both(l, r, row)
		if err != nil || a == nil || b == nil {
			return nil, err
		}
		a, b = adapt(l, r, a, b)
		c, unordered := compare3(a, b)
		return holds(op, c, unordered), nil
	}}.of(l, r)
}

func arithmetic(op string, l, r term) term {
	build := map[string]func(a, b expr.Expr) expr.Expr{"+": expr.Add, "-": expr.Sub, "*": expr.Mul, "/": expr.Div}[op]
	typ := arithOracleType(l, r)
	t := term{e: build(l.e, r.e), typ: typ, lit: l.lit && r.lit, null: l.null || r.null}
	for _, x := range []term{l, r} {
		if x.konst && kindOf(typ) == "int" {
			v, _ := x.at(0)
			i, ok := v.(*big.Int)
			t.bad = t.bad || ok && !fits(i, typ)
		}
	}
	t.at = func(row int) (any, error) {
		a, b, err := both(l, r, row)
		for _, v := range []any{a, b} { // promotion comes first: a uint64 that no int64 holds fails beside a null too
			if i, ok := v.(*big.Int); ok && kindOf(typ) == "int" && !fits(i, typ) {
				return nil, errRow
			}
		}
		if err != nil || a == nil || b == nil {
			return nil, err
		}
		switch typ {
		case f64T:
			return floatOp(op, asF64(a), asF64(b)), nil
		case f32T:
			return float64(float32(floatOp(op, asF32(a), asF32(b)))), nil // exact enough: see the note in floatOp
		}
		x, y, z := a.(*big.Int), b.(*big.Int), new(big.Int)
		switch op {
		case "+":
			z.Add(x, y)
		case "-":
			z.Sub(x, y)
		case "*":
			z.Mul(x, y)
		case "/":
			if y.Sign() == 0 {
				return nil, errRow
			}
			z.Quo(x, y)
		}
		if !fits(z, typ) {
			return nil, errRow
		}
		return z, nil
	}
	return t.of(l, r)
}

func arithOracleType(l, r term) arrow.DataType {
	float := func(t term) bool { return kindOf(t.typ) == "float" }
	narrow := func(t term, o term) bool {
		if t.null && t.lit || float(t) && t.typ.ID() != arrow.FLOAT64 {
			return true
		}
		if !t.lit || !float(o) {
			return false
		}
		v, _ := t.at(0)
		return !tooBig(v)
	}
	unsigned := func(t term) bool {
		if t.lit && !t.null {
			v, err := t.at(0)
			if i, ok := v.(*big.Int); err == nil && ok {
				return i.Sign() >= 0
			}
			return true
		}
		return t.null && t.lit || arrow.IsUnsignedInteger(t.typ.ID())
	}
	switch {
	case kindOf(l.typ) == "null" && kindOf(r.typ) == "null":
		return arrow.Null
	case float(l) || float(r):
		if narrow(l, r) && narrow(r, l) && !(l.lit && r.lit) {
			return f32T
		}
		return f64T
	case unsigned(l) && unsigned(r) && (l.typ.ID() == arrow.UINT64 || r.typ.ID() == arrow.UINT64):
		return uint64T
	}
	return int64T
}

// floatOp on two float32 values in float64, rounded once more, is the float32 operation: 53 bits are more than twice 24 and two (Figueroa 1995).
func floatOp(op string, a, b float64) float64 {
	switch op {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	}
	return a / b
}

func logic(op string, ts ...term) term {
	build := map[string]func(...expr.Expr) expr.Expr{"and": expr.And, "or": expr.Or}[op]
	var es []expr.Expr
	for _, t := range ts {
		es = append(es, t.e)
	}
	stop := op == "or" // the value that decides alone
	return term{e: build(es...), typ: boolean, at: func(row int) (any, error) {
		var out any = !stop
		var errs error
		for _, t := range ts {
			v, err := t.at(row)
			errs = errors.Join(errs, err)
			if v == stop || v == nil && out != stop {
				out = v
			}
		}
		return out, errs
	}}.of(ts...)
}

func not(t term) term {
	return term{e: expr.Not(t.e), typ: boolean, at: func(row int) (any, error) {
		v, err := t.at(row)
		if v == nil || err != nil {
			return nil, err
		}
		return !v.(bool), nil
	}}.of(t)
}

func isNullTerm(t term, want bool) term {
	e := expr.IsNull(t.e)
	if !want {
		e = expr.IsNotNull(t.e)
	}
	return term{e: e, typ: boolean, at: func(row int) (any, error) {
		v, err := t.at(row)
		return (v == nil) == want, err
	}}.of(t)
}

func in(x term, vals []any, lits []term) term {
	return term{e: expr.In(x.e, vals...), typ: boolean, at: func(row int) (any, error) {
		if len(lits) == 0 {
			return false, nil
		}
		v, err := x.at(row)
		if err != nil || v == nil {
			return nil, err
		}
		var out any = false
		for _, l := range lits {
			w, _ := l.at(row)
			if w == nil {
				out = nil
				continue
			}
			a, b := v, w
			if l.typ.ID() != arrow.NULL {
				y := l
				y.lit = true
				z := x
				z.lit = false // a literal in front of in has a type of its own
				a, b = adapt(z, y, v, w)
			}
			if c, u := compare3(a, b); c == 0 && !u {
				return true, nil
			}
		}
		return out, nil
	}}
}

func length(t term) term {
	return term{e: expr.Length(t.e), typ: int64T, at: func(row int) (any, error) {
		v, err := t.at(row)
		if v == nil || err != nil {
			return nil, err
		}
		if kindOf(t.typ) == "text" {
			return big.NewInt(int64(utf8.RuneCountInString(v.(string)))), nil
		}
		return big.NewInt(int64(len(v.(string)))), nil
	}}.of(t)
}

func cast(t term, to arrow.DataType) term {
	return term{e: expr.Cast(t.e, to), typ: to, null: t.null, at: func(row int) (any, error) {
		v, err := t.at(row)
		if v == nil || err != nil {
			return nil, err
		}
		if b, ok := v.(bool); ok {
			v = big.NewInt(0)
			if b {
				v = big.NewInt(1)
			}
		}
		switch to.ID() {
		case arrow.BOOL:
			if i, ok := v.(*big.Int); ok {
				return i.Sign() != 0, nil
			}
			return v.(float64) != 0, nil
		case arrow.FLOAT64:
			return asF64(v), nil
		case arrow.FLOAT32:
			return asF32(v), nil
		case arrow.FLOAT16:
			return float64(float16.New(float32(asF32(v))).Float32()), nil
		}
		i, ok := v.(*big.Int)
		if f, isF := v.(float64); isF {
			if math.IsNaN(f) || math.IsInf(f, 0) {
				return nil, errRow
			}
			i, ok = new(big.Int), true
			big.NewFloat(f).Int(i)
		}
		if !ok || !fits(i, to) {
			return nil, errRow
		}
		return i, nil
	}}.of(t)
}

// A table is a random record beside its values as the oracle sees them.
type table struct {
	rec  arrow.Record
	cols map[string][]any
}

func (t *table) col(name string) term {
	f := t.rec.Schema().Field(t.rec.Schema().FieldIndices(name)[0])
	dt := f.Type
	if d, ok := dt.(*arrow.DictionaryType); ok {
		dt = d.ValueType
	}
	vals := t.cols[name]
	if dt.ID() == arrow.NULL { // is known before any row is read
		return term{e: expr.Col(name), typ: dt, konst: true, null: true, at: func(int) (any, error) { return nil, nil }}
	}
	return term{e: expr.Col(name), typ: dt, at: func(row int) (any, error) { return vals[row], nil }}
}

func fields() []arrow.Field {
	p, w := arrow.PrimitiveTypes, arrow.FixedWidthTypes
	dict := func(i, v arrow.DataType) arrow.DataType { return &arrow.DictionaryType{IndexType: i, ValueType: v} }
	types := []arrow.DataType{
		p.Int8, p.Int16, p.Int32, p.Int64, p.Uint8, p.Uint16, p.Uint32, p.Uint64, w.Float16, p.Float32, p.Float64, w.Boolean,
		arrow.BinaryTypes.String, arrow.BinaryTypes.LargeString, arrow.BinaryTypes.Binary, arrow.BinaryTypes.LargeBinary, w.Date32, w.Date64,
		&arrow.TimestampType{Unit: arrow.Second}, &arrow.TimestampType{Unit: arrow.Millisecond}, &arrow.TimestampType{Unit: arrow.Nanosecond},
		&arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, &arrow.TimestampType{Unit: arrow.Second, TimeZone: "Europe/Paris"},
		dict(p.Int8, arrow.BinaryTypes.String), dict(p.Uint16, p.Int32), arrow.Null,
	}
	var fs []arrow.Field
	for i, t := range types {
		fs = append(fs, arrow.Field{Name: fmt.Sprintf("c%d", i), Type: t, Nullable: true}, arrow.Field{Name: fmt.Sprintf("k%d", i), Type: t, Nullable: true})
	}
	return fs
}

var words = []string{"", "a", "ab", "b", "B", "é", "日本", "a\x00", "zz", "spam", "ham", "it's", `q"q`}

func randomTable(r *rand.Rand, mem memory.Allocator) *table {
	schema := arrow.NewSchema(fields(), nil)
	lead, rows, tail := r.IntN(20), r.IntN(90), r.IntN(10)
	cols := make([]arrow.Array, schema.NumFields())
	t := &table{cols: map[string][]any{}}
	for i, f := range schema.Fields() {
		var vals []any
		cols[i], vals = randomColumn(r, mem, f.Type, lead+rows+tail)
		t.cols[f.Name] = vals[lead : lead+rows]
	}
	whole := array.NewRecord(schema, cols, int64(lead+rows+tail))
	for _, c := range cols {
		c.Release()
	}
	defer whole.Release()
	t.rec = whole.NewSlice(int64(lead), int64(lead+rows))
	return t
}

func randomColumn(r *rand.Rand, mem memory.Allocator, dt arrow.DataType, n int) (arrow.Array, []any) {
	b := array.NewBuilder(mem, dt)
	defer b.Release()
	nulls := []int{0, 0, 3, 10}[r.IntN(4)] // in ten
	vals := make([]any, n)
	for i := range vals {
		if r.IntN(10) < nulls || dt.ID() == arrow.NULL {
			b.AppendNull()
			continue
		}
		vals[i] = appendRandom(r, b)
	}
	return b.NewArray(), vals
}

func randomInt(r *rand.Rand, dt arrow.DataType) *big.Int {
	lo, hi := bound(dt)
	switch r.IntN(12) {
	case 0:
		return lo
	case 1:
		return hi
	case 2:
		return new(big.Int).Sub(hi, big.NewInt(1))
	case 3:
		return new(big.Int).Rsh(hi, 1)
	}
	v := big.NewInt(int64(r.IntN(7)) - 3)
	if v.Cmp(lo) < 0 {
		v.Neg(v)
	}
	return v
}

func randomFloat(r *rand.Rand) float64 {
	pool := []float64{0, math.Copysign(0, -1), 1, -1, 0.5, 0.1, -2.5, 3, 300, 1e5, -70000, 1e300, -1e300, 9007199254740993, 1 << 63,
		math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat32, 16777217}
	return pool[r.IntN(len(pool))]
}

func appendRandom(r *rand.Rand, b array.Builder) any {
	switch b := b.(type) {
	case *array.BooleanBuilder:
		v := r.IntN(2) == 0
		b.Append(v)
		return v
	case *array.Float16Builder:
		v := float16.New(float32(randomFloat(r)))
		b.Append(v)
		return float64(v.Float32())
	case *array.Float32Builder:
		v := float32(randomFloat(r))
		b.Append(v)
		return float64(v)
	case *array.Float64Builder:
		v := randomFloat(r)
		b.Append(v)
		return v
	case array.StringLikeBuilder:
		v := words[r.IntN(len(words))]
		b.Append(v)
		return v
	case *array.BinaryBuilder:
		v := words[r.IntN(len(words))]
		b.Append([]byte(v))
		return v
	case *array.BinaryDictionaryBuilder:
		v := words[r.IntN(len(words))]
		if err := b.AppendString(v); err != nil {
			panic(err)
		}
		return v
	case *array.Int32DictionaryBuilder:
		v := randomInt(r, arrow.PrimitiveTypes.Int32)
		if err := b.Append(int32(v.Int64())); err != nil {
			panic(err)
		}
		return v
	}
	dt := b.Type()
	v := randomInt(r, dt)
	appendInt(b, v)
	if kindOf(dt) == "time" {
		return new(big.Int).Mul(v, big.NewInt(int64(tickOf(dt))))
	}
	return v
}

func tickOf(dt arrow.DataType) time.Duration {
	switch dt := dt.(type) {
	case *arrow.TimestampType:
		return dt.Unit.Multiplier()
	case *arrow.Date64Type:
		return time.Millisecond
	}
	return 24 * time.Hour
}

func appendInt(b array.Builder, v *big.Int) {
	switch b := b.(type) {
	case *array.Int8Builder:
		b.Append(int8(v.Int64()))
	case *array.Int16Builder:
		b.Append(int16(v.Int64()))
	case *array.Int32Builder:
		b.Append(int32(v.Int64()))
	case *array.Int64Builder:
		b.Append(v.Int64())
	case *array.Uint8Builder:
		b.Append(uint8(v.Uint64()))
	case *array.Uint16Builder:
		b.Append(uint16(v.Uint64()))
	case *array.Uint32Builder:
		b.Append(uint32(v.Uint64()))
	case *array.Uint64Builder:
		b.Append(v.Uint64())
	case *array.Date32Builder:
		b.Append(arrow.Date32(v.Int64()))
	case *array.Date64Builder:
		b.Append(arrow.Date64(v.Int64()))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v.Int64()))
	default:
		panic(fmt.Sprintf("%T", b))
	}
}

// same compares a result with the oracle's value.
func same(t *testing.T, arr arrow.Array, row int, want any) bool {
	if null := arr.IsNull(row) || arr.DataType().ID() == arrow.NULL; want == nil || null { // an array of type null has no bitmap to ask
		return want == nil && null
	}
	got := valueOf(t, arr, row)
	if f, ok := want.(float64); ok {
		g, ok := got.(float64)
		return ok && (math.Float64bits(f) == math.Float64bits(g) || math.IsNaN(f) && math.IsNaN(g))
	}
	if i, ok := want.(*big.Int); ok {
		g, ok := got.(*big.Int)
		return ok && i.Cmp(g) == 0
	}
	return got == want
}

func valueOf(t *testing.T, arr arrow.Array, row int) any {
	switch a := arr.(type) {
	case *array.Dictionary:
		return valueOf(t, a.Dictionary(), a.GetValueIndex(row))
	case *array.Boolean:
		return a.Value(row)
	case *array.Float16:
		return float64(a.Value(row).Float32())
	case *array.Float32:
		return float64(a.Value(row))
	case *array.Float64:
		return a.Value(row)
	case *array.Uint64:
		return new(big.Int).SetUint64(a.Value(row))
	case interface{ Value(int) string }:
		return a.Value(row)
	case *array.Int8:
		return big.NewInt(int64(a.Value(row)))
	case *array.Int16:
		return big.NewInt(int64(a.Value(row)))
	case *array.Int32:
		return big.NewInt(int64(a.Value(row)))
	case *array.Int64:
		return big.NewInt(a.Value(row))
	case *array.Uint8:
		return big.NewInt(int64(a.Value(row)))
	case *array.Uint16:
		return big.NewInt(int64(a.Value(row)))
	case *array.Uint32:
		return big.NewInt(int64(a.Value(row)))
	}
	require.Failf(t, "no value", "%T", arr)
	return nil
}

var ctx = context.Background()
