package infer

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
)

// Info says what a model is, from its files alone.
type Info struct {
	Path      string // as it was opened
	File      string // the ONNX file
	Bytes     int64  // of the ONNX file and the weights beside it
	Producer  string // the program that wrote the ONNX file
	Opset     int64  // of ONNX's own operators
	ModelType string // "bert"; empty: not said
	// Task is what the model is for: "embed", "classify", "zeroshot" (a model of
	// entailment), "ner", "rerank", "infer" where it takes no text, or "unknown".
	Task      string
	Inputs    []TensorInfo
	Outputs   []TensorInfo
	MaxTokens int // of a text, special ones included; 0: no limit is known

	// Of models that embed text:
	Dim       int
	Pooling   Pooling
	Normalize bool
	Prompts   map[string]string // by name; none is put before texts unless asked for

	Labels   []string // of classifiers, by id
	Variants []string // the names that [Config.Variant] can have
	// Cannot says why the model cannot be run by this version; empty: it can.
	Cannot string
}

// Inspect says what the model is. It loads nothing.
func (m *Model) Inspect() Info {
	f := m.folder
	info := Info{Path: m.cfg.Path, File: m.file.path, Bytes: m.file.bytes, Producer: m.file.producer, Opset: m.file.opset,
		ModelType: f.config.ModelType, Inputs: slices.Clone(m.file.inputs), Outputs: slices.Clone(m.file.outputs),
		MaxTokens: m.maxTokens(), Prompts: f.prompts, Labels: f.labels, Variants: variants(f.dir)}
	info.Task = m.task()
	cannot := m.cannot
	switch info.Task {
	case "infer":
		cannot = nil
	case "ner":
		_, info.Labels, cannot = m.scores(info.Task, 3)
	case "classify", "zeroshot", "rerank":
		_, info.Labels, cannot = m.scores(info.Task, 2)
	case "embed":
		info.Dim, info.Pooling, info.Normalize = m.spec.dim, m.spec.pooling, m.spec.normalize
	}
	if cannot != nil {
		info.Cannot, info.Labels = cannot.Error(), f.labels
	}
	return info
}

func (m *Model) task() string {
	c := &m.folder.config
	for _, a := range c.Architectures {
		switch {
		case strings.Contains(a, "TokenClassification"):
			return "ner"
		case !strings.Contains(a, "Classification"):
		case entailment(m.folder.labels) >= 0:
			return "zeroshot"
		case c.Sentence.Activation != "" || c.OldActivation != "", len(m.folder.labels) == 1 && m.folder.labels[0] == "LABEL_0" && c.ProblemType == "":
			return "rerank" // one label without a name: a cross-encoder
		default:
			return "classify"
		}
	}
	switch {
	case m.folder.config.ProblemType != "":
		return "classify"
	case m.spec != nil && m.cannot == nil:
		return "embed"
	case m.feed == nil:
		return "infer" // it takes no text
	}
	return "unknown"
}

// digestFiles are the XXH3-128 digests of the files that an embedding depends on, with
// their names. A file that is not there has none.
func (m *Model) digestFiles() []string {
	files := append([]string{m.file.path}, m.file.external...)
	slices.Sort(files[1:])
	for _, name := range []string{"tokenizer.json", "vocab.txt", "tokenizer.model", "spiece.model", "tokenizer_config.json"} {
		files = append(files, filepath.Join(m.folder.dir, name))
	}
	var out []string
	for _, path := range files {
		if sum, err := digest(path); err == nil {
			out = append(out, fmt.Sprintf("%s xxh3:%s", filepath.Base(path), sum))
		}
	}
	return out
}

func digest(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := xxh3.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{file}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	sum := h.Sum128().Bytes()
	return hex.EncodeToString(sum[:]), nil
}
