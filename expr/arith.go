package expr

import (
	"math/bits"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// arithNode computes over two operands of its own type: int64, uint64, float32 or float64.
type arithNode struct {
	op   opcode
	typ  arrow.DataType
	l, r node
	expr Expr // for errors
}

func (n *arithNode) dataType() arrow.DataType { return n.typ }
func (n *arithNode) inputs() []node           { return []node{n.l, n.r} }

func (n *arithNode) eval(f *frame) (arrow.Array, error) {
	in, err := f.evalAll(n.l, n.r)
	if err != nil {
		return nil, err
	}
	defer release(in)
	l, r := in[0], in[1]
	valid := bothValid(l, r)
	out := newBuffer(f.mem, f.rows*n.typ.(arrow.FixedWidthDataType).Bytes())
	row := -1
	switch n.typ.ID() {
	case arrow.FLOAT32:
		floats(n.op, values[float32](l), values[float32](r), arrow.GetData[float32](out.Bytes()))
	case arrow.FLOAT64:
		floats(n.op, values[float64](l), values[float64](r), arrow.GetData[float64](out.Bytes()))
	case arrow.INT64:
		row, err = integers(signedOp(n.op), values[int64](l), values[int64](r), arrow.GetData[int64](out.Bytes()), valid)
	case arrow.UINT64:
		row, err = integers(unsignedOp(n.op), values[uint64](l), values[uint64](r), arrow.GetData[uint64](out.Bytes()), valid)
	}
	if err != nil {
		out.Release()
		return nil, &EvalError{Expr: n.expr.String(), Row: row, Err: err}
	}
	return newFixed(f.mem, n.typ, f.rows, out, valid), nil
}

func floats[T float32 | float64](op opcode, a, b, out []T) {
	switch op {
	case opAdd:
		for i := range out {
			out[i] = a[i] + b[i]
		}
	case opSub:
		for i := range out {
			out[i] = a[i] - b[i]
		}
	case opMul:
		for i := range out {
			out[i] = a[i] * b[i]
		}
	case opDiv:
		for i := range out {
			out[i] = a[i] / b[i]
		}
	}
}

func integers[T int64 | uint64](op func(a, b T) (T, error), a, b, out []T, valid []byte) (int, error) {
	for i := range out {
		v, err := op(a[i], b[i])
		if err == nil {
			out[i] = v
		} else if bitSet(valid, i) {
			return i, err
		}
	}
	return -1, nil
}

func signedOp(op opcode) func(a, b int64) (int64, error) {
	switch op {
	case opAdd:
		return func(a, b int64) (int64, error) {
			c := a + b
			if (a^c)&(b^c) < 0 { // both operands have the other sign
				return 0, ErrOverflow
			}
			return c, nil
		}
	case opSub:
		return func(a, b int64) (int64, error) {
			c := a - b
			if (a^b)&(a^c) < 0 {
				return 0, ErrOverflow
			}
			return c, nil
		}
	case opMul:
		return func(a, b int64) (int64, error) {
			c := a * b
			if a != 0 && (c/a != b || a == -1 && b == c && b < 0) { // the latter: the lowest int64 has no opposite
				return 0, ErrOverflow
			}
			return c, nil
		}
	}
	return func(a, b int64) (int64, error) {
		switch {
		case b == 0:
			return 0, ErrDivideByZero
		case b == -1 && a < 0 && a == -a:
			return 0, ErrOverflow
		}
		return a / b, nil
	}
}

func unsignedOp(op opcode) func(a, b uint64) (uint64, error) {
	switch op {
	case opAdd:
		return func(a, b uint64) (uint64, error) {
			c, carry := bits.Add64(a, b, 0)
			return checked(c, carry)
		}
	case opSub:
		return func(a, b uint64) (uint64, error) {
			c, borrow := bits.Sub64(a, b, 0)
			return checked(c, borrow)
		}
	case opMul:
		return func(a, b uint64) (uint64, error) {
			high, c := bits.Mul64(a, b)
			return checked(c, high)
		}
	}
	return func(a, b uint64) (uint64, error) {
		if b == 0 {
			return 0, ErrDivideByZero
		}
		return a / b, nil
	}
}

func checked(v, rest uint64) (uint64, error) {
	if rest != 0 {
		return 0, ErrOverflow
	}
	return v, nil
}

// lengthNode is the length of strings (in code points), binary values (in bytes), lists and maps (in items).
type lengthNode struct{ x node }

func (n *lengthNode) dataType() arrow.DataType { return arrow.PrimitiveTypes.Int64 }
func (n *lengthNode) inputs() []node           { return []node{n.x} }

func (n *lengthNode) eval(f *frame) (arrow.Array, error) {
	in, err := f.evalAll(n.x)
	if err != nil {
		return nil, err
	}
	defer release(in)
	valid := validBits(in[0])
	buf := newBuffer(f.mem, 8*f.rows)
	out := arrow.GetData[int64](buf.Bytes())
	length := lengthOf(in[0])
	for i := range out {
		if bitSet(valid, i) {
			out[i] = int64(length(i))
		}
	}
	return newFixed(f.mem, n.dataType(), f.rows, buf, valid), nil
}

func lengthOf(arr arrow.Array) func(i int) int {
	switch arr := arr.(type) {
	case *array.String, *array.LargeString:
		t := textOf(arr)
		return func(i int) int { return utf8.RuneCountInString(t.at(i)) }
	case array.ListLike:
		return func(i int) int {
			from, to := arr.ValueOffsets(i)
			return int(to - from)
		}
	}
	t := textOf(arr)
	return func(i int) int { return len(t.at(i)) }
}
