package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// bpeJSON is a BPE model in a tokenizer.json.
type bpeJSON struct {
	Dropout      *float64         `json:"dropout"`
	Unk          *string          `json:"unk_token"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
	FuseUnk      *bool            `json:"fuse_unk"`
	ByteFallback *bool            `json:"byte_fallback"`
	IgnoreMerges *bool            `json:"ignore_merges"`
	Vocab        map[string]int64 `json:"vocab"`
	Merges       json.RawMessage  `json:"merges"`
}

func (j *bpeJSON) config(byteLevel bool) bpeConfig {
	flag := func(b *bool) bool { return b != nil && *b }
	c := bpeConfig{
		fuseUnk: flag(j.FuseUnk), byteFallback: flag(j.ByteFallback), ignoreMerges: flag(j.IgnoreMerges),
		byteLevel: byteLevel,
	}
	if j.Prefix != nil {
		c.prefix = *j.Prefix
	}
	if j.Suffix != nil {
		c.suffix = *j.Suffix
	}
	return c
}

var knownModels = []string{"BPE", "Unigram", "WordLevel", "WordPiece"}

// parseBPE reads a BPE model. With byteLevel its vocabulary spells bytes in
// byteAlphabet and the model runs on raw bytes.
func parseBPE(raw json.RawMessage, byteLevel bool) (model, error) {
	var j bpeJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("model BPE: %w", err)
	}
	if j.Vocab == nil || isNull(j.Merges) {
		return nil, errors.New("model BPE: vocab or merges is missing")
	}
	if j.Dropout != nil && *j.Dropout != 0 {
		return nil, unsupported("model", "BPE with dropout", knownModels...)
	}
	entries, err := vocabEntries(j.Vocab)
	if err != nil {
		return nil, err
	}
	merges, err := parseMerges(j.Merges)
	if err != nil {
		return nil, err
	}
	b := bpeBuilder{ids: j.Vocab, m: &bpe{bpeConfig: j.config(byteLevel), vocab: newVocab(entries), unk: noToken}}
	if err := b.addMerges(merges); err != nil {
		return nil, fmt.Errorf("model BPE: %w", err)
	}
	return b.build(j.Unk)
}

// parseMerges reads pairs, or lines "a b" as in merges.txt.
func parseMerges(raw json.RawMessage) ([][2]string, error) {
	var pairs [][]string
	if json.Unmarshal(raw, &pairs) == nil {
		out := make([][2]string, len(pairs))
		for i, p := range pairs {
			if len(p) != 2 {
				return nil, fmt.Errorf("model BPE: merge %d is not of two tokens", i+1)
			}
			out[i] = [2]string{p[0], p[1]}
		}
		return out, nil
	}
	var lines []string
	if err := json.Unmarshal(raw, &lines); err != nil {
		return nil, errors.New("model BPE: merges are neither pairs nor strings")
	}
	out := make([][2]string, 0, len(lines))
	for _, line := range lines {
		if strings.HasPrefix(line, "#version") {
			continue
		}
		left, right, ok := strings.Cut(line, " ")
		if !ok || strings.Contains(right, " ") {
			return nil, fmt.Errorf("model BPE: merge %q is not of two tokens", line)
		}
		out = append(out, [2]string{left, right})
	}
	return out, nil
}

// bpeBuilder lays a model out.
type bpeBuilder struct {
	m   *bpe
	ids map[string]int64
}

// addMerges gives each pair its rank; of equal pairs the last counts.
func (b *bpeBuilder) addMerges(merges [][2]string) error {
	m := b.m
	m.pairs = newPairTable(len(merges))
	m.results = make([]int32, len(merges))
	for rank, p := range merges {
		if len(p[1]) < len(m.prefix) {
			return fmt.Errorf("merge %q: the second token is shorter than continuing_subword_prefix", p)
		}
		var ids [3]int32
		for i, text := range []string{p[0], p[1], p[0] + p[1][len(m.prefix):]} {
			id, ok := b.ids[text]
			if !ok {
				return fmt.Errorf("merge %q: the vocabulary lacks %q", p, text)
			}
			ids[i] = int32(id)
		}
		m.odd = m.odd || p[0] == "" || len(p[1]) == len(m.prefix)
		m.add(ids[0], ids[1], int32(rank), ids[2])
	}
	return nil
}

func (m *bpe) add(left, right, rank, result int32) {
	pair := pairOf(left, right)
	*m.pairs.find(pair) = pairSlot{pair, rank}
	m.results[rank] = result
}

func (b *bpeBuilder) build(unk *string) (model, error) {
	m := b.m
	if m.byteFallback && m.prefix+m.suffix != "" {
		return nil, unsupported("model", "BPE with byte_fallback and a prefix or suffix", knownModels...)
	}
	if err := b.spellRaw(); err != nil {
		return nil, err
	}
	if err := b.findUnk(unk); err != nil {
		return nil, err
	}
	return b.finish(), nil
}

// finish finds out what of the model makes it faster.
func (b *bpeBuilder) finish() *bpe {
	m := b.m
	m.pool.New = func() any { return new(bpeScratch) }
	m.cache = newPieceCache()
	b.markOdd()
	m.cut = b.canCut()
	b.findWhole()
	return m
}

// spellRaw makes the vocabulary as it is spelled in pieces.
func (b *bpeBuilder) spellRaw() error {
	m := b.m
	m.raw = m.vocab.trie
	m.bytes, m.hexes = noTokens(), noTokens()
	if m.byteLevel {
		entries := make([]vocabEntry, 0, len(m.vocab.byID))
		for _, e := range m.vocab.byID {
			if text, ok := fromAlphabet(e.text); ok {
				entries = append(entries, vocabEntry{text, e.id})
			}
		}
		m.raw = newTrie(entries)
		var okPrefix, okSuffix bool
		m.prefix, okPrefix = fromAlphabet(m.prefix)
		if m.suffix, okSuffix = fromAlphabet(m.suffix); !okPrefix || !okSuffix {
			return unsupported("model", "BPE on bytes with a prefix or suffix of other characters", knownModels...)
		}
	}
	for i := range 256 {
		if id, ok := m.raw.lookup(string([]byte{byte(i)})); ok {
			m.bytes[i] = id
		}
		if id, ok := m.vocab.trie.lookup(hexName(byte(i))); ok {
			m.hexes[i] = id
		}
	}
	return nil
}

// hexName is the token of a byte in byte fallback.
func hexName(b byte) string { return fmt.Sprintf("<0x%02X>", b) }

func noTokens() (ids [256]int32) {
	for i := range ids {
		ids[i] = noToken
	}
	return ids
}

func allKnown(ids *[256]int32) bool {
	for _, id := range ids {
		if id == noToken {
			return false
		}
	}
	return true
}

// findUnk finds the unknown-token, which may be missing if nothing is unknown.
func (b *bpeBuilder) findUnk(unk *string) error {
	m := b.m
	m.strange = map[int32]bool{}
	if m.byteFallback {
		for _, id := range m.hexes {
			if id != noToken {
				m.strange[id] = true
			}
		}
	}
	if unk == nil {
		return nil
	}
	id, ok := m.vocab.trie.lookup(*unk)
	if ok {
		m.unk = id
		m.strange[id] = true
		return nil
	}
	if m.byteFallback && allKnown(&m.hexes) || m.byteLevel && m.prefix+m.suffix == "" && allKnown(&m.bytes) {
		return nil
	}
	return fmt.Errorf("model BPE: the vocabulary lacks the unk_token %q", *unk)
}

// markOdd finds out whether merging can give one id for two different pairs that
// stand at the same place one after the other. It can't if ids are of one text
// each, and all that stands behind another character adds to the text: then no
// queue holds entries that are out of date and yet look good, and any way of
// taking the least rank gives what the library's queue does.
func (b *bpeBuilder) markOdd() {
	m := b.m
	for i := 1; i < len(m.vocab.byID); i++ {
		m.odd = m.odd || m.vocab.byID[i].id == m.vocab.byID[i-1].id
	}
	if m.unk != noToken {
		text, _ := m.vocab.idToToken(m.unk)
		m.odd = m.odd || len(text) <= len(m.prefix)
	}
}

// canCut says that no merge reaches across the place before a metaspace that
// has another character before it, nor does anything else.
func (b *bpeBuilder) canCut() bool {
	m := b.m
	if m.odd || m.byteLevel || m.ignoreMerges || m.prefix+m.suffix != "" {
		return false
	}
	if _, ok := m.raw.lookup(metaspace); !ok {
		return false
	}
	if m.unk == noToken && !(m.byteFallback && allKnown(&m.hexes)) {
		return false // what is left out shifts the offsets of all that follows
	}
	for _, s := range m.pairs.slots {
		if s.rank == noRank {
			continue
		}
		if m.strange[int32(s.pair>>32)] || m.strange[int32(uint32(s.pair))] {
			return false
		}
		if text, _ := m.vocab.idToToken(m.results[s.rank]); cutAt([]byte(text)) < len(text) {
			return false
		}
	}
	return true
}

// findWhole finds the tokens that pieces of their text become.
func (b *bpeBuilder) findWhole() {
	m := b.m
	m.whole = newPieceTable(len(m.vocab.byID))
	if m.ignoreMerges {
		m.long = map[string]int32{}
	}
	s := new(bpeScratch)
	for _, e := range m.vocab.byID {
		text, ok := e.text, true
		if m.byteLevel {
			text, ok = fromAlphabet(text)
		}
		if !ok || text == "" {
			continue
		}
		switch {
		case m.ignoreMerges && len(text) > tableKey:
			m.long[text] = e.id
		case m.ignoreMerges, len(text) <= tableKey && m.isStable(s, text, e.id):
			m.whole.add(text, e.id)
		}
	}
}

// isStable says that a piece becomes the one token.
func (m *bpe) isStable(s *bpeScratch, piece string, id int32) bool {
	m.spell(s, []byte(piece))
	units := m.merge(s)
	return len(units) == 1 && units[0].id == id && int(units[0].size) == len(piece)
}
