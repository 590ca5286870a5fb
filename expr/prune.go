package expr

import (
	"cmp"
	"math"
	"math/big"
	"strings"
	"time"
)

// MayMatch says whether any row of a group (a Parquet row group, say) could make e true, from statistics of its columns alone. False is a promise: no
// row does. True promises nothing. A nil e always may match.
//
// stats gives a column's bounds: min <= v <= max for every value that is neither null nor NaN; nulls, how many are null, and rows, how many there are,
// each -1 if unknown. ok is false if nothing is known of it. A nil min or max is no bound on that side. The Go type of a bound is that of the column:
// bool; any int or uint; float32 or float64; string or []byte for strings and binary; time.Time for dates and timestamps. A column of any
// other type (a decimal above all: its raw integer is not its value) must give ok false, or nil bounds.
//
// What may be trusted: bounds need not occur among the values, so a min that was cut short is fine, and a max may be cut short too, be its last
// character raised or not (each max is taken to stand for all strings that begin with it). Floats may hold NaN beside their bounds, since Parquet's writers leave
// it out; a bound that is NaN is no bound; -0 and 0 are the same. If min > max both are ignored. Not to be passed on are bounds in another order than this
// package's: Parquet's deprecated min and max of strings and of unsigned integers, which old writers ordered by signed bytes, and unsigned
// columns' bounds read as signed integers.
//
// It is for expressions that Bind accepts for the columns' schema. Arithmetic, casts and lengths are not looked into: they may match. A row that would make Eval fail (a
// division by zero) doesn't count as matching.
func MayMatch(e Expr, stats func(col string) (min, max any, nulls, rows int64, ok bool)) bool {
	if e == nil {
		return true
	}
	p := pruner{stats}
	return p.outcomes(e).yes
}

// outcomes are the truth values that a condition could have over the rows, null aside: a superset of those that it has. Null needs no place, for
// nothing that is looked into turns it into true.
type outcomes struct{ yes, no bool }

var anyOutcome = outcomes{true, true}

func (a outcomes) and(b outcomes) outcomes { return outcomes{a.yes && b.yes, a.no || b.no} }
func (a outcomes) or(b outcomes) outcomes  { return outcomes{a.yes || b.yes, a.no && b.no} }
func (a outcomes) not() outcomes           { return outcomes{a.no, a.yes} }

type pruner struct {
	stats func(col string) (min, max any, nulls, rows int64, ok bool)
}

func (p pruner) outcomes(e Expr) outcomes {
	switch e := e.(type) {
	case *column, *literal:
		return p.boolean(p.interval(e))
	case *call:
		return p.call(e)
	}
	return anyOutcome
}

func (p pruner) call(e *call) outcomes {
	if e.op.comparison() {
		return compareIntervals(e.op, p.interval(e.args[0]), p.interval(e.args[1]))
	}
	switch e.op {
	case opAnd:
		out := outcomes{yes: true}
		for _, a := range e.args {
			out = out.and(p.outcomes(a))
		}
		return out
	case opOr:
		out := outcomes{no: true}
		for _, a := range e.args {
			out = out.or(p.outcomes(a))
		}
		return out
	case opNot:
		return p.outcomes(e.args[0]).not()
	case opIsNull:
		v := p.interval(e.args[0])
		return outcomes{yes: v.nulls, no: v.values}
	case opIsNotNull:
		v := p.interval(e.args[0])
		return outcomes{yes: v.values, no: v.nulls}
	case opIn:
		out := outcomes{no: true}
		x := p.interval(e.args[0])
		for _, a := range e.args[1:] {
			out = out.or(compareIntervals(opEq, x, p.interval(a)))
		}
		return out
	}
	return anyOutcome
}

func (p pruner) boolean(v interval) outcomes {
	out := outcomes{yes: v.values, no: v.values}
	if hi, ok := v.hi.(bool); ok && !hi {
		out.yes = false
	}
	if lo, ok := v.lo.(bool); ok && lo {
		out.no = false
	}
	return out
}

// interval is what may lie in an operand.
type interval struct {
	lo, hi        any  // nil: unbounded. bool, int64, uint64 (only above the range of int64), float64, string, time.Time
	values, nulls bool // whether there may be rows with and without a value
	nan           bool // whether a value may be NaN
	column        bool
}

var unknown = interval{values: true, nulls: true, nan: true, column: true}

func (p pruner) interval(e Expr) interval {
	switch e := e.(type) {
	case *column:
		return p.column(e.name)
	case *literal:
		switch v := normal(e.val); v := v.(type) {
		case nil:
			if e.bad == "" {
				return interval{nulls: true}
			}
		case float64:
			if math.IsNaN(v) {
				return interval{values: true, nan: true}
			}
			return interval{lo: v, hi: v, values: true}
		default:
			return interval{lo: v, hi: v, values: true}
		}
	}
	return unknown
}

func (p pruner) column(name string) interval {
	lo, hi, nulls, rows, ok := p.stats(name)
	if !ok {
		return unknown
	}
	v := interval{lo: normal(lo), hi: normal(hi), values: true, nulls: nulls != 0, column: true}
	if rows > 0 && nulls >= rows {
		return interval{nulls: true, column: true}
	}
	_, loFloat := v.lo.(float64)
	_, hiFloat := v.hi.(float64)
	v.nan = loFloat || hiFloat || v.lo == nil && v.hi == nil
	if isNaN(v.lo) {
		v.lo = nil
	}
	if isNaN(v.hi) {
		v.hi = nil
	}
	if v.lo != nil && v.hi != nil {
		if c, ok := order(v.lo, v.hi); !ok || c > 0 {
			v.lo, v.hi = nil, nil
			v.nan = true
		}
	}
	return v
}

