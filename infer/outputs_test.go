package infer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
)

// pairs are ids with types, and what each output of the model "several" gives for them.
type pair struct {
	IDs, Types []int32
	Tokens     [][]float32 `json:"last_hidden_state"`
	Whole      []float32   `json:"sentence_embedding"`
	Logits     []float32   `json:"logits"`
	PerToken   [][]float32 `json:"token_logits"`
}

func severalPairs(t *testing.T) (want []pair, texts []infer.Tokens) {
	raw, err := os.ReadFile(filepath.Join(tiny, "several.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &want))
	for _, p := range want {
		texts = append(texts, infer.Tokens{IDs: p.IDs, Types: p.Types})
	}
	return want, texts
}

// Each output of a model can be asked for, by name or by what it is, with types of tokens
// and whatever the length of the others.
func TestOutputsOfOneModel(t *testing.T) {
	want, texts := severalPairs(t)
	m := tinyModel(t, "several")
	cases := map[string]struct {
		name    string
		pooling infer.Pooling
		logits  int
		want    func(p pair) []float32
	}{
		"the folder's":     {"", infer.NoPooling, 0, func(p pair) []float32 { return mean(p.Tokens) }},
		"tokens, by name":  {"last_hidden_state", infer.NoPooling, 0, func(p pair) []float32 { return mean(p.Tokens) }},
		"their first":      {"last_hidden_state", infer.CLSPooling, 0, func(p pair) []float32 { return p.Tokens[0] }},
		"their last":       {"", infer.LastTokenPooling, 0, func(p pair) []float32 { return p.Tokens[len(p.Tokens)-1] }},
		"texts, by name":   {"sentence_embedding", infer.NoPooling, 0, func(p pair) []float32 { return p.Whole }},
		"scores of texts":  {"", infer.NoPooling, 2, func(p pair) []float32 { return p.Logits }},
		"scores of tokens": {"", infer.NoPooling, 3, func(p pair) []float32 { return slices.Concat(p.PerToken...) }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := m.RunOutput(t.Context(), c.name, c.pooling, c.logits, texts)
			require.NoError(t, err)
			for i, p := range want {
				requireNear(t, [][]float32{c.want(p)}, got[i:i+1], 1e-5)
			}
			require.Zero(t, m.Sessions(), "the last user closes the session")
		})
	}
}

func mean(vectors [][]float32) []float32 {
	out := make([]float32, len(vectors[0]))
	for _, v := range vectors {
		for i := range v {
			out[i] += v[i] / float32(len(vectors))
		}
	}
	return out
}

func TestOutputFaults(t *testing.T) {
	_, texts := severalPairs(t)
	ask := func(model, name string, p infer.Pooling, logits int) error {
		_, err := tinyModel(t, model).RunOutput(t.Context(), name, p, logits, texts)
		return err
	}
	require.ErrorContains(t, ask("several", "sentence_embeding", infer.NoPooling, 0), `no output "sentence_embeding"`)
	require.ErrorContains(t, ask("several", "sentence_embeding", infer.NoPooling, 0), `did you mean "sentence_embedding"?`)
	require.ErrorContains(t, ask("several", "sentence_embedding", infer.MaxPooling, 0), "no vectors of tokens to take the max of")
	require.ErrorContains(t, ask("plain", "", infer.NoPooling, 2), "its outputs are last_hidden_state")
}

// Two outputs in use at once are two sessions, and neither outlives its users.
func TestOutputsInUseAtOnce(t *testing.T) {
	want, texts := severalPairs(t)
	m := tinyModel(t, "several")
	_, err := m.EmbedTexts(t.Context(), []string{"a"}, infer.EmbedConfig{})
	require.NoError(t, err)
	require.Equal(t, 1, m.Sessions())
	got, err := m.RunOutput(t.Context(), "", infer.NoPooling, 2, texts)
	require.NoError(t, err)
	requireNear(t, [][]float32{want[0].Logits}, got[:1], 1e-5)
	require.Equal(t, 1, m.Sessions(), "that of EmbedTexts stays")
}

// What an input holds of short rows, on either side.
func TestFill(t *testing.T) {
	texts := []infer.Tokens{{IDs: []int32{7, 8}, Types: []int32{0, 1}}, {IDs: []int32{4, 5, 6, 9}}}
	cases := []struct {
		input       string
		right, left []int64
	}{
		{"input_ids", []int64{7, 8, 2, 2, 4, 5, 6, 9}, []int64{2, 2, 7, 8, 4, 5, 6, 9}},
		{"attention_mask", []int64{1, 1, 0, 0, 1, 1, 1, 1}, []int64{0, 0, 1, 1, 1, 1, 1, 1}},
		{"token_type_ids", []int64{0, 1, 5, 5, 0, 0, 0, 0}, []int64{5, 5, 0, 1, 0, 0, 0, 0}},
		{"position_ids", []int64{0, 1, 2, 3, 0, 1, 2, 3}, []int64{0, 0, 0, 1, 0, 1, 2, 3}},
	}
	for _, c := range cases {
		require.Equal(t, c.right, infer.Fill(c.input, texts, 4, false, 2, 5), c.input)
		require.Equal(t, c.left, infer.Fill(c.input, texts, 4, true, 2, 5), c.input)
	}
}

// Side, token and type of padding are those of tokenizer.json where tokenizer_config.json has
// none of its own, each by itself.
func TestPaddingOfTheFolder(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(tiny, "plain", "tokenizer.json"))
	require.NoError(t, err)
	require.Contains(t, string(raw), `"padding":null`)
	const own = `{"strategy":"BatchLongest","direction":"Left","pad_to_multiple_of":null,"pad_id":5,"pad_type_id":1,"pad_token":"b"}`
	for _, c := range []struct {
		padding, settings string
		left              bool
		id, kind          int32
	}{
		{"null", `{}`, false, 0, 0},
		{own, `{}`, true, 5, 1},
		{own, `{"padding_side": "right"}`, false, 5, 1},
		{own, `{"pad_token": "c"}`, true, 6, 1},
		{own, `{"pad_token": {"content": "d", "special": true}, "pad_token_type_id": 0}`, true, 7, 0},
		{"null", `{"padding_side": "left", "pad_token": "[SEP]", "pad_token_type_id": 3}`, true, 3, 3},
		{own, `{"pad_token": "no such token"}`, true, 5, 1},
	} {
		dir := copyFolder(t, filepath.Join(tiny, "plain"))
		write(t, dir, "tokenizer.json", strings.Replace(string(raw), `"padding":null`, `"padding":`+c.padding, 1))
		write(t, dir, "tokenizer_config.json", c.settings)
		left, id, kind, err := open(t, infer.Config{Path: dir}).Padding()
		require.NoError(t, err)
		require.Equal(t, []any{c.left, c.id, c.kind}, []any{left, id, kind}, "%s with %s", c.padding, c.settings)
	}
}
