package job

import (
	"context"
	"fmt"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pipeline"
)

// DefaultTemperature is that of [Zeroshot].
const DefaultTemperature = infer.DefaultTemperature

// Scored says which labels of a row come out: the best one and its score, unless more are
// asked for, which are a list<struct<label, score>>.
type Scored struct {
	TopK         int     `yaml:"top_k" check:"min=1"`     // so many, the best first
	Threshold    float64 `yaml:"threshold" check:"min=0"` // those that have at least this score
	LabelColumn  string  `yaml:"label_column"`            // empty: "label"
	ScoreColumn  string  `yaml:"score_column"`            // empty: "score"
	LabelsColumn string  `yaml:"labels_column"`           // of the list; empty: "labels"
}

func (s Scored) config() infer.Scored { return infer.Scored(s) }

// Zeroshot labels texts by labels that the model was never trained on: by the embeddings
// of text and label, or, where the model is one of entailment, by asking it.
type Zeroshot struct {
	Inference
	Column      string  `yaml:"column"`                                  // of text; empty: "text"
	Labels      Labels  `yaml:"labels"`                                  // here or in a file
	LabelsFile  string  `yaml:"labels_file"`                             // lines "name: description", "#" before comments
	Template    string  `yaml:"template"`                                // {} stands for the label; empty: "This message is about {}.", of entailment "This example is {}."
	Temperature float64 `yaml:"temperature" check:"min=0.0001,max=1000"` // of the softmax of embeddings' cosines; 0: DefaultTemperature
	MultiLabel  bool    `yaml:"multi_label"`                             // labels do not exclude each other; of entailment only
	Scored
}

// Add opens the model's description; its weights are loaded when rows come.
func (s Zeroshot) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	labels := s.Labels
	if s.LabelsFile != "" {
		more, err := LoadLabels(s.LabelsFile)
		if err != nil {
			return nil, err
		}
		labels = append(labels[:len(labels):len(labels)], more...)
	}
	m, err := s.open(ctx, env)
	if err != nil {
		return nil, err
	}
	actors, batch := s.pool(env)
	task, err := m.ClassifyZeroShot(infer.ZeroShotConfig{Column: orElse(s.Column, "text"), Labels: labels, Template: s.Template,
		Temperature: s.Temperature, MultiLabel: s.MultiLabel, Scored: s.Scored.config(), Actors: actors, BatchSize: batch.rows()})
	if err != nil {
		return nil, err
	}
	return d.Run(task, batch.stageConfig(env.Name)), nil
}

// Classify labels texts by a model that was trained for its labels. Where labels are
// given, it is [Zeroshot].
type Classify struct {
	Zeroshot
	Activation string `yaml:"activation" check:"oneof=model|softmax|sigmoid|none"` // what makes scores of logits; empty: the model's
}

// Add opens the model's description; its weights are loaded when rows come.
func (s Classify) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	if len(s.Labels) > 0 || s.LabelsFile != "" {
		return s.Zeroshot.Add(ctx, env, d)
	}
	m, err := s.open(ctx, env)
	if err != nil {
		return nil, err
	}
	activation, err := infer.ParseActivation(s.Activation)
	if err != nil {
		return nil, err
	}
	actors, batch := s.pool(env)
	task, err := m.Classify(infer.ClassifyConfig{Column: orElse(s.Column, "text"), Scored: s.Scored.config(), Activation: activation,
		Actors: actors, BatchSize: batch.rows()})
	if err != nil {
		return nil, fmt.Errorf("%w; to classify by labels that the model was not trained for, give labels", err)
	}
	return d.Run(task, batch.stageConfig(env.Name)), nil
}

// NER adds the entities that a model for token classification finds in texts, as
// list<struct<entity, score, start, end, text>>; start and end count code points.
type NER struct {
	Inference
	Column      string   `yaml:"column"`                                                  // of text; empty: "text"
	Aggregation string   `yaml:"aggregation" check:"oneof=simple|first|max|average|none"` // as transformers defines it; empty: simple
	Ignore      *Strings `yaml:"ignore"`                                                  // labels that are no entities; nil: "O"
	Threshold   float64  `yaml:"threshold" check:"min=0,max=1"`                           // entities with lower scores are left out
	Output      string   `yaml:"output"`                                                  // empty: "entities"
}

// Add opens the model's description; its weights are loaded when rows come.
func (s NER) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	m, err := s.open(ctx, env)
	if err != nil {
		return nil, err
	}
	actors, batch := s.pool(env)
	cfg := infer.EntityConfig{Column: orElse(s.Column, "text"), Threshold: s.Threshold, Output: s.Output, Actors: actors, BatchSize: batch.rows()}
	if s.Ignore != nil {
		cfg.Ignore = append([]string{}, *s.Ignore...)
	}
	if cfg.Aggregation, err = infer.ParseAggregation(s.Aggregation); err != nil {
		return nil, err
	}
	task, err := m.Entities(cfg)
	if err != nil {
		return nil, err
	}
	return d.Run(task, batch.stageConfig(env.Name)), nil
}

// Rerank adds how well texts answer a query, by a cross-encoder. One of Query and
// QueryColumn is needed.
type Rerank struct {
	Inference
	Column      string `yaml:"column"`                                              // of the texts; empty: "text"
	Query       string `yaml:"query"`                                               // for all texts
	QueryColumn string `yaml:"query_column"`                                        // of a query for each text, instead
	Output      string `yaml:"output"`                                              // empty: "score"
	Activation  string `yaml:"activation" check:"oneof=model|softmax|sigmoid|none"` // what makes a score of the logit; empty: the model's
}

// Add opens the model's description; its weights are loaded when rows come.
func (s Rerank) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	m, err := s.open(ctx, env)
	if err != nil {
		return nil, err
	}
	activation, err := infer.ParseActivation(s.Activation)
	if err != nil {
		return nil, err
	}
	actors, batch := s.pool(env)
	task, err := m.Rerank(infer.RerankConfig{Column: orElse(s.Column, "text"), Query: s.Query, QueryColumn: s.QueryColumn, Output: s.Output,
		Activation: activation, Actors: actors, BatchSize: batch.rows()})
	if err != nil {
		return nil, err
	}
	return d.Run(task, batch.stageConfig(env.Name)), nil
}

// Similarity adds the cosine of the embeddings of two columns of text.
type Similarity struct {
	Inference
	Column      string `yaml:"column"`                   // of text; empty: "text"
	Other       string `yaml:"other" check:"required"`   // of text
	Prompt      string `yaml:"prompt"`                   // put before the texts of Column: see [Embed]
	OtherPrompt string `yaml:"other_prompt"`             // put before those of Other
	Dimensions  int    `yaml:"dimensions" check:"min=1"` // the first ones of a vector; 0: all
	Output      string `yaml:"output"`                   // empty: "similarity"
}

// Add opens the model's description; its weights are loaded when rows come.
func (s Similarity) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	m, err := s.open(ctx, env)
	if err != nil {
		return nil, err
	}
	actors, batch := s.pool(env)
	task, err := m.Similarity(infer.SimilarityConfig{Column: orElse(s.Column, "text"), Other: s.Other, Prompt: s.Prompt, OtherPrompt: s.OtherPrompt,
		Dimensions: s.Dimensions, Output: s.Output, Actors: actors, BatchSize: batch.rows()})
	if err != nil {
		return nil, err
	}
	return d.Run(task, batch.stageConfig(env.Name)), nil
}
