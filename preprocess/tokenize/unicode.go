package tokenize

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// The properties of a code point, as bits.
const (
	propControl    uint16 = 1 << iota // removed by clean_text
	propSpace                         // white space
	propPunct                         // punctuation
	propMn                            // nonspacing mark
	propMark                          // any combining mark
	propNumeric                       // number
	propWord                          // \w
	propNonStarter                    // combining class other than 0
	propLower                         // has another lower case
	propNFD                           // decomposes canonically
	propNFKD                          // decomposes, canonically or for compatibility
	propHan                           // set apart by handle_chinese_chars
)

// Hangul syllables are composed by arithmetic: Unicode, section 3.12.
const (
	hangulS, hangulL, hangulV, hangulT     = 0xAC00, 0x1100, 0x1161, 0x11A7
	hangulLCount, hangulVCount             = 19, 21
	hangulTCount, hangulNCount             = 28, 588
	hangulSCount                       int = hangulLCount * hangulNCount
)

// hanRanges are the blocks that BertNormalizer takes for Chinese. The sixth
// begins at 2B920, not at 2B820 where the block does: so it stands there.
var hanRanges = [][2]rune{
	{0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xF900, 0xFAFF}, {0x20000, 0x2A6DF},
	{0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F},
}

// charTable is what the library knows of every code point. It is read-only.
type charTable struct {
	props   []uint16 // by code point
	ccc     map[rune]uint8
	lower   map[rune]rune   // lower case of one code point
	lowers  map[rune][]rune // lower case of several
	nfd     map[rune][]rune
	nfkd    map[rune][]rune // where it differs from nfd
	compose map[[2]rune]rune
}

//go:embed unicode.txt
var unicodeText string

// chars is the table, built when the first tokenizer is opened.
var chars = sync.OnceValue(func() *charTable {
	t, err := parseCharTable(unicodeText)
	if err != nil {
		panic("tokenize: the embedded unicode.txt is broken: " + err.Error())
	}
	return t
})

func parseCharTable(text string) (*charTable, error) {
	t := &charTable{
		props: make([]uint16, utf8.MaxRune+1),
		ccc:   map[rune]uint8{}, lower: map[rune]rune{}, lowers: map[rune][]rune{},
		nfd: map[rune][]rune{}, nfkd: map[rune][]rune{}, compose: map[[2]rune]rune{},
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		entries := strings.Fields(line)
		for _, e := range entries[1:] {
			if err := t.add(entries[0], e); err != nil {
				return nil, fmt.Errorf("%s %s: %w", entries[0], e, err)
			}
		}
	}
	t.mark(hangulS, rune(hangulS+hangulSCount-1), propNFD|propNFKD)
	for _, r := range hanRanges {
		t.mark(r[0], r[1], propHan)
	}
	return t, nil
}

// setProps names the properties that unicode.txt gives as plain sets.
var setProps = map[string]uint16{
	"control": propControl, "space": propSpace, "punct": propPunct, "mn": propMn,
	"mark": propMark, "numeric": propNumeric, "word": propWord,
}

// add reads one entry; the grammar is in the header of unicode.txt.
func (t *charTable) add(key, entry string) error {
	if p, ok := setProps[key]; ok {
		lo, hi, err := parseSpan(entry)
		if err == nil {
			t.mark(lo, hi, p)
		}
		return err
	}
	from, to, _ := strings.Cut(entry, ">")
	switch key {
	case "ccc":
		return t.addClass(entry)
	case "lower":
		return t.addLower(from, to)
	case "nfd":
		return t.addMapping(t.nfd, from, to, propNFD|propNFKD)
	case "nfkd":
		return t.addMapping(t.nfkd, from, to, propNFKD)
	case "compose":
		a, b, _ := strings.Cut(from, "+")
		runes, err := parseRunes(a + "," + b + "," + to)
		if err == nil {
			t.compose[[2]rune{runes[0], runes[1]}] = runes[2]
		}
		return err
	}
	return fmt.Errorf("unknown key")
}

