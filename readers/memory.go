package readers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// Records is a source of records in memory, one split each. The records are borrowed:
// they must live as long as the source is used, and they are given as slices, not copied.
// Their columns are those of schema, in its order.
func Records(schema *arrow.Schema, recs ...arrow.Record) stage.Source {
	src := &memorySource{name: "records", schema: schema, parts: len(recs)}
	src.rows = func(i int) int64 { return recs[i].NumRows() }
	src.read = func(_ context.Context, _ stage.Env, i int, from int64) iter.Seq2[arrow.Record, error] {
		return func(yield func(arrow.Record, error) bool) {
			if from < recs[i].NumRows() {
				yield(recs[i].NewSlice(from, recs[i].NumRows()), nil)
			}
		}
	}
	return src
}

// RangeConfig is a source of integers.
type RangeConfig struct {
	Rows         int64 `json:"rows"`
	RowsPerSplit int64 `json:"rows_per_split,omitempty"` // 0: 65,536
}

// Range is a source of the integers from 0 to n-1 as column "id" (int64).
func Range(n int64) stage.Source { return Ranges(RangeConfig{Rows: n}) }

// Ranges is [Range] with its settings.
func Ranges(cfg RangeConfig) stage.Source {
	per := cfg.RowsPerSplit
	if per <= 0 {
		per = 1 << 16
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	src := &memorySource{name: "range", schema: schema, settings: cfg, parts: int((max(cfg.Rows, 0) + per - 1) / per)}
	src.rows = func(i int) int64 { return min(per, cfg.Rows-int64(i)*per) }
	src.read = func(ctx context.Context, env stage.Env, i int, from int64) iter.Seq2[arrow.Record, error] {
		return func(yield func(arrow.Record, error) bool) {
			const chunk = 1 << 13
			for at := from; at < src.rows(i); at += chunk {
				end := min(at+chunk, src.rows(i))
				if err := env.Room(ctx, 9*(end-at)); err != nil {
					yield(nil, err)
					return
				}
				b := array.NewInt64Builder(env.Allocator(0))
				b.Reserve(int(end - at))
				for row := at; row < end; row++ {
					b.UnsafeAppend(int64(i)*per + row)
				}
				ids := b.NewArray()
				b.Release()
				rec := array.NewRecord(schema, []arrow.Array{ids}, end-at)
				ids.Release()
				if !yield(rec, nil) {
					return
				}
			}
		}
	}
	return src
}

// FuncConfig is a source whose rows a function makes.
type FuncConfig struct {
	// Name and Settings tell this source from others; Settings is what Read depends on.
	Name     string
	Settings any
	Schema   *arrow.Schema
	Splits   int
	// Read gives the records of a split, the same ones each time, with all columns of
	// Schema. Whoever iterates owns them. The sequence ends after an error. It is
	// called for several splits at once; ctx is that of the Open call.
	Read func(ctx context.Context, env stage.Env, split int) iter.Seq2[arrow.Record, error]
}

// Func is a source of what a function gives.
func Func(cfg FuncConfig) stage.Source {
	src := &memorySource{name: cfg.Name, schema: cfg.Schema, settings: cfg.Settings, parts: cfg.Splits}
	src.read = func(ctx context.Context, env stage.Env, i int, from int64) iter.Seq2[arrow.Record, error] {
		return func(yield func(arrow.Record, error) bool) {
			for rec, err := range cfg.Read(ctx, env, i) {
				if err == nil && from > 0 {
					whole := rec
					skip := min(from, whole.NumRows())
					from -= skip
					rec = whole.NewSlice(skip, whole.NumRows())
					whole.Release()
				}
				if !yield(rec, err) || err != nil {
					return
				}
			}
		}
	}
	return src
}

// memorySource is a source of numbered parts that come without files.
type memorySource struct {
	name     string
	settings any
	schema   *arrow.Schema
	parts    int
	rows     func(part int) int64 // nil: not known
	// read gives the records of a part from a row on.
	read func(ctx context.Context, env stage.Env, part int, from int64) iter.Seq2[arrow.Record, error]
}

func (s *memorySource) ID() stage.StageID {
	settings, err := json.Marshal(struct {
		Schema   string `json:"schema"`
		Parts    int    `json:"parts"`
		Settings any    `json:"settings,omitempty"`
	}{s.schema.String(), s.parts, s.settings})
	if err != nil { // settings that are not JSON
		settings = nil
	}
	return stage.StageID{Name: s.name, Version: "1", Settings: settings}
}

func (s *memorySource) Plan(ctx context.Context, req stage.ScanRequest) (stage.Scan, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := fileScan{full: s.schema, req: req}
	if err := p.project(); err != nil {
		return nil, err
	}
	return &memoryScan{source: s, req: req, schema: p.schema, cols: p.cols}, nil
}

type memoryScan struct {
	source *memorySource
	req    stage.ScanRequest
	schema *arrow.Schema
	cols   []int
}

func (s *memoryScan) Schema() *arrow.Schema { return s.schema }
func (s *memoryScan) Residual() expr.Expr   { return s.req.Filter }

func (s *memoryScan) Splits(ctx context.Context) iter.Seq2[stage.Split, error] {
	return func(yield func(stage.Split, error) bool) {
		var base int64
		for i := range s.source.parts {
			if err := ctx.Err(); err != nil {
				yield(stage.Split{}, err)
				return
			}
			split := stage.Split{ID: s.source.name + "#" + strconv.Itoa(i), Spec: json.RawMessage(strconv.Itoa(i)), Base: -1, Rows: -1, Bytes: -1}
			if s.source.rows != nil {
				split.Base, split.Rows, split.Exact = base, s.source.rows(i), s.req.Filter == nil
				base += split.Rows
			}
			if !yield(split, nil) || split.Exact && s.req.Limit > 0 && base >= s.req.Limit {
				return
			}
		}
	}
}

func (s *memoryScan) Open(ctx context.Context, env stage.Env, split stage.Split, from int64) (stage.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var i int
	if err := json.Unmarshal(split.Spec, &i); err != nil || i < 0 || i >= s.source.parts || from < 0 {
		return nil, fmt.Errorf("readers: %s has no split %q from row %d", s.source.name, split.ID, from)
	}
	ctx, cancel := context.WithCancel(ctx)
	lent := env // by the fields asked for
	env.Alloc = func(field int) memory.Allocator {
		if at := slices.Index(s.cols, field); at >= 0 {
			return lent.Allocator(at)
		}
		return memory.DefaultAllocator // the column is dropped
	}
	next, stop := iter.Pull2(s.source.read(ctx, env, i, from))
	return &memoryReader{scan: s, split: &split, pos: from, next: next, stop: stop, cancel: cancel}, nil
}

// memoryReader cuts what a source gives to size and to the columns asked for.
type memoryReader struct {
	scan   *memoryScan
	split  *stage.Split
	pos    int64
	next   func() (arrow.Record, error, bool)
	stop   func()
	cancel context.CancelFunc
	rec    arrow.Record // what is left of the last one
	failed error
}

func (r *memoryReader) Next(ctx context.Context, maxBytes int64) (stage.Batch, error) {
	if err := ctx.Err(); err != nil {
		return stage.Batch{}, err
	}
	for r.failed == nil && (r.rec == nil || r.rec.NumRows() == 0) {
		r.drop()
		rec, err, more := r.next()
		switch {
		case !more:
			r.failed = io.EOF
		case err != nil:
			r.failed = err
		default:
			r.rec, r.failed = r.pick(rec)
		}
	}
	if r.failed != nil {
		return stage.Batch{}, r.failed
	}
	n := fitting(r.rec, maxBytes)
	out, rest := r.rec.NewSlice(0, n), r.rec.NewSlice(n, r.rec.NumRows())
	r.drop()
	r.rec = rest
	origin := stage.RowRange(r.split, r.pos, int(n))
	r.pos += n
	return stage.NewBatch(out, origin), nil
}

// pick takes over rec and gives the columns asked for.
func (r *memoryReader) pick(rec arrow.Record) (arrow.Record, error) {
	defer rec.Release()
	want := r.scan.source.schema
	same := rec.Schema().NumFields() == want.NumFields()
	for i := 0; same && i < want.NumFields(); i++ {
		have, want := rec.Schema().Field(i), want.Field(i)
		same = have.Name == want.Name && arrow.TypeEqual(have.Type, want.Type)
	}
	if !same {
		return nil, fmt.Errorf("readers: split %s: a record has other columns than the source: %s, not %s", r.split.ID, rec.Schema(), want)
	}
	cols := make([]arrow.Array, len(r.scan.cols))
	for i, at := range r.scan.cols {
		cols[i] = rec.Column(at)
	}
	return array.NewRecord(r.scan.schema, cols, rec.NumRows()), nil
}

// fitting is how many rows of rec, at least one, take no more than maxBytes.
func fitting(rec arrow.Record, maxBytes int64) int64 {
	if maxBytes <= 0 {
		maxBytes = defaultBytes
	}
	p := pieces{cols: rec.Columns(), n: int(min(rec.NumRows(), maxRows))}
	return int64(p.fitting(maxBytes))
}

func (r *memoryReader) drop() {
	if r.rec != nil {
		r.rec.Release()
		r.rec = nil
	}
}

func (r *memoryReader) Close() error {
	r.cancel()
	r.stop()
	r.drop()
	r.failed = errors.New("readers: the reader is closed")
	return nil
}
