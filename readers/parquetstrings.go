package readers

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
)

// Strings are decoded in two passes: first their lengths, from which the size of the buffer is
// known, then their bytes. The pages stay where they are in between.

// stringRun is where the next n strings of a record lie: one behind the other, each behind its
// length, or with data of nil in the dictionary.
type stringRun struct {
	n    int
	data []byte
}

// endsIn gives room for the ends of n strings: in the buffer of their offsets, if it is as wide.
func (c *flatColumn) endsIn(out *flatBuffers, n int) []int32 {
	if large(c.typ) {
		out.add(8 * (n + 1))
		return extend(c.ends[:0], n)
	}
	offsets := arrow.Int32Traits.CastFromBytes(out.add(4 * (n + 1)))
	offsets[0] = 0
	return offsets[1:]
}

// strings takes note of set strings.
func (c *flatColumn) strings(set int) error {
	ends := c.ends[c.set : c.set+set]
	var err error
	if c.page.plain {
		err = c.plainEnds(ends)
	} else {
		err = c.dictEnds(ends)
	}
	if err == nil && c.total > math.MaxInt32 {
		err = errors.New("the strings of a record take more than 2 GiB: read it in smaller ones")
	}
	return err
}

// plainEnds goes through strings, each of which has its length before it.
func (c *flatColumn) plainEnds(ends []int32) error {
	data, pos, total := c.page.data, 0, c.total
	for i := range ends {
		if len(data)-pos < 4 {
			return errFlat
		}
		size := binary.LittleEndian.Uint32(data[pos:])
		if pos += 4; uint64(size) > uint64(len(data)-pos) {
			return errFlat
		}
		pos += int(size)
		total += int(size)
		ends[i] = int32(total)
	}
	if len(ends) > 0 {
		c.runs = append(c.runs, stringRun{len(ends), data})
	}
	c.page.data, c.total = data[pos:], total
	return nil
}

func (c *flatColumn) dictEnds(ends []int32) error {
	from := len(c.indices)
	c.indices = extend(c.indices, len(ends))
	indices := c.indices[from:]
	if err := c.readIndices(indices); err != nil {
		return err
	}
	total, dict := c.total, c.dict.strings
	for i, at := range indices {
		total += int(dict[at].size)
		ends[i] = int32(total)
	}
	if len(ends) > 0 {
		c.runs = append(c.runs, stringRun{n: len(ends)})
	}
	c.total = total
	return nil
}

// finishStrings copies the strings into a buffer, and makes offsets of their ends.
func (c *flatColumn) finishStrings(out *flatBuffers) error {
	if c.room != nil {
		if err := c.room(int64(c.total)); err != nil {
			return err
		}
	}
	values := out.add(c.total)
	at, ends, indices := 0, c.ends, c.indices
	for _, run := range c.runs {
		if run.data != nil {
			at = copyPlain(values, ends[:run.n], at, run.data)
		} else {
			at = copyPicked(values, ends[:run.n], at, &c.dict, indices[:run.n])
			indices = indices[run.n:]
		}
		ends = ends[run.n:]
	}
	c.pages.forget()
	if c.set < c.rows {
		spreadEnds(c.ends[:c.rows], c.set, c.valid)
	}
	if large(c.typ) {
		offsets := arrow.Int64Traits.CastFromBytes(out.all[0].Bytes())
		offsets[0] = 0
		for i, end := range c.ends[:c.rows] {
			offsets[i+1] = int64(end)
		}
	}
	return nil
}

// Short strings are copied in pieces of fixed size, which may reach into the place of the next
// string: that is several times as fast as a call that looks at the length.
const (
	shortString = 32
	usualString = 128
)

// copyPlain copies strings that end at ends, from data, where each has its length before it, to
// values from at on. It gives the last end.
func copyPlain(values []byte, ends []int32, at int, data []byte) int {
	pos := 0
	for _, e := range ends {
		end := int(e)
		size := end - at
		pos += 4
		switch {
		case size > usualString || at+usualString > len(values) || pos+usualString > len(data):
			copy(values[at:end], data[pos:pos+size])
		case size <= shortString:
			*(*[shortString]byte)(values[at:]) = *(*[shortString]byte)(data[pos:])
		default:
			*(*[usualString]byte)(values[at:]) = *(*[usualString]byte)(data[pos:])
		}
		at = end
		pos += size
	}
	return at
}

// copyPicked copies strings of the dictionary.
func copyPicked(values []byte, ends []int32, at int, dict *flatDict, indices []uint32) int {
	for i, e := range ends {
		end := int(e)
		pos := int(dict.strings[indices[i]].at)
		if end-at > shortString || at+shortString > len(values) || pos+shortString > len(dict.raw) {
			copy(values[at:end], dict.raw[pos:])
		} else {
			*(*[shortString]byte)(values[at:]) = *(*[shortString]byte)(dict.raw[pos:])
		}
		at = end
	}
	return at
}

// spreadEnds moves the ends of set strings to the rows that are not null. A null ends where
// the row before it does.
func spreadEnds(ends []int32, set int, valid []byte) {
	from := set - 1
	for to := len(ends) - 1; to > from; to-- {
		end := int32(0)
		if from >= 0 {
			end = ends[from]
		}
		ends[to] = end
		if bitutil.BitIsSet(valid, to) {
			from--
		}
	}
}
