package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-data/penstock/job"
)

// modelFlags are the flags of every verb that takes rows through a model.
type modelFlags struct {
	Model   string `required:"" placeholder:"DIR" help:"Model folder, as Hugging Face has them, or an ONNX file in one."`
	Variant string `placeholder:"NAME" help:"Which ONNX file of the folder: int8 takes model_int8.onnx."`
}

func (f *modelFlags) inference() job.Inference {
	return job.Inference{Model: f.Model, Variant: f.Variant}
}

// textFlags are the flags of every verb that reads text.
type textFlags struct {
	Column      string   `group:"Input and output:" default:"text" help:"The column of text. Files of lines have the one column text."`
	TextTokens  int      `name:"max-tokens" placeholder:"N" help:"Cut texts to so many tokens. Default: as many as the model takes."`
	Cache       string   `group:"Resources:" placeholder:"DIR" help:"Keep what the model gives for each text in this folder, so that texts that come again cost nothing, in other jobs, too. Default: nothing is kept."`
	CacheSize   job.Size `group:"Resources:" placeholder:"4GiB" help:"Bound of that folder; what was kept first goes first."`
	InvalidUTF8 string   `group:"Rows:" name:"invalid-utf8" enum:"replace,refuse" default:"replace" placeholder:"replace" help:"What becomes of text in Parquet and Arrow files that is not UTF-8: replace reads it as Python's errors=replace does, refuse has its row fail. Other files must be UTF-8."`
}

func (f *textFlags) reads(m *modelFlags) job.Inference {
	in := m.inference()
	in.MaxTokens, in.InvalidUTF8, in.Cache, in.CacheSize = f.TextTokens, f.InvalidUTF8, f.Cache, f.CacheSize
	return in
}

// scoredFlags say which labels of a row come out.
type scoredFlags struct {
	TopK      int     `placeholder:"N" help:"Give the best N labels, as one column labels: list<struct<label, score>>."`
	Threshold float64 `placeholder:"0.5" help:"Give the labels that have at least this score, likewise."`
}

func (f *scoredFlags) scored() job.Scored { return job.Scored{TopK: f.TopK, Threshold: f.Threshold} }

// labelFlags are the labels of zero-shot classification.
type labelFlags struct {
	Labels      []string `sep:"none" placeholder:"A,B,…" help:"Labels, each as a name or \"name: description\"."`
	LabelsFile  string   `placeholder:"FILE" help:"Labels from a file, one a line as \"name: description\"; # begins a comment."`
	Template    string   `placeholder:"TEXT" help:"The sentence of a label: {} stands for its description, or its name. Default: \"This message is about {}.\"; for models of entailment \"This example is {}.\"."`
	Temperature float64  `placeholder:"0.033" help:"Of the softmax that makes scores of cosines: lower is surer. Default: 1/30."`
	MultiLabel  bool     `help:"Labels do not exclude each other: each has a score by itself. Needs a model of entailment."`
}

// step is zero-shot classification as the flags have it.
func (f *labelFlags) step(in job.Inference, column string, scored job.Scored) (job.Zeroshot, error) {
	step := job.Zeroshot{Inference: in, Column: column, LabelsFile: f.LabelsFile, Template: f.Template, Temperature: f.Temperature,
		MultiLabel: f.MultiLabel, Scored: scored}
	for _, list := range f.Labels {
		labels, err := job.ParseLabels(list)
		if err != nil {
			return step, misuse{err}
		}
		step.Labels = append(step.Labels, labels...)
	}
	return step, nil
}

type classifyCmd struct {
	modelFlags  `embed:""`
	labelFlags  `embed:""`
	scoredFlags `embed:""`
	Activation  string `enum:"model,softmax,sigmoid,none" default:"model" help:"What makes scores of a trained model's logits: ${enum}."`
	textFlags   `embed:""`
	inOut       `embed:""`
	jobFlags    `embed:""`
}

func (classifyCmd) Help() string {
	return `Adds the columns label (string) and score (float32). A model that was trained to classify gives its own labels; with --labels, no training is needed: this is penstock zeroshot then.

Example:

    penstock classify --model build/models/all-MiniLM-L6-v2 --labels "order,billing,spam: a scam or a prize" --input examples/messages.txt --output out --show 5
`
}

