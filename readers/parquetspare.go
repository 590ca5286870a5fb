package readers

// spareColumns are the columns of a reader that is closed, whose memory the next one decodes in.
// In between they are nobody's: the collector takes them if there is none soon, and until then
// they are like what it has not taken yet.
type spareColumns struct {
	columns []*flatColumn // by column of the scan; nil: it had none, or it is in use
}

// keptBuffer bounds each of the buffers that are kept.
const keptBuffer = 2 << 20

// take gives a column without a file.
func (s *spareColumns) take(i int) *flatColumn {
	if i < len(s.columns) && s.columns[i] != nil {
		c := s.columns[i]
		s.columns[i] = nil
		return c
	}
	return &flatColumn{}
}

// give takes the memory of columns that are closed.
func (s *spareColumns) give(columns []*parquetColumn) {
	for len(s.columns) < len(columns) {
		s.columns = append(s.columns, nil)
	}
	for i, c := range columns {
		if c.flat != nil {
			s.columns[i] = c.flat.emptied()
		}
	}
}

// emptied is a column without a file in the memory of c.
func (c *flatColumn) emptied() *flatColumn {
	c.pages.forget()
	out := &flatColumn{valid: kept(c.valid, 1), indices: kept(c.indices, 4), runs: c.runs[:0]}
	clear(c.runs)
	out.pages = flatPages{page: kept(c.pages.page, 1), kept: c.pages.kept, chunk: chunkReader{buf: kept(c.pages.chunk.buf, 1)}}
	var held int
	for _, b := range c.pages.free {
		if held += cap(b); held <= keptBuffer {
			out.pages.free = append(out.pages.free, b)
		}
	}
	out.page = flatPage{bits: kept(c.page.bits, 1), plainBits: kept(c.page.plainBits, 1)}
	out.dict = flatDict{raw: kept(c.dict.raw, 1), strings: kept(c.dict.strings, 8)}
	if large(c.typ) { // they lie in the record otherwise
		out.ends = kept(c.ends, 4)
	}
	return out
}

// kept is the memory of b, whose values have size bytes each, unless there is too much of it.
func kept[T any](b []T, size int) []T {
	if cap(b)*size > keptBuffer {
		return nil
	}
	return b[:0]
}
