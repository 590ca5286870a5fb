package tokenize_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/preprocess/tokenize"
)

func bertVariant() variant {
	return variant{
		norm: bertNorm(true, true, true, nil), pre: bertPre,
		post:  templated("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:. [SEP]:."),
		added: []object{{"content": "[CLS]", "special": true}, {"content": "[MASK]", "special": true}, {"content": "<new>"}},
	}
}

func TestAccessors(t *testing.T) {
	tok := bertVariant().request(t).open(t)
	vocab := 0
	for id := int32(0); ; id++ {
		name, ok := tok.IDToToken(id)
		if !ok {
			break
		}
		back, ok := tok.TokenToID(name)
		require.True(t, ok)
		require.Equal(t, id, back, name)
		vocab++
	}
	require.Equal(t, tok.VocabSize(), vocab)
	id, ok := tok.TokenToID("<new>")
	require.True(t, ok)
	require.Equal(t, int32(vocab-1), id)
	for _, name := range []string{"", "no such token", "run ", "ru"} {
		_, ok = tok.TokenToID(name)
		require.False(t, ok, name)
	}
	_, ok = tok.IDToToken(-1)
	require.False(t, ok)
	require.Equal(t, int32(0), tok.PadID())
	require.Zero(t, tok.MaxTokens())
}

func TestPaddingOfTheFile(t *testing.T) {
	r := bertVariant().request(t)
	r.JSON = strings.Replace(r.JSON, `"padding":null`, `"padding":{"strategy":"BatchLongest","pad_id":4,"pad_token":"[MASK]"}`, 1)
	tok := r.open(t)
	require.Equal(t, int32(4), tok.PadID())
	require.Zero(t, tok.PadTypeID())
	require.Equal(t, tokenize.Right, tok.PadDirection())
	left := strings.Replace(r.JSON, `"pad_id":4`, `"pad_id":4,"pad_type_id":3,"direction":"Left"`, 1)
	tok, err := tokenize.Parse([]byte(left))
	require.NoError(t, err)
	require.Equal(t, int32(3), tok.PadTypeID())
	require.Equal(t, tokenize.Left, tok.PadDirection())
	_, err = tokenize.Parse([]byte(strings.Replace(left, `"pad_type_id":3`, `"pad_type_id":-3`, 1)))
	require.ErrorContains(t, err, "padding: type id -3 is out of range")
	_, err = tokenize.Parse([]byte(strings.Replace(left, "Left", "left", 1)))
	require.ErrorContains(t, err, `direction "left" is unknown`)
}

func TestWithDoesNotTouchTheOriginal(t *testing.T) {
	tok := bertVariant().request(t).open(t)
	text := "the day the run the day"
	whole := tok.AppendIDs(nil, text)
	cut, err := tok.With(tokenize.Config{MaxTokens: 4})
	require.NoError(t, err)
	require.Equal(t, 4, cut.MaxTokens())
	require.Equal(t, []int32{2, whole[1], whole[2], 3}, cut.AppendIDs(nil, text))
	left, err := cut.With(tokenize.Config{TruncationDirection: tokenize.Left, NoSpecialTokens: true})
	require.NoError(t, err)
	require.Equal(t, whole[3:7], left.AppendIDs(nil, text))
	back, err := left.With(tokenize.Config{MaxTokens: tokenize.Unlimited})
	require.NoError(t, err)
	require.Equal(t, whole, back.AppendIDs(nil, text))
	require.Equal(t, whole, tok.AppendIDs(nil, text))
}

func TestLimits(t *testing.T) {
	tok := bertVariant().request(t).open(t)
	_, err := tok.With(tokenize.Config{MaxTokens: 1})
	require.ErrorContains(t, err, "no room for the 2 special")
	two, err := tok.With(tokenize.Config{MaxTokens: 2})
	require.NoError(t, err)
	require.Equal(t, []int32{2, 3}, two.AppendIDs(nil, "the day"))
	_, err = two.EncodePair("a", "b")
	require.ErrorContains(t, err, "no room for the 3 special")
	first, err := tok.With(tokenize.Config{MaxTokens: 5, TruncationStrategy: tokenize.OnlyFirst})
	require.NoError(t, err)
	_, err = first.EncodePair("a", "b b b b b")
	require.ErrorIs(t, err, tokenize.ErrNotTruncated)
	second, err := tok.With(tokenize.Config{MaxTokens: 4, TruncationStrategy: tokenize.OnlySecond})
	require.NoError(t, err)
	require.Len(t, second.AppendIDs(nil, "a b c d e f"), 4)
}

