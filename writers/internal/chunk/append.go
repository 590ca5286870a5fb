package chunk

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
)

// validity is the bitmap of the buffers of arr, from their first row on; nil where arr has no
// nulls.
func validity(arr arrow.Array) []byte {
	if arr.NullN() == 0 {
		return nil
	}
	return arr.NullBitmapBytes()
}

func nullsIn(valid []byte, from, n int) int {
	if valid == nil {
		return 0
	}
	return n - bitutil.CountSetBits(valid, from, n)
}

// values is the second buffer of an array, which may be missing where all rows are null.
func values(arr arrow.Array, at int) []byte {
	if b := arr.Data().Buffers()[at]; b != nil {
		return b.Bytes()
	}
	return nil
}

func (c *Column) appendFixed(arr arrow.Array) error {
	c.fixed(values(arr, 1), validity(arr), arr.Data().Offset(), arr.Len())
	return nil
}

// fixed adds rows [at, at+n) of values of one width.
func (c *Column) fixed(values, valid []byte, at, n int) {
	w := c.width
	for n > 0 {
		p := c.open()
		k := min(n, pageRows-p.rows, max((pageBytes-p.used)/w, 1))
		nulls := nullsIn(valid, at, k)
		c.reserve(p, (k-nulls)*w)
		if nulls == 0 {
			p.used += copy(p.buf[p.used:], values[at*w:(at+k)*w])
		} else if nulls < k {
			p.used += compact(p.buf[p.used:], values, valid, at, k, w)
		}
		p.mark(valid, at, k, nulls)
		at, n = at+k, n-k
		if p.full(w) {
			c.end()
		}
	}
}

// compact copies the valid ones of values [at, at+n), one behind the other.
func compact(dst, values, valid []byte, at, n, w int) (used int) {
	for i := 0; i < n; i += 64 {
		word := validBits(valid, at+i, min(64, n-i))
		for word != 0 {
			from := bits.TrailingZeros64(word)
			run := bits.TrailingZeros64(^(word >> from))
			first := (at + i + from) * w
			used += copy(dst[used:], values[first:first+run*w])
			if from+run == 64 {
				break
			}
			word &= math.MaxUint64 << (from + run)
		}
	}
	return used
}

// validBits is n bits of a bitmap, at most 64, from bit at on.
func validBits(bitmap []byte, at, n int) (word uint64) {
	first, shift := at/8, at%8
	var raw [9]byte
	copy(raw[:], bitmap[first:min(first+9, len(bitmap))])
	word = binary.LittleEndian.Uint64(raw[:])>>shift | uint64(raw[8])<<1<<(63-shift)
	if n < 64 {
		word &= 1<<n - 1
	}
	return word
}

// widen adds integers of fewer than 32 bits.
func widen[T int8 | uint8 | int16 | uint16](c *Column, arr arrow.Array, in []T) {
	if cap(c.scratch) < 4*pageRows {
		c.scratch = make([]byte, 4*pageRows)
	}
	valid := validity(arr)
	for from := 0; from < len(in); from += pageRows {
		piece := in[from:min(from+pageRows, len(in))]
		for i, v := range piece {
			binary.LittleEndian.PutUint32(c.scratch[4*i:], uint32(int32(v)))
		}
		mask := valid
		if valid != nil {
			mask = make([]byte, (len(piece)+7)/8)
			bitutil.CopyBitmap(valid, arr.Data().Offset()+from, len(piece), mask, 0)
		}
		c.fixed(c.scratch, mask, 0, len(piece))
	}
}

func (c *Column) appendInt8(arr arrow.Array) error {
	widen(c, arr, arr.(*array.Int8).Int8Values())
	return nil
}

func (c *Column) appendUint8(arr arrow.Array) error {
	widen(c, arr, arr.(*array.Uint8).Uint8Values())
	return nil
}

func (c *Column) appendInt16(arr arrow.Array) error {
	widen(c, arr, arr.(*array.Int16).Int16Values())
	return nil
}

func (c *Column) appendUint16(arr arrow.Array) error {
	widen(c, arr, arr.(*array.Uint16).Uint16Values())
	return nil
}

// appendBits packs booleans: a bit each, of those that are not null.
func (c *Column) appendBits(arr arrow.Array) error {
	valid, in := validity(arr), values(arr, 1)
	at, n := arr.Data().Offset(), arr.Len()
	for n > 0 {
		p := c.open()
		k := min(n, pageRows-p.rows)
		nulls := nullsIn(valid, at, k)
		bytes := (p.bits + k - nulls + 7) / 8
		c.reserve(p, valuesAt+bytes-p.used)
		clear(p.buf[p.used : valuesAt+bytes])
		out := p.buf[valuesAt : valuesAt+bytes]
		switch {
		case nulls == 0:
			bitutil.CopyBitmap(in, at, k, out, p.bits)
			p.bits += k
		case nulls < k:
			for i := at; i < at+k; i++ {
				if bitutil.BitIsSet(valid, i) {
					bitutil.SetBitTo(out, p.bits, bitutil.BitIsSet(in, i))
					p.bits++
				}
			}
		}
		p.used = valuesAt + bytes
		p.mark(valid, at, k, nulls)
		at, n = at+k, n-k
		if p.rows == pageRows {
			c.end()
		}
	}
	return nil
}

func (c *Column) appendSmall(arr arrow.Array) error {
	offsets := arrow.Int32Traits.CastFromBytes(values(arr, 1))
	return appendBytes(c, arr, offsets[arr.Data().Offset():], values(arr, 2))
}

func (c *Column) appendLarge(arr arrow.Array) error {
	offsets := arrow.Int64Traits.CastFromBytes(values(arr, 1))
	return appendBytes(c, arr, offsets[arr.Data().Offset():], values(arr, 2))
}

// appendBytes adds values of various lengths, each behind its length.
func appendBytes[T int32 | int64](c *Column, arr arrow.Array, offsets []T, data []byte) error {
	valid, base := validity(arr), arr.Data().Offset()
	for at, n := 0, arr.Len(); at < n; {
		p := c.open()
		end, nulls, err := fitting(p, offsets, valid, base, at, n)
		if err != nil {
			return err
		}
		k := end - at
		c.reserve(p, int(offsets[end]-offsets[at])+4*k)
		buf, used := p.buf, p.used
		for i := at; i < end; i++ {
			if nulls > 0 && !bitutil.BitIsSet(valid, base+i) {
				continue
			}
			v := data[offsets[i]:offsets[i+1]]
			binary.LittleEndian.PutUint32(buf[used:], uint32(len(v)))
			used += 4 + copy(buf[used+4:], v)
		}
		p.used = used
		p.mark(valid, base+at, k, nulls)
		if at = end; at < n || p.full(0) {
			c.end()
		}
	}
	return nil
}

// fitting is how far rows from at on go into the page: at least one does, into an empty
// page. It counts what stands behind nulls too, which is little.
func fitting[T int32 | int64](p *page, offsets []T, valid []byte, base, at, n int) (end, nulls int, err error) {
	size := p.used
	for end = at; end < n && p.rows+end-at < pageRows && size <= pageBytes; end++ {
		null := valid != nil && !bitutil.BitIsSet(valid, base+end)
		if null {
			nulls++
			continue
		}
		length := int64(offsets[end+1] - offsets[end])
		if length > math.MaxInt32-pageBytes {
			return 0, 0, tooLong(length)
		}
		if size += 4 + int(length); size > pageBytes && size > valuesAt+4+int(length) {
			break
		}
	}
	return end, nulls, nil
}
