package tokenize

import (
	"math"
	"sync"
	"unsafe"
)

// Tokenizer turns text into ids. It is immutable and safe for concurrent use.
type Tokenizer struct {
	core         *core
	limit        truncation
	single, pair *plan
}

// core is what a file says, shared by all copies of a tokenizer.
type core struct {
	model model
	norm  normalizer // nil: none
	pre   []preTokenizer
	added *addedVocab
	post  processor // nil: none
	limit truncation
	padID int32

	padType int32
	padLeft bool
	bytes   bool // pieces go to the model as they are where the library spells their bytes
	track   bool // pre-tokenizers look at where a piece comes from

	tab  *charTable
	fast *fastPath // nil: not of the kind that has one
	pool sync.Pool // of *work
}

// Config says how a tokenizer differs from its file. The zero value changes
// nothing.
type Config struct {
	// MaxTokens is the greatest number of ids of a text or pair, special tokens
	// included. 0 leaves the limit as it is, Unlimited lifts it.
	MaxTokens int
	// NoSpecialTokens leaves out what the post-processor adds.
	NoSpecialTokens bool
	// TruncationStrategy and TruncationDirection override the file's.
	TruncationStrategy  Strategy
	TruncationDirection Direction
}

// Encoding is a text or pair as tokens. All slices are of one length.
type Encoding struct {
	IDs     []int32
	TypeIDs []int32
	// Offsets are half-open byte ranges into the text as given, in a pair into
	// the text that the token comes from; {0, 0} for special tokens.
	Offsets [][2]int32
	// SpecialMask is true for tokens that the post-processor added.
	SpecialMask []bool
	// WordIDs number the pieces that the pre-tokenizer made of each text, from
	// 0; -1 for special tokens.
	WordIDs []int32
}

// newTokenizer makes the tokenizer of a core as its file has it.
func newTokenizer(c *core) (*Tokenizer, error) {
	c.tab = chars()
	c.fast = newFastPath(c)
	c.pool.New = func() any { return &work{tab: c.tab} }
	return (&Tokenizer{core: c, limit: c.limit}).With(Config{})
}

// With gives a copy that differs by a configuration. It fails if the limit has
// no room for the special tokens of one text.
func (t *Tokenizer) With(c Config) (*Tokenizer, error) {
	out := &Tokenizer{core: t.core, limit: t.limit.with(c)}
	var err error
	if out.single, err = newPlan(t.core.post, false, !c.NoSpecialTokens); err != nil {
		return nil, err
	}
	if out.pair, err = newPlan(t.core.post, true, !c.NoSpecialTokens); err != nil {
		return nil, err
	}
	if err := out.limit.check(out.single); err != nil {
		return nil, err
	}
	return out, nil
}

// MaxTokens is the limit in force, 0 if there is none.
func (t *Tokenizer) MaxTokens() int { return max(t.limit.max, 0) }

// VocabSize is the number of tokens, added ones included.
func (t *Tokenizer) VocabSize() int {
	return len(t.core.model.words().byID) + t.core.added.own
}

// PadID is the id to pad with: the file's, else that of "[PAD]" or "<pad>",
// else 0.
func (t *Tokenizer) PadID() int32 { return t.core.padID }

// PadTypeID is the type of tokens that pad: the file's, else 0.
func (t *Tokenizer) PadTypeID() int32 { return t.core.padType }

// PadDirection is the side that the file pads on: Right or Left.
func (t *Tokenizer) PadDirection() Direction {
	if t.core.padLeft {
		return Left
	}
	return Right
}

// SubwordPrefix is the mark by which the vocabulary tells tokens that go on with a word from
// those that begin one ("##"); empty: it has none.
func (t *Tokenizer) SubwordPrefix() string {
	switch m := t.core.model.(type) {
	case *wordPiece:
		return m.prefix
	case *bpe:
		return m.prefix
	}
	return ""
}

// TokenToID gives the id of a token, as it stands in the vocabulary.
func (t *Tokenizer) TokenToID(token string) (int32, bool) {
	if id, ok := t.core.added.byText[token]; ok {
		return id, true
	}
	return t.core.model.words().trie.lookup(token)
}

