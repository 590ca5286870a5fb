package readers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
)

// flatColumn decodes a column that is not nested, of a common type and encoding, straight
// from its pages into buffers that it uses again. Arrow's decoder takes such a column value
// by value through a builder, and each page into new memory, for more than twice the time.
type flatColumn struct {
	pages  *flatPages
	typ    arrow.DataType
	phys   parquet.Type
	width  int // bytes of a value; 0: strings and booleans
	page   flatPage
	dict   flatDict
	hasDic bool

	// the batch that is decoded; what next gave lies in these
	rows    int
	nulls   int
	values  []byte // fixed width, bits, or the bytes of strings
	offsets []int32
	wide    []int64 // offsets of large strings
	valid   []byte  // empty: no null so far
	indices []uint32
	held    int64 // booked for all of these
}

// flatPage is a data page that is being decoded.
type flatPage struct {
	left  int    // rows
	at    int    // row that comes next
	valid []byte // a bit a row; nil: no nulls
	bits  []byte // memory of valid
	plain bool
	data  []byte // plain values that are left
	bit   int    // of data, for booleans
	index indexRuns
}

// flatDict holds a column's dictionary.
type flatDict struct {
	values  []byte
	offsets []int32 // of strings
	n       int
}

var errFlat = errors.New("the data is corrupt: a page ends before its values do")

// flatWidth knows the types whose values Parquet stores as Arrow does, and their size there.
func flatWidth(t arrow.DataType, phys parquet.Type) (width int, ok bool) {
	switch phys {
	case parquet.Types.Boolean:
		return 0, t.ID() == arrow.BOOL
	case parquet.Types.ByteArray:
		return 0, t.ID() == arrow.STRING || t.ID() == arrow.BINARY || large(t)
	case parquet.Types.Int32:
		return 4, t.ID() == arrow.INT32 || t.ID() == arrow.UINT32 || t.ID() == arrow.DATE32 || t.ID() == arrow.TIME32
	case parquet.Types.Int64:
		return 8, t.ID() == arrow.INT64 || t.ID() == arrow.UINT64 || t.ID() == arrow.TIMESTAMP || t.ID() == arrow.TIME64
	case parquet.Types.Float:
		return 4, t.ID() == arrow.FLOAT32
	case parquet.Types.Double:
		return 8, t.ID() == arrow.FLOAT64
	}
	return 0, false
}

func large(t arrow.DataType) bool {
	return t.ID() == arrow.LARGE_STRING || t.ID() == arrow.LARGE_BINARY
}

// next decodes n rows. The array lies in memory that the call after uses again.
func (c *flatColumn) next(n int64) (arrow.Array, error) {
	c.rows, c.nulls = 0, 0
	c.values, c.valid, c.offsets = c.values[:0], c.valid[:0], append(c.offsets[:0], 0)
	for c.rows < int(n) {
		if c.page.left == 0 {
			if err := c.load(); err != nil {
				return nil, err
			}
			continue
		}
		if err := c.take(min(c.page.left, int(n)-c.rows)); err != nil {
			return nil, err
		}
	}
	buffers := []*memory.Buffer{nil, memory.NewBufferBytes(c.values)}
	if c.nulls > 0 {
		buffers[0] = memory.NewBufferBytes(c.valid)
	}
	if c.phys == parquet.Types.ByteArray {
		buffers = []*memory.Buffer{buffers[0], memory.NewBufferBytes(c.ends()), buffers[1]}
	}
	c.book()
	data := array.NewData(c.typ, c.rows, buffers, nil, c.nulls, 0)
	defer data.Release()
	return array.MakeFromData(data), nil
}

// ends are the offsets of strings, as wide as their type asks for.
func (c *flatColumn) ends() []byte {
	if !large(c.typ) {
		return arrow.Int32Traits.CastToBytes(c.offsets)
	}
	c.wide = c.wide[:0]
	for _, end := range c.offsets {
		c.wide = append(c.wide, int64(end))
	}
	return arrow.Int64Traits.CastToBytes(c.wide)
}

