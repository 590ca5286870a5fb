package expr

import (
	"math"
	"math/big"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
)

// bindCompare types l op r: see Literals and Promotion in the package comment.
func bindCompare(c *call, op opcode, l, r node) (node, error) {
	lc, rc := classOf(l.dataType()), classOf(r.dataType())
	if lc == classNull || rc == classNull || isNull(l) || isNull(r) {
		return &constNode{typ: arrow.FixedWidthTypes.Boolean}, nil
	}
	for i, n := range []node{l, r} {
		if classOf(n.dataType()) == classOther {
			return nil, fault(c, "%s is %s, which can be tested for null but not compared", c.args[i], typeName(n.dataType()))
		}
	}
	n, ok := compareNode(op, l, r)
	if !ok {
		return nil, fault(c, "can't compare %s (%s) with %s (%s)%s", c.args[0], typeName(l.dataType()), c.args[1], typeName(r.dataType()), hint(l, r))
	}
	return n, nil
}

func hint(l, r node) string {
	lc, rc := classOf(l.dataType()), classOf(r.dataType())
	k, ok := r.(*constNode)
	if !ok {
		k, ok = l.(*constNode)
	}
	if s, text := k.value().(string); ok && text && (lc == classTime || rc == classTime) {
		if _, err := parseTime(s); err != nil {
			return ": " + err.Error()
		}
	}
	if lc == classTime && rc == classTime {
		return ": one has a time zone, the other none"
	}
	return "; cast one of them"
}

func compareNode(op opcode, l, r node) (node, bool) {
	stringToTime := classOf(l.dataType()) == classText && classOf(r.dataType()) == classTime
	if isPlain(r) && !(isPlain(l) && stringToTime) {
		return compareLiteral(op, l, r.(*constNode))
	}
	if isPlain(l) {
		return compareLiteral(op.flip(), r, l.(*constNode))
	}
	lt, rt := l.dataType(), r.dataType()
	switch lc, rc := classOf(lt), classOf(rt); {
	case lc == classInt && rc == classInt:
		return compareInts(op, l, r), true
	case lc.number() && rc.number():
		dt := arrow.DataType(arrow.PrimitiveTypes.Float64)
		if lc == rc && lt.ID() != arrow.FLOAT64 && rt.ID() != arrow.FLOAT64 {
			dt = arrow.PrimitiveTypes.Float32
		}
		return &compareArrays{op, promote(l, dt), promote(r, dt)}, true
	case lc != rc:
		return nil, false
	case lc == classTime:
		return compareTimes(op, l, r)
	}
	return &compareArrays{op, l, r}, true
}

func compareInts(op opcode, l, r node) node {
	lt, rt := l.dataType(), r.dataType()
	if lt.ID() == rt.ID() {
		return &compareArrays{op, l, r}
	}
	lu, ru := lt.ID() == arrow.UINT64, rt.ID() == arrow.UINT64
	switch {
	case !lu && !ru:
		return &compareArrays{op, promote(l, arrow.PrimitiveTypes.Int64), promote(r, arrow.PrimitiveTypes.Int64)}
	case arrow.IsUnsignedInteger(lt.ID()) && arrow.IsUnsignedInteger(rt.ID()):
		return &compareArrays{op, promote(l, arrow.PrimitiveTypes.Uint64), promote(r, arrow.PrimitiveTypes.Uint64)}
	case lu:
		op, l, r = op.flip(), r, l
	}
	return &compareMixed{op, promote(l, arrow.PrimitiveTypes.Int64), r}
}

func compareTimes(op opcode, l, r node) (node, bool) {
	lt, rt := l.dataType(), r.dataType()
	lTick, lZoned := unitOf(lt)
	rTick, rZoned := unitOf(rt)
	if lZoned != rZoned {
		return nil, false
	}
	switch {
	case lTick > rTick:
		return &compareTicks{op, l, r, int64(lTick / rTick)}, true
	case lTick < rTick:
		return &compareTicks{op.flip(), r, l, int64(rTick / lTick)}, true
	}
	return &compareArrays{op, l, r}, true
}

// compareLiteral compares x with a literal that isn't null.
func compareLiteral(op opcode, x node, k *constNode) (node, bool) {
	dt := x.dataType()
	switch xc, kc := classOf(dt), classOf(k.typ); {
	case xc == classInt && kc.number(), xc == classTime && (kc == classTime || kc == classText):
		v, ok := exactValue(k.val, dt)
		if !ok {
			return nil, false
		}
		return compareExact(op, x, v), true
	case xc == classFloat && kc.number():
		if dt.ID() == arrow.FLOAT64 || !fitsFloat32(k.val) {
			return &compareConst{op, promote(x, arrow.PrimitiveTypes.Float64), cell{f: toFloat(k.val)}}, true
		}
		return &compareConst{op, promote(x, arrow.PrimitiveTypes.Float32), cell{f: float64(float32Of(k.val))}}, true
	case xc == classBool && kc == classBool:
		return &compareConst{op, x, cell{b: k.val.(bool)}}, true
	default:
		s, ok := bytesLiteral(xc, k.val)
		return &compareConst{op, x, cell{s: s}}, ok
	}
}

// bytesLiteral is what a literal is among values of a class of strings: text stands for its bytes in binary, but not the other way.
func bytesLiteral(c class, v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, c == classText || c == classBytes
	case []byte:
		return string(v), c == classBytes
	}
	return "", false
}

