package readers

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/schema"

	"github.com/penstock-data/penstock/stage"
)

// Arrow's decoder holds a page three times: as it is stored, in a buffer that grows by
// doubling, and unpacked. That is little where pages have the usual 1 MiB; but pyarrow ends
// a page only at every 1,024th row, so one of long texts has 50 MB, and two readers of such
// a file take 400 MB. So large pages are unpacked here, piece by piece, and given to Arrow as
// many small ones: pages of version 2 may each say that they are not compressed.
const (
	// largePage is the size of a page, unpacked, from which on it is cut up.
	largePage = 2 << 20
	// cutPage is the size of what it is cut into.
	cutPage = 512 << 10
	// pagesBase is where the first column's pages lie in the file that Arrow is shown;
	// the others' follow at the same distance. No file is so large.
	pagesBase = 1 << 44
	// rawBuffer is the read buffer of a column whose pages are looked at. A page header
	// that does not fit in is left to Arrow.
	rawBuffer = 64 << 10
)

// pagedInput is a Parquet file as Arrow is to see it: column chunks that may have large
// pages lie behind its end, with these pages cut up.
type pagedInput struct {
	*input
	chunks []*pageCutter
}

func (p *pagedInput) ReadAt(b []byte, off int64) (int, error) {
	if off < pagesBase {
		return p.input.ReadAt(b, off)
	}
	c := p.chunks[off/pagesBase-1]
	return c.readAt(b, off%pagesBase)
}

// cuts says whether the pages of a column come from a cutter.
func (p *pagedInput) cuts(leaf int) bool {
	return p != nil && slices.ContainsFunc(p.chunks, func(c *pageCutter) bool { return c.leaf == leaf })
}

// err is the first fault of the pages.
func (p *pagedInput) err() error {
	if p == nil {
		return nil
	}
	for _, c := range p.chunks {
		if c.err != nil && c.err != io.EOF {
			return c.err
		}
	}
	return nil
}

func (p *pagedInput) close() {
	if p == nil {
		return
	}
	for _, c := range p.chunks {
		c.close()
	}
}

// paged gives the file and the footer that Arrow is to read row group group by; nil if
// none of its chunks may have a large page.
func (f *parquetFile) paged(env stage.Env, group int, cols []int) (*pagedInput, *metadata.FileMetaData) {
	meta := f.MetaData()
	if f.WriterVersion().LessThan(metadata.Parquet816FixedVersion) || f.encrypted(group) {
		return nil, nil // their chunks may be longer than they say; those are sealed
	}
	whole, part := *meta.FileMetaData, *meta.RowGroups[group]
	shown := *meta
	shown.FileMetaData = &whole
	whole.RowGroups = append(whole.RowGroups[:0:0], whole.RowGroups...)
	whole.RowGroups[group] = &part
	part.Columns = append(part.Columns[:0:0], part.Columns...)
	in := &pagedInput{input: f.in}
	for _, leaf := range cols {
		chunk := *part.Columns[leaf]
		if chunk.MetaData == nil || chunk.MetaData.TotalUncompressedSize <= largePage || !streams(chunk.MetaData.Codec.String()) {
			continue
		}
		m := *chunk.MetaData
		start := m.DataPageOffset
		if m.DictionaryPageOffset != nil && *m.DictionaryPageOffset > 0 && *m.DictionaryPageOffset < start {
			start = *m.DictionaryPageOffset
		}
		c := f.cutterFor(env, leaf, m.Codec.String())
		c.at, c.end = start, start+m.TotalCompressedSize
		in.chunks = append(in.chunks, c)
		m.DataPageOffset = int64(len(in.chunks)) * pagesBase
		m.DictionaryPageOffset = nil // it is the first page there
		m.TotalCompressedSize = pagesBase - 1
		chunk.MetaData = &m
		part.Columns[leaf] = &chunk
	}
	if len(in.chunks) == 0 {
		return nil, nil
	}
	return in, &shown
}

func (f *parquetFile) encrypted(group int) bool {
	for _, c := range f.MetaData().RowGroups[group].Columns {
		if c.CryptoMetadata != nil {
			return true
		}
	}
	return false
}

