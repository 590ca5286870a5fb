package job

import (
	"context"
	"fmt"
	"reflect"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/preprocess/tokenize"
)

// Inference says which model a stage runs, and how. It is part of every stage with a model.
type Inference struct {
	Model       string    `yaml:"model" check:"required"`                    // a model folder, or an ONNX file in one
	Variant     string    `yaml:"variant"`                                   // which ONNX file of the folder: fp16 takes model_fp16.onnx
	MaxTokens   int       `yaml:"max_tokens" check:"min=1"`                  // of a text; 0: as many as the model takes
	Threads     int       `yaml:"threads_per_actor" check:"min=1,max=1024"`  // of one call of the model; 0: 1
	Actors      int       `yaml:"actors" check:"min=1,max=10000"`            // calls of the model at once; 0: the job's, else 2
	BatchSize   BatchSize `yaml:"batch_size" check:"min=-1,max=1000000"`     // rows; 0: the job's, else 64
	InvalidUTF8 string    `yaml:"invalid_utf8" check:"oneof=replace|refuse"` // what becomes of texts that are not UTF-8: read with U+FFFD there, or their rows fail; empty: replace
	Cache       string    `yaml:"cache"`                                     // of stages that read text: a folder where results are kept; empty: they are not
	CacheSize   Size      `yaml:"cache_size" check:"min=1048576"`            // of that folder; 0: 4 GiB
}

// open opens the model's description; its weights are loaded when rows come.
func (s Inference) open(ctx context.Context, env *Env) (*infer.Model, error) {
	cfg := infer.Config{Path: s.Model, Variant: s.Variant, MaxTokens: s.MaxTokens, ThreadsPerActor: s.Threads,
		CacheDir: s.Cache, CacheBytes: int64(s.CacheSize), DeviceShare: env.share()}
	if s.InvalidUTF8 == tokenize.RefuseInvalid.String() {
		cfg.InvalidUTF8 = tokenize.RefuseInvalid
	}
	return env.Model(ctx, cfg)
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

// inferenceOf points at a copy of a step with a model; nil: it has none.
func inferenceOf(s Step) inferring {
	step := reflect.New(reflect.TypeOf(s))
	step.Elem().Set(reflect.ValueOf(s))
	with, _ := step.Interface().(inferring)
	return with
}

// Pool puts a number of actors and a batch size, where they are not 0, in the place of
// what the stages with models say.
func (j *Job) Pool(actors int, batch BatchSize) {
	j.eachBranch(func(_ string, b Branch) {
		for i, s := range b.Stages {
			if with := inferenceOf(s.Step); with != nil {
				in := with.inference()
				in.Actors, in.BatchSize = over(actors, in.Actors), over(batch, in.BatchSize)
				b.Stages[i].Step = reflect.ValueOf(with).Elem().Interface().(Step)
			}
		}
	})
}

func (s *Inference) inference() *Inference { return s }

// Embed adds embeddings of a column of text, as fixed_size_list<float32>.
type Embed struct {
	Inference
	Column      string        `yaml:"column"`                   // of text; empty: "text"
	Output      string        `yaml:"output"`                   // empty: "embedding"
	Normalize   *bool         `yaml:"normalize"`                // to length 1; nil: as the model's files say
	Prompt      string        `yaml:"prompt"`                   // put before every text: the name of one of the model's, or a text with a space or a colon; none: none; empty: the model's default
	ModelOutput string        `yaml:"model_output"`             // which output of the model; empty: the usual ones
	Pooling     string        `yaml:"pooling"`                  // mean, cls, max or lasttoken; empty: the model's
	Outputs     []EmbedOutput `yaml:"outputs"`                  // several embeddings of a text from one run, in the place of output, model_output and pooling
	Dimensions  int           `yaml:"dimensions" check:"min=1"` // the first ones of a vector; 0: all
	Chunk       int           `yaml:"chunk" check:"min=1"`      // cut long texts into rows of so many tokens; 0: cut them off at the model's limit
	Overlap     int           `yaml:"overlap" check:"min=0"`    // tokens that a chunk shares with the one before
	Average     bool          `yaml:"average_chunks"`           // rows stay whole, with the mean of their chunks' embeddings
}

// EmbedOutput is one of several embeddings of a text.
type EmbedOutput struct {
	Output      string `yaml:"output" check:"required"` // its column
	ModelOutput string `yaml:"model_output"`            // as in Embed
	Pooling     string `yaml:"pooling"`                 // as in Embed
}

// Add opens the model's description; its weights are loaded when rows come.
func (s Embed) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	m, err := s.open(ctx, env)
	if err != nil {
		return nil, err
	}
	cfg, err := s.config()
	if err != nil {
		return nil, err
	}
	actors, batch := s.pool(env)
	cfg.Actors, cfg.BatchSize = actors, batch.rows()
	task, err := m.Embed(cfg)
	if err != nil {
		return nil, err
	}
	columns, makers := s.makers(cfg)
	d = d.Run(marked{task, makers}, batch.stageConfig(env.Name))
	if !s.Average {
		return d, nil
	}
	average, err := m.AverageChunks(cfg)
	if err != nil {
		return nil, err
	}
	return d.Collect(columns...).Run(marked{average, makers}, pipeline.StageConfig{Name: env.Name}), nil
}

