package tokenize_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// everyCodePoint gives texts that hold each code point of a range alone and
// between letters, some tens in a text.
func everyCodePoint(lo, hi rune) []string {
	var out []string
	var b strings.Builder
	for c := lo; c <= hi; c++ {
		if validRune(c) {
			b.WriteString("a" + string(c) + "b " + string(c) + " ")
		}
		if c%64 == 63 || c == hi {
			out = append(out, b.String())
			b.Reset()
		}
	}
	return out
}

// TestEveryCodePoint takes all code points in the soak lane. Otherwise it takes
// all of the planes that hold characters, and of the rest, which all tables
// treat alike, the ends.
func TestEveryCodePoint(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	r := miniLM(t, true)
	tok := r.open(t)
	var texts []string
	if soak {
		texts = everyCodePoint(0, utf8.MaxRune)
	} else {
		texts = slices.Concat(everyCodePoint(0, 0x33FFF), everyCodePoint(0xE0000, 0xE0FFF))
		for plane := rune(4); plane <= 16; plane++ {
			texts = append(texts, everyCodePoint(plane<<16, plane<<16+0xFF)...)
			texts = append(texts, everyCodePoint(plane<<16+0xFF00, plane<<16+0xFFFF)...)
		}
	}
	for lo := 0; lo < len(texts); lo += 2000 {
		r.Texts = texts[lo:min(lo+2000, len(texts))]
		o.compare(t, tok, r)
	}
}

// TestRandomTexts compares 200,000 texts, 20,000 under the race detector, two
// million in the soak lane.
func TestRandomTexts(t *testing.T) {
	t.Parallel()
	rounds := 40
	if raceEnabled {
		rounds = 4
	} else if soak {
		rounds = 400
	}
	o := newOracle(t)
	r := miniLM(t, false)
	tok := r.open(t)
	g := newTextMaker(1)
	for range rounds {
		r.Texts = r.Texts[:0]
		for range 5_000 {
			r.Texts = append(r.Texts, g.text())
		}
		o.compare(t, tok, r)
	}
}

// textMaker makes random texts over all of Unicode, mutations of real words
// among them.
type textMaker struct {
	*rand.Rand
	last string
}

func newTextMaker(seed uint64) *textMaker {
	return &textMaker{Rand: rand.New(rand.NewPCG(seed, 7))}
}

// alphabets are ranges where the rules of tokenizers are many.
var alphabets = [][2]rune{
	{0, 0x7F}, {' ', '~'}, {'a', 'z'}, {0x80, 0x24F}, {0x300, 0x36F}, {0x370, 0x52F}, {0x590, 0x6FF},
	{0x900, 0xDFF}, {0xE00, 0xFFF}, {0x1100, 0x11FF}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x1E00, 0x1FFF},
	{0x2000, 0x20FF}, {0x2100, 0x2BFF}, {0x3000, 0x30FF}, {0x3130, 0x33FF}, {0x3400, 0x9FFF}, {0xA640, 0xABFF},
	{0xAC00, 0xD7A3}, {0xE000, 0xFAFF}, {0xFB00, 0xFFFF}, {0x10000, 0x16FFF}, {0x1D000, 0x1D7FF},
	{0x1F000, 0x1FAFF}, {0x20000, 0x2FA1F}, {0xE0000, 0xE01EF}, {0, 0x10FFFF},
}

var scraps = []string{
	" ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\u200b", "\u200d", "\u00ad", "\ufeff", "\ufffd", "\x00",
	"[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "[mask]", "[", "]", "##", "##ing", "...", "!?", "--", "_", "$3.50",
	"the", "running", "unaffable", "Don't", "e\u0301", "\u00e9", "\u0130", "\u01c5", "\u1e9e", "\ufb01", "\u03a3", "\u03c2",
	"\u0344", "\u0f73", "\u0958", "\u1109\u1162\u11a8", "\uac01", "\u302e", "\u302f", "\U0001d15e", "\U0001d165\U0001d16d",
	"a\u0315\u0300\u05ae\u0345b", "\u4e2d\u6587", "\u65e5\u672c", "\uf900", "\U0002f81a", "\U0001f468\u200d\U0001f469", "\U0001f1e9\U0001f1ea",
}

func (g *textMaker) rune(in [2]rune) rune {
	for {
		if c := in[0] + g.Int32N(in[1]-in[0]+1); validRune(c) {
			return c
		}
	}
}

func (g *textMaker) text() string {
	if g.last != "" && g.IntN(4) == 0 {
		g.last = g.mutate(g.last)
		return g.last
	}
	var b strings.Builder
	main := alphabets[g.IntN(len(alphabets))]
	for range g.IntN(8) {
		switch g.IntN(5) {
		case 0:
			b.WriteString(scraps[g.IntN(len(scraps))])
		case 1:
			b.WriteRune(g.rune(alphabets[g.IntN(len(alphabets))]))
		case 2:
			for range g.IntN(4) {
				b.WriteRune(g.rune([2]rune{0x300, 0x36F}))
			}
		default:
			for range g.IntN(10) {
				b.WriteRune(g.rune(main))
			}
			b.WriteString(" "[:g.IntN(2)])
		}
	}
	g.last = b.String()
	return g.last
}

// mutate takes out, puts in, doubles or swaps characters.
func (g *textMaker) mutate(s string) string {
	runes := []rune(s)
	for range 1 + g.IntN(3) {
		if len(runes) == 0 {
			return scraps[g.IntN(len(scraps))]
		}
		i := g.IntN(len(runes))
		switch g.IntN(4) {
		case 0:
			runes = append(runes[:i], runes[i+1:]...)
		case 1:
			c := g.rune(alphabets[g.IntN(len(alphabets))])
			runes = append(runes[:i], append([]rune{c}, runes[i:]...)...)
		case 2:
			runes[i] = runes[g.IntN(len(runes))]
		case 3:
			k := g.IntN(len(runes))
			runes[i], runes[k] = runes[k], runes[i]
		}
	}
	return string(runes)
}
