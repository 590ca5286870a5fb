package tokenize_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/preprocess/tokenize"
)

func clsSep(kind string, more ...any) object {
	o := object{"type": kind, "cls": []any{"[CLS]", 2}, "sep": []any{"[SEP]", 3}}
	for i := 0; i < len(more); i += 2 {
		o[more[i].(string)] = more[i+1]
	}
	return o
}

func roberta(trim, space bool) object {
	return clsSep("RobertaProcessing", "trim_offsets", trim, "add_prefix_space", space)
}

// templated writes a template as the library's documentation does: "$A" and
// "$B" are the texts, other names special tokens, ":1" sets the type id.
func templated(single, pair string) object {
	pieces := func(s string) []object {
		out := []object{}
		for _, f := range strings.Fields(s) {
			name, kind, _ := strings.Cut(f, ":")
			o := object{"id": strings.TrimPrefix(name, "$"), "type_id": len(kind)}
			if strings.HasPrefix(name, "$") {
				out = append(out, object{"Sequence": o})
			} else {
				out = append(out, object{"SpecialToken": o})
			}
		}
		return out
	}
	return object{
		"type": "TemplateProcessing", "single": pieces(single), "pair": pieces(pair),
		"special_tokens": object{
			"[CLS]": object{"id": "[CLS]", "ids": []int{2}, "tokens": []string{"[CLS]"}},
			"[SEP]": object{"id": "[SEP]", "ids": []int{3}, "tokens": []string{"[SEP]"}},
			"many":  object{"id": "many", "ids": []int{4, 0, 4}, "tokens": []string{"[MASK]", "[PAD]", "[MASK]"}},
			"none":  object{"id": "none", "ids": []int{}, "tokens": []string{}},
		},
	}
}

func postVariants() []variant {
	posts := []object{
		nil,
		clsSep("BertProcessing"),
		roberta(true, true), roberta(true, false), roberta(false, false),
		templated("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:. [SEP]:."),
		templated("$A", "$B:. $A"),
		templated("$A:. many $A [SEP]:...", "$A $A:. many:.. $B none"),
		templated("[CLS]", "[CLS] $B [CLS]:. $A"),
		sequence("processors"),
		sequence("processors", roberta(true, true), templated("[CLS] $A", "[CLS] $A $B:.")),
		sequence("processors", clsSep("BertProcessing"), roberta(true, true)),
		sequence("processors", templated("[CLS] $A", "$A [SEP]:. $B:."), clsSep("BertProcessing")),
	}
	var out []variant
	for i, p := range posts {
		for _, pre := range []object{bertPre, nil} {
			out = append(out, variant{
				name: fmt.Sprintf("post %d pre=%v", i, pre != nil), norm: object{"type": "Lowercase"}, pre: pre, post: p,
				added: []object{{"content": "<T>", "lstrip": true, "rstrip": true}, {"content": "Ġx"}, {"content": " \u00a0q "}},
			})
		}
	}
	return out
}

var pairs = [][2]string{
	{"", ""}, {"a", ""}, {"", "b"}, {"the day", "the run"}, {"a b c d e f g", "h i"}, {"h i", "a b c d e f g"},
	{"a b c d e f", "g h i j k l"}, {"a b c d e f g", "h i j k l m n o"}, {"  <T>  a <T> b", "Ġx  é \u00a0q <T>"},
	{"中文 été", "Où ça <T>"}, {"\u00a0 q a", " a <T>"}, {"é <T>", "\u3000<T>\u3000\u3000b"},
}

func TestPostProcessors(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	for i, v := range postVariants() {
		t.Run(v.name, func(t *testing.T) {
			for _, special := range []bool{true, false} {
				r := v.request(t)
				r.Special = special
				tok := r.open(t)
				r.Texts = append(awkward(), addedTexts(uint64(i), 100)...)
				for _, p := range pairs {
					r.Texts = append(r.Texts, p[0], p[1])
				}
				o.compare(t, tok, r)
				r.Texts, r.Pairs = nil, pairs
				o.compare(t, tok, r)
			}
		})
	}
}