// exact is where a literal lies among the values of an integer-like type.
type exact struct {
	where place
	floor cell // the value, or the next below it
}

type place uint8

const (
	onValue place = iota
	betweenValues
	belowAll
	aboveAll
	notANumber
)

// exactValue places a number among the integers of dt, or a time (or its text) among its ticks. Not ok if the text isn't a time.
func exactValue(v any, dt arrow.DataType) (exact, bool) {
	ticks := new(big.Rat)
	switch v := v.(type) {
	case int64:
		ticks.SetInt64(v)
	case uint64:
		ticks.SetInt(new(big.Int).SetUint64(v))
	case float64:
		switch {
		case math.IsNaN(v):
			return exact{where: notANumber}, true
		case math.IsInf(v, -1):
			return exact{where: belowAll}, true
		case math.IsInf(v, 1):
			return exact{where: aboveAll}, true
		}
		ticks.SetFloat64(v)
	case string:
		t, err := parseTime(v)
		if err != nil {
			return exact{}, false
		}
		return exactValue(t, dt)
	case time.Time:
		nanos := new(big.Int).Mul(big.NewInt(v.Unix()), big.NewInt(int64(time.Second)))
		nanos.Add(nanos, big.NewInt(int64(v.Nanosecond())))
		tick, _ := unitOf(dt)
		ticks.SetFrac(nanos, big.NewInt(int64(tick)))
	}
	floor, rest := new(big.Int).DivMod(ticks.Num(), ticks.Denom(), new(big.Int))
	e := exact{where: betweenValues}
	if rest.Sign() == 0 {
		e.where = onValue
	}
	lo, hi := integerRange(dt)
	switch {
	case floor.Cmp(lo) < 0:
		e.where = belowAll
	case ticks.Cmp(new(big.Rat).SetInt(hi)) > 0:
		e.where = aboveAll
	case floor.IsInt64():
		e.floor = cell{i: floor.Int64(), u: floor.Uint64()}
	default:
		e.floor = cell{u: floor.Uint64()}
	}
	return e, true
}

func integerRange(dt arrow.DataType) (lo, hi *big.Int) {
	bits := uint(dt.(arrow.FixedWidthDataType).BitWidth())
	one := big.NewInt(1)
	if arrow.IsUnsignedInteger(dt.ID()) {
		return new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(one, bits), one)
	}
	half := new(big.Int).Lsh(one, bits-1)
	return new(big.Int).Neg(half), new(big.Int).Sub(half, one)
}

func compareExact(op opcode, x node, v exact) node {
	switch v.where {
	case notANumber:
		return &knownNode{x, op == opNe}
	case belowAll:
		return &knownNode{x, op == opGt || op == opGe || op == opNe}
	case aboveAll:
		return &knownNode{x, op == opLt || op == opLe || op == opNe}
	case betweenValues:
		switch op {
		case opEq, opNe:
			return &knownNode{x, op == opNe}
		case opLt:
			op = opLe
		case opGe:
			op = opGt
		}
	}
	return &compareConst{op, x, v.floor}
}

// bindIn collects the values that can match, each adapted as a comparison would.
func bindIn(c *call, x node, vals []node) (node, error) {
	dt := x.dataType()
	cl := classOf(dt)
	switch {
	case cl == classOther:
		return nil, fault(c, "in is not defined for %s, which is %s", c.args[0], typeName(dt))
	case len(vals) == 0:
		return &constNode{typ: arrow.FixedWidthTypes.Boolean, val: false}, nil
	case cl == classNull:
		return &constNode{typ: arrow.FixedWidthTypes.Boolean}, nil
	}
	if dt.ID() == arrow.FLOAT16 {
		dt = arrow.PrimitiveTypes.Float32
		x = promote(x, dt)
	}
	in := &inNode{x: x}
	for i, v := range vals {
		val := v.(*constNode).val
		if val == nil {
			in.null = true
		} else if !in.add(cl, dt, val) {
			return nil, fault(c, "%s (%s) is never equal to %s (%s)%s", c.args[0], typeName(dt), c.args[i+1], typeName(v.dataType()), hint(x, v))
		}
	}
	in.seal()
	return in, nil
}

// add enters a literal into the set; not ok if its type doesn't fit.
func (n *inNode) add(cl class, dt arrow.DataType, val any) bool {
	_, isFloat := val.(float64)
	_, isInt := val.(int64)
	_, isUint := val.(uint64)
	number := isFloat || isInt || isUint
	switch cl {
	case classInt, classTime:
		if _, isTime := val.(time.Time); cl == classInt && !number || cl == classTime && !isTime {
			if _, text := val.(string); cl == classInt || !text {
				return false
			}
		}
		e, ok := exactValue(val, dt)
		if ok && e.where == onValue {
			n.cells = append(n.cells, e.floor)
		}
		return ok
	case classFloat:
		if !number {
			return false
		}
		f := toFloat(val)
		if dt.ID() != arrow.FLOAT64 && fitsFloat32(val) {
			f = float64(float32Of(val))
		}
		n.cells = append(n.cells, cell{f: f})
		return true
	case classBool:
		b, ok := val.(bool)
		n.cells = append(n.cells, cell{b: b})
		return ok
	}
	s, ok := bytesLiteral(cl, val)
	n.cells = append(n.cells, cell{s: s})
	return ok
}
