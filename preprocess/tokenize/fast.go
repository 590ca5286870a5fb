package tokenize

import (
	"math"
	"unicode/utf8"
)

// fastPath makes ids straight from the input for the commonest kind of
// tokenizer (BertNormalizer, BertPreTokenizer, WordPiece) in one pass, with no
// copy of the text: what that normalizer does to a code point depends on that
// code point alone, save for the order of combining marks that it leaves in
// place. Where such a mark turns up it gives up, and the general path is taken.
type fastPath struct {
	norm  bertNormalizer
	model *wordPiece
	raw   *matcher
	tab   *charTable
	kinds [256]uint8 // of the byte that begins a code point
	lower [256]byte  // ASCII, as normalized
	alone [128]int32 // id of an ASCII code point that is a word by itself
	folds []fold     // of the code points below foldLimit
}

// fold is what becomes of a code point: a kind in the upper 8 bits, and the
// one code point that it becomes.
type fold uint32

const (
	foldWord  uint8 = iota // part of a word
	foldSpace              // ends a word
	foldAlone              // a word by itself
	foldDrop               // nothing
	foldMany               // several code points, or one of several kinds
	foldGiveUp
	foldRune // not ASCII: look further
)

const foldLimit = 0x10000

func makeFold(kind uint8, c rune) fold { return fold(kind)<<24 | fold(c) }

func (f fold) kind() uint8 { return uint8(f >> 24) }
func (f fold) rune() rune  { return rune(f & 0xFFFFFF) }

// newFastPath gives nil for a tokenizer that isn't of the kind.
func newFastPath(c *core) *fastPath {
	norm, isBert := c.norm.(bertNormalizer)
	model, isPiece := c.model.(*wordPiece)
	if !isBert || !isPiece || c.added.normed != nil || len(c.pre) != 1 || c.pre[0] != (bertSplit{}) {
		return nil
	}
	f := &fastPath{norm: norm, model: model, raw: c.added.raw, tab: c.tab}
	f.folds = make([]fold, foldLimit)
	var scratch []rune
	for c := range rune(foldLimit) {
		f.folds[c], scratch = f.fold(c, scratch)
	}
	for c := range rune(256) {
		if c >= utf8.RuneSelf {
			f.kinds[c] = foldRune
			continue
		}
		to := f.folds[c]
		f.kinds[c], f.lower[c] = to.kind(), byte(to.rune())
		if to.kind() == foldAlone {
			f.alone[c] = model.appendIDs(nil, []byte{f.lower[c]}, 1)[0]
		}
	}
	return f
}

// fold finds out what becomes of c.
func (f *fastPath) fold(c rune, scratch []rune) (fold, []rune) {
	props := f.tab.props[c]
	if f.norm.clean {
		if props&propControl != 0 {
			return makeFold(foldDrop, 0), scratch
		}
		if props&propSpace != 0 {
			return makeFold(foldSpace, ' '), scratch
		}
	}
	apart := f.norm.han && props&propHan != 0
	to, ok := f.appendNormalized(scratch[:0], c)
	switch {
	case !ok:
		return makeFold(foldGiveUp, 0), to
	case len(to) > 1:
		return makeFold(foldMany, c), to
	case len(to) == 0 && apart:
		return makeFold(foldSpace, ' '), to
	case len(to) == 0:
		return makeFold(foldDrop, 0), to
	}
	switch props := f.tab.props[to[0]]; {
	case props&propSpace != 0:
		return makeFold(foldSpace, ' '), to
	case props&propPunct != 0, apart:
		return makeFold(foldAlone, to[0]), to
	}
	return makeFold(foldWord, to[0]), to
}

// appendNormalized appends what accents off and lower case make of c. It isn't
// ok if a mark remains that a neighbour could be sorted with.
func (f *fastPath) appendNormalized(dst []rune, c rune) ([]rune, bool) {
	if !f.norm.strip {
		if f.norm.lower {
			return f.tab.appendLower(dst, c), true
		}
		return append(dst, c), true
	}
	var room [24]rune
	for _, d := range f.tab.appendDecomposed(room[:0], c, false) {
		switch {
		case f.tab.is(d, propMn):
		case f.tab.is(d, propNonStarter):
			return dst, false
		case f.norm.lower:
			dst = f.tab.appendLower(dst, d)
		default:
			dst = append(dst, d)
		}
	}
	return dst, true
}

// appendIDs appends the ids of a text, at least most of them if there are so
// many. It isn't ok if the general path must be taken.
func (f *fastPath) appendIDs(dst []int32, text string, most int, w *work) ([]int32, bool) {
	stop := math.MaxInt
	if most < math.MaxInt-len(dst) {
		stop = len(dst) + most
	}
	if f.raw.mayMatch(text) {
		return f.appendSplit(dst, text, stop, w)
	}
	return f.appendSegment(dst, text, stop, w)
}

