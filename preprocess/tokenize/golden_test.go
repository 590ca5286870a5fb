package tokenize_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/preprocess/tokenize"
)

var update = flag.Bool("update", false, "write the vectors in testdata anew from the Rust library")

const (
	goldenFile = "testdata/golden.jsonl"
	smallFile  = "testdata/models.json" // small models of testdata/train.py, by kind
)

// goldenRow is what the library made of a text or pair; offsets in bytes. The
// first row of the file only says which library.
type goldenRow struct {
	Library string     `json:"library,omitempty"`
	Variant string     `json:"variant,omitempty"`
	Text    string     `json:"text"`
	Pair    *string    `json:"pair,omitempty"`
	Max     int        `json:"max,omitempty"`
	Cut     [2]string  `json:"cut,omitzero"` // strategy and direction
	IDs     []int32    `json:"ids,omitempty"`
	Types   []int32    `json:"types,omitempty"`
	Offsets [][2]int32 `json:"offsets,omitempty"`
	Mask    string     `json:"mask,omitempty"` // a digit for each token
	Words   []int32    `json:"words,omitempty"`
}

func (g goldenRow) encoding() tokenize.Encoding {
	e := tokenize.Encoding{IDs: g.IDs, TypeIDs: g.Types, Offsets: g.Offsets, WordIDs: g.Words}
	for _, c := range g.Mask {
		e.SpecialMask = append(e.SpecialMask, c == '1')
	}
	return e
}

// goldenVariants are the variants of the vectors, by name.
func goldenVariants() map[string]variant {
	forms := formVariants()
	for i := range forms {
		forms[i].wide = false
	}
	out := map[string]variant{}
	for _, v := range slices.Concat(bertVariants(), forms, splitVariants(), preVariants(), addedVariants(), postVariants()) {
		out[v.name] = v
	}
	return out
}

// goldenFiles makes the files of the vectors, by name.
func goldenFiles(t testing.TB) map[string]func() request {
	out := map[string]func() request{}
	for name, v := range goldenVariants() {
		out[name] = func() request { return v.request(t) }
	}
	data, err := os.ReadFile(smallFile)
	require.NoError(t, err)
	var small map[string]string
	require.NoError(t, json.Unmarshal(data, &small))
	for name, s := range stacks() {
		if s.kind == "unigram_nfkc" {
			s.kind = "unigram_rules" // the whole character map is no small thing
		}
		out["stack "+name] = func() request {
			require.Contains(t, small, s.kind)
			return request{JSON: staged(t, small[s.kind], s.parts), Special: true}
		}
	}
	return out
}

// TestGolden needs no Python: it holds our answers to the library's, as they
// were written down.
func TestGolden(t *testing.T) {
	if *update {
		writeSmall(t)
		writeGolden(t)
	}
	data, err := os.ReadFile(goldenFile)
	require.NoError(t, err)
	files, open := goldenFiles(t), map[string]*tokenize.Tokenizer{}
	rows := bufio.NewScanner(bytes.NewReader(data))
	rows.Buffer(nil, len(data))
	n := 0
	for ; rows.Scan(); n++ {
		var g goldenRow
		require.NoError(t, json.Unmarshal(rows.Bytes(), &g))
		if n == 0 {
			require.Regexp(t, `^tokenizers \d`, g.Library)
			continue
		}
		tok := open[g.Variant]
		if tok == nil {
			make, ok := files[g.Variant]
			require.True(t, ok, "no variant %q: run make vectors", g.Variant)
			tok = make().open(t)
			open[g.Variant] = tok
		}
		checkGolden(t, tok, g)
	}
	require.NoError(t, rows.Err())
	require.Greater(t, n, 1000)
	require.Len(t, open, len(files), "variants without a vector: run make vectors")
}

