package expr

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
)

// inNode is x in a set of constants of x's representation.
type inNode struct {
	x     node
	cells []cell
	null  bool // the list holds a null: what matches nothing is null, not false

	signed   set[int64]
	unsigned set[uint64]
	floats   set[float64]
	texts    set[string]
	bools    set[byte]
}

func (n *inNode) dataType() arrow.DataType { return arrow.FixedWidthTypes.Boolean }
func (n *inNode) inputs() []node           { return []node{n.x} }

// seal turns the cells, of which it looks at the field that x's representation uses, into the sets.
func (n *inNode) seal() {
	switch dt := n.x.dataType(); classOf(dt) {
	case classInt, classTime:
		if arrow.IsUnsignedInteger(dt.ID()) {
			n.unsigned = newSet(n.cells, func(c cell) uint64 { return c.u })
		} else {
			n.signed = newSet(n.cells, func(c cell) int64 { return c.i })
		}
	case classFloat:
		n.floats = newSet(n.cells, func(c cell) float64 { return c.f })
	case classBool:
		n.bools = newSet(n.cells, func(c cell) byte {
			if c.b {
				return 1
			}
			return 0
		})
	default:
		n.texts = newSet(n.cells, func(c cell) string { return c.s })
	}
	n.cells = nil
}

// set is a list while it is short, for then that is faster.
type set[T comparable] struct {
	few  []T
	many map[T]struct{}
}

func newSet[T comparable](cells []cell, value func(cell) T) set[T] {
	var s set[T]
	for _, c := range cells {
		s.few = append(s.few, value(c))
	}
	if len(s.few) > 8 {
		s.many = make(map[T]struct{}, len(s.few))
		for _, v := range s.few {
			s.many[v] = struct{}{}
		}
	}
	return s
}

func (s *set[T]) has(v T) bool {
	if s.many == nil {
		return slices.Contains(s.few, v)
	}
	_, ok := s.many[v]
	return ok
}

func (n *inNode) eval(f *frame) (arrow.Array, error) {
	in, err := f.evalAll(n.x)
	if err != nil {
		return nil, err
	}
	defer release(in)
	vals, valid := n.test(in[0]), validBits(in[0])
	if n.null { // only a match is known
		valid = combine(vals, valid, func(v, m byte) byte { return v & m })
	}
	return newBool(f.mem, f.rows, vals, valid), nil
}

func (n *inNode) test(x arrow.Array) []byte {
	switch x.DataType().ID() {
	case arrow.INT8:
		return isIn(x, func(v int8) bool { return n.signed.has(int64(v)) })
	case arrow.INT16:
		return isIn(x, func(v int16) bool { return n.signed.has(int64(v)) })
	case arrow.INT32, arrow.DATE32:
		return isIn(x, func(v int32) bool { return n.signed.has(int64(v)) })
	case arrow.INT64, arrow.DATE64, arrow.TIMESTAMP:
		return isIn(x, n.signed.has)
	case arrow.UINT8:
		return isIn(x, func(v uint8) bool { return n.unsigned.has(uint64(v)) })
	case arrow.UINT16:
		return isIn(x, func(v uint16) bool { return n.unsigned.has(uint64(v)) })
	case arrow.UINT32:
		return isIn(x, func(v uint32) bool { return n.unsigned.has(uint64(v)) })
	case arrow.UINT64:
		return isIn(x, n.unsigned.has)
	case arrow.FLOAT32:
		return isIn(x, func(v float32) bool { return n.floats.has(float64(v)) })
	case arrow.FLOAT64:
		return isIn(x, n.floats.has)
	case arrow.BOOL:
		b := boolBytes(x)
		return packBits(len(b), func(i int) bool { return n.bools.has(b[i]) })
	}
	t := textOf(x)
	return packBits(x.Len(), func(i int) bool { return n.texts.has(t.at(i)) })
}

func isIn[T any](x arrow.Array, has func(T) bool) []byte {
	v := values[T](x)
	return packBits(len(v), func(i int) bool { return has(v[i]) })
}
