package job

import (
	"context"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pipeline"
)

// Embed adds embeddings of a column of text, as fixed_size_list<float32>.
type Embed struct {
	Model     string    `yaml:"model" check:"required"` // a model folder, or an ONNX file in one
	Column    string    `yaml:"column"`                 // of text; empty: "text"
	Output    string    `yaml:"output"`                 // empty: "embedding"
	Normalize *bool     `yaml:"normalize"`              // to length 1; nil: as the model's files say
	Prompt    string    `yaml:"prompt"`                 // name of one of the model's prompts, put before every text
	Variant   string    `yaml:"variant"`                // which ONNX file of the folder: fp16 takes model_fp16.onnx
	MaxTokens int       `yaml:"max_tokens" check:"min=1"`
	Actors    int       `yaml:"actors" check:"min=1,max=10000"`        // calls of the model at once; 0: the job's, else 2
	BatchSize BatchSize `yaml:"batch_size" check:"min=-1,max=1000000"` // rows; 0: the job's, else 64
}

// Add opens the model's description; its weights are loaded when rows come.
func (s Embed) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	m, err := env.Model(ctx, infer.Config{Path: s.Model, Variant: s.Variant, MaxTokens: s.MaxTokens})
	if err != nil {
		return nil, err
	}
	cfg := infer.EmbedConfig{Column: orElse(s.Column, "text"), Output: s.Output, Prompt: s.Prompt}
	if s.Normalize != nil {
		cfg.Normalize = infer.Never
		if *s.Normalize {
			cfg.Normalize = infer.Always
		}
	}
	actors, batch := env.pool(s.Actors, s.BatchSize)
	cfg.Actors, cfg.BatchSize = actors, batch.rows()
	task, err := m.Embed(cfg)
	if err != nil {
		return nil, err
	}
	task = marked{task, orElse(s.Output, "embedding"), s.Model}
	return d.Run(task, batch.stageConfig(env.Name)), nil
}

// DefaultTemperature is that of [Classify].
const DefaultTemperature = infer.DefaultTemperature

// Classify adds the label whose description is most like a text, and its score: zero-shot,
// by the embeddings of both.
type Classify struct {
	Model       string    `yaml:"model" check:"required"`
	Column      string    `yaml:"column"`                                  // of text; empty: "text"
	Labels      Labels    `yaml:"labels"`                                  // two or more, here or in a file
	LabelsFile  string    `yaml:"labels_file"`                             // lines "name: description", "#" before comments
	Template    string    `yaml:"template"`                                // {} stands for the label; empty: "This message is about {}."
	Temperature float64   `yaml:"temperature" check:"min=0.0001,max=1000"` // of the softmax; 0: DefaultTemperature
	LabelColumn string    `yaml:"label_column"`                            // empty: "label"
	ScoreColumn string    `yaml:"score_column"`                            // empty: "score"
	Variant     string    `yaml:"variant"`
	MaxTokens   int       `yaml:"max_tokens" check:"min=1"`
	Actors      int       `yaml:"actors" check:"min=1,max=10000"`
	BatchSize   BatchSize `yaml:"batch_size" check:"min=-1,max=1000000"`
}

// Add opens the model's description; its weights are loaded when rows come.
func (s Classify) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	labels := s.Labels
	if s.LabelsFile != "" {
		more, err := LoadLabels(s.LabelsFile)
		if err != nil {
			return nil, err
		}
		labels = append(labels[:len(labels):len(labels)], more...)
	}
	m, err := env.Model(ctx, infer.Config{Path: s.Model, Variant: s.Variant, MaxTokens: s.MaxTokens})
	if err != nil {
		return nil, err
	}
	cfg := infer.ZeroShotConfig{Column: orElse(s.Column, "text"), Labels: labels, Template: s.Template, Temperature: s.Temperature,
		LabelColumn: s.LabelColumn, ScoreColumn: s.ScoreColumn}
	if cfg.Temperature == 0 {
		cfg.Temperature = DefaultTemperature
	}
	actors, batch := env.pool(s.Actors, s.BatchSize)
	cfg.Actors, cfg.BatchSize = actors, batch.rows()
	task, err := m.ClassifyZeroShot(cfg)
	if err != nil {
		return nil, err
	}
	return d.Run(task, batch.stageConfig(env.Name)), nil
}

// Select keeps the columns that are named, in that order.
type Select Strings

