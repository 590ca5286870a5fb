package pipeline

import (
	"context"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// Count is the number of rows. Where the splits of the sources say it, and nothing stands
// behind them that could change it, no data is read; else the plan runs.
func (d *Dataset) Count(ctx context.Context, cfg Config) (int64, error) {
	p, cfg, err := d.check(ctx, cfg)
	if err != nil {
		return 0, err
	}
	if !cfg.NoOptimise {
		if p, err = optimise(ctx, p, cfg, make([]bool, p.schema.NumFields())); err != nil {
			return 0, err
		}
		if n, ok, err := p.root.countFromSplits(ctx); ok || err != nil {
			return n, err
		}
	}
	var n int64
	_, err = execute(ctx, p, cfg, each(func(rec arrow.Record) error {
		n += rec.NumRows()
		return nil
	}))
	if err != nil {
		return 0, err
	}
	return n, nil
}

// countFromSplits is the number of rows by what the splits say; false: they do not say it, or
// a stage might change it or fail.
func (n *planNode) countFromSplits(ctx context.Context) (rows int64, ok bool, err error) {
	switch {
	case n.scan != nil:
		return n.countSplits(ctx)
	case n.join == union:
		for _, in := range n.in {
			side, ok, err := in.countFromSplits(ctx)
			if !ok || err != nil {
				return 0, false, err
			}
			rows += side
		}
		return rows, true, nil
	case n.step == nil:
		return 0, false, nil
	case n.step.bound != nil:
		for _, s := range append([]*step{n.step}, n.fused...) {
			if s.bound != nil && (s.bound.Need.Rows != stage.OneToOne || !s.cannotFail()) {
				return 0, false, nil
			}
		}
	}
	rows, ok, err = n.in[0].countFromSplits(ctx)
	if n.isLimit() {
		rows = min(rows, *n.step.limit)
	}
	return rows, ok, err
}

func (n *planNode) countSplits(ctx context.Context) (rows int64, ok bool, err error) {
	if n.asked.Filter != nil {
		return 0, false, nil
	}
	for s, err := range n.scan.Splits(ctx) {
		if err != nil || !s.Exact || s.Rows < 0 {
			return 0, false, err
		}
		if rows += s.Rows; n.asked.Limit > 0 && rows >= n.asked.Limit {
			break // a limit stands behind it
		}
	}
	return rows, true, nil
}
