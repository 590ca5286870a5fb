package pipeline_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
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

// knobs are what the rows of a plan must not depend on.
type knobs struct {
	batch, calls, actors, piece []int // by stage, in turn
	ahead                       []int // rows, likewise
	views                       bool
	cfg                         pipeline.Config
}

func pickOne[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

func randomKnobs(rng *rand.Rand) knobs {
	var k knobs
	for range 8 {
		k.batch = append(k.batch, pickOne(rng, 0, 1, 1+rng.IntN(50)))
		k.ahead = append(k.ahead, pickOne(rng, 0, 1, 20, 1000))
		k.piece = append(k.piece, pickOne(rng, 0, 1+rng.IntN(9)))
		k.actors = append(k.actors, rng.IntN(2))
		k.calls = append(k.calls, 1+rng.IntN(2))
	}
	k.views = rng.IntN(2) == 0
	k.cfg.BlockBytes = pickOne(rng, 0, 64, 100+rng.Int64N(5000))
	k.cfg.GroupBytes = pickOne(rng, 0, 1+rng.Int64N(4000))
	k.cfg.NoOptimise = rng.IntN(2) == 0
	return k.parallel(rng)
}

// parallel turns the knobs that even the bytes of the output must not depend on. Whether a
// stage has a number of actors at all, or more than one call, decides whether it is fused, and
// stays as it is.
func (k knobs) parallel(rng *rand.Rand) knobs {
	actors, calls := k.actors, k.calls
	k.calls, k.actors = nil, nil
	for i := range 8 {
		k.calls = append(k.calls, 1+min(calls[i]-1, 1)*(1+rng.IntN(3)))
		k.actors = append(k.actors, min(actors[i], 1)*(1+rng.IntN(5)))
	}
	k.cfg.CPUs = 1 + rng.IntN(4)
	k.cfg.BlockLimit = pickOne[int64](rng, 0, 50, 500, 5000)
	return k
}

// pack has a stage's rows packed by a cost that hangs on x.
func (k knobs) pack(n int, need stage.Need) stage.Need {
	if k.ahead[n] == 0 || !need.RowWise {
		return need
	}
	need.Batch = stage.Policy{LookAheadRows: k.ahead[n], MaxCost: 100}
	need.Cost = func(rec arrow.Record, dst []int32) {
		for i, x := range rec.Column(0).(*array.Int64).Int64Values() {
			dst[i] = int32(x * 7919 % 23)
			if x%50 == 0 {
				dst[i] = 1000 // too dear for any batch
			}
		}
	}
	return need
}

// plan makes a Dataset, the same but for the knobs each time it is called.
type plan struct {
	text    []string
	build   func(k knobs) *pipeline.Dataset
	stages  int
	fails   bool // a stage has rows that fail
	cutDead bool // a limit stands behind such a stage: which rows beyond it are tried is open
	inOrder bool // an operator needs the order
}

func (p *plan) grow(text string, next func(d *pipeline.Dataset, k knobs) *pipeline.Dataset) {
	up := p.build
	p.text = append(p.text, text)
	p.build = func(k knobs) *pipeline.Dataset { return next(up(k), k) }
}

// turn gives the number of a stage that is being added.
func (p *plan) turn() int { p.stages++; return (p.stages - 1) % 8 }

// measured is rows with an x of their own, a small v that may be null, and a name.
func measured(rng *rand.Rand) *stagetest.FakeSource {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "x", Type: arrow.PrimitiveTypes.Int64},
		{Name: "v", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "name", Type: arrow.BinaryTypes.String},
	}, nil)
	var all [][]arrow.Record
	x := int64(0)
	for range rng.IntN(7) {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for range pickOne(rng, 0, 1, rng.IntN(80)) {
			b.Field(0).(*array.Int64Builder).Append(x)
			if x++; rng.IntN(5) == 0 {
				b.Field(1).AppendNull()
			} else {
				b.Field(1).(*array.Int64Builder).Append(rng.Int64N(20) - 5)
			}
			b.Field(2).(*array.StringBuilder).Append(strings.Repeat("a", rng.IntN(12)))
		}
		all = append(all, []arrow.Record{b.NewRecord()})
	}
	return stagetest.NewSource(schema, all...)
}

func randomPlan(rng *rand.Rand) *plan {
	src := measured(rng)
	p := &plan{build: func(knobs) *pipeline.Dataset { return pipeline.Read(src) }}
	if rng.IntN(4) == 0 {
		seed := rng.Uint64()
		p.grow("randomize", func(d *pipeline.Dataset, _ knobs) *pipeline.Dataset { return d.RandomizeBlockOrder(seed) })
	}
	for range 1 + rng.IntN(6) {
		additions[rng.IntN(len(additions))](p, rng)
	}
	return p
}

