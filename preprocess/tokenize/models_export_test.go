package tokenize

import "encoding/json"

// Model is a model by itself, for tests of pieces of any kind.
type Model struct{ m model }

// ParseModel reads the model of a tokenizer.json.
func ParseModel(file []byte, byteLevel bool) (Model, error) {
	var f fileJSON
	if err := json.Unmarshal(file, &f); err != nil {
		return Model{}, err
	}
	m, err := parseModel(f.Model, byteLevel)
	return Model{m}, err
}

// IDs gives the ids of a piece by the fast way.
func (m Model) IDs(piece string) []int32 {
	if piece == "" {
		return nil
	}
	return m.m.(idModel).appendIDs(nil, []byte(piece))
}

// Tokens gives ids, starts and ends of a piece by the way that keeps offsets.
func (m Model) Tokens(piece string) (ids, starts, ends []int32) {
	if piece == "" {
		return nil, nil, nil
	}
	text := append([]byte("xy"), piece...)
	for _, t := range m.m.tokenize(nil, text, 2, int32(len(text))) {
		ids, starts, ends = append(ids, t.id), append(starts, t.lo-2), append(ends, t.hi-2)
	}
	return ids, starts, ends
}

// FromAlphabet and ToAlphabet spell bytes as byte-level vocabularies do.
func FromAlphabet(s string) (string, bool) { return fromAlphabet(s) }

func ToAlphabet(s string) string {
	var out []rune
	for _, b := range []byte(s) {
		out = append(out, byteAlphabet(b))
	}
	return string(out)
}

// LibraryFloat reads a number as the Rust library does.
func LibraryFloat(lit string) (float64, error) { return libraryFloat([]byte(lit)) }

// HexName is the token of a byte in byte fallback.
func HexName(b byte) string { return hexName(b) }
