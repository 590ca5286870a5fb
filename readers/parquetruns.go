package readers

import (
	"encoding/binary"
	"math/bits"

	"github.com/apache/arrow/go/v17/arrow/bitutil"
)

// readValidity gives a bit for each of n levels, in memory if it is large enough; nil if
// all are 1.
func readValidity(mem, levels []byte, n int, packed bool) (kept, valid []byte, err error) {
	if !packed {
		if head, used := binary.Uvarint(levels); used > 0 && head&1 == 0 && head>>1 >= uint64(n) && len(levels) > used && levels[used] == 1 {
			return mem, nil, nil
		}
	}
	mem = extend(mem[:0], (n+7)/8)
	set := 0
	if packed { // the highest bit first
		for i := range mem {
			mem[i] = bits.Reverse8(levels[i])
		}
		set = bitutil.CountSetBits(mem, 0, n)
	} else if set, err = runsToBits(mem, levels, n); err != nil {
		return mem, nil, err
	}
	if set == n {
		return mem, nil, nil
	}
	return mem, mem, nil
}

// runsToBits reads n values of one bit in Parquet's hybrid of runs and bit packing, and
// says how many are 1.
func runsToBits(into, runs []byte, n int) (set int, err error) {
	for at := 0; at < n; {
		head, used := binary.Uvarint(runs)
		if used <= 0 {
			return 0, errBadLevels
		}
		runs = runs[used:]
		if head&1 == 1 {
			size := int(min(head>>1, uint64(len(runs)))) // the last run may leave out what is not needed
			k := min(8*size, n-at)
			if k == 0 {
				return 0, errBadLevels
			}
			bitutil.CopyBitmap(runs, 0, k, into, at)
			set += bitutil.CountSetBits(runs, 0, k)
			at, runs = at+k, runs[size:]
			continue
		}
		k := int(min(head>>1, uint64(n-at)))
		if len(runs) == 0 || k == 0 {
			return 0, errBadLevels
		}
		bitutil.SetBitsTo(into, int64(at), int64(k), runs[0]&1 == 1)
		set += k * int(runs[0]&1)
		at, runs = at+k, runs[1:]
	}
	return set, nil
}

// indexRuns reads the indices of a page in Parquet's hybrid of runs and bit packing.
type indexRuns struct {
	b     []byte
	width int
	value uint32 // of the run
	n     int    // of it that are left
	pack  []byte // of a bit-packed run
	at    int    // value in pack
	end   int    // values of pack
}

func (r *indexRuns) reset(b []byte, width int) error {
	if width > 32 {
		return errBadLevels
	}
	*r = indexRuns{b: b, width: width}
	return nil
}

// read fills into.
func (r *indexRuns) read(into []uint32) error {
	for len(into) > 0 {
		switch {
		case r.n > 0:
			k := min(r.n, len(into))
			for i := range into[:k] {
				into[i] = r.value
			}
			r.n, into = r.n-k, into[k:]
		case r.at < r.end:
			k := min(r.end-r.at, len(into))
			r.unpack(into[:k])
			r.at, into = r.at+k, into[k:]
		default:
			if err := r.run(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *indexRuns) run() error {
	if r.width == 0 { // all are the first
		r.n, r.value = 1<<30, 0
		return nil
	}
	head, used := binary.Uvarint(r.b)
	if used <= 0 || head>>1 == 0 {
		return errBadLevels
	}
	r.b = r.b[used:]
	if head&1 == 1 {
		size := int(min(head>>1*uint64(r.width), uint64(len(r.b)))) // the last run may leave out what is not needed
		r.pack, r.at, r.end = r.b[:size], 0, size*8/r.width
		if r.b = r.b[size:]; r.end == 0 {
			return errBadLevels
		}
		return nil
	}
	size := (r.width + 7) / 8
	if size > len(r.b) {
		return errBadLevels
	}
	r.n, r.value = int(min(head>>1, 1<<30)), 0
	for i := range size {
		r.value |= uint32(r.b[i]) << (8 * i)
	}
	r.b = r.b[size:]
	return nil
}

// unpack reads values of r.width bits, the lowest first, from value r.at of pack.
func (r *indexRuns) unpack(into []uint32) {
	mask := uint64(1)<<r.width - 1
	bit := r.at * r.width
	i := 0
	for ; i < len(into) && bit>>3+8 <= len(r.pack); i++ {
		into[i] = uint32(binary.LittleEndian.Uint64(r.pack[bit>>3:]) >> (bit & 7) & mask)
		bit += r.width
	}
	for ; i < len(into); i++ {
		var last [8]byte
		copy(last[:], r.pack[bit>>3:])
		into[i] = uint32(binary.LittleEndian.Uint64(last[:]) >> (bit & 7) & mask)
		bit += r.width
	}
}