// appendSplit is appendSegment for a text that may have added tokens in it.
func (f *fastPath) appendSplit(dst []int32, text string, stop int, w *work) ([]int32, bool) {
	if !utf8.ValidString(text) {
		return dst, false
	}
	w.raw.load(text, false)
	w.segments = f.raw.split(w.segments[:0], w.raw.text, f.tab)
	for _, s := range w.segments {
		if len(dst) >= stop {
			break
		}
		if s.id != noToken {
			if s.lo < s.hi {
				dst = append(dst, s.id)
			}
			continue
		}
		var ok bool
		if dst, ok = f.appendSegment(dst, text[s.lo:s.hi], stop, w); !ok {
			return dst, false
		}
	}
	return dst, true
}

// appendSegment appends the ids of a text without added tokens.
func (f *fastPath) appendSegment(dst []int32, text string, stop int, w *work) ([]int32, bool) {
	for i := 0; i < len(text) && len(dst) < stop; {
		switch f.kinds[text[i]] {
		case foldSpace, foldDrop:
			i++
		case foldAlone:
			dst = append(dst, f.alone[text[i]])
			i++
		case foldWord:
			end := i + 1
			for end < len(text) && f.kinds[text[end]] == foldWord {
				end++
			}
			if end == len(text) || f.kinds[text[end]] <= foldAlone {
				dst = f.appendASCII(dst, text[i:end])
				i = end
				continue
			}
			fallthrough
		default:
			var ok bool
			if dst, i, ok = f.appendMixed(dst, text, i, w); !ok {
				return dst, false
			}
		}
	}
	return dst, true
}

// appendASCII appends the ids of a whole word of ASCII, as it stands in the
// input.
func (f *fastPath) appendASCII(dst []int32, word string) []int32 {
	m, n := f.model, len(dst)
	if len(word) > m.maxChars {
		return append(dst, m.unk)
	}
	cells := m.cells
	node := int32(root)
	for at := 0; at < len(word); {
		id, end := int32(noToken), at
		for i := at; i < len(word); i++ {
			next := cells[node].base + int32(f.lower[word[i]])
			c := &cells[next]
			if c.parent != node {
				break
			}
			node = next
			if c.value != noToken {
				id, end = c.value, i+1
			}
		}
		if id == noToken {
			return append(dst[:n], m.unk)
		}
		dst = append(dst, id)
		at, node = end, m.inner
		if at < len(word) && !m.hasInner {
			return append(dst[:n], m.unk)
		}
	}
	return dst
}

// appendMixed appends the ids of the word at i, which isn't all of ASCII, and of
// what it ends in; it gives the index behind.
func (f *fastPath) appendMixed(dst []int32, text string, i int, w *work) ([]int32, int, bool) {
	word, chars := w.word[:0], 0
	for i < len(text) {
		c, size := rune(text[i]), 1
		if c >= utf8.RuneSelf {
			if c, size = utf8.DecodeRuneInString(text[i:]); c == utf8.RuneError && size == 1 && !f.norm.clean {
				return dst, i, false // invalid bytes count where U+FFFD does
			}
		}
		var to fold
		if c < foldLimit {
			to = f.folds[c]
		} else {
			to, w.runes = f.fold(c, w.runes)
		}
		i += size
		kind := to.kind()
		if kind == foldWord {
			word = utf8.AppendRune(word, to.rune())
			chars++
			continue
		}
		if kind == foldDrop {
			continue
		}
		if kind == foldMany {
			dst, word, chars = f.appendMany(dst, c, word, chars, w)
			continue
		}
		if kind == foldGiveUp {
			return dst, i, false
		}
		dst = f.model.appendIDs(dst, word, chars)
		word, chars = word[:0], 0
		if kind == foldAlone {
			w.word = utf8.AppendRune(word, to.rune())
			dst = f.model.appendIDs(dst, w.word, 1)
		}
		w.word = word
		return dst, i, true
	}
	w.word = word
	return f.model.appendIDs(dst, word, chars), i, true
}

// appendMany goes on with the code points that c becomes.
func (f *fastPath) appendMany(dst []int32, c rune, word []byte, chars int, w *work) ([]int32, []byte, int) {
	apart := f.norm.han && f.tab.is(c, propHan)
	flush := func() {
		dst = f.model.appendIDs(dst, word, chars)
		word, chars = word[:0], 0
	}
	if apart {
		flush()
	}
	w.runes, _ = f.appendNormalized(w.runes[:0], c)
	for _, to := range w.runes {
		props := f.tab.props[to]
		if props&(propSpace|propPunct) != 0 {
			flush()
		}
		if props&propSpace != 0 {
			continue
		}
		word = utf8.AppendRune(word, to)
		chars++
		if props&propPunct != 0 {
			flush()
		}
	}
	if apart {
		flush()
	}
	return dst, word, chars
}
