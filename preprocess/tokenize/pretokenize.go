package tokenize

import "unicode/utf8"

// preTokenizer cuts the pieces of w.all that aren't added tokens into smaller
// ones. Empty pieces are not made.
type preTokenizer interface {
	// split appends the parts of text[lo:hi], which is not empty.
	split(dst []piece, text []byte, lo, hi int32, tab *charTable) []piece
}

// preTokenize applies pre-tokenizers one after the other.
func preTokenize(w *work, list []preTokenizer) {
	for _, p := range list {
		w.spare = w.spare[:0]
		for _, s := range w.pieces {
			if s.id != noToken {
				w.spare = append(w.spare, s)
				continue
			}
			w.spare = p.split(w.spare, w.all.text, s.lo, s.hi, w.tab)
		}
		w.pieces, w.spare = w.spare, w.pieces
	}
}

// appendPiece appends text between tokens unless it is empty.
func appendPiece(dst []piece, lo, hi int32) []piece {
	if lo == hi {
		return dst
	}
	return append(dst, piece{lo, hi, noToken})
}

// bertSplit is BertPreTokenizer: at white space, and round each punctuation.
type bertSplit struct{}

func (bertSplit) split(dst []piece, text []byte, lo, hi int32, tab *charTable) []piece {
	start := lo
	for i := lo; i < hi; {
		c, n := utf8.DecodeRune(text[i:hi])
		size := int32(n)
		switch props := tab.props[c]; {
		case props&propSpace != 0:
			dst = appendPiece(dst, start, i)
			start = i + size
		case props&propPunct != 0:
			dst = appendPiece(dst, start, i)
			dst = append(dst, piece{i, i + size, noToken})
			start = i + size
		}
		i += size
	}
	return appendPiece(dst, start, hi)
}

// wordSplit is Whitespace: runs of word characters, and runs of what is
// neither a word character nor white space.
type wordSplit struct{}

func (wordSplit) split(dst []piece, text []byte, lo, hi int32, tab *charTable) []piece {
	start, kind := lo, uint16(propSpace)
	for i := lo; i < hi; {
		c, n := utf8.DecodeRune(text[i:hi])
		now := tab.props[c] & (propWord | propSpace)
		if now&propWord != 0 {
			now = propWord
		}
		if now != kind {
			if kind != propSpace {
				dst = appendPiece(dst, start, i)
			}
			start, kind = i, now
		}
		i += int32(n)
	}
	if kind != propSpace {
		dst = appendPiece(dst, start, hi)
	}
	return dst
}

// behavior says what becomes of a delimiter. For "the-final--countdown" at "-":
type behavior uint8

const (
	removed            behavior = iota // the final countdown
	isolated                           // the - final - - countdown
	contiguous                         // the - final -- countdown
	mergedWithPrevious                 // the- final- - countdown
	mergedWithNext                     // the -final - -countdown
)

var behaviors = map[string]behavior{
	"Removed": removed, "Isolated": isolated, "Contiguous": contiguous,
	"MergedWithPrevious": mergedWithPrevious, "MergedWithNext": mergedWithNext,
}

// charSplit cuts at each character of a property: Punctuation and Digits.
type charSplit struct {
	prop     uint16
	behavior behavior
}

func (p charSplit) split(dst []piece, text []byte, lo, hi int32, tab *charTable) []piece {
	first := len(dst)
	start := lo
	was := false // the part before is a delimiter
	add := func(lo, hi int32, is bool) {
		switch {
		case is && p.behavior == removed:
		case is && p.behavior == contiguous && was && len(dst) > first,
			is && p.behavior == mergedWithPrevious && !was && len(dst) > first:
			dst[len(dst)-1].hi = hi
		case !is && p.behavior == mergedWithNext && was:
			dst[len(dst)-1].hi = hi
		default:
			dst = append(dst, piece{lo, hi, noToken})
		}
		was = is
	}
	for i := lo; i < hi; {
		c, n := utf8.DecodeRune(text[i:hi])
		if tab.is(c, p.prop) {
			if start < i {
				add(start, i, false)
			}
			start = i + int32(n)
			add(i, start, true)
		}
		i += int32(n)
	}
	if start < hi {
		add(start, hi, false)
	}
	return dst
}
