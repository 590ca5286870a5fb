package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// parseModel reads a model; with byteLevel, pieces come to it as raw bytes where
// the library spells them in byteAlphabet.
func parseModel(raw json.RawMessage, byteLevel bool) (model, error) {
	if isNull(raw) {
		return nil, errors.New("model is missing")
	}
	kind, err := kindOf("model", raw)
	if err == nil && kind == "" {
		kind, err = bareKind(raw)
	}
	if err != nil {
		return nil, err
	}
	switch kind {
	case "BPE":
		return parseBPE(raw, byteLevel)
	case "Unigram":
		return parseUnigram(raw)
	case "WordLevel", "WordPiece":
		if byteLevel {
			return nil, unsupported("model", kind+" behind ByteLevel", "BPE")
		}
		return parseWords(kind, raw)
	}
	return nil, unsupported("model", kind, knownModels...)
}

// bareKind is the kind of a model that doesn't say it, as in old files; the
// library then goes by the fields.
func bareKind(raw json.RawMessage) (string, error) {
	var m struct {
		Unk      *string         `json:"unk_token"`
		Prefix   *string         `json:"continuing_subword_prefix"`
		MaxChars *int64          `json:"max_input_chars_per_word"`
		Vocab    json.RawMessage `json:"vocab"`
		Merges   json.RawMessage `json:"merges"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", fmt.Errorf("model: %w", err)
	}
	switch {
	case len(m.Vocab) > 0 && m.Vocab[0] == '[':
		return "Unigram", nil
	case !isNull(m.Merges):
		return "BPE", nil
	case m.Prefix != nil && m.MaxChars != nil:
		return "WordPiece", nil
	case m.Unk != nil:
		return "WordLevel", nil
	}
	return "", unsupported("model", "(no type)", knownModels...)
}

// parseWords reads a WordPiece or WordLevel model.
func parseWords(kind string, raw json.RawMessage) (model, error) {
	var m struct {
		Unk      *string          `json:"unk_token"`
		Prefix   *string          `json:"continuing_subword_prefix"`
		MaxChars *int64           `json:"max_input_chars_per_word"`
		Vocab    map[string]int64 `json:"vocab"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("model %s: %w", kind, err)
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
