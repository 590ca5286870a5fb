package tokenize

import (
	"bytes"
	"unicode/utf8"
)

// normalizer rewrites the segment w.cur; a segment is the text between added
// tokens and never empty when the first normalizer sees it.
type normalizer interface {
	normalize(w *work)
}

// normalizers are applied one after the other.
type normalizers []normalizer

func (ns normalizers) normalize(w *work) {
	for _, n := range ns {
		n.normalize(w)
	}
}

// bertNormalizer is BertNormalizer, its strip_accents resolved.
type bertNormalizer struct{ clean, han, strip, lower bool }

func (n bertNormalizer) normalize(w *work) {
	if n.clean {
		n.cleanText(w)
	}
	if n.han && !isASCII(w.cur.text) {
		n.setHanApart(w)
	}
	if n.strip {
		normalForm{}.normalize(w)
		stripMarks{propMn}.normalize(w)
	}
	if n.lower {
		lowercase{}.normalize(w)
	}
}

// cleanText removes control characters and makes every white space a space.
func (n bertNormalizer) cleanText(w *work) {
	w.next.reset(w.cur.track)
	for i := 0; i < len(w.cur.text); {
		c, size := utf8.DecodeRune(w.cur.text[i:])
		switch props := w.tab.props[c]; {
		case props&propControl != 0:
		case props&propSpace != 0:
			w.next.add(' ', w.cur.at(i))
		default:
			w.next.addPart(&w.cur, i, i+size)
		}
		i += size
	}
	w.swap()
}

// setHanApart puts a space on either side of what it takes for Chinese.
func (n bertNormalizer) setHanApart(w *work) {
	w.next.reset(w.cur.track)
	for i := 0; i < len(w.cur.text); {
		c, size := utf8.DecodeRune(w.cur.text[i:])
		if w.tab.is(c, propHan) {
			at := w.cur.at(i)
			w.next.add(' ', at)
			w.next.addPart(&w.cur, i, i+size)
			w.next.add(' ', at)
		} else {
			w.next.addPart(&w.cur, i, i+size)
		}
		i += size
	}
	w.swap()
}

// stripMarks removes the code points of a property: nonspacing marks for
// BertNormalizer, combining marks for StripAccents.
type stripMarks struct{ prop uint16 }

func (n stripMarks) normalize(w *work) {
	if isASCII(w.cur.text) {
		return
	}
	w.next.reset(w.cur.track)
	for i := 0; i < len(w.cur.text); {
		c, size := utf8.DecodeRune(w.cur.text[i:])
		if !w.tab.is(c, n.prop) {
			w.next.addPart(&w.cur, i, i+size)
		}
		i += size
	}
	w.swap()
}

// lowercase maps code point by code point, so a final sigma is not special.
type lowercase struct{}

func (lowercase) normalize(w *work) {
	if isASCII(w.cur.text) {
		for i, c := range w.cur.text {
			if c >= 'A' && c <= 'Z' {
				w.cur.text[i] = c + 'a' - 'A'
			}
		}
		return
	}
	w.next.reset(w.cur.track)
	for i := 0; i < len(w.cur.text); {
		c, size := utf8.DecodeRune(w.cur.text[i:])
		if w.tab.is(c, propLower) {
			w.runes = w.tab.appendLower(w.runes[:0], c)
			for _, to := range w.runes {
				w.next.add(to, w.cur.at(i))
			}
		} else {
			w.next.addPart(&w.cur, i, i+size)
		}
		i += size
	}
	w.swap()
}

// strip is Strip.
type strip struct{ left, right bool }

func (n strip) normalize(w *work) {
	lo, hi := 0, len(w.cur.text)
	for n.left && lo < hi {
		c, size := utf8.DecodeRune(w.cur.text[lo:hi])
		if !w.tab.is(c, propSpace) {
			break
		}
		lo += size
	}
	for n.right && lo < hi {
		c, size := utf8.DecodeLastRune(w.cur.text[lo:hi])
		if !w.tab.is(c, propSpace) {
			break
		}
		hi -= size
	}
	w.next.reset(w.cur.track)
	w.next.addPart(&w.cur, lo, hi)
	w.swap()
}

// replace is Replace of a string that is not empty. What is put in counts as
// coming from where the last code point taken out came from.
type replace struct{ old, new string }

func (n replace) normalize(w *work) {
	old := []byte(n.old)
	w.next.reset(w.cur.track)
	i := 0
	for {
		k := bytes.Index(w.cur.text[i:], old)
		if k < 0 {
			break
		}
		w.next.addPart(&w.cur, i, i+k)
		i += k + len(old)
		w.next.addString(n.new, w.cur.at(i-1))
	}
	w.next.addPart(&w.cur, i, len(w.cur.text))
	w.swap()
}

// prepend is Prepend of a string that is not empty; nothing is put before
// nothing. It counts as coming from where the first code point came from.
type prepend struct{ text string }

func (n prepend) normalize(w *work) {
	if len(w.cur.text) == 0 {
		return
	}
	w.next.reset(w.cur.track)
	w.next.addString(n.text, w.cur.at(0))
	w.next.addPart(&w.cur, 0, len(w.cur.text))
	w.swap()
}

// normalizeString gives the normalized form of an added token.
func normalizeString(n normalizer, tab *charTable, s string) string {
	if n == nil {
		return s
	}
	w := &work{tab: tab}
	w.cur.load(s, false)
	n.normalize(w)
	return string(w.cur.text)
}
