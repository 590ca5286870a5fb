package infer

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// RerankConfig says how texts are scored against a query by a cross-encoder. Column and
// one of Query and QueryColumn are needed.
type RerankConfig struct {
	Column      string // of the texts
	QueryColumn string // of a query for each text
	Query       string // for all texts, instead
	Output      string // empty: "score"
	Activation  Activation
	BatchSize   int // rows at most of a batch; 0: as many as fit a run, 64 without packing
	Actors      int // callers of the model at once; 0: 2 on the CPU, as many as fit on devices
}

// Rerank makes a task that adds how well a text answers a query (float32; more is better),
// by a model that reads the two together, the query first. A null text or query gives
// null. The score is the sigmoid of the model's logit, unless its config.json names the
// identity (sentence_transformers.activation_fn, or sbert_ce_default_activation_function).
//
// Source of the rules: sentence-transformers' CrossEncoder.
func (m *Model) Rerank(c RerankConfig) (stage.Task, error) {
	tok, spec, _, err := m.classifier("rerank", 2)
	if err != nil {
		return nil, err
	}
	switch {
	case spec.dim != 1:
		return nil, fmt.Errorf("infer: rerank: model %s gives %d scores for a pair, not one", m.cfg.Path, spec.dim)
	case c.Column == "":
		return nil, fmt.Errorf("infer: rerank: Column is empty: name the column of text")
	case (c.Query == "") == (c.QueryColumn == ""):
		return nil, fmt.Errorf("infer: rerank: one of Query and QueryColumn is needed")
	}
	if c.Activation == ModelActivation {
		if c.Activation, err = m.folder.config.pairActivation(); err != nil {
			return nil, fmt.Errorf("infer: rerank: model %s: %w", m.cfg.Path, err)
		}
	}
	tok, err = tok.With(tokenize.Config{TruncationStrategy: tokenize.LongestFirst})
	if err != nil {
		return nil, err
	}
	tokens := textColumn(c.Column, "")
	tokens[0].Pair = tokenize.Pair{Column: c.QueryColumn, First: true}
	if c.Query != "" {
		tokens[0].Pair.Texts = []string{c.Query}
	}
	if spec.takes(tokenTypes) {
		tokens[0].Types = typesColumn
	}
	c.Output = orElse(c.Output, "score")
	return &textTask{model: m, spec: spec, name: "rerank", tokens: tokens, tokenizer: tok,
		batch: c.BatchSize, actors: c.Actors,
		settings: map[string]any{"query": c.Query, "output": c.Output, "activation": c.Activation.String()},
		head:     &numberHead{name: c.Output, dim: 1, of: func(v []float32) float32 { c.Activation.apply(v); return v[0] }}}, nil
}

// pairActivation is what sentence-transformers makes a score of a pair's logit with: what
// the model's files name, by the name of a class of PyTorch, else the sigmoid.
func (c *modelConfig) pairActivation() (Activation, error) {
	name := orElse(c.Sentence.Activation, c.OldActivation)
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "", "Sigmoid":
		return Sigmoid, nil
	case "Identity":
		return Raw, nil
	}
	return 0, fmt.Errorf("its activation %s is not known: choose one", name)
}

// numberHead makes one number of each row's vectors, which lie one behind the other: per
// of them.
type numberHead struct {
	name string
	dim  int
	per  int // 0: 1
	of   func(v []float32) float32
}

func (h *numberHead) fields() []arrow.Field {
	return []arrow.Field{{Name: h.name, Type: arrow.PrimitiveTypes.Float32, Nullable: true}}
}

func (h *numberHead) prepare(context.Context, *caller) error { return nil }

func (h *numberHead) begin(env stage.Env, n int) (columns, error) {
	return &numberColumns{head: h, env: env, all: make([]float32, n*h.row()), nulls: make([]bool, n)}, nil
}

// row is how many numbers the vectors of a row have.
func (h *numberHead) row() int { return h.dim * max(h.per, 1) }

type numberColumns struct {
	head  *numberHead
	env   stage.Env
	all   []float32
	nulls []bool
}

func (c *numberColumns) at(i int32) []float32 {
	return c.all[int(i)*c.head.dim : (int(i)+1)*c.head.dim]
}

func (c *numberColumns) done(int32) {}

func (c *numberColumns) null(row int32) { c.nulls[row] = true }

func (c *numberColumns) record() arrow.Record {
	b := array.NewFloat32Builder(c.env.Allocator(0))
	defer b.Release()
	b.Reserve(len(c.nulls))
	size := c.head.row()
	for i, null := range c.nulls {
		if null {
			b.AppendNull()
		} else {
			b.Append(c.head.of(c.all[i*size : (i+1)*size]))
		}
	}
	col := b.NewArray()
	defer col.Release()
	return array.NewRecord(arrow.NewSchema(c.head.fields(), nil), []arrow.Array{col}, int64(len(c.nulls)))
}

func (c *numberColumns) drop() {}

// SimilarityConfig says how two columns of text are compared. Column and Other are needed.
type SimilarityConfig struct {
	Column, Other       string // of text
	Prompt, OtherPrompt string // put before the texts of each: see [EmbedConfig]
	Output              string // empty: "similarity"
	Dimensions          int    // of the embeddings that are compared: see [EmbedConfig]
	BatchSize           int    // rows at most of a batch; 0: as many as fit a run, 64 without packing
	Actors              int    // callers of the model at once; 0: 2 on the CPU, as many as fit on devices
}

// Similarity makes a task that adds the cosine of the embeddings of two texts (float32,
// from -1 to 1). If one of them is null, so is the cosine; that of a zero vector is 0.
func (m *Model) Similarity(c SimilarityConfig) (stage.Task, error) {
	tok, err := m.embedder()
	if err != nil {
		return nil, err
	}
	if c.Column == "" || c.Other == "" {
		return nil, fmt.Errorf("infer: similarity: Column and Other name the two columns of text")
	}
	first, err := m.prompt(c.Prompt)
	if err != nil {
		return nil, err
	}
	second, err := m.prompt(c.OtherPrompt)
	if err != nil {
		return nil, err
	}
	dim, err := m.dimensions(m.spec.dim, c.Dimensions)
	if err != nil {
		return nil, err
	}
	c.Output = orElse(c.Output, "similarity")
	tokens := append(textColumn(c.Column, first), textColumn(c.Other, second)...)
	tokens[1].Output = otherColumn
	full := m.spec.dim
	compare := func(v []float32) float32 {
		a, b := v[:dim], v[full:full+dim]
		normalize(a)
		normalize(b)
		return dot(a, b)
	}
	return &textTask{model: m, spec: m.spec, name: "similarity", tokens: tokens, tokenizer: tok, per: 2,
		batch: c.BatchSize, actors: c.Actors,
		settings: map[string]any{"output": c.Output, "dimensions": dim},
		head:     &numberHead{name: c.Output, dim: full, per: 2, of: compare}}, nil
}
