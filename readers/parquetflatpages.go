package readers

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
)

const (
	encodingPlainDict = 2
	encodingBitPacked = 4
	encodingRLEDict   = 8

	maxHeader     = 64 << 10
	indicesAtOnce = 1024
)

// flatPages reads the pages of a column chunk one after the other, into memory that it uses
// again.
type flatPages struct {
	r        *bufio.Reader
	codec    compress.Codec // nil: not compressed
	optional bool
	stored   []byte
	page     []byte
	left     int64 // values of the chunk
	most     int64 // bytes of a page
	mem      *bookedMemory
}

// flat makes the decoder of a column, if it is one that flatColumn knows.
func (f *parquetFile) flat(node *pqarrow.SchemaField, group int, mem *bookedMemory) *flatColumn {
	col := f.MetaData().Schema.Column(node.ColIndex)
	chunk := f.MetaData().RowGroups[group].Columns[node.ColIndex]
	width, ok := flatWidth(node.Field.Type, col.PhysicalType())
	if f.WriterVersion().LessThan(metadata.Parquet816FixedVersion) { // its chunks may be longer than they say
		return nil
	}
	if !ok || col.MaxRepetitionLevel() > 0 || col.MaxDefinitionLevel() > 1 || chunk.MetaData == nil || chunk.CryptoMetadata != nil {
		return nil
	}
	meta := chunk.MetaData
	for _, e := range meta.Encodings {
		switch int64(e) {
		case encodingPlain, encodingPlainDict, encodingRLE, encodingRLEDict, encodingBitPacked:
		default:
			return nil
		}
	}
	codec, err := compress.GetCodec(compress.Compression(meta.Codec))
	if err != nil {
		return nil // Arrow's decoder says what is wrong
	}
	start := meta.DataPageOffset
	if meta.DictionaryPageOffset != nil && *meta.DictionaryPageOffset > 0 && *meta.DictionaryPageOffset < start {
		start = *meta.DictionaryPageOffset
	}
	p := &flatPages{optional: col.MaxDefinitionLevel() == 1, left: meta.NumValues, mem: mem}
	p.most = max(meta.TotalUncompressedSize, cutPage) + maxHeader
	p.r = bufio.NewReaderSize(io.NewSectionReader(f.pages, start, meta.TotalCompressedSize), int(f.props.BufferSize))
	if compress.Compression(meta.Codec) != compress.Codecs.Uncompressed {
		p.codec = codec
	}
	return &flatColumn{pages: p, typ: node.Field.Type, phys: col.PhysicalType(), width: width, indices: make([]uint32, indicesAtOnce)}
}

// header reads the header of the next page.
func (p *flatPages) header() (pageHeader, error) {
	for size := 256; ; size *= 4 {
		b, err := p.r.Peek(min(size, p.r.Size()))
		if len(b) == 0 {
			return pageHeader{}, fmt.Errorf("the column ends early: %w", noEOF(err))
		}
		h, n, bad := parsePageHeader(b)
		if bad == nil {
			_, err = p.r.Discard(n)
			return h, err
		}
		if !errors.Is(bad, errShortHeader) || size > p.r.Size() || err != nil {
			return h, bad
		}
	}
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// body reads a page as it is stored, but for what is compressed behind its first n bytes.
func (p *flatPages) body(h pageHeader, n int64, packed bool) ([]byte, error) {
	if n > h.stored || n > h.unpacked || h.unpacked > p.most || h.stored > 2*p.most {
		return nil, errBadHeader
	}
	if !packed || p.codec == nil {
		p.page = extend(p.page[:0], int(h.stored))
		_, err := io.ReadFull(p.r, p.page)
		return p.page, noEOF(err)
	}
	p.stored, p.page = extend(p.stored[:0], int(h.stored)), extend(p.page[:0], int(h.unpacked))
	if _, err := io.ReadFull(p.r, p.stored); err != nil {
		return nil, noEOF(err)
	}
	copy(p.page, p.stored[:n])
	if h.unpacked == n {
		return p.page, nil
	}
	out := p.codec.Decode(p.page[n:], p.stored[n:])
	if int64(len(out)) != h.unpacked-n {
		return nil, fmt.Errorf("a page of %d bytes unpacks to %d", h.unpacked-n, len(out))
	}
	if &out[0] != &p.page[n] {
		copy(p.page[n:], out)
	}
	return p.page, nil
}

// load reads the next data page, and the dictionary if it comes before it.
func (c *flatColumn) load() error {
	if c.pages.left <= 0 {
		return errors.New("the column ends early: the file is corrupt or cut short")
	}
	h, err := c.pages.header()
	if err != nil {
		return err
	}
	switch h.kind {
	case pageDictionary:
		data, err := c.pages.body(h, 0, true)
		if err != nil {
			return err
		}
		return c.dictionary(data)
	case pageData:
		data, err := c.pages.body(h, 0, true)
		if err != nil {
			return err
		}
		return c.start1(h, data)
	case pageDataV2:
		if h.defLen < 0 || h.repLen != 0 || h.defLen > h.unpacked {
			return errBadHeader
		}
		data, err := c.pages.body(h, h.defLen, h.packed)
		if err != nil {
			return err
		}
		return c.start(h, data[:h.defLen], data[h.defLen:], false)
	}
	_, err = io.CopyN(io.Discard, c.pages.r, h.stored) // an index page
	return err
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
	default:
		return fmt.Errorf("a page has encoding %d, which its column does not announce", h.encoding)
	}
	return nil
}

// runBits turns booleans in runs into plain ones.
func (p *flatPage) runBits(runs []byte) error {
	n := p.left
	if p.valid != nil {
		n = bitutil.CountSetBits(p.valid, 0, p.left)
	}
	plain := make([]byte, (n+7)/8)
	if _, err := runsToBits(plain, runs, n); err != nil {
		return err
	}
	p.plain, p.data = true, plain
	return nil
}

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

// dictionary keeps the values of a dictionary page.
func (c *flatColumn) dictionary(data []byte) error {
	d := &c.dict
	d.values, d.offsets, c.hasDic = append(d.values[:0], data...), d.offsets[:0], true
	if c.phys != parquet.Types.ByteArray {
		if c.width > 0 {
			d.n = len(data) / c.width
			d.values = d.values[:d.n*c.width]
		}
		return nil
	}
	d.values, d.offsets = d.values[:0], append(d.offsets, 0)
	for len(data) > 0 {
		if len(data) < 4 {
			return errFlat
		}
		size := int(binary.LittleEndian.Uint32(data))
		if data = data[4:]; size > len(data) {
			return errFlat
		}
		d.values = append(d.values, data[:size]...)
		d.offsets = append(d.offsets, int32(len(d.values)))
		data = data[size:]
	}
	d.n = len(d.offsets) - 1
	return nil
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