// normal brings a bound to the types of an interval; nil for what it doesn't know.
func normal(v any) any {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case nil:
		return nil
	case time.Time:
		if s := v.Unix(); s < -1<<60 || s > 1<<60 { // beyond that time.Time overflows: the bound may have been on the other side
			return nil
		}
		return v
	}
	if l := Lit(v).(*literal); l.bad == "" {
		return l.val
	} else if s, ok := v.(string); ok {
		return s
	}
	return nil
}

func isNaN(v any) bool {
	f, ok := v.(float64)
	return ok && math.IsNaN(f)
}

// compareIntervals finds what l op r can be. It must allow for all that Bind does with the operands before they are compared.
func compareIntervals(op opcode, l, r interval) outcomes {
	if !l.values || !r.values {
		return outcomes{} // null only
	}
	l, r, ok := meet(l, r)
	if !ok {
		return anyOutcome
	}
	less, lessOK := below(l.lo, r.hi, false, r.column)
	more, moreOK := below(r.lo, l.hi, false, l.column)
	reachL, okL := below(l.lo, r.hi, true, r.column)
	reachR, okR := below(r.lo, l.hi, true, l.column)
	if !lessOK || !moreOK || !okL || !okR {
		return anyOutcome
	}
	equal, unordered := reachL && reachR, l.nan || r.nan
	if !l.column && l.lo == nil || !r.column && r.lo == nil { // the literal NaN
		less, more, equal = false, false, false
	}
	var out outcomes
	switch op {
	case opEq:
		out.yes, out.no = equal, less || more || unordered
	case opNe:
		out.yes, out.no = less || more || unordered, equal
	case opLt:
		out.yes, out.no = less, equal || more || unordered
	case opLe:
		out.yes, out.no = less || equal, more || unordered
	case opGt:
		out.yes, out.no = more, equal || less || unordered
	case opGe:
		out.yes, out.no = more || equal, less || unordered
	}
	return out
}

// below says whether a value of an interval that begins at lo can be less than one of an interval that ends at hi; or equal to it, with orEqual.
// A nil bound is none. Strings that begin with the hi of a column count as within it, for it may have been cut short.
func below(lo, hi any, orEqual, column bool) (is, ok bool) {
	if lo == nil || hi == nil {
		return true, true
	}
	c, ok := order(lo, hi)
	if a, isText := lo.(string); ok && isText && column && strings.HasPrefix(a, hi.(string)) {
		return true, true
	}
	return c < 0 || c == 0 && orEqual, ok
}

// meet brings both sides to where Eval compares them: text to a time, a literal to a float32, an integer column to float64.
func meet(l, r interval) (interval, interval, bool) {
	lk, rk := l.kind(), r.kind()
	switch {
	case lk == 0 || rk == 0 || lk == rk && lk != 'f':
		return l, r, true
	case lk == 's' && rk == 't' && !l.column:
		l, ok := asTime(l)
		return l, r, ok
	case lk == 't' && rk == 's' && !r.column:
		r, ok := asTime(r)
		return l, r, ok
	case lk == 'f' && rk == 'f', lk == 'f' && rk == 'i', lk == 'i' && rk == 'f':
	default:
		return l, r, false
	}
	switch {
	case l.column && r.column:
		return asFloat(l), asFloat(r), true
	case lk == 'f' && l.column:
		return l, nearFloats(r), true
	case rk == 'f' && r.column:
		return nearFloats(l), r, true
	}
	return l, r, true // an integer column and a literal: by exact value
}

// kind is the sort of values that the bounds are: i, f, s, t, b; 0 if there are none.
func (v interval) kind() byte {
	b := v.lo
	if b == nil {
		b = v.hi
	}
	switch b.(type) {
	case int64, uint64:
		return 'i'
	case float64:
		return 'f'
	case string:
		return 's'
	case time.Time:
		return 't'
	case bool:
		return 'b'
	}
	return 0
}

func asTime(v interval) (interval, bool) {
	t, err := parseTime(v.lo.(string))
	v.lo, v.hi = t, t
	return v, err == nil
}

// asFloat rounds an integer column's bounds as its values are when they meet a float: rounding keeps their order.
func asFloat(v interval) interval {
	if v.lo != nil {
		v.lo = toFloat(v.lo)
	}
	if v.hi != nil {
		v.hi = toFloat(v.hi)
	}
	return v
}

// nearFloats widens a literal to all that it may become against a float column, the width of which the bounds don't tell.
func nearFloats(v interval) interval {
	if v.lo == nil {
		return v
	}
	wide, narrow := toFloat(v.lo), float64(float32Of(v.lo))
	v.lo, v.hi = math.Min(wide, narrow), math.Max(wide, narrow)
	return v
}

// order compares two bounds of one kind, numbers by exact value; none is NaN.
func order(a, b any) (int, bool) {
	switch a := a.(type) {
	case string:
		b, ok := b.(string)
		return strings.Compare(a, b), ok
	case time.Time:
		b, ok := b.(time.Time)
		return a.Compare(b), ok
	case bool:
		b, ok := b.(bool)
		if !ok || a == b {
			return 0, ok
		}
		if b {
			return -1, true
		}
		return 1, true
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b), true
		}
	case float64:
		if b, ok := b.(float64); ok {
			return cmp.Compare(a, b), true // no NaN here
		}
	}
	x, okX := exactly(a)
	y, okY := exactly(b)
	if !okX || !okY {
		return 0, false
	}
	return x.Cmp(y), true
}

func exactly(v any) (*big.Float, bool) {
	f := new(big.Float).SetPrec(64)
	switch v := v.(type) {
	case int64:
		return f.SetInt64(v), true
	case uint64:
		return f.SetUint64(v), true
	case float64:
		return f.SetFloat64(v), true
	}
	return nil, false
}
