package tokenize_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// object is a part of a tokenizer.json.
type object = map[string]any

// variant is a tokenizer.json made for a test, by what it has other than plain
// BERT.
type variant struct {
	name                             string
	norm, pre, post, model, truncate object
	added                            []object
	wide                             bool // the vocabulary holds all that normal forms touch
}

var (
	bertPre  = object{"type": "BertPreTokenizer"}
	spacePre = object{"type": "WhitespaceSplit"}
)

func bertNorm(clean, han, lower bool, strip any) object {
	return object{
		"type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": han,
		"strip_accents": strip, "lowercase": lower,
	}
}

func sequence(field string, list ...object) object {
	return object{"type": "Sequence", field: append([]object{}, list...)}
}

// smallVocab knows the letters of the test's texts, some words and the special
// tokens.
func smallVocab() []string {
	letters := map[string]bool{}
	for c := '!'; c <= '~'; c++ {
		letters[string(c)] = true
	}
	for _, s := range scripts {
		for _, c := range s {
			letters[string(c)] = true
		}
	}
	out := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##ing", "run", "##n", "day", "中文", "été", "##é"}
	for _, c := range slices.Sorted(maps.Keys(letters)) {
		if !slices.Contains(out, c) {
			out = append(out, c, "##"+c)
		}
	}
	return slices.Compact(out)
}

// wideRanges hold nearly all code points that a normalizer changes.
var wideRanges = [][2]rune{
	{0, 0x33FF}, {0xA000, 0xABFF}, {0xF900, 0xFFFF}, {0x10000, 0x11FFF}, {0x16000, 0x16FFF}, {0x1B000, 0x1BFFF},
	{0x1D000, 0x1DFFF}, {0x1E000, 0x1FBFF}, {0x2F800, 0x2FA1F}, {0xE0000, 0xE01FF},
}

func wideVocab() []string {
	out := smallVocab()
	for _, r := range wideRanges {
		for c := r[0]; c <= r[1]; c++ {
			out = append(out, string(c), "##"+string(c))
		}
	}
	return out
}

func (v variant) request(t testing.TB) request {
	t.Helper()
	words := smallVocab()
	if v.wide {
		words = wideVocab()
	}
	vocab := map[string]int{}
	for _, w := range words {
		if _, ok := vocab[w]; !ok {
			vocab[w] = len(vocab)
		}
	}
	model := object{
		"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
		"max_input_chars_per_word": 100, "vocab": vocab,
	}
	maps.Copy(model, v.model)
	maps.DeleteFunc(model, func(_ string, x any) bool { return x == nil })
	added := []object{}
	for i, a := range v.added {
		full := object{"id": 0, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false}
		maps.Copy(full, a)
		full["id"] = len(vocab) + i
		if id, ok := vocab[a["content"].(string)]; ok {
			full["id"] = id
		}
		added = append(added, full)
	}
	file := object{
		"version": "1.0", "truncation": nilOr(v.truncate), "padding": nil, "added_tokens": added, "decoder": nil,
		"normalizer": nilOr(v.norm), "pre_tokenizer": nilOr(v.pre), "post_processor": nilOr(v.post), "model": model,
	}
	data, err := json.Marshal(file)
	require.NoError(t, err)
	return request{JSON: string(data), Special: true}
}

func nilOr(o object) any {
	if o == nil {
		return nil
	}
	return o
}

// bertVariants are BertNormalizer with every combination of its flags.
func bertVariants() []variant {
	var out []variant
	for _, clean := range []bool{true, false} {
		for _, han := range []bool{true, false} {
			for _, lower := range []bool{true, false} {
				for _, strip := range []any{nil, true, false} {
					out = append(out, variant{
						name: fmt.Sprintf("bert clean=%v han=%v lower=%v strip=%v", clean, han, lower, strip),
						norm: bertNorm(clean, han, lower, strip), pre: bertPre,
					})
				}
			}
		}
	}
	return out
}

// formVariants are the normalizers other than Bert's, over a wide vocabulary so
// that what they make shows in the ids.
func formVariants() []variant {
	out := []variant{
		{name: "lowercase", norm: object{"type": "Lowercase"}},
		{name: "strip accents", norm: sequence("normalizers", object{"type": "NFD"}, object{"type": "StripAccents"})},
		{name: "accents alone", norm: object{"type": "StripAccents"}},
		{name: "bert wide", norm: bertNorm(true, true, true, nil)},
		{name: "bert cased wide", norm: bertNorm(false, true, false, nil)},
		{name: "bert stripped wide", norm: bertNorm(false, false, false, true)},
	}
	for _, form := range []string{"NFC", "NFD", "NFKC", "NFKD"} {
		out = append(out, variant{name: form, norm: object{"type": form}})
	}
	for i := range out {
		out[i].wide, out[i].pre = true, bertPre
	}
	return out
}

