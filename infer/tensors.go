package infer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// InferConfig says how columns of numbers go through a model of any kind. The zero value
// works where the columns have the names of the model's inputs.
type InferConfig struct {
	// Bind names the column of an input. An input that is not in it takes the column of
	// its name, else the only one that fits.
	Bind map[string]string
	// Outputs names the outputs that are wanted and the columns that they become; an
	// empty name is the output's own. nil: all of them.
	Outputs   map[string]string
	BatchSize int // rows; 0: 64
	Actors    int // callers of the model at once; 0: 2
}

// Infer makes a task that takes rows of numbers through the model: a column of numbers is
// an input with one number a row, one of lists an input with as many dimensions, or, where
// the model says how large they are, with more. The first dimension is that of the rows;
// where its size is fixed, the last run is padded with copies of its last row, and cut.
// Each output becomes a column: a number a row, or lists for its further dimensions, of
// fixed size where the size is known before the model runs.
//
// Numbers are converted to the type of the input: whole numbers that are out of its range,
// and lists that are not as long as it wants, fail their row. A row that is null in a
// column that is read has null results. Types and shapes are checked when the task is
// bound, before the first row.
//
// The model runs on the CPU, also in a pipeline that has devices.
func (m *Model) Infer(c InferConfig) (stage.Task, error) {
	outputs, err := m.chooseOutputs(c.Outputs)
	if err != nil {
		return nil, err
	}
	if len(m.file.inputs) == 0 {
		return nil, fmt.Errorf("infer: model %s has no inputs", m.file.path)
	}
	rows, err := fixedRows(m.file.inputs)
	if err != nil {
		return nil, fmt.Errorf("infer: model %s: %w", m.file.path, err)
	}
	c.BatchSize, c.Actors = positive(c.BatchSize, 64), positive(c.Actors, 2)
	if rows > 0 {
		c.BatchSize = (c.BatchSize + rows - 1) / rows * rows // no run but the last is padded
	}
	return &tensorStage{model: m, config: c, outputs: outputs, rows: rows}, nil
}

// chooseOutputs are those that are wanted, in the order of the model, with their columns.
func (m *Model) chooseOutputs(asked map[string]string) ([]tensorOutput, error) {
	var have []string
	var out []tensorOutput
	for _, o := range m.file.outputs {
		have = append(have, o.Name)
		column, wanted := asked[o.Name]
		if asked != nil && !wanted {
			continue
		}
		switch {
		case o.Type.size() == 0:
			return nil, fmt.Errorf("infer: model %s: output %s cannot become a column: name the outputs that are wanted, of %s",
				m.file.path, names([]TensorInfo{o}), names(m.file.outputs))
		case o.Shape != nil && len(o.Shape) == 0:
			return nil, fmt.Errorf("infer: model %s: output %s has no dimension for the rows of a batch: name the outputs that are wanted, of %s",
				m.file.path, names([]TensorInfo{o}), names(m.file.outputs))
		case o.Shape == nil:
			return nil, fmt.Errorf("infer: model %s does not say what shape output %q has: name the outputs that are wanted, of %s",
				m.file.path, o.Name, names(m.file.outputs))
		}
		out = append(out, tensorOutput{TensorInfo: o, column: orElse(column, o.Name)})
	}
	for name := range asked {
		if slices.Contains(have, name) {
			continue
		}
		hint := ""
		if near := stage.Nearest(name, have); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
		return nil, fmt.Errorf("infer: model %s has no output %q: its outputs are %s%s", m.file.path, name, names(m.file.outputs), hint)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("infer: no output of model %s is wanted: its outputs are %s", m.file.path, names(m.file.outputs))
	}
	return out, nil
}

// tensorStage is a model between columns of numbers.
type tensorStage struct {
	model   *Model
	config  InferConfig
	outputs []tensorOutput
	rows    int // of each run; 0: any number
}

// Expand leaves the stage on the CPU, wherever the job's other models run.
func (s *tensorStage) Expand(stage.Placement) ([]stage.Stage, error) { return []stage.Stage{s}, nil }

func (s *tensorStage) ID() stage.StageID {
	columns := map[string]string{}
	for _, o := range s.outputs {
		columns[o.Name] = o.column
	}
	raw, err := json.Marshal(map[string]any{"bind": s.config.Bind, "outputs": columns})
	if err != nil {
		raw = nil // strings: they always are JSON
	}
	return stage.StageID{Name: "infer", Version: "1", Settings: raw, Digests: s.model.digests()}
}