func (c *classifyCmd) Run(ctx context.Context, a *app) error {
	zero, err := c.step(c.reads(&c.modelFlags), c.Column, c.scored())
	if err != nil {
		return err
	}
	step := job.Classify{Zeroshot: zero, Activation: c.Activation}
	return a.execute(ctx, c.job(&c.jobFlags, job.Stage{Name: "classify", Step: step}), &c.jobFlags)
}

type zeroshotCmd struct {
	modelFlags  `embed:""`
	labelFlags  `embed:""`
	scoredFlags `embed:""`
	textFlags   `embed:""`
	inOut       `embed:""`
	jobFlags    `embed:""`
}

func (zeroshotCmd) Help() string {
	return `Adds the columns label (string) and score (float32). No training is needed. A model of embeddings gives a text the label whose sentence has the embedding that is most like its own; a model of entailment (trained on natural language inference) is asked whether each label's sentence follows from the text.

Example:

    penstock zeroshot --model nli-model --labels "order,billing,spam" --multi-label --threshold 0.5 --input messages.txt --output out
`
}

func (c *zeroshotCmd) Run(ctx context.Context, a *app) error {
	if len(c.Labels) == 0 && c.LabelsFile == "" {
		return misuse{errors.New("missing flags: --labels=A,B,… or --labels-file=FILE")}
	}
	step, err := c.step(c.reads(&c.modelFlags), c.Column, c.scored())
	if err != nil {
		return err
	}
	return a.execute(ctx, c.job(&c.jobFlags, job.Stage{Name: "zeroshot", Step: step}), &c.jobFlags)
}

type embedCmd struct {
	modelFlags    `embed:""`
	Prompt        string   `placeholder:"NAME|TEXT" help:"Put before every text: one of the model's prompts by its name, or a text with a space or a colon in it. none: none. Default: the model's default prompt, if it has one."`
	Pooling       string   `enum:"model,mean,cls,max,lasttoken" default:"model" help:"How the vectors of tokens become one: ${enum}."`
	Normalize     *bool    `placeholder:"true" negatable:"" help:"Bring embeddings to length 1. Default: as the model's files say."`
	Dimensions    int      `placeholder:"N" help:"Keep the first N dimensions, for models that were trained for it (Matryoshka)."`
	ModelOutput   string   `placeholder:"NAME" help:"The output of the model that is taken. Default: the usual ones."`
	Outputs       []string `sep:"," placeholder:"OUTPUT[:POOLING]=COLUMN" help:"Several embeddings of each text, from one run of the model: its outputs, how the vectors of tokens become one, and the columns. An OUTPUT that is left out is one of the usual ones. Default: one, as --model-output and --pooling say."`
	Chunk         int      `placeholder:"TOKENS" help:"Cut long texts into rows of so many tokens, with the columns chunk, chunk_start and chunk_end. Default: cut them off at the model's limit."`
	Overlap       int      `placeholder:"N" help:"With --chunk: tokens that a chunk shares with the one before."`
	AverageChunks bool     `help:"With --chunk: rows stay whole, with the mean of their chunks' embeddings."`
	textFlags     `embed:""`
	inOut         `embed:""`
	jobFlags      `embed:""`
}

func (embedCmd) Help() string {
	return `Adds the column embedding (fixed_size_list<float32>), or those of --outputs. A null text has a null embedding.

Example:

    penstock embed --model build/models/all-MiniLM-L6-v2 --input in/*.parquet --column text --output out
    penstock embed --model DIR --outputs sentence_embedding=whole,last_hidden_state:cls=first --input in/*.parquet --output out
`
}

func (c *embedCmd) Run(ctx context.Context, a *app) error {
	if c.Chunk == 0 && (c.Overlap != 0 || c.AverageChunks) {
		return misuse{errors.New("--overlap and --average-chunks need --chunk=TOKENS")}
	}
	step := job.Embed{Inference: c.reads(&c.modelFlags), Prompt: c.Prompt, Column: c.Column, Pooling: c.Pooling, Normalize: c.Normalize,
		Dimensions: c.Dimensions, ModelOutput: c.ModelOutput, Chunk: c.Chunk, Overlap: c.Overlap, Average: c.AverageChunks}
	var err error
	if step.Outputs, err = c.outputs(); err != nil {
		return err
	}
	return a.execute(ctx, c.job(&c.jobFlags, job.Stage{Name: "embed", Step: step}), &c.jobFlags)
}

