package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// pickySource is a source that takes over what it is asked for: of a filter the first
// conditions, as many as takes says, and the limit per split where it has the whole filter.
type pickySource struct {
	*stagetest.FakeSource
	takes int
	asked []stage.ScanRequest
}

func (s *pickySource) Plan(ctx context.Context, req stage.ScanRequest) (stage.Scan, error) {
	s.asked = append(s.asked, req)
	all := expr.Conjuncts(req.Filter)
	n := min(s.takes, len(all))
	scan := &pickyScan{mine: expr.AndAll(all[:n]...), rest: expr.AndAll(all[n:]...), limit: req.Limit}
	inner := stage.ScanRequest{}
	if req.Columns != nil {
		inner.Columns = slices.Clone(req.Columns)
		for _, c := range expr.Columns(scan.mine) {
			if !slices.Contains(inner.Columns, c) {
				inner.Columns = append(inner.Columns, c)
			}
		}
	}
	var err error
	if scan.Scan, err = s.FakeSource.Plan(ctx, inner); err != nil {
		return nil, err
	}
	full := scan.Scan.Schema()
	scan.schema = full
	if req.Columns != nil {
		scan.schema = arrow.NewSchema(full.Fields()[:len(req.Columns)], nil)
	}
	if scan.mine != nil {
		scan.bound, err = expr.Bind(scan.mine, full)
	}
	return scan, err
}

type pickyScan struct {
	stage.Scan
	schema     *arrow.Schema
	mine, rest expr.Expr
	bound      *expr.Bound
	limit      int64
}

func (s *pickyScan) Schema() *arrow.Schema { return s.schema }
func (s *pickyScan) Residual() expr.Expr   { return s.rest }

func (s *pickyScan) Open(ctx context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
	r, err := s.Scan.Open(ctx, env, sp, from)
	if err != nil {
		return nil, err
	}
	left := s.limit
	if s.rest != nil || left == 0 {
		left = 1 << 60
	}
	return &pickyReader{r, s, env, left}, nil
}

type pickyReader struct {
	stage.Reader
	scan *pickyScan
	env  stage.Env
	left int64
}

func (r *pickyReader) Next(ctx context.Context, maxBytes int64) (stage.Batch, error) {
	for r.left > 0 {
		b, err := r.Reader.Next(ctx, maxBytes)
		if err != nil {
			return b, err
		}
		var rows []int32
		if r.scan.bound != nil {
			if rows, err = r.scan.bound.Mask(ctx, b.Record(), memory.DefaultAllocator); err != nil {
				b.Release()
				return stage.Batch{}, err
			}
		}
		if rows == nil {
			for i := range b.NumRows() {
				rows = append(rows, int32(i))
			}
		}
		rows = rows[:min(int64(len(rows)), r.left)]
		r.left -= int64(len(rows))
		out := r.pick(b, rows)
		b.Release()
		if len(rows) > 0 {
			return out, nil
		}
		out.Release()
	}
	return stage.Batch{}, io.EOF
}

func (r *pickyReader) pick(b stage.Batch, rows []int32) stage.Batch {
	rb := array.NewRecordBuilder(r.env.Allocator(0), r.scan.schema)
	defer rb.Release()
	for c, f := range rb.Fields() {
		for _, i := range rows {
			if col := b.Record().Column(c); col.IsNull(int(i)) {
				f.AppendNull()
			} else if err := f.AppendValueFromString(col.ValueStr(int(i))); err != nil {
				panic(err)
			}
		}
	}
	return stage.NewBatch(rb.NewRecord(), b.Origin().Take(rows))
}

