package tokenize_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/preprocess/tokenize"
)

var (
	trainOnce sync.Once
	trainDone map[string]string
	trainErr  error
)

// trained gives the tokenizer.json of a kind of testdata/train.py, which all
// tests of a run share.
func trained(t testing.TB, kind string) string {
	t.Helper()
	python := testkit.Python(t)
	texts := slices.Concat(docComments(t, 3000), slices.Repeat(slices.Sorted(maps.Values(scripts)), 20))
	trainOnce.Do(func() { trainDone, trainErr = train(python, object{"texts": texts, "kinds": modelKinds}) })
	require.NoError(t, trainErr)
	require.Contains(t, trainDone, kind)
	return trainDone[kind]
}

// train runs testdata/train.py, which says what a request holds.
func train(python string, request object) (map[string]string, error) {
	in, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(python, "testdata/train.py")
	cmd.Stdin = bytes.NewReader(in)
	var faults bytes.Buffer
	cmd.Stderr = &faults
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("testdata/train.py: %w: %s", err, faults.Bytes())
	}
	done := map[string]string{}
	return done, json.Unmarshal(out, &done)
}

var modelKinds = []string{
	"bytelevel", "bytelevel_gaps", "bytelevel_suffix", "metaspace_bpe", "words_bpe", "plain_bpe", "unigram", "unigram_bytes",
	"unigram_nfkc", "unigram_folded", "unigram_rules",
}

// altered changes the model of a tokenizer.json, and leaves nothing but it: the
// model gets whole texts, spelled in bytes' alphabet if byteLevel is set.
func altered(t testing.TB, file string, byteLevel bool, change object) string {
	t.Helper()
	var f, m object
	require.NoError(t, json.Unmarshal([]byte(file), &f))
	m = f["model"].(object)
	maps.Copy(m, change)
	if m["type"] == nil {
		delete(m, "type")
	}
	f["normalizer"], f["pre_tokenizer"], f["post_processor"], f["decoder"] = nil, nil, nil, nil
	f["added_tokens"] = []object{}
	if byteLevel {
		f["pre_tokenizer"] = object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}
	}
	out, err := json.Marshal(f)
	require.NoError(t, err)
	return string(out)
}

// pieces makes texts as a model may get them: words, text of whatever kind, and
// long ones.
func (g *textMaker) pieces(n int, words []string) []string {
	var out []string
	for range n {
		switch g.IntN(6) {
		case 0:
			out = append(out, g.text())
		case 1: // few letters, many merges
			var b strings.Builder
			letters := []string{"a", "e", "s", "t", " ", "é", "の", "=", "▁", "the"}
			for range 1 + g.IntN(30) {
				b.WriteString(letters[g.IntN(1+g.IntN(len(letters)))])
			}
			out = append(out, b.String())
		case 2:
			word := words[g.IntN(len(words))]
			out = append(out, word, " "+word, "▁"+word)
		case 3:
			out = append(out, g.mutate(words[g.IntN(len(words))]))
		case 4: // a sentence with metaspaces
			var b strings.Builder
			for range g.IntN(12) {
				b.WriteString([]string{"▁", "▁▁", " ", ""}[g.IntN(4)] + words[g.IntN(len(words))])
			}
			out = append(out, b.String())
		default:
			w := words[g.IntN(len(words))] + words[g.IntN(len(words))]
			out = append(out, w[:g.IntN(len(w)+1)])
		}
	}
	for i, s := range out {
		out[i] = strings.ToValidUTF8(s, "\ufffd")
	}
	return out
}

func someWords(t testing.TB) []string {
	words := map[string]bool{}
	for _, s := range slices.Concat(docComments(t, 3000), slices.Collect(maps.Values(scripts))) {
		for _, w := range strings.Fields(s) {
			words[w] = true
		}
	}
	return slices.Sorted(maps.Keys(words))
}

// compareModel holds a model to the library's on pieces that hold no spaces at
// which anything would be cut.
func compareModel(t *testing.T, o *oracle, file string, byteLevel bool, texts []string) {
	t.Helper()
	m, err := tokenize.ParseModel([]byte(file), byteLevel)
	require.NoError(t, err)
	r := request{JSON: file, Texts: texts}
	a := o.ask(t, r)
	require.Empty(t, a.Error)
	bad := 0
	for i, e := range a.encodings(r) {
		ids, starts, ends := m.Tokens(texts[i])
		for range 2 { // the second time from the cache
			if got := m.IDs(texts[i]); !slices.Equal(got, e.IDs) {
				t.Errorf("%+q: ids\n ours   %v\n theirs %v", texts[i], got, e.IDs)
				bad++
			}
		}
		var offsets [][2]int32
		for k := range starts {
			offsets = append(offsets, wholeChars(texts[i], starts[k], ends[k]))
		}
		if !slices.Equal(ids, e.IDs) || !slices.Equal(offsets, e.Offsets) {
			t.Errorf("%+q: tokens\n ours   %v %v\n theirs %v %v", texts[i], ids, offsets, e.IDs, e.Offsets)
			bad++
		}
		if bad > 5 {
			t.Fatal("and more")
		}
	}
}

