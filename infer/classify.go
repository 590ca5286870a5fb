package infer

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// ClassifyConfig says how a column of text is classified by a model that was trained for
// its labels. Only Column is needed.
type ClassifyConfig struct {
	Column string // of text
	Scored
	Activation Activation
	BatchSize  int // rows at most of a batch; 0: as many as fit a run, 64 without packing
	Actors     int // callers of the model at once; 0: 2 on the CPU, as many as fit on devices
}

// Classify makes a task that adds the labels that a model for sequence classification
// gives to a text, by the names of config.json's id2label. A null text gives null.
//
// Source of the rules: transformers' TextClassificationPipeline.
func (m *Model) Classify(c ClassifyConfig) (stage.Task, error) {
	tok, spec, labels, err := m.classifier("classify", 2)
	if err != nil {
		return nil, err
	}
	if c.Column == "" {
		return nil, fmt.Errorf("infer: classify: Column is empty: name the column of text")
	}
	if err := c.Scored.validate(); err != nil {
		return nil, err
	}
	if c.Activation == ModelActivation {
		c.Activation = m.folder.config.activation(len(labels))
	}
	settings := c.Scored.settings()
	maps.Copy(settings, map[string]any{"labels": labels, "activation": c.Activation.String()})
	return &textTask{model: m, spec: spec, name: "classify", tokens: textColumn(c.Column, ""), tokenizer: tok, settings: settings,
		batch: c.BatchSize, actors: c.Actors,
		head: &classifyHead{scored: c.Scored, labels: labels, activation: c.Activation}}, nil
}

// activation is what transformers makes scores of logits with.
func (c *modelConfig) activation(labels int) Activation {
	switch {
	case c.ProblemType == "regression":
		return Raw
	case c.ProblemType == "multi_label_classification" || labels == 1:
		return Sigmoid
	}
	return Softmax
}

// classifyHead takes a vector as the logits of the labels.
type classifyHead struct {
	scored     Scored
	labels     []string
	activation Activation
}

func (h *classifyHead) fields() []arrow.Field { return h.scored.fields() }

func (h *classifyHead) prepare(context.Context, *caller) error { return nil }

func (h *classifyHead) begin(env stage.Env, n int) (columns, error) {
	return &classifyColumns{h.scored.begin(env, h.labels, n), h.activation}, nil
}

type classifyColumns struct {
	*scoreColumns
	activation Activation
}

func (c *classifyColumns) at(i int32) []float32 { return c.of(i) }

func (c *classifyColumns) done(i int32) { c.activation.apply(c.of(i)) }

// classifier is what a task needs of a model that gives scores for labels: of rank 2 for a
// text, of rank 3 for each of its tokens.
func (m *Model) classifier(task string, rank int) (*tokenize.Tokenizer, *textSpec, []string, error) {
	spec, labels, err := m.scores(task, rank)
	if err != nil {
		return nil, nil, nil, err
	}
	tok, err := m.tokenizer()
	return tok, spec, labels, err
}

func (m *Model) scores(task string, rank int) (*textSpec, []string, error) {
	if m.feed == nil {
		return nil, nil, m.cannot
	}
	spec, err := m.feed.logits(m.file, m.folder, rank)
	if err != nil {
		return nil, nil, fmt.Errorf("infer: %s: model %s gives no scores of labels for %s: %w", task, m.cfg.Path,
			map[int]string{2: "a text", 3: "the tokens of a text"}[rank], err)
	}
	labels, err := labelNames(m.folder.labels, spec.dim)
	if err != nil {
		return nil, nil, fmt.Errorf("infer: %s: model %s: %w", task, m.cfg.Path, err)
	}
	return spec, labels, nil
}

// labelNames are the model's, or LABEL_0 and so on where config.json names none.
func labelNames(labels []string, n int) ([]string, error) {
	if len(labels) == 0 {
		for i := range n {
			labels = append(labels, fmt.Sprintf("LABEL_%d", i))
		}
	}
	if len(labels) != n {
		return nil, fmt.Errorf("config.json names %d labels (id2label: %s), and the model gives scores for %d", len(labels), strings.Join(labels, ", "), n)
	}
	return labels, nil
}
