package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/penstock-data/penstock/job"
)

// models is where `make setup` puts model folders.
const models = "build/models"

// defaultModel is the model of the examples.
var defaultModel = filepath.Join(models, "all-MiniLM-L6-v2")

func versionLine() string {
	return fmt.Sprintf("penstock %s (%s %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

type inspectCmd struct {
	Path string `arg:"" name:"PATH|MODEL" help:"A data file, a folder of them, a glob, a model folder or an ONNX file."`
	JSON bool   `name:"json" help:"Print it as JSON."`
}

func (inspectCmd) Help() string {
	return `Of data: its format, columns, rows, row groups and bytes. Of a model: its inputs and outputs, what it does and its limits.

Example:

    penstock inspect build/models/all-MiniLM-L6-v2
`
}

func (c *inspectCmd) Run(ctx context.Context, a *app) error {
	found, err := job.Inspect(ctx, c.Path)
	switch {
	case err != nil:
		return err
	case c.JSON:
		a.json(found)
	case found.Model != nil:
		a.showModel(found.Model)
	default:
		a.showData(found.Data)
	}
	return nil
}

type doctorCmd struct {
	JSON       bool   `name:"json" help:"Print it as JSON."`
	CUDADriver string `name:"cuda-driver" env:"PENSTOCK_CUDA_DRIVER" placeholder:"PATH" help:"CUDA's driver library. Without it: libcuda.so.1, where the loader finds it."`
	library    `embed:""`
}

func (doctorCmd) Help() string {
	return `Looks at ONNX Runtime, the CUDA driver, its devices and what they do, cores, memory, limits, the disk and model folders. Exits with 0 where jobs can run on the CPU, else with 1.

Example:

    penstock doctor
`
}

func (c *doctorCmd) Run(ctx context.Context, a *app) error {
	d := job.Doctor{Library: c.ORTLib, Models: []string{models}, Driver: c.CUDADriver}
	findings, ok := d.Run(ctx)
	if c.JSON {
		a.json(map[string]any{"ok": ok, "findings": findings})
	} else {
		for _, f := range findings {
			fmt.Fprintf(a.stdout, "%-8s %-13s %s\n", f.Status, f.What, f.Found)
			if f.Fix != "" {
				fmt.Fprintf(a.stdout, "%22s → %s\n", "", f.Fix)
			}
		}
		verdict := "Jobs can run here, on the CPU."
		if !ok {
			verdict = "Jobs with models cannot run here."
		}
		fmt.Fprintln(a.stdout, verdict)
	}
	if !ok {
		return unwell{}
	}
	return nil
}

type searchCmd struct {
	Query       string   `arg:"" name:"QUERY" help:"What to look for."`
	In          string   `required:"" placeholder:"DIR" help:"Output of penstock embed."`
	Top         int      `default:"10" help:"How many rows to print, the best first."`
	Model       string   `placeholder:"DIR" help:"The model that made the embeddings. Default: the one that the output names, else ${model}."`
	Variant     string   `placeholder:"NAME" help:"Which ONNX file of the folder: int8 takes model_int8.onnx. Default: without --model, the one that the output names."`
	Prompt      string   `placeholder:"NAME|TEXT" help:"Put before the query: see penstock embed. Default: the model's prompt named query, else its default prompt, if it has one."`
	Column      string   `placeholder:"NAME" help:"Column of embeddings. Default: the first one of fixed_size_list<float32>."`
	Text        string   `placeholder:"NAME" help:"Column of text to print. Default: text, else the first one of strings."`
	JSON        bool     `name:"json" help:"Print the hits as JSON, one a line."`
	MemoryLimit job.Size `placeholder:"2GiB" help:"Memory that the search may hold."`
	library     `embed:""`
}

func (searchCmd) Help() string {
	return `Compares the query's embedding with that of every row, by cosine. Prints the score, file and line where the output has such columns, and the first line of the text. The query's embedding is made as the output says that its were: by the same model, output of it, pooling and number of dimensions.

Example:

    penstock search "how do I cancel a request" --in build/demo --top 5
`
}

func (c *searchCmd) Run(ctx context.Context, a *app) error {
	if strings.TrimSpace(c.Query) == "" {
		return misuse{errors.New("the query is empty")}
	}
	if c.Top < 1 {
		return misuse{fmt.Errorf("--top: %d is too small: at least 1", c.Top)}
	}
	s := job.Search{Query: c.Query, In: c.In, Top: c.Top, Model: c.Model, Variant: c.Variant, Prompt: c.Prompt, DefaultModel: defaultModel,
		Column: c.Column, Text: c.Text, Library: c.ORTLib, MemoryLimit: c.MemoryLimit}
	bound(job.Settings{MemoryLimit: c.MemoryLimit})
	hits, err := s.Run(ctx)
	if err != nil {
		return err
	}
	for _, h := range hits {
		if c.JSON {
			a.json(h)
			continue
		}
		where := h.File
		if h.Line > 0 {
			where = fmt.Sprintf("%s:%d", h.File, h.Line)
		}
		line, _, _ := strings.Cut(strings.TrimSpace(h.Text), "\n")
		fmt.Fprintln(a.stdout, strings.TrimRight(fmt.Sprintf("%.3f  %s  %s", h.Score, where, oneLine(line)), " "))
	}
	return nil
}
