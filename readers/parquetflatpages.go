package readers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/penstock-data/penstock/stage"
)

const (
	encodingPlainDict = 2
	encodingBitPacked = 4
	encodingRLEDict   = 8

	maxHeader = 64 << 10
)

// flatPages reads the pages of a column chunk one after the other, into memory that it uses
// again.
type flatPages struct {
	chunk    chunkReader
	codec    interface{ Decode(dst, src []byte) []byte } // nil: not compressed
	snappy   bool
	optional bool
	page     []byte
	kept     [][]byte // pages that are still needed, beside the last
	free     [][]byte
	left     int64 // values of the chunk
	most     int64 // bytes of a page
	cutter   func() *pageCutter
}

// flatLeaf says whether flatColumn knows how to decode a field, if it is a leaf.
func (f *parquetFile) flatLeaf(node *pqarrow.SchemaField, group int) bool {
	if len(node.Children) > 0 {
		return false
	}
	col := f.MetaData().Schema.Column(node.ColIndex)
	chunk := f.MetaData().RowGroups[group].Columns[node.ColIndex]
	if f.WriterVersion().LessThan(metadata.Parquet816FixedVersion) { // its chunks may be longer than they say
		return false
	}
	if _, ok := flatWidth(node.Field.Type, col.PhysicalType()); !ok || col.MaxRepetitionLevel() > 0 || col.MaxDefinitionLevel() > 1 {
		return false
	}
	if chunk.MetaData == nil || chunk.CryptoMetadata != nil {
		return false
	}
	for _, e := range chunk.MetaData.Encodings {
		switch int64(e) {
		case encodingPlain, encodingPlainDict, encodingRLE, encodingRLEDict, encodingBitPacked,
			encodingDeltaPacked, encodingDeltaLength, encodingDeltaBytes, encodingByteStream:
		default:
			return false
		}
	}
	return pageCodec(compress.Compression(chunk.MetaData.Codec)) != nil // Arrow's decoder says what is wrong
}

// pageCodec undoes a codec a page at a time; nil: there is none.
func pageCodec(c compress.Compression) interface{ Decode(dst, src []byte) []byte } {
	if c == codecLZ4Raw {
		return lz4Raw{}
	}
	codec, err := compress.GetCodec(c)
	if err != nil {
		return nil
	}
	return codec
}

// flat makes c, which has no file, the decoder of a leaf that flatLeaf knows.
func (f *parquetFile) flat(c *flatColumn, env stage.Env, node *pqarrow.SchemaField, group int) {
	col := f.MetaData().Schema.Column(node.ColIndex)
	meta := f.MetaData().RowGroups[group].Columns[node.ColIndex].MetaData
	start := meta.DataPageOffset
	if meta.DictionaryPageOffset != nil && *meta.DictionaryPageOffset > 0 && *meta.DictionaryPageOffset < start {
		start = *meta.DictionaryPageOffset
	}
	p := &c.pages
	p.optional, p.left = col.MaxDefinitionLevel() == 1, meta.NumValues
	p.most = min(max(meta.TotalUncompressedSize, cutPage)+maxHeader, math.MaxInt32) // as the format bounds a page
	p.chunk = newChunk(f.in, start, meta.TotalCompressedSize, int(f.props.BufferSize), p.chunk.buf)
	p.cutter = func() *pageCutter { return f.cutterFor(env, node.ColIndex, meta.Codec.String()) }
	if codec := compress.Compression(meta.Codec); codec != compress.Codecs.Uncompressed {
		p.codec = pageCodec(codec)
		p.snappy = codec == compress.Codecs.Snappy
	}
	c.typ, c.phys = node.Field.Type, col.PhysicalType()
	c.width, _ = flatWidth(c.typ, c.phys)
}

