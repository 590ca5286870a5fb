package pipeline

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// Check binds every stage and moves no data. It gives the schema of the rows that would come
// out, or all the faults that it finds.
func (d *Dataset) Check(ctx context.Context, cfg Config) (*arrow.Schema, error) {
	p, _, err := d.prepare(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return p.schema, nil
}

func (d *Dataset) prepare(ctx context.Context, cfg Config) (*plan, Config, error) {
	cfg, cfgErr := cfg.withDefaults()
	p, err := d.bind(ctx)
	return p, cfg, errors.Join(cfgErr, err)
}

// Explain shows the plan as it would run.
func (d *Dataset) Explain(ctx context.Context, cfg Config) (string, error) {
	p, cfg, err := d.prepare(ctx, cfg)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	p.root.explain(&b, "")
	fmt.Fprintf(&b, "memory limit %d bytes, %d CPUs, blocks of %d bytes\n", cfg.MemoryLimit, cfg.CPUs, cfg.BlockBytes)
	return b.String(), nil
}

// explain writes a node below what it reads from.
func (n *planNode) explain(b *strings.Builder, indent string) {
	for i, in := range n.in {
		if n.join != noJoin && i > 0 {
			in.explain(b, indent+"  ")
		} else {
			in.explain(b, indent)
		}
	}
	switch {
	case n.scan != nil:
		fmt.Fprintf(b, "%sread %s %s\n", indent, n.name, n.source.ID().Settings)
	case n.join != noJoin:
		fmt.Fprintf(b, "%s-> %s of %d\n", indent, n.join, len(n.in))
	case n.step.bound != nil:
		need := n.step.bound.Need
		fmt.Fprintf(b, "%s-> %s (%s, reads %v, adds %v, %v workers, %v CPU, batches of %v rows)\n",
			indent, n.name, need.Rows, orAll(need.Reads), names(need.Adds), orAny(need.Workers.Max), need.CPUTokens(), orAny(need.Batch.MaxRows))
	case n.step.limit != nil:
		fmt.Fprintf(b, "%s-> limit %d\n", indent, *n.step.limit)
	default:
		fmt.Fprintf(b, "%s-> %s (%v)\n", indent, n.name, names(n.schema.Fields()))
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
		return "all columns"
	}
	return columns
}

func orAny(n int) any {
	if n == 0 {
		return "any"
	}
	return n
}

// each is a consumer that calls a function for every record.
type each func(rec arrow.Record) error

func (f each) consume(_ context.Context, it item) error {
	if len(it.batch.Parts) == 0 {
		return nil
	}
	return f(it.batch.Record())
}

func (each) finish(context.Context) error { return nil }

// Batches runs the plan and gives its records in order. A record is borrowed until the next
// turn of the loop: retain it to keep it. Leaving the loop cancels the run and returns when
// all of it has ended. After an error, which is the last thing given, the sequence ends.
func (d *Dataset) Batches(ctx context.Context, cfg Config) iter.Seq2[arrow.Record, error] {
	return func(yield func(arrow.Record, error) bool) {
		p, cfg, err := d.prepare(ctx, cfg)
		if err == nil {
			left := false
			_, err = execute(ctx, p, cfg, each(func(rec arrow.Record) error {
				if left = !yield(rec, nil); left {
					return stage.ErrDone
				}
				return nil
			}))
			if left {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// Take gives the first n rows. The caller releases the records.
func (d *Dataset) Take(ctx context.Context, n int64, cfg Config) ([]arrow.Record, error) {
	var out []arrow.Record
	for rec, err := range d.Limit(n).Batches(ctx, cfg) {
		if err != nil {
			for _, r := range out {
				r.Release()
			}
			return nil, err
		}
		rec.Retain()
		out = append(out, rec)
	}
	return out, nil
}

// Count runs the plan and counts its rows.
func (d *Dataset) Count(ctx context.Context, cfg Config) (int64, error) {
	var n int64
	for rec, err := range d.Batches(ctx, cfg) {
		if err != nil {
			return 0, err
		}
		n += rec.NumRows()
	}
	return n, nil
}

// Write runs the plan into a sink, and commits it when every row is there. When it fails the
// sink is as it was before. The statistics are filled either way.
func (d *Dataset) Write(ctx context.Context, sink stage.Sink, cfg Config) (Stats, error) {
	p, cfg, err := d.prepare(ctx, cfg)
	if err != nil {
		return Stats{}, err
	}
	if err := sink.Check(ctx, p.schema); err != nil {
		return Stats{}, err
	}
	if _, err := sink.Begin(ctx, p.schema, p.fingerprint(d, sink, cfg.Seed)); err != nil {
		return Stats{}, err
	}
	w := &writer{sink: sink, log: &deadLetters{mem: memory.DefaultAllocator}}
	stats, err := execute(ctx, p, cfg, w)
	if err == nil {
		err = sink.Commit(ctx, w.parts)
	}
	if err == nil {
		stats.Parts = len(w.parts)
		return stats, nil
	}
	stats.Done = false
	// what is left behind is cleared away even though ctx may be cancelled
	clean := context.WithoutCancel(ctx)
	return stats, errors.Join(err, w.abort(clean), sink.Abort(clean))
}
