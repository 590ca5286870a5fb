package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// RandomSample keeps each row with this probability, between 0 and 1. Which rows it keeps
// depends on seed and on the row's place in its source, and on nothing else.
func (d *Dataset) RandomSample(fraction float64, seed uint64) *Dataset {
	return d.Apply(sampleStage{fraction, seed}, StageConfig{})
}

// RandomizeBlockOrder reads the splits of the source in an order that seed gives. It stands
// right behind Read. The splits are all listed before the first is read.
func (d *Dataset) RandomizeBlockOrder(seed uint64) *Dataset {
	if n, ok := d.node.(readNode); ok {
		return Read(shuffledSource{n.src, seed})
	}
	return d.Apply(misplacedStage{"randomize_block_order", "stands right behind Read: only there the order of the blocks can be chosen"}, StageConfig{})
}

type sampleStage struct {
	fraction float64
	seed     uint64
}

func (s sampleStage) ID() stage.StageID {
	return stage.StageID{Name: "random_sample", Settings: jsonString(fmt.Sprint(s.fraction, " ", s.seed))}
}

func (s sampleStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if !(s.fraction >= 0 && s.fraction <= 1) {
		return nil, fmt.Errorf("a fraction of %v: it is between 0 and 1", s.fraction)
	}
	need := stage.Need{Reads: []string{}, Rows: stage.Subset, RowWise: true, Retryable: true, Deterministic: true}
	none := arrow.NewSchema(nil, nil)
	open := func(context.Context, stage.Env) (stage.Worker, error) {
		return simpleWorker(func(_ context.Context, b stage.Batch, emit func(stage.Output) error) error {
			kept := []int32{}
			for i, id := range b.Origin().All() {
				if s.keeps(id) {
					kept = append(kept, int32(i))
				}
			}
			return emit(stage.Output{Record: array.NewRecord(none, nil, int64(len(kept))), Parent: kept, Through: int32(b.NumRows())})
		}), nil
	}
	return &stage.Bound{Schema: need.OutputSchema(in[0]), Need: need, Open: open}, nil
}

// keeps draws a number for a row: FNV-1a of its split seeds a PCG with its row and ordinals.
func (s sampleStage) keeps(id stage.RowID) bool {
	h := fnv.New64a()
	if id.Split != nil {
		_, _ = h.Write([]byte(id.Split.ID)) // a hash never fails
	}
	mix := s.seed // and not the number of the source, which hangs on what else is in the plan
	for _, o := range id.Ordinals {
		mix = mix*0x9e3779b97f4a7c15 + uint64(o) + 1
	}
	return rand.New(rand.NewPCG(h.Sum64()^mix, uint64(id.Row))).Float64() < s.fraction
}

// shuffledSource is a source whose splits come in another order.
type shuffledSource struct {
	stage.Source
	seed uint64
}

func (s shuffledSource) ID() stage.StageID {
	id := s.Source.ID()
	id.Digests = append(slices.Clone(id.Digests), fmt.Sprint("order ", s.seed))
	return id
}

func (s shuffledSource) Plan(ctx context.Context, req stage.ScanRequest) (stage.Scan, error) {
	req.Limit = 0 // the first rows are others now
	scan, err := s.Source.Plan(ctx, req)
	if err != nil {
		return nil, err
	}
	return shuffledScan{scan, s.seed}, nil
}

type shuffledScan struct {
	stage.Scan
	seed uint64
}

func (s shuffledScan) Splits(ctx context.Context) iter.Seq2[stage.Split, error] {
	return func(yield func(stage.Split, error) bool) {
		var all []stage.Split
		for sp, err := range s.Scan.Splits(ctx) {
			if err != nil {
				yield(sp, err)
				return
			}
			all = append(all, sp)
		}
		rng := rand.New(rand.NewPCG(s.seed, 0))
		keys := make(map[string]uint64, len(all))
		for _, sp := range all {
			keys[sp.ID] = rng.Uint64()
		}
		slices.SortStableFunc(all, func(a, b stage.Split) int { return cmp.Compare(keys[a.ID], keys[b.ID]) })
		for _, sp := range all {
			if !yield(sp, nil) {
				return
			}
		}
	}
}

// misplacedStage is an operator that cannot stand where it was put.
type misplacedStage struct{ name, why string }

func (s misplacedStage) ID() stage.StageID { return stage.StageID{Name: s.name} }

func (s misplacedStage) Bind([]*arrow.Schema) (*stage.Bound, error) {
	return nil, fmt.Errorf("it %s", s.why)
}