// header reads the header of the next page.
func (p *flatPages) header() (pageHeader, error) {
	for size := 256; ; size *= 4 {
		b, err := p.chunk.window(size)
		if err != nil || len(b) == 0 {
			return pageHeader{}, fmt.Errorf("the column ends early: %w", noEOF(err))
		}
		h, n, bad := parsePageHeader(b)
		if bad == nil && h.unpacked > largePage && h.kind != pageDictionary && p.chunk.cutter == nil {
			if cutter := p.cutter(); cutter != nil {
				p.chunk.cut(cutter)
				return p.header()
			}
		}
		if bad == nil {
			p.chunk.skip(n)
			return h, nil
		}
		if !errors.Is(bad, errShortHeader) || size >= maxHeader || len(b) < size {
			return h, bad
		}
	}
}

func noEOF(err error) error {
	if err == io.EOF || err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// body reads a page into the memory of into, as it is stored, but for what is compressed
// behind its first n bytes.
func (p *flatPages) body(h pageHeader, n int64, packed bool, into []byte) ([]byte, error) {
	if n > h.stored || n > h.unpacked || h.unpacked > p.most || h.stored > 2*p.most {
		return nil, errBadHeader
	}
	if !packed || p.codec == nil {
		into = extend(into[:0], int(h.stored))
		return into, p.chunk.read(into)
	}
	stored, err := p.chunk.window(int(h.stored))
	if int64(len(stored)) < h.stored {
		return nil, noEOF(err)
	}
	stored = stored[:h.stored]
	p.chunk.skip(int(h.stored))
	if size, _ := binary.Uvarint(stored[n:]); p.snappy && h.unpacked > n && size != uint64(h.unpacked-n) {
		return nil, fmt.Errorf("a page of %d bytes unpacks to %d", h.unpacked-n, size)
	}
	into = extend(into[:0], int(h.unpacked))
	copy(into, stored[:n])
	if h.unpacked == n {
		return into, nil
	}
	out := p.codec.Decode(into[n:], stored[n:])
	if int64(len(out)) != h.unpacked-n {
		return nil, fmt.Errorf("a page of %d bytes unpacks to %d", h.unpacked-n, len(out))
	}
	if &out[0] != &into[n] {
		copy(into[n:], out)
	}
	return into, nil
}

// data reads a data page. The one before lies where it did, if it is to be kept.
func (p *flatPages) data(h pageHeader, n int64, packed, keep bool) (err error) {
	if keep && len(p.page) > 0 {
		p.kept, p.page = append(p.kept, p.page), nil
		if k := len(p.free); k > 0 {
			p.page, p.free = p.free[k-1], p.free[:k-1]
		}
	}
	p.page, err = p.body(h, n, packed, p.page)
	return err
}

// forget takes back the pages that were kept.
func (p *flatPages) forget() {
	p.free = append(p.free, p.kept...)
	clear(p.kept)
	p.kept = p.kept[:0]
}

// held is how many bytes of memory there are.
func (p *flatPages) held() int {
	n := cap(p.chunk.buf) + cap(p.page)
	for _, b := range p.kept {
		n += cap(b)
	}
	for _, b := range p.free {
		n += cap(b)
	}
	return n
}

// load reads the next data page, or the dictionary.
func (c *flatColumn) load() error {
	p := &c.pages
	if p.left <= 0 {
		return errors.New("the column ends early: the file is corrupt or cut short")
	}
	h, err := p.header()
	if err != nil {
		return err
	}
	keep := len(c.runs) > 0
	switch h.kind {
	case pageDictionary:
		return c.dictionary(h)
	case pageData:
		if err := p.data(h, 0, true, keep); err != nil {
			return err
		}
		return c.start1(h, p.page)
	case pageDataV2:
		if h.defLen < 0 || h.repLen != 0 || h.defLen > h.unpacked {
			return errBadHeader
		}
		if err := p.data(h, h.defLen, h.packed, keep); err != nil {
			return err
		}
		return c.start(h, p.page[:h.defLen], p.page[h.defLen:], false)
	}
	if h.stored > 2*p.most { // an index page
		return errBadHeader
	}
	return p.chunk.read(make([]byte, h.stored))
}

// start1 begins a page of version 1, whose levels have their length before them.
func (c *flatColumn) start1(h pageHeader, data []byte) error {
	var levels []byte
	if c.pages.optional {
		size, head := (h.values+7)/8, int64(0)
		if h.defEnc != encodingBitPacked {
			if len(data) < 4 {
				return errFlat
			}
			size, head = int64(binary.LittleEndian.Uint32(data)), 4
		}
		if size > int64(len(data))-head {
			return errFlat
		}
		levels, data = data[head:head+size], data[head+size:]
	}
	return c.start(h, levels, data, h.defEnc == encodingBitPacked)
}

func (c *flatColumn) start(h pageHeader, levels, data []byte, packed bool) error {
	p := &c.page
	p.left, p.at, p.bit, p.valid = int(h.values), 0, 0, nil
	if h.values > c.pages.left {
		return errBadHeader
	}
	c.pages.left -= h.values
	if c.pages.optional && h.values > 0 {
		var err error
		if p.bits, p.valid, err = readValidity(p.bits, levels, p.left, packed); err != nil {
			return err
		}
	}
	switch h.encoding {
	case encodingPlain:
		p.plain, p.data = true, data
	case encodingPlainDict, encodingRLEDict:
		p.plain = false
		if len(data) == 0 { // no value but nulls
			data = []byte{1}
		}
		return p.index.reset(data[1:], int(data[0]))
	case encodingRLE: // of booleans: as bits, with their length before them
		if c.typ.ID() != arrow.BOOL || len(data) < 4 {
			return errFlat
		}
		return p.runBits(data[4:])
	case encodingDeltaPacked, encodingDeltaLength, encodingDeltaBytes, encodingByteStream:
		return c.expandPage(h.encoding, data)
	default:
		return fmt.Errorf("a page has encoding %d, which its column does not announce", h.encoding)
	}
	return nil
}

// expandPage puts the values of the page, as PLAIN encoding has them, in the page's place.
func (c *flatColumn) expandPage(encoding int64, data []byte) (err error) {
	pages, n := &c.pages, c.page.left
	if c.page.valid != nil {
		n = bitutil.CountSetBits(c.page.valid, 0, n)
	}
	var out []byte
	if k := len(pages.free); k > 0 {
		out, pages.free = pages.free[k-1], pages.free[:k-1]
	}
	out, err = c.expand(out[:0], encoding, data, n)
	pages.free = append(pages.free, pages.page)
	pages.page = out
	c.page.plain, c.page.data = true, out
	return err
}

// runBits turns booleans in runs into plain ones.
func (p *flatPage) runBits(runs []byte) error {
	n := p.left
	if p.valid != nil {
		n = bitutil.CountSetBits(p.valid, 0, p.left)
	}
	p.plainBits = extend(p.plainBits[:0], (n+7)/8)
	if _, err := runsToBits(p.plainBits, runs, n); err != nil {
		return err
	}
	p.plain, p.data = true, p.plainBits
	return nil
}

// dictionary reads the values of a dictionary page.
func (c *flatColumn) dictionary(h pageHeader) (err error) {
	d := &c.dict
	if c.hasDic {
		return errors.New("the data is corrupt: the column has two dictionaries")
	}
	if d.raw, err = c.pages.body(h, 0, true, d.raw); err != nil {
		return err
	}
	c.hasDic, d.strings = true, d.strings[:0]
	if c.phys != parquet.Types.ByteArray {
		if c.width > 0 {
			d.n = len(d.raw) / c.width
		}
		return nil
	}
	for pos := 0; pos < len(d.raw); {
		if len(d.raw)-pos < 4 {
			return errFlat
		}
		size := binary.LittleEndian.Uint32(d.raw[pos:])
		if pos += 4; uint64(size) > uint64(len(d.raw)-pos) {
			return errFlat
		}
		d.strings = append(d.strings, dictString{uint32(pos), size})
		pos += int(size)
	}
	d.n = len(d.strings)
	return nil
}