// splitVariants are the pre-tokenizers and the remaining normalizers.
func splitVariants() []variant {
	lower := object{"type": "Lowercase"}
	out := []variant{
		{name: "nothing"},
		{name: "whitespace", pre: object{"type": "Whitespace"}, norm: lower},
		{name: "whitespace split", pre: spacePre},
		{name: "bert bare", pre: bertPre},
		{name: "strip", pre: bertPre, norm: object{"type": "Strip", "strip_left": true, "strip_right": true}},
		{name: "strip left", norm: object{"type": "Strip", "strip_left": true, "strip_right": false}},
		{name: "strip right", norm: object{"type": "Strip", "strip_left": false, "strip_right": true}},
		{name: "replace", pre: bertPre, norm: replacing("e", "ı!")},
		{name: "replace longer", pre: bertPre, norm: replacing("\u0301", "")},
		{name: "replace space", pre: spacePre, norm: replacing(" ", "▁ ")},
		{name: "prepend", pre: bertPre, norm: object{"type": "Prepend", "prepend": "é-"}},
		{name: "all normalizers", pre: object{"type": "Whitespace"}, norm: sequence("normalizers",
			object{"type": "NFKD"}, object{"type": "StripAccents"}, lower, replacing("``", "\""),
			object{"type": "Strip", "strip_left": true, "strip_right": true}, object{"type": "NFC"},
			object{"type": "Prepend", "prepend": "_"}, bertNorm(true, true, true, true))},
		{name: "empty sequences", norm: sequence("normalizers"), pre: sequence("pretokenizers")},
		{name: "word level", pre: bertPre, norm: lower, model: object{"type": "WordLevel"}},
		{name: "no prefix", pre: spacePre, model: object{"continuing_subword_prefix": ""}},
		{name: "other prefix", pre: spacePre, model: object{"continuing_subword_prefix": "t"}},
		{name: "unknown prefix", pre: spacePre, model: object{"continuing_subword_prefix": "\u2603\u2603"}},
		{name: "short words", pre: bertPre, model: object{"max_input_chars_per_word": 3}},
		{name: "no words", norm: bertNorm(true, true, true, nil), pre: bertPre, model: object{"max_input_chars_per_word": 0}},
		{name: "old model", pre: bertPre, norm: bertNorm(true, true, true, nil), model: object{"type": nil}},
	}
	for _, b := range []string{"Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext"} {
		out = append(out, variant{
			name: "punctuation " + b,
			pre:  sequence("pretokenizers", spacePre, object{"type": "Punctuation", "behavior": b}),
		})
	}
	for _, each := range []bool{true, false} {
		out = append(out, variant{
			name: fmt.Sprint("digits ", each),
			pre:  sequence("pretokenizers", object{"type": "Digits", "individual_digits": each}, sequence("pretokenizers", bertPre)),
		})
	}
	return out
}

func replacing(from, to string) object {
	return object{"type": "Replace", "pattern": object{"String": from}, "content": to}
}

// addedVariants have added tokens of every combination of flags.
func addedVariants() []variant {
	var out []variant
	for bits := range 32 {
		flags := object{
			"single_word": bits&1 != 0, "lstrip": bits&2 != 0, "rstrip": bits&4 != 0,
			"normalized": bits&8 != 0, "special": bits&16 != 0,
		}
		v := variant{name: fmt.Sprint("added ", bits), norm: bertNorm(true, true, true, nil), pre: bertPre}
		for _, content := range []string{"<T>", "ing", "Über", "[MASK]", "New  York", "été", "<T>x"} {
			a := object{"content": content}
			maps.Copy(a, flags)
			v.added = append(v.added, a)
		}
		out = append(out, v)
	}
	mixed := variant{name: "added mixed", norm: object{"type": "NFC"}, pre: bertPre, added: []object{
		{"content": "<T>", "rstrip": true}, {"content": " x"}, {"content": "  y"}, {"content": "<T>", "normalized": true, "lstrip": true},
		{"content": "ing", "normalized": true}, {"content": "in", "normalized": false, "single_word": true},
		{"content": "e\u0301", "normalized": true}, {"content": ""}, {"content": "\n"}, {"content": "[CLS]", "special": true},
	}}
	before := variant{name: "added prepend", norm: object{"type": "Prepend", "prepend": "_"}, pre: spacePre, added: []object{
		{"content": "<T>", "normalized": true}, {"content": "été", "normalized": false, "lstrip": true, "rstrip": true},
	}}
	return append(out, mixed, before)
}