func checkGolden(t *testing.T, tok *tokenize.Tokenizer, g goldenRow) {
	t.Helper()
	if g.Max > 0 {
		cfg := tokenize.Config{MaxTokens: g.Max, TruncationStrategy: strategies[g.Cut[0]], TruncationDirection: tokenize.Right}
		if g.Cut[1] == "left" {
			cfg.TruncationDirection = tokenize.Left
		}
		var err error
		tok, err = tok.With(cfg)
		require.NoError(t, err)
	}
	if g.Pair != nil {
		e, err := tok.EncodePair(g.Text, *g.Pair)
		require.NoError(t, err)
		require.Empty(t, difference(e, g.encoding()), "%s: %q, %q", g.Variant, g.Text, *g.Pair)
		return
	}
	require.Empty(t, difference(tok.Encode(g.Text), g.encoding()), "%s: %q", g.Variant, g.Text)
	require.True(t, slices.Equal(g.IDs, tok.AppendIDs(nil, g.Text)), "%s: %q", g.Variant, g.Text)
}

// writeSmall trains small models on the tests' own texts, so that they change
// only where those do.
func writeSmall(t *testing.T) {
	kinds := slices.DeleteFunc(slices.Clone(modelKinds), func(k string) bool { return k == "unigram_nfkc" || k == "unigram_folded" })
	small, err := train(testkit.Python(t), object{"texts": fewTexts(), "kinds": kinds, "tokens": 350})
	require.NoError(t, err)
	data, err := json.MarshalIndent(small, "", " ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(smallFile, append(data, '\n'), 0o644))
}

func fewTexts() (texts []string) {
	for _, name := range []string{"english", "english", "code", "french", "russian", "chinese"} {
		texts = append(texts, slices.Repeat([]string{scripts[name]}, 4)...)
	}
	return texts
}

func writeGolden(t *testing.T) {
	o := newOracle(t)
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	require.NoError(t, enc.Encode(goldenRow{Library: "tokenizers " + pythonVersion(t, "tokenizers")}))
	texts := slices.DeleteFunc(awkward(), func(s string) bool { return len(s) > 80 })
	files := goldenFiles(t)
	for i, name := range slices.Sorted(maps.Keys(files)) {
		r := files[name]()
		for k := i % 29; k < len(texts); k += 29 {
			r.Texts = append(r.Texts, texts[k])
		}
		r.Texts = append(r.Texts, addedTexts(uint64(i), 2)...)
		r.Texts = append(r.Texts, splitTexts(uint64(i), 1)...)
		for k, e := range o.ask(t, r).encodings(r) {
			require.NoError(t, enc.Encode(goldenOf(name, r.Texts[k], nil, e)))
		}
		pair := pairs[3+i%9]
		r.Texts, r.Pairs = nil, [][2]string{pair}
		for _, e := range o.ask(t, r).encodings(r) {
			require.NoError(t, enc.Encode(goldenOf(name, pair[0], &pair[1], e)))
		}
		if !strings.HasPrefix(name, "post ") && !strings.HasPrefix(name, "stack ") {
			continue
		}
		r.Max, r.Strategy = 8, []string{"longest_first", "only_first", "only_second"}[i%3]
		r.Direction = []string{"left", "right"}[i/3%2]
		r.Pairs = [][2]string{{"a b c d e f g", "h i j k l m n o"}}
		a := o.ask(t, r)
		if a.Error != "" {
			continue // the strategy can't bring the pair under the limit
		}
		for _, e := range a.encodings(r) {
			g := goldenOf(name, r.Pairs[0][0], &r.Pairs[0][1], e)
			g.Max, g.Cut = r.Max, [2]string{r.Strategy, r.Direction}
			require.NoError(t, enc.Encode(g))
		}
	}
	require.NoError(t, os.WriteFile(goldenFile, out.Bytes(), 0o644))
}

// pythonVersion is that of a package of Python.
func pythonVersion(t *testing.T, name string) string {
	out, err := exec.Command(testkit.Python(t), "-c", "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))", name).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

func goldenOf(variant, text string, pair *string, e tokenize.Encoding) goldenRow {
	g := goldenRow{Variant: variant, Text: text, Pair: pair, IDs: e.IDs, Types: e.TypeIDs, Offsets: e.Offsets, Words: e.WordIDs}
	for _, special := range e.SpecialMask {
		if special {
			g.Mask += "1"
		} else {
			g.Mask += "0"
		}
	}
	return g
}
