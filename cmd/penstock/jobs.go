package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/pipeline"
)

// paths is a flag that takes all that follows it up to the next flag, so that a shell's
// glob can stand behind it: --input in/*.txt.
type paths []string

// Decode takes the values.
func (p *paths) Decode(ctx *kong.DecodeContext) error {
	first, err := ctx.Scan.PopValue("path")
	if err != nil {
		return err
	}
	*p = append(*p, fmt.Sprint(first.Value))
	for ctx.Scan.Peek().Type == kong.UntypedToken {
		text, ok := ctx.Scan.Peek().Value.(string)
		if !ok || strings.HasPrefix(text, "-") && text != "-" {
			break
		}
		*p = append(*p, text)
		ctx.Scan.Pop()
	}
	return nil
}

// library is the flag of whatever may load a model.
type library struct {
	ORTLib string `group:"Resources:" name:"ort-lib" env:"PENSTOCK_ORT_LIB" placeholder:"PATH" help:"ONNX Runtime's shared library, or a folder that holds it. Without it: beside the binary, lib/ there, build/lib, the system's folders."`
}

// jobFlags are the flags of every verb that runs a job.
type jobFlags struct {
	BatchSize     job.BatchSize `group:"Resources:" placeholder:"N" help:"Rows that a model is given at a time, at most (default: as many as fit --max-batch-tokens; 64 with --packing off), or auto: it grows as long as that brings more rows a second, within the memory limit, and texts are not packed; the summary says what was found. Results may then differ in their last bits from run to run."`
	Actors        int           `group:"Resources:" default:"2" help:"Calls of a model at the same time."`
	Threads       int           `group:"Resources:" name:"threads-per-actor" placeholder:"N" help:"Cores that one call of a model uses. More than 1 is for jobs of few rows. Default: 1."`
	MaxTokens     int           `group:"Resources:" name:"max-batch-tokens" placeholder:"N" help:"Tokens that a text model is given at a time, padding included. Default: 1024."`
	Packing       string        `group:"Resources:" enum:"on,off" default:"on" placeholder:"on" help:"Whether texts of like length go to the model together, for less padding: on, or off for the order of the input."`
	LookAhead     int           `group:"Resources:" name:"look-ahead-rows" placeholder:"N" help:"Rows among which texts are packed. Default: 2048."`
	Limit         int64         `group:"Input and output:" placeholder:"N" help:"Read no more rows than this."`
	SourceColumns bool          `group:"Input and output:" help:"Add the columns file and row, which say where a row comes from."`
	PreserveOrder bool          `group:"Rows:" default:"true" placeholder:"true" help:"Keep the rows in the order of the input (default); =false lets them go as they come."`
	OnError       string        `group:"Rows:" enum:"fail,skip" default:"fail" help:"What becomes of the job when a row fails: fail, or skip the row and write it to OUTPUT/_errors."`
	MaxErrors     int64         `group:"Rows:" placeholder:"N" help:"With --on-error skip: give up when more rows than this have failed."`

	Format string `group:"Input and output:" placeholder:"FORMAT" help:"Format of the output: parquet (default), jsonl, csv or ipc."`
	Mode   string `group:"Input and output:" enum:"error,overwrite,append,ignore" default:"error" help:"What to do where the output exists: ${enum}."`

	MemoryLimit job.Size `group:"Resources:" placeholder:"2GiB" help:"Memory that the job may hold. Default: 70 % of the cgroup's or the machine's."`
	CPUs        int      `group:"Resources:" name:"cpus" placeholder:"N" help:"Cores that the job may use. Default: all."`

	Device        string `group:"Resources:" enum:"cpu,cuda,auto," default:"" placeholder:"cpu|cuda|auto" help:"Where models run: cpu (default), cuda, or auto: on GPUs where there are any that can be used, else on the CPU."`
	GPUs          []int  `group:"Resources:" name:"gpus" placeholder:"0,1" help:"Ordinals of the GPUs that models run on. Default: all that there are."`
	Provider      string `group:"Resources:" enum:"cuda,tensorrt," default:"" placeholder:"cuda|tensorrt" help:"What runs models on GPUs: ONNX Runtime's own kernels (cuda, default), or TensorRT, which takes minutes to build engines of large models."`
	TensorRTCache string `group:"Resources:" name:"tensorrt-cache" placeholder:"DIR" help:"Folder where TensorRT keeps the engines that it builds; it chooses --provider tensorrt."`
	CUDAGraphs    bool   `group:"Resources:" name:"cuda-graphs" help:"Replay the runs of models of fixed shape from CUDA graphs, which saves small models the launch of each kernel."`

	Show     int    `group:"Reports:" placeholder:"N" help:"Print the first N rows of the result as a table."`
	Progress string `group:"Reports:" enum:"auto,bar,log,none" default:"auto" help:"How progress is shown, on stderr: ${enum}."`
	Quiet    bool   `group:"Reports:" short:"q" help:"Print nothing but errors, and what --show and --stats ask for."`
	Stats    string `group:"Reports:" enum:"text,json" default:"text" help:"Form of the summary at the end: ${enum}."`
	Trace    string `group:"Reports:" placeholder:"FILE.json" help:"Write a trace of every task, and of the copies, the computing and the waiting of every actor on a GPU, for chrome://tracing or Perfetto."`
	Explain  bool   `group:"Reports:" help:"Print how the job would run, and do not run it."`
	library  `embed:""`
}

