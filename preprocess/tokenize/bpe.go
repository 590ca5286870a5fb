package tokenize

import (
	"bytes"
	"sync"
	"unicode/utf8"
)

// bpe cuts a piece into characters and merges neighbours, those pairs first that
// its training merged first.
// Source: Sennrich, Haddow and Birch, Neural Machine Translation of Rare Words
// with Subword Units, 2016.
//
// A byte-level model runs on raw bytes: its vocabulary, which spells bytes as
// characters (see byteAlphabet), is read back into bytes when it is opened. In
// all others a character is a code point.
type bpe struct {
	bpeConfig
	vocab   *vocab
	raw     *trie          // the vocabulary as it is spelled in a piece
	pairs   *pairTable     // their ranks
	results []int32        // by rank: the id that the pair becomes
	bytes   [256]int32     // byte level: id of each byte, noToken if it has none
	hexes   [256]int32     // byte fallback: id of "<0x00>" and so on, noToken likewise
	unk     int32          // noToken: unknown characters are left out
	strange map[int32]bool // tokens whose text isn't that of their range
	odd     bool           // see markOdd
	cut     bool           // pieces can be cut before metaspaces
	whole   *pieceTable
	long    map[string]int32 // with ignoreMerges, tokens too long for whole
	cache   *pieceCache
	pool    sync.Pool // of *bpeScratch
}

// bpeConfig is what a file says of the model beside the vocabulary.
type bpeConfig struct {
	prefix, suffix string // of characters that don't begin a piece, that end one
	fuseUnk        bool   // unknown characters in a row are one token
	byteFallback   bool   // they are spelled in bytes
	ignoreMerges   bool   // a piece that is a token needs no merging
	byteLevel      bool
}

// bpeScratch is the memory of one call.
type bpeScratch struct {
	units []unit
	links []link
	queue mergeQueue
	name  []byte
}

// metaspace stands for a space in the tokenizers of SentencePiece.
const metaspace = "▁"

func (m *bpe) words() *vocab { return m.vocab }

// appendIDs is tokenize for ids only, of a piece that isn't empty.
func (m *bpe) appendIDs(dst []int32, piece []byte) []int32 {
	if len(piece) > maxKey {
		if id, ok := m.long[string(piece)]; ok {
			return append(dst, id)
		}
		if m.cut {
			return m.appendCut(dst, piece)
		}
		return m.appendMerged(dst, piece)
	}
	k := keyOf(piece)
	if id := m.whole.get(&k); id != noToken {
		return append(dst, id)
	}
	n := len(dst)
	dst, ok := m.cache.appendIDs(dst, &k)
	if ok {
		return dst
	}
	if id, ok := m.long[string(piece)]; ok {
		return append(dst, id)
	}
	dst = m.appendMerged(dst, piece)
	m.cache.put(&k, dst[n:])
	return dst
}

// appendCut appends the ids of a piece part by part.
func (m *bpe) appendCut(dst []int32, piece []byte) []int32 {
	for len(piece) > 0 {
		n := cutAt(piece)
		if n <= maxKey {
			dst = m.appendIDs(dst, piece[:n])
		} else {
			dst = m.appendMerged(dst, piece[:n])
		}
		piece = piece[n:]
	}
	return dst
}

// cutAt is where the first part of a piece ends: before a metaspace that has
// another character before it.
func cutAt(piece []byte) int {
	for at := 0; ; {
		for len(piece)-at >= len(metaspace) && string(piece[at:at+len(metaspace)]) == metaspace {
			at += len(metaspace)
		}
		next := bytes.Index(piece[at:], []byte(metaspace))
		if next < 0 {
			return len(piece)
		}
		if next > 0 {
			return at + next
		}
	}
}

func (m *bpe) appendMerged(dst []int32, piece []byte) []int32 {
	s := m.pool.Get().(*bpeScratch)
	m.spell(s, piece)
	for _, u := range m.merge(s) {
		dst = append(dst, u.id)
	}
	m.put(s)
	return dst
}

func (m *bpe) put(s *bpeScratch) {
	if cap(s.units) < bigWork && cap(s.queue) < bigWork {
		m.pool.Put(s)
	}
}

func (m *bpe) tokenize(dst []token, text []byte, lo, hi int32) []token {
	piece := text[lo:hi]
	if len(piece) <= tableKey {
		k := keyOf(piece)
		if id := m.whole.get(&k); id != noToken {
			return append(dst, token{id: id, lo: lo, hi: hi})
		}
	}
	if id, ok := m.long[string(piece)]; ok {
		return append(dst, token{id: id, lo: lo, hi: hi})
	}
	s := m.pool.Get().(*bpeScratch)
	for len(piece) > 0 {
		n := len(piece)
		if m.cut {
			n = cutAt(piece)
		}
		dst = m.appendTokens(dst, s, piece[:n], lo)
		piece, lo = piece[n:], lo+int32(n)
	}
	m.put(s)
	return dst
}

// appendTokens appends the tokens of a piece that begins at lo. Characters that
// the model leaves out don't count in the offsets, as they don't in the library.
func (m *bpe) appendTokens(dst []token, s *bpeScratch, piece []byte, lo int32) []token {
	spelled := m.spell(s, piece)
	at := int32(0)
	for i, u := range m.merge(s) {
		t := token{id: u.id, lo: lo + at, hi: lo + at + u.size}
		if spelled {
			t.lo, t.hi = lo+alphabetIndex(piece, at), lo+alphabetIndex(piece, at+u.size-1)+1
		}
		switch {
		case m.strange[u.id]:
			t.kind = tokenUnk
		case i > 0 && m.prefix != "":
			t.kind = tokenInner
		}
		dst = append(dst, t)
		at += u.size
	}
	return dst
}

