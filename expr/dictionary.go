package expr

import (
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// decode gives the values of a dictionary array whose value type has a class of its own.
func decode(dict *array.Dictionary, mem memory.Allocator) (arrow.Array, error) {
	n, valid := dict.Len(), validBits(dict)
	vals := dict.Dictionary()
	dt := vals.DataType()
	index := make([]int, n)
	for i := range index {
		if bitSet(valid, i) {
			index[i] = dict.GetValueIndex(i)
		}
	}
	if vals.Len() == 0 || dt.ID() == arrow.NULL { // all is null, and index 0 may lead nowhere
		return array.MakeArrayOfNull(mem, dt, n), nil
	}
	switch classOf(dt) {
	case classText, classBytes:
		t := textOf(vals)
		size := 0
		for i, at := range index {
			if bitSet(valid, i) {
				size += len(t.at(at))
			}
		}
		if size > math.MaxInt32 && !wideOffsets(dt) {
			return nil, errLong
		}
		return gatherText(mem, dt, n, size, valid, func(i int) string { return t.at(index[i]) }), nil
	case classBool:
		b := boolBits(vals.(*array.Boolean))
		return newBool(mem, n, packBits(n, func(i int) bool { return bitSet(b, index[i]) }), valid), nil
	}
	width := dt.(arrow.FixedWidthDataType).Bytes()
	buf := newBuffer(mem, n*width)
	switch width {
	case 1:
		gather(buf, values[uint8](vals), index)
	case 2:
		gather(buf, values[uint16](vals), index)
	case 4:
		gather(buf, values[uint32](vals), index)
	default:
		gather(buf, values[uint64](vals), index)
	}
	return newFixed(mem, dt, n, buf, valid), nil
}

func gather[T uint8 | uint16 | uint32 | uint64](buf *memory.Buffer, vals []T, index []int) {
	out := arrow.GetData[T](buf.Bytes())
	for i, at := range index {
		out[i] = vals[at]
	}
}

// gatherText makes a string or binary array of n values, size bytes in all, of which at gives those that are valid.
func gatherText(mem memory.Allocator, dt arrow.DataType, n, size int, valid []byte, at func(i int) string) arrow.Array {
	data := newBuffer(mem, size)
	defer data.Release()
	var offsets *memory.Buffer
	if wideOffsets(dt) {
		offsets = newBuffer(mem, 8*(n+1))
		layText(data.Bytes(), arrow.GetData[int64](offsets.Bytes()), valid, at)
	} else {
		offsets = newBuffer(mem, 4*(n+1))
		layText(data.Bytes(), arrow.GetData[int32](offsets.Bytes()), valid, at)
	}
	defer offsets.Release()
	return newArray(mem, dt, n, valid, offsets, data)
}

func layText[T int32 | int64](data []byte, offsets []T, valid []byte, at func(i int) string) {
	end := 0
	for i := range len(offsets) - 1 {
		if bitSet(valid, i) {
			end += copy(data[end:], at(i))
		}
		offsets[i+1] = T(end)
	}
}
