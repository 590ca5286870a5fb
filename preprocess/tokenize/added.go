package tokenize

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"
)

// addedToken is a token that is looked for in the text before the model sees it.
type addedToken struct {
	content                    string
	singleWord, lstrip, rstrip bool
	normalized                 bool
	id                         int32
	norm                       string // content, normalized if normalized is set
}

// addedVocab holds the added tokens of a file: those looked for in the text as
// given, then those looked for in what the normalizer made of the rest.
type addedVocab struct {
	byText      map[string]int32
	byID        map[int32]addedToken
	raw, normed *matcher // nil: none of them
	own         int      // how many add to the model's vocabulary
}

// newAddedVocab gives the tokens their ids as the library does: a token that
// the model knows has the model's id, others count on from the size of the
// model's vocabulary, whatever id the file states.
func newAddedVocab(list []addedToken, m *vocab, n normalizer, tab *charTable) (*addedVocab, error) {
	v := &addedVocab{byText: map[string]int32{}, byID: map[int32]addedToken{}}
	next := int32(len(m.byID))
	var order []int32
	for _, t := range list {
		if t.content == "" {
			continue
		}
		id, known := v.byText[t.content]
		if !known {
			if id, known = m.trie.lookup(t.content); !known {
				id = next
				next++
				v.own++
			}
		}
		t.id, t.norm = id, t.content
		if t.normalized {
			if t.norm = normalizeString(n, tab, t.content); t.norm == "" {
				return nil, fmt.Errorf("added token %q: its normalized form is empty", t.content)
			}
		}
		v.byText[t.content] = id
		if _, seen := v.byID[id]; !seen {
			order = append(order, id)
		}
		v.byID[id] = t
	}
	var raw, normed []addedToken
	for _, id := range order {
		if t := v.byID[id]; t.normalized {
			normed = append(normed, t)
		} else {
			raw = append(raw, t)
		}
	}
	v.raw, v.normed = newMatcher(raw), newMatcher(normed)
	return v, nil
}

// matcher finds tokens in a text: the leftmost, and there the longest.
type matcher struct {
	byFirst [256][]addedToken // by first byte, longest first
	only    int               // the first byte if all have one, else -1
	odd     bool              // a token holds U+FFFD, so invalid text may match
}

func newMatcher(tokens []addedToken) *matcher {
	if len(tokens) == 0 {
		return nil
	}
	m := &matcher{only: int(tokens[0].norm[0])}
	for _, t := range tokens {
		first := t.norm[0]
		if int(first) != m.only {
			m.only = -1
		}
		m.byFirst[first] = append(m.byFirst[first], t)
		m.odd = m.odd || strings.ContainsRune(t.norm, utf8.RuneError)
	}
	for _, list := range m.byFirst {
		sort.SliceStable(list, func(i, k int) bool { return len(list[i].norm) > len(list[k].norm) })
	}
	return m
}

// mayMatch is false if no token can be in the text: a quick look.
func (m *matcher) mayMatch(text string) bool {
	if m == nil {
		return false
	}
	if m.odd {
		return true
	}
	if m.only >= 0 {
		return strings.IndexByte(text, byte(m.only)) >= 0
	}
	for i := range len(text) {
		if m.byFirst[text[i]] != nil {
			return true
		}
	}
	return false
}

// find gives the first match in text[from:], nil if there is none.
func (m *matcher) find(text []byte, from int) (start int, t *addedToken) {
	for i := from; i < len(text); i++ {
		if m.only >= 0 {
			k := bytes.IndexByte(text[i:], byte(m.only))
			if k < 0 {
				return 0, nil
			}
			i += k
		}
		list := m.byFirst[text[i]]
		for k := range list {
			norm := list[k].norm
			if len(text)-i >= len(norm) && string(text[i:i+len(norm)]) == norm {
				return i, &list[k]
			}
		}
	}
	return 0, nil
}

// longest gives the longest token that a text begins with, nil if there is none.
func (m *matcher) longest(text []byte) *addedToken {
	if m == nil {
		return nil
	}
	list := m.byFirst[text[0]]
	for k := range list {
		if norm := list[k].norm; len(text) >= len(norm) && string(text[:len(norm)]) == norm {
			return &list[k]
		}
	}
	return nil
}

// match is a range of a text: an added token, or what lies between.
type match struct {
	lo, hi int
	id     int32 // noToken between
}

// split appends the parts of text in order. They may overlap where a token
// strips what another begins with, as they do in the library.
func (m *matcher) split(dst []match, text []byte, tab *charTable) []match {
	if m == nil {
		return append(dst, match{0, len(text), noToken})
	}
	done := 0
	for at := 0; ; {
		start, t := m.find(text, at)
		if t == nil {
			break
		}
		end := start + len(t.norm)
		at = end
		if t.singleWord && !standsAlone(text, start, end, tab) {
			continue
		}
		if t.lstrip {
			start = max(skipSpaceBack(text, start, tab), done)
		}
		if t.rstrip {
			end = skipSpace(text, end, tab)
		}
		if start > end {
			continue // the library panics here
		}
		if done < start {
			dst = append(dst, match{done, start, noToken})
		}
		dst = append(dst, match{start, end, t.id})
		done = end
	}
	if done != len(text) {
		dst = append(dst, match{done, len(text), noToken})
	}
	return dst
}

// standsAlone says that no word character touches text[start:end].
func standsAlone(text []byte, start, end int, tab *charTable) bool {
	if start > 0 {
		if c, _ := utf8.DecodeLastRune(text[:start]); tab.is(c, propWord) {
			return false
		}
	}
	if end < len(text) {
		if c, _ := utf8.DecodeRune(text[end:]); tab.is(c, propWord) {
			return false
		}
	}
	return true
}

func skipSpace(text []byte, at int, tab *charTable) int {
	for at < len(text) {
		c, size := utf8.DecodeRune(text[at:])
		if !tab.is(c, propSpace) {
			break
		}
		at += size
	}
	return at
}

func skipSpaceBack(text []byte, at int, tab *charTable) int {
	for at > 0 {
		c, size := utf8.DecodeLastRune(text[:at])
		if !tab.is(c, propSpace) {
			break
		}
		at -= size
	}
	return at
}
