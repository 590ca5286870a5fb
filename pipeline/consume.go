package pipeline

import (
	"context"
	"errors"
	"iter"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// Check binds every stage and moves no data. It gives the schema of the rows that would come
// out, or all the faults that it finds.
func (d *Dataset) Check(ctx context.Context, cfg Config) (*arrow.Schema, error) {
	p, _, err := d.check(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return p.schema, nil
}

// check gives the plan as it was written.
func (d *Dataset) check(ctx context.Context, cfg Config) (*plan, Config, error) {
	cfg, cfgErr := cfg.withDefaults()
	p, err := d.bind(ctx, cfg)
	return p, cfg, errors.Join(cfgErr, err)
}

// prepare gives the plan as it is to run.
func (d *Dataset) prepare(ctx context.Context, cfg Config) (*plan, Config, error) {
	p, cfg, err := d.check(ctx, cfg)
	if err == nil && !cfg.NoOptimise {
		p, err = optimise(ctx, p, cfg, everyColumn(p.schema))
	}
	return p, cfg, err
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
func (each) abort(context.Context) error  { return nil }

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

// Write runs the plan into a sink, and commits it when every row is there. When it fails the
// sink is as it was before; one that is a [stage.Keeper] keeps the parts that were finished,
// for a later run of the same job. The statistics are filled either way.
func (d *Dataset) Write(ctx context.Context, sink stage.Sink, cfg Config) (Stats, error) {
	p, cfg, err := d.prepare(ctx, cfg)
	if err != nil {
		return Stats{}, err
	}
	if err := sink.Check(ctx, p.schema); err != nil {
		return Stats{}, err
	}
	kept, err := sink.Begin(ctx, p.schema, p.fingerprint(d, sink, cfg))
	if err != nil {
		return Stats{}, err
	}
	w := &writer{sink: sink, whole: map[stage.PartID]bool{}, log: &deadLetters{mem: memory.DefaultAllocator}}
	for _, part := range kept {
		w.whole[part.ID] = true
	}
	stats, err := execute(ctx, p, cfg, w)
	if err == nil {
		err = w.named(sink.Commit(ctx, w.parts))
	}
	if err == nil {
		stats.Parts = len(w.parts)
		return stats, nil
	}
	stats.Done = false
	return stats, errors.Join(err, w.leave(context.WithoutCancel(ctx)))
}
