package expr

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
)

// Expr is an expression: immutable plain data, made by the functions of this package and by [Parse]. Two expressions are the same if their String
// is. It marshals as its text; [Text] reads it back.
type Expr interface {
	// String gives the text that Parse reads back as the same expression. Only what Bind would refuse (an unsupported literal, a nil operand) has
	// no such text.
	String() string
	// MarshalText is String, or an error where Parse could not read it back.
	MarshalText() ([]byte, error)

	operands() []Expr
	with(operands []Expr) Expr // a copy with other operands, as many
	precedence() int
}

type (
	column  struct{ name string }
	literal struct {
		val any    // nil, bool, int64, uint64 (only above the range of int64), float64, string, []byte, time.Time in UTC
		bad string // why the value can't be a literal; empty if it can
	}
	call struct {
		op   opcode
		args []Expr
	}
	castTo struct {
		x  Expr
		to arrow.DataType
	}
)

type opcode uint8

const (
	opAdd opcode = iota
	opSub
	opMul
	opDiv
	opEq
	opNe
	opLt
	opLe
	opGt
	opGe
	opAnd
	opOr
	opNot
	opIsNull
	opIsNotNull
	opIn // args[0] in args[1:], which are literals
	opLength
)

func (op opcode) arithmetic() bool { return op <= opDiv }
func (op opcode) comparison() bool { return op >= opEq && op <= opGe }

// flip is the comparison with its operands exchanged.
func (op opcode) flip() opcode {
	switch op {
	case opLt:
		return opGt
	case opLe:
		return opGe
	case opGt:
		return opLt
	case opGe:
		return opLe
	}
	return op
}

func (e *column) operands() []Expr  { return nil }
func (e *literal) operands() []Expr { return nil }
func (e *call) operands() []Expr    { return e.args }
func (e *castTo) operands() []Expr  { return []Expr{e.x} }

func (e *column) with([]Expr) Expr    { return e }
func (e *literal) with([]Expr) Expr   { return e }
func (e *call) with(args []Expr) Expr { return &call{e.op, args} }
func (e *castTo) with(x []Expr) Expr  { return &castTo{x[0], e.to} }

// Col is the column of that name.
func Col(name string) Expr { return &column{name} }

// Lit is a constant: nil (null), a bool, any int, uint or float, a string, []byte (copied) or time.Time. A type defined on one of these counts as
// it. Any other value, a string that isn't UTF-8 and a time outside the years 0 to 9999 are reported by Bind.
func Lit(v any) Expr {
	switch v := v.(type) {
	case nil:
		return &literal{}
	case []byte:
		return &literal{val: append([]byte{}, v...)}
	case time.Time:
		t := v.Round(0).UTC()
		if y := t.Year(); y < 0 || y > 9999 {
			return &literal{bad: "a time outside the years 0 to 9999"}
		}
		return &literal{val: t}
	}
	switch r := reflect.ValueOf(v); {
	case r.Kind() == reflect.Bool:
		return &literal{val: r.Bool()}
	case r.CanInt():
		return &literal{val: r.Int()}
	case r.CanUint():
		return &literal{val: shrink(r.Uint())}
	case r.CanFloat():
		return &literal{val: r.Float()}
	case r.Kind() == reflect.String:
		if !utf8.ValidString(r.String()) {
			return &literal{bad: "a string that isn't UTF-8 (use []byte)"}
		}
		return &literal{val: r.String()}
	}
	return &literal{bad: fmt.Sprintf("a value of type %T", v)}
}

func shrink(u uint64) any {
	if u <= math.MaxInt64 {
		return int64(u)
	}
	return u
}

func newCall(op opcode, args ...Expr) Expr {
	for i, a := range args {
		if a == nil {
			args[i] = &literal{bad: "a nil expression"}
		}
	}
	return &call{op, args}
}

// Add, Sub, Mul and Div are a + b, a - b, a * b, a / b over numbers.
func Add(a, b Expr) Expr { return newCall(opAdd, a, b) }

// Sub is a - b; see [Add].
func Sub(a, b Expr) Expr { return newCall(opSub, a, b) }

// Mul is a * b; see [Add].
func Mul(a, b Expr) Expr { return newCall(opMul, a, b) }

// Div is a / b; see [Add]. Among integers it truncates, and a zero divisor is an error.
func Div(a, b Expr) Expr { return newCall(opDiv, a, b) }