// addedTexts puts added tokens next to all that their flags look at.
func addedTexts(seed uint64, n int) []string {
	g := newTextMaker(seed)
	parts := []string{
		"<T>", "ing", "Über", "über", "U\u0308ber", "[MASK]", "New  York", "new  york", "été", "ÉTÉ", "e\u0301te\u0301", "<T>x",
		" ", "  ", "\t", "\u00a0", "\u3000", "\n", "a", "x", "y", "_", "-", "é", "\u0301", "中", "\u200d", "1", "[", "<", "in", "[CLS]",
	}
	var out []string
	for range n {
		var b strings.Builder
		for range 1 + g.IntN(9) {
			b.WriteString(parts[g.IntN(len(parts))])
		}
		out = append(out, b.String())
	}
	return out
}

// awkward are texts that have broken tokenizers.
func awkward() []string {
	out := []string{
		"", " ", "\n\t ", "\x00", "a\x00b", "\ufeffa", "\u00ad", "a\u00adb", "\ufffd", "\u200b", "a\u200bb", "\u0301", " \u0301 ",
		"\u0344", "\u0344\u0344", "\u0f81\u0f71", "a\u0345\u0300", "\u1100\u1161\u11a8", "\u1100\u1161\u11a7", "\uac00\u11a8",
		"\u0915\u093c", "\u0958", "\u212b", "\ufb1d", "\U0001d15e\U0001d165", "\u0130i\u0307", "\u1e9e\u00df", "\ud7a3\ud7a4",
		"\U0010ffff", "\U000e0001", "\u0378", "\U0001fae8", "##", "##a", "[UNK][CLS]", "[cls]", "[CLS", "CLS]", "[[CLS]]", "\u2028\u2029",
		"a\u0323\u0307", "a\u0307\u0323", "\u1e9b\u0323", "\u0928\u093c\u0301", "\u3099\u304b\u3099", "\u2126\u03a9", "\u1fef\u037e",
		"\u0340\u0341\u0343", "\u2329\u232a", "\uf951\U0002f868", "\u09c7\u09be", "\u09c7\u0334\u09be", "\u0b47\u0300\u0b3e",
		strings.Repeat("a", 100), strings.Repeat("a", 101), strings.Repeat("é", 100), strings.Repeat("é", 101),
		strings.Repeat("中", 300), strings.Repeat("\u0301", 300), "a" + strings.Repeat("\u0323\u0301\u0334", 100) + "b",
		strings.Repeat("word ", 3000), strings.Repeat("x", 5000), strings.Repeat(".", 500), strings.Repeat("\u1100", 200),
	}
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		out = append(out, scripts[name], strings.ToUpper(scripts[name]))
	}
	return append(out, scraps...)
}

func TestVariants(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	all := slices.Concat(bertVariants(), splitVariants(), addedVariants())
	for i, v := range all {
		t.Run(v.name, func(t *testing.T) {
			r := v.request(t)
			tok := r.open(t)
			g := newTextMaker(uint64(i))
			r.Texts = append(awkward(), addedTexts(uint64(i), 300)...)
			for range 300 {
				r.Texts = append(r.Texts, g.text())
			}
			o.compare(t, tok, r)
		})
	}
}

// marksText is a text with many marks of many combining classes.
func (g *textMaker) marksText() string {
	marks := []rune("\u0334\u0337\u093c\u3099\u094d\u05b0\u05b4\u064b\u0651\u0711\u0c55\u0e38\u0e48\u0eb8\u0f71\u0f72\u0f74" +
		"\u0321\u0328\u1dce\u031b\u0323\u0327\u059a\u302e\u0300\u0301\u0308\u0315\u035c\u0360\u0345\u0344\u0340\u0374\u1d16d\u0f73\u0f77")
	letters := []rune("aeioAEIOUÅéüǖ\u1e9b\u0226\u0391\u03b9\u03c9\u0928\u0915\u0b47\u09c7\u1100\u1161\u11a8\uac00\u304b\u212b ")
	var b strings.Builder
	for range 1 + g.IntN(4) {
		b.WriteRune(letters[g.IntN(len(letters))])
		for range g.IntN(5) {
			b.WriteRune(marks[g.IntN(len(marks))])
		}
	}
	return b.String()
}

func TestNormalForms(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	var points []string
	for _, r := range wideRanges {
		points = append(points, everyCodePoint(r[0], r[1])...)
	}
	for i, v := range formVariants() {
		t.Run(v.name, func(t *testing.T) {
			r := v.request(t)
			tok := r.open(t)
			g := newTextMaker(uint64(i))
			r.Texts = slices.Concat(points, awkward())
			for range 3000 {
				r.Texts = append(r.Texts, g.marksText())
			}
			o.compare(t, tok, r)
		})
	}
}