func TestAppendIDsKeepsWhatIsThere(t *testing.T) {
	tok := bertVariant().request(t).open(t)
	for _, text := range []string{"the day", "e\u0301te\u0301 \u302e\u302f", "<new> a", "\xff a [MASK]", ""} {
		ids := tok.AppendIDs(nil, text)
		require.Equal(t, append([]int32{7, 8}, ids...), tok.AppendIDs([]int32{7, 8}, text), "%q", text)
		require.Equal(t, ids, tok.AppendIDsBytes(nil, []byte(text)), "%q", text)
	}
}

func TestConcurrentUse(t *testing.T) {
	tok := bertVariant().request(t).open(t)
	texts := awkward()
	var want [][]int32
	for _, s := range texts {
		want = append(want, tok.AppendIDs(nil, s))
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i, s := range texts {
				if !slices.Equal(want[i], tok.AppendIDs(nil, s)) || !slices.Equal(want[i], tok.Encode(s).IDs) {
					t.Errorf("%q differs", s)
				}
			}
		})
	}
	group.Wait()
}

func TestUnsupportedIsNamed(t *testing.T) {
	for _, c := range []struct {
		part, kind string
		v          variant
	}{
		{"model", "BPE with dropout", variant{model: object{"type": "BPE", "merges": []string{}, "dropout": 0.1}}},
		{"model", "Characters", variant{model: object{"type": "Characters"}}},
		{"model", "(no type)", variant{model: object{"type": nil, "unk_token": nil, "continuing_subword_prefix": nil}}},
		{"normalizer", "Casefold", variant{norm: sequence("normalizers", object{"type": "NFC"}, object{"type": "Casefold"})}},
		{"normalizer", `Replace of "(a)\\1": pattern: \1`, variant{norm: replacingRegex(`(a)\1`, "")}},
		{"normalizer", `Replace of "a*": pattern: it matches nothing at all`, variant{norm: replacingRegex("a*", "")}},
		{"normalizer", "Replace of nothing", variant{norm: replacing("", "a")}},
		{"normalizer", "Prepend of nothing", variant{norm: object{"type": "Prepend", "prepend": ""}}},
		{"pre_tokenizer", "UnicodeScripts", variant{pre: sequence("pretokenizers", bertPre, object{"type": "UnicodeScripts"})}},
		{"pre_tokenizer", `Split by "\\X": pattern: \X`, variant{pre: splitBy("Regex", `\X`, "Isolated", false)}},
		{"post_processor", "Tail", variant{post: sequence("processors", object{"type": "Tail"})}},
	} {
		_, err := tokenize.Parse([]byte(c.v.request(t).JSON))
		var u *tokenize.UnsupportedError
		require.ErrorAs(t, err, &u, c.kind)
		require.Equal(t, c.part, u.Part)
		require.Equal(t, c.kind, u.Kind)
		require.ErrorContains(t, err, strconv.Quote(c.kind))
	}
}

