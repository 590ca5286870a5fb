package expr

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
)

var errRange = errors.New("the value is out of the type's range")

// castNode converts to another type: written as cast, or put in by promotion.
type castNode struct {
	x    node
	to   arrow.DataType
	expr Expr // nil for a promotion
}

func (n *castNode) dataType() arrow.DataType { return n.to }
func (n *castNode) inputs() []node           { return []node{n.x} }

// newCast checks that the conversion exists.
func newCast(e *castTo, x node, to arrow.DataType) (node, error) {
	if to == nil {
		return nil, fault(e, "the cast names no type")
	}
	from := x.dataType()
	fc, tc := classOf(from), classOf(to)
	scalar := func(c class) bool { return c == classBool || c.number() }
	ok := false
	switch tc {
	case classBool, classInt, classFloat:
		ok = scalar(fc) || fc == classText || tc == classInt && fc == classTime
	case classText:
		ok = fc != classOther
	case classBytes:
		ok = fc == classText || fc == classBytes
	case classTime:
		ok = fc == classTime || fc == classInt || fc == classText
	}
	switch {
	case fc == classNull && tc != classOther && tc != classNull:
		return &constNode{typ: to}, nil
	case !ok:
		return nil, fault(e, "there is no cast from %s to %s", typeName(from), typeName(to))
	}
	if k, isConst := x.(*constNode); isConst && (k.val == nil || arrow.TypeEqual(from, to)) {
		return &constNode{typ: to, val: k.val}, nil
	}
	if arrow.TypeEqual(from, to) {
		return x, nil
	}
	return &castNode{x, to, e}, nil
}

func (n *castNode) eval(f *frame) (arrow.Array, error) {
	in, err := f.evalAll(n.x)
	if err != nil {
		return nil, err
	}
	defer release(in)
	out, row, err := castArray(f, in[0], n.to)
	if err == nil {
		return out, nil
	}
	name := "conversion to " + typeName(n.to)
	if n.expr != nil {
		name = n.expr.String()
	}
	if v, e := valueAt(in[0], row); e == nil {
		err = fmt.Errorf("%v: %w", v, err)
	}
	return nil, &EvalError{Expr: name, Row: row, Err: err}
}

// castArray converts arr; on error it gives the first row that is at fault.
func castArray(f *frame, arr arrow.Array, to arrow.DataType) (arrow.Array, int, error) {
	from := arr.DataType()
	fc, tc := classOf(from), classOf(to)
	switch {
	case arrow.TypeEqual(from, to):
		arr.Retain()
		return arr, 0, nil
	case fc == classTime && tc == classTime:
		return castTimes(f, arr, to)
	case tc == classText:
		return toText(f, arr, to)
	case fc == classText && tc == classTime:
		return parseTimes(f, arr, to)
	case fc == classText && tc != classBytes:
		return parseNumbers(f, arr, to)
	case tc == classBytes:
		return copyText(f, arr, to)
	case tc == classTime:
		return castVia(f, arr, storageOf(to), to)
	case fc == classTime:
		return castVia(f, arr, storageOf(from), to)
	}
	return castNumbers(f, arr, to)
}

// castVia takes two steps, one of which may be no more than another name for the same integers.
func castVia(f *frame, arr arrow.Array, mid, to arrow.DataType) (arrow.Array, int, error) {
	step := func(arr arrow.Array, to arrow.DataType) (arrow.Array, int, error) {
		from := arr.DataType()
		fc, tc := classOf(from), classOf(to)
		if fc == classTime && arrow.TypeEqual(to, storageOf(from)) || tc == classTime && arrow.TypeEqual(from, storageOf(to)) {
			return relabel(arr, to), 0, nil
		}
		return castArray(f, arr, to)
	}
	half, row, err := step(arr, mid)
	if err != nil {
		return nil, row, err
	}
	defer half.Release()
	return step(half, to)
}

// storageOf is the integer type in which a time type counts its ticks.
func storageOf(dt arrow.DataType) arrow.DataType {
	if dt.ID() == arrow.DATE32 {
		return arrow.PrimitiveTypes.Int32
	}
	return arrow.PrimitiveTypes.Int64
}

// ticksOf is the raw counts of a time array.
func ticksOf(arr arrow.Array) func(i int) int64 {
	if arr.DataType().ID() == arrow.DATE32 {
		v := values[int32](arr)
		return func(i int) int64 { return int64(v[i]) }
	}
	v := values[int64](arr)
	return func(i int) int64 { return v[i] }
}

// buildTimes makes a time array from the ticks that at gives for the rows that aren't null.
func buildTimes(f *frame, to arrow.DataType, n int, valid []byte, at func(i int) (int64, error)) (arrow.Array, int, error) {
	narrow := to.ID() == arrow.DATE32
	buf := newBuffer(f.mem, n*to.(arrow.FixedWidthDataType).Bytes())
	for i := range n {
		if !bitSet(valid, i) {
			continue
		}
		v, err := at(i)
		if err == nil && narrow && int64(int32(v)) != v {
			err = errRange
		}
		if err != nil {
			buf.Release()
			return nil, i, err
		}
		if narrow {
			arrow.GetData[int32](buf.Bytes())[i] = int32(v)
		} else {
			arrow.GetData[int64](buf.Bytes())[i] = v
		}
	}
	return newFixed(f.mem, to, n, buf, valid), 0, nil
}

func castTimes(f *frame, arr arrow.Array, to arrow.DataType) (arrow.Array, int, error) {
	have, _ := unitOf(arr.DataType())
	want, _ := unitOf(to)
	ticks := ticksOf(arr)
	mul := signedOp(opMul)
	return buildTimes(f, to, arr.Len(), validBits(arr), func(i int) (int64, error) {
		v := ticks(i)
		if have >= want {
			v, err := mul(v, int64(have/want))
			if err != nil {
				err = errRange
			}
			return v, err
		}
		down := int64(want / have)
		q := v / down
		if v%down < 0 { // towards the earlier
			q--
		}
		return q, nil
	})
}
