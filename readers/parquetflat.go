package readers

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
)

// flatColumn decodes a column that is not nested, of a common type and encoding, straight
// from its pages into the memory of the consumer. Arrow's decoder takes such a column value
// by value through a builder, and each page into new memory, for more than twice the time.
type flatColumn struct {
	pages  flatPages
	typ    arrow.DataType
	phys   parquet.Type
	width  int // bytes of a value; 0: strings and booleans
	page   flatPage
	dict   flatDict
	hasDic bool
	before []byte // the last string of the page before, where strings are told by their difference
	// room waits until there is room for the bytes of strings, which are not known before
	// their lengths are; nil: it need not be asked.
	room func(bytes int64) error

	// the record that is decoded
	rows    int
	set     int // values; the other rows are null
	values  []byte
	valid   []byte        // empty: no null so far
	indices []uint32      // into the dictionary
	ends    []int32       // of strings: the first set are those of the values
	total   int           // bytes of strings
	runs    []stringRun   // where strings lie
	mem     *bookedMemory // books what is held
	held    int64
}

// flatPage is a data page that is being decoded.
type flatPage struct {
	left      int    // rows
	at        int    // row that comes next
	valid     []byte // a bit a row; nil: no nulls
	bits      []byte // memory of valid
	plain     bool
	data      []byte // plain values that are left
	plainBits []byte // memory of data, for booleans in runs
	bit       int    // of data, for booleans
	index     indexRuns
}

// flatDict holds a column's dictionary.
type flatDict struct {
	raw     []byte // as the page holds it
	strings []dictString
	n       int
}

// dictString is where a string lies in the dictionary's page.
type dictString struct{ at, size uint32 }

// indicesAtOnce is how many indices are looked up before the next are read.
const indicesAtOnce = 1024

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

// next decodes n rows into buffers of mem that are as large as what they hold.
func (c *flatColumn) next(n int, mem memory.Allocator) (arrow.Array, error) {
	out := flatBuffers{mem: mem}
	defer out.release()
	c.rows, c.set, c.total, c.values, c.valid, c.indices, c.runs = 0, 0, 0, nil, c.valid[:0], c.indices[:0], c.runs[:0]
	switch {
	case c.phys == parquet.Types.ByteArray:
		c.ends = c.endsIn(&out, n)
	case c.phys == parquet.Types.Boolean:
		c.values = out.add((n + 7) / 8)
		endBits(c.values)
	default:
		c.values = out.add(n * c.width)
	}
	for c.rows < n {
		if c.page.left == 0 {
			if err := c.load(); err != nil {
				return nil, err
			}
			continue
		}
		if err := c.take(min(c.page.left, n-c.rows)); err != nil {
			return nil, err
		}
	}
	if c.phys == parquet.Types.ByteArray {
		if err := c.finishStrings(&out); err != nil {
			return nil, err
		}
	}
	c.book()
	return c.array(&out), nil
}

// array makes an array of the buffers.
func (c *flatColumn) array(out *flatBuffers) arrow.Array {
	var valid *memory.Buffer
	if c.set < c.rows {
		copy(out.add(len(c.valid)), c.valid)
		valid = out.all[len(out.all)-1]
	}
	buffers := []*memory.Buffer{valid, out.all[0]}
	if c.phys == parquet.Types.ByteArray {
		buffers = append(buffers, out.all[1])
	}
	data := array.NewData(c.typ, c.rows, buffers, nil, c.rows-c.set, 0)
	defer data.Release()
	return array.MakeFromData(data)
}

// flatBuffers are the buffers of an array that is being made.
type flatBuffers struct {
	mem memory.Allocator
	all []*memory.Buffer
}

func (b *flatBuffers) add(size int) []byte {
	buf := memory.NewResizableBuffer(b.mem)
	b.all = append(b.all, buf)
	buf.Resize(size)
	return buf.Bytes()
}

func (b *flatBuffers) release() {
	for _, buf := range b.all {
		buf.Release()
	}
}

// book accounts for the memory that the column keeps.
func (c *flatColumn) book() {
	now := int64(c.pages.held() + cap(c.valid) + 4*cap(c.indices) + cap(c.page.bits) + cap(c.page.plainBits) + cap(c.before) + cap(c.dict.raw) +
		8*cap(c.dict.strings))
	if large(c.typ) {
		now += int64(4 * cap(c.ends))
	}
	c.mem.book(now - c.held)
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
		err = c.strings(set)
	default:
		err = c.fixed(k, set)
	}
	if err != nil {
		return err
	}
	c.validity(k, set)
	p.left, p.at, c.rows, c.set = p.left-k, p.at+k, c.rows+k, c.set+set
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
	had := len(c.valid)
	c.valid = extend(c.valid, (c.rows+k+7)/8-had)
	endBits(c.valid[had:])
	if set == k {
		bitutil.SetBitsTo(c.valid, int64(c.rows), int64(k), true)
	} else {
		bitutil.CopyBitmap(c.page.valid, c.page.at, k, c.valid, c.rows)
	}
}

// endBits clears the last byte of a bitmap, whose end may be no row's: what comes out is to hang
// on the rows alone, not on what the memory held before.
func endBits(bitmap []byte) {
	if n := len(bitmap); n > 0 {
		bitmap[n-1] = 0
	}
}

// extend makes b n values longer, at a growing rate. What stands in them is not said.
func extend[T any](b []T, n int) []T {
	if n <= 0 {
		return b
	}
	if len(b)+n <= cap(b) {
		return b[:len(b)+n]
	}
	grown := make([]T, len(b)+n, max(len(b)+n, 2*len(b)))
	copy(grown, b)
	return grown
}

// fixed decodes set values into k places of fixed width.
func (c *flatColumn) fixed(k, set int) error {
	into := c.values[c.rows*c.width : (c.rows+k)*c.width]
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
		n := min(set-done, indicesAtOnce)
		c.indices = extend(c.indices[:0], n)
		if err := c.readIndices(c.indices); err != nil {
			return err
		}
		if c.width == 4 {
			gather(arrow.Uint32Traits.CastFromBytes(into)[done:], arrow.Uint32Traits.CastFromBytes(c.dict.raw), c.indices)
		} else {
			gather(arrow.Uint64Traits.CastFromBytes(into)[done:], arrow.Uint64Traits.CastFromBytes(c.dict.raw), c.indices)
		}
		done += n
	}
	return nil
}

func gather[T uint32 | uint64](into, dict []T, indices []uint32) {
	into = into[:len(indices)]
	for i, at := range indices {
		into[i] = dict[at]
	}
}

// readIndices fills indices with the next ones into the dictionary, all of which it has.
func (c *flatColumn) readIndices(indices []uint32) error {
	if !c.hasDic {
		return errors.New("the data is corrupt: a page refers to a dictionary that the column lacks")
	}
	if err := c.page.index.read(indices); err != nil {
		return err
	}
	var highest uint32
	for _, at := range indices {
		highest = max(highest, at)
	}
	if uint64(highest) >= uint64(c.dict.n) && len(indices) > 0 {
		return fmt.Errorf("the data is corrupt: value %d of a dictionary of %d", highest, c.dict.n)
	}
	return nil
}

// spread moves the first set values to the places that valid says; the others become zero.
func spread[T int32 | uint32 | uint64](values []T, set int, valid []byte, at int) {
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

// booleans decodes set bits into k.
func (c *flatColumn) booleans(k, set int) error {
	p := &c.page
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
