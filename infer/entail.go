package infer

import (
	"context"
	"maps"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// EntailmentTemplate is what [ZeroShotConfig] has for models of entailment where it says
// nothing.
const EntailmentTemplate = "This example is {}."

// zeroShotByEntailment pairs each text with a sentence for each label, and asks the model
// whether the sentence follows from the text.
//
// Source of the rules: transformers' ZeroShotClassificationPipeline.
func (m *Model) zeroShotByEntailment(c ZeroShotConfig) (stage.Task, error) {
	c.Template = orElse(c.Template, EntailmentTemplate)
	if err := c.validate(1); err != nil {
		return nil, err
	}
	tok, spec, answers, err := m.classifier("zeroshot", 2)
	if err != nil {
		return nil, err
	}
	tok, err = tok.With(tokenize.Config{TruncationStrategy: tokenize.OnlyFirst})
	if err != nil {
		return nil, err
	}
	h := &entailHead{scored: c.Scored, dim: spec.dim, entails: entailment(answers), multi: c.MultiLabel || len(c.Labels) == 1}
	if h.entails == 0 {
		h.contradicts = spec.dim - 1
	}
	pair := tokenize.Pair{Ends: endsColumn}
	for _, l := range c.Labels {
		h.labels = append(h.labels, l.Name)
		pair.Texts = append(pair.Texts, strings.ReplaceAll(c.Template, "{}", orElse(l.Description, l.Name)))
	}
	tokens := textColumn(c.Column, "")
	tokens[0].Pair = pair
	if spec.takes(tokenTypes) {
		tokens[0].Types = typesColumn
	}
	settings := c.Scored.settings()
	maps.Copy(settings, map[string]any{"labels": c.Labels, "template": c.Template, "multi_label": h.multi})
	return &textTask{model: m, spec: spec, name: "zeroshot", tokens: tokens, tokenizer: tok, settings: settings, per: len(c.Labels),
		batch: c.BatchSize, actors: c.Actors, head: h}, nil
}

// entailHead takes a vector as the logits of one label's sentence. Texts come row by row,
// label by label.
type entailHead struct {
	scored               Scored
	labels               []string
	dim                  int
	entails, contradicts int // places of the answers
	multi                bool
}

func (h *entailHead) fields() []arrow.Field { return h.scored.fields() }

func (h *entailHead) prepare(context.Context, *caller) error { return nil }

func (h *entailHead) begin(env stage.Env, n int) (columns, error) {
	c := &entailColumns{scoreColumns: h.scored.begin(env, h.labels, n), head: h, logits: make([]float32, h.dim)}
	if !h.multi {
		c.finish = softmax
	}
	return c, nil
}

// entailColumns holds the logits of one text at a time.
type entailColumns struct {
	*scoreColumns
	head   *entailHead
	logits []float32
}

func (c *entailColumns) at(int32) []float32 { return c.logits }

func (c *entailColumns) done(i int32) {
	yes := c.logits[c.head.entails]
	if c.head.multi { // softmax of two is the sigmoid of their difference
		yes = sigmoid(yes - c.logits[c.head.contradicts])
	}
	c.scores[i] = yes
}