// spell fills s.units with the characters of a piece. In a byte-level model
// their sizes are counted in bytes of the piece, or of its spelling in
// byteAlphabet, as the library counts, if it gives true: some byte is unknown.
func (m *bpe) spell(s *bpeScratch, piece []byte) (spelled bool) {
	s.units = s.units[:0]
	if !m.byteLevel || m.prefix != "" || m.suffix != "" {
		m.spellSlowly(s, piece)
		return m.byteLevel
	}
	for _, b := range piece {
		id := m.bytes[b]
		if id == noToken {
			s.units = s.units[:0]
			m.spellSlowly(s, piece)
			return true
		}
		s.units = append(s.units, unit{id, 1})
	}
	return false
}

// spellSlowly is spell for all models. An unknown character waits for the next
// known one, or for one that mustn't be fused with it; the bytes of byte
// fallback overtake it: so does the library.
func (m *bpe) spellSlowly(s *bpeScratch, piece []byte) {
	wait := unit{id: noToken}
	for i := 0; i < len(piece); {
		n, size := m.character(piece[i:])
		id := m.characterID(s, piece, i, i+n)
		switch {
		case id != noToken:
			s.flush(&wait)
			s.units = append(s.units, unit{id, size})
		case m.byteFallback && m.spellHex(s, piece[i:i+n]):
		case m.unk == noToken:
		case m.fuseUnk && wait.id != noToken:
			wait.size += size
		default:
			s.flush(&wait)
			wait = unit{m.unk, size}
		}
		i += n
	}
	s.flush(&wait)
}

func (s *bpeScratch) flush(wait *unit) {
	if wait.id != noToken {
		s.units = append(s.units, *wait)
		wait.id = noToken
	}
}

// character gives the length of the first character in bytes, and its size.
func (m *bpe) character(piece []byte) (n int, size int32) {
	if m.byteLevel {
		return 1, alphabetSize(piece[0])
	}
	_, n = utf8.DecodeRune(piece)
	return n, int32(n)
}

// characterID is the id of the character piece[lo:hi] in its place.
func (m *bpe) characterID(s *bpeScratch, piece []byte, lo, hi int) int32 {
	node := int32(root)
	if lo > 0 && m.prefix != "" {
		if node = m.raw.find(m.prefix); node == root {
			return noToken
		}
	}
	for _, b := range piece[lo:hi] {
		if node = m.raw.step(node, b); node == root {
			return noToken
		}
	}
	if hi == len(piece) {
		for i := range len(m.suffix) {
			if node = m.raw.step(node, m.suffix[i]); node == root {
				return noToken
			}
		}
	}
	return m.raw.cells[node].value
}

// spellHex appends a character byte by byte if all its bytes have tokens. In a
// byte-level model the bytes are those of its spelling in byteAlphabet.
func (m *bpe) spellHex(s *bpeScratch, char []byte) bool {
	if m.byteLevel {
		s.name = utf8.AppendRune(s.name[:0], byteAlphabet(char[0]))
		char = s.name
	}
	n := len(s.units)
	for _, b := range char {
		if m.hexes[b] == noToken {
			s.units = s.units[:n]
			return false
		}
		s.units = append(s.units, unit{m.hexes[b], 1})
	}
	return true
}

// byteAlphabet is the character that byte-level vocabularies spell a byte as:
// itself if it prints, else the next one free from U+0100 on.
// Source: Radford et al., Language Models are Unsupervised Multitask Learners,
// 2019 (the encoder of GPT-2).
func byteAlphabet(b byte) rune {
	switch c := rune(b); {
	case c <= ' ':
		return 0x100 + c
	case c >= 0x7F && c <= 0xA0:
		return 0x121 + c - 0x7F
	case c == 0xAD:
		return 0x143
	default:
		return c
	}
}

// alphabetSize is the length of a byte's spelling.
func alphabetSize(b byte) int32 { return int32(utf8.RuneLen(byteAlphabet(b))) }

// alphabetIndex is the index of the byte of a piece whose spelling holds the
// given byte of the piece's spelling.
func alphabetIndex(piece []byte, at int32) int32 {
	for i, b := range piece {
		if at -= alphabetSize(b); at < 0 {
			return int32(i)
		}
	}
	return int32(len(piece) - 1)
}

// fromAlphabet reads a token of a byte-level vocabulary back into bytes. It
// isn't ok if the token holds a character that spells no byte.
func fromAlphabet(token string) (string, bool) {
	raw := make([]byte, 0, len(token))
	for _, c := range token {
		switch {
		case c >= 0x100 && c <= 0x120:
			raw = append(raw, byte(c-0x100))
		case c >= 0x121 && c <= 0x142:
			raw = append(raw, byte(c-0x121+0x7F))
		case c == 0x143:
			raw = append(raw, 0xAD)
		case c > ' ' && c < 0x7F, c > 0xA0 && c <= 0xFF && c != 0xAD:
			raw = append(raw, byte(c))
		default:
			return "", false
		}
	}
	return string(raw), true
}