func (s *Embed) config() (cfg infer.EmbedConfig, err error) {
	cfg = infer.EmbedConfig{Column: orElse(s.Column, "text"), Output: s.Output, Prompt: s.Prompt, ModelOutput: s.ModelOutput,
		Dimensions: s.Dimensions, Chunk: infer.Chunk{Tokens: s.Chunk, Overlap: s.Overlap, Together: s.Average}}
	if cfg.Pooling, err = infer.ParsePooling(s.Pooling); err != nil {
		return cfg, err
	}
	for _, o := range s.Outputs {
		pooling, err := infer.ParsePooling(o.Pooling)
		if err != nil {
			return cfg, err
		}
		cfg.Outputs = append(cfg.Outputs, infer.EmbedOutput{Output: o.Output, ModelOutput: o.ModelOutput, Pooling: pooling})
	}
	if s.Normalize != nil {
		cfg.Normalize = infer.Never
		if *s.Normalize {
			cfg.Normalize = infer.Always
		}
	}
	return cfg, nil
}

// makers are the columns of embeddings, and what makes each.
func (s *Embed) makers(cfg infer.EmbedConfig) (columns []string, of map[string]maker) {
	outputs := cfg.Outputs
	if len(outputs) == 0 {
		outputs = []infer.EmbedOutput{{Output: orElse(cfg.Output, "embedding"), ModelOutput: cfg.ModelOutput, Pooling: cfg.Pooling}}
	}
	of = map[string]maker{}
	for _, o := range outputs {
		columns = append(columns, o.Output)
		of[o.Output] = maker{s.Model, s.Variant, o.ModelOutput, o.Pooling, cfg.Dimensions}
	}
	return columns, of
}

// Infer takes columns of numbers through a model of any kind, and adds a column for each of
// its outputs.
type Infer struct {
	Inference
	Bind    map[string]string `yaml:"bind"`    // from an input to its column; others: the column of its name, else the only one that fits
	Outputs map[string]string `yaml:"outputs"` // from an output to its column; none: all, by their own names
	Images  *Images           `yaml:"images"`  // columns hold images as bytes; nil: as the model wants them
}

// Images says that an input takes images, which columns hold as bytes: uint8 [height, width,
// channels]. They are scaled, normalised and transposed where the model runs.
type Images struct {
	Input  string    `yaml:"input"`                          // of the model; empty: its only one
	Scale  float32   `yaml:"scale"`                          // that bytes are multiplied by; 0: 1/255
	Mean   []float32 `yaml:"mean"`                           // that is subtracted behind that: one for each channel, or one for all
	Std    []float32 `yaml:"std"`                            // that is divided by behind that, likewise
	Layout string    `yaml:"layout" check:"oneof=nchw|nhwc"` // of the model's input; empty: as its shape shows
}

func (p *Images) config() (*infer.Images, error) {
	if p == nil {
		return nil, nil
	}
	layout, err := infer.ParseLayout(p.Layout)
	return &infer.Images{Input: p.Input, Scale: p.Scale, Mean: p.Mean, Std: p.Std, Layout: layout}, err
}

// Add opens the model's description; its weights are loaded when rows come.
func (s Infer) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	if s.Cache != "" {
		return nil, fmt.Errorf("the cache is for stages that read text")
	}
	if s.InvalidUTF8 != "" {
		return nil, fmt.Errorf("invalid_utf8 is for stages that read text")
	}
	m, err := s.open(ctx, env)
	if err != nil {
		return nil, err
	}
	cfg := infer.InferConfig{Bind: s.Bind, Outputs: s.Outputs}
	if cfg.Images, err = s.Images.config(); err != nil {
		return nil, err
	}
	actors, batch := s.pool(env)
	cfg.Actors, cfg.BatchSize = actors, batch.rows()
	task, err := m.Infer(cfg)
	if err != nil {
		return nil, err
	}
	return d.Run(task, batch.stageConfig(env.Name)), nil
}