// additions are the operators that a random plan is made of. Every one leaves x.
var additions = []func(p *plan, rng *rand.Rand){addFailing, addFailing, addFlatMap, addZip, addLimit,
	func(p *plan, rng *rand.Rand) {
		least := rng.Int64N(60)
		p.grow(fmt.Sprint("filter x>=", least), func(d *pipeline.Dataset, _ knobs) *pipeline.Dataset {
			return d.Filter(expr.Ge(expr.Col("x"), expr.Lit(least)))
		})
	},
	func(p *plan, rng *rand.Rand) {
		by, name := 1+rng.Int64N(4), fmt.Sprint("w", p.turn())
		p.grow("with column "+name, func(d *pipeline.Dataset, _ knobs) *pipeline.Dataset {
			return d.WithColumn(name, expr.Mul(expr.Col("x"), expr.Lit(by)))
		})
	},
	func(p *plan, rng *rand.Rand) {
		p.grow("select x", func(d *pipeline.Dataset, _ knobs) *pipeline.Dataset { return d.Select("x") })
	},
	func(p *plan, rng *rand.Rand) {
		n, every := p.turn(), 2+rng.Int64N(5)
		p.grow(fmt.Sprint("filter func ", every), func(d *pipeline.Dataset, k knobs) *pipeline.Dataset {
			return d.FilterFunc("keep", func(_ context.Context, in arrow.Record) ([]bool, error) {
				keep := make([]bool, in.NumRows())
				for i := range keep {
					keep[i] = in.Column(in.Schema().FieldIndices("x")[0]).(*array.Int64).Value(i)%every != 0
				}
				return keep, nil
			}, pipeline.StageConfig{BatchSize: k.batch[n], Actors: k.actors[n]})
		})
	},
	func(p *plan, rng *rand.Rand) {
		seed, share := rng.Uint64(), 0.5+rng.Float64()/2
		p.grow("sample", func(d *pipeline.Dataset, _ knobs) *pipeline.Dataset { return d.RandomSample(share, seed) })
	},
	func(p *plan, rng *rand.Rand) {
		n := p.turn()
		p.grow("repartition", func(d *pipeline.Dataset, k knobs) *pipeline.Dataset { return d.Repartition(k.batch[n]+1, 0) })
	},
	func(p *plan, rng *rand.Rand) {
		p.grow("union with itself", func(d *pipeline.Dataset, _ knobs) *pipeline.Dataset { return d.Union(d) })
	},
	func(p *plan, rng *rand.Rand) {
		n := p.turn()
		f, r := fmt.Sprint("file", n), fmt.Sprint("row", n)
		p.grow("with source", func(d *pipeline.Dataset, _ knobs) *pipeline.Dataset { return d.WithSource(f, r) })
	},
}

// addFailing adds a stage that fails some rows: alone, or with the whole batch.
func addFailing(p *plan, rng *rand.Rand) {
	n, every, whole := p.turn(), 3+rng.Int64N(40), rng.IntN(3) == 0
	name := fmt.Sprint("s", n)
	p.fails = true
	p.grow(fmt.Sprint("failing ", every, whole), func(d *pipeline.Dataset, k knobs) *pipeline.Dataset {
		st := &stagetest.FakeStage{
			Name: name, Column: "x", Output: name, Piece: k.piece[n],
			Need: k.pack(n, stage.Need{RowWise: true, InFlight: k.calls[n], Views: k.views && !whole}),
		}
		if whole {
			st.OnProcess = func(_ context.Context, _ int, in stage.Batch) error {
				for _, x := range in.Record().Column(0).(*array.Int64).Int64Values() {
					if x%every == 1 {
						return errOdd
					}
				}
				return nil
			}
		} else {
			st.Map = func(x int64) ([]int64, error) {
				if x%every == 1 {
					return nil, errOdd
				}
				return []int64{-x}, nil
			}
		}
		return d.Apply(st, pipeline.StageConfig{BatchSize: k.batch[n], Actors: k.actors[n]})
	})
}