// outputs reads --outputs. Names of outputs may have colons in them: one is taken for a pooling
// where it stands before the name of one.
func (c *embedCmd) outputs() (out []job.EmbedOutput, err error) {
	if len(c.Outputs) > 0 && (c.ModelOutput != "" || c.Pooling != "model") {
		return nil, misuse{errors.New("--model-output and --pooling are of one output: write them into --outputs, as OUTPUT:POOLING=COLUMN")}
	}
	for _, item := range c.Outputs {
		at := strings.LastIndexByte(item, '=')
		if at < 0 || at == len(item)-1 {
			return nil, misuse{fmt.Errorf("--outputs: %q is not OUTPUT[:POOLING]=COLUMN", item)}
		}
		o := job.EmbedOutput{ModelOutput: item[:at], Output: item[at+1:]}
		if colon := strings.LastIndexByte(o.ModelOutput, ':'); colon >= 0 && slices.Contains(poolings, o.ModelOutput[colon+1:]) {
			o.ModelOutput, o.Pooling = o.ModelOutput[:colon], o.ModelOutput[colon+1:]
		}
		out = append(out, o)
	}
	return out, nil
}

var poolings = []string{"model", "mean", "cls", "max", "lasttoken"}

type nerCmd struct {
	modelFlags  `embed:""`
	Aggregation string   `enum:"simple,first,max,average,none" default:"simple" help:"How the labels of tokens become entities, as transformers defines it: ${enum}."`
	Ignore      []string `default:"O" placeholder:"O" help:"Labels that are no entities."`
	Threshold   float64  `placeholder:"0.5" help:"Leave out entities with scores below it."`
	textFlags   `embed:""`
	inOut       `embed:""`
	jobFlags    `embed:""`
}

func (nerCmd) Help() string {
	return `Adds the column entities: list<struct<entity, score, start, end, text>>. start and end count characters (Unicode code points), as Python does, not bytes.

Example:

    penstock ner --model ner-model --aggregation first --input news.jsonl --column body --output out
`
}

func (c *nerCmd) Run(ctx context.Context, a *app) error {
	ignore := job.Strings(c.Ignore)
	step := job.NER{Inference: c.reads(&c.modelFlags), Column: c.Column, Aggregation: c.Aggregation, Ignore: &ignore, Threshold: c.Threshold}
	return a.execute(ctx, c.job(&c.jobFlags, job.Stage{Name: "ner", Step: step}), &c.jobFlags)
}

type rerankCmd struct {
	modelFlags  `embed:""`
	Query       string `xor:"query" required:"" placeholder:"TEXT" help:"The query for all texts."`
	QueryColumn string `xor:"query" required:"" placeholder:"NAME" help:"A column with a query for each text."`
	Activation  string `enum:"model,softmax,sigmoid,none" default:"model" help:"What makes a score of the model's logit: ${enum}."`
	textFlags   `embed:""`
	inOut       `embed:""`
	jobFlags    `embed:""`
}

func (rerankCmd) Help() string {
	return `Adds the column score (float32): how well a text answers a query, by a cross-encoder, which reads the two together. More is better. The rows stay in their order.

Example:

    penstock rerank --model cross-encoder --query "how do I cancel a request" --input hits.jsonl --output out
`
}

func (c *rerankCmd) Run(ctx context.Context, a *app) error {
	step := job.Rerank{Inference: c.reads(&c.modelFlags), Column: c.Column, Query: c.Query, QueryColumn: c.QueryColumn, Activation: c.Activation}
	return a.execute(ctx, c.job(&c.jobFlags, job.Stage{Name: "rerank", Step: step}), &c.jobFlags)
}

type similarityCmd struct {
	modelFlags  `embed:""`
	Other       string `required:"" placeholder:"NAME" help:"The column of text that --column is compared with."`
	Prompt      string `placeholder:"NAME|TEXT" help:"Put before the texts of --column: see penstock embed."`
	OtherPrompt string `placeholder:"NAME|TEXT" help:"Put before the texts of --other."`
	Dimensions  int    `placeholder:"N" help:"Compare the first N dimensions of the embeddings."`
	textFlags   `embed:""`
	inOut       `embed:""`
	jobFlags    `embed:""`
}