// settings are those flags that belong to the job.
func (f *jobFlags) settings() job.Settings {
	return job.Settings{MemoryLimit: f.MemoryLimit, CPUs: f.CPUs, PreserveOrder: &f.PreserveOrder, OnError: f.OnError, MaxErrors: f.MaxErrors,
		BatchSize: f.BatchSize, Actors: f.Actors, Show: f.Show,
		Packing: f.Packing, LookAheadRows: f.LookAhead, MaxBatchTokens: f.MaxTokens, ThreadsPerActor: f.Threads, Device: f.Device, GPUs: f.GPUs,
		Provider: f.Provider, TensorRTCache: f.TensorRTCache, CUDAGraphs: f.CUDAGraphs}
}

// inOut are the flags that say what is read and where it goes.
type inOut struct {
	Input  paths  `group:"Input and output:" required:"" placeholder:"PATH…" help:"Files, folders and globs to read: text, JSON Lines, CSV, Parquet, Arrow IPC, also .gz and .zst."`
	Output string `group:"Input and output:" required:"" placeholder:"DIR" help:"Folder to write."`
}

func (f *inOut) job(flags *jobFlags, stages ...job.Stage) *job.Job {
	return &job.Job{
		Source:   job.Source{Path: job.Strings(f.Input), Limit: flags.Limit, SourceColumns: flags.SourceColumns},
		Stages:   stages,
		Sink:     job.Sink{Format: flags.Format, Path: f.Output, Mode: flags.Mode},
		Settings: flags.settings(),
	}
}

type runCmd struct {
	Job      string   `arg:"" name:"JOB.yaml" help:"The job: source, stages and sink."`
	Set      []string `sep:"none" placeholder:"KEY=VALUE" help:"Put a value into the job: source.path=in.csv, stages.0.embed.batch_size=32."`
	jobFlags `embed:""`
}

func (runCmd) Help() string {
	return `A job has a source, stages and a sink; one without stages copies. Flags that are given go before what the job says.

    source: {path: in/*.parquet, columns: [id, text]}
    stages:
      - embed: {model: build/models/all-MiniLM-L6-v2, column: text}
    sink: {path: out, mode: overwrite}
    run: {memory_limit: 2GiB, on_error: skip}

Stages are done in their order. All that there are (union takes a list of branches, too):

    stages:
      - filter: length(text) > 3 and label in ('ham', 'spam')
      - with_column: {name: share, expr: cast(score as float64) / 100}
      - select: [id, text]                 # drop: [a, b]; rename: {old: new}
      - limit: 1000
      - source_columns: {file: file, row: row}
      - union: {source: {path: more.csv}, stages: [rename: {body: text}]}
      - zip: {source: {path: labels.csv}}  # row by row
      - random_sample: {fraction: 0.1, seed: 7}
      - randomize_block_order: {seed: 7}   # first, or behind materialize
      - repartition: {rows: 4096}          # or {bytes: 8MiB}
      - collect: [embedding]               # the chunks of a row, one row again
      - materialize                        # keep the rows up to here in memory
      - embed: {model: DIR, column: text, batch_size: auto}
      - classify: {model: DIR, labels: [ham, spam: a scam or a prize]}
      - zeroshot: {model: DIR, labels_file: labels.txt, multi_label: true, threshold: 0.5}
      - ner: {model: DIR, aggregation: first}
      - rerank: {model: DIR, query: how do I cancel a request}
      - similarity: {model: DIR, column: question, other: answer}
      - infer: {model: any.onnx, bind: {image: pixels}, images: {mean: [0.5], std: [0.5]}, outputs: {logits: scores}}

Settings of sink: path, format, mode, max_rows_per_file, min_rows_per_file, partition_by, file_name, compression. Of run: memory_limit, cpus, preserve_order, on_error, max_errors, max_error_fraction, batch_size, actors, device, gpus, provider, tensorrt_cache, cuda_graphs, admission (bytes or rate), seed, show.

Example:

    penstock run job.yaml --set sink.path=out2 --limit 100
    penstock run job.yaml --set stages.0.filter="score > 0.9" --explain
`
}

func (c *runCmd) Run(ctx context.Context, a *app, at *kong.Context) error {
	j, err := job.Load(c.Job, c.Set)
	if err != nil {
		return err
	}
	given := map[string]bool{}
	for _, p := range at.Path {
		if p.Flag != nil {
			given[p.Flag.Name] = true
		}
	}
	c.override(j, given)
	return a.execute(ctx, j, &c.jobFlags)
}

