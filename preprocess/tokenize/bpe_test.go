package tokenize_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/preprocess/tokenize"
)

// grammar is a small BPE model made at random: few letters, many merges, so that
// all ways in which merges can overlap turn up.
type grammar struct {
	vocab          map[string]int
	merges         [][2]string
	prefix, suffix string
	flags          object
}

var grammarLetters = []string{"a", "b", "c", "é", "▁", "の"}

// newGrammar makes one; odd ones have ids of several tokens.
func newGrammar(g *rand.Rand, odd bool) grammar {
	out := grammar{vocab: map[string]int{"<unk>": 0}, flags: object{"unk_token": "<unk>", "fuse_unk": g.IntN(2) == 0}}
	if g.IntN(4) == 0 {
		out.prefix = []string{"#", "##", "a"}[g.IntN(3)]
	}
	if g.IntN(4) == 0 {
		out.suffix = []string{"!", "b"}[g.IntN(2)]
	}
	tokens := []string{}
	add := func(s string) {
		if _, ok := out.vocab[s]; ok {
			return
		}
		out.vocab[s] = len(out.vocab)
		if odd && g.IntN(5) == 0 {
			out.vocab[s] = g.IntN(len(out.vocab))
		}
		tokens = append(tokens, s)
	}
	for _, l := range grammarLetters[:2+g.IntN(5)] {
		add(l)
		if out.prefix != "" {
			add(out.prefix + l)
		}
		if out.suffix != "" && g.IntN(3) > 0 {
			add(l + out.suffix)
			add(out.prefix + l + out.suffix)
		}
	}
	if g.IntN(6) == 0 {
		tokens = append(tokens, "<unk>")
	}
	for range g.IntN(40) {
		left, right := tokens[g.IntN(len(tokens))], tokens[g.IntN(len(tokens))]
		if !strings.HasPrefix(right, out.prefix) || len(left+right) > 20 {
			continue
		}
		add(left + right[len(out.prefix):])
		out.merges = append(out.merges, [2]string{left, right})
	}
	return out
}

func (gr grammar) file(t testing.TB, lines bool) string {
	var merges any = gr.merges
	if gr.merges == nil {
		merges = []string{}
	} else if lines {
		list := []string{"#version: 0.2"}
		for _, m := range gr.merges {
			list = append(list, m[0]+" "+m[1])
		}
		merges = list
	}
	model := object{"type": "BPE", "vocab": gr.vocab, "merges": merges}
	if gr.prefix != "" {
		model["continuing_subword_prefix"] = gr.prefix
	}
	if gr.suffix != "" {
		model["end_of_word_suffix"] = gr.suffix
	}
	for k, v := range gr.flags {
		model[k] = v
	}
	data, err := json.Marshal(object{"version": "1.0", "added_tokens": []any{}, "model": model})
	require.NoError(t, err)
	return string(data)
}

func grammarText(g *rand.Rand) string {
	var b strings.Builder
	n := g.IntN(12)
	if g.IntN(8) == 0 {
		n = g.IntN(300)
	}
	for range n {
		letter := grammarLetters[g.IntN(len(grammarLetters))]
		b.WriteString(strings.Repeat(letter, 1+g.IntN(4)*g.IntN(2)))
		if g.IntN(20) == 0 {
			b.WriteString("☃")
		}
	}
	return b.String()
}

// TestRandomGrammars holds small models of all kinds to the library's.
func TestRandomGrammars(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	g := rand.New(rand.NewPCG(5, 5))
	n := 400
	if soak {
		n = 20_000
	}
	for i := range n {
		gr := newGrammar(g, i%4 == 3)
		var texts []string
		for range 40 {
			texts = append(texts, grammarText(g))
		}
		compareModel(t, o, gr.file(t, i%2 == 0), false, texts)
	}
}

// naive merges as it is written in books: look through all pairs, merge the one
// of least rank that is leftmost, and begin again. Duplicate merges: the last.
func (gr grammar) naive(text string) []int32 {
	ranks := map[[2]string]int{}
	for i, m := range gr.merges {
		ranks[m] = i
	}
	parts := []string{}
	unknown := false
	for _, c := range text {
		_, known := gr.vocab[string(c)]
		switch {
		case known:
			parts = append(parts, string(c))
		case !unknown || gr.flags["fuse_unk"] != true:
			parts = append(parts, "<unk>")
		}
		unknown = !known
	}
	for {
		at, least := -1, len(gr.merges)
		for i := 0; i+1 < len(parts); i++ {
			if r, ok := ranks[[2]string{parts[i], parts[i+1]}]; ok && r < least {
				at, least = i, r
			}
		}
		if at < 0 {
			break
		}
		parts = append(parts[:at], append([]string{parts[at] + parts[at+1]}, parts[at+2:]...)...)
	}
	var ids []int32
	for _, p := range parts {
		ids = append(ids, int32(gr.vocab[p]))
	}
	return ids
}

