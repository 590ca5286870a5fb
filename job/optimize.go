package job

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/infer"
)

//go:embed optimize.py
var optimizer string

// Optimize writes a smaller variant of a model beside it, and measures on rows of the
// user's what that gains and costs. Model, Kind and Sample are needed.
type Optimize struct {
	Model  string // a model folder, or an ONNX file
	Kind   string // int8 or fp16: the variant's name, too
	Sample Source // rows like those that the model will see
	Column string // of text; empty: "text"
	// Python is an interpreter with the packages onnx and onnxruntime; empty: that of
	// build/venv, else the first one in PATH that has them.
	Python    string
	Overwrite bool // a variant of that name that is there already
	Library   string
	Settings  Settings // memory_limit, cpus, batch_size and actors of the measurement
}

// Optimized says what was made, and how it compares.
type Optimized struct {
	File         string       `json:"file"`
	Variant      string       `json:"variant"`
	Task         string       `json:"task"`
	Bytes        int64        `json:"bytes"`               // of the variant
	BytesBefore  int64        `json:"bytes_before"`        // of the model
	Rows         int64        `json:"rows"`                // of the sample
	Rate         float64      `json:"rate"`                // rows/s of the variant, the better of two runs
	RateBefore   float64      `json:"rate_before"`         // of the model
	Agreement    *float64     `json:"agreement,omitempty"` // share of rows with the same label or entities; nil: the task has none
	Percentiles  []Percentile `json:"percentiles"`         // of the rows' likeness, the worst first
	PercentileOf string       `json:"percentile_of"`       // cosine of the embeddings, or difference of the scores
}

// Percentile is a value that so many percent of the rows do not come up to.
type Percentile struct {
	Percent float64 `json:"percent"`
	Value   float64 `json:"value"`
}

// Run makes the variant and measures it.
func (o Optimize) Run(ctx context.Context) (res Optimized, err error) {
	if o.Kind != "int8" && o.Kind != "fp16" {
		return res, fmt.Errorf("job: optimize: %q is neither int8 nor fp16", o.Kind)
	}
	before, err := o.inspect(ctx, "")
	if err != nil {
		return res, err
	}
	step, err := o.step(before.Task)
	if err != nil {
		return res, err
	}
	target := filepath.Join(filepath.Dir(before.File), "model_"+o.Kind+".onnx")
	if _, err := os.Stat(target); err == nil && !o.Overwrite {
		return res, fmt.Errorf("job: optimize: %s is there already: overwrite it, or use it as it is: variant %s", target, o.Kind)
	}
	if err := o.convert(ctx, before.File, target); err != nil {
		return res, err
	}
	after, err := o.inspect(ctx, o.Kind)
	if err != nil {
		return res, err
	}
	res = Optimized{File: target, Variant: o.Kind, Task: before.Task, Bytes: after.Bytes, BytesBefore: before.Bytes}
	return res, o.measure(ctx, step, &res)
}

func (o Optimize) inspect(ctx context.Context, variant string) (info infer.Info, err error) {
	m, err := infer.Open(ctx, infer.Config{Path: o.Model, Variant: variant})
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	info = m.Inspect()
	if info.Cannot != "" {
		return info, errors.New(info.Cannot)
	}
	return info, nil
}

// step makes the stage that is measured.
func (o Optimize) step(task string) (func(variant string) Step, error) {
	use := func(variant string) Inference { return Inference{Model: o.Model, Variant: variant} }
	switch task {
	case "embed":
		return func(v string) Step { return Embed{Inference: use(v), Column: o.Column} }, nil
	case "classify", "zeroshot": // of entailment: its own three labels, for the text alone
		return func(v string) Step { return Classify{Zeroshot: Zeroshot{Inference: use(v), Column: o.Column}} }, nil
	case "ner":
		return func(v string) Step { return NER{Inference: use(v), Column: o.Column, Output: resultColumn} }, nil
	case "rerank":
		return func(v string) Step {
			return Rerank{Inference: use(v), Column: o.Column, QueryColumn: orElse(o.Column, "text"), Output: resultColumn}
		}, nil
	}
	return nil, fmt.Errorf("job: optimize: %s is a model for %s: only models that read text are measured", o.Model, task)
}

// resultColumn is where a stage's result stands, where it has not a name of its own.
const resultColumn = "__result"

// convert runs the tools. The variant appears as a whole or not at all.
func (o Optimize) convert(ctx context.Context, source, target string) error {
	python, err := o.python(ctx)
	if err != nil {
		return err
	}
	temporary := target + ".new"
	defer os.Remove(temporary)
	cmd := exec.CommandContext(ctx, python, "-", o.Kind, source, temporary)
	cmd.Stdin = strings.NewReader(optimizer)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 3 {
			return noTools(python, strings.TrimSpace(stdout.String()))
		}
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return fmt.Errorf("job: optimize: %s: %w: %s", python, err, lines[len(lines)-1])
	}
	if err := os.Rename(temporary, target); err != nil {
		return fmt.Errorf("job: optimize: %w", err)
	}
	return nil
}

func noTools(python, what string) error {
	return fmt.Errorf("job: optimize: %s lacks what is needed (%s): `pip install onnx onnxruntime` there, run `make setup`, or name another Python", python, what)
}

