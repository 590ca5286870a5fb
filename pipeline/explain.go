package pipeline

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// Explain shows the plan as it was written, as the optimiser made it, and as it would run. No
// data is read.
func (d *Dataset) Explain(ctx context.Context, cfg Config) (string, error) {
	p, cfg, err := d.check(ctx, cfg)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("logical plan:\n")
	p.root.explain(&b, "  ")
	if !cfg.NoOptimise {
		s := settings{skip: cfg.OnError.Skip, columns: everyColumn(p.schema)}
		if p.root, err = rewrite(ctx, p.root, s); err != nil {
			return "", err
		}
		b.WriteString("optimised plan:\n")
		p.root.explain(&b, "  ")
		p.root = runRules(physicalRules, s, p.root)
	}
	b.WriteString("physical plan:\n")
	p.root.explainPhysical(&b, "  ")
	fmt.Fprintf(&b, "memory limit %d bytes, %d CPUs, blocks of %d bytes\n", cfg.MemoryLimit, cfg.CPUs, cfg.BlockBytes)
	return b.String(), nil
}

// explain writes a node below what it reads from, each with the columns that come out.
func (n *planNode) explain(b *strings.Builder, indent string) {
	n.explainInputs(indent, func(in *planNode, indent string) { in.explain(b, indent) })
	switch {
	case n.scan != nil:
		fmt.Fprintf(b, "%sread %s", indent, n.name)
		if set := n.source.ID().Settings; len(set) > 0 {
			fmt.Fprintf(b, " %s", set)
		}
		if n.want.Filter != nil {
			fmt.Fprintf(b, " where %s", n.want.Filter)
		}
		if n.want.Limit > 0 {
			fmt.Fprintf(b, " limit %d", n.want.Limit)
		}
	case n.join != noJoin:
		fmt.Fprintf(b, "%s-> %s of %d", indent, n.join, len(n.in))
	default:
		fmt.Fprintf(b, "%s-> %s", indent, n.step.detail())
	}
	fmt.Fprintf(b, " %v\n", names(n.schema.Fields()))
}

func (n *planNode) explainInputs(indent string, explain func(in *planNode, indent string)) {
	for i, in := range n.in {
		if n.join != noJoin && i > 0 {
			explain(in, indent+"  ")
		} else {
			explain(in, indent)
		}
	}
}

// detail says what a step does.
func (s *step) detail() string {
	switch st := s.st.(type) {
	case filterStage:
		return fmt.Sprintf("%s %s", s.name, st.e)
	case columnStage:
		return fmt.Sprintf("%s %s = %s", s.name, st.name, st.e)
	}
	switch {
	case s.limit != nil:
		return fmt.Sprintf("limit %d", *s.limit)
	case s.bound == nil:
		return s.name
	}
	need := s.bound.Need
	return fmt.Sprintf("%s (%s, reads %v, adds %v)", s.name, need.Rows, orAll(need.Reads), names(need.Adds))
}

// explainPhysical writes a node as what runs: operators with their workers, and what happens
// to blocks on their way between them.
func (n *planNode) explainPhysical(b *strings.Builder, indent string) {
	n.explainInputs(indent, func(in *planNode, indent string) { in.explainPhysical(b, indent) })
	switch {
	case n.scan != nil:
		fmt.Fprintf(b, "%sread %s\n", indent, n.name)
	case n.join != noJoin:
		fmt.Fprintf(b, "%s-> %s of %d\n", indent, n.join, len(n.in))
	case n.step.bound == nil:
		fmt.Fprintf(b, "%s-> %s (as blocks pass)\n", indent, n.step.detail())
	default:
		need := n.step.bound.Need
		var parts []string
		for _, s := range append([]*step{n.step}, n.fused...) {
			parts = append(parts, s.name)
		}
		fmt.Fprintf(b, "%s-> %s: %s, %v CPU", indent, strings.Join(parts, " + "), workers(need), need.CPUTokens())
		if need.GPU > 0 {
			fmt.Fprintf(b, ", %v of a GPU each", need.GPU)
		}
		switch {
		case n.step.auto:
			b.WriteString(", batch size searched for")
		case packs(need):
			fmt.Fprintf(b, ", packed among %d rows", need.Batch.LookAheadRows)
		case need.Batch.MaxRows > 0:
			fmt.Fprintf(b, ", batches of %d rows", need.Batch.MaxRows)
		}
		b.WriteString("\n")
	}
}

func workers(need stage.Need) string {
	switch p := need.Workers; {
	case p == stage.Pool{} && need.GPU > 0:
		return "workers by rates, as many as fit on the GPUs"
	case p == stage.Pool{}:
		return "workers by CPUs"
	case p.Min == p.Max:
		return fmt.Sprintf("%d workers", p.Max)
	default:
		return fmt.Sprintf("%d to %d workers", p.Min, p.Max)
	}
}

func names(fields []arrow.Field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.Name
	}
	return out
}

func orAll(columns []string) any {
	if columns == nil {
		return "all"
	}
	return columns
}
