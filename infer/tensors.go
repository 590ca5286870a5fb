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
	Outputs map[string]string
	// Images has an input take images as bytes, and the model scale, normalise and transpose
	// them itself. Nil: columns come as the model wants them.
	Images    *Images
	BatchSize int // rows; 0: 64
	Actors    int // callers of the model at once; 0: 2. On devices: actors; 0: as many as fit
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
// On a device, columns that have the inputs' types, in lists of fixed size, are read where they
// lie (see [stage.InputMemory]). Batches that are not full are padded to one of a few sizes, and
// they and those with null rows are copied on the host first ([stage.StagedBytes]).
func (m *Model) Infer(c InferConfig) (stage.Task, error) {
	outputs, err := m.chooseOutputs(c.Outputs)
	if err != nil {
		return nil, err
	}
	if len(m.file.inputs) == 0 {
		return nil, fmt.Errorf("infer: model %s has no inputs", m.file.path)
	}
	inputs, err := m.tensorInputs(c.Images)
	if err != nil {
		return nil, err
	}
	rows, err := fixedRows(inputs.list)
	if err != nil {
		return nil, fmt.Errorf("infer: model %s: %w", m.file.path, err)
	}
	c.BatchSize = positive(c.BatchSize, 64)
	if rows > 0 {
		c.BatchSize = (c.BatchSize + rows - 1) / rows * rows // no run but the last is padded
	}
	return &tensorStage{model: m, config: c, inputs: inputs, outputs: outputs, rows: rows}, nil
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
	inputs  tensorInputs
	outputs []tensorOutput
	rows    int // of each run; 0: any number
	device  stage.DeviceKind
}

func (s *tensorStage) Expand(p stage.Placement) ([]stage.Stage, error) {
	if err := s.model.cfg.checkDevice(p, true); err != nil { // see deviceRows
		return nil, err
	}
	placed := *s
	placed.device = p.Device
	return []stage.Stage{&placed}, nil
}

func (s *tensorStage) ID() stage.StageID {
	columns := map[string]string{}
	for _, o := range s.outputs {
		columns[o.Name] = o.column
	}
	settings := map[string]any{"bind": s.config.Bind, "outputs": columns}
	if s.config.Images != nil {
		settings["images"] = s.config.Images
	}
	if on := s.model.cfg.runsOn(s.device); on != "" {
		settings["device"] = on
	}
	raw, err := json.Marshal(settings)
	if err != nil {
		raw = nil // strings and numbers that were checked: they always are JSON
	}
	return stage.StageID{Name: "infer", Version: "1", Settings: raw, Digests: s.model.digests()}
}

func (s *tensorStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if len(in) != 1 {
		return nil, fmt.Errorf("infer: takes one input, not %d", len(in))
	}
	inputs, err := bindInputs(s.inputs.list, in[0], s.config.Bind)
	if err != nil {
		return nil, fmt.Errorf("infer: model %s: %w", s.model.file.path, err)
	}
	outputs, err := s.bindOutputs(inputs)
	if err != nil {
		return nil, fmt.Errorf("infer: model %s: %w", s.model.file.path, err)
	}
	plan := &tensorPlan{stage: s, inputs: inputs, outputs: outputs}
	need := s.need()
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

// need is what the stage asks for, but for its columns.
func (s *tensorStage) need() stage.Need {
	n := stage.Need{Rows: stage.OneToOne, Batch: stage.Policy{MaxRows: s.config.BatchSize}, RowWise: true, Retryable: true, Deterministic: true}
	if s.device == stage.CPU {
		actors := positive(s.config.Actors, 2)
		n.CPU, n.Workers = float64(s.model.cfg.threads()), stage.Pool{Min: actors, Max: actors}
	} else {
		n.GPU, n.InFlight, n.Workers = s.model.cfg.share(), deviceSlots, stage.Pool{Min: s.config.Actors, Max: s.config.Actors}
	}
	return n
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

// wanted names the model's outputs in the order of the plan's.
func (p *tensorPlan) wanted() (list []string) {
	for _, out := range p.outputs {
		list = append(list, out.Name)
	}
	return list
}

func (p *tensorPlan) open(ctx context.Context, env stage.Env) (stage.Worker, error) {
	w := &tensorWorker{plan: p, env: env}
	if err := w.start(ctx); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// tensorWorker runs the model for one actor.
type tensorWorker struct {
	plan    *tensorPlan
	env     stage.Env
	session DeviceSession // nil: it runs on the CPU
	user    *user         // of the session there
	runners []tensorRunner
	idle    chan tensorRunner
}

// start makes as many runners as there are calls at once. What there is by then is the worker's to
// close, also after an error.
func (w *tensorWorker) start(ctx context.Context) (err error) {
	if w.plan.stage.device == stage.CPU {
		w.user = &user{book: w.env.Book}
		r, err := w.plan.newCPUTensors(ctx, w.user)
		if err != nil {
			return err
		}
		w.runners = append(w.runners, r)
	} else {
		if w.session, err = w.plan.openDevice(ctx, w.env); err != nil {
			return err
		}
		for range w.session.Slots() {
			w.runners = append(w.runners, &deviceTensors{plan: w.plan, session: w.session})
		}
	}
	w.idle = make(chan tensorRunner, len(w.runners))
	for _, r := range w.runners {
		w.idle <- r
	}
	return nil
}

// Process emits one record for the whole batch.
func (w *tensorWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	rec := in.Record()
	n := int(rec.NumRows())
	if n == 0 {
		return nil
	}
	batch := w.newBatch(rec)
	defer batch.drop()
	runner := <-w.idle // there are as many as there are calls
	err := batch.process(ctx, runner, n)
	w.idle <- runner
	if err != nil {
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
	for _, r := range w.runners {
		errs = append(errs, r.close())
	}
	w.runners = nil
	if w.user != nil {
		errs = append(errs, w.plan.stage.model.release(w.user))
		w.user = nil
	}
	if w.session != nil {
		errs = append(errs, w.session.Close())
		w.session = nil
	}
	return errors.Join(errs...)
}

// describe lists inputs with their columns, for errors of a run.
func (p *tensorPlan) describe() string {
	var list []string
	for _, in := range p.inputs {
		list = append(list, fmt.Sprintf("%s ← %s", names([]TensorInfo{in.TensorInfo}), in.column))
	}
	return strings.Join(list, ", ")
}