// IDToToken gives the token of an id; of an added token that is matched in
// normalized text, the normalized form.
func (t *Tokenizer) IDToToken(id int32) (string, bool) {
	if a, ok := t.core.added.byID[id]; ok {
		return a.norm, true
	}
	return t.core.model.words().idToToken(id)
}

// AppendIDs appends the ids of a text, special tokens included, truncated to the
// limit. It doesn't allocate but to grow dst.
func (t *Tokenizer) AppendIDs(dst []int32, text string) []int32 {
	w := t.core.pool.Get().(*work)
	defer t.core.put(w)
	if !t.single.simple {
		w.ids = t.appendText(w.ids[:0], text, w)
		for _, p := range t.single.parts {
			if p.seq >= 0 {
				dst = append(dst, w.ids...)
			} else {
				dst = append(dst, p.id)
			}
		}
		return dst
	}
	dst = append(dst, t.single.pre...)
	dst = t.appendText(dst, text, w)
	return append(dst, t.single.post...)
}

// AppendIDsBytes is AppendIDs for a text in bytes, which it doesn't keep.
func (t *Tokenizer) AppendIDsBytes(dst []int32, text []byte) []int32 {
	return t.AppendIDs(dst, unsafe.String(unsafe.SliceData(text), len(text)))
}

// appendText appends the ids of the text itself, truncated.
func (t *Tokenizer) appendText(dst []int32, text string, w *work) []int32 {
	room, start := t.limit.room(t.single.added), len(dst)
	if room == 0 {
		return dst
	}
	most := room
	if t.limit.direction == Left {
		most = math.MaxInt
	}
	ok := false
	if t.core.fast != nil {
		dst, ok = t.core.fast.appendIDs(dst, text, most, w)
	}
	if !ok {
		dst = t.core.appendIDs(dst[:start], w, text, most)
	}
	if n := len(dst) - start; n > room {
		if t.limit.direction == Left {
			copy(dst[start:], dst[len(dst)-room:])
		}
		dst = dst[:start+room]
	}
	return dst
}

// Encode gives all there is to say of a text.
func (t *Tokenizer) Encode(text string) Encoding {
	w := t.core.pool.Get().(*work)
	defer t.core.put(w)
	room := t.limit.room(t.single.added)
	most := room
	if t.limit.direction == Left {
		most = math.MaxInt
	}
	t.core.tokenize(w, text, true, most)
	var e Encoding
	e.grow(min(room, len(w.tokens)) + len(t.single.parts))
	for _, p := range t.single.parts {
		e.add(t.core, p, t.limit.cut(w.tokens, room), w, text)
	}
	return e
}

// EncodePair gives all there is to say of two texts that a model reads
// together. It fails with ErrNotTruncated if the strategy can't bring them
// under the limit, and if the limit has no room for a pair's special tokens.
func (t *Tokenizer) EncodePair(a, b string) (Encoding, error) {
	if err := t.limit.check(t.pair); err != nil {
		return Encoding{}, err
	}
	wa, wb := t.core.pool.Get().(*work), t.core.pool.Get().(*work)
	defer t.core.put(wa)
	defer t.core.put(wb)
	t.core.tokenize(wa, a, true, math.MaxInt)
	t.core.tokenize(wb, b, true, math.MaxInt)
	keepA, keepB, err := t.limit.cutPair(len(wa.tokens), len(wb.tokens), t.limit.room(t.pair.added))
	if err != nil {
		return Encoding{}, err
	}
	var e Encoding
	e.grow(keepA + keepB + len(t.pair.parts))
	for _, p := range t.pair.parts {
		if p.seq == 1 {
			e.add(t.core, p, t.limit.cut(wb.tokens, keepB), wb, b)
		} else {
			e.add(t.core, p, t.limit.cut(wa.tokens, keepA), wa, a)
		}
	}
	return e, nil
}

