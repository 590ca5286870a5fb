package expr

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Causes of an [EvalError].
var (
	ErrOverflow     = errors.New("integer overflow")
	ErrDivideByZero = errors.New("integer division by zero")
)

// An EvalError names the first row of the record for which an operation has no result.
type EvalError struct {
	Expr string // the operation
	Row  int    // of the record that was evaluated, from 0
	Err  error
}

func (e *EvalError) Error() string { return fmt.Sprintf("expr: %s: row %d: %v", e.Expr, e.Row, e.Err) }

// Unwrap gives the cause.
func (e *EvalError) Unwrap() error { return e.Err }

// Eval computes the expression for each row of rec, whose schema must be the bound one as far as the expression reads it. The caller releases the
// result: an array of rec's length and of the bound type. A lone column is not copied. Memory comes from mem (nil: Go's heap), and all but the
// result's is given back, also on error. The errors are an *[EvalError], ctx's, or a record of another schema.
func (b *Bound) Eval(ctx context.Context, rec arrow.Record, mem memory.Allocator) (arrow.Array, error) {
	if mem == nil {
		mem = memory.DefaultAllocator
	}
	for _, i := range b.reads {
		want := b.schema.Field(i)
		if i >= int(rec.NumCols()) || rec.ColumnName(i) != want.Name || !arrow.TypeEqual(rec.Column(i).DataType(), want.Type) {
			return nil, fmt.Errorf("expr: %s: the record's column %d is not the %s %s that it was bound to", b.text, i, want.Name, typeName(want.Type))
		}
	}
	return b.root.eval(&frame{ctx, rec, mem, int(rec.NumRows())})
}

// Mask evaluates a condition: the ascending indices of the rows for which it is true. Null counts as not true. The result is nil, without an allocation,
// if every row is kept (a record without rows included), and empty but not nil if none is.
func (b *Bound) Mask(ctx context.Context, rec arrow.Record, mem memory.Allocator) ([]int32, error) {
	if c := classOf(decoded(b.Type())); c != classBool && c != classNull {
		return nil, fmt.Errorf("expr: %s: a condition is needed, and this is %s", b.text, typeName(b.Type()))
	}
	if mem == nil {
		mem = memory.DefaultAllocator
	}
	arr, err := b.Eval(ctx, rec, mem)
	if err != nil {
		return nil, err
	}
	defer arr.Release()
	if dict, ok := arr.(*array.Dictionary); ok {
		plain, err := decode(dict, mem)
		if err != nil {
			return nil, fmt.Errorf("expr: %s: %w", b.text, err)
		}
		defer plain.Release()
		return trueRows(plain), nil
	}
	return trueRows(arr), nil
}

func trueRows(arr arrow.Array) []int32 {
	n := arr.Len()
	bools, ok := arr.(*array.Boolean)
	if !ok { // all null
		if n == 0 {
			return nil
		}
		return []int32{}
	}
	vals := boolBits(bools)
	if valid := validBits(arr); valid != nil {
		vals = combine(vals, valid, func(v, m byte) byte { return v & m })
	}
	kept := countBits(vals, n)
	if kept == n {
		return nil
	}
	rows := make([]int32, 0, kept)
	for i := range n {
		if vals[i>>3]>>(i&7)&1 == 1 {
			rows = append(rows, int32(i))
		}
	}
	return rows
}

// frame is one evaluation.
type frame struct {
	ctx  context.Context
	rec  arrow.Record
	mem  memory.Allocator
	rows int
}

// node is a checked and typed operation. eval gives an array of the frame's length, owned by the caller.
type node interface {
	dataType() arrow.DataType
	inputs() []node
	eval(f *frame) (arrow.Array, error)
}

// evalAll evaluates the nodes; on error none is left to release.
func (f *frame) evalAll(nodes ...node) ([]arrow.Array, error) {
	arrs := make([]arrow.Array, 0, len(nodes))
	for _, n := range nodes {
		err := f.ctx.Err()
		var arr arrow.Array
		if err == nil {
			arr, err = n.eval(f)
		}
		if err != nil {
			release(arrs)
			return nil, err
		}
		arrs = append(arrs, arr)
	}
	return arrs, nil
}

func release(arrs []arrow.Array) {
	for _, a := range arrs {
		a.Release()
	}
}

type columnNode struct {
	index  int
	typ    arrow.DataType
	decode bool
}

func (n *columnNode) dataType() arrow.DataType { return n.typ }
func (n *columnNode) inputs() []node           { return nil }