var wideSchema = arrow.NewSchema([]arrow.Field{
	{Name: "x", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "y", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "f", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "unused", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

func wideSource(rng *rand.Rand) stage.Source {
	var splits [][]arrow.Record
	for range rng.IntN(4) {
		b := array.NewRecordBuilder(memory.DefaultAllocator, wideSchema)
		for range rng.IntN(40) {
			for c, f := range b.Fields() {
				switch {
				case rng.IntN(8) == 0:
					f.AppendNull()
				case c < 2:
					f.(*array.Int64Builder).Append(rng.Int64N(21) - 10)
				case c == 2:
					f.(*array.Float64Builder).Append(float64(rng.IntN(9)) / 4)
				default:
					f.(*array.StringBuilder).Append(strings.Repeat("ab", rng.IntN(4)))
				}
			}
		}
		splits = append(splits, []arrow.Record{b.NewRecord()})
	}
	src := stagetest.NewSource(wideSchema, splits...)
	if rng.IntN(3) == 0 {
		return src
	}
	return &pickySource{FakeSource: src, takes: rng.IntN(4)}
}

// planner makes random plans.
type planner struct {
	rng     *rand.Rand
	limits  bool // limits may be used
	faults  bool // stages and expressions may fail
	limited bool
	names   int
}

func (p *planner) name() string { p.names++; return fmt.Sprint("c", p.names) }

func schemaOf(t *testing.T, d *pipeline.Dataset) *arrow.Schema {
	t.Helper()
	s, err := d.Check(context.Background(), pipeline.Config{})
	require.NoError(t, err)
	return s
}

// column is the name of a column of the type that no other one has; empty: there is none.
func (p *planner) column(s *arrow.Schema, id arrow.Type) string {
	var all []string
	for _, f := range s.Fields() {
		if f.Type.ID() == id && len(s.FieldIndices(f.Name)) == 1 {
			all = append(all, f.Name)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return all[p.rng.IntN(len(all))]
}

func (p *planner) condition(s *arrow.Schema) expr.Expr {
	var all []expr.Expr
	for range 1 + p.rng.IntN(3) {
		switch c := p.column(s, []arrow.Type{arrow.INT64, arrow.FLOAT64, arrow.STRING}[p.rng.IntN(3)]); {
		case c == "":
		case s.Field(s.FieldIndices(c)[0]).Type.ID() == arrow.STRING:
			all = append(all, expr.Or(expr.Gt(expr.Length(expr.Col(c)), expr.Lit(p.rng.IntN(5))), expr.IsNull(expr.Col(c))))
		case p.rng.IntN(4) == 0 && p.faults:
			all = append(all, expr.Ge(expr.Div(expr.Lit(20), expr.Col(c)), expr.Lit(p.rng.IntN(5)-2)))
		case p.rng.IntN(3) == 0:
			all = append(all, expr.Or(expr.Lt(expr.Col(c), expr.Lit(p.rng.IntN(9))), expr.IsNull(expr.Col(c))))
		default:
			all = append(all, expr.Ge(expr.Col(c), expr.Lit(p.rng.IntN(12)-9)))
		}
	}
	return expr.And(all...)
}

func (p *planner) fakeStage(s *arrow.Schema) *stagetest.FakeStage {
	in := p.column(s, arrow.INT64)
	if in == "" {
		return nil
	}
	need := stage.Need{RowWise: true, Deterministic: p.rng.IntN(4) > 0, Retryable: p.rng.IntN(2) == 0, Views: p.rng.IntN(3) == 0}
	need.Rows = []stage.Cardinality{stage.OneToOne, stage.OneToOne, stage.Subset, stage.Many}[p.rng.IntN(4)]
	if p.rng.IntN(5) == 0 {
		need.Workers = stage.Pool{Min: 2, Max: 2}
	}
	bad, out := p.rng.Int64N(12), p.name()
	if p.rng.IntN(3) == 0 {
		out = in
	}
	faults := p.faults
	st := &stagetest.FakeStage{Name: "stage-" + p.name(), Column: in, Output: out, Need: need, Whole: p.rng.IntN(3) == 0, Piece: p.rng.IntN(3) * 3}
	st.Map = func(x int64) ([]int64, error) {
		switch {
		case faults && x == bad:
			return nil, errOdd
		case need.Rows == stage.Subset && x%3 == 0:
			return nil, nil
		case need.Rows == stage.Many:
			return slices.Repeat([]int64{x + 1}, int(x&3)), nil
		}
		return []int64{x + 3}, nil
	}
	if faults && p.rng.IntN(2) == 0 {
		st.OnProcess = func(_ context.Context, _ int, b stage.Batch) error { // the whole batch fails, as a model's does
			for _, part := range b.Parts {
				col, ok := part.Record.Column(part.Record.Schema().FieldIndices(in)[0]).(*array.Int64)
				for i := range part.NumRows() {
					if r := part.Row(i); ok && col.IsValid(r) && col.Value(r) == -bad {
						return fmt.Errorf("batch with %d: %w", -bad, errOdd)
					}
				}
			}
			return nil
		}
	}
	return st
}

// digest is a function over whole rows: it adds a column that depends on all of them.
func digest(name string) pipeline.BatchFunc {
	return func(_ context.Context, in arrow.Record, mem memory.Allocator) (arrow.Record, error) {
		b := array.NewInt64Builder(mem)
		defer b.Release()
		for i := range int(in.NumRows()) {
			h := int64(7)
			for _, col := range in.Columns() {
				for _, c := range col.ValueStr(i) {
					h = (h*31 + int64(c)) % 23
				}
			}
			b.Append(h)
		}
		col := b.NewArray()
		defer col.Release()
		fields := append(slices.Clone(in.Schema().Fields()), arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64})
		return array.NewRecord(arrow.NewSchema(fields, nil), append(slices.Clone(in.Columns()), col), in.NumRows()), nil
	}
}

// grow adds a random step.
func (p *planner) grow(t *testing.T, d *pipeline.Dataset) *pipeline.Dataset {
	s := schemaOf(t, d)
	var unique []string
	for _, f := range s.Fields() {
		if len(s.FieldIndices(f.Name)) == 1 {
			unique = append(unique, f.Name)
		}
	}
	p.rng.Shuffle(len(unique), func(i, j int) { unique[i], unique[j] = unique[j], unique[i] })
	switch op := p.rng.IntN(18); {
	case op < 4:
		return d.Filter(p.condition(s))
	case op < 6:
		name := p.name()
		if p.rng.IntN(3) == 0 && len(unique) > 0 {
			name = unique[0]
		}
		if c := p.column(s, arrow.INT64); c != "" && p.faults && p.rng.IntN(2) == 0 {
			return d.WithColumn(name, expr.Div(expr.Lit(100), expr.Col(c)))
		} else if c != "" {
			return d.WithColumn(name, expr.Cast(expr.Col(c), arrow.PrimitiveTypes.Float64))
		}
	case op == 6 && len(unique) > 0:
		names := unique[:1+p.rng.IntN(len(unique))]
		if p.rng.IntN(6) == 0 {
			names = append(slices.Clone(names), names[0])
		}
		return d.Select(names...)
	case op == 7 && len(unique) > 1:
		return d.Drop(unique[:1+p.rng.IntN(len(unique)-1)]...)
	case op == 8 && len(unique) > 1 && len(unique) == s.NumFields():
		return d.Rename(map[string]string{unique[0]: unique[1], unique[1]: unique[0]})
	case op == 9 && p.limits:
		p.limited = true
		return d.Limit(p.rng.Int64N(50))
	case op < 13:
		if st := p.fakeStage(s); st != nil && len(unique) == s.NumFields() {
			return d.Apply(st, pipeline.StageConfig{BatchSize: p.rng.IntN(2) * p.rng.IntN(9)})
		}
	case op == 13:
		return d.MapBatches("digest-"+p.name(), digest(p.name()), pipeline.StageConfig{})
	case op == 14:
		return d.RandomSample(0.8, 5)
	case op == 15:
		return d.WithSource(p.name(), p.name())
	case op == 16 && s.NumFields() < 12 && p.names < 30:
		if p.rng.IntN(2) == 0 {
			return d.Zip(d)
		}
		return d.Union(d.RandomSample(0.5, 3), d)
	case op == 17:
		return d.Repartition(1+p.rng.IntN(10), 0)
	}
	return d
}

// outcome is what a run gave.
type outcome struct {
	rows []string
	dead []string
	err  error
}

func runOf(t *testing.T, d *pipeline.Dataset, cfg pipeline.Config) (out outcome) {
	t.Helper()
	cfg.OnError.DeadLetter = func(e *stage.RowError) {
		out.dead = append(out.dead, fmt.Sprint(e.Error(), " ", e.Kind, " ", e.Attempts, " ", e.Input))
	}
	out.rows, out.err = collect(t, d, cfg)
	slices.Sort(out.dead)
	return out
}

// TestOptimisedPlansGiveTheSame compares random plans, over random data, as they were written
// with what the optimiser makes of them: the same rows in the same order from the same places,
// and the same rows failed, with the same columns.
func TestOptimisedPlansGiveTheSame(t *testing.T) {
	plans := 300
	if testing.Short() {
		plans = 60
	}
	for seed := range plans {
		rng := rand.New(rand.NewPCG(uint64(seed), 4))
		p := &planner{rng: rng, limits: rng.IntN(2) == 0, faults: rng.IntN(2) == 0}
		cfg := pipeline.Config{CPUs: 1 + rng.IntN(3), BlockBytes: 64 + rng.Int64N(4000)}
		if p.faults {
			cfg.OnError.Skip = rng.IntN(4) > 0
			p.limits = p.limits && cfg.OnError.Skip // else it hangs on luck whether a failure is met
		}
		d := pipeline.Read(wideSource(rng))
		for range 1 + rng.IntN(8) {
			d = p.grow(t, d)
		}
		d = d.WithSource("file_", "row_")
		if rng.IntN(2) == 0 {
			names := []string{"row_", "file_"}
			if c := p.column(schemaOf(t, d), arrow.FLOAT64); c != "" {
				names = append(names, c)
			}
			d = d.Select(names...)
		}
		plain := cfg
		plain.NoOptimise = true
		want := runOf(t, d, plain)
		got := runOf(t, d, cfg)
		text, err := d.Explain(context.Background(), cfg)
		require.NoError(t, err)
		if errors.Is(want.err, pipeline.ErrRowCounts) { // two samples of one plan are of two inputs
			require.Error(t, got.err, "seed %d\n%s", seed, text)
			continue
		}
		if want.err != nil { // then the failed row may be one that nobody needs
			require.True(t, errors.Is(want.err, errOdd) || errors.Is(want.err, expr.ErrDivideByZero) || !cfg.OnError.Skip, "seed %d: %v", seed, want.err)
			continue
		}
		require.NoError(t, got.err, "seed %d\n%s", seed, text)
		require.Equal(t, want.rows, got.rows, "seed %d\n%s", seed, text)
		if !p.limited {
			require.Equal(t, want.dead, got.dead, "seed %d\n%s", seed, text)
		}
		n, err := d.Count(context.Background(), cfg)
		require.NoError(t, err, "seed %d", seed)
		require.Equal(t, int64(len(want.rows)), n, "seed %d\n%s", seed, text)
	}
}
