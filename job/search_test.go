package job_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/job"
)

var embedded = arrow.NewSchema([]arrow.Field{
	{Name: "embedding", Type: arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Float32), Nullable: true},
	{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "file", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "line", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
}, nil)

func vectors(mem memory.Allocator, rows [][]float32, first int64) arrow.Record {
	b := array.NewRecordBuilder(mem, embedded)
	defer b.Release()
	list := b.Field(0).(*array.FixedSizeListBuilder)
	for i, row := range rows {
		list.Append(row != nil)
		for k := range 3 {
			if row == nil {
				list.ValueBuilder().(*array.Float32Builder).AppendEmptyValue()
			} else {
				list.ValueBuilder().(*array.Float32Builder).Append(row[k])
			}
		}
		b.Field(1).(*array.StringBuilder).Append("text")
		b.Field(2).(*array.StringBuilder).Append("a.go")
		b.Field(3).(*array.Int64Builder).Append(first + int64(i))
	}
	return b.NewRecord()
}

// TestSearchAgainstSorting: the heap finds what sorting everything would, equal scores in
// the order of the rows, in slices as well, and passes over null and zero vectors.
func TestSearchAgainstSorting(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for trial := range 50 {
		mem := testkit.Allocator(t)
		var all [][]float32
		var recs []arrow.Record
		for range 1 + rng.IntN(4) {
			rows := make([][]float32, rng.IntN(30))
			for i := range rows {
				switch rng.IntN(8) {
				case 0:
				case 1:
					rows[i] = []float32{0, 0, 0}
				default: // few values, so that scores are often equal
					rows[i] = []float32{float32(1 + rng.IntN(3)), float32(rng.IntN(3)), float32(rng.IntN(3))}
				}
			}
			rec := vectors(mem, rows, int64(len(all)))
			cut := int64(rng.IntN(len(rows) + 1))
			recs = append(recs, rec.NewSlice(0, cut), rec.NewSlice(cut, int64(len(rows))))
			rec.Release()
			all = append(all, rows...)
		}
		query := []float32{1, 2, 0.5}
		got, err := job.Search{Top: 1 + trial%12}.Best(query, recs...)
		require.NoError(t, err)
		for _, rec := range recs {
			rec.Release()
		}
		type hit struct {
			score float64
			line  int64
		}
		var want []hit
		for i, v := range all {
			if v != nil && (v[0] != 0 || v[1] != 0 || v[2] != 0) {
				want = append(want, hit{float64(float32(cos(v, query))), int64(i)})
			}
		}
		slices.SortStableFunc(want, func(a, b hit) int { return cmp.Compare(b.score, a.score) })
		want = want[:min(len(want), 1+trial%12)]
		require.Len(t, got, len(want))
		for i, h := range got {
			assert.InDelta(t, want[i].score, h.Score, 1e-6)
			assert.Equal(t, want[i].line, h.Line)
			assert.Equal(t, "a.go", h.File)
		}
	}
}

func cos(a, b []float32) float64 {
	var dot, aa, bb float64
	for i := range a {
		dot += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return dot / math.Sqrt(aa*bb)
}

func TestSearchColumns(t *testing.T) {
	mem := testkit.Allocator(t)
	rec := vectors(mem, [][]float32{{1, 0, 0}}, 7)
	defer rec.Release()
	_, err := job.Search{Top: 1, Column: "embeding"}.Best([]float32{1, 0, 0}, rec)
	assert.ErrorContains(t, err, `column "embeding": there is no such column; did you mean "embedding"?`)
	_, err = job.Search{Top: 1, Column: "text"}.Best([]float32{1, 0, 0}, rec)
	assert.ErrorContains(t, err, "is utf8, not fixed_size_list<float32>")
	_, err = job.Search{Top: 1, Text: "line"}.Best([]float32{1, 0, 0}, rec)
	assert.ErrorContains(t, err, "is int64, not string")

	plain := array.NewRecord(arrow.NewSchema(rec.Schema().Fields()[1:], nil), rec.Columns()[1:], 1)
	defer plain.Release()
	_, err = job.Search{Top: 1, In: "out"}.Best([]float32{1, 0, 0}, plain)
	assert.EqualError(t, err, "job: search: out has no column of embeddings (fixed_size_list<float32>): make one with `penstock embed`")

	_, err = job.Search{Query: "x", In: "/nowhere"}.Run(t.Context())
	assert.ErrorContains(t, err, "no such file or folder")
}
