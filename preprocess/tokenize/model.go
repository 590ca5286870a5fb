package tokenize

import (
	"sort"
	"unicode/utf8"
)

// model turns a piece of normalized text, never empty, into tokens.
type model interface {
	// tokenize appends the tokens of text[lo:hi]; the caller sets their words.
	tokenize(dst []token, text []byte, lo, hi int32) []token
	// words is the model's vocabulary.
	words() *vocab
}

// vocab is a model's vocabulary, both ways.
type vocab struct {
	trie *trie
	byID []vocabEntry // sorted by id
}

// idModel is a model that makes ids of a piece faster than tokens.
type idModel interface {
	// appendIDs appends the ids of a piece that isn't empty: those of tokenize.
	appendIDs(dst []int32, piece []byte) []int32
}

// newVocabList takes tokens in the order of their ids, which count from 0. Of
// equal texts the last has the text's id; the others keep theirs.
func newVocabList(tokens []vocabEntry) *vocab {
	entries := append([]vocabEntry(nil), tokens...)
	sort.SliceStable(entries, func(i, k int) bool { return entries[i].text < entries[k].text })
	n := 0
	for i, e := range entries {
		if i+1 < len(entries) && entries[i+1].text == e.text {
			continue
		}
		entries[n] = e
		n++
	}
	return &vocab{trie: newTrie(entries[:n]), byID: tokens}
}

// newVocab takes a vocabulary of different texts. Of two with one id, idToToken
// gives either.
func newVocab(entries []vocabEntry) *vocab {
	byID := append([]vocabEntry(nil), entries...)
	sort.Slice(byID, func(i, k int) bool {
		if byID[i].id != byID[k].id {
			return byID[i].id < byID[k].id
		}
		return byID[i].text < byID[k].text
	})
	return &vocab{trie: newTrie(entries), byID: byID}
}

func (v *vocab) idToToken(id int32) (string, bool) {
	i := sort.Search(len(v.byID), func(i int) bool { return v.byID[i].id >= id })
	if i == len(v.byID) || v.byID[i].id != id {
		return "", false
	}
	return v.byID[i].text, true
}

// wordPiece cuts a word into the longest known parts from left to right; a word
// that can't be so cut, or is too long, is unknown.
// Source: Schuster and Nakajima, Japanese and Korean Voice Search, 2012.
type wordPiece struct {
	vocab    *vocab
	cells    []cell
	unk      int32
	prefix   string
	inner    int32 // the node that the prefix of inner parts leads to
	hasInner bool
	maxChars int
}

func newWordPiece(v *vocab, unk int32, prefix string, maxChars int) *wordPiece {
	node := v.trie.find(prefix)
	return &wordPiece{
		vocab: v, cells: v.trie.cells, unk: unk, maxChars: maxChars, prefix: prefix,
		inner: node, hasInner: node != root || prefix == "",
	}
}

func (m *wordPiece) words() *vocab { return m.vocab }

// longest is the longest token that begins word[at:], as its id and its end.
func (m *wordPiece) longest(word []byte, at int) (id int32, end int) {
	node := int32(root)
	if at > 0 {
		if !m.hasInner {
			return noToken, 0
		}
		node = m.inner
	}
	id = noToken
	for i := at; i < len(word); i++ {
		next := m.cells[node].base + int32(word[i])
		c := &m.cells[next]
		if c.parent != node {
			break
		}
		node = next
		if c.value != noToken {
			id, end = c.value, i+1
		}
	}
	return id, end
}

func (m *wordPiece) tokenize(dst []token, text []byte, lo, hi int32) []token {
	word, n := text[lo:hi], len(dst)
	unknown := len(word) > m.maxChars && utf8.RuneCount(word) > m.maxChars
	for at := 0; at < len(word) && !unknown; {
		id, end := m.longest(word, at)
		if id == noToken {
			unknown = true
			break
		}
		kind := tokenInner
		if at == 0 || m.inner == root {
			kind = tokenFirst
		}
		dst = append(dst, token{id: id, lo: lo + int32(at), hi: lo + int32(end), kind: kind})
		at = end
	}
	if unknown {
		dst = append(dst[:n], token{id: m.unk, lo: lo, hi: hi, kind: tokenUnk})
	}
	return dst
}

// appendIDs is tokenize for ids only; chars is the word's length in code points.
func (m *wordPiece) appendIDs(dst []int32, word []byte, chars int) []int32 {
	n := len(dst)
	if chars > m.maxChars {
		return append(dst, m.unk)
	}
	for at := 0; at < len(word); {
		id, end := m.longest(word, at)
		if id == noToken {
			return append(dst[:n], m.unk)
		}
		dst = append(dst, id)
		at = end
	}
	return dst
}

// wordLevel knows whole words only.
type wordLevel struct {
	vocab *vocab
	unk   int32
}

func (m *wordLevel) words() *vocab { return m.vocab }

func (m *wordLevel) tokenize(dst []token, text []byte, lo, hi int32) []token {
	if id := m.vocab.trie.whole(text[lo:hi]); id != noToken {
		return append(dst, token{id: id, lo: lo, hi: hi})
	}
	return append(dst, token{id: m.unk, lo: lo, hi: hi, kind: tokenUnk})
}

// appendIDs is tokenize for ids only, of a piece that isn't empty.
func (m *wordLevel) appendIDs(dst []int32, piece []byte) []int32 {
	if id := m.vocab.trie.whole(piece); id != noToken {
		return append(dst, id)
	}
	return append(dst, m.unk)
}