func TestBrokenFilesAreRefused(t *testing.T) {
	whole := bertVariant()
	for name, v := range map[string]variant{
		"lacks the unk_token":      {model: object{"unk_token": "<none>"}},
		"out of range":             {model: object{"vocab": object{"[UNK]": 1 << 40}}},
		"is missing":               {norm: object{"type": "BertNormalizer", "clean_text": true}},
		"strip_left is missing":    {norm: object{"type": "Strip", "strip_left": nil, "strip_right": true}},
		"special_tokens lacks":     {post: templated("[CLS] $A [WHAT]", "$A $B")},
		"second sequence in it":    {post: templated("$A $B", "$A $B")},
		"can't follow another":     {post: sequence("processors", whole.post, whole.post)},
		"sequence \"C\"":           {post: templated("$C", "$A $B")},
		"form is empty":            {norm: bertNorm(true, true, true, nil), added: []object{{"content": "\u0301", "normalized": true}}},
		"strategy \"Shortest\"":    {truncate: object{"max_length": 3, "strategy": "Shortest"}},
		"no room for the 2":        {post: whole.post, truncate: object{"max_length": 1, "strategy": "LongestFirst"}},
		"behavior \"Glued\"":       {pre: object{"type": "Punctuation", "behavior": "Glued"}},
		"max_input_chars_per_word": {model: object{"max_input_chars_per_word": nil}},
		"precompiled_charsmap is":  {norm: object{"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
		"is not one character":     {pre: metaspaced("__", "always", true)},
		"prepend_scheme \"last\"":  {pre: metaspaced("_", "last", true)},
		"length is 0":              {pre: object{"type": "FixedLength", "length": 0}},
		"neither a String nor":     {pre: splitBy("Glob", "*", "Isolated", false)},
		"invert is missing":        {pre: object{"type": "Split", "pattern": object{"String": "a"}, "behavior": "Isolated"}},
		"a token and its id":       {post: object{"type": "BertProcessing", "cls": []any{"[CLS]"}, "sep": []any{"[SEP]", 3}}},
	} {
		_, err := tokenize.Parse([]byte(v.request(t).JSON))
		require.ErrorContains(t, err, name)
	}
	for text, want := range map[string]string{
		"": "unexpected end", "{}": "model is missing", "[1]": "cannot unmarshal", "\"\xff\"": "not UTF-8", "{\n\n!}": "line 3", `{"version":"2.0","model":{}}`: `"2.0"`,
	} {
		_, err := tokenize.Parse([]byte(text))
		require.ErrorContains(t, err, want)
	}
	deep := strings.Repeat(`{"type":"Sequence","normalizers":[`, 100) + strings.Repeat("]}", 100)
	_, err := tokenize.Parse([]byte(strings.Replace(whole.request(t).JSON, `"normalizer":`, `"normalizer":`+deep+`,"was":`, 1)))
	require.ErrorContains(t, err, "nest deeper")
}

func TestOpenAFolder(t *testing.T) {
	dir := t.TempDir()
	_, err := tokenize.Open(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = tokenize.Open(dir)
	require.ErrorContains(t, err, "neither tokenizer.json nor vocab.txt")

	vocab := strings.Join(smallVocab(), "\n") + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "vocab.txt"), []byte(vocab), 0o644))
	tok, err := tokenize.Open(dir)
	require.NoError(t, err)
	require.Equal(t, []int32{2, 5, 9, 3}, tok.AppendIDs(nil, "THE day"))

	config := `{"do_lower_case": false, "cls_token": {"content": "[MASK]"}, "sep_token": "[PAD]"}`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(config), 0o644))
	tok, err = tokenize.Open(dir)
	require.NoError(t, err)
	ids := tok.AppendIDs(nil, "THE the")
	require.Equal(t, []int32{4, ids[1], ids[2], ids[3], 5, 0}, ids)

	data := bertVariant().request(t).JSON
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(data), 0o644))
	tok, err = tokenize.Open(dir)
	require.NoError(t, err)
	require.Equal(t, []int32{2, 5, 9, 3}, tok.AppendIDs(nil, "THE day"))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte("{"), 0o644))
	_, err = tokenize.Open(dir)
	require.ErrorContains(t, err, filepath.Join(dir, "tokenizer.json"))
}

func TestFromVocab(t *testing.T) {
	o := newOracle(t)
	file := filepath.Join(t.TempDir(), "vocab.txt")
	oneLine := func(w string) bool { return strings.ContainsAny(w, "\r\n") }
	words := append(slices.DeleteFunc(smallVocab(), oneLine), "the", "tail \t")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(words, "\r\n")), 0o644))
	yes, no := true, false
	for _, c := range []struct {
		cfg  tokenize.VocabConfig
		norm object
	}{
		{tokenize.VocabConfig{}, bertNorm(true, true, true, nil)},
		{tokenize.VocabConfig{Cased: true}, bertNorm(true, true, false, nil)},
		{tokenize.VocabConfig{Cased: true, StripAccents: &yes, HanTogether: true}, bertNorm(true, false, false, true)},
		{tokenize.VocabConfig{StripAccents: &no}, bertNorm(true, true, true, false)},
	} {
		tok, err := tokenize.FromVocab(file, c.cfg)
		require.NoError(t, err)
		vocab := object{}
		for i, w := range words {
			vocab[strings.TrimSpace(w)] = i
		}
		v := variant{norm: c.norm, pre: bertPre, model: object{"vocab": vocab}, post: clsSep("BertProcessing")}
		for _, name := range []string{"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"} {
			v.added = append(v.added, object{"content": name, "special": true})
		}
		r := v.request(t)
		r.Texts = awkward()
		o.compare(t, tok, r)
	}
	require.NoError(t, os.WriteFile(file, []byte("a\nb\n"), 0o644))
	_, err := tokenize.FromVocab(file, tokenize.VocabConfig{})
	require.ErrorContains(t, err, `lacks the special token "[UNK]"`)
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's pools drop what is put in them")
	}
	tok := bertVariant().request(t).open(t)
	ids := make([]int32, 0, 1000)
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		text := scripts[name] + " [MASK]"
		require.Zero(t, testing.AllocsPerRun(20, func() { ids = tok.AppendIDs(ids[:0], text) }), name)
	}
}

