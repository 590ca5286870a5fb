package infer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/preprocess/tokenize"
)

const tiny = "testdata/models"

// expected is what testdata/make_models.py computed with numpy.
func expected(t testing.TB) (texts []string, embeddings map[string][][]float32) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(tiny, "expected.json"))
	require.NoError(t, err)
	var want struct {
		Texts      []string
		Embeddings map[string][][]float32
	}
	require.NoError(t, json.Unmarshal(raw, &want))
	return want.Texts, want.Embeddings
}

// Models of every input and output type, shape and pooling give what numpy gives.
func TestTinyModels(t *testing.T) {
	texts, want := expected(t)
	require.Len(t, want, 15)
	for name, vectors := range want {
		for _, c := range []infer.Config{{}, {RunTokens: 1}, {RunTokens: 1 << 20, ThreadsPerActor: 2}, {RunTokens: 20, NoPacking: true}} {
			t.Run(name, func(t *testing.T) {
				c.Path = filepath.Join(tiny, name)
				m := open(t, c)
				got, err := m.EmbedTexts(t.Context(), texts, infer.EmbedConfig{})
				require.NoError(t, err)
				tolerance := 1e-5
				if name == "half" {
					tolerance = 1e-2
				}
				requireNear(t, vectors, got, tolerance)
			})
		}
	}
}

func TestInspect(t *testing.T) {
	any2 := []infer.Dim{{Size: -1, Name: "batch"}, {Size: -1, Name: "tokens"}}
	m := open(t, infer.Config{Path: filepath.Join(tiny, "plain")})
	info := m.Inspect()
	require.Equal(t, infer.Info{
		Path: filepath.Join(tiny, "plain"), File: filepath.Join(tiny, "plain/onnx/model.onnx"), Bytes: info.Bytes,
		Producer: "make_models.py", Opset: 17, ModelType: "bert", Task: "embed",
		Inputs: []infer.TensorInfo{{Name: "input_ids", Type: infer.Int64, Shape: any2},
			{Name: "attention_mask", Type: infer.Int64, Shape: any2}, {Name: "token_type_ids", Type: infer.Int64, Shape: any2}},
		Outputs:   []infer.TensorInfo{{Name: "last_hidden_state", Type: infer.Float32, Shape: append(any2[:2:2], infer.Dim{Size: 8})}},
		MaxTokens: 12, Dim: 8, Pooling: infer.MeanPooling, Normalize: true, Labels: []string{},
	}, info)

	half := open(t, infer.Config{Path: filepath.Join(tiny, "half")}).Inspect()
	require.Equal(t, infer.Float16, half.Inputs[1].Type)
	require.Equal(t, "float16", half.Outputs[0].Type.String())
	fixed := open(t, infer.Config{Path: filepath.Join(tiny, "fixed_both")}).Inspect()
	require.Equal(t, 6, fixed.MaxTokens)
	require.Equal(t, "1", fixed.Inputs[0].Shape[0].String())
	whole := open(t, infer.Config{Path: filepath.Join(tiny, "whole")}).Inspect()
	require.Equal(t, infer.NoPooling, whole.Pooling)
	old := open(t, infer.Config{Path: filepath.Join(tiny, "old_inputs")}).Inspect()
	require.Len(t, old.Inputs, 2, "initializers are no inputs")
	weights := open(t, infer.Config{Path: filepath.Join(tiny, "external")}).Inspect()
	require.Equal(t, int64(830+960), weights.Bytes)
}

func TestInspectMiniLM(t *testing.T) {
	info := miniLM(t).Inspect()
	require.Equal(t, 256, info.MaxTokens, "sentence_bert_config.json counts")
	require.Equal(t, 384, info.Dim)
	require.True(t, info.Normalize)
	require.Equal(t, infer.MeanPooling, info.Pooling)
	require.Empty(t, info.Cannot)
}

// A classifier's logits are not taken for embeddings.
func TestClassifierIsNoEmbedder(t *testing.T) {
	m := open(t, infer.Config{Path: filepath.Join(tiny, "classifier")})
	_, err := m.Embed(infer.EmbedConfig{Column: "text"})
	require.ErrorContains(t, err, "gives no vectors: its outputs are logits float32[batch, 8]")
	info := m.Inspect()
	require.Equal(t, "classify", info.Task)
	require.Equal(t, []string{"A", "B", "C", "D", "E", "F", "G", "H"}, info.Labels)
	require.Empty(t, info.Cannot, "it can classify")
}

