package tokenize

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"unicode/utf8"
)

// SentencePieceConfig says what of a .model file's special tokens goes round a
// text. The zero value is what the library `sentencepiece` does: none.
type SentencePieceConfig struct {
	Begin, End bool // the tokens that the file names as those of begin and end, "<s>" and "</s>" mostly
}

// FromSentencePiece makes the tokenizer of a .model file of SentencePiece (Kudo
// and Richardson, 2018), of kind unigram or bpe. Ids equal those of
// SentencePiece's own encoder, which differ here and there from those of a
// tokenizer.json that was converted from the same file. Control symbols in a text
// are text. Two texts are put one behind the other, each with its special tokens.
func FromSentencePiece(path string, cfg SentencePieceConfig) (*Tokenizer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokenize: %w", err)
	}
	t, err := fromSentencePiece(data, cfg)
	if err != nil {
		return nil, fmt.Errorf("tokenize: %s: %w", path, err)
	}
	return t, nil
}

// knownSentencePiece are the kinds of .model files.
var knownSentencePiece = []string{"bpe", "unigram"}

func fromSentencePiece(data []byte, cfg SentencePieceConfig) (*Tokenizer, error) {
	f, err := readModelFile(data)
	if err != nil {
		return nil, err
	}
	if f.spaceBehind {
		return nil, unsupported("model", "SentencePiece with treat_whitespace_as_suffix", knownSentencePiece...)
	}
	b, err := newPieceModel(f)
	if err != nil {
		return nil, err
	}
	norm := &pieceNormalizer{user: b.user, dummy: f.dummyPrefix, squeeze: f.squeeze, space: " "}
	if f.escape {
		norm.space = metaspace
	}
	if len(f.charsmap) > 0 {
		n, err := newPrecompiled(f.charsmap)
		if err != nil {
			return nil, err
		}
		norm.charsmap = n.(*precompiled)
	}
	c := &core{
		norm: norm, limit: truncation{max: Unlimited, strategy: LongestFirst, direction: Right}, tab: chars(),
	}
	switch f.kind {
	case kindUnigram:
		c.model = b.unigram()
	case kindBPE:
		if c.model, err = b.bpe(); err != nil {
			return nil, err
		}
		if b.user != nil {
			c.pre = []preTokenizer{userSplit{b.user}}
		}
	default:
		return nil, unsupported("model", fmt.Sprintf("SentencePiece of kind %d", f.kind), knownSentencePiece...)
	}
	if c.post, err = b.ends(cfg); err != nil {
		return nil, err
	}
	if c.added, err = newAddedVocab(nil, c.model.words(), norm, c.tab); err != nil {
		return nil, err
	}
	if pad, ok := c.model.words().trie.lookup(f.pad); ok {
		c.padID = pad
	}
	return newTokenizer(c)
}

// pieceModel is a file's vocabulary by the roles of its pieces.
type pieceModel struct {
	*modelFile
	all, text []vocabEntry // all pieces; those that text is cut into
	ids       map[string]int64
	unk       int32
	user      *matcher // user-defined symbols; nil: none
}

func newPieceModel(f *modelFile) (*pieceModel, error) {
	b := &pieceModel{modelFile: f, ids: map[string]int64{}, unk: noToken}
	var user []addedToken
	seen := map[string]bool{}
	for i, p := range f.pieces {
		e := vocabEntry{p.text, int32(i)}
		if p.text == "" || seen[p.text] || !utf8.ValidString(p.text) {
			return nil, fmt.Errorf("piece %d (%q) is empty, there twice or not UTF-8", i, p.text)
		}
		seen[p.text] = true
		b.all = append(b.all, e)
		switch p.role {
		case roleUnknown:
			if b.unk != noToken {
				return nil, errors.New("two pieces are the unknown one")
			}
			b.unk = e.id
		case roleUser:
			user = append(user, addedToken{content: p.text, norm: p.text, id: e.id})
			fallthrough
		case roleNormal:
			b.text = append(b.text, e)
			b.ids[p.text] = int64(i)
		}
	}
	if b.unk == noToken {
		return nil, errors.New("no piece is the unknown one")
	}
	b.user = newMatcher(user)
	if f.byteFallback {
		hexes := b.hexes()
		if !allKnown(&hexes) {
			return nil, errors.New("byte_fallback is set and a byte has no piece")
		}
	}
	return b, nil
}

