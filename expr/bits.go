package expr

import (
	"math/bits"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Bitmaps here begin at bit 0 and have bitBytes(n) bytes; bits behind the n-th mean nothing until newBool clears them.
//
// All loops are our own. Arrow's compute of this version (17.0.0) has the kernels, but, tried here: it loses the last bits of the intersection of two
// validities at some lengths (40, 56, 72, 88 rows, with offsets that are multiples of 8), misses the overflow of sums and differences of negative int64,
// fails on overflow in slots that are null, writes sliced bools wrongly as text, and leaks buffers in casts, also in those that succeed.

func bitBytes(n int) int { return (n + 7) / 8 }

// validBits is arr's validity; nil if nothing is null. It may alias arr's memory.
func validBits(arr arrow.Array) []byte {
	if arr.DataType().ID() == arrow.NULL {
		return make([]byte, bitBytes(arr.Len()))
	}
	if d, ok := arr.(*array.Dictionary); ok && d.Dictionary().NullN() > 0 {
		vals := validBits(d.Dictionary())
		return packBits(d.Len(), func(i int) bool { return d.IsValid(i) && bitSet(vals, d.GetValueIndex(i)) })
	}
	if arr.NullN() == 0 {
		return nil
	}
	return alignBits(arr.NullBitmapBytes(), arr.Data().Offset(), arr.Len())
}

// boolBits is the values of arr. It may alias arr's memory.
func boolBits(arr *array.Boolean) []byte {
	buf := arr.Data().Buffers()[1]
	if buf == nil {
		return make([]byte, bitBytes(arr.Len()))
	}
	return alignBits(buf.Bytes(), arr.Data().Offset(), arr.Len())
}

func alignBits(b []byte, offset, n int) []byte {
	b, shift := b[offset/8:], offset%8
	size := bitBytes(n)
	if shift == 0 {
		return b[:size]
	}
	out := make([]byte, size)
	for i := range out {
		out[i] = b[i] >> shift
		if i+1 < len(b) {
			out[i] |= b[i+1] << (8 - shift)
		}
	}
	return out
}

// combine is op of each two bytes; b may be nil, for all ones.
func combine(a, b []byte, op func(a, b byte) byte) []byte {
	out := make([]byte, len(a))
	for i := range out {
		m := byte(0xff)
		if b != nil {
			m = b[i]
		}
		out[i] = op(a[i], m)
	}
	return out
}

func into(dst, b []byte, op func(a, b byte) byte) {
	for i := range dst {
		dst[i] = op(dst[i], b[i])
	}
}

// bothValid is the intersection of two validities, nil if neither has nulls.
func bothValid(l, r arrow.Array) []byte {
	a, b := validBits(l), validBits(r)
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	return combine(a, b, func(a, b byte) byte { return a & b })
}

func fillBits(b []byte, n int) {
	for i := range b[:bitBytes(n)] {
		b[i] = 0xff
	}
}

func bitSet(b []byte, i int) bool { return b == nil || b[i>>3]>>(i&7)&1 == 1 }

func countBits(b []byte, n int) int {
	count := 0
	for _, v := range b[:n/8] {
		count += bits.OnesCount8(v)
	}
	if n%8 != 0 {
		count += bits.OnesCount8(b[n/8] & (1<<(n%8) - 1))
	}
	return count
}

// packBits sets bit i where f(i).
func packBits(n int, f func(i int) bool) []byte {
	out := make([]byte, bitBytes(n))
	for i := range n {
		if f(i) {
			out[i>>3] |= 1 << (i & 7)
		}
	}
	return out
}

// newBuffer is size bytes of zeros.
func newBuffer(mem memory.Allocator, size int) *memory.Buffer {
	b := memory.NewResizableBuffer(mem)
	b.Resize(size)
	clear(b.Bytes())
	return b
}

// newBool copies the bitmaps into an array; valid may be nil.
func newBool(mem memory.Allocator, n int, vals, valid []byte) arrow.Array {
	buf := newBuffer(mem, bitBytes(n))
	copy(buf.Bytes(), vals)
	if n%8 != 0 {
		buf.Bytes()[n/8] &= 1<<(n%8) - 1
	}
	return newFixed(mem, arrow.FixedWidthTypes.Boolean, n, buf, valid)
}

// newFixed makes an array of values, which it takes over, and a copy of valid, which may be nil.
func newFixed(mem memory.Allocator, dt arrow.DataType, n int, values *memory.Buffer, valid []byte) arrow.Array {
	defer values.Release()
	return newArray(mem, dt, n, valid, values)
}

// newArray makes an array of buffers, which it shares, and a copy of valid, which may be nil.
func newArray(mem memory.Allocator, dt arrow.DataType, n int, valid []byte, buffers ...*memory.Buffer) arrow.Array {
	var bitmap *memory.Buffer
	nulls := 0
	if valid != nil {
		if nulls = n - countBits(valid, n); nulls > 0 {
			bitmap = newBuffer(mem, bitBytes(n))
			defer bitmap.Release()
			copy(bitmap.Bytes(), valid)
		}
	}
	data := array.NewData(dt, n, append([]*memory.Buffer{bitmap}, buffers...), nil, nulls, 0)
	defer data.Release()
	return array.MakeFromData(data)
}
