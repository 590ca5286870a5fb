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
	source stage.Source
	scan   stage.Scan
	steps  []step
	schema *arrow.Schema // of the rows that come out
}

// step is one operator behind the source. Just one of bound, cols and limit is set.
type step struct {
	name  string
	in    *arrow.Schema
	out   *arrow.Schema
	bound *stage.Bound
	cols  []column
	limit *int64
}

// bind checks a Dataset. All faults that can be found are reported at once; behind a stage
// that cannot be bound its output is unknown, so there the search ends.
func (d *Dataset) bind(ctx context.Context) (*plan, error) {
	nodes := d.nodes()
	read := nodes[0].(readNode)
	p := &plan{source: read.src}
	var err error
	if p.scan, err = read.src.Plan(ctx, stage.ScanRequest{Limit: leadingLimit(nodes)}); err != nil {
		return nil, fmt.Errorf("%s: %w", nameOr(read.src.ID().Name, "read"), err)
	}
	p.schema = p.scan.Schema()
	var errs []error
	if res := p.scan.Residual(); res != nil {
		p.add(stageNode{filterStage{res}, StageConfig{}}, &errs)
	}
	for _, n := range nodes[1:] {
		if !p.add(n, &errs) {
			break
		}
	}
	return p, errors.Join(errs...)
}

// nodes is the plan from the source on.
func (d *Dataset) nodes() []node {
	var out []node
	for ; d != nil; d = d.up {
		out = append(out, d.node)
	}
	slices.Reverse(out)
	return out
}

// leadingLimit is the limit that the source can stop at: one with nothing before it that
// changes the number of rows.
func leadingLimit(nodes []node) int64 {
	for _, n := range nodes[1:] {
		switch n := n.(type) {
		case limitNode:
			return max(n.n, 0)
		case projectNode:
		default:
			return 0
		}
	}
	return 0
}

// add binds one node, and says whether the search for faults can go on.
func (p *plan) add(n node, errs *[]error) bool {
	fail := func(err error) { *errs = append(*errs, fmt.Errorf("%s: %w", n.label(), err)) }
	switch n := n.(type) {
	case limitNode:
		if n.n < 0 {
			fail(fmt.Errorf("a limit of %d rows", n.n))
		}
		p.steps = append(p.steps, step{name: "limit", in: p.schema, out: p.schema, limit: &n.n})
	case projectNode:
		cols, err := n.bind(p.schema)
		if err != nil {
			fail(err)
		}
		s := step{name: n.name, in: p.schema, out: projectedSchema(p.schema, cols), cols: cols}
		p.steps, p.schema = append(p.steps, s), s.out
	case stageNode:
		return p.addStage(n.label(), n.st, n.cfg, fail)
	case taskNode:
		stages, err := n.task.Expand(stage.Placement{})
		if err != nil {
			fail(err)
			return false
		}
		for _, st := range stages {
			if !p.addStage(st.ID().Name, st, n.cfg, fail) {
				return false
			}
		}
	default:
		fail(fmt.Errorf("unknown step %T", n))
		return false
	}
	return true
}

func (p *plan) addStage(name string, st stage.Stage, cfg StageConfig, fail func(error)) bool {
	bound, err := st.Bind([]*arrow.Schema{p.schema})
	if err != nil {
		fail(err)
		return false
	}
	need := &bound.Need
	if cfg.Actors < 0 || cfg.BatchSize < 0 {
		fail(fmt.Errorf("actors %d and batch size %d must not be negative", cfg.Actors, cfg.BatchSize))
	}
	if cfg.Actors > 0 {
		need.Workers = stage.Pool{Min: cfg.Actors, Max: cfg.Actors}
	}
	if cfg.BatchSize > 0 {
		need.Batch.MaxRows = cfg.BatchSize
	}
	if err := checkNeed(p.schema, bound); err != nil {
		fail(err)
		return false
	}
	p.steps = append(p.steps, step{name: name, in: p.schema, out: bound.Schema, bound: bound})
	p.schema = bound.Schema
	return true
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
	if need.Rows == stage.Collect {
		return errors.New("collecting rows is the executor's own work, not a stage's")
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
func (p *plan) fingerprint(d *Dataset, sink stage.Sink, seed uint64) stage.JobID {
	ids := []stage.StageID{p.source.ID()}
	for _, n := range d.nodes()[1:] {
		switch n := n.(type) {
		case stageNode:
			ids = append(ids, n.st.ID())
		case taskNode:
			if stages, err := n.task.Expand(stage.Placement{}); err == nil {
				for _, st := range stages {
					ids = append(ids, st.ID())
				}
			}
		case limitNode:
			ids = append(ids, stage.StageID{Name: n.label(), Settings: jsonString(fmt.Sprint(n.n))})
		default:
			ids = append(ids, stage.StageID{Name: n.label()})
		}
	}
	ids = append(ids, sink.ID(), stage.StageID{Name: "schema", Settings: jsonString(p.schema.String())},
		stage.StageID{Name: "seed", Settings: jsonString(fmt.Sprint(seed))})
	raw, _ := json.Marshal(ids) // Settings come from Marshal themselves; at worst the name stands for the stage
	return stage.JobID(stage.StageID{Name: "job", Settings: raw}.Fingerprint())
}
