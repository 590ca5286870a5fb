package infer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-data/penstock/stage"
)

// folder is what the files of a Hugging Face model folder say, the ONNX file aside. A
// file that is not there leaves its part empty.
type folder struct {
	dir, onnx string

	config  modelConfig
	limit   int // tokens that the model takes, special ones included; 0: not said
	pooling poolingConfig
	modules []module // of sentence-transformers, in order; nil: not such a model
	prompts map[string]string
	prompt  string // the one that stands before texts by default; empty: none
	labels  []string
	left    bool   // padding stands before the tokens
	unknown string // the unknown token, where the tokeniser's settings name it
	pad     string // the token that pads, likewise
	padType *int32 // the type of tokens that pad, likewise
}

// modelConfig is what we need of config.json. Families differ in what they call a thing.
type modelConfig struct {
	ModelType     string            `json:"model_type"`
	Architectures []string          `json:"architectures"`
	ProblemType   string            `json:"problem_type"`
	Labels        map[string]string `json:"id2label"`
	Number        int               `json:"num_labels"`
	Positions     int               `json:"max_position_embeddings"`
	PositionsGPT  int               `json:"n_positions"`
	Hidden        int               `json:"hidden_size"`
	Dim           int               `json:"dim"`     // DistilBERT
	DModel        int               `json:"d_model"` // T5, XLNet
	Inner         int               `json:"intermediate_size"`
	HiddenDim     int               `json:"hidden_dim"` // DistilBERT's inner size
	Heads         int               `json:"num_attention_heads"`
	HeadsDistil   int               `json:"n_heads"`
	PadID         *int              `json:"pad_token_id"`
	// What sentence-transformers makes scores of logits with, and its older name.
	Sentence struct {
		Activation string `json:"activation_fn"`
	} `json:"sentence_transformers"`
	OldActivation string `json:"sbert_ce_default_activation_function"`
}

func firstOf(values ...int) int {
	for _, v := range values {
		if v > 0 {
			return v
		}
	}
	return 0
}

func (c *modelConfig) hidden() int { return firstOf(c.Hidden, c.Dim, c.DModel) }
func (c *modelConfig) inner() int  { return firstOf(c.Inner, c.HiddenDim, 4*c.hidden()) }
func (c *modelConfig) heads() int  { return firstOf(c.Heads, c.HeadsDistil, c.hidden()/64) }

// positions is how many tokens the position embeddings reach, 0 if that is not said. The
// families of RoBERTa number positions from behind the padding id on.
func (c *modelConfig) positions() int {
	n := firstOf(c.Positions, c.PositionsGPT)
	switch c.ModelType {
	case "roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xmod", "roberta-prelayernorm":
		pad := 1
		if c.PadID != nil {
			pad = *c.PadID
		}
		return max(n-pad-1, 0)
	case "t5", "mt5", "xlnet": // relative positions: the number is no bound
		return 0
	}
	return n
}

// module is a step of a sentence-transformers model.
type module struct {
	Path string `json:"path"`
	Type string `json:"type"` // "sentence_transformers.models.Pooling"
}

func (m module) name() string { return m.Type[strings.LastIndexByte(m.Type, '.')+1:] }

// poolingConfig is 1_Pooling/config.json: older files have a flag for each mode, newer
// ones a name.
type poolingConfig struct {
	present  bool
	Dim      int    `json:"word_embedding_dimension"`
	Mode     any    `json:"pooling_mode"`
	CLS      bool   `json:"pooling_mode_cls_token"`
	Mean     bool   `json:"pooling_mode_mean_tokens"`
	Max      bool   `json:"pooling_mode_max_tokens"`
	MeanSqrt bool   `json:"pooling_mode_mean_sqrt_len_tokens"`
	Weighted bool   `json:"pooling_mode_weightedmean_tokens"`
	Last     bool   `json:"pooling_mode_lasttoken"`
	Prompt   *bool  `json:"include_prompt"`
	path     string // of the file
}

