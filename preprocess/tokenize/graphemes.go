package tokenize

import (
	_ "embed"
	"strings"
	"sync"
	"unicode/utf8"
)

// The classes of code points in the rules for grapheme clusters of Unicode
// Standard Annex #29. One code point has one of those before clusterMask, and
// any of the bits.
const (
	clusterOther uint8 = iota
	clusterControl
	clusterExtend
	clusterJoiner // U+200D
	clusterSpacing
	clusterPrepend
	clusterPictographic
	clusterFlag // regional indicators
	clusterL
	clusterV
	clusterT
	clusterLV
	clusterLVT
	clusterConsonant

	clusterLinker   uint8 = 1 << 6
	clusterConjunct uint8 = 1 << 7
	clusterMask           = clusterLinker - 1
)

// graphemeTable holds the class of every code point. It is read-only.
type graphemeTable struct{ class []uint8 }

//go:embed graphemes.txt
var graphemesText string

// graphemes is the table, built when the first Precompiled is opened.
var graphemes = sync.OnceValue(func() *graphemeTable {
	t, err := parseGraphemes(graphemesText)
	if err != nil {
		panic("tokenize: the embedded graphemes.txt is broken: " + err.Error())
	}
	return t
})

func parseGraphemes(text string) (*graphemeTable, error) {
	keys := map[string]uint8{
		"control": clusterControl, "extend": clusterExtend, "spacing": clusterSpacing, "prepend": clusterPrepend,
		"pictographic": clusterPictographic, "vowel": clusterV, "trailing": clusterT, "leading": clusterL,
		"consonant": clusterConsonant, "linker": clusterLinker, "conjunct": clusterConjunct,
	}
	t := &graphemeTable{class: make([]uint8, utf8.MaxRune+1)}
	err := eachEntry(text, func(key string, lo, hi rune) {
		for c := lo; c <= hi; c++ {
			t.class[c] |= keys[strings.TrimSpace(key)]
		}
	})
	t.class[0x200D] = clusterJoiner | clusterConjunct
	for c := rune(0x1F1E6); c <= 0x1F1FF; c++ {
		t.class[c] = clusterFlag
	}
	for c := rune(hangulS); c < rune(hangulS+hangulSCount); c++ {
		t.class[c] = clusterLVT
		if (c-hangulS)%hangulTCount == 0 {
			t.class[c] = clusterLV
		}
	}
	return t, err
}

// cluster is the length of the first grapheme cluster of a text.
func (t *graphemeTable) cluster(text []byte) int {
	if text[0] < utf8.RuneSelf && (len(text) == 1 || text[1] < utf8.RuneSelf) {
		if text[0] == '\r' && len(text) > 1 && text[1] == '\n' {
			return 2
		}
		return 1
	}
	c, end := utf8.DecodeRune(text)
	s := clusterState{last: t.class[c]}
	s.note(s.last)
	for end < len(text) {
		c, n := utf8.DecodeRune(text[end:])
		if s.ends(t.class[c]) {
			break
		}
		s.note(t.class[c])
		end += n
	}
	return end
}

// clusterState is what the rules look back at.
type clusterState struct {
	last    uint8
	flags   int  // regional indicators in a row
	picture bool // a pictographic code point and Extends, up to last or a joiner there
	joined  bool // last is a joiner behind picture
	letter  bool // a consonant and Indic Extends or linkers, up to last
	linked  bool // with a linker among them
}

// note goes on to a code point.
func (s *clusterState) note(class uint8) {
	kind := class & clusterMask
	s.joined = s.picture && kind == clusterJoiner
	s.picture = kind == clusterPictographic || s.picture && kind == clusterExtend
	switch {
	case kind == clusterConsonant:
		s.letter, s.linked = true, false
	case class&clusterLinker != 0:
		s.linked = s.letter
	case class&clusterConjunct == 0:
		s.letter, s.linked = false, false
	}
	if kind == clusterFlag {
		s.flags++
	} else {
		s.flags = 0
	}
	s.last = class
}

// ends says that a cluster ends before a code point. CR LF isn't looked at.
func (s *clusterState) ends(class uint8) bool {
	kind, last := class&clusterMask, s.last&clusterMask
	switch {
	case last == clusterControl || kind == clusterControl:
		return true
	case kind == clusterExtend, kind == clusterJoiner, kind == clusterSpacing, last == clusterPrepend:
		return false
	}
	switch last {
	case clusterL:
		if kind == clusterL || kind == clusterV || kind == clusterLV || kind == clusterLVT {
			return false
		}
	case clusterV, clusterLV:
		if kind == clusterV || kind == clusterT {
			return false
		}
	case clusterT, clusterLVT:
		if kind == clusterT {
			return false
		}
	}
	switch kind {
	case clusterConsonant:
		return !s.linked
	case clusterPictographic:
		return !s.joined
	case clusterFlag:
		return s.flags%2 == 0
	}
	return true
}
