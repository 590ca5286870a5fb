package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"unicode/utf8"
)

// unigram cuts a piece into the tokens whose scores add up to the most.
// Source: Kudo, Subword Regularization: Improving Neural Network Translation
// Models with Multiple Subword Candidates, 2018.
type unigram struct {
	vocab        *vocab
	cells        []cell
	scores       []float64 // by id
	unk          int32
	unkScore     float64
	narrow       bool // as SentencePiece itself: sums of 32 bits, and what is unknown is no token
	byteFallback bool
	hexes        [256]int32 // id of "<0x00>" and so on, noToken: not there
	whole        *pieceTable
	cache        *pieceCache
	pool         sync.Pool // of *unigramScratch
}

// unigramScratch is the memory of one call.
type unigramScratch struct {
	best []pathNode // by where it ends
	ends []int32    // of the best path, last first
}

// pathNode is the last token of the best path to a place.
type pathNode struct {
	score float64
	start int32 // noToken: there is no path
	id    int32
}

// unkPenalty is how much worse than the worst token an unknown character is.
const unkPenalty = 10

func (m *unigram) words() *vocab { return m.vocab }

// appendIDs is tokenize for ids only, of a piece that isn't empty.
func (m *unigram) appendIDs(dst []int32, piece []byte) []int32 {
	if len(piece) > maxKey {
		return m.appendPath(dst, piece)
	}
	k := keyOf(piece)
	if id := m.whole.get(&k); id != noToken {
		return append(dst, id)
	}
	n := len(dst)
	dst, ok := m.cache.appendIDs(dst, &k)
	if !ok {
		dst = m.appendPath(dst, piece)
		m.cache.put(&k, dst[n:])
	}
	return dst
}

func (m *unigram) appendPath(dst []int32, piece []byte) []int32 {
	s := m.pool.Get().(*unigramScratch)
	m.search(s, piece)
	for i := len(s.ends) - 1; i >= 0; {
		lo, hi, id, next := m.step(s, i)
		i = next
		if id != m.unk {
			dst = append(dst, id)
			continue
		}
		dst, _ = m.appendUnknown(dst, piece[lo:hi])
	}
	m.put(s)
	return dst
}

func (m *unigram) tokenize(dst []token, text []byte, lo, hi int32) []token {
	s := m.pool.Get().(*unigramScratch)
	piece := text[lo:hi]
	m.search(s, piece)
	var room [4]int32
	for i := len(s.ends) - 1; i >= 0; {
		from, to, id, next := m.step(s, i)
		i = next
		t := token{id: id, lo: lo + from, hi: lo + to}
		if id != m.unk {
			dst = append(dst, t)
			continue
		}
		// All tokens of unknown characters in a row have the range of them all.
		ids, strange := m.appendUnknown(room[:0], piece[from:to])
		if strange {
			t.kind = tokenUnk
		}
		for _, t.id = range ids {
			dst = append(dst, t)
		}
	}
	m.put(s)
	return dst
}

func (m *unigram) put(s *unigramScratch) {
	if cap(s.best) < bigWork {
		m.pool.Put(s)
	}
}

// step gives the range and id of the i-th token from the end, unknown ones in a
// row as one, and the index of the next.
func (m *unigram) step(s *unigramScratch, i int) (lo, hi, id int32, next int) {
	hi = s.ends[i]
	lo, id = s.best[hi].start, s.best[hi].id
	for i--; id == m.unk && i >= 0 && s.best[s.ends[i]].id == m.unk; i-- {
		hi = s.ends[i]
	}
	return lo, hi, id, i
}

// appendUnknown appends what unknown characters in a row become: a token if
// their text happens to be one, or their bytes, or the unknown-token. They are
// strange if the text of the tokens isn't theirs.
func (m *unigram) appendUnknown(dst []int32, text []byte) (ids []int32, strange bool) {
	if id := m.vocab.trie.whole(text); id != noToken && !m.narrow {
		return append(dst, id), false
	}
	n := len(dst)
	for _, b := range text {
		if !m.byteFallback || m.hexes[b] == noToken {
			// In the library the text of this token is that of the characters.
			return append(dst[:n], m.unk), false
		}
		dst = append(dst, m.hexes[b])
	}
	return dst, true
}