// Texts that are not UTF-8 are read with their invalid parts replaced, or refused.
func TestInvalidUTF8(t *testing.T) {
	texts := []string{"a b", "c \xffd e"}
	cfg := infer.Config{Path: filepath.Join(tiny, "plain")}
	t.Run("replaced", func(t *testing.T) {
		m := open(t, cfg)
		got, err := m.EmbedTexts(t.Context(), texts, infer.EmbedConfig{})
		require.NoError(t, err)
		want, err := m.EmbedTexts(t.Context(), []string{texts[0], tokenize.ToValidUTF8(texts[1])}, infer.EmbedConfig{})
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
	t.Run("refused", func(t *testing.T) {
		cfg.InvalidUTF8 = tokenize.RefuseInvalid
		m := open(t, cfg)
		_, err := m.EmbedTexts(t.Context(), texts, infer.EmbedConfig{})
		require.ErrorContains(t, err, "text 1: the text is not UTF-8 at byte 2 (0xFF)")
		_, err = m.EmbedTexts(t.Context(), texts[:1], infer.EmbedConfig{})
		require.NoError(t, err)
	})
}

// A limit that the caller asks for shortens the model's own, and never lengthens it.
func TestMaxTokens(t *testing.T) {
	for ask, want := range map[int]int{0: 12, 5: 5, 100: 12} {
		m := open(t, infer.Config{Path: filepath.Join(tiny, "plain"), MaxTokens: ask})
		require.Equal(t, want, m.Inspect().MaxTokens)
	}
}

// An ONNX file alone finds the folder that it belongs to.
func TestOpenFile(t *testing.T) {
	texts, want := expected(t)
	m := open(t, infer.Config{Path: filepath.Join(tiny, "int32", "onnx", "model.onnx")})
	got, err := m.EmbedTexts(t.Context(), texts, infer.EmbedConfig{})
	require.NoError(t, err)
	requireNear(t, want["int32"], got, 1e-5)
}

func write(t testing.TB, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

// Each fault of a folder is one error that names the file.
func TestFolderFaults(t *testing.T) {
	cases := map[string]struct {
		change func(t *testing.T, dir string)
		config infer.Config
		want   []string
	}{
		"no ONNX": {change: func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "onnx")))
		}, want: []string{"has no ONNX file", "onnx/model.onnx", "model.onnx"}},
		"weights of another kind": {change: func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "onnx")))
			write(t, dir, "model.safetensors", "x")
		}, want: []string{"model.safetensors", "optimum-cli"}},
		"another variant": {change: func(t *testing.T, dir string) {
			write(t, dir, "onnx/model_quantized.onnx", "x")
		}, config: infer.Config{Variant: "quantised"}, want: []string{"model_quantised.onnx", `did you mean "quantized"?`}},
		"broken config": {change: func(t *testing.T, dir string) {
			write(t, dir, "config.json", `{"hidden_size": "many"}`)
		}, want: []string{"config.json"}},
		"a pointer of Git LFS": {change: func(t *testing.T, dir string) {
			write(t, dir, "onnx/model.onnx", "version https://git-lfs\noid sha256:00\nsize 12\n")
		}, want: []string{"git lfs pull"}},
		"no weights": {change: func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "onnx/model.onnx_data")))
		}, want: []string{"model.onnx_data", "no such file"}},
		"weights cut short": {change: func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "onnx/model.onnx_data"), 900))
		}, want: []string{"model.onnx_data", "cut short"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := copyFolder(t, filepath.Join(tiny, "external"))
			c.change(t, dir)
			c.config.Path = dir
			_, err := infer.Open(t.Context(), c.config)
			for _, part := range c.want {
				require.ErrorContains(t, err, part)
			}
		})
	}
	_, err := infer.Open(t.Context(), infer.Config{Path: filepath.Join(tiny, "plian")})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "did you mean testdata/models/plain?")
	_, err = infer.Open(t.Context(), infer.Config{})
	require.ErrorContains(t, err, "Path is empty")
}

