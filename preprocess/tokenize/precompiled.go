package tokenize

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// precompiled is Precompiled: the character map of a SentencePiece model. The
// library looks up each grapheme cluster of up to five bytes, and then each code
// point of those that it didn't find or that are longer. A lookup takes the
// first, that is the shortest, key that the text begins with.
//
// The map is a double array in the layout of darts-clone (Yata): units of 32
// bits with a label, an offset to the children and a bit for a leaf.
type precompiled struct {
	units []uint32
	pool  []byte // replacements, each closed by a zero byte
	ascii [utf8.RuneSelf]bool
	table *graphemeTable
}

var errCharsmap = errors.New("normalizer Precompiled: precompiled_charsmap is broken")

func newPrecompiled(data []byte) (normalizer, error) {
	if len(data) < 4 {
		return nil, errCharsmap
	}
	size := int(binary.LittleEndian.Uint32(data))
	data = data[4:]
	if size < 4 || size > len(data) {
		return nil, errCharsmap
	}
	size -= size % 4
	p := &precompiled{pool: data[size:], table: graphemes()}
	for i := 0; i < size; i += 4 {
		p.units = append(p.units, binary.LittleEndian.Uint32(data[i:]))
	}
	if !utf8.Valid(p.pool) || !p.sound() {
		return nil, errCharsmap
	}
	for b := range p.ascii {
		_, p.ascii[b] = p.lookup([]byte{byte(b)})
	}
	return p, nil
}

// sound says that no lookup leaves the array or the pool, or cuts a character.
func (p *precompiled) sound() bool {
	for i, u := range p.units {
		at := i ^ offset(u)
		if u>>8&1 == 0 || u>>31 == 1 {
			continue
		}
		if at >= len(p.units) {
			return false
		}
		if v := int(p.units[at] & (1<<31 - 1)); p.units[at]>>31 == 1 && (v > len(p.pool) || v < len(p.pool) && !utf8.RuneStart(p.pool[v])) {
			return false
		}
	}
	return true
}

func offset(u uint32) int { return int(u >> 10 << (u & (1 << 9) >> 6)) }

// lookup gives what replaces a text.
func (p *precompiled) lookup(text []byte) ([]byte, bool) {
	at := offset(p.units[0])
	for _, b := range text {
		if b == 0 {
			break
		}
		if at ^= int(b); at >= len(p.units) {
			break
		}
		u := p.units[at]
		if u&(1<<31|0xFF) != uint32(b) {
			break
		}
		at ^= offset(u)
		if u>>8&1 == 1 {
			return p.replacement(at), at < len(p.units)
		}
	}
	return nil, false
}

// replacement is what a leaf holds.
func (p *precompiled) replacement(leaf int) []byte {
	if leaf >= len(p.units) {
		return nil
	}
	rest := p.pool[min(int(p.units[leaf]&(1<<31-1)), len(p.pool)):]
	if end := bytes.IndexByte(rest, 0); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// longest gives what replaces the longest key that a text begins with, and that
// key's length: 0 if there is none. So SentencePiece itself looks up.
func (p *precompiled) longest(text []byte) (to []byte, size int) {
	at := offset(p.units[0])
	for i, b := range text {
		if at ^= int(b); b == 0 || at >= len(p.units) {
			break
		}
		u := p.units[at]
		if u&(1<<31|0xFF) != uint32(b) {
			break
		}
		if at ^= offset(u); u>>8&1 == 1 && at < len(p.units) {
			to, size = p.replacement(at), i+1
		}
	}
	return to, size
}

// longestCluster is the longest grapheme cluster that is looked up as a whole.
const longestCluster = 5

func (p *precompiled) normalize(w *work) {
	text := w.cur.text
	if p.keeps(text) {
		return
	}
	w.marks = w.marks[:0]
	changed := false
	for at := 0; at < len(text); {
		end := at + p.table.cluster(text[at:])
		if end-at <= longestCluster {
			if to, ok := p.lookup(text[at:end]); ok {
				w.marks = appendChange(w.marks, text[at:end], to)
				changed, at = true, end
				continue
			}
		}
		for at < end {
			c, n := utf8.DecodeRune(text[at:])
			if to, ok := p.lookup(text[at : at+n]); ok {
				w.marks = appendChange(w.marks, text[at:at+n], to)
				changed = true
			} else {
				w.marks = append(w.marks, mark{c: c})
			}
			at += n
		}
	}
	if changed {
		w.apply(w.marks)
	}
}

// keeps is a quick look at a text that stays as it is: ASCII without CR, which
// may begin a cluster, and without what the map has.
func (p *precompiled) keeps(text []byte) bool {
	for _, b := range text {
		if b >= utf8.RuneSelf || b == '\r' || p.ascii[b] {
			return false
		}
	}
	return true
}

// appendChange appends what replaces a text. Code points that are more than
// before are put in beside the last, and those that are fewer go with the last
// of all so far: with none, they stay, and what follows is aligned to them.
func appendChange(marks []mark, was, to []byte) []mark {
	first := len(marks)
	for i := 0; i < len(to); {
		c, n := utf8.DecodeRune(to[i:])
		marks = append(marks, mark{c: c})
		i += n
	}
	more := len(marks) - first - utf8.RuneCount(was)
	for i := len(marks) - more; i < len(marks) && more > 0; i++ {
		marks[i].change = 1
	}
	if more < 0 && len(marks) > 0 {
		marks[len(marks)-1].change += int32(more)
	}
	return marks
}
