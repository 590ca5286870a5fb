package tokenize_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/preprocess/tokenize"
)

func byteLevel(prefix, trim, regex bool) object {
	return object{"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": regex}
}

func metaspaced(mark, scheme string, split bool) object {
	return object{"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme, "split": split}
}

func splitBy(kind, pattern, behavior string, invert bool) object {
	return object{"type": "Split", "pattern": object{kind: pattern}, "behavior": behavior, "invert": invert}
}

func replacingRegex(from, to string) object {
	return object{"type": "Replace", "pattern": object{"Regex": from}, "content": to}
}

var allBehaviors = []string{"Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext"}

// alphabetVocab is smallVocab with the letters that ByteLevel and Metaspace
// write.
func alphabetVocab() object {
	vocab := object{}
	add := func(s string) {
		if _, ok := vocab[s]; !ok {
			vocab[s] = len(vocab)
		}
	}
	for _, w := range smallVocab() {
		add(w)
	}
	for b := range 256 {
		letter := tokenize.ToAlphabet(string([]byte{byte(b)}))
		add(letter)
		add("##" + letter)
	}
	for _, s := range []string{"▁", "##▁", "▁the", "Ġthe", "☃", "##☃"} {
		add(s)
	}
	return vocab
}

// preVariants are the pre-tokenizers that rewrite or split by a pattern, and the
// normalizers that came with them.
func preVariants() []variant {
	var out []variant
	add := func(name string, v variant) {
		v.name, v.model = name, object{"vocab": alphabetVocab()}
		out = append(out, v)
	}
	for bits := range 4 {
		prefix, regex := bits&1 != 0, bits&2 != 0
		add(fmt.Sprintf("byte level prefix=%v regex=%v", prefix, regex), variant{pre: byteLevel(prefix, true, regex)})
		add(fmt.Sprintf("byte level post prefix=%v regex=%v", prefix, regex), variant{
			pre: byteLevel(regex, true, true), post: byteLevel(prefix, true, true),
			added: []object{{"content": "<T>"}, {"content": "ing", "normalized": true}},
		})
	}
	add("byte level untrimmed", variant{pre: byteLevel(true, true, true), post: byteLevel(true, false, true)})
	add("byte level roberta", variant{pre: byteLevel(true, true, true), post: roberta(true, true)})
	add("byte level twice", variant{pre: sequence("pretokenizers", byteLevel(false, true, true), spacePre, byteLevel(true, true, false))})
	add("byte level as normalizer", variant{norm: sequence("normalizers", object{"type": "NFC"}, object{"type": "ByteLevel"})})
	for _, scheme := range []string{"always", "first", "never"} {
		for _, split := range []bool{true, false} {
			add(fmt.Sprintf("metaspace %s split=%v", scheme, split), variant{
				pre: metaspaced("▁", scheme, split), added: []object{{"content": "<T>"}, {"content": "ing", "normalized": true}},
			})
		}
	}
	add("metaspace snowman", variant{pre: sequence("pretokenizers", spacePre, metaspaced("☃", "always", true))})
	add("metaspace twice", variant{
		norm: object{"type": "Strip", "strip_left": true, "strip_right": true},
		pre:  sequence("pretokenizers", metaspaced("▁", "first", true), bertPre, metaspaced("_", "first", true)),
	})
	for _, b := range allBehaviors {
		for _, invert := range []bool{false, true} {
			name := fmt.Sprintf("split %s invert=%v", b, invert)
			add(name+" words", variant{pre: splitBy("Regex", `\w+|[^\w\s]+`, b, invert)})
			add(name+" string", variant{pre: splitBy("String", "a", b, invert)})
			add(name+" empty matches", variant{pre: splitBy("Regex", `a*`, b, invert)})
			add(name+" gpt2", variant{pre: splitBy("Regex", gpt2, b, invert)})
		}
	}
	add("delimiter", variant{pre: object{"type": "CharDelimiterSplit", "delimiter": "é"}})
	add("fixed length", variant{pre: object{"type": "FixedLength", "length": 3}})
	add("nmt", variant{norm: object{"type": "Nmt"}, pre: spacePre})
	add("replace regex", variant{norm: replacingRegex(`\s+|[aeé]`, "▁")})
	add("replace regex to nothing", variant{norm: replacingRegex(`\p{M}|(?<=a)b`, "")})
	return out
}

const gpt2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

func TestPreTokenizers(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	n := 80
	if soak {
		n = 20_000
	}
	for i, v := range preVariants() {
		t.Run(v.name, func(t *testing.T) {
			r := v.request(t)
			tok := r.open(t)
			r.Texts = slices.Concat(brief(), addedTexts(uint64(i), n), splitTexts(uint64(i), n))
			o.compare(t, tok, r)
		})
	}
}

// brief are the awkward texts that aren't long.
func brief() []string {
	return slices.DeleteFunc(awkward(), func(s string) bool { return len(s) > 400 })
}

// realTokenizers are those that make tokenizers fetches.
var realTokenizers = []string{"gpt2", "llama", "claude"}

// TestRealTokenizers takes the vocabularies of models in use.
func TestRealTokenizers(t *testing.T) {
	oneGoroutine(t)
	n := 300
	if soak {
		n = 300_000
	}
	words := someWords(t)
	for i, name := range realTokenizers {
		file := filepath.Join("../../build/tokenizers", name, "tokenizer.json")
		if _, err := os.Stat(file); err != nil {
			t.Skipf("%s is missing: make tokenizers fetches it", file)
		}
		t.Run(name, func(t *testing.T) {
			o := newOracle(t)
			r := request{File: file, Special: true}
			tok := r.open(t)
			for done := 0; done < n; done += 10_000 {
				g := newTextMaker(uint64(i + done))
				many := min(n, 10_000)
				r.Texts = slices.Concat(brief(), docComments(t, 300), splitTexts(uint64(i+done), many), g.pieces(many, words), []string{"a<s>b </s>", "<|endoftext|>x", "<EOT> <META>"})
				o.compare(t, tok, r)
			}
		})
	}
}

// splitTexts put next to each other what patterns tell apart.
func splitTexts(seed uint64, n int) []string {
	g := newTextMaker(seed)
	parts := []string{
		"'s", "'S", "'re", "'Re", "'lL", "'ſ", "'", "’s", "'t", "'v", " ", "  ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u3000", "\u2028", "\u0085",
		"a", "bc", "The", "ABC", "aB", "ǅ", "ʰ", "é", "e\u0301", "ß", "ſ", "中文", "の", "กำ", "نص", "1", "23", "4567", "½", "٣", "Ⅷ", "²",
		".", ",", "...", "!?", "/", "//", "-", "_", "+", "$", "😀", "👩\u200d👩", "\u200d", "\u0301", "\u20dd", "\x00", "\x1f", "\u2060", "▁", "☃", "\U000e0001", "\u0378", "K", "\u212a",
	}
	var out []string
	for range n {
		var b strings.Builder
		for range 1 + g.IntN(10) {
			b.WriteString(parts[g.IntN(len(parts))])
		}
		out = append(out, b.String())
		out = append(out, g.text())
	}
	return out
}

// patterns are what files in use split by, then what shows each construct.
var patterns = []string{
	gpt2,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
	`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
	`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|` +
		`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
	// Mistral's, DeepSeek's, CLIP's, Bloom's, StarCoder's, OLMo's and the like
	`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
	`[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, `[一-龥ࠀ-一가-퟿]+`, `\p{N}+`, `\p{N}{1,3}`, `[一-龥぀-ゟ゠-ヿ]+`,
	`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` + "`" + `{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
	`'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`,
	`<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`,
	` ?[^(\s|[.,!?…。，、।۔،])]+`, `\s+`, ` `, `\d`, `\d{1,3}(?=(?:\d{3})*\b)`, `(?=(\d{3})+(?!\d))`,
	`(?:^|(?<=\s))\S`, `a|ab|abc`, `(?:ab|a)(?:c|bc)?`, `a+?b|.`, `(?m:.+)`, `.+`, `.`, `[^.]`, `\R`, `$`, `^`, `\b`, `\B.`, `\A.|.\z`, `.\Z`,
	`(?i:the|ing)`, `(?i)k|e`, `(?i:[a-e])+`, `[a-c&&[^b]]`, `[\w&&[^\d_]]+`, `[^\W\d]+`, `\h+`, `\H+`, `[[a-c][x-z]]`, `[\p{L}--]`, `[\p{^L}\s]+`,
	`\P{L}+`, `\p{Han}+|\p{Hiragana}+`, `\p{Latin}+`, `\p{Uppercase_Letter}`, `\p{Cn}|\p{Co}`, `\x41|\x{e9}|\u4e2d`, `(?>a+)a|b`, `a*+a|b`, `(a|b){2,3}`,
	`(?:a?){3}`, `[ab]{2}`, `(?<!a)b`, `(?<=a|é)b`, `(?<=ab|c)d`, `(?!a)\w`, `x{,2}`, `x{2,}`, `x{2}+`, `\.`, `\/`, `\-`, `]`, `{`, `a{`, `a{,}`,
}

// TestPatterns holds what opens to the library's cuts; of what doesn't, the
// reason must say so.
func TestPatterns(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	n := 100
	if soak {
		n = 10_000
	}
	opened := 0
	for i, p := range patterns {
		v := variant{pre: splitBy("Regex", p, "Isolated", false), model: object{"vocab": alphabetVocab()}}
		r := v.request(t)
		if _, err := tokenize.Parse([]byte(r.JSON)); err != nil {
			require.ErrorContains(t, err, "is not supported", p)
			t.Logf("refused: %v", err)
			continue
		}
		opened++
		t.Run(p, func(t *testing.T) {
			r.Texts = slices.Concat(brief(), splitTexts(uint64(i), n))
			o.compare(t, r.open(t), r)
		})
	}
	require.GreaterOrEqual(t, opened, len(patterns)-6)
}

// TestRandomPatterns makes patterns of few letters, where all that can go wrong
// with backtracking does.
func TestRandomPatterns(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	g := rand.New(rand.NewPCG(8, 8))
	n := 150
	if soak {
		n = 20_000
	}
	refused := 0
	for range n {
		p := randomPattern(g, 3)
		b := allBehaviors[g.IntN(len(allBehaviors))]
		r := variant{pre: splitBy("Regex", p, b, g.IntN(2) == 0), model: object{"vocab": alphabetVocab()}}.request(t)
		if _, err := tokenize.Parse([]byte(r.JSON)); err != nil {
			require.ErrorContains(t, err, "is not supported", p)
			refused++
			continue
		}
		for range 60 {
			var s strings.Builder
			for range g.IntN(12) {
				s.WriteString([]string{"a", "b", "c", "é", " ", "1", "\n"}[g.IntN(7)])
			}
			r.Texts = append(r.Texts, s.String())
		}
		t.Run(fmt.Sprintf("%q %s", p, b), func(t *testing.T) { o.compare(t, r.open(t), r) })
	}
	require.Less(t, refused, n/3)
}

func randomPattern(g *rand.Rand, depth int) string {
	if depth == 0 || g.IntN(4) == 0 {
		atoms := []string{"a", "b", "c", "é", ".", `\w`, `\s`, `\d`, "[ab]", "[^a]", `\p{L}`, "^", "$", `\b`, `\S`}
		return atoms[g.IntN(len(atoms))]
	}
	sub := func() string { return randomPattern(g, depth-1) }
	switch g.IntN(9) {
	case 0, 1:
		return "(?:" + sub() + "|" + sub() + ")"
	case 2, 3, 4:
		return sub() + sub()
	case 5, 6:
		repeats := []string{"*", "+", "?", "*?", "+?", "??", "*+", "++", "?+", "{2}", "{1,2}", "{2,}", "{1,2}?"}
		return "(?:" + sub() + ")" + repeats[g.IntN(len(repeats))]
	case 7:
		return []string{"(?=", "(?!", "(?>"}[g.IntN(3)] + sub() + ")"
	default:
		letters := []string{"a", "b", "[ab]", `\s`, "é"}
		return []string{"(?<=", "(?<!"}[g.IntN(2)] + letters[g.IntN(len(letters))] + ")"
	}
}

// staged is a model's file with other parts put in; a character map stays.
func staged(t testing.TB, file string, parts object) string {
	t.Helper()
	var f object
	require.NoError(t, json.Unmarshal([]byte(file), &f))
	if norm, ok := f["normalizer"].(object); ok && norm["type"] != "Precompiled" {
		f["normalizer"] = nil
	}
	f["pre_tokenizer"], f["post_processor"], f["decoder"] = nil, nil, nil
	f["added_tokens"] = []object{}
	maps.Copy(f, parts)
	out, err := json.Marshal(f)
	require.NoError(t, err)
	return string(out)
}

// stack is a kind of testdata/train.py and what its file holds beside the model; a
// character map stays.
type stack struct {
	kind  string
	parts object
}

// stacks are whole tokenizers as models in use have them.
func stacks() map[string]stack {
	out := map[string]stack{}
	special := func(names ...string) []object {
		var list []object
		for i, n := range names {
			list = append(list, object{
				"id": 100000 + i, "content": n, "single_word": false, "lstrip": n == "<mask>", "rstrip": false,
				"normalized": false, "special": true,
			})
		}
		return list
	}
	ends := object{
		"type": "TemplateProcessing", "single": []object{{"Sequence": object{"id": "A", "type_id": 0}}, {"SpecialToken": object{"id": "</s>", "type_id": 0}}},
		"pair": []object{
			{"Sequence": object{"id": "A", "type_id": 0}}, {"SpecialToken": object{"id": "</s>", "type_id": 0}},
			{"Sequence": object{"id": "B", "type_id": 1}}, {"SpecialToken": object{"id": "</s>", "type_id": 1}},
		},
		"special_tokens": object{"</s>": object{"id": "</s>", "ids": []int{2}, "tokens": []string{"</s>"}}},
	}
	out["gpt2"] = stack{"bytelevel", object{"pre_tokenizer": byteLevel(false, true, true), "post_processor": byteLevel(true, false, true), "added_tokens": special("<|endoftext|>")}}
	out["gpt2 trimmed"] = stack{"bytelevel", object{"pre_tokenizer": byteLevel(true, true, true), "post_processor": byteLevel(true, true, true)}}
	out["roberta"] = stack{"bytelevel", object{"pre_tokenizer": byteLevel(false, true, true), "post_processor": roberta(true, false), "added_tokens": special("<s>", "<mask>")}}
	out["roberta prefix"] = stack{"bytelevel_gaps", object{"pre_tokenizer": byteLevel(true, true, true), "post_processor": roberta(true, true), "added_tokens": special("<s>", "<mask>")}}
	out["llama3"] = stack{"bytelevel", object{"pre_tokenizer": sequence("pretokenizers", splitBy("Regex", patterns[1], "Isolated", false), byteLevel(false, true, false)), "post_processor": sequence("processors", byteLevel(true, false, true), ends), "added_tokens": special("<|begin_of_text|>")}}
	out["qwen2"] = stack{"bytelevel", object{"normalizer": object{"type": "NFC"}, "pre_tokenizer": sequence("pretokenizers", splitBy("Regex", patterns[3], "Isolated", false), byteLevel(false, false, false)), "post_processor": byteLevel(false, false, false)}}
	out["gpt4o"] = stack{"bytelevel", object{"pre_tokenizer": sequence("pretokenizers", splitBy("Regex", patterns[4], "Removed", true), byteLevel(false, true, false))}}
	out["deepseek"] = stack{"bytelevel", object{"pre_tokenizer": sequence("pretokenizers",
		splitBy("Regex", `[\r\n]`, "Isolated", false), splitBy("Regex", `\s?\p{L}+`, "Isolated", false), splitBy("Regex", `\s?\p{P}+`, "Isolated", false),
		splitBy("Regex", `[一-龥ࠀ-一가-퟿]+`, "Isolated", false), object{"type": "Digits", "individual_digits": true}, byteLevel(false, true, false))}}
	out["clip"] = stack{"bytelevel_suffix", object{
		"normalizer":    sequence("normalizers", object{"type": "NFC"}, replacingRegex(`\s+`, " "), object{"type": "Lowercase"}),
		"pre_tokenizer": sequence("pretokenizers", splitBy("Regex", patterns[14], "Removed", true), byteLevel(false, true, true)), "post_processor": roberta(true, false),
	}}
	out["byte level twice"] = stack{"bytelevel", object{"pre_tokenizer": sequence("pretokenizers", byteLevel(false, true, true), byteLevel(false, true, false))}}
	out["byte level not last"] = stack{"bytelevel", object{"pre_tokenizer": sequence("pretokenizers", byteLevel(true, true, true), object{"type": "Digits", "individual_digits": true})}}
	out["byte level normalizer"] = stack{"bytelevel", object{"normalizer": object{"type": "ByteLevel"}, "pre_tokenizer": splitBy("Regex", `Ġ?\w+`, "Isolated", false)}}
	out["llama"] = stack{"metaspace_bpe", object{"normalizer": sequence("normalizers", object{"type": "Prepend", "prepend": "▁"}, replacing(" ", "▁")), "post_processor": ends, "added_tokens": special("<s>", "</s>")}}
	out["llama metaspace"] = stack{"metaspace_bpe", object{"pre_tokenizer": metaspaced("▁", "first", false), "added_tokens": special("<s>", "</s>", "<mask>")}}
	out["gemma"] = stack{"metaspace_bpe", object{"normalizer": replacing(" ", "▁"), "pre_tokenizer": splitBy("String", " ", "MergedWithPrevious", false)}}
	out["t5"] = stack{"unigram", object{"normalizer": object{"type": "NFKC"}, "pre_tokenizer": sequence("pretokenizers", spacePre, metaspaced("▁", "always", true)), "post_processor": ends, "added_tokens": special("<extra_id_0>", "<mask>")}}
	out["xlm-roberta"] = stack{"unigram_nfkc", object{"pre_tokenizer": metaspaced("▁", "always", true), "post_processor": ends, "added_tokens": special("<mask>")}}
	out["rules"] = stack{"unigram_rules", object{"pre_tokenizer": metaspaced("▁", "first", true), "post_processor": ends}}
	out["albert"] = stack{"unigram_bytes", object{
		"normalizer":    sequence("normalizers", replacing("``", "\""), replacing("''", "\""), object{"type": "NFKD"}, object{"type": "StripAccents"}, object{"type": "Lowercase"}),
		"pre_tokenizer": metaspaced("▁", "always", true), "post_processor": clsSep("BertProcessing"), "added_tokens": special("<mask>"),
	}}
	out["words"] = stack{"words_bpe", object{"normalizer": bertNorm(true, true, true, nil), "pre_tokenizer": bertPre, "post_processor": clsSep("BertProcessing")}}
	out["plain"] = stack{"plain_bpe", object{"pre_tokenizer": object{"type": "Whitespace"}, "added_tokens": special("<mask>")}}
	return out
}

func TestStacks(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	n := 100
	if soak {
		n = 50_000
	}
	words := someWords(t)
	all := stacks()
	for i, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			r := request{JSON: staged(t, trained(t, all[name].kind), all[name].parts), Special: true}
			tok := r.open(t)
			g := newTextMaker(uint64(i))
			r.Texts = slices.Concat(brief(), docComments(t, 100), splitTexts(uint64(i), n), g.pieces(n, words), []string{
				"a <mask> b<mask>", "<s>x</s> ", "<|endoftext|>\n<|endoftext|>", " <extra_id_0> y  <mask>",
			})
			for k := range r.Texts {
				r.Texts[k] = strings.ToValidUTF8(r.Texts[k], "?")
			}
			o.compare(t, tok, r)
			r.Texts = nil
			for range n / 10 {
				r.Pairs = append(r.Pairs, [2]string{g.text(), words[g.IntN(len(words))] + " " + words[g.IntN(len(words))]})
			}
			o.compare(t, tok, r)
			for _, direction := range []string{"left", "right"} {
				r.Max, r.Strategy, r.Direction = 7, "longest_first", direction
				o.compare(t, r.open(t), r)
			}
		})
	}
}
