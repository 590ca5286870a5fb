package readers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// errFar is a reference to data that lies further back than the window of a snappyReader.
var errFar = errors.New("a reference behind the window")

var errSnappy = errors.New("the Snappy data is corrupt")

const (
	// snappyWindow is as far back as the encoders in use refer to: they compress blocks of
	// 64 KiB, each for itself. The format allows more.
	snappyWindow = 64 << 10
	snappyInput  = 64 << 10
)

// snappyReader undoes Snappy's block format as a stream, where the usual decoders want all of
// the input and all of the output in memory. It follows the format's description, "Snappy
// compressed format description" by the authors of Snappy.
type snappyReader struct {
	src    io.Reader
	in     []byte
	i, n   int // of in
	srcErr error

	out     []byte // the window, and what is to be read
	r, w    int    // of out: read up to, written up to
	window  int
	left    int64 // bytes that are still to be made
	literal int   // bytes of a literal that are still to be copied
	started bool
	err     error
}

// newSnappyReader makes one whose references may go window bytes back; buffer is at least
// that, and what it is more is made at a time.
func newSnappyReader(src io.Reader, window, buffer int) *snappyReader {
	return &snappyReader{src: src, in: make([]byte, snappyInput), out: make([]byte, buffer+64), window: window}
}

// reset makes the reader read another block.
func (s *snappyReader) reset(src io.Reader) {
	*s = snappyReader{src: src, in: s.in, out: s.out, window: s.window}
}

func (s *snappyReader) Read(p []byte) (int, error) {
	if s.r == s.w && s.err == nil {
		s.err = s.fill()
	}
	n := copy(p, s.out[s.r:s.w])
	s.r += n
	if n == 0 && len(p) > 0 {
		return 0, s.err
	}
	return n, nil
}

// need makes sure that n bytes of input are at hand, if there are that many.
func (s *snappyReader) need(n int) {
	if s.n-s.i >= n {
		return
	}
	s.n = copy(s.in, s.in[s.i:s.n])
	s.i = 0
	for s.n < n && s.srcErr == nil {
		var k int
		k, s.srcErr = s.src.Read(s.in[s.n:])
		s.n += k
	}
}

// fill makes output until the buffer is full or the block ends. An error that comes with
// output stands in s.err and is given when that was read.
func (s *snappyReader) fill() error {
	if !s.started {
		s.started = true
		s.need(binary.MaxVarintLen64)
		total, n := binary.Uvarint(s.in[s.i:s.n])
		if n <= 0 || total > 1<<32 {
			return s.fault()
		}
		s.i += n
		s.left = int64(total)
	}
	if keep := min(s.w, s.window); s.w > s.window {
		copy(s.out, s.out[s.w-keep:s.w])
		s.r, s.w = keep, keep
	}
	room := len(s.out) - 64 // the longest copy
	for s.w < room && s.left > 0 {
		made, err := s.element()
		if err != nil {
			return err
		}
		if s.left -= int64(made); s.left < 0 {
			return errSnappy
		}
	}
	if s.r == s.w {
		return io.EOF
	}
	return nil
}

func (s *snappyReader) fault() error {
	if s.srcErr != nil && s.srcErr != io.EOF {
		return s.srcErr
	}
	return errSnappy
}

// element decodes one element, or a part of a literal, and says how many bytes it made.
func (s *snappyReader) element() (int, error) {
	if s.literal == 0 {
		s.need(5)
		if s.i == s.n {
			return 0, s.fault()
		}
		tag := s.in[s.i]
		if tag&3 != 0 {
			return s.back(tag)
		}
		s.i++
		length, extra := int64(tag>>2), 0
		if length >= 60 {
			extra = int(length - 59)
			if s.n-s.i < extra {
				return 0, s.fault()
			}
			length = 0
			for k := range extra {
				length |= int64(s.in[s.i+k]) << (8 * k)
			}
			s.i += extra
		}
		s.literal = int(length + 1)
	}
	s.need(1)
	if s.i == s.n {
		return 0, s.fault()
	}
	n := copy(s.out[s.w:], s.in[s.i:min(s.n, s.i+s.literal)])
	s.i += n
	s.w += n
	s.literal -= n
	return n, nil
}

// back copies what was made before.
func (s *snappyReader) back(tag byte) (int, error) {
	var length, offset, size int
	in := s.in[s.i:s.n]
	switch tag & 3 {
	case 1:
		if size = 2; len(in) >= size {
			length, offset = 4+int(tag>>2&7), int(tag>>5)<<8|int(in[1])
		}
	case 2:
		if size = 3; len(in) >= size {
			length, offset = 1+int(tag>>2), int(binary.LittleEndian.Uint16(in[1:]))
		}
	default:
		if size = 5; len(in) >= size {
			length, offset = 1+int(tag>>2), int(binary.LittleEndian.Uint32(in[1:]))
		}
	}
	if length == 0 {
		return 0, s.fault()
	}
	if offset == 0 || offset > s.w {
		return 0, errFar
	}
	s.i += size
	if from := s.w - offset; offset >= length {
		copy(s.out[s.w:s.w+length], s.out[from:])
	} else { // the copy goes on with what it makes
		for k := range length {
			s.out[s.w+k] = s.out[from+k]
		}
	}
	s.w += length
	return length, nil
}

// unpacker makes streams of what pages hold. It keeps one decoder of a kind for all pages.
type unpacker struct {
	codec  string // as Parquet calls it
	snappy *snappyReader
	zstd   *zstd.Decoder
	gzip   *gzip.Reader
}

// streams says whether a codec can be undone piece by piece.
func streams(codec string) bool {
	switch codec {
	case "UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD":
		return true
	}
	return false
}

// held is what a decoder holds, in bytes.
func (u *unpacker) held() int64 {
	switch u.codec {
	case "SNAPPY":
		return snappyInput + 2*snappyWindow
	case "GZIP":
		return gzipHeld
	case "ZSTD":
		return zstdHeldBase + 8<<20 // the window of the usual levels
	}
	return 0
}

// open gives the content of what src holds, n bytes once it is unpacked. All of it is in
// memory at once with whole.
func (u *unpacker) open(src io.Reader, n int64, whole bool) (io.Reader, error) {
	var err error
	switch u.codec {
	case "SNAPPY":
		switch {
		case whole:
			return newSnappyReader(src, int(n), int(n)), nil
		case u.snappy == nil:
			u.snappy = newSnappyReader(src, snappyWindow, 2*snappyWindow)
		default:
			u.snappy.reset(src)
		}
		return u.snappy, nil
	case "GZIP":
		if u.gzip == nil {
			u.gzip, err = gzip.NewReader(src)
		} else {
			err = u.gzip.Reset(src)
		}
		return u.gzip, err
	case "ZSTD":
		if u.zstd == nil {
			u.zstd, err = zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(zstdMaxWindow))
		} else {
			err = u.zstd.Reset(src)
		}
		return u.zstd, err
	case "UNCOMPRESSED":
		return src, nil
	}
	return nil, fmt.Errorf("codec %s", u.codec)
}

func (u *unpacker) close() {
	if u.zstd != nil {
		u.zstd.Close()
	}
	*u = unpacker{codec: u.codec}
}
