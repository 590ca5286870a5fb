package expr

import (
	"cmp"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// cell is a constant in the representation of the values it is compared with: i for signed integers and times, u for unsigned, f for floats, s for
// strings and binary, b for bool.
type cell struct {
	i int64
	u uint64
	f float64
	s string
	b bool
}

// compareArrays compares two operands of one representation.
type compareArrays struct {
	op   opcode
	l, r node
}

func (n *compareArrays) dataType() arrow.DataType { return arrow.FixedWidthTypes.Boolean }
func (n *compareArrays) inputs() []node           { return []node{n.l, n.r} }

func (n *compareArrays) eval(f *frame) (arrow.Array, error) {
	in, err := f.evalAll(n.l, n.r)
	if err != nil {
		return nil, err
	}
	defer release(in)
	l, r := in[0], in[1]
	var vals []byte
	switch l.DataType().ID() {
	case arrow.INT8:
		vals = compareSlices(n.op, values[int8](l), values[int8](r))
	case arrow.INT16:
		vals = compareSlices(n.op, values[int16](l), values[int16](r))
	case arrow.INT32, arrow.DATE32:
		vals = compareSlices(n.op, values[int32](l), values[int32](r))
	case arrow.INT64, arrow.DATE64, arrow.TIMESTAMP:
		vals = compareSlices(n.op, values[int64](l), values[int64](r))
	case arrow.UINT8:
		vals = compareSlices(n.op, values[uint8](l), values[uint8](r))
	case arrow.UINT16:
		vals = compareSlices(n.op, values[uint16](l), values[uint16](r))
	case arrow.UINT32:
		vals = compareSlices(n.op, values[uint32](l), values[uint32](r))
	case arrow.UINT64:
		vals = compareSlices(n.op, values[uint64](l), values[uint64](r))
	case arrow.FLOAT32:
		vals = compareSlices(n.op, values[float32](l), values[float32](r))
	case arrow.FLOAT64:
		vals = compareSlices(n.op, values[float64](l), values[float64](r))
	case arrow.BOOL:
		vals = compareSlices(n.op, boolBytes(l), boolBytes(r))
	default:
		a, b := textOf(l), textOf(r)
		vals = packBits(f.rows, ordered(n.op, func(i int) int { return cmp.Compare(a.at(i), b.at(i)) }))
	}
	return newBool(f.mem, f.rows, vals, bothValid(l, r)), nil
}

// compareConst compares an operand with a constant of its representation.
type compareConst struct {
	op opcode
	x  node
	c  cell
}

func (n *compareConst) dataType() arrow.DataType { return arrow.FixedWidthTypes.Boolean }
func (n *compareConst) inputs() []node           { return []node{n.x} }

func (n *compareConst) eval(f *frame) (arrow.Array, error) {
	in, err := f.evalAll(n.x)
	if err != nil {
		return nil, err
	}
	defer release(in)
	x := in[0]
	var vals []byte
	switch x.DataType().ID() {
	case arrow.INT8:
		vals = compareTo(n.op, values[int8](x), int8(n.c.i))
	case arrow.INT16:
		vals = compareTo(n.op, values[int16](x), int16(n.c.i))
	case arrow.INT32, arrow.DATE32:
		vals = compareTo(n.op, values[int32](x), int32(n.c.i))
	case arrow.INT64, arrow.DATE64, arrow.TIMESTAMP:
		vals = compareTo(n.op, values[int64](x), n.c.i)
	case arrow.UINT8:
		vals = compareTo(n.op, values[uint8](x), uint8(n.c.u))
	case arrow.UINT16:
		vals = compareTo(n.op, values[uint16](x), uint16(n.c.u))
	case arrow.UINT32:
		vals = compareTo(n.op, values[uint32](x), uint32(n.c.u))
	case arrow.UINT64:
		vals = compareTo(n.op, values[uint64](x), n.c.u)
	case arrow.FLOAT32:
		vals = compareTo(n.op, values[float32](x), float32(n.c.f))
	case arrow.FLOAT64:
		vals = compareTo(n.op, values[float64](x), n.c.f)
	case arrow.BOOL:
		var c byte
		if n.c.b {
			c = 1
		}
		vals = compareTo(n.op, boolBytes(x), c)
	default:
		vals = compareText(n.op, textOf(x), n.c.s, f.rows)
	}
	return newBool(f.mem, f.rows, vals, validBits(x)), nil
}

func compareText(op opcode, x text, c string, rows int) []byte {
	switch op {
	case opEq:
		return packBits(rows, func(i int) bool { return x.at(i) == c })
	case opNe:
		return packBits(rows, func(i int) bool { return x.at(i) != c })
	}
	return packBits(rows, ordered(op, func(i int) int { return cmp.Compare(x.at(i), c) }))
}

// compareMixed compares int64 with uint64, by value.
type compareMixed struct {
	op   opcode
	l, r node
}

func (n *compareMixed) dataType() arrow.DataType { return arrow.FixedWidthTypes.Boolean }
func (n *compareMixed) inputs() []node           { return []node{n.l, n.r} }

func (n *compareMixed) eval(f *frame) (arrow.Array, error) {
	in, err := f.evalAll(n.l, n.r)
	if err != nil {
		return nil, err
	}
	defer release(in)
	a, b := values[int64](in[0]), values[uint64](in[1])
	vals := packBits(f.rows, ordered(n.op, func(i int) int {
		if a[i] < 0 {
			return -1
		}
		return cmp.Compare(uint64(a[i]), b[i])
	}))
	return newBool(f.mem, f.rows, vals, bothValid(in[0], in[1])), nil
}

// compareTicks compares times of two units, a tick of l being as long as ratio ticks of r: nothing overflows, nothing is rounded.
type compareTicks struct {
	op    opcode
	l, r  node
	ratio int64
}

func (n *compareTicks) dataType() arrow.DataType { return arrow.FixedWidthTypes.Boolean }
func (n *compareTicks) inputs() []node           { return []node{n.l, n.r} }

func (n *compareTicks) eval(f *frame) (arrow.Array, error) {
	in, err := f.evalAll(n.l, n.r)
	if err != nil {
		return nil, err
	}
	defer release(in)
	a, b := ticksOf(in[0]), ticksOf(in[1])
	vals := packBits(f.rows, ordered(n.op, func(i int) int {
		v := b(i)
		whole, rest := v/n.ratio, v%n.ratio
		if rest < 0 {
			whole--
		}
		if c := cmp.Compare(a(i), whole); c != 0 || rest == 0 {
			return c
		}
		return -1 // l lies at the beginning of the tick within which r lies
	}))
	return newBool(f.mem, f.rows, vals, bothValid(in[0], in[1])), nil
}

// ordered turns a three-way comparison, of values without a NaN, into the test that op makes.
func ordered(op opcode, order func(i int) int) func(i int) bool {
	switch op {
	case opEq:
		return func(i int) bool { return order(i) == 0 }
	case opNe:
		return func(i int) bool { return order(i) != 0 }
	case opLt:
		return func(i int) bool { return order(i) < 0 }
	case opLe:
		return func(i int) bool { return order(i) <= 0 }
	case opGt:
		return func(i int) bool { return order(i) > 0 }
	}
	return func(i int) bool { return order(i) >= 0 }
}

func compareSlices[T cmp.Ordered](op opcode, a, b []T) []byte {
	n := len(a)
	switch op {
	case opEq:
		return packBits(n, func(i int) bool { return a[i] == b[i] })
	case opNe:
		return packBits(n, func(i int) bool { return a[i] != b[i] })
	case opLt:
		return packBits(n, func(i int) bool { return a[i] < b[i] })
	case opLe:
		return packBits(n, func(i int) bool { return a[i] <= b[i] })
	case opGt:
		return packBits(n, func(i int) bool { return a[i] > b[i] })
	}
	return packBits(n, func(i int) bool { return a[i] >= b[i] })
}

func compareTo[T cmp.Ordered](op opcode, a []T, c T) []byte {
	n := len(a)
	switch op {
	case opEq:
		return packBits(n, func(i int) bool { return a[i] == c })
	case opNe:
		return packBits(n, func(i int) bool { return a[i] != c })
	case opLt:
		return packBits(n, func(i int) bool { return a[i] < c })
	case opLe:
		return packBits(n, func(i int) bool { return a[i] <= c })
	case opGt:
		return packBits(n, func(i int) bool { return a[i] > c })
	}
	return packBits(n, func(i int) bool { return a[i] >= c })
}

// values is the buffer of a fixed-width array as a slice of its length. What lies in null slots is arbitrary.
func values[T any](arr arrow.Array) []T {
	n := arr.Len()
	buf := arr.Data().Buffers()[1]
	if n == 0 {
		return nil
	}
	if buf == nil { // as some producers leave it where all is null
		return make([]T, n)
	}
	all := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(buf.Bytes()))), arr.Data().Offset()+n)
	return all[arr.Data().Offset():]
}