func (n *columnNode) eval(f *frame) (arrow.Array, error) {
	arr := f.rec.Column(n.index)
	if dict, ok := arr.(*array.Dictionary); ok && n.decode {
		out, err := decode(dict, f.mem)
		if err != nil {
			return nil, fmt.Errorf("expr: column %s: %w", quoteName(f.rec.ColumnName(n.index)), err)
		}
		return out, nil
	}
	arr.Retain()
	return arr, nil
}

// constNode is one value for every row.
type constNode struct {
	typ   arrow.DataType
	val   any  // nil: null; else as in a literal, whatever the width of typ
	plain bool // a literal, or computed from literals alone: it adapts to its other operand
}

func (n *constNode) dataType() arrow.DataType { return n.typ }
func (n *constNode) inputs() []node           { return nil }

func (n *constNode) value() any {
	if n == nil {
		return nil
	}
	return n.val
}

func (n *constNode) eval(f *frame) (arrow.Array, error) {
	if n.val == nil {
		return array.MakeArrayOfNull(f.mem, n.typ, f.rows), nil
	}
	return repeat(n.typ, n.val, f.rows, f.mem)
}

// knownNode is one boolean for every row whose x isn't null.
type knownNode struct {
	x   node
	val bool
}

func (n *knownNode) dataType() arrow.DataType { return arrow.FixedWidthTypes.Boolean }
func (n *knownNode) inputs() []node           { return []node{n.x} }

func (n *knownNode) eval(f *frame) (arrow.Array, error) {
	in, err := f.evalAll(n.x)
	if err != nil {
		return nil, err
	}
	defer release(in)
	vals := make([]byte, bitBytes(f.rows))
	if n.val {
		fillBits(vals, f.rows)
	}
	return newBool(f.mem, f.rows, vals, validBits(in[0])), nil
}

// nullTestNode is x is null, or is not null.
type nullTestNode struct {
	x    node
	null bool
}

func (n *nullTestNode) dataType() arrow.DataType { return arrow.FixedWidthTypes.Boolean }
func (n *nullTestNode) inputs() []node           { return []node{n.x} }

func (n *nullTestNode) eval(f *frame) (arrow.Array, error) {
	in, err := f.evalAll(n.x)
	if err != nil {
		return nil, err
	}
	defer release(in)
	vals := validBits(in[0])
	if vals == nil {
		vals = make([]byte, bitBytes(f.rows))
		fillBits(vals, f.rows)
	}
	if n.null {
		vals = combine(vals, nil, func(v, _ byte) byte { return ^v })
	}
	return newBool(f.mem, f.rows, vals, nil), nil
}

type notNode struct{ x node }

func (n *notNode) dataType() arrow.DataType { return arrow.FixedWidthTypes.Boolean }
func (n *notNode) inputs() []node           { return []node{n.x} }

func (n *notNode) eval(f *frame) (arrow.Array, error) {
	in, err := f.evalAll(n.x)
	if err != nil {
		return nil, err
	}
	defer release(in)
	vals := combine(boolBits(in[0].(*array.Boolean)), nil, func(v, _ byte) byte { return ^v })
	return newBool(f.mem, f.rows, vals, validBits(in[0])), nil
}

// logicNode is Kleene's and, or.
type logicNode struct {
	op   opcode
	args []node
}

func (n *logicNode) dataType() arrow.DataType { return arrow.FixedWidthTypes.Boolean }
func (n *logicNode) inputs() []node           { return n.args }

// eval keeps two bitmaps, what is true and what is false so far; null is neither.
func (n *logicNode) eval(f *frame) (arrow.Array, error) {
	var yes, no []byte
	for i, a := range n.args {
		in, err := f.evalAll(a)
		if err != nil {
			return nil, err
		}
		vals, valid := boolBits(in[0].(*array.Boolean)), validBits(in[0])
		t := combine(vals, valid, func(v, m byte) byte { return v & m })
		u := combine(vals, valid, func(v, m byte) byte { return ^v & m })
		release(in)
		switch {
		case i == 0:
			yes, no = t, u
		case n.op == opAnd:
			into(yes, t, func(a, b byte) byte { return a & b })
			into(no, u, func(a, b byte) byte { return a | b })
		default:
			into(yes, t, func(a, b byte) byte { return a | b })
			into(no, u, func(a, b byte) byte { return a & b })
		}
	}
	return newBool(f.mem, f.rows, yes, combine(yes, no, func(a, b byte) byte { return a | b })), nil
}
