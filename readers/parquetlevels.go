package readers

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// levelRuns reads levels in Parquet's hybrid of run lengths and bit packing, run by run.
type levelRuns struct {
	b     []byte
	width int    // bits of a level
	level int    // of the run
	n     int    // of it that are left
	pack  []byte // of a bit-packed run
	at    int    // bit in pack
	end   int    // levels of pack that are left
}

var errBadLevels = errors.New("the data is corrupt: the levels of a page cannot be read")

func newLevelRuns(b []byte, maxLevel int) *levelRuns {
	return &levelRuns{b: b, width: bits.Len(uint(maxLevel))}
}

// peek gives the next level and how many times, at least, it comes.
func (r *levelRuns) peek() (level, n int, err error) {
	for r.n == 0 {
		if r.end > 0 {
			r.level, r.n = r.bits(), 1
			r.end--
			break
		}
		if err := r.run(); err != nil {
			return 0, 0, err
		}
	}
	return r.level, r.n, nil
}

func (r *levelRuns) take(n int) { r.n -= n }

func (r *levelRuns) run() error {
	head, n := binary.Uvarint(r.b)
	if n <= 0 || head>>1 > 1<<31 {
		return errBadLevels
	}
	r.b = r.b[n:]
	bytes := (r.width + 7) / 8
	if head&1 == 1 {
		r.end = int(head>>1) * 8
		bytes = int(head>>1) * r.width
		if bytes > len(r.b) { // the last run may leave out what is not needed
			bytes = len(r.b)
			r.end = bytes * 8 / r.width
		}
		r.pack, r.at = r.b[:bytes], 0
	} else {
		if bytes > len(r.b) {
			return errBadLevels
		}
		r.n, r.level = int(head>>1), 0
		for i := range bytes {
			r.level |= int(r.b[i]) << (8 * i)
		}
	}
	r.b = r.b[bytes:]
	return nil
}

func (r *levelRuns) bits() (v int) {
	for i := range r.width {
		v |= int(r.pack[r.at>>3]>>(r.at&7)&1) << i
		r.at++
	}
	return v
}

// appendRun writes a run of equal levels.
func appendRun(b []byte, level, n, maxLevel int) []byte {
	b = binary.AppendUvarint(b, uint64(n)<<1)
	for width := bits.Len(uint(maxLevel)); width > 0; width -= 8 {
		b = append(b, byte(level))
		level >>= 8
	}
	return b
}
