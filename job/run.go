package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

// Options are of one run of a job. The zero value works.
type Options struct {
	Library  string               // ONNX Runtime's shared library; empty: see [infer.FindLibrary]
	Progress func(pipeline.Stats) // called a few times a second, and once at the end
	Trace    io.Writer            // a Chrome trace, as JSON
	Log      *slog.Logger
	NVML     string            // NVIDIA's management library, which samples the load of GPUs; empty: libnvidia-ml.so.1, where the loader finds it
	Note     func(text string) // told what a user should know at the beginning: that models run on the CPU after all
}

// Result is what a run did. It is filled as far as possible when the run fails.
type Result struct {
	Stats  pipeline.Stats
	Schema *arrow.Schema // of the rows that came out; nil where the job was not right
	// Shown are the first rows of the result, as many as [Settings].Show asks for. The
	// caller gives them back with Release.
	Shown []arrow.Record
	// Ignored says that the output existed and mode "ignore" left it alone.
	Ignored bool
}

// Release gives the shown rows back.
func (r *Result) Release() {
	for _, rec := range r.Shown {
		rec.Release()
	}
	r.Shown = nil
}

// Env is what the steps of a job share while it is made ready and runs.
type Env struct {
	Name     string // of the stage that is being added
	Settings Settings
	Options  Options

	gpus    []int // that models run on
	places  int   // for actors on each of them
	models  map[infer.Config]*infer.Model
	closers []func() error
}

// Model opens a model once for all steps that name it, and closes it after the job. What cfg
// does not say of how it runs, the job's settings do.
func (e *Env) Model(ctx context.Context, cfg infer.Config) (*infer.Model, error) {
	s := &e.Settings
	cfg.NoPacking = cfg.NoPacking || s.Packing == "off"
	cfg.LookAheadRows = cmp.Or(cfg.LookAheadRows, s.LookAheadRows)
	cfg.RunTokens = cmp.Or(cfg.RunTokens, s.MaxBatchTokens)
	cfg.ThreadsPerActor = cmp.Or(cfg.ThreadsPerActor, s.ThreadsPerActor)
	if cfg.Library == "" {
		cfg.Library = e.Options.Library
	}
	if err := e.provider(&cfg); err != nil {
		return nil, err
	}
	if m, ok := e.models[cfg]; ok {
		return m, nil
	}
	// Whether there is a runtime at all shows now; it is loaded when rows come.
	if _, _, err := infer.FindLibrary(cfg.Library); err != nil {
		return nil, err
	}
	m, err := infer.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if e.models == nil {
		e.models = map[infer.Config]*infer.Model{}
	}
	e.models[cfg] = m
	e.OnClose(m.Close)
	return m, nil
}

// OnClose has f called when the job has ended; the last one given is called first.
func (e *Env) OnClose(f func() error) { e.closers = append(e.closers, f) }

func (e *Env) close() error {
	var errs []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i]())
	}
	e.closers = nil
	return errors.Join(errs...)
}

// faults are those that can be told without looking at any file.
func (j *Job) faults() error {
	faults := validate(j.Settings, "run")
	j.eachBranch(func(key string, b Branch) { faults = append(faults, b.faults(key)...) })
	faults = append(faults, validate(j.Sink, "sink")...)
	for _, f := range j.Sink.faults(nil) {
		f.Key = join("sink", f.Key)
		faults = append(faults, f)
	}
	for i := range faults {
		faults[i].File = j.Name
	}
	return faults.err()
}

// dataset opens the source and what the stages need. The caller closes env, also after an
// error.
func (j *Job) dataset(ctx context.Context, env *Env) (*pipeline.Dataset, error) {
	if err := j.faults(); err != nil {
		return nil, err
	}
	if err := j.apart(); err != nil {
		return nil, err
	}
	var err error
	if env.gpus, err = env.devices(); err != nil {
		return nil, err
	}
	if len(env.gpus) > 0 {
		env.places = j.places(env)
	}
	return Branch{j.Source, j.Stages}.dataset(ctx, env)
}

// config is how the job's rows are run.
func (e *Env) config() pipeline.Config {
	s, opts := e.Settings, e.Options
	admission := pipeline.ByBytes
	if s.Admission == "rate" {
		admission = pipeline.ByRate
	}
	return pipeline.Config{
		Admission:   admission,
		MemoryLimit: int64(s.MemoryLimit), CPUs: s.CPUs, Unordered: s.PreserveOrder != nil && !*s.PreserveOrder, Seed: s.Seed,
		OnError:  pipeline.OnError{Skip: s.OnError == "skip", MaxRows: s.MaxErrors, MaxFraction: s.MaxErrorFraction},
		Progress: opts.Progress, Trace: opts.Trace, Log: opts.Log, GPUs: e.gpus,
	}
}

// Run runs the job. The output is there as a whole when it returns without an error, and
// as it was before when it fails or ctx ends. An error that is a [Faults] says that the job
// itself is wrong; nothing was read then.
func (j *Job) Run(ctx context.Context, opts Options) (res Result, err error) {
	env := &Env{Settings: j.Settings, Options: opts}
	defer func() { err = errors.Join(err, env.close()) }()
	d, err := j.dataset(ctx, env)
	if err != nil {
		return res, err
	}
	to, err := j.Sink.open()
	if err != nil {
		return res, err
	}
	cfg := env.config()
	cfg.DeviceLoad = env.watchGPUs()
	peek := newPeek(to, j.Settings.Show)
	res.Stats, err = d.Write(ctx, peek, cfg)
	res.Schema, res.Shown = peek.schema, peek.shown()
	if errors.Is(err, writers.ErrIgnored) {
		res.Ignored, err = true, nil
	}
	if err != nil {
		res.Release()
	}
	return res, err
}

// Check makes sure that the job could run, and moves no data. It gives the schema of the
// rows that would come out, or all the faults that it finds.
func (j *Job) Check(ctx context.Context, opts Options) (schema *arrow.Schema, err error) {
	env := &Env{Settings: j.Settings, Options: opts}
	defer func() { err = errors.Join(err, env.close()) }()
	d, err := j.dataset(ctx, env)
	if err != nil {
		return nil, err
	}
	if schema, err = d.Check(ctx, env.config()); err != nil {
		return nil, err
	}
	to, err := j.Sink.open()
	if err == nil {
		err = to.Check(ctx, schema)
	}
	if errors.Is(err, writers.ErrIgnored) {
		err = nil
	}
	return schema, err
}

// Explain says how the job would run, and moves no data.
func (j *Job) Explain(ctx context.Context, opts Options) (text string, err error) {
	env := &Env{Settings: j.Settings, Options: opts}
	defer func() { err = errors.Join(err, env.close()) }()
	d, err := j.dataset(ctx, env)
	if err != nil {
		return "", err
	}
	to, err := j.Sink.open()
	if err != nil {
		return "", err
	}
	if text, err = d.Explain(ctx, env.config()); err != nil {
		return "", err
	}
	id := to.ID()
	return text + fmt.Sprintf("write %s %s\n", id.Name, id.Settings), nil
}

var _ stage.Keeper = (*peek)(nil)
