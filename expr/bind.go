package expr

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// A BindError says why an expression doesn't fit a schema.
type BindError struct {
	Expr    string // the part that is at fault
	Column  string // the column that the schema lacks (or has twice); empty for other faults
	Nearest string // the schema's column that is most like it, if any is
	Msg     string
}

func (e *BindError) Error() string { return "expr: " + e.Expr + ": " + e.Msg }

// Bound is an expression checked and typed against a schema. It is immutable: any number of goroutines may evaluate it at once.
type Bound struct {
	text   string
	root   node
	schema *arrow.Schema
	reads  []int // the columns that evaluation looks at
}

// Bind checks e against the schema. Every error is a *[BindError]; parts made of constants alone are evaluated here, so 1 / 0 is one too.
func Bind(e Expr, schema *arrow.Schema) (*Bound, error) {
	if e == nil {
		return nil, &BindError{Expr: "<nil>", Msg: "there is no expression"}
	}
	b := &binder{schema: schema}
	if c, ok := e.(*column); ok { // passed through as it is: of any type, a dictionary not decoded
		i, err := b.lookup(c)
		if err != nil {
			return nil, err
		}
		return &Bound{e.String(), &columnNode{i, schema.Field(i).Type, false}, schema, []int{i}}, nil
	}
	root, err := b.bind(e)
	if err != nil {
		return nil, err
	}
	return &Bound{text: e.String(), root: root, schema: schema, reads: b.reads}, nil
}

// Type is the type of what Eval gives.
func (b *Bound) Type() arrow.DataType { return b.root.dataType() }

// String is the text of the expression that was bound.
func (b *Bound) String() string { return b.text }

type binder struct {
	schema *arrow.Schema
	reads  []int
}

func fault(e Expr, format string, args ...any) error {
	return &BindError{Expr: e.String(), Msg: fmt.Sprintf(format, args...)}
}

func (b *binder) lookup(c *column) (int, error) {
	switch found := b.schema.FieldIndices(c.name); len(found) {
	case 1:
		return found[0], nil
	case 0:
		names := make([]string, b.schema.NumFields())
		for i, f := range b.schema.Fields() {
			names[i] = f.Name
		}
		err := &BindError{Expr: c.String(), Column: c.name, Nearest: nearest(c.name, names)}
		err.Msg = "no such column"
		if err.Nearest != "" {
			err.Msg += fmt.Sprintf("; did you mean %s?", quoteName(err.Nearest))
		}
		err.Msg += fmt.Sprintf(" (columns: %s)", shorten(strings.Join(names, ", "), 300))
		return 0, err
	default:
		return 0, &BindError{Expr: c.String(), Column: c.name, Msg: fmt.Sprintf("%d columns have this name", len(found))}
	}
}

func (b *binder) bind(e Expr) (node, error) {
	switch e := e.(type) {
	case *column:
		i, err := b.lookup(e)
		if err != nil {
			return nil, err
		}
		b.reads = append(b.reads, i)
		dt := b.schema.Field(i).Type
		if vals := decoded(dt); classOf(vals) != classOther { // a dictionary of others stays one, for it can be tested for null alone
			return &columnNode{i, vals, true}, nil
		}
		return &columnNode{i, dt, false}, nil
	case *literal:
		return bindLiteral(e)
	case *castTo:
		x, err := b.bind(e.x)
		if err != nil {
			return nil, err
		}
		n, err := newCast(e, x, e.to)
		return fold(e, n, err, false)
	}
	c := e.(*call)
	args := make([]node, len(c.args))
	plain := true // built of literals alone: still adapts like one
	for i, a := range c.args {
		n, err := b.bind(a)
		if err != nil {
			return nil, err
		}
		args[i] = n
		k, ok := n.(*constNode)
		plain = plain && ok && k.plain
	}
	n, err := bindCall(c, args)
	return fold(e, n, err, plain)
}

