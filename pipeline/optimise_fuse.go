package pipeline

import (
	"slices"

	"github.com/penstock-data/penstock/stage"
)

// fuseStages has stages that follow each other on the CPU run in one call, so that a block
// goes through all of them without a visit to the scheduler. See fused.go for what stays as it
// is: everything but the visits.
func fuseStages(_ settings, root *planNode) *planNode {
	return bottomUp(root, func(n *planNode) *planNode {
		if n.step == nil || !n.step.fusible() || n.step.batches() {
			return n
		}
		in := n.in[0]
		var shape []*step
		if in.step != nil && in.step.cols != nil {
			shape, in = []*step{in.step}, in.in[0]
		}
		if in.step == nil || !in.step.fusible() {
			return n
		}
		out := *in
		out.schema = n.schema
		out.fused = slices.Concat(in.fused, shape, []*step{n.step})
		return &out
	})
}

// fusible says of a stage that it may share its calls with others: one call at a time on any
// worker of the CPU, for as long as it takes.
func (s *step) fusible() bool {
	if s.bound == nil {
		return false
	}
	need := s.bound.Need
	return need.Rows != stage.Collect && need.GPU == 0 && need.CPUTokens() == 1 && need.Calls() == 1 &&
		need.Timeout == 0 && need.Workers == stage.Pool{} && !s.auto && !packs(need)
}

// batches says of a stage that it wants batches of its own cut.
func (s *step) batches() bool {
	p := s.bound.Need.Batch
	return p.MaxRows > 0 || p.MaxBytes > 0 || p.MaxCost > 0
}
