package readers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/pierrec/lz4/v4"
)

// The encodings that are not PLAIN or of a dictionary are undone a page at a time: what comes
// out is the page as PLAIN encoding has it. They follow the format's specification, "Encodings".

const (
	encodingDeltaPacked = 5
	encodingDeltaLength = 6
	encodingDeltaBytes  = 7
	encodingByteStream  = 9

	// mostExpanded bounds what a page becomes: a few bytes may stand for any number of values.
	mostExpanded = 512 << 20
)

var errDelta = errors.New("the data is corrupt: the differences of a page cannot be read")

func errExpanded(n int) error {
	return fmt.Errorf("a page has %d MiB once it is decoded, and more than %d cannot be read: write the file with smaller pages", n>>20, mostExpanded>>20)
}

// deltaPacked reads n numbers of DELTA_BINARY_PACKED from data, hands each to put, and gives
// what stands behind them. The sums wrap around, as the format has it.
func deltaPacked(data []byte, n int, put func(int64)) (rest []byte, err error) {
	r := deltaReader{b: data}
	block, parts, count := r.uvarint(), r.uvarint(), r.uvarint()
	value := r.varint()
	if r.bad || parts == 0 || block == 0 || block > 1<<24 || block%parts != 0 || block/parts%32 != 0 || count != uint64(n) {
		return nil, errDelta
	}
	put(value)
	size := int(block / parts) // values of a miniblock
	for left := n - 1; left > 0; {
		least := r.varint()
		for _, width := range r.take(int(parts)) {
			if left <= 0 {
				break
			}
			k := min(left, size)
			packed := r.packed(size*int(width)/8, (k*int(width)+7)/8)
			if r.bad || width > 64 {
				return nil, errDelta
			}
			for i := range k {
				value += least + int64(bitsAt(packed, i*int(width), int(width)))
				put(value)
			}
			left -= k
		}
		if r.bad {
			return nil, errDelta
		}
	}
	return r.b, nil
}

// bitsAt is a number of width bits, at most 64, from bit at on, the lowest first.
func bitsAt(b []byte, at, width int) uint64 {
	if width == 0 {
		return 0
	}
	var raw [16]byte
	copy(raw[:], b[at>>3:min(at>>3+9, len(b))])
	v := binary.LittleEndian.Uint64(raw[:])>>(at&7) | uint64(raw[8])<<1<<(63-at&7)
	return v & (math.MaxUint64 >> (64 - width))
}

// deltaReader takes the pieces of DELTA_BINARY_PACKED off b.
type deltaReader struct {
	b   []byte
	bad bool
}

func (r *deltaReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *deltaReader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *deltaReader) skip(n int) {
	if n <= 0 {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

func (r *deltaReader) take(n int) []byte {
	if n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// packed takes n bytes, or those that are left if the last needed of them are there.
func (r *deltaReader) packed(n, needed int) []byte {
	if len(r.b) < n && len(r.b) >= needed {
		n = len(r.b)
	}
	return r.take(n)
}

// expand turns the values of a page, n of them, into PLAIN encoding, behind out.
func (c *flatColumn) expand(out []byte, encoding int64, data []byte, n int) ([]byte, error) {
	if size := n * max(c.width, 4); size > mostExpanded {
		return out, errExpanded(size)
	}
	if n == 0 {
		return out, nil
	}
	switch {
	case encoding == encodingDeltaPacked && c.width == 4:
		_, err := deltaPacked(data, n, func(v int64) { out = binary.LittleEndian.AppendUint32(out, uint32(v)) })
		return out, err
	case encoding == encodingDeltaPacked && c.width == 8:
		_, err := deltaPacked(data, n, func(v int64) { out = binary.LittleEndian.AppendUint64(out, uint64(v)) })
		return out, err
	case encoding == encodingByteStream && c.width > 0:
		return joinStreams(out, data, n, c.width)
	case encoding == encodingDeltaLength && c.width == 0:
		return deltaLengths(out, data, n)
	case encoding == encodingDeltaBytes && c.width == 0:
		var err error
		out, c.before, err = deltaStrings(out, c.before, data, n)
		return out, err
	}
	return out, fmt.Errorf("a page has encoding %d, which its column does not announce", encoding)
}

// joinStreams undoes BYTE_STREAM_SPLIT: first come the first bytes of all values, then the second.
func joinStreams(out, data []byte, n, width int) ([]byte, error) {
	if len(data) < n*width {
		return out, errFlat
	}
	at := len(out)
	out = extend(out, n*width)
	for k := range width {
		for i, b := range data[k*n : (k+1)*n] {
			out[at+i*width+k] = b
		}
	}
	return out, nil
}

// lengthsOf reads n lengths.
func lengthsOf(data []byte, n int) (lengths []int32, rest []byte, err error) {
	lengths = make([]int32, 0, min(n, len(data)*8+1))
	short := false
	rest, err = deltaPacked(data, n, func(v int64) {
		short = short || v < 0 || v > math.MaxInt32
		lengths = append(lengths, int32(v))
	})
	if err == nil && short {
		err = errDelta
	}
	return lengths, rest, err
}

// deltaLengths undoes DELTA_LENGTH_BYTE_ARRAY: first come all lengths, then all bytes.
func deltaLengths(out, data []byte, n int) ([]byte, error) {
	lengths, rest, err := lengthsOf(data, n)
	if err != nil {
		return out, err
	}
	out = slices.Grow(out, len(rest)+4*n)
	for _, size := range lengths {
		if int(size) > len(rest) {
			return out, errFlat
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(size))
		out = append(out, rest[:size]...)
		rest = rest[size:]
	}
	return out, nil
}

// deltaStrings undoes DELTA_BYTE_ARRAY: of each string, how many bytes it shares with the one
// before, and then what follows, as above. The first of a page should share none; but some
// writers, Arrow's for Go among them, go on from the page before. It gives the last string too.
func deltaStrings(out, before, data []byte, n int) (page, last []byte, err error) {
	shared, rest, err := lengthsOf(data, n)
	if err != nil {
		return out, nil, err
	}
	lengths, rest, err := lengthsOf(rest, n)
	if err != nil {
		return out, nil, err
	}
	last = before
	for i, own := range lengths {
		same := int(shared[i])
		if int(own) > len(rest) || same > len(last) {
			return out, nil, errFlat
		}
		if size := len(out) + 4 + same + int(own); size > mostExpanded {
			return out, nil, errExpanded(size)
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(same+int(own)))
		begin := len(out)
		out = append(out, last[:same]...)
		out = append(out, rest[:own]...)
		last, rest = out[begin:], rest[own:]
	}
	return out, append(before[:0], last...), nil
}

// codecLZ4Raw is Parquet's number of the codec that Arrow's library lacks.
const codecLZ4Raw = 7

// lz4Raw undoes LZ4's block format.
type lz4Raw struct{}

// Decode gives nil if src is damaged or does not fit dst.
func (lz4Raw) Decode(dst, src []byte) []byte {
	n, err := lz4.UncompressBlock(src, dst)
	if err != nil {
		return nil
	}
	return dst[:n]
}