func TestTruncation(t *testing.T) {
	oneGoroutine(t)
	o := newOracle(t)
	for _, v := range []variant{
		{name: "bert", norm: bertNorm(true, true, true, nil), pre: bertPre, post: clsSep("BertProcessing")},
		{name: "roberta", pre: bertPre, post: roberta(true, true), added: []object{{"content": "<T>", "rstrip": true}}},
		{name: "bare", pre: spacePre},
	} {
		for strategy := range strategies {
			for _, direction := range []string{"left", "right"} {
				for limit := 1; limit <= 14; limit++ {
					r := v.request(t)
					r.Max, r.Strategy, r.Direction = limit, strategy, direction
					name := fmt.Sprint(v.name, " ", strategy, " ", direction, " ", limit)
					t.Run(name, func(t *testing.T) { truncated(t, o, r) })
				}
			}
		}
	}
}

// truncated compares pairs and single texts under a limit, faults included.
func truncated(t *testing.T, o *oracle, r request) {
	tok, err := tokenize.Parse([]byte(r.JSON))
	require.NoError(t, err)
	dir := tokenize.Right
	if r.Direction == "left" {
		dir = tokenize.Left
	}
	tok, err = tok.With(tokenize.Config{
		MaxTokens: r.Max, TruncationStrategy: strategies[r.Strategy], TruncationDirection: dir,
	})
	if r.Max < 2 && err != nil {
		return // no room for special tokens: the library doesn't truncate at all
	}
	require.NoError(t, err)
	for _, p := range pairs {
		r.Pairs = [][2]string{p}
		theirs := o.ask(t, r)
		ours, err := tok.EncodePair(p[0], p[1])
		if err != nil && strings.Contains(err.Error(), "no room") {
			continue
		}
		if theirs.Error != "" {
			require.ErrorIs(t, err, tokenize.ErrNotTruncated, "%q: %s", p, theirs.Error)
			continue
		}
		require.NoError(t, err)
		require.Empty(t, difference(ours, theirs.encodings(r)[0]), "%q", p)
	}
	r.Pairs = nil
	for _, p := range pairs {
		if r.Strategy != "only_second" { // the library fails
			r.Texts = append(r.Texts, p[0], p[1])
		}
	}
	if r.Texts != nil {
		o.compare(t, tok, r)
	}
}

func TestFileTruncation(t *testing.T) {
	o := newOracle(t)
	for _, limit := range []object{
		{"max_length": 5, "strategy": "LongestFirst", "stride": 0},
		{"max_length": 5, "strategy": "LongestFirst", "stride": 2, "direction": "Left"},
		{"max_length": 3, "strategy": "OnlyFirst", "stride": 0, "direction": "Right"},
		{"max_length": 0, "strategy": "LongestFirst", "stride": 0},
	} {
		v := variant{pre: bertPre, truncate: limit}
		r := v.request(t)
		r.Texts = []string{"", "a b", "a b c d e f g h", "the running day"}
		o.compare(t, r.open(t), r)
	}
}

func TestInvalidUTF8(t *testing.T) {
	o := newOracle(t)
	g := newTextMaker(5)
	odd := []byte{0x80, 0xBF, 0xC0, 0xC3, 0xE0, 0xA0, 0xED, 0x9F, 0xE4, 0xB8, 0xF0, 0x90, 0x9F, 0x98, 0xF4, 0x8F, 0xF5, 0xFF, 'a', ' ', 'E'}
	var texts [][]byte
	for range 3000 {
		text := []byte{}
		for range g.IntN(12) {
			if g.IntN(4) == 0 {
				text = append(text, scraps[g.IntN(len(scraps))]...)
			}
			text = append(text, odd[g.IntN(len(odd))])
		}
		texts = append(texts, append(text, 'z')) // so that a text is longer than nothing
	}
	for _, v := range []variant{
		{name: "clean", norm: bertNorm(true, true, true, nil), pre: bertPre},
		{name: "as is", norm: bertNorm(false, true, true, nil), pre: bertPre},
		{name: "trimmed", pre: bertPre, post: roberta(true, false), added: []object{{"content": "a", "lstrip": true, "rstrip": true}}},
		{name: "added", norm: bertNorm(true, true, true, nil), pre: bertPre, added: []object{{"content": "\ufffd"}, {"content": "[MASK]"}}},
	} {
		t.Run(v.name, func(t *testing.T) {
			r := v.request(t)
			tok := r.open(t)
			r.Bytes = texts
			o.compare(t, tok, r)
		})
	}
}
