package job

import (
	"context"
	"reflect"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pipeline"
)

// Inference says which model a stage runs, and how. It is part of every stage with a model.
type Inference struct {
	Model     string    `yaml:"model" check:"required"`                   // a model folder, or an ONNX file in one
	Variant   string    `yaml:"variant"`                                  // which ONNX file of the folder: fp16 takes model_fp16.onnx
	MaxTokens int       `yaml:"max_tokens" check:"min=1"`                 // of a text; 0: as many as the model takes
	Threads   int       `yaml:"threads_per_actor" check:"min=1,max=1024"` // of one call of the model; 0: 1
	Actors    int       `yaml:"actors" check:"min=1,max=10000"`           // calls of the model at once; 0: the job's, else 2
	BatchSize BatchSize `yaml:"batch_size" check:"min=-1,max=1000000"`    // rows; 0: the job's, else 64
}

// open opens the model's description; its weights are loaded when rows come.
func (s Inference) open(ctx context.Context, env *Env) (*infer.Model, error) {
	return env.Model(ctx, infer.Config{Path: s.Model, Variant: s.Variant, MaxTokens: s.MaxTokens, ThreadsPerActor: s.Threads})
}

// pool is the step's own number of actors and batch size, else the job's.
func (s Inference) pool(env *Env) (actors int, batch BatchSize) {
	return over(s.Actors, env.Settings.Actors), over(s.BatchSize, env.Settings.BatchSize)
}

// over is n, or what was there where n is 0.
func over[T ~int](n, was T) T {
	if n != 0 {
		return n
	}
	return was
}

// inferring is implemented by stages with a model.
type inferring interface{ inference() *Inference }

// Pool puts a number of actors and a batch size, where they are not 0, in the place of
// what the stages with models say.
func (j *Job) Pool(actors int, batch BatchSize) {
	j.eachBranch(func(_ string, b Branch) {
		for i, s := range b.Stages {
			step := reflect.New(reflect.TypeOf(s.Step))
			step.Elem().Set(reflect.ValueOf(s.Step))
			if with, ok := step.Interface().(inferring); ok {
				in := with.inference()
				in.Actors, in.BatchSize = over(actors, in.Actors), over(batch, in.BatchSize)
				b.Stages[i].Step = step.Elem().Interface().(Step)
			}
		}
	})
}

func (s *Inference) inference() *Inference { return s }

// Embed adds embeddings of a column of text, as fixed_size_list<float32>.
type Embed struct {
	Inference
	Column    string `yaml:"column"`    // of text; empty: "text"
	Output    string `yaml:"output"`    // empty: "embedding"
	Normalize *bool  `yaml:"normalize"` // to length 1; nil: as the model's files say
	Prompt    string `yaml:"prompt"`    // name of one of the model's prompts, put before every text
}

// Add opens the model's description; its weights are loaded when rows come.
func (s Embed) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	m, err := s.open(ctx, env)
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
	actors, batch := s.pool(env)
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
	Inference
	Column      string  `yaml:"column"`                                  // of text; empty: "text"
	Labels      Labels  `yaml:"labels"`                                  // two or more, here or in a file
	LabelsFile  string  `yaml:"labels_file"`                             // lines "name: description", "#" before comments
	Template    string  `yaml:"template"`                                // {} stands for the label; empty: "This message is about {}."
	Temperature float64 `yaml:"temperature" check:"min=0.0001,max=1000"` // of the softmax; 0: DefaultTemperature
	LabelColumn string  `yaml:"label_column"`                            // empty: "label"
	ScoreColumn string  `yaml:"score_column"`                            // empty: "score"
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
	m, err := s.open(ctx, env)
	if err != nil {
		return nil, err
	}
	cfg := infer.ZeroShotConfig{Column: orElse(s.Column, "text"), Labels: labels, Template: s.Template, Temperature: s.Temperature,
		LabelColumn: s.LabelColumn, ScoreColumn: s.ScoreColumn}
	if cfg.Temperature == 0 {
		cfg.Temperature = DefaultTemperature
	}
	actors, batch := s.pool(env)
	cfg.Actors, cfg.BatchSize = actors, batch.rows()
	task, err := m.ClassifyZeroShot(cfg)
	if err != nil {
		return nil, err
	}
	return d.Run(task, batch.stageConfig(env.Name)), nil
}

// Infer takes columns of numbers through a model of any kind, and adds a column for each of
// its outputs.
type Infer struct {
	Inference
	Bind    map[string]string `yaml:"bind"`    // from an input to its column; others: the column of its name, else the only one that fits
	Outputs map[string]string `yaml:"outputs"` // from an output to its column; none: all, by their own names
}

// Add opens the model's description; its weights are loaded when rows come.
func (s Infer) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	m, err := s.open(ctx, env)
	if err != nil {
		return nil, err
	}
	cfg := infer.InferConfig{Bind: s.Bind, Outputs: s.Outputs}
	actors, batch := s.pool(env)
	cfg.Actors, cfg.BatchSize = actors, batch.rows()
	task, err := m.Infer(cfg)
	if err != nil {
		return nil, err
	}
	return d.Run(task, batch.stageConfig(env.Name)), nil
}