func (b *pieceModel) hexes() [256]int32 {
	ids := noTokens()
	for i, p := range b.pieces {
		for k := range ids {
			if p.role == roleByte && p.text == hexName(byte(k)) {
				ids[k] = int32(i)
			}
		}
	}
	return ids
}

// ends makes the post-processor.
func (b *pieceModel) ends(cfg SentencePieceConfig) (processor, error) {
	wrap := func(seq int) ([]templatePart, error) {
		parts := []templatePart{{seq: seq}}
		for _, e := range []struct {
			on   bool
			name string
			at   int
		}{{cfg.Begin, b.begin, 0}, {cfg.End, b.end, math.MaxInt}} {
			if !e.on {
				continue
			}
			id := slices.IndexFunc(b.pieces, func(p modelPiece) bool { return p.text == e.name && p.role == roleControl })
			if id < 0 {
				return nil, fmt.Errorf("the model has no control symbol %q", e.name)
			}
			parts = slices.Insert(parts, min(e.at, len(parts)), templatePart{ids: []int32{int32(id)}})
		}
		return parts, nil
	}
	first, err := wrap(0)
	if err != nil || len(first) == 1 {
		return nil, err
	}
	second, err := wrap(1)
	return template{single: first, pair: slices.Concat(first, second)}, err
}

// unigram makes a model whose sums are rounded to 32 bits, as SentencePiece's.
func (b *pieceModel) unigram() *unigram {
	// The largest score counts from the least positive float32 on (the library starts there, and not
	// at minus infinity): where all scores are negative, it is as good as zero.
	best, worst := float32(0x1p-126), float32(math.Inf(1))
	for _, p := range b.pieces {
		if p.role == roleNormal {
			best, worst = max(best, p.score), min(worst, p.score)
		}
	}
	m := &unigram{
		scores: make([]float64, len(b.pieces)), unk: b.unk, unkScore: float64(worst - unkPenalty), narrow: true,
		byteFallback: b.byteFallback, hexes: b.hexes(), cache: newPieceCache(), vocab: newVocabList(b.all),
	}
	m.pool.New = func() any { return new(unigramScratch) }
	for i, p := range b.pieces {
		m.scores[i] = float64(p.score)
		if p.role == roleUser { // so much that it is always taken
			m.scores[i] = float64(float32(len(p.text))*best) - 0.1
		}
	}
	m.cells = newTrie(slices.Clone(b.text)).cells
	m.findWhole()
	return m
}

// bpe makes a model that merges what makes the piece of the best score.
func (b *pieceModel) bpe() (model, error) {
	merged := []int32{}
	for i, p := range b.pieces {
		if p.role == roleUnused {
			return nil, unsupported("model", "SentencePiece bpe with unused pieces", knownSentencePiece...)
		}
		if p.role != roleNormal || utf8.RuneCountInString(p.text) == 1 {
			continue
		}
		merged = append(merged, int32(i))
		for _, c := range p.text {
			if _, ok := b.ids[string(c)]; !ok {
				return nil, unsupported("model", fmt.Sprintf("SentencePiece bpe with %q but without %q", p.text, c), knownSentencePiece...)
			}
		}
	}
	slices.SortStableFunc(merged, func(i, k int32) int {
		switch s, t := b.pieces[i].score, b.pieces[k].score; {
		case s > t:
			return -1
		case s < t:
			return 1
		}
		return 0
	})
	m := &bpe{bpeConfig: bpeConfig{byteFallback: b.byteFallback, fuseUnk: true}, vocab: newVocabList(b.all), unk: b.unk}
	builder := bpeBuilder{ids: b.ids, m: m}
	if err := b.addMerges(m, merged); err != nil {
		return nil, err
	}
	m.raw, m.bytes, m.hexes = newTrie(slices.Clone(b.text)), noTokens(), b.hexes()
	m.strange = map[int32]bool{b.unk: true}
	for _, id := range m.hexes {
		m.strange[id] = true
	}
	return builder.finish(), nil
}