func (e *Encoding) grow(n int) {
	e.IDs, e.TypeIDs, e.WordIDs = make([]int32, 0, n), make([]int32, 0, n), make([]int32, 0, n)
	e.Offsets, e.SpecialMask = make([][2]int32, 0, n), make([]bool, 0, n)
}

// add appends a part: a special token, or the tokens of a sequence.
func (e *Encoding) add(c *core, p part, tokens []token, w *work, text string) {
	if p.seq < 0 {
		e.append(p.id, p.kind, span{}, p.mask, -1)
		return
	}
	for i, tok := range tokens {
		from := span{w.all.from[tok.lo].start, w.all.from[tok.hi-1].end}
		for _, tr := range p.trims {
			from = c.trimOffsets(tr, from, i, tok, w, text)
		}
		e.append(tok.id, p.kind, from, false, tok.word)
	}
}

func (e *Encoding) append(id, kind int32, from span, special bool, word int32) {
	e.IDs = append(e.IDs, id)
	e.TypeIDs = append(e.TypeIDs, kind)
	e.Offsets = append(e.Offsets, [2]int32{from.start, from.end})
	e.SpecialMask = append(e.SpecialMask, special)
	e.WordIDs = append(e.WordIDs, word)
}

// cut fills w.pieces with what the model gets of a text, and with added tokens.
func (c *core) cut(w *work, text string, track bool) {
	track = track || c.track
	w.raw.load(text, track)
	w.all.reset(track)
	w.pieces = w.pieces[:0]
	w.segments = c.added.raw.split(w.segments[:0], w.raw.text, c.tab)
	for _, s := range w.segments {
		if s.lo < s.hi {
			c.normalize(w, s)
		}
	}
	for _, p := range c.pre {
		p.apply(w)
	}
}

// appendIDs appends the ids of a text before truncation; it may stop when there
// are most of them.
func (c *core) appendIDs(dst []int32, w *work, text string, most int) []int32 {
	start := len(dst)
	m, ok := c.model.(idModel)
	if !ok {
		c.tokenize(w, text, false, most)
		for _, tok := range w.tokens {
			dst = append(dst, tok.id)
		}
		return dst
	}
	c.cut(w, text, false)
	for _, p := range w.pieces {
		if len(dst)-start >= most {
			break
		}
		if p.id != noToken {
			dst = append(dst, p.id)
		} else {
			dst = m.appendIDs(dst, w.all.text[p.lo:p.hi])
		}
	}
	return dst
}

// tokenize fills w.tokens with the tokens of a text before truncation; it may
// stop when there are most of them.
func (c *core) tokenize(w *work, text string, track bool, most int) {
	c.cut(w, text, track)
	w.tokens = w.tokens[:0]
	for i, p := range w.pieces {
		if len(w.tokens) >= most {
			break
		}
		n := len(w.tokens)
		if p.id != noToken {
			w.tokens = append(w.tokens, token{id: p.id, lo: p.lo, hi: p.hi})
		} else {
			w.tokens = c.model.tokenize(w.tokens, w.all.text, p.lo, p.hi)
		}
		for k := range w.tokens[n:] {
			w.tokens[n+k].word = int32(i)
		}
	}
}

// normalize appends a segment of the input to w.all and its pieces to w.pieces.
func (c *core) normalize(w *work, s match) {
	base := len(w.all.text)
	if s.id != noToken || c.norm == nil {
		w.all.addPart(&w.raw, s.lo, s.hi)
	} else {
		w.cur.reset(w.raw.track)
		w.cur.addPart(&w.raw, s.lo, s.hi)
		c.norm.normalize(w)
		w.all.addPart(&w.cur, 0, len(w.cur.text))
	}
	if s.id != noToken {
		w.pieces = append(w.pieces, piece{int32(base), int32(len(w.all.text)), s.id})
		return
	}
	w.matches = c.added.normed.split(w.matches[:0], w.all.text[base:], c.tab)
	for _, m := range w.matches {
		if m.lo < m.hi {
			w.pieces = append(w.pieces, piece{int32(base + m.lo), int32(base + m.hi), m.id})
		}
	}
}

func (c *core) put(w *work) {
	if w.small() {
		c.pool.Put(w)
	}
}