func (t *charTable) mark(lo, hi rune, prop uint16) {
	for c := lo; c <= hi; c++ {
		t.props[c] |= prop
	}
}

func (t *charTable) addClass(entry string) error {
	span, class, _ := strings.Cut(entry, "=")
	lo, hi, err := parseSpan(span)
	if err != nil {
		return err
	}
	k, err := strconv.ParseUint(class, 16, 8)
	if err != nil {
		return err
	}
	for c := lo; c <= hi; c++ {
		t.ccc[c] = uint8(k)
	}
	t.mark(lo, hi, propNonStarter)
	return nil
}

func (t *charTable) addLower(from, to string) error {
	if strings.Contains(to, ",") {
		return t.addMapping(t.lowers, from, to, propLower)
	}
	span, stepText, stepped := strings.Cut(from, "/")
	lo, hi, err := parseSpan(span)
	if err != nil {
		return err
	}
	first, err := parseRunes(to)
	if err != nil {
		return err
	}
	step := rune(1)
	if stepped {
		s, err := parseRunes(stepText)
		if err != nil {
			return err
		}
		step = s[0]
	}
	for c := lo; c <= hi; c += step {
		t.lower[c] = first[0] + c - lo
		t.props[c] |= propLower
	}
	return nil
}

func (t *charTable) addMapping(m map[rune][]rune, from, to string, prop uint16) error {
	c, err := parseRunes(from)
	if err != nil {
		return err
	}
	m[c[0]], err = parseRunes(to)
	t.props[c[0]] |= prop
	return err
}

func parseSpan(s string) (lo, hi rune, err error) {
	a, b, ok := strings.Cut(s, "-")
	if !ok {
		b = a
	}
	runes, err := parseRunes(a + "," + b)
	if err != nil {
		return 0, 0, err
	}
	return runes[0], runes[1], nil
}

func parseRunes(s string) ([]rune, error) {
	parts := strings.Split(s, ",")
	out := make([]rune, len(parts))
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 16, 32)
		if err != nil {
			return nil, err
		}
		if n > utf8.MaxRune {
			return nil, fmt.Errorf("%s is no code point", p)
		}
		out[i] = rune(n)
	}
	return out, nil
}

func (t *charTable) is(c rune, prop uint16) bool { return t.props[c]&prop != 0 }

// appendLower appends the lower case of c.
func (t *charTable) appendLower(dst []rune, c rune) []rune {
	if !t.is(c, propLower) {
		return append(dst, c)
	}
	if to, ok := t.lower[c]; ok {
		return append(dst, to)
	}
	return append(dst, t.lowers[c]...)
}

// appendDecomposed appends the full decomposition of c, canonical or for
// compatibility, in the order of the table.
func (t *charTable) appendDecomposed(dst []rune, c rune, compat bool) []rune {
	prop := propNFD
	if compat {
		prop = propNFKD
	}
	if !t.is(c, prop) {
		return append(dst, c)
	}
	if s := int(c) - hangulS; s >= 0 && s < hangulSCount {
		dst = append(dst, rune(hangulL+s/hangulNCount), rune(hangulV+s%hangulNCount/hangulTCount))
		if last := s % hangulTCount; last > 0 {
			dst = append(dst, rune(hangulT+last))
		}
		return dst
	}
	if compat {
		if to, ok := t.nfkd[c]; ok {
			return append(dst, to...)
		}
	}
	return append(dst, t.nfd[c]...)
}

// composed is the code point that a and b compose to, if they do.
func (t *charTable) composed(a, b rune) (rune, bool) {
	l, v := int(a)-hangulL, int(b)-hangulV
	if l >= 0 && l < hangulLCount && v >= 0 && v < hangulVCount {
		return rune(hangulS + l*hangulNCount + v*hangulTCount), true
	}
	s, last := int(a)-hangulS, int(b)-hangulT
	if s >= 0 && s < hangulSCount && s%hangulTCount == 0 && last > 0 && last < hangulTCount {
		return a + rune(last), true
	}
	c, ok := t.compose[[2]rune{a, b}]
	return c, ok
}