// book accounts for the memory that the column keeps.
func (c *flatColumn) book() {
	now := int64(cap(c.values) + 4*cap(c.offsets) + 8*cap(c.wide) + cap(c.valid) + 4*cap(c.indices) + cap(c.page.bits) +
		cap(c.dict.values) + 4*cap(c.dict.offsets) + cap(c.pages.stored) + cap(c.pages.page) + c.pages.r.Size())
	c.pages.mem.book(now - c.held)
	c.held = now
}

// take decodes the next k rows of the page.
func (c *flatColumn) take(k int) error {
	p := &c.page
	set := k
	if p.valid != nil {
		set = bitutil.CountSetBits(p.valid, p.at, k)
	}
	var err error
	switch {
	case c.phys == parquet.Types.Boolean:
		err = c.booleans(k, set)
	case c.phys == parquet.Types.ByteArray:
		err = c.strings(k, set)
	default:
		err = c.fixed(k, set)
	}
	if err != nil {
		return err
	}
	c.validity(k, set)
	p.left, p.at, c.rows, c.nulls = p.left-k, p.at+k, c.rows+k, c.nulls+k-set
	return nil
}

// validity notes which of the next k rows are null.
func (c *flatColumn) validity(k, set int) {
	if set == k && len(c.valid) == 0 {
		return
	}
	if len(c.valid) == 0 {
		c.valid = extend(c.valid, (c.rows+7)/8)
		bitutil.SetBitsTo(c.valid, 0, int64(c.rows), true)
	}
	c.valid = extend(c.valid, (c.rows+k+7)/8-len(c.valid))
	if set == k {
		bitutil.SetBitsTo(c.valid, int64(c.rows), int64(k), true)
	} else {
		bitutil.CopyBitmap(c.page.valid, c.page.at, k, c.valid, c.rows)
	}
}

// extend makes b n bytes longer, at a growing rate. What stands in them is not said.
func extend(b []byte, n int) []byte {
	if n <= 0 {
		return b
	}
	if len(b)+n <= cap(b) {
		return b[:len(b)+n]
	}
	grown := make([]byte, len(b)+n, max(len(b)+n, 2*cap(b)))
	copy(grown, b)
	return grown
}

// fixed decodes set values into k places of fixed width.
func (c *flatColumn) fixed(k, set int) error {
	from := len(c.values)
	c.values = extend(c.values, k*c.width)
	into := c.values[from:]
	if c.page.plain {
		size := set * c.width
		if size > len(c.page.data) {
			return errFlat
		}
		copy(into, c.page.data[:size])
		c.page.data = c.page.data[size:]
	} else if err := c.lookUp(into, set); err != nil {
		return err
	}
	if set < k {
		if c.width == 4 {
			spread(arrow.Uint32Traits.CastFromBytes(into), set, c.page.valid, c.page.at)
		} else {
			spread(arrow.Uint64Traits.CastFromBytes(into), set, c.page.valid, c.page.at)
		}
	}
	return nil
}

// lookUp puts set values of the dictionary at the beginning of into.
func (c *flatColumn) lookUp(into []byte, set int) error {
	for done := 0; done < set; {
		indices, err := c.nextIndices(set - done)
		if err != nil {
			return err
		}
		if c.width == 4 {
			gather(arrow.Uint32Traits.CastFromBytes(into)[done:], arrow.Uint32Traits.CastFromBytes(c.dict.values), indices)
		} else {
			gather(arrow.Uint64Traits.CastFromBytes(into)[done:], arrow.Uint64Traits.CastFromBytes(c.dict.values), indices)
		}
		done += len(indices)
	}
	return nil
}

func gather[T uint32 | uint64](into, dict []T, indices []uint32) {
	into = into[:len(indices)]
	for i, at := range indices {
		into[i] = dict[at]
	}
}