// pageCutter gives the pages of a column chunk as a stream. Small ones and dictionaries
// are given as they are.
type pageCutter struct {
	in   *input
	env  stage.Env
	name string
	leaf int
	at   int64 // in the file: where raw goes on
	end  int64 // of the chunk
	raw  *bufio.Reader
	pass int64 // bytes of raw that are given as they are

	maxDef, maxRep int
	width          int64 // of a value in PLAIN encoding; 0: a length stands before each; -1: no whole bytes
	unpack         unpacker

	page  *bigPage
	head  []byte // of a small page, with its levels
	data  []byte // and its values
	defs  []byte
	out   [2][]byte // made, and not yet given
	given int64
	rows  int64 // of the pages given so far
	held  int64
	err   error
}

// bigPage is a page that is being cut up.
type bigPage struct {
	pageHeader
	begin  int64 // of its body in the file
	body   *bufio.Reader
	read   int64 // of body
	levels *levelRuns
	left   int64 // levels
	whole  bool  // its decoder keeps all of it
	rest   int64 // bytes that are given as they come from body: it cannot be cut
}

func newPageCutter(in *input, env stage.Env, col *schema.Column) *pageCutter {
	c := &pageCutter{in: in, env: env, name: col.Path()}
	c.maxDef, c.maxRep = int(col.MaxDefinitionLevel()), int(col.MaxRepetitionLevel())
	switch col.PhysicalType() {
	case parquet.Types.Int32, parquet.Types.Float:
		c.width = 4
	case parquet.Types.Int64, parquet.Types.Double:
		c.width = 8
	case parquet.Types.Int96:
		c.width = 12
	case parquet.Types.FixedLenByteArray:
		c.width = int64(max(col.TypeLength(), 1))
	case parquet.Types.ByteArray:
	default:
		c.width = -1
	}
	return c
}

// hold books that the chunk's buffers take n bytes.
func (c *pageCutter) hold(n int64) {
	c.env.Book(stage.ReaderBuffers, n-c.held)
	c.held = n
}

func (c *pageCutter) close() {
	c.hold(0)
	c.unpack.close()
	c.page, c.raw, c.head, c.data, c.defs, c.out = nil, nil, nil, nil, nil, [2][]byte{}
	if c.err == nil {
		c.err = io.EOF
	}
}

func (c *pageCutter) readAt(b []byte, off int64) (n int, err error) {
	if off != c.given {
		return 0, fmt.Errorf("column %q is read at %d behind %d", c.name, off, c.given)
	}
	for n < len(b) && c.err == nil {
		k, err := c.step(b[n:])
		n += k
		c.err = err
	}
	c.given += int64(n)
	if n < len(b) {
		return n, c.err
	}
	return n, nil
}

// step gives some bytes, or makes some that can be given.
func (c *pageCutter) step(b []byte) (int, error) {
	switch {
	case len(c.out[0])+len(c.out[1]) > 0:
		i := 0
		if len(c.out[0]) == 0 {
			i = 1
		}
		n := copy(b, c.out[i])
		c.out[i] = c.out[i][n:]
		return n, nil
	case c.page != nil && c.page.rest > 0:
		n := min(int64(len(b)), c.page.rest)
		c.page.rest -= n
		return int(n), c.explain(c.read(c.page, b[:n]))
	case c.page != nil:
		return 0, c.explain(c.cut())
	case c.pass > 0:
		n, err := c.raw.Read(b[:min(int64(len(b)), c.pass)])
		c.pass -= int64(n)
		c.at += int64(n)
		return n, err
	case c.at >= c.end:
		return 0, io.EOF
	}
	return 0, c.next()
}