// search finds the best path through a piece by Viterbi's algorithm. Of equal
// paths to a place, that counts whose last token begins first; sums are made
// from left to right, so that they are rounded as the library rounds them.
func (m *unigram) search(s *unigramScratch, piece []byte) {
	s.best = slices.Grow(s.best[:0], len(piece)+1)[:len(piece)+1]
	best := s.best
	for i := range best {
		best[i].start = noToken
	}
	best[0] = pathNode{}
	for at := 0; at < len(piece); {
		size := 1
		if piece[at] >= utf8.RuneSelf {
			_, size = utf8.DecodeRune(piece[at:])
		}
		if single := m.extend(best, piece, at, size); !single {
			if sum, to := m.round(m.unkScore+best[at].score), &best[at+size]; to.start == noToken || sum > to.score {
				*to = pathNode{sum, int32(at), m.unk}
			}
		}
		at += size
	}
	s.ends = s.ends[:0]
	for end := int32(len(piece)); end > 0; end = best[end].start {
		s.ends = append(s.ends, end)
	}
}

// round rounds a sum as the model keeps it.
func (m *unigram) round(sum float64) float64 {
	if m.narrow {
		return float64(float32(sum))
	}
	return sum
}

// extend tries all tokens that begin at a place, and says whether there is one
// of just the character there.
func (m *unigram) extend(best []pathNode, piece []byte, at, size int) (single bool) {
	base, node, cells := best[at].score, int32(root), m.cells
	for i := at; i < len(piece); i++ {
		next := cells[node].base + int32(piece[i])
		c := &cells[next]
		if c.parent != node {
			break
		}
		node = next
		if c.value == noToken {
			continue
		}
		if sum, to := m.round(m.scores[c.value]+base), &best[i+1]; to.start == noToken || sum > to.score {
			*to = pathNode{sum, int32(at), c.value}
		}
		single = single || i+1 == at+size
	}
	return single
}

// unigramJSON is a Unigram model in a tokenizer.json.
type unigramJSON struct {
	Unk          *int64         `json:"unk_id"`
	Vocab        []unigramToken `json:"vocab"`
	ByteFallback *bool          `json:"byte_fallback"`
}

type unigramToken struct {
	text  string
	score float64
}

func (t *unigramToken) UnmarshalJSON(data []byte) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return errors.New("an entry isn't of a token and a score")
	}
	if err := json.Unmarshal(pair[0], &t.text); err != nil {
		return err
	}
	var err error
	t.score, err = libraryFloat(pair[1])
	return err
}

func parseUnigram(raw json.RawMessage) (model, error) {
	var j unigramJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("model Unigram: %w", err)
	}
	if len(j.Vocab) == 0 {
		return nil, errors.New("model Unigram: vocab is missing or empty")
	}
	if j.Unk == nil {
		return nil, errors.New("model Unigram: unk_id is missing")
	}
	if *j.Unk < 0 || *j.Unk >= int64(len(j.Vocab)) {
		return nil, fmt.Errorf("model Unigram: unk_id %d is not in the vocabulary of %d", *j.Unk, len(j.Vocab))
	}
	return newUnigram(j.Vocab, int32(*j.Unk), j.ByteFallback != nil && *j.ByteFallback), nil
}

// newUnigram makes a model of tokens, whose index is their id; of equal texts
// the last counts.
func newUnigram(tokens []unigramToken, unk int32, byteFallback bool) *unigram {
	m := &unigram{
		scores: make([]float64, len(tokens)), unk: unk, unkScore: math.Inf(1), byteFallback: byteFallback,
		cache: newPieceCache(),
	}
	m.pool.New = func() any { return new(unigramScratch) }
	entries := make([]vocabEntry, len(tokens))
	for i, t := range tokens {
		entries[i] = vocabEntry{t.text, int32(i)}
		m.scores[i] = t.score
		m.unkScore = min(m.unkScore, t.score)
	}
	m.unkScore -= unkPenalty
	m.vocab = newVocabList(entries)
	m.cells = m.vocab.trie.cells
	m.hexes = noTokens()
	for i := range 256 {
		if id, ok := m.vocab.trie.lookup(hexName(byte(i))); ok {
			m.hexes[i] = id
		}
	}
	m.findWhole()
	return m
}

// findWhole finds the tokens that pieces of their text become.
func (m *unigram) findWhole() {
	m.whole = newPieceTable(len(m.vocab.byID))
	s := new(unigramScratch)
	for _, e := range m.vocab.byID {
		if e.text == "" || len(e.text) > tableKey || e.id == m.unk {
			continue
		}
		if id, _ := m.vocab.trie.lookup(e.text); id != e.id {
			continue
		}
		m.search(s, []byte(e.text))
		if len(s.ends) == 1 && s.best[len(e.text)].id == e.id {
			m.whole.add(e.text, e.id)
		}
	}
}
