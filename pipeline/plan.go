package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/batcher"
	"github.com/penstock-data/penstock/stage"
)

// plan is a Dataset that was checked: every stage bound to the schema that reaches it.
type plan struct {
	root   *planNode
	schema *arrow.Schema // of the rows that come out
}

// planNode is one step of a plan with what it reads from. Just one of scan, join and step is
// set.
type planNode struct {
	name   string
	in     []*planNode
	schema *arrow.Schema // of its rows
	source stage.Source
	scan   stage.Scan
	asked  stage.ScanRequest // what scan was planned for
	want   stage.ScanRequest // what it should be planned for
	join   joinKind
	step   *step
	fused  []*step // stages, and choices of columns between them, that run within the calls of step
	place  int     // of a source, in the plan as it was written
}

// step is what is done to the rows of one input. Just one of bound, cols and limit is set.
type step struct {
	name  string
	place int // of a stage, in the plan as it was written: seeds hang on it
	in    *arrow.Schema
	out   *arrow.Schema // where bound says what it reads: some of its columns, in their order
	st    stage.Stage   // that was bound
	bound *stage.Bound
	cols  []column
	limit *int64
	auto  bool // the batch size is searched for
	asked bool // a filter that the source is asked for too
}

// binder checks a Dataset and collects the faults that it finds.
type binder struct {
	ctx    context.Context
	faults []error
	place  stage.Placement
	places int // sources and stages so far
}

// bind checks a Dataset. All faults that can be found are reported at once; behind a stage
// that cannot be bound its output is unknown, so there the search ends.
func (d *Dataset) bind(ctx context.Context, cfg Config) (*plan, error) {
	b := &binder{ctx: ctx, place: cfg.placement()}
	root := b.dataset(d)
	if root == nil || len(b.faults) > 0 {
		return nil, errors.Join(b.faults...)
	}
	p := &plan{root: root, schema: root.schema}
	return p, p.checkDevices(cfg.GPUs)
}

func (b *binder) fault(n node, err error) {
	b.faults = append(b.faults, fmt.Errorf("%s: %w", n.label(), err))
}

// dataset binds a Dataset with all that it reads from; nil: it cannot be.
func (b *binder) dataset(d *Dataset) *planNode {
	switch n := d.node.(type) {
	case readNode:
		return b.read(n)
	case joinNode:
		return b.join(n)
	}
	in := b.dataset(d.up)
	if in == nil {
		return nil
	}
	return b.over(in, d.node)
}

// read plans the reading of everything: what is not needed of it is the optimiser's business.
func (b *binder) read(n readNode) *planNode {
	name := nameOr(n.src.ID().Name, "read")
	scan, err := n.src.Plan(b.ctx, stage.ScanRequest{})
	if err != nil {
		b.faults = append(b.faults, fmt.Errorf("%s: %w", name, err))
		return nil
	}
	b.places++
	return &planNode{name: name, schema: scan.Schema(), source: n.src, scan: scan, place: b.places - 1}
}

// over binds a node over one input; nil: the search for faults cannot go on.
func (b *binder) over(in *planNode, n node) *planNode {
	switch n := n.(type) {
	case limitNode:
		if n.n < 0 {
			b.fault(n, fmt.Errorf("a limit of %d rows", n.n))
		}
		return in.then(&step{name: "limit", in: in.schema, out: in.schema, limit: &n.n})
	case projectNode:
		cols, err := n.bind(in.schema)
		if err != nil {
			b.fault(n, err)
		}
		return in.then(&step{name: n.name, in: in.schema, out: projectedSchema(in.schema, cols), cols: cols})
	case stageNode:
		return b.stage(in, n, n.st, n.cfg)
	case taskNode:
		stages, err := n.task.Expand(b.place)
		if err != nil {
			b.fault(n, err)
			return nil
		}
		return b.task(in, n, stages)
	}
	b.fault(n, fmt.Errorf("unknown step %T", n))
	return nil
}

func (in *planNode) then(s *step) *planNode {
	return &planNode{name: s.name, in: []*planNode{in}, schema: s.out, step: s}
}

func (b *binder) stage(in *planNode, n node, st stage.Stage, cfg StageConfig) *planNode {
	bound, err := st.Bind([]*arrow.Schema{in.schema})
	if err != nil {
		b.fault(n, err)
		return nil
	}
	return b.bound(in, n, st, bound, cfg)
}