// nextIndices gives up to n indices into the dictionary, all of which it has.
func (c *flatColumn) nextIndices(n int) ([]uint32, error) {
	if !c.hasDic {
		return nil, errors.New("the data is corrupt: a page refers to a dictionary that the column lacks")
	}
	indices := c.indices[:min(n, len(c.indices))]
	if err := c.page.index.read(indices); err != nil {
		return nil, err
	}
	var highest uint32
	for _, at := range indices {
		highest = max(highest, at)
	}
	if int(highest) >= c.dict.n {
		return nil, fmt.Errorf("the data is corrupt: value %d of a dictionary of %d", highest, c.dict.n)
	}
	return indices, nil
}

// spread moves the first set values to the places that valid says; the others become zero.
func spread[T uint32 | uint64](values []T, set int, valid []byte, at int) {
	from := set - 1
	for to := len(values) - 1; to > from; to-- {
		if bitutil.BitIsSet(valid, at+to) {
			values[to] = values[from]
			from--
		} else {
			values[to] = 0
		}
	}
}

// strings decodes set strings for k rows.
func (c *flatColumn) strings(k, set int) error {
	from := len(c.offsets)
	if need := from + k; need > cap(c.offsets) {
		c.offsets = append(make([]int32, 0, max(need, 2*cap(c.offsets))), c.offsets...)
	}
	c.offsets = c.offsets[:from+k]
	into := c.offsets[from:]
	var err error
	if c.page.plain {
		err = c.plainStrings(into[:set])
	} else {
		err = c.dictStrings(into[:set])
	}
	if err != nil || set == k {
		return err
	}
	at := set - 1
	for to := k - 1; to > at; to-- {
		end := c.offsets[from-1]
		if at >= 0 {
			end = into[at]
		}
		into[to] = end
		if bitutil.BitIsSet(c.page.valid, c.page.at+to) {
			at--
		}
	}
	return nil
}

// plainStrings copies strings, each of which has its length before it.
func (c *flatColumn) plainStrings(ends []int32) error {
	data, at := c.page.data, len(c.values)
	if free := cap(c.values) - at; free < len(data) { // a page's strings take less than the page
		c.values = extend(c.values, len(data))
	}
	values := c.values[:cap(c.values)]
	pos := 0
	for i := range ends {
		if len(data)-pos < 4 {
			return errFlat
		}
		size := int(binary.LittleEndian.Uint32(data[pos:]))
		pos += 4
		if size > len(data)-pos {
			return errFlat
		}
		at += copy(values[at:], data[pos:pos+size])
		pos += size
		ends[i] = int32(at)
	}
	c.page.data = data[pos:]
	return c.ended(values[:at])
}

func (c *flatColumn) dictStrings(ends []int32) error {
	values, dict := c.values, &c.dict
	for len(ends) > 0 {
		indices, err := c.nextIndices(len(ends))
		if err != nil {
			return err
		}
		for i, at := range indices {
			values = append(values, dict.values[dict.offsets[at]:dict.offsets[at+1]]...)
			ends[i] = int32(len(values))
		}
		if err := c.ended(values); err != nil {
			return err
		}
		ends = ends[len(indices):]
	}
	return nil
}

func (c *flatColumn) ended(values []byte) error {
	c.values = values
	if len(values) > math.MaxInt32 {
		return errors.New("the strings of a record take more than 2 GiB: read it in smaller ones")
	}
	return nil
}

// booleans decodes set bits into k.
func (c *flatColumn) booleans(k, set int) error {
	p := &c.page
	c.values = extend(c.values, (c.rows+k+7)/8-len(c.values))
	if !p.plain || p.bit+set > 8*len(p.data) {
		return errFlat
	}
	if set == k {
		bitutil.CopyBitmap(p.data, p.bit, k, c.values, c.rows)
		p.bit += k
		return nil
	}
	for i := range k {
		on := bitutil.BitIsSet(p.valid, p.at+i)
		bitutil.SetBitTo(c.values, c.rows+i, on && bitutil.BitIsSet(p.data, p.bit))
		if on {
			p.bit++
		}
	}
	return nil
}
