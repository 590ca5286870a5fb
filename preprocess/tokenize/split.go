package tokenize

import (
	"bytes"
	"unicode/utf8"
)

// patternSplit is Split, by a pattern that has a scanner or by any other.
type patternSplit struct {
	scan     scanner
	kinds    []uint8
	re       *regex // if scan is nil
	behavior behavior
	invert   bool
}

// newPatternSplit compiles a pattern for a Split.
func newPatternSplit(pattern string, b behavior, invert bool) (patternSplit, error) {
	p := patternSplit{scan: scanners[pattern], behavior: b, invert: invert}
	if p.scan != nil {
		p.kinds = classes().kinds
		return p, nil
	}
	var err error
	p.re, err = newRegex(pattern)
	return p, err
}

// newTextSplit is a Split by a string.
func newTextSplit(text string, b behavior, invert bool) patternSplit {
	return patternSplit{re: literalRegex(text), behavior: b, invert: invert}
}

// literalRegex matches a string; an empty one matches everywhere.
func literalRegex(text string) *regex {
	re := &regex{empty: text == ""}
	for _, b := range []byte(text) {
		re.prog = append(re.prog, inst{op: opByte, x: int32(b)})
	}
	if text != "" {
		re.first[text[0]] = true
	}
	re.prog = append(re.prog, inst{op: opMatch})
	return re
}

// whole says that every match becomes a piece, and nothing else does if all of
// the text is matched.
func (p patternSplit) whole() bool {
	return p.behavior == isolated || p.behavior == removed && p.invert
}

func (p patternSplit) apply(w *work) { w.cutPieces(p) }

func (p patternSplit) split(dst []piece, text []byte, lo, hi int32, w *work) []piece {
	part := text[lo:hi]
	if p.scan != nil && p.whole() {
		for at := 0; at < len(part); {
			end := p.scan(p.kinds, part, at)
			dst = append(dst, piece{lo + int32(at), lo + int32(end), noToken})
			at = end
		}
		return dst
	}
	w.cuts = p.appendCuts(w.cuts[:0], part, w)
	f := folding{dst: dst, first: len(dst), behavior: p.behavior}
	for _, c := range w.cuts {
		f.add(lo+int32(c.lo), lo+int32(c.hi), c.is != p.invert)
	}
	return dropEmpty(f.dst, len(dst))
}

func (p patternSplit) appendCuts(dst []cut, text []byte, w *work) []cut {
	if p.scan == nil {
		return p.re.appendCuts(dst, text, w)
	}
	for at := 0; at < len(text); {
		end := p.scan(p.kinds, text, at)
		dst = append(dst, cut{at, end, true})
		at = end
	}
	return dst
}

// dropEmpty takes the empty pieces out of list[from:].
func dropEmpty(list []piece, from int) []piece {
	to := from
	for _, p := range list[from:] {
		if p.lo < p.hi {
			list[to] = p
			to++
		}
	}
	return list[:to]
}

// prependScheme says where Metaspace puts its mark before a piece.
type prependScheme uint8

const (
	prependNever  prependScheme = iota
	prependFirst                // before one that begins where the text begins
	prependAlways               // before each
)

// marking is Metaspace without its split: spaces become a mark, and a piece
// gets one in front, unless it has.
type marking struct {
	mark   string
	scheme prependScheme
}

func (p marking) apply(w *work) { w.rewritePieces(p) }

func (p marking) rewrite(dst, src *buffer, lo, hi int) {
	text := src.text[lo:hi]
	first := p.scheme == prependAlways || p.scheme == prependFirst && src.at(lo).start == 0
	if first && text[0] != ' ' && !bytes.HasPrefix(text, []byte(p.mark)) {
		dst.addString(p.mark, src.at(lo))
	}
	for lo < hi {
		k := bytes.IndexByte(src.text[lo:hi], ' ')
		if k < 0 {
			break
		}
		dst.addPart(src, lo, lo+k)
		dst.addString(p.mark, src.at(lo+k))
		lo += k + 1
	}
	dst.addPart(src, lo, hi)
}

// markSplit is Metaspace's split: a mark begins a piece.
type markSplit struct{ mark string }

func (p markSplit) apply(w *work) { w.cutPieces(p) }

func (p markSplit) split(dst []piece, text []byte, lo, hi int32, _ *work) []piece {
	mark := []byte(p.mark)
	for {
		from := lo
		if bytes.HasPrefix(text[lo:hi], mark) {
			from += int32(len(mark))
		}
		k := bytes.Index(text[from:hi], mark)
		if k < 0 {
			return appendPiece(dst, lo, hi)
		}
		dst = append(dst, piece{lo, from + int32(k), noToken})
		lo = from + int32(k)
	}
}

// spacePrefix is the add_prefix_space of ByteLevel: a piece begins with a space.
type spacePrefix struct{}

func (p spacePrefix) apply(w *work) {
	for _, s := range w.pieces {
		if s.id == noToken && w.all.text[s.lo] != ' ' {
			w.rewritePieces(p)
			return
		}
	}
}

func (spacePrefix) rewrite(dst, src *buffer, lo, hi int) {
	if src.text[lo] != ' ' {
		dst.add(' ', src.at(lo))
	}
	dst.addPart(src, lo, hi)
}

// byteMap is what ByteLevel does to a text, as pre-tokenizer or as normalizer:
// each byte becomes its letter of the alphabet. Before a byte-level model it is
// left out, and the model's tokens are bytes instead: see [core].
type byteMap struct{}

func (p byteMap) apply(w *work) { w.rewritePieces(p) }

func (byteMap) rewrite(dst, src *buffer, lo, hi int) {
	for i := lo; i < hi; i++ {
		dst.add(byteAlphabet(src.text[i]), src.at(i))
	}
}

func (p byteMap) normalize(w *work) {
	w.next.reset(w.cur.track)
	p.rewrite(&w.next, &w.cur, 0, len(w.cur.text))
	w.swap()
}

// replacePattern is Replace of a pattern that matches no empty string.
type replacePattern struct {
	re  *regex
	new string
}

func (n replacePattern) normalize(w *work) {
	text := w.cur.text
	m := matching{re: n.re, text: text, stack: w.frames[:0]}
	lo, hi := m.find(0)
	if lo < 0 {
		return
	}
	w.next.reset(w.cur.track)
	done := 0
	for ; lo >= 0; lo, hi = m.find(hi) {
		w.next.addPart(&w.cur, done, lo)
		w.next.addString(n.new, w.cur.at(hi-1))
		done = hi
	}
	w.next.addPart(&w.cur, done, len(text))
	w.frames = m.stack
	w.swap()
}

// nmt is Nmt: control characters go, and more than white space becomes a space.
type nmt struct{}

func (nmt) normalize(w *work) {
	w.next.reset(w.cur.track)
	for i := 0; i < len(w.cur.text); {
		c, size := utf8.DecodeRune(w.cur.text[i:])
		switch {
		case c >= 1 && c <= 8, c == 0xB, c >= 0xE && c <= 0x1F, c == 0x7F, c == 0x8F, c == 0x9F:
		case c == '\t', c == '\n', c == '\f', c == '\r', c == 0x1680, c >= 0x200B && c <= 0x200F,
			c == 0x2028, c == 0x2029, c == 0x2581, c == 0xFEFF, c == 0xFFFD:
			w.next.add(' ', w.cur.at(i))
		default:
			w.next.addPart(&w.cur, i, i+size)
		}
		i += size
	}
	w.swap()
}