func boolBytes(arr arrow.Array) []byte {
	bits := boolBits(arr.(*array.Boolean))
	out := make([]byte, arr.Len())
	for i := range out {
		out[i] = bits[i>>3] >> (i & 7) & 1
	}
	return out
}

// text reads the values of a string or binary array in place.
type text struct {
	narrow []int32
	wide   []int64
	data   []byte
}

func textOf(arr arrow.Array) text {
	var t text
	bufs, offset, n := arr.Data().Buffers(), arr.Data().Offset(), arr.Len()
	id := arr.DataType().ID()
	wide := id == arrow.LARGE_STRING || id == arrow.LARGE_BINARY
	if bufs[2] != nil {
		t.data = bufs[2].Bytes()
	}
	switch {
	case n == 0 || bufs[1] == nil || bufs[1].Len() == 0:
		t.narrow = make([]int32, n+1)
	case wide:
		t.wide = unsafe.Slice((*int64)(unsafe.Pointer(unsafe.SliceData(bufs[1].Bytes()))), offset+n+1)[offset:]
	default:
		t.narrow = unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(bufs[1].Bytes()))), offset+n+1)[offset:]
	}
	return t
}

// at is value i, which lives as long as the array.
func (t text) at(i int) string {
	var b []byte
	if t.wide != nil {
		b = t.data[t.wide[i]:t.wide[i+1]]
	} else {
		b = t.data[t.narrow[i]:t.narrow[i+1]]
	}
	return unsafe.String(unsafe.SliceData(b), len(b))
}
