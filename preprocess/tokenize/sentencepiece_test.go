package tokenize_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/preprocess/tokenize"
)

// modelFiles are arguments of SentencePiece's trainer, by name.
func modelFiles() map[string]object {
	out := map[string]object{}
	for _, kind := range []string{"unigram", "bpe"} {
		for name, more := range map[string]object{
			"":            {},
			" bytes":      {"byte_fallback": true, "normalization_rule_name": "identity"},
			" folded":     {"normalization_rule_name": "nmt_nfkc_cf"},
			" no dummy":   {"add_dummy_prefix": false},
			" all spaces": {"remove_extra_whitespaces": false, "normalization_rule_name": "nfkc"},
			" symbols":    {"user_defined_symbols": []string{"<sep>", "ing", "日は", "\n", "e v", "Ａ"}, "byte_fallback": true, "remove_extra_whitespaces": false},
			" across":     {"split_by_whitespace": false, "split_by_unicode_script": false, "split_digits": true},
		} {
			args := object{"model_type": kind, "vocab_size": 900, "character_coverage": 0.99, "hard_vocab_limit": false}
			maps.Copy(args, more)
			out[kind+name] = args
		}
	}
	return out
}

// makeModel trains a .model file.
func (o *oracle) makeModel(t testing.TB, args object, texts []string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.model")
	require.Empty(t, o.ask(t, request{Model: file, Train: args, Texts: texts}).Error)
	return file
}

// comparePieces holds ids to SentencePiece's, and both of our ways to each other.
func comparePieces(t *testing.T, o *oracle, tok *tokenize.Tokenizer, file string, texts []string) {
	t.Helper()
	a := o.ask(t, request{Model: file, Texts: texts})
	require.Empty(t, a.Error)
	at, bad := 0, 0
	for i, n := range a.Counts {
		want := a.IDs[at : at+int(n)]
		at += int(n)
		e := tok.Encode(texts[i])
		if got := tok.AppendIDs(nil, texts[i]); !slices.Equal(got, want) || !slices.Equal(e.IDs, want) {
			t.Errorf("%+q\n ours   %v\n ours   %v\n theirs %v", texts[i], got, e.IDs, want)
			bad++
		}
		for _, span := range e.Offsets {
			require.True(t, span[0] >= 0 && span[0] <= span[1] && int(span[1]) <= len(texts[i]), "%q: %v", texts[i], e.Offsets)
		}
		if bad > 3 {
			t.Fatal("and more")
		}
	}
}

func TestSentencePiece(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	n := 150
	if soak {
		n = 60_000
	}
	words := someWords(t)
	corpus := slices.Concat(docComments(t, 600), slices.Repeat(slices.Sorted(maps.Values(scripts)), 10))
	all := modelFiles()
	for i, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			file := o.makeModel(t, all[name], corpus)
			tok, err := tokenize.Open(file)
			require.NoError(t, err)
			g := newTextMaker(uint64(i))
			texts := slices.Concat(brief(), docComments(t, 100), splitTexts(uint64(i), n), g.pieces(n, words), []string{
				"a<sep>b <sep>", "singing  ing", "日は日は", " e v e v", "AＡa", "\n\n a \n", "  two   spaces  ", "\u200b", " \u200b ", "▁a ▁", "<s></s><unk>",
			})
			for k := range texts {
				texts[k] = strings.ReplaceAll(strings.ToValidUTF8(texts[k], "?"), "\x00", "")
			}
			comparePieces(t, o, tok, file, texts)
		})
	}
}

func TestSentencePieceEnds(t *testing.T) {
	o := newOracle(t)
	file := o.makeModel(t, object{"vocab_size": 60, "hard_vocab_limit": false, "pad_id": 3}, []string{"a few words to learn from", "and a few more of them"})
	bare, err := tokenize.Open(file)
	require.NoError(t, err)
	require.Equal(t, int32(3), bare.PadID())
	ids := bare.AppendIDs(nil, "a few")
	tok, err := tokenize.FromSentencePiece(file, tokenize.SentencePieceConfig{Begin: true, End: true})
	require.NoError(t, err)
	whole := slices.Concat([]int32{1}, ids, []int32{2})
	require.Equal(t, whole, tok.AppendIDs(nil, "a few"))
	pair, err := tok.EncodePair("a few", "a few")
	require.NoError(t, err)
	require.Equal(t, slices.Concat(whole, whole), pair.IDs)

}

