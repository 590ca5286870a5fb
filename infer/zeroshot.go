package infer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

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
	LabelColumn string // empty: "label"
	ScoreColumn string // empty: "score"
	BatchSize   int    // rows at most of a batch; 0: as many as fit a run, 64 without packing
	Actors      int    // callers of the model at once; 0: 2
}

// DefaultTemplate and DefaultTemperature are what [ZeroShotConfig] has where it says
// nothing. The temperature is the one of lowest log-loss over messages like those of
// examples/messages.txt, with all-MiniLM-L6-v2.
const (
	DefaultTemplate    = "This message is about {}."
	DefaultTemperature = 1.0 / 30
)

// ClassifyZeroShot makes a task that adds the label whose sentence is most like the text
// (string) and its score (float32): cosine similarity of the embeddings, and softmax of
// cosine / temperature over the labels. Of equal labels the first is taken. A null text
// gives null in both.
func (m *Model) ClassifyZeroShot(c ZeroShotConfig) (stage.Task, error) {
	tok, err := m.embedder()
	if err != nil {
		return nil, err
	}
	c.Template = orElse(c.Template, DefaultTemplate)
	c.LabelColumn, c.ScoreColumn = orElse(c.LabelColumn, "label"), orElse(c.ScoreColumn, "score")
	if c.Temperature == 0 {
		c.Temperature = DefaultTemperature
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	h := &zeroShotHead{config: c, dim: m.spec.dim}
	for _, l := range c.Labels {
		sentence := strings.ReplaceAll(c.Template, "{}", orElse(l.Description, l.Name))
		h.sentences = append(h.sentences, tok.AppendIDs(nil, sentence))
	}
	return &textTask{model: m, spec: m.spec, name: "classify", column: c.Column, tokenizer: tok, head: h,
		batch: c.BatchSize, actors: positive(c.Actors, 2),
		settings: map[string]any{"labels": c.Labels, "template": c.Template, "temperature": c.Temperature,
			"label_column": c.LabelColumn, "score_column": c.ScoreColumn}}, nil
}

func (c *ZeroShotConfig) validate() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("infer: classify: "+format, args...))
	}
	if c.Column == "" {
		fault("Column is empty: name the column of text")
	}
	if len(c.Labels) < 2 {
		fault("%d labels were given, two or more are needed", len(c.Labels))
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
	if !(c.Temperature > 0) || math.IsInf(c.Temperature, 0) {
		fault("temperature %v is not a positive number", c.Temperature)
	}
	if c.LabelColumn == c.ScoreColumn {
		fault("label and score cannot both be column %q", c.LabelColumn)
	}
	return errors.Join(errs...)
}

// zeroShotHead compares vectors with those of the labels.
type zeroShotHead struct {
	config    ZeroShotConfig
	dim       int
	sentences [][]int32 // of the labels, as ids

	mu     sync.Mutex
	labels [][]float32 // their vectors, of length 1; nil: not made yet
}

func (h *zeroShotHead) fields() []arrow.Field {
	return []arrow.Field{
		{Name: h.config.LabelColumn, Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: h.config.ScoreColumn, Type: arrow.PrimitiveTypes.Float32, Nullable: true},
	}
}

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
	out := newVectorList(len(rows), h.dim, true)
	if _, err := c.embed(ctx, rows, out); err != nil {
		return fmt.Errorf("infer: classify: labels: %w", err)
	}
	h.labels = out.list
	return nil
}

func (h *zeroShotHead) begin(env stage.Env, n int) (columns, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &zeroShotColumns{head: h, env: env, labels: h.labels, vector: make([]float32, h.dim),
		cosines: make([]float64, len(h.labels)), best: make([]int32, n), score: make([]float32, n)}, nil
}

// zeroShotColumns holds one vector at a time.
type zeroShotColumns struct {
	head    *zeroShotHead
	env     stage.Env
	labels  [][]float32
	vector  []float32
	cosines []float64
	best    []int32 // the label of each row; -1: null
	score   []float32
}

func (c *zeroShotColumns) at(int32) []float32 { return c.vector }

func (c *zeroShotColumns) null(i int32) { c.best[i] = -1 }

func (c *zeroShotColumns) done(i int32) {
	normalize(c.vector)
	best := 0
	for k, label := range c.labels {
		c.cosines[k] = float64(dot(c.vector, label))
		if c.cosines[k] > c.cosines[best] {
			best = k
		}
	}
	// Relative to the best, so that no exponential overflows.
	sum := 0.0
	for _, cos := range c.cosines {
		sum += math.Exp((cos - c.cosines[best]) / c.head.config.Temperature)
	}
	c.best[i], c.score[i] = int32(best), float32(1/sum)
}

func (c *zeroShotColumns) record() arrow.Record {
	label := array.NewStringBuilder(c.env.Allocator(0))
	defer label.Release()
	score := array.NewFloat32Builder(c.env.Allocator(1))
	defer score.Release()
	label.Reserve(len(c.best))
	score.Reserve(len(c.best))
	for i, k := range c.best {
		if k < 0 {
			label.AppendNull()
			score.AppendNull()
			continue
		}
		label.Append(c.head.config.Labels[k].Name)
		score.Append(c.score[i])
	}
	a, b := label.NewArray(), score.NewArray()
	defer a.Release()
	defer b.Release()
	return array.NewRecord(arrow.NewSchema(c.head.fields(), nil), []arrow.Array{a, b}, int64(len(c.best)))
}

func (c *zeroShotColumns) drop() {}
