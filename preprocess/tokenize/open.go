package tokenize

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// Open reads a tokenizer from a tokenizer.json, from a .model file of SentencePiece
// ([FromSentencePiece]) or from a model folder. In a folder without tokenizer.json
// it takes vocab.txt, with what tokenizer_config.json says of letter case, accents
// and special tokens, or else tokenizer.model or spiece.model. What goes round a text
// then, add_bos_token and add_eos_token in tokenizer_config.json say, and where they
// don't, transformers' rule for tokenizer_class, or for model_type of config.json:
// the first token for Llama and Gemma, the last one for T5; others are refused. It
// doesn't look for a model's limit outside of tokenizer.json: see [Tokenizer.With].
func Open(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("tokenize: %w", err)
	}
	file := path
	if !info.IsDir() && strings.HasSuffix(path, ".model") {
		return FromSentencePiece(path, SentencePieceConfig{})
	}
	if info.IsDir() {
		file = filepath.Join(path, "tokenizer.json")
	}
	data, err := os.ReadFile(file)
	if info.IsDir() && errors.Is(err, fs.ErrNotExist) {
		return openVocab(path)
	}
	if err != nil {
		return nil, fmt.Errorf("tokenize: %w", err)
	}
	t, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("tokenize: %s: %w", file, err)
	}
	return t, nil
}

