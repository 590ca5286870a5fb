package pipeline

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// pruneColumns has every column end where it is read last: what nobody needs is not read, and
// what is needed no more is not carried on.
func pruneColumns(s settings, root *planNode) *planNode {
	return root.narrow(atLeastOne(root.schema, s.columns), s.skip)
}

// narrow gives n with the columns that are kept, and no others, in their order. It keeps one
// at least, unless there is none. With whole, stages that may fail are given all columns, for the
// dead letters of their rows.
func (n *planNode) narrow(keep []bool, whole bool) *planNode {
	switch {
	case n.scan != nil:
		return n.narrowRead(keep)
	case n.join == zip:
		return n.narrowZip(keep, whole)
	case n.join == union:
		out := n.everyInput(func(in *planNode) *planNode { return in.narrow(keep, whole) })
		return out.withSchema(only(n.schema, keep))
	case n.step.cols != nil:
		return n.narrowCols(keep, whole)
	case n.step.limit != nil:
		return n.narrowLike(keep, n.step.bound, whole)
	}
	if _, ok := n.step.st.(repartitionStage); ok { // its rows are those that it is given
		bound := *n.step.bound
		bound.Schema = only(n.schema, keep)
		return n.narrowLike(keep, &bound, whole)
	}
	if n.step.bound.Need.Reads == nil || whole && !n.step.cannotFail() {
		return n.narrowAfter(keep, n.in[0].narrow(everyColumn(n.in[0].schema), whole))
	}
	return n.narrowStage(keep, whole)
}

func (n *planNode) withSchema(schema *arrow.Schema) *planNode {
	if schema == n.schema {
		return n
	}
	out := *n
	out.schema = schema
	return &out
}

func (n *planNode) narrowRead(keep []bool) *planNode {
	if !slices.Contains(keep, false) {
		return n
	}
	deaf := n.asked.Columns != nil && !slices.Equal(n.asked.Columns, names(n.schema.Fields()))
	if deaf || twice(n.schema) { // where two have a name it would not say which column is meant
		return n.narrowAfter(keep)
	}
	out := *n
	out.schema = only(n.schema, keep)
	out.want.Columns = names(out.schema.Fields())
	return &out
}

// narrowAfter chooses the columns behind n, over other inputs if any are given.
func (n *planNode) narrowAfter(keep []bool, in ...*planNode) *planNode {
	if len(in) > 0 && !slices.Equal(in, n.in) {
		n = n.over(in...)
	}
	var cols []column
	for i, f := range n.schema.Fields() {
		if keep[i] {
			cols = append(cols, column{i, f.Name})
		}
	}
	return n.choose("select", cols)
}

// narrowLike is for a step whose columns are those that it is given.
func (n *planNode) narrowLike(keep []bool, bound *stage.Bound, whole bool) *planNode {
	in := n.in[0].narrow(keep, whole)
	if in == n.in[0] {
		return n
	}
	s := *n.step
	s.in, s.out, s.bound = in.schema, in.schema, bound
	return in.then(&s)
}

func (n *planNode) narrowCols(keep []bool, whole bool) *planNode {
	need := make([]bool, n.in[0].schema.NumFields())
	for i, c := range n.step.cols {
		need[c.at] = need[c.at] || keep[i]
	}
	in := n.in[0].narrow(need, whole)
	at := places(need)
	var cols []column
	for i, c := range n.step.cols {
		if keep[i] {
			cols = append(cols, column{at[c.at], c.name})
		}
	}
	if in == n.in[0] && len(cols) == len(n.step.cols) {
		return n
	}
	return in.choose(n.step.name, cols)
}

// places is for each kept column where it stands among them.
func places(keep []bool) []int {
	at, n := make([]int, len(keep)), 0
	for i, k := range keep {
		at[i] = n
		if k {
			n++
		}
	}
	return at
}

// narrowStage is for a stage that says what it reads. What is kept of the columns that it
// carries is chosen as its output is put together. One that adds nothing that is kept, and
// cannot fail, goes.
func (n *planNode) narrowStage(keep []bool, whole bool) *planNode {
	s := n.step
	need := make([]bool, s.in.NumFields())
	adds, carries, carried := false, false, false
	for i, f := range s.out.Fields() {
		if slices.ContainsFunc(s.bound.Need.Adds, func(a arrow.Field) bool { return a.Name == f.Name }) {
			adds = adds || keep[i]
			continue
		}
		carries = true
		if keep[i] {
			carried = true
			need[s.in.FieldIndices(f.Name)[0]] = true
		}
	}
	if _, filters := s.st.(filterStage); !adds && carried && !filters && (settings{skip: true}).keepsRows(s) {
		return n.in[0].narrow(need, whole)
	}
	for _, name := range s.bound.Need.Reads {
		need[s.in.FieldIndices(name)[0]] = true
	}
	in := n.in[0].narrow(atLeastOne(s.in, need), whole)
	if !carries && slices.Contains(keep, false) { // it may give rows in Finish, and gives all its columns there
		out := *s
		out.in = in.schema
		return in.then(&out).narrowAfter(keep)
	}
	if in == n.in[0] && !slices.Contains(keep, false) {
		return n
	}
	out := *s
	out.in, out.out = in.schema, only(s.out, keep)
	return in.then(&out)
}

// narrowZip narrows both sides. One of which nothing is kept still has to give its rows.
func (n *planNode) narrowZip(keep []bool, whole bool) *planNode {
	left := n.in[0].schema.NumFields()
	sides := [][]bool{keep[:left], keep[left:]}
	var have []bool
	in := make([]*planNode, 2)
	for i := range in {
		side := atLeastOne(n.in[i].schema, sides[i])
		have = append(have, side...)
		in[i] = n.in[i].narrow(side, whole)
	}
	out := n
	if !slices.Equal(in, n.in) {
		out = n.over(in...).withSchema(only(n.schema, have))
	}
	var rest []bool
	for i, h := range have {
		if h {
			rest = append(rest, keep[i])
		}
	}
	return out.narrowAfter(rest)
}

// atLeastOne keeps the smallest column where none is kept: without one there would be no rows
// to read.
func atLeastOne(schema *arrow.Schema, keep []bool) []bool {
	if slices.Contains(keep, true) || len(keep) == 0 {
		return keep
	}
	best, least := 0, 0
	for i, f := range schema.Fields() {
		bits := 1 << 20
		if fixed, ok := f.Type.(arrow.FixedWidthDataType); ok {
			bits = fixed.BitWidth()
		}
		if i == 0 || bits < least {
			best, least = i, bits
		}
	}
	out := make([]bool, len(keep))
	out[best] = true
	return out
}

// twice says whether two columns have the same name.
func twice(schema *arrow.Schema) bool {
	seen := map[string]bool{}
	for _, f := range schema.Fields() {
		if seen[f.Name] {
			return true
		}
		seen[f.Name] = true
	}
	return false
}
