package tokenize

import (
	"math"
	"strings"
	"unicode/utf8"
)

// span is a half-open range of bytes of the input.
type span struct{ start, end int32 }

// buffer is a text under way through the normalizers: its bytes and, when
// offsets are wanted, the range of the input that each byte came from. All
// bytes of a code point have the same range.
type buffer struct {
	text  []byte
	from  []span
	track bool
}

func (b *buffer) reset(track bool) {
	b.text, b.from, b.track = b.text[:0], b.from[:0], track
}

// at is where the byte i came from.
func (b *buffer) at(i int) span {
	if !b.track {
		return span{}
	}
	return b.from[i]
}

// add appends a code point that came from a range of the input.
func (b *buffer) add(c rune, from span) {
	n := len(b.text)
	b.text = utf8.AppendRune(b.text, c)
	if b.track {
		for range len(b.text) - n {
			b.from = append(b.from, from)
		}
	}
}

// addString appends a string that came, all of it, from one range.
func (b *buffer) addString(s string, from span) {
	b.text = append(b.text, s...)
	if b.track {
		for range len(s) {
			b.from = append(b.from, from)
		}
	}
}

// addBytes is addString for bytes.
func (b *buffer) addBytes(p []byte, from span) {
	b.text = append(b.text, p...)
	if b.track {
		for range len(p) {
			b.from = append(b.from, from)
		}
	}
}

// cut takes off what is behind n bytes.
func (b *buffer) cut(n int) {
	b.text = b.text[:n]
	if b.track {
		b.from = b.from[:n]
	}
}

// addPart appends bytes [lo, hi) of another buffer.
func (b *buffer) addPart(src *buffer, lo, hi int) {
	b.text = append(b.text, src.text[lo:hi]...)
	if b.track {
		b.from = append(b.from, src.from[lo:hi]...)
	}
}

// load fills the buffer with an input text, invalid parts replaced.
func (b *buffer) load(s string, track bool) {
	b.reset(track)
	if !track && utf8.ValidString(s) {
		b.text = append(b.text, s...)
		return
	}
	for i := 0; i < len(s); {
		c, n := decode(s[i:])
		b.add(c, span{int32(i), int32(i + n)})
		i += n
	}
}

// ToValidUTF8 gives the text as the tokenizers read it: what is not UTF-8 becomes U+FFFD, as
// Python's errors="replace" does it.
func ToValidUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		c, n := decode(s)
		b.WriteRune(c)
		s = s[n:]
	}
	return b.String()
}

// decode reads the first code point of s, which is not empty. The longest
// prefix that could begin a code point but doesn't is one U+FFFD: what Unicode
// (section 3.9) calls the substitution of maximal subparts.
func decode(s string) (rune, int) {
	if s[0] < utf8.RuneSelf {
		return rune(s[0]), 1
	}
	c, n := utf8.DecodeRuneInString(s)
	if c != utf8.RuneError || n > 1 {
		return c, n
	}
	lo, hi, more := byte(0x80), byte(0xBF), 0
	switch b := s[0]; {
	case b >= 0xE0 && b <= 0xEF:
		more = 1
		if b == 0xE0 {
			lo = 0xA0
		} else if b == 0xED {
			hi = 0x9F
		}
	case b >= 0xF0 && b <= 0xF4:
		more = 2
		if b == 0xF0 {
			lo = 0x90
		} else if b == 0xF4 {
			hi = 0x8F
		}
	}
	for n = 1; more > 0 && n < len(s) && s[n] >= lo && s[n] <= hi; more-- {
		n++
		lo, hi = 0x80, 0xBF
	}
	return utf8.RuneError, n
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// piece is a range of the normalized text: an added token if id isn't noToken,
// else text for the pre-tokenizers and the model.
type piece struct{ lo, hi, id int32 }

const noToken = math.MinInt32

// token is what the model made of a piece.
type token struct {
	id, lo, hi int32 // range in the normalized text
	word       int32 // which piece
	kind       tokenKind
}

type tokenKind uint8

const (
	tokenFirst tokenKind = iota // its text is the range
	tokenInner                  // its text is the range behind a prefix
	tokenUnk                    // its text is the unknown-token
)

// work is the scratch memory of one call, kept in a pool between calls.
type work struct {
	raw       buffer // the input
	cur, next buffer // the segment being normalized, and its next form
	all       buffer // all segments, normalized
	segments  []match
	pieces    []piece
	spare     []piece
	matches   []match
	tokens    []token
	runes     []rune
	marks     []mark
	composed  []mark
	blocked   []mark
	word      []byte
	ids       []int32
	frames    []frame
	cuts      []cut
	tab       *charTable
}

// bigWork bounds the scratch that the pool keeps: one enormous text must not
// hold its memory for ever.
const bigWork = 1 << 20

func (w *work) small() bool {
	return cap(w.raw.text) < bigWork && cap(w.all.text) < bigWork &&
		cap(w.cur.text) < bigWork && cap(w.next.text) < bigWork
}

// swap makes the next form of the segment the current one.
func (w *work) swap() { w.cur, w.next = w.next, w.cur }