// openVocab opens a folder that has no tokenizer.json.
func openVocab(dir string) (*Tokenizer, error) {
	vocab := filepath.Join(dir, "vocab.txt")
	if _, err := os.Stat(vocab); err != nil {
		return openModelFile(dir)
	}
	file := filepath.Join(dir, "tokenizer_config.json")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return FromVocab(vocab, VocabConfig{})
	}
	if err != nil {
		return nil, fmt.Errorf("tokenize: %w", err)
	}
	var c struct {
		Lower   *bool     `json:"do_lower_case"`
		Strip   *bool     `json:"strip_accents"`
		Chinese *bool     `json:"tokenize_chinese_chars"`
		Unk     tokenName `json:"unk_token"`
		Cls     tokenName `json:"cls_token"`
		Sep     tokenName `json:"sep_token"`
		Pad     tokenName `json:"pad_token"`
		Mask    tokenName `json:"mask_token"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("tokenize: %s: %w", file, jsonError(data, err))
	}
	return FromVocab(vocab, VocabConfig{
		Cased: c.Lower != nil && !*c.Lower, StripAccents: c.Strip, HanTogether: c.Chinese != nil && !*c.Chinese,
		Unk: string(c.Unk), Cls: string(c.Cls), Sep: string(c.Sep), Pad: string(c.Pad), Mask: string(c.Mask),
	})
}

// openModelFile opens a folder that has neither tokenizer.json nor vocab.txt.
func openModelFile(dir string) (*Tokenizer, error) {
	for _, name := range []string{"tokenizer.model", "spiece.model"} {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); err != nil {
			continue
		}
		cfg, err := modelFileEnds(dir, file)
		if err != nil {
			return nil, err
		}
		return FromSentencePiece(file, cfg)
	}
	return nil, fmt.Errorf("tokenize: %s: neither tokenizer.json nor vocab.txt nor tokenizer.model is there", dir)
}

// classEnds is what the tokenizers of transformers that read a .model file put round a text
// where their settings say nothing. Others do more than that: they are not known.
var classEnds = map[string]SentencePieceConfig{
	"LlamaTokenizer": {Begin: true}, "CodeLlamaTokenizer": {Begin: true}, "GemmaTokenizer": {Begin: true},
	"T5Tokenizer": {End: true}, "MT5Tokenizer": {End: true},
}

// modelClasses are those that transformers takes for a kind of model, by model_type.
var modelClasses = map[string]string{
	"llama": "LlamaTokenizer", "mistral": "LlamaTokenizer", "mixtral": "LlamaTokenizer", "gemma": "GemmaTokenizer", "gemma2": "GemmaTokenizer",
	"t5": "T5Tokenizer", "mt5": "MT5Tokenizer", "umt5": "T5Tokenizer", "longt5": "T5Tokenizer",
}

// modelFileEnds reads what goes round a text: what tokenizer_config.json says, and where it is
// silent, what the tokenizer's class does.
func modelFileEnds(dir, file string) (cfg SentencePieceConfig, err error) {
	var c struct {
		Begin *bool  `json:"add_bos_token"`
		End   *bool  `json:"add_eos_token"`
		Class string `json:"tokenizer_class"`
	}
	var m struct {
		Type string `json:"model_type"`
	}
	if err := errors.Join(readSettings(dir, "tokenizer_config.json", &c), readSettings(dir, "config.json", &m)); err != nil {
		return cfg, err
	}
	class := strings.TrimSuffix(c.Class, "Fast")
	if class == "" {
		class = modelClasses[m.Type]
	}
	cfg, known := classEnds[class]
	if !known && (c.Begin == nil || c.End == nil) {
		return cfg, fmt.Errorf("tokenize: %s: what goes round a text is not known of the class %q: say so by add_bos_token and add_eos_token "+
			"in tokenizer_config.json, or save the tokenizer as tokenizer.json", file, class)
	}
	if c.Begin != nil {
		cfg.Begin = *c.Begin
	}
	if c.End != nil {
		cfg.End = *c.End
	}
	return cfg, nil
}

// readSettings reads a JSON file of a folder; one that is not there leaves v as it is.
func readSettings(dir, name string, v any) error {
	file := filepath.Join(dir, name)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tokenize: %w", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("tokenize: %s: %w", file, jsonError(data, err))
	}
	return nil
}

// tokenName is a token as tokenizer_config.json names it: a string, or an
// object with its content.
type tokenName string

func (n *tokenName) UnmarshalJSON(data []byte) error {
	var o struct {
		Content string `json:"content"`
	}
	if len(data) > 0 && data[0] == '{' {
		err := json.Unmarshal(data, &o)
		*n = tokenName(o.Content)
		return err
	}
	return json.Unmarshal(data, (*string)(n))
}

// VocabConfig says how to read with a bare vocab.txt. The zero value is BERT's
// uncased reading.
type VocabConfig struct {
	Cased        bool  // letter case counts
	StripAccents *bool // nil: as Cased is false
	HanTogether  bool  // Chinese characters aren't words by themselves
	// The special tokens; empty ones are "[UNK]", "[CLS]", "[SEP]", "[PAD]",
	// "[MASK]". The first three must be in the vocabulary.
	Unk, Cls, Sep, Pad, Mask string
}

func (c VocabConfig) withDefaults() VocabConfig {
	for to, name := range map[*string]string{
		&c.Unk: "[UNK]", &c.Cls: "[CLS]", &c.Sep: "[SEP]", &c.Pad: "[PAD]", &c.Mask: "[MASK]",
	} {
		if *to == "" {
			*to = name
		}
	}
	return c
}

// FromVocab makes the tokenizer of a BERT model from its vocab.txt: one token a
// line, its id the number of the line from 0. White space at a line's end
// doesn't count, and of equal lines the last does.
func FromVocab(path string, cfg VocabConfig) (*Tokenizer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tokenize: %w", err)
	}
	t, err := fromVocab(data, cfg.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("tokenize: %s: %w", path, err)
	}
	return t, nil
}

func fromVocab(data []byte, cfg VocabConfig) (*Tokenizer, error) {
	v, err := readVocab(data)
	if err != nil {
		return nil, err
	}
	var ids [3]int32
	var added []addedToken
	for i, name := range []string{cfg.Unk, cfg.Cls, cfg.Sep, cfg.Pad, cfg.Mask} {
		id, ok := v.trie.lookup(name)
		if !ok && i < len(ids) {
			return nil, fmt.Errorf("the vocabulary lacks the special token %q", name)
		}
		if i < len(ids) {
			ids[i] = id
		}
		if ok {
			added = append(added, addedToken{content: name})
		}
	}
	norm := bertNormalizer{clean: true, han: !cfg.HanTogether, strip: !cfg.Cased, lower: !cfg.Cased}
	if cfg.StripAccents != nil {
		norm.strip = *cfg.StripAccents
	}
	c := &core{
		model: newWordPiece(v, ids[0], "##", 100), norm: norm, pre: []preTokenizer{bertSplit{}},
		post:  bertProcessing{cls: ids[1], sep: ids[2]},
		limit: truncation{max: Unlimited, strategy: LongestFirst, direction: Right}, tab: chars(),
	}
	if c.added, err = newAddedVocab(added, v, norm, c.tab); err != nil {
		return nil, err
	}
	if pad, ok := v.trie.lookup(cfg.Pad); ok {
		c.padID = pad
	}
	return newTokenizer(c)
}

// readVocab reads a vocab.txt.
func readVocab(data []byte) (*vocab, error) {
	ids := map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, len(data)+1)
	for n := int64(0); lines.Scan(); n++ {
		ids[strings.TrimRightFunc(lines.Text(), unicode.IsSpace)] = n
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	entries, err := vocabEntries(ids)
	if err != nil {
		return nil, err
	}
	return newVocab(entries), nil
}
