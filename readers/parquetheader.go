package readers

import (
	"encoding/binary"
	"errors"
)

// pageHeader is what is needed of the header of a Parquet page.
type pageHeader struct {
	kind     int64 // pageData, pageDictionary, pageDataV2
	unpacked int64 // bytes of the page, levels included
	stored   int64
	values   int64 // levels, in fact: nulls count
	encoding int64
	defEnc   int64 // encoding of the levels, of a page of version 1
	repEnc   int64
	rows     int64 // of a page of version 2, as the next three
	defLen   int64
	repLen   int64
	packed   bool
}

const (
	pageData       = 0
	pageDictionary = 2
	pageDataV2     = 3

	encodingPlain = 0
	encodingRLE   = 3
)

// The types of Thrift's compact protocol.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftInt16  = 4
	thriftInt32  = 5
	thriftInt64  = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftStruct = 12
)

var (
	errShortHeader = errors.New("the header of a page is cut short")
	errBadHeader   = errors.New("the header of a page is corrupt")
)

// thriftReader reads values of Thrift's compact protocol, in which Parquet writes its
// headers. Arrow has a reader of these, but keeps it to itself.
type thriftReader struct {
	b   []byte
	err error
}

func (t *thriftReader) take(n int) []byte {
	if t.err != nil || n < 0 || n > len(t.b) {
		if t.err == nil {
			t.err = errShortHeader
		}
		return nil
	}
	out := t.b[:n]
	t.b = t.b[n:]
	return out
}

func (t *thriftReader) varint() uint64 {
	v, n := binary.Uvarint(t.b)
	if n < 0 {
		t.err = errBadHeader
	}
	if n == 0 && t.err == nil {
		t.err = errShortHeader
	}
	t.take(max(n, 0))
	return v
}

func (t *thriftReader) int() int64 {
	v := t.varint()
	return int64(v>>1) ^ -int64(v&1)
}

// fields calls f for each field of a struct; f says whether it has read the value.
func (t *thriftReader) fields(depth int, f func(id int64, kind byte) bool) {
	var id int64
	for t.err == nil {
		head := t.take(1)
		if head == nil || head[0] == 0 {
			return
		}
		if delta := head[0] >> 4; delta > 0 {
			id += int64(delta)
		} else {
			id = t.int()
		}
		if kind := head[0] & 15; !f(id, kind) {
			t.skip(kind, depth)
		}
	}
}

// skip passes a value over. What is nested more deeply than any header is taken for damage.
func (t *thriftReader) skip(kind byte, depth int) {
	if depth > 8 {
		t.err = errBadHeader
	}
	if t.err != nil {
		return
	}
	switch kind {
	case thriftTrue, thriftFalse:
	case thriftByte:
		t.take(1)
	case thriftInt16, thriftInt32, thriftInt64:
		t.varint()
	case thriftDouble:
		t.take(8)
	case thriftBinary:
		t.take(int(min(t.varint(), 1<<40)))
	case thriftStruct:
		t.fields(depth+1, func(int64, byte) bool { return false })
	case thriftList, thriftSet:
		head := t.take(1)
		if head == nil {
			return
		}
		n := uint64(head[0] >> 4)
		if n == 15 {
			n = t.varint()
		}
		elem := head[0] & 15
		for ; n > 0 && t.err == nil; n-- {
			if elem == thriftTrue || elem == thriftFalse { // one byte each in a list
				t.take(1)
			} else {
				t.skip(elem, depth+1)
			}
		}
	default:
		t.err = errBadHeader
	}
}

// parsePageHeader reads the header at the beginning of b, and says how many bytes it has.
// The error is errShortHeader if b ends within it.
func parsePageHeader(b []byte) (h pageHeader, n int, err error) {
	t := &thriftReader{b: b}
	h.kind, h.unpacked, h.stored, h.packed = -1, -1, -1, true
	into := func(at map[int64]*int64) func(int64, byte) bool {
		return func(id int64, kind byte) bool {
			to := at[id]
			if to == nil || kind != thriftInt32 {
				return false
			}
			*to = t.int()
			return true
		}
	}
	top := into(map[int64]*int64{1: &h.kind, 2: &h.unpacked, 3: &h.stored})
	v1 := into(map[int64]*int64{1: &h.values, 2: &h.encoding, 3: &h.defEnc, 4: &h.repEnc})
	v2 := into(map[int64]*int64{1: &h.values, 3: &h.rows, 4: &h.encoding, 5: &h.defLen, 6: &h.repLen})
	t.fields(0, func(id int64, kind byte) bool {
		switch {
		case kind == thriftStruct && id == 5:
			t.fields(1, v1)
		case kind == thriftStruct && id == 8:
			t.fields(1, func(id int64, kind byte) bool {
				if id == 7 && (kind == thriftTrue || kind == thriftFalse) {
					h.packed = kind == thriftTrue
					return true
				}
				return v2(id, kind)
			})
		default:
			return top(id, kind)
		}
		return true
	})
	if t.err == nil && (h.unpacked < 0 || h.stored < 0 || h.values < 0) {
		t.err = errBadHeader
	}
	return h, len(b) - len(t.b), t.err
}

// appendPageHeader writes the header of a page of version 2 that is not compressed.
func appendPageHeader(b []byte, h pageHeader) []byte {
	field := func(delta byte, v int64) {
		b = append(b, delta<<4|thriftInt32)
		b = binary.AppendVarint(b, v)
	}
	field(1, pageDataV2)
	field(1, h.unpacked)
	field(1, h.unpacked)
	b = append(b, 5<<4|thriftStruct) // field 8
	field(1, h.values)
	field(1, 0) // nulls: Arrow's reader counts them itself
	field(1, h.rows)
	field(1, h.encoding)
	field(1, h.defLen)
	field(1, h.repLen)
	b = append(b, 1<<4|thriftFalse, 0) // not compressed
	return append(b, 0)
}