// openFolder reads the folder, or the folder that the ONNX file at path belongs to.
func openFolder(path, variant string) (*folder, error) {
	f := &folder{dir: path}
	info, err := os.Stat(path)
	if err != nil {
		return nil, missingModel(path, err)
	}
	if !info.IsDir() {
		f.onnx, f.dir = path, filepath.Dir(path)
		if filepath.Base(f.dir) == "onnx" {
			f.dir = filepath.Dir(f.dir)
		}
	} else if f.onnx, err = findONNX(path, variant); err != nil {
		return nil, err
	}
	return f, f.read()
}

func missingModel(path string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("infer: model: %w", err)
	}
	var have []string
	if entries, err := os.ReadDir(filepath.Dir(path)); err == nil {
		for _, e := range entries {
			have = append(have, e.Name())
		}
	}
	hint := ""
	if near := stage.Nearest(filepath.Base(path), have); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", filepath.Join(filepath.Dir(path), near))
	}
	return fmt.Errorf("infer: there is no model at %s: %w%s", path, err, hint)
}

// findONNX is the ONNX file of a folder: onnx/model.onnx or model.onnx, with _variant
// behind "model" where one is asked for.
func findONNX(dir, variant string) (string, error) {
	name := "model.onnx"
	if variant != "" {
		name = "model_" + variant + ".onnx"
	}
	places := []string{filepath.Join("onnx", name), name}
	for _, p := range places {
		if info, err := os.Stat(filepath.Join(dir, p)); err == nil && info.Mode().IsRegular() {
			return filepath.Join(dir, p), nil
		}
	}
	msg := fmt.Sprintf("infer: model folder %s has no ONNX file: looked for %s", dir, strings.Join(places, ", "))
	if have := variants(dir); len(have) > 0 {
		msg += "; it has the variants " + strings.Join(have, ", ")
		if near := stage.Nearest(variant, have); near != "" {
			msg += fmt.Sprintf("; did you mean %q?", near)
		}
	} else if weights := glob(dir, "*.safetensors", "pytorch_model*.bin"); len(weights) > 0 {
		msg += fmt.Sprintf("; it has %s: export it with `optimum-cli export onnx`", filepath.Base(weights[0]))
	}
	return "", fmt.Errorf("%s: %w", msg, fs.ErrNotExist)
}

func glob(dir string, patterns ...string) []string {
	var out []string
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join(dir, p))
		if err == nil {
			out = append(out, found...)
		}
	}
	return out
}

// variants are the names that [Config.Variant] can have for a folder.
func variants(dir string) []string {
	var out []string
	for _, p := range glob(dir, "onnx/model_*.onnx", "model_*.onnx") {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(p), "model_"), ".onnx")
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// readJSON reads one file of the folder into v; found is false if it is not there.
func (f *folder) readJSON(name string, v any) (found bool, err error) {
	path := filepath.Join(f.dir, name)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("infer: model: %w", err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return false, fmt.Errorf("infer: model: %s: %w", path, err)
	}
	return true, nil
}