// addMerges makes a merge of every way to cut a piece in two: the rank is that of
// the piece.
func (b *pieceModel) addMerges(m *bpe, merged []int32) error {
	m.results = slices.Clone(merged)
	var found []pairSlot
	for rank, id := range merged {
		p := b.pieces[id]
		if rank > 0 && b.pieces[merged[rank-1]].score == p.score {
			return unsupported("model", fmt.Sprintf("SentencePiece bpe with %q and another of its score", p.text), knownSentencePiece...)
		}
		for at := range p.text {
			left, okLeft := b.ids[p.text[:at]]
			right, okRight := b.ids[p.text[at:]]
			if okLeft && okRight && b.pieces[left].role == roleNormal && b.pieces[right].role == roleNormal {
				found = append(found, pairSlot{pairOf(int32(left), int32(right)), int32(rank)})
			}
		}
	}
	m.pairs = newPairTable(len(found))
	for _, s := range found {
		*m.pairs.find(s.pair) = s
	}
	return nil
}

// pieceNormalizer is SentencePiece's: character map, white space, dummy prefix.
type pieceNormalizer struct {
	charsmap *precompiled // nil: none
	user     *matcher     // symbols that stay as they are
	dummy    bool         // a space goes in front
	squeeze  bool         // spaces at the ends go, and all but one of those in a row
	space    string       // what a space becomes
}

func (n *pieceNormalizer) normalize(w *work) {
	src, dst := &w.cur, &w.next
	dst.reset(src.track)
	at := 0
	for n.squeeze && at < len(src.text) {
		to, size := n.next(src.text[at:])
		if string(to) != " " {
			break
		}
		at += size
	}
	if at == len(src.text) {
		w.swap()
		return
	}
	if n.dummy {
		from := src.at(at)
		dst.addString(n.space, span{from.start, from.start})
	}
	wasSpace := n.squeeze
	for at < len(src.text) {
		to, size := n.next(src.text[at:])
		from := span{src.at(at).start, src.at(at + size - 1).end}
		for wasSpace && len(to) > 0 && to[0] == ' ' {
			to = to[1:]
		}
		if len(to) > 0 {
			wasSpace = n.squeeze && to[len(to)-1] == ' '
			n.put(dst, to, from)
		}
		at += size
	}
	for n.squeeze && bytes.HasSuffix(dst.text, []byte(n.space)) {
		dst.cut(len(dst.text) - len(n.space))
	}
	w.swap()
}

// put appends text that came from a range, its spaces spelled.
func (n *pieceNormalizer) put(dst *buffer, text []byte, from span) {
	for {
		k := bytes.IndexByte(text, ' ')
		if k < 0 {
			dst.addBytes(text, from)
			return
		}
		dst.addBytes(text[:k], from)
		dst.addString(n.space, from)
		text = text[k+1:]
	}
}

// next gives what the text begins with becomes, and how long that is.
func (n *pieceNormalizer) next(text []byte) (to []byte, size int) {
	if t := n.user.longest(text); t != nil {
		return text[:len(t.norm)], len(t.norm)
	}
	if n.charsmap != nil {
		if to, size = n.charsmap.longest(text); size > 0 {
			return to, size
		}
	}
	_, size = utf8.DecodeRune(text)
	return text[:size], size
}

// userSplit makes pieces of user-defined symbols, with which nothing merges.
type userSplit struct{ user *matcher }

func (p userSplit) apply(w *work) { w.cutPieces(p) }

func (p userSplit) split(dst []piece, text []byte, lo, hi int32, _ *work) []piece {
	for at := lo; at < hi; {
		t := p.user.longest(text[at:hi])
		if t == nil {
			_, n := utf8.DecodeRune(text[at:hi])
			at += int32(n)
			continue
		}
		dst = appendPiece(dst, lo, at)
		lo = at + int32(len(t.norm))
		dst = append(dst, piece{at, lo, t.id})
		at = lo
	}
	return appendPiece(dst, lo, hi)
}