// override puts the flags that were given in the place of what the job says.
func (c *runCmd) override(j *job.Job, given map[string]bool) {
	to, from := &j.Settings, c.settings()
	for name, set := range map[string]func(){
		"memory-limit":      func() { to.MemoryLimit = from.MemoryLimit },
		"cpus":              func() { to.CPUs = from.CPUs },
		"preserve-order":    func() { to.PreserveOrder = from.PreserveOrder },
		"on-error":          func() { to.OnError = from.OnError },
		"max-errors":        func() { to.MaxErrors = from.MaxErrors },
		"show":              func() { to.Show = from.Show },
		"limit":             func() { j.Source.Limit = c.Limit },
		"source-columns":    func() { j.Source.SourceColumns = c.SourceColumns },
		"format":            func() { j.Sink.Format = c.Format },
		"mode":              func() { j.Sink.Mode = c.Mode },
		"batch-size":        func() { to.BatchSize = from.BatchSize; j.Pool(0, from.BatchSize) },
		"actors":            func() { to.Actors = from.Actors; j.Pool(from.Actors, 0) },
		"packing":           func() { to.Packing = from.Packing },
		"look-ahead-rows":   func() { to.LookAheadRows = from.LookAheadRows },
		"max-batch-tokens":  func() { to.MaxBatchTokens = from.MaxBatchTokens },
		"device":            func() { to.Device = from.Device },
		"gpus":              func() { to.GPUs = from.GPUs },
		"provider":          func() { to.Provider = from.Provider },
		"tensorrt-cache":    func() { to.TensorRTCache = from.TensorRTCache },
		"cuda-graphs":       func() { to.CUDAGraphs = from.CUDAGraphs },
		"threads-per-actor": func() { to.ThreadsPerActor = from.ThreadsPerActor },
	} {
		if given[name] {
			set()
		}
	}
}

// execute runs a job and tells about it.
func (a *app) execute(ctx context.Context, j *job.Job, f *jobFlags) (err error) {
	opts := job.Options{Library: f.ORTLib}
	if !f.Quiet {
		opts.Note = func(text string) { fmt.Fprintln(a.stderr, "penstock: "+text) }
	}
	adjust := bound(j.Settings)
	if f.Explain {
		text, err := j.Explain(ctx, opts)
		fmt.Fprint(a.stdout, text)
		return a.inFlags(j, err)
	}
	if f.Trace != "" {
		file, err := os.Create(f.Trace)
		if err != nil {
			return fmt.Errorf("job: --trace: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		opts.Trace = file
	}
	show := a.progress(f)
	opts.Progress = func(s pipeline.Stats) {
		adjust(s)
		show.update(s)
	}
	res, err := j.Run(ctx, opts)
	show.end(err == nil)
	defer res.Release()
	var stop interrupted
	if err != nil && errors.As(context.Cause(ctx), &stop) {
		return fmt.Errorf("%w: %s; %s is as it was before", stop, rowsDone(res.Stats), j.Sink.Path)
	}
	if err != nil {
		return a.inFlags(j, err)
	}
	a.table(res.Shown)
	a.summary(j, res, f)
	if res.Stats.Failed > 0 {
		return skippedRows{}
	}
	return nil
}

func rowsDone(s pipeline.Stats) string {
	if s.InputTotal > 0 {
		return fmt.Sprintf("%s of %s rows were done", grouped(s.Rows), grouped(s.InputTotal))
	}
	return fmt.Sprintf("%s rows were done", grouped(s.Rows))
}

// bound holds the Go runtime to the same limits as the job. What it gives is to be called
// with the statistics of the job: models and other memory of C are taken off Go's limit as
// they grow.
func bound(s job.Settings) func(pipeline.Stats) {
	if s.CPUs > 0 {
		runtime.GOMAXPROCS(min(s.CPUs, runtime.NumCPU()))
	}
	if debug.SetMemoryLimit(-1) != math.MaxInt64 { // GOMEMLIMIT
		return func(pipeline.Stats) {}
	}
	limit := int64(s.MemoryLimit)
	if limit <= 0 {
		limit = pipeline.DefaultMemoryLimit()
	}
	debug.SetMemoryLimit(pipeline.GoMemoryLimit(limit))
	return func(s pipeline.Stats) { debug.SetMemoryLimit(s.Memory.GoLimit) }
}

// flagNames says which flag a setting of a job that was made from flags comes from.
var flagNames = map[string]string{
	"run.memory_limit": "--memory-limit", "run.cpus": "--cpus", "run.max_errors": "--max-errors", "run.batch_size": "--batch-size",
	"run.actors": "--actors", "run.show": "--show", "source.path": "--input", "source.limit": "--limit", "sink.path": "--output",
	"sink.format": "--format", "stages[0].classify.temperature": "--temperature",
	"stages[0].zeroshot.temperature": "--temperature",
}

// inFlags puts faults of a job without a file into the words of the command line.
func (a *app) inFlags(j *job.Job, err error) error {
	var faults job.Faults
	if j.Name != "" || !errors.As(err, &faults) {
		return err
	}
	names := maps.Clone(flagNames)
	for i := range faults {
		if name, ok := names[faults[i].Key]; ok {
			faults[i].Key = name
		}
	}
	return faults
}