func (f *folder) read() error {
	var tokenizer struct {
		Max     float64 `json:"model_max_length"` // 1e30 stands for no limit
		Side    string  `json:"padding_side"`
		Unknown any     `json:"unk_token"` // a string, or an object with its content
		Pad     any     `json:"pad_token"` // likewise
		PadType *int32  `json:"pad_token_type_id"`
	}
	var sentence struct {
		Max int `json:"max_seq_length"`
	}
	var prompts struct {
		Prompts map[string]string `json:"prompts"`
		Default string            `json:"default_prompt_name"`
	}
	for name, into := range map[string]any{
		"config.json":                       &f.config,
		"tokenizer_config.json":             &tokenizer,
		"sentence_bert_config.json":         &sentence,
		"config_sentence_transformers.json": &prompts,
		"modules.json":                      &f.modules,
	} {
		if _, err := f.readJSON(name, into); err != nil {
			return err
		}
	}
	f.prompts, f.prompt = prompts.Prompts, prompts.Default
	f.limit = sentence.Max
	if f.limit <= 0 && tokenizer.Max > 0 && tokenizer.Max < 1e9 {
		f.limit = int(tokenizer.Max)
	}
	if reach := f.config.positions(); reach > 0 && (f.limit <= 0 || reach < f.limit) {
		f.limit = reach
	}
	f.labels = orderedLabels(f.config.Labels)
	f.unknown, f.pad, f.padType = tokenName(tokenizer.Unknown), tokenName(tokenizer.Pad), tokenizer.PadType
	f.left = tokenizer.Side == "left"
	if tokenizer.Side == "" {
		if err := f.readPadding(); err != nil {
			return err
		}
	}
	return f.readPooling()
}

// tokenName reads the name of a token: a string, or an object with its content.
func tokenName(v any) string {
	if token, ok := v.(map[string]any); ok {
		v = token["content"]
	}
	name, _ := v.(string)
	return name
}

// readPadding looks on which side tokenizer.json pads, where its settings don't say. The
// vocabulary, which stands behind, is not read.
func (f *folder) readPadding() error {
	path := filepath.Join(f.dir, "tokenizer.json")
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("infer: model: %w", err)
	}
	defer file.Close()
	d := json.NewDecoder(bufio.NewReader(file))
	if _, err := d.Token(); err != nil {
		return nil // not JSON: whoever opens the tokeniser says so
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil
		}
		if key != "padding" {
			var other json.RawMessage
			if d.Decode(&other) != nil || key == "model" {
				return nil
			}
			continue
		}
		var padding struct {
			Direction string `json:"direction"`
		}
		if d.Decode(&padding) == nil {
			f.left = padding.Direction == "Left"
		}
		return nil
	}
	return nil
}

func (f *folder) readPooling() error {
	for _, m := range f.modules {
		if m.name() != "Pooling" {
			continue
		}
		name := filepath.Join(filepath.FromSlash(m.Path), "config.json")
		found, err := f.readJSON(name, &f.pooling)
		if err != nil {
			return err
		}
		f.pooling.present, f.pooling.path = found, filepath.Join(f.dir, name)
	}
	return nil
}

// orderedLabels puts id2label in the order of its ids. One that is not 0…n-1 is dropped.
func orderedLabels(byID map[string]string) []string {
	out := make([]string, len(byID))
	for id, label := range byID {
		i, err := strconv.Atoi(id)
		if err != nil || i < 0 || i >= len(out) {
			return nil
		}
		out[i] = label
	}
	return out
}

// mode is the pooling that the file asks for.
func (p *poolingConfig) mode() (Pooling, error) {
	if !p.present {
		return MeanPooling, nil
	}
	var modes []string
	for name, on := range map[string]bool{"cls": p.CLS, "mean": p.Mean, "max": p.Max, "mean_sqrt_len_tokens": p.MeanSqrt,
		"weightedmean": p.Weighted, "lasttoken": p.Last} {
		if on {
			modes = append(modes, name)
		}
	}
	switch m := p.Mode.(type) {
	case string:
		modes = []string{m}
	case []any:
		modes = nil
		for _, v := range m {
			modes = append(modes, fmt.Sprint(v))
		}
	}
	slices.Sort(modes)
	known := map[string]Pooling{"mean": MeanPooling, "cls": CLSPooling, "max": MaxPooling, "lasttoken": LastTokenPooling}
	if len(modes) == 1 {
		if k, ok := known[modes[0]]; ok {
			return k, nil
		}
	}
	return 0, fmt.Errorf("infer: model: %s: pooling %q is not supported: mean, cls, max or lasttoken is, one of them",
		p.path, strings.Join(modes, "+"))
}
