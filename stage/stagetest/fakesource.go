package stagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// FakeSource is a source of rows in memory. Its fields are set before it is used.
type FakeSource struct {
	// Name is that of its ID; empty: "fake".
	Name string
	// Unknown hides how many rows the splits have.
	Unknown bool
	// OnNext is called before a reader gives its next record: number call of that
	// reader, from 1. It may fail, wait or panic.
	OnNext func(ctx context.Context, split string, call int) error
	// Faults is asked before planning, listing each split, opening and each record.
	Faults *Faults

	schema *arrow.Schema
	splits []arrow.Record
}

// NewSource makes a source with a split for each list of records. It copies them.
// Readers give the rows in pieces of the size that they are asked for, in memory from
// their Env, at most the whole split at a time. It panics if a record does not have
// that schema.
func NewSource(schema *arrow.Schema, splits ...[]arrow.Record) *FakeSource {
	f := &FakeSource{schema: schema, splits: make([]arrow.Record, len(splits))}
	for i, recs := range splits {
		for _, r := range recs {
			if err := diffSchemas(schema, r.Schema()); err != nil {
				panic(fmt.Sprintf("stagetest: split %d: %v", i, err))
			}
		}
		rec, err := joinRecords(heap, schema, recs)
		if err != nil {
			panic(fmt.Sprintf("stagetest: split %d: %v", i, err))
		}
		f.splits[i] = rec
	}
	return f
}

func (f *FakeSource) ID() stage.StageID {
	name := f.Name
	if name == "" {
		name = "fake"
	}
	return stage.StageID{Name: name}
}

func (f *FakeSource) Plan(ctx context.Context, req stage.ScanRequest) (stage.Scan, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := f.Faults.Call(); err != nil {
		return nil, fmt.Errorf("stagetest: plan: %w", err)
	}
	names := req.Columns
	if names == nil {
		names = columnNames(f.schema)
	}
	scan := &fakeScan{src: f, filter: req.Filter}
	fields := make([]arrow.Field, len(names))
	for i, name := range names {
		at, err := stage.Column(f.schema, name)
		if err != nil {
			return nil, fmt.Errorf("stagetest: %w", err)
		}
		fields[i] = f.schema.Field(at)
	}
	scan.schema = arrow.NewSchema(fields, nil)
	return scan, nil
}

type fakeScan struct {
	src    *FakeSource
	schema *arrow.Schema
	filter expr.Expr
}

func (s *fakeScan) Schema() *arrow.Schema { return s.schema }

func (s *fakeScan) Residual() expr.Expr { return s.filter }

func (s *fakeScan) Splits(ctx context.Context) iter.Seq2[stage.Split, error] {
	return func(yield func(stage.Split, error) bool) {
		for i, rec := range s.src.splits {
			err := ctx.Err()
			if err == nil {
				err = s.src.Faults.Call()
			}
			if err != nil {
				yield(stage.Split{}, fmt.Errorf("stagetest: list: %w", err))
				return
			}
			if !yield(s.split(i, rec), nil) {
				return
			}
		}
	}
}

func (s *fakeScan) split(i int, rec arrow.Record) stage.Split {
	name := fmt.Sprintf("%s-%d", s.src.ID().Name, i)
	sp := stage.Split{
		ID: name, Path: name, Fingerprint: "1", Spec: json.RawMessage(fmt.Sprint(i)),
		Rows: -1, Bytes: recordBytes(rec),
	}
	if !s.src.Unknown {
		sp.Rows, sp.Exact = rec.NumRows(), true
	}
	return sp
}

func (s *fakeScan) Open(ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var i int
	if err := json.Unmarshal(sp.Spec, &i); err != nil || i < 0 || i >= len(s.src.splits) {
		return nil, fmt.Errorf("stagetest: split %q is not of this source: %w", sp.ID, stage.ErrNotFound)
	}
	if err := s.src.Faults.Call(); err != nil {
		return nil, fmt.Errorf("stagetest: open %q: %w", sp.ID, err)
	}
	rec, err := project(s.src.splits[i], columnNames(s.schema))
	if err != nil {
		return nil, fmt.Errorf("stagetest: open %q: %w", sp.ID, err)
	}
	return &fakeReader{src: s.src, env: env, split: &sp, rec: rec, at: min(from, rec.NumRows())}, nil
}

type fakeReader struct {
	src   *FakeSource
	env   stage.Env
	split *stage.Split
	rec   arrow.Record
	at    int64
	calls int
}

func (r *fakeReader) Next(ctx context.Context, maxBytes int64) (stage.Batch, error) {
	r.calls++
	if r.src.OnNext != nil {
		if err := r.src.OnNext(ctx, r.split.ID, r.calls); err != nil {
			return stage.Batch{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return stage.Batch{}, err
	}
	if r.at == r.rec.NumRows() {
		return stage.Batch{}, io.EOF
	}
	if err := r.src.Faults.Call(); err != nil {
		return stage.Batch{}, fmt.Errorf("stagetest: read %q: %w", r.split.ID, err)
	}
	n := r.rec.NumRows() - r.at
	bytes := recordBytes(r.rec)/r.rec.NumRows() + 1
	if maxBytes > 0 {
		n = min(n, max(1, maxBytes/bytes))
	}
	if err := r.env.Room(ctx, n*bytes); err != nil {
		return stage.Batch{}, err
	}
	piece := r.rec.NewSlice(r.at, r.at+n)
	defer piece.Release()
	out, err := copyInto(r.env, piece)
	if err != nil {
		return stage.Batch{}, fmt.Errorf("stagetest: read %q: %w", r.split.ID, err)
	}
	origin := stage.RowRange(r.split, r.at, int(n))
	r.at += n
	r.env.Add(stage.ReadBytes, n*bytes)
	return stage.NewBatch(out, origin), nil
}

func (r *fakeReader) Close() error { return nil }