func (similarityCmd) Help() string {
	return `Adds the column similarity (float32): the cosine of the embeddings of two texts, from -1 to 1.

Example:

    penstock similarity --model build/models/all-MiniLM-L6-v2 --input pairs.csv --column question --other answer --output out
`
}

func (c *similarityCmd) Run(ctx context.Context, a *app) error {
	step := job.Similarity{Inference: c.reads(&c.modelFlags), Column: c.Column, Other: c.Other, Prompt: c.Prompt, OtherPrompt: c.OtherPrompt,
		Dimensions: c.Dimensions}
	return a.execute(ctx, c.job(&c.jobFlags, job.Stage{Name: "similarity", Step: step}), &c.jobFlags)
}

type inferCmd struct {
	modelFlags `embed:""`
	Bind       []string `sep:"," placeholder:"INPUT=COLUMN,…" help:"The columns of the model's inputs. An input that is not named takes the column of its name, else the only one that fits."`
	Outputs    []string `sep:"," placeholder:"OUTPUT[=COLUMN],…" help:"The outputs that are wanted, and the columns that they become. Default: all, by their own names."`
	imageFlags `embed:""`
	inOut      `embed:""`
	jobFlags   `embed:""`
}

// imageFlags say how images that come as bytes become an input.
type imageFlags struct {
	Images     bool      `help:"Columns hold images as bytes (uint8 [height, width, channels]), and the model takes floats: they are scaled, normalised and transposed where the model runs. The flags below say it, too."`
	ImageInput string    `placeholder:"NAME" help:"The model's input that takes images. Default: its only one."`
	Scale      float32   `placeholder:"X" help:"Multiply bytes by it. Default: 1/255."`
	Mean       []float32 `sep:"," placeholder:"R,G,B" help:"Subtract it behind that: one for each channel, or one for all."`
	Std        []float32 `sep:"," placeholder:"R,G,B" help:"Divide by it behind that, likewise."`
	Layout     string    `enum:"model,nchw,nhwc" default:"model" help:"The layout of the model's input: ${enum} (as its shape shows)."`
}

// images is nil where no flag asks for them.
func (f *imageFlags) images() *job.Images {
	p := &job.Images{Input: f.ImageInput, Scale: f.Scale, Mean: f.Mean, Std: f.Std}
	if f.Layout != "model" {
		p.Layout = f.Layout
	}
	if f.Images || p.Input != "" || p.Scale != 0 || p.Mean != nil || p.Std != nil || p.Layout != "" {
		return p
	}
	return nil
}

func (inferCmd) Help() string {
	return `Takes columns of numbers through any ONNX model. A column of numbers is an input with one number a row, one of lists (fixed_size_list, also nested) an input with more dimensions; the first dimension is that of the rows. Types and shapes are checked before the first row is read. Every output becomes a column.

Example:

    penstock infer --model model.onnx --bind image=pixels --outputs logits=score --input in/*.parquet --output out
    penstock infer --model resnet50.onnx --bind image=pixels --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --input in/*.parquet --output out
`
}

func (c *inferCmd) Run(ctx context.Context, a *app) error {
	step := job.Infer{Inference: c.inference(), Images: c.images()}
	var err error
	if step.Bind, err = assignments("--bind", c.Bind, true); err != nil {
		return err
	}
	if step.Outputs, err = assignments("--outputs", c.Outputs, false); err != nil {
		return err
	}
	return a.execute(ctx, c.job(&c.jobFlags, job.Stage{Name: "infer", Step: step}), &c.jobFlags)
}

// assignments reads NAME=VALUE; the value may be left out unless it is needed.
func assignments(flag string, list []string, needed bool) (map[string]string, error) {
	var out map[string]string
	for _, item := range list {
		name, value, found := strings.Cut(item, "=")
		if name == "" || needed && (!found || value == "") {
			return nil, misuse{fmt.Errorf("%s: %q is not NAME=COLUMN", flag, item)}
		}
		if _, twice := out[name]; twice {
			return nil, misuse{fmt.Errorf("%s: %s stands there twice", flag, name)}
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = value
	}
	return out, nil
}