// wholeChars widens a range to whole characters.
func wholeChars(s string, lo, hi int32) [2]int32 {
	for lo > 0 && !utf8.RuneStart(s[lo]) {
		lo--
	}
	for int(hi) < len(s) && !utf8.RuneStart(s[hi]) {
		hi++
	}
	return [2]int32{lo, hi}
}

// modelVariants are trained models and what else their files may say.
func modelVariants() []modelVariant {
	return []modelVariant{
		{"bytelevel", true, nil},
		{"bytelevel", true, object{"ignore_merges": true}},
		{"bytelevel_gaps", true, nil},
		{"bytelevel_gaps", true, object{"byte_fallback": true}},
		{"bytelevel_gaps", true, object{"unk_token": "the"}},
		{"bytelevel_gaps", true, object{"unk_token": "the", "fuse_unk": true}},
		{"bytelevel_suffix", true, nil},
		{"metaspace_bpe", false, nil},
		{"metaspace_bpe", false, object{"ignore_merges": true, "fuse_unk": nil, "dropout": 0.0}},
		{"metaspace_bpe", false, object{"byte_fallback": false}},
		{"metaspace_bpe", false, object{"byte_fallback": false, "fuse_unk": false}},
		{"metaspace_bpe", false, object{"unk_token": nil}},
		{"words_bpe", false, nil},
		{"words_bpe", false, object{"end_of_word_suffix": "e"}},
		{"words_bpe", false, object{"fuse_unk": true}},
		{"words_bpe", false, object{"type": nil}},
		{"plain_bpe", false, nil},
		{"plain_bpe", false, object{"unk_token": "e"}},
		{"unigram", false, nil},
		{"unigram", false, object{"byte_fallback": true}},
		{"unigram", false, object{"unk_id": 100}},
		{"unigram_bytes", false, nil},
		{"unigram_bytes", false, object{"type": nil}},
	}
}

type modelVariant struct {
	kind      string
	byteLevel bool
	change    object
}

func TestModels(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	n := 2000
	if soak {
		n = 100_000
	}
	words := someWords(t)
	for i, v := range modelVariants() {
		t.Run(fmt.Sprint(v.kind, v.change), func(t *testing.T) {
			file := altered(t, trained(t, v.kind), v.byteLevel, v.change)
			g := newTextMaker(uint64(i))
			for left := n; left > 0; left -= 10_000 {
				compareModel(t, o, file, v.byteLevel, slices.Concat(awkward(), g.pieces(min(left, 10_000), words)))
			}
		})
	}
}

// TestLibraryFloat compares the scores that both sides read.
func TestLibraryFloat(t *testing.T) {
	for lit, want := range map[string]float64{
		"-14.731149563078013": -14.731149563078011, "9.265066237858661e-05": 9.26506623785866e-05,
		"-17.466304711993058567": -17.46630471199306, "2.797498408384236e-18": 2.7974984083842362e-18,
		"-0.55708750826147354E51": -5.5708750826147345e+50, "-8.61406136155942544E-243": -8.614061361559425e-243,
		"0": 0, "-0.0": 0, "-3": -3, "1e2": 100, "12345678901234567890123": 12345678901234567890123, "1e-400": 0,
		"-17.4226907236418054": -17.422690723641804, "-9.66167855362616570E-25": -9.661678553626165e-25,
	} {
		got, err := tokenize.LibraryFloat(lit)
		require.NoError(t, err)
		require.InDelta(t, want, got, 0, lit)
	}
	for _, lit := range []string{"", "x", "1e400", "null", `"1"`} {
		_, err := tokenize.LibraryFloat(lit)
		require.Error(t, err, lit)
	}
}

func TestByteAlphabet(t *testing.T) {
	for b := range 256 {
		raw := string([]byte{byte(b)})
		back, ok := tokenize.FromAlphabet(tokenize.ToAlphabet(raw))
		require.True(t, ok)
		require.Equal(t, raw, back)
	}
	require.Equal(t, "Ġa!ĊÃ©ĠÂŃ", tokenize.ToAlphabet(" a!\né \u00ad"))
	for _, s := range []string{" ", "a b", "\n", "\u00ad", "▁", "\u0144"} {
		_, ok := tokenize.FromAlphabet(s)
		require.False(t, ok, "%q", s)
	}
}
