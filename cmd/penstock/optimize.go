package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/penstock-data/penstock/job"
)

type optimizeCmd struct {
	Model       string   `arg:"" name:"MODEL" help:"Model folder, as Hugging Face has them, or an ONNX file in one."`
	Int8        bool     `name:"int8" xor:"kind" required:"" help:"Weights of 8 bits: the fastest on CPUs, and a quarter of the size."`
	Fp16        bool     `name:"fp16" xor:"kind" required:"" help:"Floats of 16 bits: half of the size, and for GPUs; a CPU gains nothing."`
	Sample      paths    `required:"" placeholder:"PATH…" help:"Rows like those that the model will see: files, folders and globs."`
	Column      string   `default:"text" help:"The column of text."`
	Limit       int64    `default:"512" help:"Measure on so many rows of the sample."`
	Python      string   `placeholder:"PATH" help:"A Python with the packages onnx and onnxruntime. Default: build/venv's, else the one in PATH."`
	Overwrite   bool     `help:"Replace a variant of that name."`
	BatchSize   int      `default:"64" help:"Rows that the model is given at a time, in the measurement."`
	Actors      int      `default:"2" help:"Calls of the model at the same time, in the measurement."`
	MemoryLimit job.Size `placeholder:"2GiB" help:"Memory that the measurement may hold."`
	JSON        bool     `name:"json" help:"Print the report as JSON."`
	library     `embed:""`
}

func (optimizeCmd) Help() string {
	return `Writes model_int8.onnx or model_fp16.onnx beside the model, with ONNX Runtime's own Python tools, and reports what it gains and costs on a sample: rows a second before and after, and how like the results are. --variant int8 has a verb use it. The results of an int8 model depend a little on the rows that run together.

Example:

    penstock optimize build/models/all-MiniLM-L6-v2 --int8 --sample examples/messages.txt
`
}

func (c *optimizeCmd) Run(ctx context.Context, a *app) error {
	if c.Limit < 1 {
		return misuse{errors.New("--limit: at least 1 row is needed")}
	}
	o := job.Optimize{Model: c.Model, Kind: "int8", Column: c.Column, Python: c.Python, Overwrite: c.Overwrite, Library: c.ORTLib,
		Sample:   job.Source{Path: job.Strings(c.Sample), Limit: c.Limit},
		Settings: job.Settings{MemoryLimit: c.MemoryLimit, BatchSize: job.BatchSize(c.BatchSize), Actors: c.Actors}}
	if c.Fp16 {
		o.Kind = "fp16"
	}
	bound(o.Settings)
	res, err := o.Run(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		a.json(res)
		return nil
	}
	a.line("wrote", "%s, %s instead of %s", res.File, job.Size(res.Bytes), job.Size(res.BytesBefore))
	a.line("task", "%s, measured on %s rows", res.Task, grouped(res.Rows))
	a.line("speed", "%.1f rows/s instead of %.1f: × %.2f", res.Rate, res.RateBefore, res.Rate/res.RateBefore)
	if res.Agreement != nil {
		a.line("the same", "%.1f %% of the rows", *res.Agreement*100)
	}
	text := ""
	for _, p := range res.Percentiles {
		if p.Percent == 0 {
			text = fmt.Sprintf("worst %.4f", p.Value)
			continue
		}
		text += fmt.Sprintf(", %g %% %.4f", p.Percent, p.Value)
	}
	a.line("likeness", "%s: %s", res.PercentileOf, text)
	a.line("use it", "--variant %s", res.Variant)
	return nil
}