// addFlatMap makes rows of rows, and now and then brings them together again.
func addFlatMap(p *plan, rng *rand.Rand) {
	n, most, back := p.turn(), 1+rng.Int64N(4), rng.IntN(2) == 0
	name := fmt.Sprint("child", n)
	p.inOrder = p.inOrder || back
	p.grow(fmt.Sprint("flat map ", most, " and back ", back), func(d *pipeline.Dataset, k knobs) *pipeline.Dataset {
		d = d.Apply(&stagetest.FakeStage{
			Name: name, Column: "x", Output: name, Piece: k.piece[n],
			Need: stage.Need{Rows: stage.Many, InFlight: k.calls[n]},
			Map: func(x int64) (out []int64, err error) {
				for i := range x % most {
					out = append(out, x*10+i)
				}
				return out, nil
			},
		}, pipeline.StageConfig{BatchSize: k.batch[n], Actors: k.actors[n]})
		if back {
			d = d.Repartition(k.batch[n]+1, 0).Collect(name)
		}
		return d
	})
}

// addZip puts the rows beside themselves, cut in other ways.
func addZip(p *plan, _ *rand.Rand) {
	n := p.turn()
	p.inOrder = true
	name := fmt.Sprint("z", n)
	p.grow("zip", func(d *pipeline.Dataset, k knobs) *pipeline.Dataset {
		other := d.Select("x").Rename(map[string]string{"x": name})
		if k.batch[n] > 0 {
			other = other.Repartition(k.batch[n], 0)
		}
		return d.Zip(other)
	})
}

func addLimit(p *plan, rng *rand.Rand) {
	n := rng.Int64N(150)
	p.inOrder = true
	p.cutDead = p.cutDead || p.fails
	p.grow(fmt.Sprint("limit ", n), func(d *pipeline.Dataset, _ knobs) *pipeline.Dataset { return d.Limit(n) })
}

// result is what a run of a plan gives.
type result struct {
	parts []stage.Part
	sizes []int64  // of the records that were written
	rows  []string // in order
	dead  []string // in order: the whole letters
	who   []string // the same less the rows themselves, sorted
}

func (p *plan) run(t *testing.T, k knobs) result {
	t.Helper()
	before, w, sink := runtime.NumGoroutine(), &watch{}, &stagetest.MemorySink{}
	cfg := k.cfg
	cfg.OnError.Skip = true
	stats, err := p.build(k).Write(context.Background(), sink, w.config(cfg))
	require.NoError(t, err, "%s: %+v", strings.Join(p.text, ", "), k)
	noneLeft(t, before)
	w.balanced(t)
	out := result{parts: sink.Parts(), rows: linesOf(sink)}
	for _, rec := range sink.Records(false) {
		out.sizes = append(out.sizes, rec.NumRows())
	}
	for _, rec := range sink.Records(true) {
		for i, line := range lines(rec) {
			out.dead = append(out.dead, line)
			out.who = append(out.who, fmt.Sprint(rec.Column(1).ValueStr(i), rec.Column(2).ValueStr(i), rec.Column(5).ValueStr(i), rec.Column(6).ValueStr(i)))
		}
	}
	slices.Sort(out.who)
	if !p.cutDead {
		require.Equal(t, int(stats.Failed), len(out.dead), "%s: %+v", strings.Join(p.text, ", "), k)
	}
	return out
}

// TestRowsDependOnThePlanAlone runs random plans over random data with random knobs: the rows,
// their order and the dead letters stay the same. Where just the knobs of parallelism are
// turned, so do parts, records and the order of the dead letters; without order the rows do.
func TestRowsDependOnThePlanAlone(t *testing.T) {
	for seed := range uint64(randomPlans) {
		rng := rand.New(rand.NewPCG(seed, 77))
		p := randomPlan(rng)
		what := func(k knobs) string { return fmt.Sprintf("seed %d: %s: %+v", seed, strings.Join(p.text, ", "), k) }
		base := randomKnobs(rng)
		want := p.run(t, base)
		for range 3 {
			k := randomKnobs(rng)
			got := p.run(t, k)
			require.Equal(t, want.rows, got.rows, what(k))
			if !p.cutDead {
				require.Equal(t, want.who, got.who, what(k))
			}
		}
		for range 2 {
			k := base.parallel(rng)
			got := p.run(t, k)
			require.Equal(t, want.rows, got.rows, what(k))
			require.Equal(t, want.dead, got.dead, what(k))
			require.Equal(t, want, got, what(k))
		}
		if !p.inOrder {
			k := randomKnobs(rng)
			k.cfg.Unordered = true
			got := p.run(t, k)
			slices.Sort(got.rows)
			slices.Sort(want.rows)
			require.Equal(t, want.rows, got.rows, what(k))
			require.Equal(t, want.who, got.who, what(k))
		}
	}
}