// What goes round a text of a folder with a .model file alone is what its settings say, else
// what transformers' tokenizer of that class puts there.
func TestSentencePieceEndsOfAFolder(t *testing.T) {
	o := newOracle(t)
	file := o.makeModel(t, object{"vocab_size": 60, "hard_vocab_limit": false, "pad_id": 3}, []string{"a few words to learn from", "and a few more of them"})
	bare, err := tokenize.Open(file)
	require.NoError(t, err)
	ids := bare.AppendIDs(nil, "a few")
	begin, end, both := slices.Concat([]int32{1}, ids), slices.Concat(ids, []int32{2}), slices.Concat([]int32{1}, ids, []int32{2})
	for _, c := range []struct {
		settings, config string
		want             []int32 // nil: refused
	}{
		{`{"add_bos_token": true, "add_eos_token": false}`, "", begin},
		{`{"add_bos_token": false, "add_eos_token": false}`, "", ids},
		{`{"add_bos_token": true, "add_eos_token": true, "tokenizer_class": "T5Tokenizer"}`, "", both},
		{`{"tokenizer_class": "LlamaTokenizer"}`, "", begin},
		{`{"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": null, "add_eos_token": true}`, "", both},
		{`{"tokenizer_class": "LlamaTokenizer", "add_bos_token": false}`, "", ids},
		{`{"tokenizer_class": "GemmaTokenizer"}`, "", begin},
		{`{"tokenizer_class": "T5Tokenizer"}`, `{"model_type": "llama"}`, end},
		{`{"tokenizer_class": "MT5Tokenizer"}`, "", end},
		{`{}`, `{"model_type": "mistral"}`, begin},
		{"", `{"model_type": "t5"}`, end},
		{`{"tokenizer_class": "AlbertTokenizer"}`, `{"model_type": "albert"}`, nil},
		{`{"add_bos_token": true}`, `{"model_type": "new"}`, nil},
		{"", "", nil},
	} {
		for _, name := range []string{"tokenizer.model", "spiece.model"} {
			dir := t.TempDir()
			require.NoError(t, os.Link(file, filepath.Join(dir, name)))
			for file, text := range map[string]string{"tokenizer_config.json": c.settings, "config.json": c.config} {
				if text != "" {
					require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
				}
			}
			tok, err := tokenize.Open(dir)
			if c.want == nil {
				require.ErrorContains(t, err, "add_bos_token", "%s %s", c.settings, c.config)
				continue
			}
			require.NoError(t, err, "%s %s", c.settings, c.config)
			require.Equal(t, c.want, tok.AppendIDs(nil, "a few"), "%s %s", c.settings, c.config)
			require.Equal(t, int32(3), tok.PadID())
		}
	}
}

func TestSentencePieceRefused(t *testing.T) {
	o := newOracle(t)
	texts := []string{"a few words to learn from", "and a few more of them"}
	for want, args := range map[string]object{
		"SentencePiece of kind 3":    {"model_type": "word"},
		"SentencePiece of kind 4":    {"model_type": "char"},
		"treat_whitespace_as_suffix": {"treat_whitespace_as_suffix": true},
	} {
		args["vocab_size"], args["hard_vocab_limit"] = 60, false
		_, err := tokenize.Open(o.makeModel(t, args, texts))
		var u *tokenize.UnsupportedError
		require.ErrorAs(t, err, &u)
		require.ErrorContains(t, err, want)
	}
	for text, want := range map[string]string{
		"": "there are no pieces", "{}": "protocol buffer is broken", "\x0a\x03\x0a\x01a": "no piece is the unknown one",
	} {
		file := filepath.Join(t.TempDir(), "b.model")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		_, err := tokenize.Open(file)
		require.ErrorContains(t, err, want)
	}
}

const piecesFile = "testdata/pieces.json"

// goldenPieces is a small .model and what SentencePiece makes of texts.
type goldenPieces struct {
	Library string
	Model   []byte
	Texts   []string
	IDs     [][]int32
}

// TestGoldenPieces needs no Python.
func TestGoldenPieces(t *testing.T) {
	if *update {
		writePieces(t)
	}
	data, err := os.ReadFile(piecesFile)
	require.NoError(t, err)
	var all map[string]goldenPieces
	require.NoError(t, json.Unmarshal(data, &all))
	require.Len(t, all, 2)
	for name, g := range all {
		file := filepath.Join(t.TempDir(), "a.model")
		require.NoError(t, os.WriteFile(file, g.Model, 0o644))
		tok, err := tokenize.Open(file)
		require.NoError(t, err)
		for i, s := range g.Texts {
			require.Equal(t, g.IDs[i], append([]int32{}, tok.AppendIDs(nil, s)...), "%s: %q", name, s)
		}
	}
}

func writePieces(t *testing.T) {
	o := newOracle(t)
	rules := filepath.Join(t.TempDir(), "rules.tsv")
	require.NoError(t, os.WriteFile(rules, []byte("3000\t20\nFB01\t66 69\n65 301\tE9\nBD\t31 2F 32\n200B\t\nFF76 FF9E\t30AC\n9\t20\n"), 0o644))
	out := map[string]goldenPieces{}
	for name, args := range map[string]object{
		"unigram": {"model_type": "unigram", "user_defined_symbols": []string{"<sep>"}, "normalization_rule_tsv": rules},
		"bpe":     {"model_type": "bpe", "byte_fallback": true, "character_coverage": 0.98, "normalization_rule_tsv": rules},
	} {
		args["vocab_size"], args["hard_vocab_limit"] = 400, false
		file := o.makeModel(t, args, fewTexts())
		g := goldenPieces{Library: sentencePieceVersion(t)}
		var err error
		g.Model, err = os.ReadFile(file)
		require.NoError(t, err)
		for _, s := range awkward() {
			if len(s) < 100 && !strings.Contains(s, "\x00") {
				g.Texts = append(g.Texts, s)
			}
		}
		g.Texts = append(g.Texts, "a<sep>b", "  two   spaces  ", "\u200b")
		a := o.ask(t, request{Model: file, Texts: g.Texts})
		require.Empty(t, a.Error)
		at := 0
		for _, n := range a.Counts {
			g.IDs = append(g.IDs, append([]int32{}, a.IDs[at:at+int(n)]...))
			at += int(n)
		}
		out[name] = g
	}
	data, err := json.Marshal(out)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(piecesFile, append(data, '\n'), 0o644))
}

func sentencePieceVersion(t *testing.T) string {
	return fmt.Sprint("sentencepiece ", pythonVersion(t, "sentencepiece"))
}