func bindCall(c *call, args []node) (node, error) {
	switch {
	case c.op.arithmetic():
		return bindArith(c, args[0], args[1])
	case c.op.comparison():
		return bindCompare(c, c.op, args[0], args[1])
	}
	switch c.op {
	case opIsNull, opIsNotNull:
		return &nullTestNode{args[0], c.op == opIsNull}, nil
	case opIn:
		return bindIn(c, args[0], args[1:])
	case opLength:
		return bindLength(c, args[0])
	}
	for i, a := range args {
		switch classOf(a.dataType()) {
		case classBool:
		case classNull:
			args[i] = &constNode{typ: arrow.FixedWidthTypes.Boolean}
		default:
			return nil, fault(c, "%s needs a condition, and %s is %s", c.op, c.args[i], typeName(a.dataType()))
		}
	}
	if c.op == opNot {
		return &notNode{args[0]}, nil
	}
	return &logicNode{c.op, args}, nil
}

func bindLiteral(e *literal) (node, error) {
	if e.bad != "" {
		return nil, &BindError{Expr: e.String(), Msg: e.bad + " can't be a literal"}
	}
	n := &constNode{val: e.val, plain: true}
	switch v := e.val.(type) {
	case nil:
		n.typ = arrow.Null
	case bool:
		n.typ = arrow.FixedWidthTypes.Boolean
	case int64:
		n.typ = arrow.PrimitiveTypes.Int64
	case uint64:
		n.typ = arrow.PrimitiveTypes.Uint64
	case float64:
		n.typ = arrow.PrimitiveTypes.Float64
	case string:
		n.typ = arrow.BinaryTypes.String
	case []byte:
		n.typ = arrow.BinaryTypes.Binary
	case time.Time:
		unit := arrow.Microsecond
		if v.Nanosecond()%1000 != 0 {
			unit = arrow.Nanosecond
			if v.Before(time.Unix(0, math.MinInt64)) || v.After(time.Unix(0, math.MaxInt64)) {
				return nil, fault(e, "a time with nanoseconds lies between the years 1678 and 2261")
			}
		}
		n.typ = &arrow.TimestampType{Unit: unit, TimeZone: "UTC"}
	}
	return n, nil
}

// fold evaluates what is built of constants alone, once.
func fold(e Expr, n node, err error, plain bool) (node, error) {
	if err != nil {
		return nil, err
	}
	if len(n.inputs()) == 0 {
		return n, nil
	}
	for _, in := range n.inputs() {
		if _, ok := in.(*constNode); !ok {
			return n, nil
		}
	}
	arr, err := n.eval(&frame{ctx: context.Background(), mem: memory.DefaultAllocator, rows: 1})
	if err != nil {
		if ee, ok := err.(*EvalError); ok {
			err = ee.Err
		}
		return nil, fault(e, "%v", err)
	}
	defer arr.Release()
	v, err := valueAt(arr, 0)
	if err != nil {
		return nil, fault(e, "%v", err)
	}
	return &constNode{n.dataType(), v, plain}, nil
}

func bindLength(c *call, x node) (node, error) {
	dt := x.dataType()
	switch dt.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.BINARY, arrow.LARGE_BINARY,
		arrow.LIST, arrow.LARGE_LIST, arrow.LIST_VIEW, arrow.LARGE_LIST_VIEW, arrow.FIXED_SIZE_LIST, arrow.MAP:
		return &lengthNode{x}, nil
	case arrow.NULL:
		return &constNode{typ: arrow.PrimitiveTypes.Int64}, nil
	}
	return nil, fault(c, "length needs a string, binary, list or map, and %s is %s", c.args[0], typeName(dt))
}

