package chunk

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/parquet"
)

const (
	// pageRows and pageBytes bound a page, so that it stays in a processor's cache
	// between its filling and its compression: 30,720 numbers of 4 or 8 bytes and the
	// head just fit 128 and 256 KiB.
	pageRows  = 30 << 10
	pageBytes = 512 << 10
	firstPage = 8 << 10 // a column's page begins small and grows: there may be many files

	// At the beginning of a page's buffer there is room for its header, the length and
	// the header of its levels, and a bit for each row.
	headerRoom = 64
	levelsRoom = 16
	validityAt = headerRoom + levelsRoom
	valuesAt   = validityAt + pageRows/8
)

// page is a data page, or the dictionary's. While it is filled buf holds the values in
// their PLAIN form from valuesAt on, and out is nil.
type page struct {
	buf    []byte
	used   int // of buf
	rows   int
	nulls  int
	bits   int // values of a page of booleans
	masked bool
	bounds bounds // of the values
	raw    int    // bytes before compression, header included
	out    []byte // the whole page as it is in the file
}

func (c *Column) newPage(room int) *page {
	p := &page{buf: buffer(valuesAt + room), used: valuesAt}
	c.book(cap(p.buf))
	return p
}

func (c *Column) book(n int) {
	if c.cfg.Book != nil {
		c.cfg.Book(int64(n))
	}
}

func (c *Column) free(p *page) {
	c.book(-cap(p.buf))
	recycle(p.buf)
	p.buf, p.out = nil, nil
}

// reserve makes room for n bytes more.
func (c *Column) reserve(p *page, n int) {
	if p.used+n <= len(p.buf) {
		return
	}
	larger := buffer(max(p.used+n, min(2*len(p.buf), pageBytes)))
	c.book(cap(larger) - cap(p.buf))
	copy(larger, p.buf[:p.used])
	recycle(p.buf)
	p.buf = larger
}

// full says whether the page should take no more values, or at least none of n bytes.
func (p *page) full(n int) bool {
	return p.rows == pageRows || p.used+n > pageBytes && p.used > valuesAt
}

// mark says of the next n rows, which have nulls nulls, which ones are valid: those whose
// bit in valid is set.
func (p *page) mark(valid []byte, from, n, nulls int) {
	mask := p.buf[validityAt:valuesAt]
	switch {
	case nulls > 0 && !p.masked:
		p.masked = true
		clear(mask)
		bitutil.SetBitsTo(mask, 0, int64(p.rows), true)
		fallthrough
	case nulls > 0:
		bitutil.CopyBitmap(valid, from, n, mask, p.rows)
	case p.masked:
		bitutil.SetBitsTo(mask, int64(p.rows), int64(n), true)
	}
	p.rows += n
	p.nulls += nulls
}

// putLevels writes the definition levels so that they end where the values begin, and
// returns where they begin: one run if all rows are the same, else the bits as they are,
// which is what the hybrid encoding packs levels of one bit into.
func (p *page) putLevels() (begin int) {
	var head [levelsRoom]byte
	bytes := 1
	run := head[4:4]
	if p.nulls == 0 || p.nulls == p.rows {
		run = binary.AppendUvarint(run, uint64(p.rows)<<1)
		last := byte(1)
		if p.nulls > 0 {
			last = 0
		}
		p.buf[valuesAt-1] = last
	} else {
		bytes = (p.rows + 7) / 8
		run = binary.AppendUvarint(run, uint64(bytes)<<1|1)
		copy(p.buf[valuesAt-bytes:], p.buf[validityAt:validityAt+bytes])
	}
	binary.LittleEndian.PutUint32(head[:], uint32(len(run)+bytes))
	begin = valuesAt - bytes - len(run) - 4
	copy(p.buf[begin:], head[:4+len(run)])
	return begin
}

// seal makes a data page of what stands in buf.
func (c *Column) seal(p *page, encoding parquet.Encoding) error {
	begin := valuesAt
	if c.levels {
		begin = p.putLevels()
	}
	return c.pack(p, begin, dataHeader(p.rows, encoding))
}

// pack compresses the page's bytes from begin on and puts the header before them.
func (c *Column) pack(p *page, begin int, header func(dst []byte, raw, compressed int) []byte) error {
	body := p.buf[begin:p.used]
	if len(body) > math.MaxInt32 {
		return tooLong(int64(len(body)))
	}
	var room [headerRoom]byte
	if c.cfg.compress == nil {
		head := header(room[:0], len(body), len(body))
		copy(p.buf[begin-len(head):], head)
		p.raw = len(head) + len(body)
		p.out = p.buf[begin-len(head) : p.used]
		return nil
	}
	work := buffer(bound(len(body)))
	defer recycle(work)
	packed := c.cfg.compress(work, body)
	if len(packed) == 0 {
		return errors.New("chunk: the page was not compressed")
	}
	head := header(room[:0], len(body), len(packed))
	p.raw = len(head) + len(body)
	c.keep(p, head, packed)
	return nil
}

// keep puts the page into the smallest buffer that it has, or gets, for it.
func (c *Column) keep(p *page, head, packed []byte) {
	if n := len(head) + len(packed); n > len(p.buf) || 2*n < len(p.buf) {
		c.book(-cap(p.buf))
		recycle(p.buf)
		p.buf = buffer(n)
		c.book(cap(p.buf))
	}
	n := copy(p.buf, head)
	n += copy(p.buf[n:], packed)
	p.out = p.buf[:n]
}

// dataHeader makes a page's header in Thrift's compact form: PageHeader{type,
// uncompressed_page_size, compressed_page_size, data_page_header{num_values, encoding,
// definition_level_encoding, repetition_level_encoding}}.
func dataHeader(rows int, encoding parquet.Encoding) func(dst []byte, raw, compressed int) []byte {
	return func(dst []byte, raw, compressed int) []byte {
		rle := int64(parquet.Encodings.RLE)
		dst = sizes(dst, 0, raw, compressed)
		dst = append(dst, 2<<4|thriftStruct)
		dst = thriftInts(dst, int64(rows), int64(encoding), rle, rle)
		return append(dst, 0, 0)
	}
}

// wordsHeader is that of a dictionary: dictionary_page_header{num_values, encoding,
// is_sorted} in the place of the data page's.
func wordsHeader(words int) func(dst []byte, raw, compressed int) []byte {
	return func(dst []byte, raw, compressed int) []byte {
		dst = sizes(dst, 2, raw, compressed)
		dst = append(dst, 4<<4|thriftStruct)
		dst = thriftInts(dst, int64(words), int64(parquet.Encodings.Plain))
		return append(dst, 1<<4|thriftFalse, 0, 0)
	}
}

const (
	thriftFalse  = 2
	thriftInt    = 5
	thriftStruct = 12
)

func sizes(dst []byte, kind int64, raw, compressed int) []byte {
	return thriftInts(dst, kind, int64(raw), int64(compressed))
}

// thriftInts appends fields of 32-bit integers, each with the number after the last one's.
func thriftInts(dst []byte, values ...int64) []byte {
	for _, v := range values {
		dst = append(dst, 1<<4|thriftInt)
		dst = binary.AppendVarint(dst, v)
	}
	return dst
}
