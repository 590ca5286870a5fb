package tokenize_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/preprocess/tokenize"
)

var update = flag.Bool("update", false, "write testdata/golden.jsonl anew from the Rust library")

const goldenFile = "testdata/golden.jsonl"

// goldenRow is what the library made of a text or pair; offsets in bytes.
type goldenRow struct {
	Variant string     `json:"variant"`
	Text    string     `json:"text"`
	Pair    *string    `json:"pair,omitempty"`
	IDs     []int32    `json:"ids"`
	Types   []int32    `json:"types"`
	Offsets [][2]int32 `json:"offsets"`
	Mask    []bool     `json:"mask"`
	Words   []int32    `json:"words"`
}

func (g goldenRow) encoding() tokenize.Encoding {
	return tokenize.Encoding{IDs: g.IDs, TypeIDs: g.Types, Offsets: g.Offsets, SpecialMask: g.Mask, WordIDs: g.Words}
}

// goldenVariants are those of the file, by name.
func goldenVariants() map[string]variant {
	out := map[string]variant{}
	for _, v := range slices.Concat(bertVariants(), splitVariants(), addedVariants(), postVariants()) {
		out[v.name] = v
	}
	return out
}

// TestGolden needs no Python: it holds our answers to the library's, as they
// were written down.
func TestGolden(t *testing.T) {
	if *update {
		writeGolden(t)
	}
	data, err := os.ReadFile(goldenFile)
	require.NoError(t, err)
	all, open := goldenVariants(), map[string]*tokenize.Tokenizer{}
	rows := bufio.NewScanner(bytes.NewReader(data))
	rows.Buffer(nil, len(data))
	n := 0
	for ; rows.Scan(); n++ {
		var g goldenRow
		require.NoError(t, json.Unmarshal(rows.Bytes(), &g))
		tok := open[g.Variant]
		if tok == nil {
			v, ok := all[g.Variant]
			require.True(t, ok, "no variant %q: run with -update", g.Variant)
			tok = v.request(t).open(t)
			open[g.Variant] = tok
		}
		if g.Pair != nil {
			e, err := tok.EncodePair(g.Text, *g.Pair)
			require.NoError(t, err)
			require.Empty(t, difference(e, g.encoding()), "%s: %q, %q", g.Variant, g.Text, *g.Pair)
			continue
		}
		require.Empty(t, difference(tok.Encode(g.Text), g.encoding()), "%s: %q", g.Variant, g.Text)
		require.Equal(t, g.IDs, append([]int32{}, tok.AppendIDs(nil, g.Text)...), "%s: %q", g.Variant, g.Text)
	}
	require.NoError(t, rows.Err())
	require.Greater(t, n, 250)
}

func writeGolden(t *testing.T) {
	o := newOracle(t)
	all := goldenVariants()
	texts := slices.DeleteFunc(awkward(), func(s string) bool { return len(s) > 300 })
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	for i, name := range []string{
		"bert clean=true han=true lower=true strip=<nil>", "bert clean=true han=true lower=false strip=<nil>",
		"bert clean=false han=false lower=true strip=false", "all normalizers", "whitespace", "punctuation MergedWithNext",
		"digits false", "word level", "other prefix", "added mixed", "added 15", "post 1 pre=true", "post 2 pre=false", "post 6 pre=true",
	} {
		v, ok := all[name]
		require.True(t, ok, name)
		r := v.request(t)
		for k := i % 5; k < len(texts); k += 11 {
			r.Texts = append(r.Texts, texts[k])
		}
		r.Texts = append(r.Texts, addedTexts(uint64(i), 7)...)
		for k, e := range o.ask(t, r).encodings(r) {
			require.NoError(t, enc.Encode(goldenOf(name, r.Texts[k], nil, e)))
		}
		r.Texts, r.Pairs = nil, pairs[8:]
		for k, e := range o.ask(t, r).encodings(r) {
			require.NoError(t, enc.Encode(goldenOf(name, pairs[8+k][0], &pairs[8+k][1], e)))
		}
	}
	require.NoError(t, os.WriteFile(goldenFile, out.Bytes(), 0o644))
}

func goldenOf(variant, text string, pair *string, e tokenize.Encoding) goldenRow {
	return goldenRow{variant, text, pair, append([]int32{}, e.IDs...), append([]int32{}, e.TypeIDs...), e.Offsets, e.SpecialMask, append([]int32{}, e.WordIDs...)}
}