// FuzzBPE makes a model of the seed and compares both ways of ours with the
// naive one.
func FuzzBPE(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, grammarText(rand.New(rand.NewPCG(seed, 1))))
	}
	f.Fuzz(func(t *testing.T, seed uint64, text string) {
		if !utf8.ValidString(text) || len(text) > 2000 {
			return
		}
		gr := newGrammar(rand.New(rand.NewPCG(seed, 2)), false)
		if gr.prefix+gr.suffix != "" {
			return
		}
		m, err := tokenize.ParseModel([]byte(gr.file(t, false)), false)
		require.NoError(t, err)
		want := gr.naive(text)
		ids, _, _ := m.Tokens(text)
		require.Equal(t, want, ids)
		require.Equal(t, want, m.IDs(text))
		require.Equal(t, want, m.IDs(text))
	})
}

// TestLongPieces merges pieces of 100 kB that nothing cuts; the naive way would
// take hours.
func TestLongPieces(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	words := strings.Join(someWords(t), "")
	texts := []string{
		strings.Repeat("a", 100_000), strings.Repeat("=", 100_000), strings.Repeat("ab", 50_000),
		words[:100_000], strings.Repeat("▁", 33_000), strings.Repeat("▁the", 20_000), strings.Repeat("中", 33_000),
	}
	for i, s := range texts {
		texts[i] = strings.ToValidUTF8(s, "")
	}
	for _, v := range []modelVariant{{"bytelevel", true, nil}, {"metaspace_bpe", false, nil}, {"unigram", false, nil}} {
		file := altered(t, trained(t, v.kind), v.byteLevel, nil)
		compareModel(t, o, file, v.byteLevel, texts)
		m, err := tokenize.ParseModel([]byte(file), v.byteLevel)
		require.NoError(t, err)
		start := time.Now()
		for _, s := range texts {
			m.IDs(s)
		}
		require.Less(t, time.Since(start), 5*time.Second, "700 kB in %d pieces", len(texts))
	}
}

// TestBrokenModels are refused with what is wrong with them.
func TestBrokenModels(t *testing.T) {
	for _, c := range []struct{ want, model string }{
		{"vocab or merges is missing", `{"type":"BPE","vocab":{"a":0}}`},
		{"vocab or merges is missing", `{"type":"BPE","merges":[]}`},
		{`the vocabulary lacks "ab"`, `{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}`},
		{`the vocabulary lacks "c"`, `{"type":"BPE","vocab":{"a":0,"b":1},"merges":[["a","c"]]}`},
		{"not of two tokens", `{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b c"]}`},
		{"not of two tokens", `{"type":"BPE","vocab":{"a":0,"b":1},"merges":["ab"]}`},
		{"merge 1 is not of two tokens", `{"type":"BPE","vocab":{"a":0,"b":1},"merges":[["a"]]}`},
		{"neither pairs nor strings", `{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b",["a","b"]]}`},
		{"shorter than continuing_subword_prefix", `{"type":"BPE","vocab":{"a":0,"b":1},"continuing_subword_prefix":"##","merges":["a b"]}`},
		{`lacks the unk_token "?"`, `{"type":"BPE","vocab":{"a":0},"merges":[],"unk_token":"?"}`},
		{"out of range", `{"type":"BPE","vocab":{"a":-1},"merges":[]}`},
		{"prefix or suffix", `{"type":"BPE","vocab":{"a":0},"merges":[],"byte_fallback":true,"end_of_word_suffix":"x"}`},
		{"dropout", `{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":1}`},
		{"vocab is missing", `{"type":"Unigram","unk_id":0}`},
		{"vocab is missing", `{"type":"Unigram","unk_id":0,"vocab":[]}`},
		{"unk_id is missing", `{"type":"Unigram","unk_id":null,"vocab":[["a",-1]]}`},
		{"unk_id 1 is not in the vocabulary", `{"type":"Unigram","unk_id":1,"vocab":[["a",-1]]}`},
		{"isn't of a token and a score", `{"type":"Unigram","unk_id":0,"vocab":[["a"]]}`},
		{"not a number", `{"type":"Unigram","unk_id":0,"vocab":[["a","-1"]]}`},
	} {
		_, err := tokenize.Parse([]byte(`{"model":` + c.model + `}`))
		require.ErrorContains(t, err, c.want, c.model)
	}
}

func ExampleTokenizer_AppendIDs() {
	tok, err := tokenize.Parse([]byte(`{"model": {
		"type": "BPE", "unk_token": "?", "merges": ["l o", "lo w", "e r"],
		"vocab": {"?": 0, "l": 1, "o": 2, "w": 3, "e": 4, "r": 5, "lo": 6, "low": 7, "er": 8}}}`))
	if err != nil {
		panic(err)
	}
	fmt.Println(tok.AppendIDs(nil, "lower"))
	fmt.Println(tok.AppendIDs(nil, "slower"))
	// Output:
	// [7 8]
	// [0 7 8]
}
