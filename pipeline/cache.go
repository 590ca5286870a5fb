package pipeline

import (
	"context"
	"encoding/json"
	"iter"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// Cache is [Dataset.Materialize] that waits until rows are wanted: the result is as inert as any
// plan, and the first run of what is built on it runs d, with cfg, and keeps its rows in memory for
// that run and all others. They must fit the memory limit. Rows that fail on the way, where
// cfg.OnError skips, fail again in every run, before the others: no dead letter is lost.
func (d *Dataset) Cache(cfg Config) *Dataset {
	cfg.Progress, cfg.Trace = nil, nil // those of whoever wants the rows are for its own run
	return Read(&cachedRows{of: d, cfg: cfg})
}

// cachedRows is a source of the rows of a plan, which is run once.
type cachedRows struct {
	of  *Dataset
	cfg Config

	mu     sync.Mutex
	kept   *keptRows // nil: it was not run yet
	failed []*stage.RowError
}

func (c *cachedRows) ID() stage.StageID {
	raw, err := json.Marshal(c.of.stageIDs(c.cfg.placement()))
	if err != nil {
		raw = nil // settings that are not JSON
	}
	return stage.StageID{Name: "cache", Settings: raw}
}

// Plan runs nothing.
func (c *cachedRows) Plan(ctx context.Context, req stage.ScanRequest) (stage.Scan, error) {
	schema, err := c.of.Check(ctx, c.cfg)
	if err != nil {
		return nil, err
	}
	scan, err := (&keptRows{schema: schema}).Plan(ctx, req)
	if err != nil {
		return nil, err
	}
	return &cachedScan{scan.(*keptScan), c}, nil
}

// fill runs the plan if that was not done yet. After an error the next run tries again.
func (c *cachedRows) fill(ctx context.Context) (*keptRows, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept != nil {
		return c.kept, nil
	}
	cfg, tell := c.cfg, c.cfg.OnError.DeadLetter
	var failed []*stage.RowError
	cfg.OnError.DeadLetter = func(e *stage.RowError) {
		failed = append(failed, e)
		if tell != nil {
			tell(e)
		}
	}
	kept, err := c.of.keep(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if len(kept.recs) == 0 && len(failed) > 0 { // somebody has to tell of them
		kept.recs, kept.origins = append(kept.recs, array.NewRecord(kept.schema, nil, 0)), append(kept.origins, stage.RowRange(nil, 0, 0))
	}
	c.kept, c.failed = kept, failed
	return kept, nil
}

type cachedScan struct {
	*keptScan
	cache *cachedRows
}

func (s *cachedScan) Splits(ctx context.Context) iter.Seq2[stage.Split, error] {
	return func(yield func(stage.Split, error) bool) {
		kept, err := s.cache.fill(ctx)
		if err != nil {
			yield(stage.Split{}, err)
			return
		}
		for sp, err := range s.of(kept).Splits(ctx) {
			if !yield(sp, err) {
				return
			}
		}
	}
}

func (s *cachedScan) Open(ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
	kept, err := s.cache.fill(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.of(kept).Open(ctx, env, sp, from)
	if err == nil && sp.Base == 0 && from == 0 {
		r = &cachedReader{r, s.cache.failed}
	}
	return r, err
}

// of is the scan over rows that are there.
func (s *cachedScan) of(kept *keptRows) *keptScan {
	scan := *s.keptScan
	scan.rows = kept
	return &scan
}

// cachedReader gives the rows that failed before those that are there.
type cachedReader struct {
	stage.Reader
	failed []*stage.RowError
}

func (r *cachedReader) Next(ctx context.Context, maxBytes int64) (stage.Batch, error) {
	if len(r.failed) > 0 && ctx.Err() == nil {
		e := *r.failed[0]
		r.failed = r.failed[1:]
		e.Skippable = true
		return stage.Batch{}, &e
	}
	return r.Reader.Next(ctx, maxBytes)
}
