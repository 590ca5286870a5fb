package expr

import (
	"math"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/float16"
)

type number interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64 | float32 | float64
}

func castNumbers(f *frame, arr arrow.Array, to arrow.DataType) (arrow.Array, int, error) {
	valid := validBits(arr)
	switch arr.DataType().ID() {
	case arrow.BOOL:
		return castFrom(f, boolBytes(arr), valid, to)
	case arrow.INT8:
		return castFrom(f, values[int8](arr), valid, to)
	case arrow.INT16:
		return castFrom(f, values[int16](arr), valid, to)
	case arrow.INT32:
		return castFrom(f, values[int32](arr), valid, to)
	case arrow.INT64:
		return castFrom(f, values[int64](arr), valid, to)
	case arrow.UINT8:
		return castFrom(f, values[uint8](arr), valid, to)
	case arrow.UINT16:
		return castFrom(f, values[uint16](arr), valid, to)
	case arrow.UINT32:
		return castFrom(f, values[uint32](arr), valid, to)
	case arrow.UINT64:
		return castFrom(f, values[uint64](arr), valid, to)
	case arrow.FLOAT32:
		return castFrom(f, values[float32](arr), valid, to)
	case arrow.FLOAT64:
		return castFrom(f, values[float64](arr), valid, to)
	}
	halves := values[float16.Num](arr)
	wide := make([]float32, len(halves))
	for i, h := range halves {
		wide[i] = h.Float32()
	}
	return castFrom(f, wide, valid, to)
}

func castFrom[F number](f *frame, in []F, valid []byte, to arrow.DataType) (arrow.Array, int, error) {
	switch to.ID() {
	case arrow.BOOL:
		return newBool(f.mem, len(in), packBits(len(in), func(i int) bool { return in[i] != 0 }), valid), 0, nil
	case arrow.INT8:
		return castInto[F, int8](f, in, valid, to)
	case arrow.INT16:
		return castInto[F, int16](f, in, valid, to)
	case arrow.INT32:
		return castInto[F, int32](f, in, valid, to)
	case arrow.INT64:
		return castInto[F, int64](f, in, valid, to)
	case arrow.UINT8:
		return castInto[F, uint8](f, in, valid, to)
	case arrow.UINT16:
		return castInto[F, uint16](f, in, valid, to)
	case arrow.UINT32:
		return castInto[F, uint32](f, in, valid, to)
	case arrow.UINT64:
		return castInto[F, uint64](f, in, valid, to)
	case arrow.FLOAT32:
		return castInto[F, float32](f, in, valid, to)
	case arrow.FLOAT64:
		return castInto[F, float64](f, in, valid, to)
	}
	buf := newBuffer(f.mem, 2*len(in))
	out := unsafe.Slice((*float16.Num)(unsafe.Pointer(unsafe.SliceData(buf.Bytes()))), len(in))
	for i, v := range in {
		out[i] = float16.New(float32(v))
	}
	return newFixed(f.mem, to, len(in), buf, valid), 0, nil
}

func isFloat[T number]() bool {
	half := T(1)
	return half/2 != 0
}

func castInto[F, T number](f *frame, in []F, valid []byte, to arrow.DataType) (arrow.Array, int, error) {
	buf := newBuffer(f.mem, len(in)*to.(arrow.FixedWidthDataType).Bytes())
	out := arrow.GetData[T](buf.Bytes())
	bad := -1
	switch {
	case isFloat[T]():
		for i, v := range in {
			out[i] = T(v)
		}
	case isFloat[F]():
		// Both ends are powers of two, or zero, and so exact.
		lo, hi := floatRange(to)
		for i, v := range in {
			if t := math.Trunc(float64(v)); t >= lo && t < hi {
				out[i] = T(t)
			} else if bad < 0 && bitSet(valid, i) {
				bad = i
			}
		}
	default:
		for i, v := range in {
			t := T(v)
			if F(t) == v && (t < 0) == (v < 0) {
				out[i] = t
			} else if bad < 0 && bitSet(valid, i) {
				bad = i
			}
		}
	}
	if bad >= 0 {
		buf.Release()
		return nil, bad, errRange
	}
	return newFixed(f.mem, to, len(in), buf, valid), 0, nil
}

// floatRange gives the integers of dt as lo <= v < hi.
func floatRange(dt arrow.DataType) (lo, hi float64) {
	bits := dt.(arrow.FixedWidthDataType).BitWidth()
	if arrow.IsUnsignedInteger(dt.ID()) {
		return 0, math.Ldexp(1, bits)
	}
	return -math.Ldexp(1, bits-1), math.Ldexp(1, bits-1)
}