// fuzzed is a tokenizer and the same under a limit.
type fuzzed struct{ whole, cut *tokenize.Tokenizer }

func FuzzTokenizer(f *testing.F) {
	all := goldenVariants()
	var toks []fuzzed
	for _, name := range []string{
		"bert clean=true han=true lower=true strip=<nil>", "bert clean=false han=true lower=true strip=false", "all normalizers",
		"whitespace", "punctuation MergedWithPrevious", "digits false", "other prefix", "added mixed", "added 15", "post 2 pre=false",
	} {
		v, ok := all[name]
		require.True(f, ok, name)
		whole := v.request(f).open(f)
		cut, err := whole.With(tokenize.Config{MaxTokens: 8})
		require.NoError(f, err)
		toks = append(toks, fuzzed{whole, cut})
	}
	for _, s := range awkward() {
		if len(s) < 100 {
			f.Add(s)
		}
	}
	f.Add("\xff\xe4\xb8 [MASK]\xf0\x9f")
	f.Fuzz(func(t *testing.T, text string) {
		for _, tok := range toks {
			tok.check(t, text)
		}
	})
}

// check holds what is true of every encoding.
func (z fuzzed) check(t *testing.T, text string) {
	e := z.whole.Encode(text)
	if !slices.Equal(e.IDs, z.whole.AppendIDs(nil, text)) {
		t.Fatalf("%q: AppendIDs and Encode differ", text)
	}
	for i, o := range e.Offsets {
		if o[0] < 0 || o[0] > o[1] || int(o[1]) > len(text) {
			t.Fatalf("%q: token %d has offsets %v", text, i, o)
		}
		if _, ok := z.whole.IDToToken(e.IDs[i]); !ok {
			t.Fatalf("%q: token %d has the unknown id %d", text, i, e.IDs[i])
		}
	}
	if n := len(z.cut.AppendIDs(nil, text)); n != min(len(e.IDs), 8) {
		t.Fatalf("%q: %d ids under a limit of 8, %d without", text, n, len(e.IDs))
	}
	pair, err := z.cut.EncodePair(text, text)
	if err != nil || len(pair.IDs) > 8 {
		t.Fatalf("%q: a pair has %d ids under a limit of 8: %v", text, len(pair.IDs), err)
	}
}

func FuzzParse(f *testing.F) {
	small := object{"vocab": object{"[UNK]": 0, "a": 1, "##a": 2, "é": 3}}
	for _, v := range slices.Concat(bertVariants()[:3], splitVariants(), addedVariants()[:4], postVariants()) {
		if v.model == nil {
			v.model = small
		}
		f.Add([]byte(v.request(f).JSON))
	}
	f.Add([]byte(`{"model":{"type":"BPE"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := tokenize.Parse(data)
		if err != nil {
			if strings.HasPrefix(err.Error(), "tokenize: ") {
				return
			}
			t.Fatalf("an error without its package: %v", err)
		}
		for _, text := range []string{"", "aa é\u0301 a[MASK]", "\xff\u4e2d\ufb01 <T>ing  "} {
			e := tok.Encode(text)
			if !slices.Equal(e.IDs, tok.AppendIDs(nil, text)) {
				t.Fatalf("%q: AppendIDs and Encode differ", text)
			}
			_, _ = tok.EncodePair(text, "a a")
		}
		if !json.Valid(data) {
			t.Fatal("a file that isn't JSON was read")
		}
	})
}
