package tokenize

import "unicode/utf8"

// preTokenizer cuts the pieces of w.all that aren't added tokens into smaller
// ones, or rewrites them. Empty pieces are not made.
type preTokenizer interface{ apply(w *work) }

// splitter cuts.
type splitter interface {
	// split appends the parts of text[lo:hi], which is not empty.
	split(dst []piece, text []byte, lo, hi int32, w *work) []piece
}

// rewriter changes the text of pieces.
type rewriter interface {
	// rewrite appends what it makes of src[lo:hi], which is not empty.
	rewrite(dst, src *buffer, lo, hi int)
}

// cutPieces applies a splitter to all pieces.
func (w *work) cutPieces(p splitter) {
	w.spare = w.spare[:0]
	for _, s := range w.pieces {
		if s.id != noToken {
			w.spare = append(w.spare, s)
			continue
		}
		w.spare = p.split(w.spare, w.all.text, s.lo, s.hi, w)
	}
	w.pieces, w.spare = w.spare, w.pieces
}

// rewritePieces applies a rewriter to all pieces.
func (w *work) rewritePieces(r rewriter) {
	w.next.reset(w.all.track)
	for i := range w.pieces {
		s := &w.pieces[i]
		base := int32(len(w.next.text))
		if s.id != noToken {
			w.next.addPart(&w.all, int(s.lo), int(s.hi))
		} else {
			r.rewrite(&w.next, &w.all, int(s.lo), int(s.hi))
		}
		s.lo, s.hi = base, int32(len(w.next.text))
	}
	w.all, w.next = w.next, w.all
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

func (p bertSplit) apply(w *work) { w.cutPieces(p) }

func (bertSplit) split(dst []piece, text []byte, lo, hi int32, w *work) []piece {
	start := lo
	for i := lo; i < hi; {
		c, n := utf8.DecodeRune(text[i:hi])
		size := int32(n)
		switch props := w.tab.props[c]; {
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

func (p wordSplit) apply(w *work) { w.cutPieces(p) }

func (wordSplit) split(dst []piece, text []byte, lo, hi int32, w *work) []piece {
	start, kind := lo, uint16(propSpace)
	for i := lo; i < hi; {
		c, n := utf8.DecodeRune(text[i:hi])
		now := w.tab.props[c] & (propWord | propSpace)
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

// folding puts the parts of a text together as a behavior has it.
type folding struct {
	dst      []piece
	first    int // of dst
	behavior behavior
	was      bool // the part before is a delimiter
}

func (f *folding) add(lo, hi int32, is bool) {
	last := len(f.dst) - 1
	joins := false
	switch f.behavior {
	case removed:
		if is {
			return
		}
	case contiguous:
		joins = is == f.was
	case mergedWithPrevious:
		joins = is && !f.was
	case mergedWithNext:
		joins = !is && f.was
	}
	if joins && last >= f.first {
		f.dst[last].hi = hi
	} else {
		f.dst = append(f.dst, piece{lo, hi, noToken})
	}
	f.was = is
}

// charSplit cuts at each character of a property: Punctuation and Digits.
type charSplit struct {
	prop     uint16
	behavior behavior
}

func (p charSplit) apply(w *work) { w.cutPieces(p) }

func (p charSplit) split(dst []piece, text []byte, lo, hi int32, w *work) []piece {
	f := folding{dst: dst, first: len(dst), behavior: p.behavior}
	start := lo
	for i := lo; i < hi; {
		c, n := utf8.DecodeRune(text[i:hi])
		if w.tab.is(c, p.prop) {
			if start < i {
				f.add(start, i, false)
			}
			start = i + int32(n)
			f.add(i, start, true)
		}
		i += int32(n)
	}
	if start < hi {
		f.add(start, hi, false)
	}
	return f.dst
}

// fixedLength is FixedLength: so many code points each.
type fixedLength struct{ length int }

func (p fixedLength) apply(w *work) { w.cutPieces(p) }

func (p fixedLength) split(dst []piece, text []byte, lo, hi int32, _ *work) []piece {
	n := 0
	for i := lo; i < hi; n++ {
		if n == p.length {
			dst = append(dst, piece{lo, i, noToken})
			lo, n = i, 0
		}
		_, size := utf8.DecodeRune(text[i:hi])
		i += int32(size)
	}
	return appendPiece(dst, lo, hi)
}
