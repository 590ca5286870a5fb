package pipeline

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// cannotFail says of a stage that no row can make it fail.
func (s *step) cannotFail() bool {
	var e expr.Expr
	switch st := s.st.(type) {
	case sourceStage, sampleStage, repartitionStage:
		return true
	case filterStage:
		e = st.e
	case columnStage:
		e = st.e
	default:
		return false
	}
	b, err := expr.Bind(e, s.in)
	return err == nil && !b.MayFail()
}

// keepsRows says of a stage that just as many rows come out as go in, as far as the job gets.
func (s settings) keepsRows(st *step) bool {
	return st.bound != nil && st.bound.Need.Rows == stage.OneToOne && (!s.skip || st.cannotFail())
}

// filter is the condition of a node that is a filter which cannot fail.
func (n *planNode) filter() (expr.Expr, bool) {
	if n.step == nil {
		return nil, false
	}
	f, ok := n.step.st.(filterStage)
	return f.e, ok && n.step.cannotFail()
}

// filtered is a filter over in; false: in has not the columns for it.
func (in *planNode) filtered(e expr.Expr) (*planNode, bool) {
	st := filterStage{e}
	bound, err := st.Bind([]*arrow.Schema{in.schema})
	if err != nil {
		return nil, false
	}
	return in.then(&step{name: st.ID().Name, in: in.schema, out: bound.Schema, st: st, bound: bound}), true
}

// mergeFilters makes one filter of two. One that can fail stays as it is: an and would
// evaluate it for more rows.
func mergeFilters(_ settings, root *planNode) *planNode {
	return bottomUp(root, func(n *planNode) *planNode {
		upper, ok := n.filter()
		if !ok {
			return n
		}
		lower, ok := n.in[0].filter()
		if !ok {
			return n
		}
		out, ok := n.in[0].in[0].filtered(expr.And(lower, upper))
		if !ok {
			return n
		}
		return out
	})
}

// pushFilters moves each condition of a filter as near to the source as it can, and asks the
// source for what reaches it.
func pushFilters(s settings, root *planNode) *planNode {
	return bottomUp(root, func(n *planNode) *planNode {
		e, ok := n.filter()
		if !ok || n.step.asked {
			return n
		}
		in := n.in[0]
		var stay []expr.Expr
		for _, c := range expr.Conjuncts(e) {
			if below, ok := s.sink(in, c); ok {
				in = below
			} else {
				stay = append(stay, c)
			}
		}
		if in == n.in[0] {
			return n
		}
		if len(stay) == 0 {
			return in
		}
		out, ok := in.filtered(expr.AndAll(stay...))
		if !ok {
			return n
		}
		return out
	})
}

// sink gives the rows of n for which c is true by a filter further down, or as a part of n;
// false: it cannot.
func (s settings) sink(n *planNode, c expr.Expr) (*planNode, bool) {
	switch {
	case n.scan != nil:
		return n.ask(c)
	case n.join == union:
		sides := make([]*planNode, len(n.in))
		for i, in := range n.in {
			var ok bool
			if sides[i], ok = s.below(in, c); !ok {
				return nil, false
			}
		}
		return n.over(sides...), true
	case n.step == nil:
		return nil, false
	case n.step.cols != nil:
		var ok bool
		if c, ok = n.step.mapNames(c); !ok {
			return nil, false
		}
	default:
		if have, ok := n.filter(); ok {
			return s.sinkFilter(n, have, c)
		}
		if !s.passes(n.step, c) {
			return nil, false
		}
	}
	in, ok := s.below(n.in[0], c)
	if !ok {
		return nil, false
	}
	return n.over(in), true
}

// sinkFilter is sink for a filter, of which c becomes a part unless it goes deeper.
func (s settings) sinkFilter(n *planNode, have, c expr.Expr) (*planNode, bool) {
	if !n.step.asked {
		if in, ok := s.sink(n.in[0], c); ok {
			return n.over(in), true
		}
	}
	return n.tighten(have, c)
}

// below filters n by c, as far down as can be.
func (s settings) below(n *planNode, c expr.Expr) (*planNode, bool) {
	if out, ok := s.sink(n, c); ok {
		return out, true
	}
	return n.filtered(c)
}

// ask has a source asked for a filter, over which it stands until the source has answered.
func (n *planNode) ask(c expr.Expr) (*planNode, bool) {
	out, ok := n.filtered(c)
	if !ok {
		return nil, false
	}
	read := *n
	read.want.Filter = expr.AndAll(n.want.Filter, c)
	out.in[0], out.step.asked = &read, true
	return out, true
}

// tighten adds a condition to a filter, and to what the source is asked for.
func (n *planNode) tighten(have, c expr.Expr) (*planNode, bool) {
	in := n.in[0]
	if n.step.asked {
		read := *in
		read.want.Filter = expr.AndAll(in.want.Filter, c)
		in = &read
	}
	out, ok := in.filtered(expr.And(have, c))
	if !ok {
		return nil, false
	}
	out.step.asked = n.step.asked
	return out, true
}

// passes says whether a stage may be given only the rows for which c is true, in place of
// those rows being chosen behind it: c reads what is carried past it, and so is the same for
// all that comes of a row.
func (s settings) passes(st *step, c expr.Expr) bool {
	if st.bound == nil {
		return false
	}
	need := st.bound.Need
	if need.Reads == nil || !need.RowWise || !need.Deterministic {
		return false
	}
	for _, name := range expr.Columns(c) {
		if slices.ContainsFunc(need.Adds, func(f arrow.Field) bool { return f.Name == name }) {
			return false
		}
	}
	return !s.skip || st.cannotFail()
}

// mapNames says a condition on the columns that a choice gives by the names that they have
// before it; false: such a name is not one column's.
func (s *step) mapNames(c expr.Expr) (expr.Expr, bool) {
	ok := true
	out := expr.MapColumns(c, func(name string) expr.Expr {
		at := s.out.FieldIndices(name)
		if len(at) == 0 {
			ok = false
			return nil
		}
		from := s.cols[at[0]].at
		before := s.in.Field(from).Name
		ok = ok && len(s.in.FieldIndices(before)) == 1
		return expr.Col(before)
	})
	return out, ok
}
