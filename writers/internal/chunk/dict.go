package chunk

import (
	"bytes"
	"encoding/binary"
	"iter"
	"math/bits"

	"github.com/apache/arrow/go/v17/parquet"
	"github.com/zeebo/xxh3"
)

const (
	// maxWords and maxWordBytes bound a dictionary.
	maxWords     = 1 << 17
	maxWordBytes = 1 << 20
	// sampled values of the first page say whether a dictionary is tried. Of values
	// that are drawn from N at random, a sample of s repeats about s*s/2N: one in
	// repeated of the sample is for 32,768 different ones.
	sampled  = 4096
	repeated = 16
)

// worthDictionary says by a page whether enough values of the chunk may be the same. What a
// dictionary saves shows only once it is made.
func (c *Column) worthDictionary(p *page) bool {
	n := p.rows - p.nulls
	if c.width < 0 || c.width > 0 && c.width < 4 || n == 0 {
		return false
	}
	step := max(n/sampled, 1)
	seen := make(map[uint64]struct{}, sampled)
	i, drawn := 0, 0
	for v := range c.slices(p.buf[valuesAt:p.used]) {
		if i%step == 0 {
			drawn++
			seen[xxh3.Hash(v)] = struct{}{}
		}
		i++
	}
	return drawn < 64 || (drawn-len(seen))*repeated >= drawn
}

// slices gives values in their PLAIN form one by one, each with its length before it where
// they have various ones.
func (c *Column) slices(plain []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for rest := plain; len(rest) > 0; {
			n := c.width
			if n == 0 {
				n = 4 + int(binary.LittleEndian.Uint32(rest))
			}
			if !yield(rest[:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// words is a dictionary in the making: different values in the order in which they came.
type words struct {
	plain []byte // one behind the other
	ends  []int32
	table []uint32 // number of a word plus one by its hash; a power of two long
}

func (w *words) at(i uint32) []byte {
	from := int32(0)
	if i > 0 {
		from = w.ends[i-1]
	}
	return w.plain[from:w.ends[i]]
}

// number is that of a value, which is added if it is new; ok is false when there are too many.
func (w *words) number(v []byte) (n uint32, ok bool) {
	mask := uint64(len(w.table) - 1)
	for h := xxh3.Hash(v) & mask; ; h = (h + 1) & mask {
		switch k := w.table[h]; {
		case k == 0:
			if len(w.ends) == maxWords || len(w.plain)+len(v) > maxWordBytes {
				return 0, false
			}
			w.plain = append(w.plain, v...)
			w.ends = append(w.ends, int32(len(w.plain)))
			w.table[h] = uint32(len(w.ends))
			if 2*len(w.ends) > len(w.table) {
				w.grow()
			}
			return uint32(len(w.ends) - 1), true
		case bytes.Equal(w.at(k-1), v):
			return k - 1, true
		}
	}
}

func (w *words) grow() {
	w.table = make([]uint32, 4*len(w.table))
	mask := uint64(len(w.table) - 1)
	for i := range w.ends {
		h := xxh3.Hash(w.at(uint32(i))) & mask
		for w.table[h] != 0 {
			h = (h + 1) & mask
		}
		w.table[h] = uint32(i + 1)
	}
}

// encodeWords makes the chunk's dictionary and pages of numbers, or plain pages where those
// are not smaller.
func (c *Column) encodeWords() error {
	w, numbers := c.collect()
	if w == nil {
		for _, p := range c.pages {
			if err := c.plain(p); err != nil {
				return err
			}
		}
		return nil
	}
	d := c.newPage(len(w.plain))
	d.used += copy(d.buf[d.used:], w.plain)
	d.bounds = c.boundsOf(w.plain, 0)
	if err := c.pack(d, valuesAt, wordsHeader(len(w.ends))); err != nil {
		c.free(d)
		return err
	}
	c.dict = d
	width := max(bits.Len(uint(len(w.ends)-1)), 1)
	for _, p := range c.pages {
		n := p.rows - p.nulls
		c.putNumbers(p, numbers[:n], width)
		if err := c.seal(p, parquet.Encodings.RLEDict); err != nil {
			return err
		}
		numbers = numbers[n:]
	}
	return nil
}

// collect looks up all values; nil if a dictionary does not pay.
func (c *Column) collect() (*words, []uint32) {
	n, plain := 0, 0
	for _, p := range c.pages {
		n += p.rows - p.nulls
		plain += p.used - valuesAt
	}
	w := &words{table: make([]uint32, 4096)}
	numbers := make([]uint32, 0, n)
	for _, p := range c.pages {
		for v := range c.slices(p.buf[valuesAt:p.used]) {
			k, ok := w.number(v)
			if !ok {
				return nil, nil
			}
			numbers = append(numbers, k)
		}
	}
	width := max(bits.Len(uint(len(w.ends)-1)), 1)
	if len(w.plain)+n*width/8 >= plain {
		return nil, nil
	}
	return w, numbers
}

// putNumbers puts numbers in the place of a page's values.
func (c *Column) putNumbers(p *page, numbers []uint32, width int) {
	p.used = valuesAt
	// A byte for the width; at most a byte more than packed for each eight of them.
	groups := len(numbers)/8 + 1
	c.reserve(p, 8+groups*(width+1))
	dst := append(p.buf[valuesAt:valuesAt], byte(width))
	p.used += len(appendHybrid(dst, numbers, width))
}

// appendHybrid encodes numbers in the format's hybrid of run lengths and packed bits: runs
// of eight and more alike as such, the others packed in groups of eight.
func appendHybrid(dst []byte, numbers []uint32, width int) []byte {
	packed := 0 // numbers before i that are still to be packed
	for i := 0; i < len(numbers); {
		run := 1
		for i+run < len(numbers) && numbers[i+run] == numbers[i] {
			run++
		}
		fill := (8 - packed%8) % 8 // what the last group lacks
		if run-fill < 8 {
			packed, i = packed+run, i+run
			continue
		}
		packed, i, run = packed+fill, i+fill, run-fill
		dst = appendPacked(dst, numbers[i-packed:i], width)
		packed = 0
		dst = binary.AppendUvarint(dst, uint64(run)<<1)
		for b := 0; b < width; b += 8 {
			dst = append(dst, byte(numbers[i]>>b))
		}
		i += run
	}
	return appendPacked(dst, numbers[len(numbers)-packed:], width)
}

// appendPacked packs numbers, the lowest bits first; the last group is filled with zeros.
func appendPacked(dst []byte, numbers []uint32, width int) []byte {
	if len(numbers) == 0 {
		return dst
	}
	groups := (len(numbers) + 7) / 8
	dst = binary.AppendUvarint(dst, uint64(groups)<<1|1)
	var word uint64
	held := 0
	for i := range groups * 8 {
		if i < len(numbers) {
			word |= uint64(numbers[i]) << held
		}
		for held += width; held >= 8; held -= 8 {
			dst = append(dst, byte(word))
			word >>= 8
		}
	}
	return dst
}
