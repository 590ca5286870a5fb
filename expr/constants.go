package expr

import (
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/float16"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// valueAt is one value of an array, as a literal holds it: nil, bool, int64, uint64 (only above the range of int64), float64, string, []byte, time.Time.
func valueAt(arr arrow.Array, i int) (any, error) {
	if arr.IsNull(i) {
		return nil, nil
	}
	switch a := arr.(type) {
	case *array.Boolean:
		return a.Value(i), nil
	case *array.Int8:
		return int64(a.Value(i)), nil
	case *array.Int16:
		return int64(a.Value(i)), nil
	case *array.Int32:
		return int64(a.Value(i)), nil
	case *array.Int64:
		return a.Value(i), nil
	case *array.Uint8:
		return int64(a.Value(i)), nil
	case *array.Uint16:
		return int64(a.Value(i)), nil
	case *array.Uint32:
		return int64(a.Value(i)), nil
	case *array.Uint64:
		return shrink(a.Value(i)), nil
	case *array.Float16:
		return float64(a.Value(i).Float32()), nil
	case *array.Float32:
		return float64(a.Value(i)), nil
	case *array.Float64:
		return a.Value(i), nil
	case *array.Date32:
		return a.Value(i).ToTime().UTC(), nil
	case *array.Date64:
		return a.Value(i).ToTime().UTC(), nil
	case *array.Timestamp:
		unit := a.DataType().(*arrow.TimestampType).Unit
		if s := int64(a.Value(i)); unit == arrow.Second && (s < -1<<60 || s > 1<<60) { // beyond that time.Time overflows
			return nil, errRange
		}
		return a.Value(i).ToTime(unit).UTC(), nil
	case *array.Binary:
		return slices.Clone(a.Value(i)), nil
	case *array.LargeBinary:
		return slices.Clone(a.Value(i)), nil
	case interface{ Value(int) string }:
		return string([]byte(a.Value(i))), nil
	}
	return nil, fmt.Errorf("no constant can be of type %s", typeName(arr.DataType()))
}

// repeat is an array of n times the value, which is one of dt's.
func repeat(dt arrow.DataType, v any, n int, mem memory.Allocator) (arrow.Array, error) {
	switch classOf(dt) {
	case classBool:
		vals := make([]byte, bitBytes(n))
		if v.(bool) {
			fillBits(vals, n)
		}
		return newBool(mem, n, vals, nil), nil
	case classText:
		b := array.NewBuilder(mem, dt).(array.StringLikeBuilder)
		defer b.Release()
		for range n {
			b.Append(v.(string))
		}
		return b.NewArray(), nil
	case classBytes:
		b := array.NewBuilder(mem, dt).(*array.BinaryBuilder)
		defer b.Release()
		for range n {
			b.Append(v.([]byte))
		}
		return b.NewArray(), nil
	case classFloat:
		return repeatFloat(dt, toFloat(v), n, mem), nil
	}
	e, _ := exactValue(v, dt)
	return repeatInteger(dt, e.floor, n, mem), nil
}

func repeatFloat(dt arrow.DataType, v float64, n int, mem memory.Allocator) arrow.Array {
	buf := newBuffer(mem, n*dt.(arrow.FixedWidthDataType).Bytes())
	switch dt.ID() {
	case arrow.FLOAT16:
		fill(arrow.GetData[uint16](buf.Bytes()), float16.New(float32(v)).Uint16())
	case arrow.FLOAT32:
		fill(arrow.GetData[float32](buf.Bytes()), float32(v))
	default:
		fill(arrow.GetData[float64](buf.Bytes()), v)
	}
	return newFixed(mem, dt, n, buf, nil)
}

func repeatInteger(dt arrow.DataType, c cell, n int, mem memory.Allocator) arrow.Array {
	buf := newBuffer(mem, n*dt.(arrow.FixedWidthDataType).Bytes())
	v := c.u
	if !arrow.IsUnsignedInteger(dt.ID()) {
		v = uint64(c.i)
	}
	switch dt.(arrow.FixedWidthDataType).Bytes() {
	case 1:
		fill(buf.Bytes(), byte(v))
	case 2:
		fill(arrow.GetData[uint16](buf.Bytes()), uint16(v))
	case 4:
		fill(arrow.GetData[uint32](buf.Bytes()), uint32(v))
	default:
		fill(arrow.GetData[uint64](buf.Bytes()), v)
	}
	return newFixed(mem, dt, n, buf, nil)
}

func fill[T any](out []T, v T) {
	for i := range out {
		out[i] = v
	}
}
