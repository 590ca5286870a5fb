package pipeline

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"text/tabwriter"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// Materialize runs the plan once and keeps its rows in memory, so that what is built on the
// result does not run it again. They must fit the memory limit. The memory is given back when
// the result is garbage.
func (d *Dataset) Materialize(ctx context.Context, cfg Config) (*Dataset, error) {
	kept, err := d.keep(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return Read(kept), nil
}

// keep runs the plan and keeps what comes out, with where it comes from.
func (d *Dataset) keep(ctx context.Context, cfg Config) (*keptRows, error) {
	p, cfg, err := d.prepare(ctx, cfg)
	if err != nil {
		return nil, err
	}
	kept := &keptRows{schema: p.schema}
	if _, err = execute(ctx, p, cfg, kept); err != nil {
		return nil, err
	}
	return kept, nil
}

// keptRows is a source of records in memory, each a split. Its rows keep their origin: an error
// behind it names the file and row that they were read from.
type keptRows struct {
	schema  *arrow.Schema
	recs    []arrow.Record
	origins []stage.Origin
}

// consume has the run that makes the rows hand them over.
func (k *keptRows) consume(_ context.Context, it item) error {
	if len(it.batch.Parts) > 0 {
		it.batch.Retain() // for good: the garbage collector has the memory
		k.recs, k.origins = append(k.recs, it.batch.Record()), append(k.origins, it.batch.Origin())
	}
	return nil
}

func (*keptRows) finish(context.Context) error { return nil }
func (*keptRows) abort(context.Context) error  { return nil }

func (k *keptRows) ID() stage.StageID {
	return stage.StageID{Name: "materialized", Settings: jsonString(fmt.Sprintf("%p", k))}
}

func (k *keptRows) Plan(_ context.Context, req stage.ScanRequest) (stage.Scan, error) {
	s := &keptScan{rows: k, schema: k.schema, filter: req.Filter}
	if req.Columns != nil {
		cols, err := selectColumns(k.schema, req.Columns)
		if err != nil {
			return nil, err
		}
		s.cols, s.schema = cols, projectedSchema(k.schema, cols)
	}
	return s, nil
}

type keptScan struct {
	rows   *keptRows
	schema *arrow.Schema
	cols   []column // nil: all
	filter expr.Expr
}

func (s *keptScan) Schema() *arrow.Schema { return s.schema }
func (s *keptScan) Residual() expr.Expr   { return s.filter }

func (s *keptScan) Splits(context.Context) iter.Seq2[stage.Split, error] {
	return func(yield func(stage.Split, error) bool) {
		base := int64(0)
		for i, rec := range s.rows.recs {
			sp := stage.Split{
				ID: fmt.Sprintf("materialized#%d", i), Fingerprint: fmt.Sprintf("%p", s.rows), Spec: jsonString(fmt.Sprint(i)),
				Base: base, Rows: rec.NumRows(), Bytes: recordBytes(rec), Exact: true,
			}
			base += rec.NumRows()
			if !yield(sp, nil) {
				return
			}
		}
	}
}

func (s *keptScan) Open(_ context.Context, _ stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
	var i int
	if _, err := fmt.Sscanf(sp.ID, "materialized#%d", &i); err != nil || i < 0 || i >= len(s.rows.recs) {
		return nil, fmt.Errorf("pipeline: split %q is not of these rows: %w", sp.ID, stage.ErrNotFound)
	}
	return &keptReader{s, s.rows.origins[i], s.rows.recs[i], from}, nil
}

type keptReader struct {
	scan   *keptScan
	origin stage.Origin
	rec    arrow.Record
	at     int64
}

// Next gives the rest of the record at most, in pieces of about maxBytes.
func (r *keptReader) Next(ctx context.Context, maxBytes int64) (stage.Batch, error) {
	if err := ctx.Err(); err != nil {
		return stage.Batch{}, err
	}
	left := r.rec.NumRows() - r.at
	if left <= 0 {
		return stage.Batch{}, io.EOF
	}
	n := left
	if total := recordBytes(r.rec); maxBytes > 0 && total > maxBytes {
		n = min(left, max(1, r.rec.NumRows()*maxBytes/total))
	}
	piece := r.rec.NewSlice(r.at, r.at+n)
	if r.scan.cols != nil {
		whole := piece
		piece = project(whole, r.scan.schema, r.scan.cols)
		whole.Release()
	}
	b := stage.NewBatch(piece, r.origin.Slice(int(r.at), int(r.at+n)))
	r.at += n
	return b, nil
}

func (r *keptReader) Close() error { return nil }

// Show writes the first n rows as a table.
func (d *Dataset) Show(ctx context.Context, w io.Writer, n int64, cfg Config) error {
	schema, err := d.Check(ctx, cfg)
	if err != nil {
		return err
	}
	recs, err := d.Take(ctx, n, cfg)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(names(schema.Fields()), "\t"))
	for _, rec := range recs {
		for i := range int(rec.NumRows()) {
			cells := make([]string, rec.NumCols())
			for c, col := range rec.Columns() {
				cells[c] = shorten(col.ValueStr(i))
			}
			fmt.Fprintln(t, strings.Join(cells, "\t"))
		}
		rec.Release()
	}
	return t.Flush() // which has the error of every line before
}

// shorten cuts a value that would make a row of a table unreadable.
func shorten(s string) string {
	const most = 80
	s = strings.Map(func(r rune) rune {
		if r < ' ' { // would break the table
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