func (s *tensorStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if len(in) != 1 {
		return nil, fmt.Errorf("infer: takes one input, not %d", len(in))
	}
	inputs, err := bindInputs(s.model.file.inputs, in[0], s.config.Bind)
	if err != nil {
		return nil, fmt.Errorf("infer: model %s: %w", s.model.file.path, err)
	}
	outputs, err := s.bindOutputs(inputs)
	if err != nil {
		return nil, fmt.Errorf("infer: model %s: %w", s.model.file.path, err)
	}
	plan := &tensorPlan{stage: s, inputs: inputs, outputs: outputs}
	need := stage.Need{Rows: stage.OneToOne, Batch: stage.Policy{MaxRows: s.config.BatchSize}, RowWise: true, Retryable: true, Deterministic: true,
		CPU: float64(s.model.cfg.threads()), Workers: stage.Pool{Min: s.config.Actors, Max: s.config.Actors}}
	for i, b := range inputs {
		at := slices.Index(need.Reads, b.column)
		if at < 0 {
			at = len(need.Reads)
			need.Reads = append(need.Reads, b.column)
		}
		inputs[i].at = at
	}
	for _, o := range outputs {
		if in[0].HasField(o.column) {
			return nil, &stage.ColumnError{Column: o.column, Problem: "the input has it already, and the model's output would take its place: give the output another name"}
		}
		need.Adds = append(need.Adds, arrow.Field{Name: o.column, Type: o.columnType(), Nullable: true})
	}
	return &stage.Bound{Schema: need.OutputSchema(in[0]), Need: need, Open: plan.open}, nil
}

// bindOutputs finds out what of the outputs' shapes the inputs' say.
func (s *tensorStage) bindOutputs(inputs []boundInput) ([]tensorOutput, error) {
	sizes := map[string]int64{}
	for _, in := range inputs {
		for i, d := range rowDims(in.TensorInfo) {
			if d.Size < 0 && d.Name != "" {
				sizes[d.Name] = in.dims[i]
			}
		}
	}
	seen := map[string]bool{}
	var out []tensorOutput
	for _, o := range s.outputs {
		if n := o.Shape[0].Size; n >= 0 && (s.rows == 0 || int(n) != s.rows) {
			return nil, fmt.Errorf("output %s has no row for each row that goes in: name the outputs that are wanted", names([]TensorInfo{o.TensorInfo}))
		}
		if seen[o.column] {
			return nil, fmt.Errorf("two outputs cannot both be column %q", o.column)
		}
		seen[o.column] = true
		o.dims = nil
		for _, d := range o.Shape[1:] {
			size := d.Size
			if known, ok := sizes[d.Name]; ok && size < 0 {
				size = known
			}
			o.dims = append(o.dims, size)
		}
		out = append(out, o)
	}
	return out, nil
}

// tensorPlan is a tensorStage whose inputs have their columns.
type tensorPlan struct {
	stage   *tensorStage
	inputs  []boundInput
	outputs []tensorOutput
}

func (p *tensorPlan) open(ctx context.Context, env stage.Env) (stage.Worker, error) {
	w := &tensorWorker{plan: p, env: env, user: &user{book: env.Book}}
	var err error
	if w.caller, err = p.stage.newTensorCaller(ctx, w.user, p); err != nil {
		return nil, errors.Join(err, p.stage.model.release(w.user))
	}
	return w, nil
}

// tensorWorker runs the model for one actor.
type tensorWorker struct {
	plan   *tensorPlan
	env    stage.Env
	user   *user
	caller *tensorCaller
}

// Process emits one record for the whole batch.
func (w *tensorWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	rec := in.Record()
	n := int(rec.NumRows())
	if n == 0 {
		return nil
	}
	batch := &tensorBatch{worker: w, rec: rec}
	for i := range w.plan.outputs {
		batch.columns = append(batch.columns, newTensorColumn(&w.plan.outputs[i], w.env.Allocator(i)))
	}
	defer batch.drop()
	if err := interruptible(ctx, w.caller.options, func() error { return batch.rows(ctx, n) }); err != nil {
		return err
	}
	w.env.Add(stage.NullInputs, batch.nulls)
	out := stage.Output{Record: batch.record(), Through: int32(n), Failed: batch.failed}
	if len(batch.failed) > 0 {
		out.Parent = batch.parent
	}
	return emit(out)
}

func (w *tensorWorker) Finish(context.Context, func(stage.Output) error) error { return nil }

func (w *tensorWorker) Close() error {
	var errs []error
	if w.caller != nil {
		errs = append(errs, w.caller.close())
		w.caller = nil
	}
	return errors.Join(append(errs, w.plan.stage.model.release(w.user))...)
}

// describe lists inputs with their columns, for errors of a run.
func (p *tensorPlan) describe() string {
	var list []string
	for _, in := range p.inputs {
		list = append(list, fmt.Sprintf("%s ← %s", names([]TensorInfo{in.TensorInfo}), in.column))
	}
	return strings.Join(list, ", ")
}