// What a folder asks for that is not supported is refused by name, when a task is made.
func TestUnsupportedFolders(t *testing.T) {
	cases := map[string]struct {
		file, content string
		want          []string
	}{
		"weighted mean": {"1_Pooling/config.json", `{"pooling_mode_weightedmean_tokens": true}`, []string{"weightedmean", "1_Pooling/config.json"}},
		"two modes":     {"1_Pooling/config.json", `{"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true}`, []string{"cls+max"}},
		"a new mode":    {"1_Pooling/config.json", `{"pooling_mode": "attention"}`, []string{"attention"}},
		"dense": {"modules.json", `[{"path": "", "type": "sentence_transformers.models.Transformer"},
			{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]`, []string{"Dense", "sentence_embedding"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := copyFolder(t, filepath.Join(tiny, "plain"))
			write(t, dir, c.file, c.content)
			m := open(t, infer.Config{Path: dir})
			_, err := m.Embed(infer.EmbedConfig{Column: "text"})
			for _, part := range c.want {
				require.ErrorContains(t, err, part)
			}
			require.Contains(t, m.Inspect().Cannot, c.want[0])
			_, err = m.EmbedTexts(t.Context(), []string{"a"}, infer.EmbedConfig{})
			require.Error(t, err)
		})
	}
	dir := copyFolder(t, filepath.Join(tiny, "plain"))
	require.NoError(t, os.Remove(filepath.Join(dir, "tokenizer.json")))
	_, err := open(t, infer.Config{Path: dir}).Embed(infer.EmbedConfig{Column: "text"})
	require.ErrorContains(t, err, "tokenizer.json")
}

// A newer file names its pooling instead of raising a flag.
func TestPoolingByName(t *testing.T) {
	texts, want := expected(t)
	dir := copyFolder(t, filepath.Join(tiny, "int32"))
	write(t, dir, "1_Pooling/config.json", `{"embedding_dimension": 8, "pooling_mode": "cls"}`)
	got, err := open(t, infer.Config{Path: dir}).EmbedTexts(t.Context(), texts, infer.EmbedConfig{})
	require.NoError(t, err)
	requireNear(t, want["int32"], got, 1e-5)
}

// An ONNX file that ends early is an error that names it, wherever it ends.
func TestModelCutShort(t *testing.T) {
	dir := copyFolder(t, filepath.Join(tiny, "plain"))
	path := filepath.Join(dir, "onnx/model.onnx")
	raw, err := os.ReadFile(filepath.Join(tiny, "plain/onnx/model.onnx"))
	require.NoError(t, err)
	for n := len(raw) - 1; n >= 0; n-- {
		require.NoError(t, os.Truncate(path, int64(n)))
		_, err := infer.Open(t.Context(), infer.Config{Path: dir})
		require.ErrorContains(t, err, path, "cut to %d of %d bytes", n, len(raw))
	}
	write(t, dir, "onnx/model.onnx", "<html>Not found</html>")
	_, err = infer.Open(t.Context(), infer.Config{Path: dir})
	require.ErrorContains(t, err, path)
}

// What the header does not show, ONNX Runtime finds: the error names the file all the
// same, and the next worker tries again.
func TestModelDamagedInside(t *testing.T) {
	dir := copyFolder(t, filepath.Join(tiny, "plain"))
	path := filepath.Join(dir, "onnx/model.onnx")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	damaged := append([]byte(nil), raw...)
	at := indexOf(damaged, "Gather")
	copy(damaged[at:], "Gothar")
	require.NoError(t, os.WriteFile(path, damaged, 0o644))
	m := open(t, infer.Config{Path: dir})
	for range 2 {
		_, err = m.EmbedTexts(t.Context(), []string{"a"}, infer.EmbedConfig{})
		require.ErrorContains(t, err, path)
	}
	require.NoError(t, os.WriteFile(path, raw, 0o644))
	_, err = m.EmbedTexts(t.Context(), []string{"a"}, infer.EmbedConfig{})
	require.NoError(t, err)
}

func indexOf(b []byte, s string) int {
	for i := range b {
		if len(b)-i >= len(s) && string(b[i:i+len(s)]) == s {
			return i
		}
	}
	return -1
}