// bindArith chooses the type that the operation is computed in: see Promotion in the package comment.
func bindArith(c *call, l, r node) (node, error) {
	for i, n := range []node{l, r} {
		if cl := classOf(n.dataType()); !cl.number() && cl != classNull {
			return nil, fault(c, "%s needs numbers, and %s is %s", c.op, c.args[i], typeName(n.dataType()))
		}
	}
	dt := arithType(l, r)
	for i, n := range []node{l, r} {
		if k, ok := n.(*constNode); ok && k.val != nil {
			if _, ok := convertConst(k.val, dt); !ok {
				return nil, fault(c, "%s is out of the range of %s, in which this is computed", c.args[i], typeName(dt))
			}
		}
	}
	plain := isPlain(l) && isPlain(r)
	if dt.ID() == arrow.NULL {
		return &constNode{typ: dt, plain: plain}, nil
	}
	l, r = promote(l, dt), promote(r, dt)
	if isNull(l) || isNull(r) {
		return &constNode{typ: dt, plain: plain}, nil
	}
	return &arithNode{c.op, dt, l, r, c}, nil
}

func isNull(n node) bool {
	k, ok := n.(*constNode)
	return ok && k.val == nil
}

func arithType(l, r node) arrow.DataType {
	lt, rt := l.dataType(), r.dataType()
	lc, rc := classOf(lt), classOf(rt)
	switch {
	case lc == classNull && rc == classNull:
		return arrow.Null
	case lc == classFloat || rc == classFloat:
		if small(l, rc) && small(r, lc) && !(isPlain(l) && isPlain(r)) {
			return arrow.PrimitiveTypes.Float32
		}
		return arrow.PrimitiveTypes.Float64
	case unsigned(l) && unsigned(r) && (lt.ID() == arrow.UINT64 || rt.ID() == arrow.UINT64):
		return arrow.PrimitiveTypes.Uint64
	}
	return arrow.PrimitiveTypes.Int64
}

// small says whether n lets a float computation be one of float32, the other side being of class other.
func small(n node, other class) bool {
	id := n.dataType().ID()
	return id == arrow.FLOAT16 || id == arrow.FLOAT32 || id == arrow.NULL || isPlain(n) && other == classFloat && fitsFloat32(n.(*constNode).val)
}

// fitsFloat32 says whether a number stays finite as a float32, if it is.
func fitsFloat32(v any) bool {
	return v == nil || math.IsInf(toFloat(v), 0) || !math.IsInf(float64(float32Of(v)), 0)
}

func isPlain(n node) bool {
	k, ok := n.(*constNode)
	return ok && k.plain
}

// unsigned says whether n lets an integer computation be one of uint64.
func unsigned(n node) bool {
	if k, ok := n.(*constNode); ok && k.plain {
		i, signed := k.val.(int64)
		return !signed || i >= 0
	}
	id := n.dataType().ID()
	return arrow.IsUnsignedInteger(id) || id == arrow.NULL
}

// promote makes n compute in dt: a wider number, or int64 from uint64, where a value that doesn't fit is an error.
func promote(n node, dt arrow.DataType) node {
	if arrow.TypeEqual(n.dataType(), dt) {
		return n
	}
	if k, ok := n.(*constNode); ok {
		if k.val == nil {
			return &constNode{dt, nil, k.plain}
		}
		if v, ok := convertConst(k.val, dt); ok {
			return &constNode{dt, v, k.plain}
		}
	}
	return &castNode{x: n, to: dt}
}

// convertConst gives a number in the representation of dt: int64, uint64 or float64; not ok if it doesn't fit. A float32 is kept as the float64 it equals.
func convertConst(v any, dt arrow.DataType) (any, bool) {
	switch dt.ID() {
	case arrow.FLOAT64:
		return toFloat(v), true
	case arrow.FLOAT32:
		return float64(float32Of(v)), true
	case arrow.INT64:
		i, ok := v.(int64)
		return i, ok
	case arrow.UINT64:
		switch v := v.(type) {
		case uint64:
			return v, true
		case int64:
			return uint64(v), v >= 0
		}
	}
	return nil, false
}

func toFloat(v any) float64 {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case uint64:
		return float64(v)
	}
	return v.(float64)
}

func float32Of(v any) float32 {
	switch v := v.(type) {
	case int64:
		return float32(v)
	case uint64:
		return float32(v)
	}
	return float32(v.(float64))
}
