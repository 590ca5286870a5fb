package pipeline

import (
	"context"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
)

// The optimiser is a list of rules. A rule is a pure function from a bound plan to one that
// gives the same rows, in the same order, with the same origins and the same failed rows;
// it changes no node that it was given. What the source is asked for in the end, and what it
// leaves to us, is settled between the rules (see resolve).
//
// What may go wrong decides how far a step may move. The engine's own stages are known not to
// fail a row unless their expression can ([expr.Bound.MayFail]). Any other stage may. As long
// as the first failure ends the job, rows that no one wants need not be tried; where failed
// rows are skipped (OnError.Skip) they come out as dead letters, and then a filter stays behind
// a stage that may fail, and a limit counts behind it. A filter that can fail itself never moves.
//
// A dead letter holds the row as its stage was given it: so where failed rows are skipped, columns
// that nobody needs are still carried up to the last stage that may fail.

// rule is one step of the optimiser.
type rule func(s settings, n *planNode) *planNode

// settings is what rules may depend on beside the plan.
type settings struct {
	skip    bool   // failed rows are skipped
	columns []bool // of the plan's, that are wanted
}

// early rules decide what the source is asked for; late ones follow from what it answers.
var (
	earlyRules = []rule{
		mergeFilters,
		pushFilters,
		mergeProjections,
		mergeLimits,
		pushLimits,
		pruneColumns,
	}
	lateRules = []rule{
		pushLimits,
		pruneColumns,
		mergeProjections,
		mergeLimits,
	}
	physicalRules = []rule{
		fuseStages,
	}
)

// optimise gives a plan of the columns that are wanted of p. It may ask sources to plan again,
// and reads no data.
func optimise(ctx context.Context, p *plan, cfg Config, columns []bool) (*plan, error) {
	root, err := rewrite(ctx, p.root, settings{skip: cfg.OnError.Skip, columns: columns})
	if err != nil {
		return nil, err
	}
	return &plan{root: runRules(physicalRules, settings{}, root), schema: only(p.schema, columns)}, nil
}

// rewrite gives the plan as it is before stages are fused.
func rewrite(ctx context.Context, root *planNode, s settings) (*planNode, error) {
	root = runRules(earlyRules, s, root)
	root, err := resolve(ctx, root)
	if err != nil {
		return nil, err
	}
	return resolve(ctx, runRules(lateRules, settings{skip: s.skip, columns: everyColumn(root.schema)}, root))
}

func runRules(rules []rule, s settings, root *planNode) *planNode {
	for _, r := range rules {
		root = r(s, root)
	}
	return root
}

// everyInput gives n with f applied to what it reads from.
func (n *planNode) everyInput(f func(*planNode) *planNode) *planNode {
	var in []*planNode
	for i, old := range n.in {
		if now := f(old); now != old {
			if in == nil {
				in = slices.Clone(n.in)
			}
			in[i] = now
		}
	}
	if in == nil {
		return n
	}
	return n.over(in...)
}

// over is a copy of n that reads from other nodes, whose schemas are those of the old ones.
func (n *planNode) over(in ...*planNode) *planNode {
	out := *n
	out.in = in
	return &out
}

// bottomUp applies f to every node, inputs first.
func bottomUp(n *planNode, f func(*planNode) *planNode) *planNode {
	return f(n.everyInput(func(in *planNode) *planNode { return bottomUp(in, f) }))
}

// mergeProjections makes one choice of columns of two, and none of one that changes nothing.
func mergeProjections(_ settings, root *planNode) *planNode {
	return bottomUp(root, func(n *planNode) *planNode {
		if n.step == nil || n.step.cols == nil {
			return n
		}
		in, cols := n.in[0], n.step.cols
		if in.step != nil && in.step.cols != nil {
			cols = slices.Clone(cols)
			for i := range cols {
				cols[i].at = in.step.cols[cols[i].at].at
			}
			in = in.in[0]
		}
		return in.choose(n.step.name, cols)
	})
}

// choose is a choice of columns over in, or in itself where that is what it gives.
func (in *planNode) choose(name string, cols []column) *planNode {
	same := len(cols) == in.schema.NumFields()
	for i, c := range cols {
		same = same && c.at == i && c.name == in.schema.Field(i).Name
	}
	if same {
		return in
	}
	return in.then(&step{name: name, in: in.schema, out: projectedSchema(in.schema, cols), cols: cols})
}

// mergeLimits makes the smaller one of two limits.
func mergeLimits(_ settings, root *planNode) *planNode {
	return bottomUp(root, func(n *planNode) *planNode {
		if !n.isLimit() || !n.in[0].isLimit() {
			return n
		}
		if in := n.in[0]; *in.step.limit <= *n.step.limit {
			return in
		}
		return n.over(n.in[0].in[0])
	})
}

func (n *planNode) isLimit() bool { return n.step != nil && n.step.limit != nil }

// pushLimits tells sources how many rows are needed of them. It goes through what keeps rows
// one to one, and to each side of a union as an upper bound. The limit itself stays: a source
// may give more.
func pushLimits(s settings, root *planNode) *planNode {
	return s.pushLimit(root, 0)
}

// pushLimit says that of n no more than limit rows are needed; 0: all.
func (s settings) pushLimit(n *planNode, limit int64) *planNode {
	switch {
	case n.scan != nil:
		if limit == 0 || n.want.Limit > 0 && n.want.Limit <= limit {
			return n
		}
		out := *n
		out.want.Limit = limit
		return &out
	case n.isLimit():
		if limit == 0 || *n.step.limit < limit {
			limit = max(*n.step.limit, 0)
		}
	case n.join == union, n.step != nil && (n.step.cols != nil || s.keepsRows(n.step)):
	default:
		limit = 0
	}
	return n.everyInput(func(in *planNode) *planNode { return s.pushLimit(in, limit) })
}

func everyColumn(schema *arrow.Schema) []bool {
	return slices.Repeat([]bool{true}, schema.NumFields())
}

// only is the fields of a schema that are kept.
func only(schema *arrow.Schema, keep []bool) *arrow.Schema {
	if !slices.Contains(keep, false) {
		return schema
	}
	var fields []arrow.Field
	for i, f := range schema.Fields() {
		if keep[i] {
			fields = append(fields, f)
		}
	}
	meta := schema.Metadata()
	return arrow.NewSchema(fields, &meta)
}
