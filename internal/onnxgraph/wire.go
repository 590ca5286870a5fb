package onnxgraph

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// span is a range of bytes of the file.
type span struct{ start, end int64 }

// field is one field of a message: its key (number<<3 | wire type), its value where it is a
// number, where its key begins and where it ends.
type field struct {
	key   uint64
	value uint64
	start int64
	end   int64
}

// The kinds of wire format that a field can have.
const (
	number = 0 // a varint
	bytes  = 2 // text, bytes or a message
)

// key is that of a field of a message.
func key(field, kind uint64) uint64 { return field<<3 | kind }

// cursor walks a protocol buffer in a file through a small window: weights are stepped over,
// and the memory that it takes does not depend on the file.
type cursor struct {
	src    io.ReaderAt
	size   int64
	at     int64
	depth  int
	window []byte // of src, from start on
	start  int64
	buf    [8192]byte
}

// deepest is how far messages may be nested: a subgraph is three levels.
const deepest = 100

var (
	errCutShort = errors.New("was cut short, or is not an ONNX file")
	errNotONNX  = errors.New("is not an ONNX file")
)

// walk calls f for each field of the message that reaches to end. f may walk into the
// field or leave it.
func (c *cursor) walk(end int64, f func(field) error) error {
	if c.depth++; c.depth > deepest {
		return fmt.Errorf("%w: it is nested too deep", errNotONNX)
	}
	defer func() { c.depth-- }()
	for c.at < end {
		next, err := c.next(end)
		if err != nil {
			return err
		}
		if err := f(next); err != nil {
			return err
		}
		c.at = next.end
	}
	return nil
}

func (c *cursor) next(end int64) (field, error) {
	f := field{start: c.at}
	var err error
	if f.key, err = c.varint(end); err != nil {
		return field{}, err
	}
	size := int64(0)
	switch f.key & 7 {
	case number:
		f.value, err = c.varint(end)
	case 1:
		size = 8
	case bytes:
		var n uint64
		n, err = c.varint(end)
		size = int64(min(n, 1<<62))
	case 5:
		size = 4
	default:
		return f, errNotONNX
	}
	if err != nil {
		return f, err
	}
	if f.key>>3 == 0 {
		return f, errNotONNX
	}
	if size > end-c.at {
		return f, errCutShort
	}
	f.end = c.at + size
	return f, nil
}

func (c *cursor) varint(end int64) (uint64, error) {
	b, err := c.peek(int(min(binary.MaxVarintLen64, end-c.at)))
	if err != nil {
		return 0, err
	}
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, errCutShort
	}
	c.at += int64(n)
	return v, nil
}

// text reads a field of bytes, as long as the names of tensors may be.
func (c *cursor) text(f field) (string, error) {
	n := f.end - c.at
	if n > 1<<20 {
		return "", fmt.Errorf("%w: a name is over 1 MiB long", errNotONNX)
	}
	if n <= int64(len(c.buf)) {
		b, err := c.peek(int(n))
		return string(b), err
	}
	b := make([]byte, n)
	if _, err := c.src.ReadAt(b, c.at); err != nil && err != io.EOF {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	return string(b), nil
}

// peek gives n bytes at the cursor, within the file.
func (c *cursor) peek(n int) ([]byte, error) {
	if c.at >= c.start && c.at+int64(n) <= c.start+int64(len(c.window)) {
		return c.window[c.at-c.start:][:n], nil
	}
	got, err := c.src.ReadAt(c.buf[:min(int64(len(c.buf)), c.size-c.at)], c.at)
	if got < n {
		if err == nil || err == io.EOF {
			return nil, errCutShort
		}
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	c.window, c.start = c.buf[:got], c.at
	return c.window[:n], nil
}