// python finds an interpreter that has the tools.
func (o Optimize) python(ctx context.Context) (string, error) {
	candidates := []string{filepath.Join("build", "venv", "bin", "python"), "python3", "python"}
	if o.Python != "" {
		candidates = []string{o.Python}
	}
	var why error
	for _, name := range candidates {
		path, err := exec.LookPath(name)
		if errors.Is(err, exec.ErrDot) {
			err = nil
		}
		if err != nil {
			if o.Python != "" || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, exec.ErrNotFound) {
				why = fmt.Errorf("job: optimize: %w", err)
			}
			continue
		}
		out, err := exec.CommandContext(ctx, path, "-c", "import onnx, onnxruntime.quantization, onnxruntime.transformers.float16").CombinedOutput()
		if err == nil {
			return path, nil
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		why = noTools(path, lines[len(lines)-1])
	}
	if why == nil {
		why = errors.New("job: optimize: there is no Python (python3): ONNX Runtime's tools, which make variants, are written in it")
	}
	return "", why
}

// measure runs the sample through model and variant in turn, twice, and compares.
func (o Optimize) measure(ctx context.Context, step func(string) Step, res *Optimized) error {
	var was, is []outcome
	for range 2 {
		for _, variant := range []string{"", o.Kind} {
			rows, rate, err := o.sample(ctx, step(variant))
			if err != nil {
				return err
			}
			if variant == "" {
				was, res.RateBefore = rows, max(res.RateBefore, rate)
			} else {
				is, res.Rate = rows, max(res.Rate, rate)
			}
		}
	}
	res.Rows = int64(len(was))
	if len(was) == 0 || len(was) != len(is) {
		return fmt.Errorf("job: optimize: the sample has no rows")
	}
	res.compare(was, is)
	return nil
}

// outcome is what a model made of a row.
type outcome struct {
	vector []float32 // an embedding
	score  float64
	label  string // or entities
}

func (res *Optimized) compare(was, is []outcome) {
	same := 0
	var values []float64
	for i := range was {
		if was[i].label == is[i].label {
			same++
		}
		switch {
		case res.Task != "embed":
			values = append(values, math.Abs(was[i].score-is[i].score))
		case was[i].vector != nil: // else the text was null
			values = append(values, float64(cosine(was[i].vector, is[i].vector)))
		}
	}
	slices.Sort(values)
	switch res.Task {
	case "embed":
		res.PercentileOf = "cosine of the embeddings"
	default:
		res.PercentileOf = "difference of the scores"
		slices.Reverse(values)
	}
	if res.Task != "embed" && res.Task != "rerank" {
		share := float64(same) / float64(len(was))
		res.Agreement = &share
	}
	for _, p := range []float64{0, 1, 5, 25, 50} {
		if len(values) == 0 {
			break
		}
		res.Percentiles = append(res.Percentiles, Percentile{p, values[int(p/100*float64(len(values)-1))]})
	}
}

// sample runs the rows through a stage. The rate leaves out what comes before the first
// batch, which is the loading of the model.
func (o Optimize) sample(ctx context.Context, step Step) (rows []outcome, rate float64, err error) {
	env := &Env{Name: "optimize", Settings: o.Settings, Options: Options{Library: o.Library}}
	defer func() { err = errors.Join(err, env.close()) }()
	d, err := o.Sample.dataset(ctx)
	if err != nil {
		return nil, 0, err
	}
	if d, err = step.Add(ctx, env, d); err != nil {
		return nil, 0, err
	}
	begin, first := time.Now(), 0
	var started time.Time
	for rec, err := range d.Batches(ctx, env.config()) {
		if err != nil {
			return nil, 0, err
		}
		rows = append(rows, outcomes(rec, step)...)
		if started.IsZero() {
			started, first = time.Now(), len(rows)
		}
	}
	if len(rows) > first {
		return rows, float64(len(rows)-first) / time.Since(started).Seconds(), nil
	}
	return rows, float64(len(rows)) / time.Since(begin).Seconds(), nil
}

// outcomes are the results of a record's rows, copied.
func outcomes(rec arrow.Record, step Step) []outcome {
	out := make([]outcome, rec.NumRows())
	column := func(name string) arrow.Array { return rec.Column(rec.Schema().FieldIndices(name)[0]) }
	switch step.(type) {
	case Embed:
		list := column("embedding").(*array.FixedSizeList)
		values := list.ListValues().(*array.Float32).Float32Values()
		for i := range out {
			if list.IsValid(i) {
				from, to := list.ValueOffsets(i)
				out[i].vector = slices.Clone(values[from:to])
			}
		}
	case Classify:
		label, score := column("label").(*array.String), column("score").(*array.Float32)
		for i := range out {
			if label.IsValid(i) {
				out[i] = outcome{label: strings.Clone(label.Value(i)), score: float64(score.Value(i))}
			}
		}
	case Rerank:
		score := column(resultColumn).(*array.Float32)
		for i := range out {
			if score.IsValid(i) {
				out[i].score = float64(score.Value(i))
			}
		}
	case NER:
		entitiesOf(column(resultColumn).(*array.List), out)
	}
	return out
}

// entitiesOf writes the entities of each row, and what is least sure of them.
func entitiesOf(list *array.List, out []outcome) {
	items := list.ListValues().(*array.Struct)
	entity, score := items.Field(0).(*array.String), items.Field(1).(*array.Float32)
	start, end := items.Field(2).(*array.Int32), items.Field(3).(*array.Int32)
	for i := range out {
		if list.IsNull(i) {
			continue
		}
		for k, to := list.ValueOffsets(i); k < to; k++ {
			at := int(k)
			out[i].label += fmt.Sprintf("%s %d-%d\n", entity.Value(at), start.Value(at), end.Value(at))
			if s := float64(score.Value(at)); out[i].score == 0 || s < out[i].score {
				out[i].score = s
			}
		}
	}
}