func (c *pageCutter) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case c.in.fault != nil:
		return c.in.fault
	case err == io.EOF:
		return fmt.Errorf("the data is corrupt: a page ends early: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// next looks at the next page.
func (c *pageCutter) next() error {
	if c.raw == nil {
		c.raw = bufio.NewReaderSize(io.NewSectionReader(c.in, c.at, c.end-c.at), rawBuffer)
		c.hold(max(c.held, rawBuffer))
	}
	var h pageHeader
	size := 0
	for try := 4 << 10; ; try = min(2*try, rawBuffer) {
		head, err := c.raw.Peek(int(min(int64(try), c.end-c.at)))
		if err != nil && err != io.EOF {
			return err
		}
		if h, size, err = parsePageHeader(head); err == nil {
			break
		}
		if try == rawBuffer || len(head) < try || !errors.Is(err, errShortHeader) {
			c.pass = c.end - c.at // Arrow reports what is wrong with it
			return nil
		}
	}
	if h.unpacked <= largePage || h.kind != pageData && h.kind != pageDataV2 || h.kind == pageData && !c.plainLevels(h) {
		c.pass = int64(size) + h.stored
		if h.kind != pageDictionary {
			c.rows += h.values
		}
		// Arrow's decoder keeps a buffer of twice the page as it is stored, and the page.
		c.hold(max(c.held, rawBuffer+2*h.stored+h.unpacked))
		return nil
	}
	if _, err := c.raw.Discard(size); err != nil {
		return err
	}
	c.at += int64(size)
	if h.stored > c.end-c.at || h.unpacked > math.MaxInt32 {
		return errBadHeader
	}
	c.page = &bigPage{pageHeader: h, begin: c.at, left: h.values}
	return c.explain(c.start(c.page))
}

// plainLevels says whether the levels of a page of version 1 are encoded as those of
// version 2 are.
func (c *pageCutter) plainLevels(h pageHeader) bool {
	return (c.maxDef == 0 || h.defEnc == encodingRLE) && (c.maxRep == 0 || h.repEnc == encodingRLE)
}

// start reads the levels of a large page.
func (c *pageCutter) start(p *bigPage) error {
	if err := c.openBody(p); err != nil {
		return err
	}
	rep, err := c.levels(p, c.maxRep, p.repLen)
	if err != nil {
		return err
	}
	def, err := c.levels(p, c.maxDef, p.defLen)
	if err != nil {
		return err
	}
	if c.maxRep > 0 || p.encoding != encodingPlain || c.width < 0 {
		// It cannot be cut, but need not be held as it is stored too.
		if err := c.env.Room(c.in.ctx, p.unpacked); err != nil {
			return err
		}
		p.repLen, p.defLen = int64(len(rep)), int64(len(def))
		rest := p.unpacked - p.read
		h := p.pageHeader
		h.unpacked = rest + p.repLen + p.defLen
		if h.rows == 0 {
			h.rows = h.values
		}
		c.give(h, rep, def, nil)
		p.rest, p.left = rest, 0
		return nil
	}
	p.levels = newLevelRuns(def, c.maxDef)
	return nil
}

// openBody opens what the page holds. The levels of a page of version 2 are not compressed.
func (c *pageCutter) openBody(p *bigPage) error {
	raw := io.NewSectionReader(c.in, p.begin, p.stored)
	if p.kind == pageDataV2 {
		levels := p.repLen + p.defLen
		if p.repLen < 0 || p.defLen < 0 || levels > p.stored || levels > p.unpacked {
			return errBadHeader
		}
		if p.packed && c.unpack.codec != "UNCOMPRESSED" {
			head := io.NewSectionReader(c.in, p.begin, levels)
			body, err := c.unpack.open(bufio.NewReaderSize(io.NewSectionReader(c.in, p.begin+levels, p.stored-levels), rawBuffer), p.unpacked-levels, p.whole)
			if err != nil {
				return err
			}
			p.body = bufio.NewReaderSize(io.MultiReader(head, body), rawBuffer)
			c.holdPage(p)
			return nil
		}
		p.body = bufio.NewReaderSize(raw, rawBuffer)
		c.holdPage(p)
		return nil
	}
	body, err := c.unpack.open(bufio.NewReaderSize(raw, rawBuffer), p.unpacked, p.whole)
	if err != nil {
		return err
	}
	p.body = bufio.NewReaderSize(body, rawBuffer)
	c.holdPage(p)
	return nil
}

func (c *pageCutter) holdPage(p *bigPage) {
	held := 3*int64(rawBuffer) + c.unpack.held() + int64(cap(c.data)+cap(c.defs)+cap(c.head))
	if p.whole {
		held += p.unpacked
	}
	c.hold(max(c.held, held))
}

// levels reads the levels of a page: size bytes, or in version 1 as many as it says there.
func (c *pageCutter) levels(p *bigPage, maxLevel int, size int64) ([]byte, error) {
	if p.kind == pageData {
		if maxLevel == 0 {
			return nil, nil
		}
		var head [4]byte
		if err := c.read(p, head[:]); err != nil {
			return nil, err
		}
		size = int64(binary.LittleEndian.Uint32(head[:]))
	}
	if size > p.unpacked-p.read {
		return nil, errBadLevels
	}
	b := make([]byte, size)
	return b, c.read(p, b)
}

// read reads from the body. Where that refers further back than its decoder can see, the
// page is begun again by one that keeps all of it.
func (c *pageCutter) read(p *bigPage, b []byte) error {
	n, err := io.ReadFull(p.body, b)
	if errors.Is(err, errFar) && !p.whole {
		p.whole = true
		if err = c.env.Room(c.in.ctx, p.unpacked); err == nil {
			err = c.openBody(p)
		}
		if err == nil {
			_, err = io.CopyN(io.Discard, p.body, p.read+int64(n))
		}
		if err == nil {
			var more int
			more, err = io.ReadFull(p.body, b[n:])
			n += more
		}
	}
	p.read += int64(n)
	if errors.Is(err, errFar) {
		err = errSnappy
	}
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	return err
}

// cut makes the next small page, or ends the large one.
func (c *pageCutter) cut() error {
	p := c.page
	if p.left == 0 {
		c.at = p.begin + p.stored
		c.page, c.raw = nil, nil // the next page begins a buffer of its own
		return nil
	}
	if c.data, c.defs = c.data[:0], c.defs[:0]; cap(c.data) > 2*largePage { // of one large value
		c.data = nil
	}
	var levels int64
	for p.left > 0 && len(c.data) < cutPage && len(c.defs) < cutPage {
		n, defined, err := c.run(p)
		if err != nil {
			return err
		}
		if defined {
			if n, err = c.values(p, n, levels); err != nil {
				return err
			}
		}
		if c.maxDef > 0 {
			level, _, _ := p.levels.peek()
			c.defs = appendRun(c.defs, level, int(n), c.maxDef)
			p.levels.take(int(n))
		}
		p.left -= n
		levels += n
	}
	c.rows += levels
	h := p.pageHeader
	h.values, h.rows, h.repLen, h.defLen = levels, levels, 0, int64(len(c.defs))
	h.unpacked = int64(len(c.defs) + len(c.data))
	c.give(h, nil, c.defs, c.data)
	c.holdPage(p)
	return nil
}

// run is how many of the next levels are equal, and whether values belong to them.
func (c *pageCutter) run(p *bigPage) (n int64, defined bool, err error) {
	if c.maxDef == 0 {
		return p.left, true, nil
	}
	level, k, err := p.levels.peek()
	return min(int64(k), p.left), level == c.maxDef, err
}

// values reads up to n values, as many as a small page takes, and says how many.
// levels is how many levels stand before them in the small page.
func (c *pageCutter) values(p *bigPage, n, levels int64) (int64, error) {
	if c.width > 0 {
		n = min(n, max((cutPage-int64(len(c.data)))/c.width, 1))
		return n, c.append(p, n*c.width)
	}
	var k int64
	for k < n && len(c.data) < cutPage {
		at := len(c.data)
		if err := c.append(p, 4); err != nil {
			return k, err
		}
		size := int64(binary.LittleEndian.Uint32(c.data[at:]))
		if size > p.unpacked-p.read {
			return k, errBadHeader
		}
		if size > largePage { // it is copied on its way: here, by Arrow and into a block
			if err := c.env.Room(c.in.ctx, size); err != nil {
				return k, &roomError{c.rows + levels + k, err}
			}
		}
		if err := c.append(p, size); err != nil {
			return k, err
		}
		k++
	}
	return k, nil
}

func (c *pageCutter) append(p *bigPage, n int64) error {
	at := len(c.data)
	if need := at + int(n); need > cap(c.data) {
		c.data = append(make([]byte, 0, max(need, min(2*cap(c.data), cutPage+largePage/8))), c.data...)
	}
	c.data = c.data[:at+int(n)]
	return c.read(p, c.data[at:])
}

// roomError is a row of a row group that there is no room for.
type roomError struct {
	row int64
	err error
}

func (e *roomError) Error() string { return e.err.Error() }
func (e *roomError) Unwrap() error { return e.err }

// give puts a page in the way out.
func (c *pageCutter) give(h pageHeader, rep, def, data []byte) {
	c.head = appendPageHeader(c.head[:0], h)
	c.head = append(append(c.head, rep...), def...)
	c.out = [2][]byte{c.head, data}
}
