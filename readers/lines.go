package readers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/penstock-data/penstock/stage"
)

const (
	defaultMaxLine = 64 << 20
	firstLineBuf   = 64 << 10
)

var errLineTooLong = errors.New("the line is longer than the bound")

// lines cuts a stream at "\n" and "\r\n". A last line without an end counts; a byte order
// mark at the start does not.
type lines struct {
	src     *stream
	max     int // bytes of a line
	buf     []byte
	r, w    int   // buf[r:w] is read and not given yet
	row     int64 // number of the line that next gives, from 0
	ok      int   // buf[:ok] ends with a line and is UTF-8
	tried   int   // of buf: ok does not get larger before there is more
	started bool
	err     error // what the stream ended with
}

func newLines(src *stream, max int64) *lines {
	if max <= 0 {
		max = defaultMaxLine
	}
	l := &lines{src: src, max: int(min(max, maxBytesCap))}
	l.resize(firstLineBuf)
	return l
}

func (l *lines) resize(n int) {
	buf := make([]byte, n)
	copy(buf, l.buf[l.r:l.w])
	l.src.in.env.Book(stage.ReaderBuffers, int64(n-len(l.buf)))
	l.buf, l.w, l.r = buf, l.w-l.r, 0
}

// next gives the next line, valid until the call after. It ends with io.EOF. After
// errLineTooLong it goes on behind that line.
func (l *lines) next(ctx context.Context) ([]byte, error) {
	seen := 0 // of buf[r:w], without an end of line
	for {
		if i := bytes.IndexByte(l.buf[l.r+seen:l.w], '\n'); i >= 0 {
			line := l.buf[l.r : l.r+seen+i]
			l.r += seen + i + 1
			return l.give(line)
		}
		seen = l.w - l.r
		if l.err != nil {
			return l.last()
		}
		if seen > l.max+1 { // one more for a "\r"
			return nil, l.drop(ctx)
		}
		if err := l.fill(ctx); err != nil {
			return nil, err
		}
	}
}

// valid gives the lines that are at hand, with their ends, if they are all UTF-8.
func (l *lines) valid() []byte {
	if l.r >= l.ok && l.tried < l.w {
		l.tried = l.w
		whole := l.buf[l.r : l.r+bytes.LastIndexByte(l.buf[l.r:l.w], '\n')+1]
		if utf8.Valid(whole) {
			l.ok = l.r + len(whole)
		}
	}
	return l.buf[l.r:max(l.r, l.ok)]
}

func withoutCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line
}

func (l *lines) give(line []byte) ([]byte, error) {
	l.row++
	line = withoutCR(line)
	if len(line) > l.max {
		return nil, errLineTooLong
	}
	return line, nil
}

// last gives what stands behind the last end of line. Where the stream did not end as it
// should, that is part of a line and not given.
func (l *lines) last() ([]byte, error) {
	if l.err != io.EOF || l.r == l.w {
		return nil, l.err
	}
	line := l.buf[l.r:l.w]
	l.r = l.w
	return l.give(line)
}

// fill reads more behind buf[r:w].
func (l *lines) fill(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.ok, l.tried = 0, 0
	if l.w == len(l.buf) {
		if l.r > len(l.buf)/2 {
			copy(l.buf, l.buf[l.r:l.w])
			l.w, l.r = l.w-l.r, 0
		} else {
			l.resize(2 * len(l.buf))
		}
	}
	l.src.in.ctx = ctx
	n, err := l.src.Read(l.buf[l.w:])
	l.w += n
	if err != nil {
		if err != io.EOF {
			err = l.src.explain(err)
		}
		l.err = err
	}
	if !l.started && (l.w-l.r >= 3 || l.err != nil) {
		l.started = true
		if bytes.HasPrefix(l.buf[l.r:l.w], []byte("\xef\xbb\xbf")) {
			l.r += 3
		}
	}
	return nil
}

// drop passes over the rest of a line that is too long.
func (l *lines) drop(ctx context.Context) error {
	for {
		if i := bytes.IndexByte(l.buf[l.r:l.w], '\n'); i >= 0 {
			l.r += i + 1
			break
		}
		l.r, l.w, l.ok, l.tried = 0, 0, 0, 0
		if l.err != nil {
			if l.err != io.EOF {
				return l.err
			}
			break
		}
		if err := l.fill(ctx); err != nil {
			return err
		}
	}
	l.row++
	return errLineTooLong
}

// skip passes over lines up to number row, whatever stands in them.
func (l *lines) skip(ctx context.Context, row int64) error {
	for l.row < row {
		if _, err := l.next(ctx); err != nil && err != errLineTooLong {
			return err
		}
	}
	return nil
}

func (l *lines) tooLong() error {
	return fmt.Errorf("%w of %d bytes: set MaxLineBytes, or look whether the file is text at all", errLineTooLong, l.max)
}

func (l *lines) Close() error {
	l.src.in.env.Book(stage.ReaderBuffers, -int64(len(l.buf)))
	l.buf, l.r, l.w = nil, 0, 0
	return l.src.Close()
}