// task binds the stages of a task. Its configuration is for the model, which is known by its pool
// of workers, or else stands last.
func (b *binder) task(in *planNode, task taskNode, stages []stage.Stage) *planNode {
	pools := false
	for i, st := range stages {
		n := stageNode{st, StageConfig{}}
		bound, err := st.Bind([]*arrow.Schema{in.schema})
		if err != nil {
			b.fault(n, err)
			return nil
		}
		pool := bound.Need.Workers != stage.Pool{} || bound.Need.GPU > 0
		pools = pools || pool
		cfg := StageConfig{}
		if pool || i == len(stages)-1 && !pools {
			cfg = task.cfg
		}
		if in = b.bound(in, n, st, bound, cfg); in == nil {
			return nil
		}
	}
	return in
}

// bound takes a bound stage into the plan, with what is said over it.
func (b *binder) bound(in *planNode, n node, st stage.Stage, bound *stage.Bound, cfg StageConfig) *planNode {
	need := &bound.Need
	if cfg.Actors < 0 || cfg.MaxActors < 0 || cfg.BatchSize < AutoBatch {
		b.fault(n, fmt.Errorf("actors %d and batch size %d must not be negative", cfg.Actors, cfg.BatchSize))
	}
	if cfg.Actors > 0 {
		need.Workers = stage.Pool{Min: cfg.Actors, Max: cfg.Actors}
	}
	if cfg.MaxActors > cfg.Actors {
		need.Workers = stage.Pool{Min: max(cfg.Actors, 1), Max: cfg.MaxActors}
	}
	if cfg.BatchSize != 0 {
		need.Batch.MaxRows = max(cfg.BatchSize, 0)
	}
	if err := checkNeed(in.schema, bound); err != nil {
		b.fault(n, err)
		return nil
	}
	b.places++
	return in.then(&step{name: n.label(), in: in.schema, out: bound.Schema, st: st, bound: bound, place: b.places - 1, auto: cfg.BatchSize == AutoBatch})
}

// checkNeed holds a stage to its own word before it runs.
func checkNeed(in *arrow.Schema, b *stage.Bound) error {
	need := b.Need
	for _, name := range slices.Concat(need.Reads, need.Drops) {
		if _, err := stage.Column(in, name); err != nil {
			return err
		}
	}
	if need.Reads == nil && (len(need.Adds) > 0 || len(need.Drops) > 0) {
		return errors.New("the stage adds or drops columns, but does not say which it reads")
	}
	if _, err := batcher.New(need.Batch); err != nil {
		return err
	}
	if need.Rows == stage.Collect && need.Reads != nil {
		return errors.New("a stage that collects rows gives whole ones, but says which columns it reads")
	}
	if need.Reads != nil {
		if want := need.OutputSchema(in); !want.Equal(b.Schema) {
			return fmt.Errorf("the stage says that its rows have the schema %v, but by what it reads, adds and drops it is %v", b.Schema, want)
		}
	}
	return nil
}

func jsonString(s string) json.RawMessage {
	raw, _ := json.Marshal(s) // a string always can be
	return raw
}

// fingerprint names the job: what is read, what is done to it, where it goes.
func (p *plan) fingerprint(d *Dataset, sink stage.Sink, cfg Config) stage.JobID {
	ids := append(d.stageIDs(cfg.placement()), sink.ID(), stage.StageID{Name: "schema", Settings: jsonString(p.schema.String())},
		stage.StageID{Name: "seed", Settings: jsonString(fmt.Sprint(cfg.Seed))},
		// what decides which rows a part holds
		stage.StageID{Name: "parts", Settings: jsonString(fmt.Sprint(cfg.GroupBytes, cfg.Unordered, cfg.OnError.Skip))})
	raw, _ := json.Marshal(ids) // Settings come from Marshal themselves; at worst the name stands for the stage
	return stage.JobID(stage.StageID{Name: "job", Settings: raw}.Fingerprint())
}

// stageIDs is what a Dataset is made of, from its sources on.
func (d *Dataset) stageIDs(place stage.Placement) []stage.StageID {
	var ids []stage.StageID
	if d.up != nil {
		ids = d.up.stageIDs(place)
	}
	switch n := d.node.(type) {
	case readNode:
		return append(ids, n.src.ID())
	case stageNode:
		return append(ids, n.st.ID())
	case taskNode:
		stages, err := n.task.Expand(place)
		if err != nil { // then there is no job to name
			return ids
		}
		for _, st := range stages {
			ids = append(ids, st.ID())
		}
		return ids
	case limitNode:
		return append(ids, stage.StageID{Name: n.label(), Settings: jsonString(fmt.Sprint(n.n))})
	case projectNode:
		return append(ids, stage.StageID{Name: n.name, Settings: jsonString(n.settings)})
	case joinNode:
		for _, side := range n.sides {
			ids = append(ids, side.stageIDs(place)...)
		}
	}
	return append(ids, stage.StageID{Name: d.node.label()})
}
