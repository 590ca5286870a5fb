package pipeline

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// resolve plans every source for what is wanted of it, and puts what it leaves of a filter in
// the place of the filter.
func resolve(ctx context.Context, n *planNode) (*planNode, error) {
	if n.scan != nil {
		return n.replan(ctx)
	}
	in := make([]*planNode, len(n.in))
	for i, old := range n.in {
		var err error
		if in[i], err = resolve(ctx, old); err != nil {
			return nil, err
		}
	}
	if !slices.Equal(in, n.in) {
		n = n.over(in...)
	}
	if n.step != nil && n.step.asked {
		return n.residual(), nil
	}
	return n, nil
}

// replan plans a source anew if something else is wanted than it was planned for.
func (n *planNode) replan(ctx context.Context) (*planNode, error) {
	if sameRequest(n.asked, n.want) {
		return n, nil
	}
	scan, err := n.source.Plan(ctx, n.want)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.name, err)
	}
	out := *n
	out.scan, out.asked = scan, n.want
	full := &out
	if !sameColumns(scan.Schema(), n.schema) { // a source that gives more than it is asked for
		out.schema = scan.Schema()
		cols, err := selectColumns(scan.Schema(), names(n.schema.Fields()))
		if err != nil {
			return nil, fmt.Errorf("%s: it was asked for the columns %v, and gives others: %w", n.name, n.want.Columns, err)
		}
		full = out.choose("select", cols)
	}
	rest, before := scan.Residual(), n.scan.Residual()
	if n.asked.Filter == nil || rest == nil || before != nil && before.String() == rest.String() {
		return full, nil // a filter stands over it, or need not
	}
	filtered, ok := full.filtered(rest)
	if !ok {
		return nil, fmt.Errorf("%s: it leaves the filter %s to us, and not the columns for it", n.name, rest)
	}
	return filtered, nil
}

// residual is a filter over a source that was asked for it, made what the source leaves of it.
func (n *planNode) residual() *planNode {
	s, in := n.step, n.in[0]
	var rest expr.Expr
	if in.scan == nil { // a choice over the source: the whole filter is always right
		rest = s.st.(filterStage).e
	} else if rest = in.scan.Residual(); rest == nil {
		keep := make([]bool, s.in.NumFields())
		for _, f := range s.out.Fields() {
			keep[s.in.FieldIndices(f.Name)[0]] = true
		}
		return in.narrowAfter(keep)
	}
	out := *s
	out.asked = false
	st := filterStage{rest}
	if bound, err := st.Bind([]*arrow.Schema{s.in}); err == nil { // else the whole filter is right too
		out.st, out.bound = st, bound
	}
	return in.then(&out)
}

func sameColumns(a, b *arrow.Schema) bool {
	return slices.EqualFunc(a.Fields(), b.Fields(), func(f, g arrow.Field) bool {
		return f.Name == g.Name && arrow.TypeEqual(f.Type, g.Type)
	})
}

func sameRequest(a, b stage.ScanRequest) bool {
	if (a.Filter == nil) != (b.Filter == nil) || (a.Columns == nil) != (b.Columns == nil) {
		return false
	}
	return a.Limit == b.Limit && slices.Equal(a.Columns, b.Columns) && (a.Filter == nil || a.Filter.String() == b.Filter.String())
}
