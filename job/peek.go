package job

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// peek is a sink that keeps copies of the first rows that go into another one.
type peek struct {
	stage.Sink
	rows   int64
	schema *arrow.Schema // once begun

	mu   sync.Mutex
	kept map[int64][]arrow.Record // of each group its first rows
}

func newPeek(to stage.Sink, rows int) *peek {
	return &peek{Sink: to, rows: int64(rows), kept: map[int64][]arrow.Record{}}
}

func (p *peek) Check(ctx context.Context, schema *arrow.Schema) error {
	p.schema = schema
	return p.Sink.Check(ctx, schema)
}

// Keep keeps what the sink beneath can keep.
func (p *peek) Keep(ctx context.Context) error {
	if k, ok := p.Sink.(stage.Keeper); ok {
		return k.Keep(ctx)
	}
	return p.Abort(ctx)
}

func (p *peek) OpenPart(ctx context.Context, env stage.Env, part stage.PartID) (stage.PartWriter, error) {
	w, err := p.Sink.OpenPart(ctx, env, part)
	if err != nil || part.Errors || p.rows == 0 {
		return w, err
	}
	p.forget(part.Group) // an unfinished part of that name is begun anew
	return &peekPart{w, p, part.Group}, nil
}

func (p *peek) forget(group int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, rec := range p.kept[group] {
		rec.Release()
	}
	delete(p.kept, group)
}

type peekPart struct {
	stage.PartWriter
	peek  *peek
	group int64
}

func (w *peekPart) Write(ctx context.Context, rec arrow.Record) error {
	if err := w.PartWriter.Write(ctx, rec); err != nil {
		return err
	}
	w.peek.keep(w.group, rec)
	return nil
}

// keep copies what is still wanted of a group, so that no large block is held for a few
// rows of it. Once the first group has enough, nothing more is wanted of the others.
func (p *peek) keep(group int64, rec arrow.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if group != 0 && count(p.kept[0]) >= p.rows {
		return
	}
	n := min(p.rows-count(p.kept[group]), rec.NumRows())
	if n <= 0 {
		return
	}
	head := rec.NewSlice(0, n)
	defer head.Release()
	p.kept[group] = append(p.kept[group], copyRecord(head))
}

func count(recs []arrow.Record) (rows int64) {
	for _, rec := range recs {
		rows += rec.NumRows()
	}
	return rows
}

// copyRecord copies the rows; a column of a type that arrow cannot copy is retained.
func copyRecord(rec arrow.Record) arrow.Record {
	cols := make([]arrow.Array, rec.NumCols())
	for i, col := range rec.Columns() {
		c, err := array.Concatenate([]arrow.Array{col}, memory.DefaultAllocator)
		if err != nil {
			col.Retain()
			c = col
		}
		defer c.Release()
		cols[i] = c
	}
	return array.NewRecord(rec.Schema(), cols, rec.NumRows())
}

// shown gives the first rows over all groups, in their order; the caller releases them.
func (p *peek) shown() (out []arrow.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := p.rows
	for _, group := range slices.Sorted(maps.Keys(p.kept)) {
		for _, rec := range p.kept[group] {
			if n := min(left, rec.NumRows()); n > 0 {
				out = append(out, rec.NewSlice(0, n))
				left -= n
			}
			rec.Release()
		}
	}
	p.kept = map[int64][]arrow.Record{}
	return out
}
