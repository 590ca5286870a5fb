package readers

import (
	"io"

	"github.com/penstock-data/penstock/stage"
)

// headerAhead is what is read behind a page for the header of the next one.
const headerAhead = 512

// chunkReader gives the bytes of a column chunk from a buffer in which they can be looked at
// and unpacked: a large page is read into it once, by one call, and small ones many at a time.
type chunkReader struct {
	in     *input
	cutter *pageCutter // in its place, from the first page on that is too large to be held
	at     int64       // where what is not in buf yet begins
	end    int64
	ahead  int // bytes that are read at a time, if fewer are asked for
	buf    []byte
	r, w   int // of buf
}

// window gives what is at hand of the bytes that come next: n of them, or all if there are fewer. They
// are valid until the next call.
func (c *chunkReader) window(n int) ([]byte, error) {
	have := c.w - c.r
	if have >= n {
		return c.buf[c.r:c.w], nil
	}
	want := int(min(int64(max(n+headerAhead, c.ahead)), int64(have)+c.end-c.at))
	if c.r+want > len(c.buf) {
		into := c.buf
		if want > len(into) {
			into = make([]byte, (want+1<<16-1)>>16<<16)
		}
		copy(into, c.buf[c.r:c.w])
		c.buf, c.r, c.w = into, 0, have
	}
	k, err := c.readAt(c.buf[c.w : c.r+want])
	c.w += k
	if c.w-c.r >= n || err == io.EOF {
		err = nil
	}
	return c.buf[c.r:c.w], err
}

// skip passes n bytes of the window over.
func (c *chunkReader) skip(n int) { c.r += n }

// read fills b.
func (c *chunkReader) read(b []byte) error {
	n := copy(b, c.buf[c.r:c.w])
	c.r += n
	if int64(len(b)-n) > c.end-c.at {
		return io.ErrUnexpectedEOF
	}
	if n == len(b) {
		return nil
	}
	k, err := c.readAt(b[n:])
	if n+k == len(b) {
		return nil
	}
	return noEOF(err)
}

func (c *chunkReader) readAt(b []byte) (n int, err error) {
	if c.cutter != nil {
		n, err = c.cutter.readAt(b, c.at)
	} else {
		n, err = c.in.ReadAt(b, c.at)
	}
	c.at += int64(n)
	return n, err
}

// cut makes the chunk go on with what cutter gives for the page that comes next, and those behind it.
func (c *chunkReader) cut(cutter *pageCutter) {
	cutter.at, cutter.end = c.at-int64(c.w-c.r), c.end
	c.cutter, c.at, c.end = cutter, 0, pagesBase
	c.r, c.w = 0, 0
}

func (c *chunkReader) close() {
	if c.cutter != nil {
		c.cutter.close()
	}
}

// newChunk reads a column chunk of the file in the memory of buf.
func newChunk(in *input, start, size int64, ahead int, buf []byte) chunkReader {
	return chunkReader{in: in, at: start, end: start + size, ahead: ahead, buf: buf[:cap(buf)]}
}

// cutterFor makes what cuts up large pages of a column, or nil if its codec does not allow it.
func (f *parquetFile) cutterFor(env stage.Env, leaf int, codec string) *pageCutter {
	if !streams(codec) {
		return nil
	}
	c := newPageCutter(f.in, env, f.MetaData().Schema.Column(leaf))
	c.leaf, c.unpack.codec = leaf, codec
	return c
}
