package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/penstock-data/penstock/job"
)

// modelFlags are the flags of every verb that takes rows through a model.
type modelFlags struct {
	Model   string `required:"" placeholder:"DIR" help:"Model folder, as Hugging Face has them, or an ONNX file in one."`
	Variant string `placeholder:"NAME" help:"Which ONNX file of the folder: int8 takes model_int8.onnx."`
}

func (f *modelFlags) inference(maxTokens int) job.Inference {
	return job.Inference{Model: f.Model, Variant: f.Variant, MaxTokens: maxTokens}
}

// textFlags are the flags of every verb that reads text.
type textFlags struct {
	Column    string `group:"Input and output:" default:"text" help:"The column of text. Files of lines have the one column text."`
	MaxTokens int    `placeholder:"N" help:"Cut texts to so many tokens. Default: as many as the model takes."`
}

type classifyCmd struct {
	modelFlags  `embed:""`
	Labels      []string `sep:"none" placeholder:"A,B,…" help:"Labels, each as a name or \"name: description\"."`
	LabelsFile  string   `placeholder:"FILE" help:"Labels from a file, one a line as \"name: description\"; # begins a comment."`
	Template    string   `default:"This message is about {}." help:"What a text is compared with: {} stands for the label's description, or its name."`
	Temperature float64  `placeholder:"0.033" help:"Of the softmax that makes scores of cosines: lower is surer. Default: 1/30."`
	textFlags   `embed:""`
	inOut       `embed:""`
	jobFlags    `embed:""`
}

func (classifyCmd) Help() string {
	return `Adds the columns label (string) and score (float32). No training is needed: a text gets the label whose sentence has the embedding that is most like its own.

Example:

    penstock classify --model build/models/all-MiniLM-L6-v2 --labels "order,billing,spam: a scam or a prize" --input examples/messages.txt --output out --show 5
`
}

func (c *classifyCmd) Run(ctx context.Context, a *app) error {
	step := job.Classify{Inference: c.inference(c.MaxTokens), LabelsFile: c.LabelsFile, Column: c.Column, Template: c.Template, Temperature: c.Temperature}
	for _, list := range c.Labels {
		labels, err := job.ParseLabels(list)
		if err != nil {
			return misuse{err}
		}
		step.Labels = append(step.Labels, labels...)
	}
	if len(c.Labels) == 0 && c.LabelsFile == "" {
		return misuse{errors.New("missing flags: --labels=A,B,… or --labels-file=FILE")}
	}
	return a.execute(ctx, c.job(&c.jobFlags, job.Stage{Name: "classify", Step: step}), &c.jobFlags)
}

type embedCmd struct {
	modelFlags `embed:""`
	Prompt     string `placeholder:"NAME" help:"One of the model's prompts, put before every text."`
	textFlags  `embed:""`
	inOut      `embed:""`
	jobFlags   `embed:""`
}

func (embedCmd) Help() string {
	return `Adds the column embedding (fixed_size_list<float32>). A null text has a null embedding.

Example:

    penstock embed --model build/models/all-MiniLM-L6-v2 --input in/*.parquet --column text --output out
`
}

func (c *embedCmd) Run(ctx context.Context, a *app) error {
	step := job.Embed{Inference: c.inference(c.MaxTokens), Prompt: c.Prompt, Column: c.Column}
	return a.execute(ctx, c.job(&c.jobFlags, job.Stage{Name: "embed", Step: step}), &c.jobFlags)
}

type inferCmd struct {
	modelFlags `embed:""`
	Bind       []string `sep:"," placeholder:"INPUT=COLUMN,…" help:"The columns of the model's inputs. An input that is not named takes the column of its name, else the only one that fits."`
	Outputs    []string `sep:"," placeholder:"OUTPUT[=COLUMN],…" help:"The outputs that are wanted, and the columns that they become. Default: all, by their own names."`
	inOut      `embed:""`
	jobFlags   `embed:""`
}

func (inferCmd) Help() string {
	return `Takes columns of numbers through any ONNX model. A column of numbers is an input with one number a row, one of lists (fixed_size_list, also nested) an input with more dimensions; the first dimension is that of the rows. Types and shapes are checked before the first row is read. Every output becomes a column.

Example:

    penstock infer --model model.onnx --bind image=pixels --outputs logits=score --input in/*.parquet --output out
`
}

func (c *inferCmd) Run(ctx context.Context, a *app) error {
	step := job.Infer{Inference: c.inference(0)}
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