func (Select) oneOrMany() {}

// Add puts the step behind d.
func (s Select) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.Select(s...), nil
}

// Drop removes the columns that are named.
type Drop Strings

func (Drop) oneOrMany() {}

// Add puts the step behind d.
func (s Drop) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.Drop(s...), nil
}

// Rename gives columns new names: from old to new.
type Rename map[string]string

// Add puts the step behind d.
func (s Rename) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.Rename(s), nil
}

// Expression is an expression of package expr, written as its text.
type Expression struct{ expr.Expr }

// UnmarshalText reads an expression.
func (e *Expression) UnmarshalText(text []byte) (err error) {
	e.Expr, err = expr.Parse(string(text))
	return err
}

// Filter keeps the rows for which an expression is true.
type Filter struct{ Where Expression }

// UnmarshalText reads the expression.
func (s *Filter) UnmarshalText(text []byte) error { return s.Where.UnmarshalText(text) }

// Add puts the step behind d.
func (s Filter) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	if s.Where.Expr == nil {
		return nil, fmt.Errorf("the filter has no expression")
	}
	return d.Filter(s.Where.Expr), nil
}

// WithColumn adds a column that an expression computes, or puts it in the place of the one
// of that name.
type WithColumn struct {
	Name string     `yaml:"name" check:"required"`
	Expr Expression `yaml:"expr" check:"required"`
}

// Add puts the step behind d.
func (s WithColumn) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.WithColumn(s.Name, s.Expr.Expr), nil
}

// Limit keeps the first rows and stops the source when it has them.
type Limit int64

// UnmarshalYAML reads a number that is not negative.
func (s *Limit) UnmarshalYAML(n *yaml.Node) error {
	var rows int64
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || n.Decode(&rows) != nil || rows < 0 {
		return fmt.Errorf("want a number of rows, not %s", describe(n))
	}
	*s = Limit(rows)
	return nil
}

// Add puts the step behind d.
func (s Limit) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.Limit(int64(s)), nil
}

// SourceColumns adds two columns that say where a row comes from.
type SourceColumns struct {
	File string `yaml:"file"` // a string; empty: "file"
	Row  string `yaml:"row"`  // an int64, from 0; empty: "row"
}

// Add puts the step behind d.
func (s SourceColumns) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.WithSource(orElse(s.File, "file"), orElse(s.Row, "row")), nil
}

// Repartition cuts the rows into blocks of so many rows, or of so many bytes.
type Repartition struct {
	Rows  int  `yaml:"rows" check:"min=1"`
	Bytes Size `yaml:"bytes" check:"min=1"`
}

// Add puts the step behind d.
func (s Repartition) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.Repartition(s.Rows, int64(s.Bytes)), nil
}

// RandomSample keeps each row with a probability.
type RandomSample struct {
	Fraction float64 `yaml:"fraction" check:"required,min=0,max=1"`
	Seed     uint64  `yaml:"seed"` // 0: the job's
}

// Add puts the step behind d.
func (s RandomSample) Add(_ context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	if s.Seed == 0 {
		s.Seed = env.Settings.Seed
	}
	return d.RandomSample(s.Fraction, s.Seed), nil
}

// RandomizeBlockOrder reads the parts of the source in another order. It is the first stage, or
// stands right behind materialize.
type RandomizeBlockOrder struct {
	Seed uint64 `yaml:"seed"` // 0: the job's
}

// Add puts the step behind d.
func (s RandomizeBlockOrder) Add(_ context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	if s.Seed == 0 {
		s.Seed = env.Settings.Seed
	}
	return d.RandomizeBlockOrder(s.Seed), nil
}

// Pool puts a number of actors and a batch size, where they are not 0, in the place of
// what the stages with models say.
func (j *Job) Pool(actors int, batch BatchSize) {
	j.eachBranch(func(_ string, b Branch) {
		for i, s := range b.Stages {
			switch step := s.Step.(type) {
			case Embed:
				step.Actors, step.BatchSize = over(actors, step.Actors), over(batch, step.BatchSize)
				b.Stages[i].Step = step
			case Classify:
				step.Actors, step.BatchSize = over(actors, step.Actors), over(batch, step.BatchSize)
				b.Stages[i].Step = step
			}
		}
	})
}

func over[T ~int](n, was T) T {
	if n != 0 {
		return n
	}
	return was
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