// Eq, Ne, Lt, Le, Gt and Ge compare: null where either side is.
func Eq(a, b Expr) Expr { return newCall(opEq, a, b) }

// Ne is a != b; see [Eq].
func Ne(a, b Expr) Expr { return newCall(opNe, a, b) }

// Lt is a < b; see [Eq].
func Lt(a, b Expr) Expr { return newCall(opLt, a, b) }

// Le is a <= b; see [Eq].
func Le(a, b Expr) Expr { return newCall(opLe, a, b) }

// Gt is a > b; see [Eq].
func Gt(a, b Expr) Expr { return newCall(opGt, a, b) }

// Ge is a >= b; see [Eq].
func Ge(a, b Expr) Expr { return newCall(opGe, a, b) }

// And is true where every x is (Kleene). Nil operands are left out, nested Ands are made flat, And() is true and And(x) is x.
func And(xs ...Expr) Expr {
	if xs = flatten(opAnd, xs); len(xs) == 0 {
		return Lit(true)
	} else if len(xs) == 1 {
		return xs[0]
	}
	return &call{opAnd, xs}
}

// Or is true where any x is (Kleene). Nil operands are left out, nested Ors are made flat, Or() is false and Or(x) is x.
func Or(xs ...Expr) Expr {
	if xs = flatten(opOr, xs); len(xs) == 0 {
		return Lit(false)
	} else if len(xs) == 1 {
		return xs[0]
	}
	return &call{opOr, xs}
}

func flatten(op opcode, xs []Expr) []Expr {
	var out []Expr
	for _, x := range xs {
		if c, ok := x.(*call); ok && c.op == op {
			out = append(out, c.args...)
		} else if x != nil {
			out = append(out, x)
		}
	}
	return out
}

// Not is true where x is false, and null where x is null.
func Not(x Expr) Expr { return newCall(opNot, x) }

// IsNull is true where x is null, else false; x may be of any type.
func IsNull(x Expr) Expr { return newCall(opIsNull, x) }

// IsNotNull is the opposite of [IsNull].
func IsNotNull(x Expr) Expr { return newCall(opIsNotNull, x) }

// In is true where x equals one of the values (each as for [Lit]). Where none does it is null if one of vals is nil, else false.
func In(x Expr, vals ...any) Expr {
	args := []Expr{x}
	for _, v := range vals {
		args = append(args, Lit(v))
	}
	return newCall(opIn, args...)
}

// Cast converts x; the package comment says how.
func Cast(x Expr, to arrow.DataType) Expr {
	if x == nil {
		x = &literal{bad: "a nil expression"}
	}
	return &castTo{x, to}
}

// Length is the number of characters (Unicode code points) of a string, of bytes of a binary value, of items of a list or map: an int64.
func Length(x Expr) Expr { return newCall(opLength, x) }

// Columns names the distinct columns that e reads, in order of first use; none for nil.
func Columns(e Expr) []string {
	var names []string
	seen := map[string]bool{}
	var walk func(Expr)
	walk = func(e Expr) {
		if c, ok := e.(*column); ok && !seen[c.name] {
			seen[c.name] = true
			names = append(names, c.name)
		}
		for _, a := range e.operands() {
			walk(a)
		}
	}
	if e != nil {
		walk(e)
	}
	return names
}

// MapColumns replaces each column of e by what f gives for its name; nil from f keeps it. It carries a filter past a rename or a computed column.
func MapColumns(e Expr, f func(name string) Expr) Expr {
	if e == nil {
		return nil
	}
	if c, ok := e.(*column); ok {
		if to := f(c.name); to != nil {
			return to
		}
		return e
	}
	args := slices.Clone(e.operands())
	for i := range args {
		args[i] = MapColumns(args[i], f)
	}
	if c, ok := e.(*call); ok && (c.op == opAnd || c.op == opOr) {
		return &call{c.op, flatten(c.op, args)}
	}
	return e.with(args)
}

// Conjuncts splits e at its top-level ands: e is true where each of them is. None for nil.
func Conjuncts(e Expr) []Expr {
	if e == nil {
		return nil
	}
	if c, ok := e.(*call); ok && c.op == opAnd {
		return slices.Clone(c.args)
	}
	return []Expr{e}
}

// AndAll joins what [Conjuncts] split: nil operands are left out, and nothing joined is nil, which stands for no condition.
func AndAll(xs ...Expr) Expr {
	if xs = flatten(opAnd, xs); len(xs) == 0 {
		return nil
	}
	return And(xs...)
}
