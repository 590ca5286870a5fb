package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

func parseModel(raw json.RawMessage) (model, error) {
	if isNull(raw) {
		return nil, errors.New("model is missing")
	}
	kind, err := kindOf("model", raw)
	if err != nil {
		return nil, err
	}
	var m struct {
		Unk      *string          `json:"unk_token"`
		Prefix   *string          `json:"continuing_subword_prefix"`
		MaxChars *int64           `json:"max_input_chars_per_word"`
		Vocab    map[string]int64 `json:"vocab"`
		Merges   json.RawMessage  `json:"merges"`
	}
	// Old files don't say the type; the library then goes by the fields.
	bare := kind == ""
	if !bare && kind != "WordPiece" && kind != "WordLevel" {
		return nil, unsupported("model", kind, "WordLevel", "WordPiece")
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if bare && m.Merges == nil && m.Prefix != nil && m.MaxChars != nil {
		kind = "WordPiece"
	}
	if kind == "" {
		return nil, unsupported("model", "(no type)", "WordLevel", "WordPiece")
	}
	if m.Unk == nil || m.Vocab == nil {
		return nil, fmt.Errorf("model %s: unk_token or vocab is missing", kind)
	}
	entries, err := vocabEntries(m.Vocab)
	if err != nil {
		return nil, err
	}
	v := newVocab(entries)
	unk, ok := v.trie.lookup(*m.Unk)
	if !ok {
		return nil, fmt.Errorf("model %s: the vocabulary lacks the unk_token %q", kind, *m.Unk)
	}
	if kind == "WordLevel" {
		return &wordLevel{vocab: v, unk: unk}, nil
	}
	if m.Prefix == nil || m.MaxChars == nil || *m.MaxChars < 0 {
		return nil, errors.New("model WordPiece: continuing_subword_prefix or max_input_chars_per_word is missing")
	}
	return newWordPiece(v, unk, *m.Prefix, int(min(*m.MaxChars, math.MaxInt32))), nil
}

func vocabEntries(m map[string]int64) ([]vocabEntry, error) {
	entries := make([]vocabEntry, 0, len(m))
	for text, n := range m {
		id, err := tokenID(n)
		if err != nil {
			return nil, fmt.Errorf("vocab: %q: %w", text, err)
		}
		entries = append(entries, vocabEntry{text, id})
	}
	return entries, nil
}
