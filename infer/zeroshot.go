package infer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// Label is a class that texts can have.
type Label struct {
	Name string
	// Description stands for the name in the template; empty: the name itself.
	Description string
}

// ZeroShotConfig says how a column of text is classified by labels that the model was
// never trained on. Column and Labels are needed.
type ZeroShotConfig struct {
	Column string
	Labels []Label // two or more
	// Template makes a sentence of a label: {} is replaced by its description or name.
	// Empty: "This message is about {}."
	Template string
	// Temperature of the softmax over the cosines. Cosines of unlike sentences differ
	// by tenths: without it every score would be near 1/labels. 0: 0.05.
	Temperature float64
	// MultiLabel says that labels do not exclude each other: each has a score of its own,
	// from 0 to 1. Only models of entailment can.
	MultiLabel bool
	Scored
	BatchSize int // rows at most of a batch; 0: as many as fit a run, 64 without packing
	Actors    int // callers of the model at once; 0: 2 on the CPU, as many as fit on devices
}

// DefaultTemplate and DefaultTemperature are what [ZeroShotConfig] has where it says
// nothing. The temperature is the one of lowest log-loss over messages like those of
// examples/messages.txt, with all-MiniLM-L6-v2.
const (
	DefaultTemplate    = "This message is about {}."
	DefaultTemperature = 1.0 / 30
)

// ClassifyZeroShot makes a task that adds the labels that suit a text best. Of equal labels
// the first is taken. A null text gives null.
//
// A model that embeds text compares the text with the labels' sentences: cosine similarity
// of the embeddings, and softmax of cosine / temperature over the labels. A model of
// entailment (one of its labels begins with "entail") reads the text with each sentence,
// and says whether the sentence follows: softmax of that logit over the labels or, with
// MultiLabel, over entailment and contradiction for each label by itself.
func (m *Model) ClassifyZeroShot(c ZeroShotConfig) (stage.Task, error) {
	if entailment(m.folder.labels) >= 0 {
		return m.zeroShotByEntailment(c)
	}
	tok, err := m.embedder()
	if err != nil {
		return nil, err
	}
	if c.MultiLabel {
		return nil, fmt.Errorf("infer: classify: model %s compares embeddings: for labels that do not exclude each other a model of entailment is needed", m.cfg.Path)
	}
	c.Template = orElse(c.Template, DefaultTemplate)
	if c.Temperature == 0 {
		c.Temperature = DefaultTemperature
	}
	if err := c.validate(2); err != nil {
		return nil, err
	}
	settings := c.Scored.settings()
	maps.Copy(settings, map[string]any{"labels": c.Labels, "template": c.Template, "temperature": c.Temperature})
	h := &zeroShotHead{config: c, dim: m.spec.dim}
	for _, l := range c.Labels {
		sentence := strings.ReplaceAll(c.Template, "{}", orElse(l.Description, l.Name))
		h.sentences = append(h.sentences, tok.AppendIDs(nil, sentence))
	}
	return &textTask{model: m, spec: m.spec, name: "zeroshot", tokens: textColumn(c.Column, ""), tokenizer: tok, head: h,
		batch: c.BatchSize, actors: c.Actors, settings: settings}, nil
}

func (c *ZeroShotConfig) validate(labels int) error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("infer: classify: "+format, args...))
	}
	if c.Column == "" {
		fault("Column is empty: name the column of text")
	}
	if len(c.Labels) < labels {
		fault("%d labels were given, %s are needed", len(c.Labels), map[int]string{1: "one or more", 2: "two or more"}[labels])
	}
	seen := map[string]bool{}
	for i, l := range c.Labels {
		switch {
		case strings.TrimSpace(l.Name) == "":
			fault("label %d has no name", i+1)
		case seen[l.Name]:
			fault("label %q was given twice", l.Name)
		}
		seen[l.Name] = true
	}
	if !strings.Contains(c.Template, "{}") {
		fault("template %q has no {} for the label to stand in", c.Template)
	}
	if labels > 1 && !(c.Temperature > 0) || math.IsInf(c.Temperature, 0) {
		fault("temperature %v is not a positive number", c.Temperature)
	}
	return errors.Join(append(errs, c.Scored.validate())...)
}

// zeroShotHead compares vectors with those of the labels.
type zeroShotHead struct {
	config    ZeroShotConfig
	dim       int
	sentences [][]int32 // of the labels, as ids

	mu     sync.Mutex
	labels [][]float32 // their vectors, of length 1; nil: not made yet
}

func (h *zeroShotHead) fields() []arrow.Field { return h.config.fields() }

// prepare embeds the labels: the first worker does it for all.
func (h *zeroShotHead) prepare(ctx context.Context, c *caller) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.labels != nil {
		return nil
	}
	rows := make([]row, len(h.sentences))
	for i, ids := range h.sentences {
		rows[i] = row{ids: ids, at: int32(i)}
	}
	out := newVectorList(len(rows), vectorColumn{dim: h.dim, full: h.dim, normalize: true})
	if _, err := c.embed(ctx, rows, out); err != nil {
		return fmt.Errorf("infer: classify: labels: %w", err)
	}
	h.labels = out.list
	return nil
}

func (h *zeroShotHead) begin(env stage.Env, n int) (columns, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	names := make([]string, len(h.config.Labels))
	for i, l := range h.config.Labels {
		names[i] = l.Name
	}
	return &zeroShotColumns{scoreColumns: h.config.begin(env, names, n), labels: h.labels, vector: make([]float32, h.dim),
		cosines: make([]float64, len(h.labels)), temperature: h.config.Temperature}, nil
}

// zeroShotColumns holds one vector at a time.
type zeroShotColumns struct {
	*scoreColumns
	labels      [][]float32
	vector      []float32
	cosines     []float64
	temperature float64
}

func (c *zeroShotColumns) at(int32) []float32 { return c.vector }

func (c *zeroShotColumns) done(i int32) {
	normalize(c.vector)
	top := math.Inf(-1)
	for k, label := range c.labels {
		c.cosines[k] = float64(dot(c.vector, label))
		top = max(top, c.cosines[k])
	}
	// Relative to the best, so that no exponential overflows.
	sum := 0.0
	for k, cos := range c.cosines {
		c.cosines[k] = math.Exp((cos - top) / c.temperature)
		sum += c.cosines[k]
	}
	for k, e := range c.cosines {
		c.of(i)[k] = float32(e / sum)
	}
}
