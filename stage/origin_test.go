package stage_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/stage"
)

// naive is an origin as it would be without run-length coding: a name for each row, on
// each lane.
type naive [][]stage.RowID

func (n naive) len() int {
	if len(n) == 0 {
		return 0
	}
	return len(n[0])
}

func (n naive) each(f func(lane []stage.RowID) []stage.RowID) naive {
	out := make(naive, len(n))
	for k := range n {
		out[k] = f(n[k])
	}
	return out
}

// pair is an origin and what it stands for.
type pair struct {
	coded stage.Origin
	plain naive
}

// same checks every way to read an origin.
func (p pair) same(t *testing.T) {
	t.Helper()
	require.Equal(t, p.plain.len(), p.coded.Len())
	if p.plain.len() == 0 {
		for range p.coded.All() {
			require.Fail(t, "a row where there is none")
		}
		return
	}
	require.Equal(t, len(p.plain), p.coded.Lanes())
	for k := range p.plain {
		lane := p.coded.Lane(k)
		require.Equal(t, p.coded.Len(), lane.Len())
		next := 0
		for i, id := range lane.All() {
			require.Equal(t, next, i)
			require.Equal(t, p.plain[k][i], id)
			next++
		}
		require.Equal(t, p.plain.len(), next)
		for i := range p.plain.len() {
			require.Equal(t, p.plain[k][i], lane.At(i))
		}
	}
	require.Equal(t, p.plain[0][0], p.coded.At(0))
}

var splits = []*stage.Split{
	{ID: "a", Base: 0, Rows: 100}, {ID: "b", Base: 1000, Rows: 100}, {ID: "c", Base: -1, Rows: -1},
}

// leaf draws the origin of a batch as a reader gives it.
func leaf(rng *rand.Rand) pair {
	split := splits[rng.IntN(len(splits))]
	n := rng.IntN(8)
	start := rng.Int64N(50)
	if rng.IntN(2) == 0 {
		p := pair{coded: stage.RowRange(split, start, n), plain: naive{nil}}
		for i := range n {
			p.plain[0] = append(p.plain[0], stage.RowID{Split: split, Row: start + int64(i)})
		}
		return p
	}
	var rows []int64
	p := pair{plain: naive{nil}}
	for range n {
		rows = append(rows, start)
		p.plain[0] = append(p.plain[0], stage.RowID{Split: split, Row: start})
		start += 1 + rng.Int64N(2)
	}
	p.coded = stage.RowList(split, rows)
	return p
}

// step draws an operation and does it on both sides.
func (p pair) step(rng *rand.Rand) pair {
	n := p.plain.len()
	switch rng.IntN(6) {
	case 0:
		from := rng.IntN(n + 1)
		to := from + rng.IntN(n-from+1)
		return pair{p.coded.Slice(from, to), p.plain.each(func(l []stage.RowID) []stage.RowID { return slices.Clone(l[from:to]) })}
	case 1:
		idx := picks(rng, n, rng.IntN(n+3))
		return pair{p.coded.Take(idx), p.plain.each(func(l []stage.RowID) []stage.RowID { return take(l, idx) })}
	case 2:
		return p.children(rng, n)
	case 3:
		input := rng.Int32N(3)
		return pair{p.coded.WithInput(input), p.plain.each(func(l []stage.RowID) []stage.RowID {
			out := slices.Clone(l)
			for i := range out {
				out[i].Input = input
			}
			return out
		})}
	case 4:
		return p.concat(rng)
	default:
		if len(p.plain) > 2 {
			return p
		}
		idx := picks(rng, n, n) // something of the same length to zip with
		return pair{
			stage.ZipOrigins(p.coded, p.coded.Take(idx)),
			slices.Concat(p.plain, p.plain.each(func(l []stage.RowID) []stage.RowID { return take(l, idx) })),
		}
	}
}

// children makes up to three rows of each, as a flat-map does.
func (p pair) children(rng *rand.Rand, n int) pair {
	var parent, ordinal []int32
	for i := range n {
		for k := range rng.IntN(4) {
			parent, ordinal = append(parent, int32(i)), append(ordinal, int32(k))
		}
	}
	return pair{p.coded.Children(parent, ordinal), p.plain.each(func(l []stage.RowID) []stage.RowID {
		out := take(l, parent)
		for i := range out {
			out[i].Ordinals = append(slices.Clone(out[i].Ordinals), ordinal[i])
		}
		return out
	})}
}

// concat puts pieces of it, some of them without rows, behind it.
func (p pair) concat(rng *rand.Rand) pair {
	n := p.plain.len()
	from := rng.IntN(n + 1)
	return pair{
		stage.ConcatOrigins(stage.Origin{}, p.coded, stage.Origin{}, p.coded.Slice(from, n), p.coded.Slice(0, from)),
		p.plain.each(func(l []stage.RowID) []stage.RowID { return slices.Concat(l, l[from:], l[:from]) }),
	}
}

func picks(rng *rand.Rand, from, n int) []int32 {
	if from == 0 {
		return nil
	}
	out := make([]int32, n)
	ascending := rng.IntN(2) == 0
	for i := range out {
		out[i] = rng.Int32N(int32(from))
	}
	if ascending {
		slices.Sort(out)
	}
	return out
}

func take(lane []stage.RowID, idx []int32) []stage.RowID {
	out := make([]stage.RowID, len(idx))
	for i, r := range idx {
		out[i] = lane[r]
	}
	return out
}

func TestOriginAgainstPlainLists(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 7))
		p := leaf(rng)
		for range rng.IntN(4) { // a batch may begin in one split and end in another
			next := leaf(rng)
			p = pair{stage.ConcatOrigins(p.coded, next.coded), naive{slices.Concat(p.plain[0], next.plain[0])}}
		}
		p.same(t)
		for range 6 {
			before := p
			if p = p.step(rng); p.plain.len() > 2000 {
				break
			}
			p.same(t)
			before.same(t) // it has not changed
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

func TestOriginOfRunsIsSmall(t *testing.T) {
	// A million rows that stand one behind the other are one run, however they are put
	// together.
	allocs := testing.AllocsPerRun(10, func() {
		o := stage.RowRange(splits[0], 0, 1)
		for i := range 100 {
			o = stage.ConcatOrigins(o, stage.RowRange(splits[0], int64(1+i*10_000), 10_000))
		}
		if o.Len() != 1_000_001 || o.At(1_000_000).Row != 1_000_000 {
			panic("wrong rows")
		}
	})
	require.Less(t, allocs, 2000.)
}

func TestOriginIsNotSharedByWrites(t *testing.T) {
	a := stage.RowRange(splits[0], 0, 3)
	b := stage.ConcatOrigins(a, stage.RowRange(splits[1], 0, 2))
	c := stage.ConcatOrigins(b, stage.RowRange(splits[2], 0, 2))
	d := stage.ConcatOrigins(b, stage.RowRange(splits[0], 9, 2))
	require.Equal(t, "c:0", c.At(5).String())
	require.Equal(t, "a:9", d.At(5).String())
	require.Equal(t, 3, a.Len())
	require.Equal(t, 5, b.Len())
}

func TestOriginRefusesWhatCannotBe(t *testing.T) {
	one, two := stage.RowRange(splits[0], 0, 1), stage.RowRange(splits[0], 0, 2)
	require.PanicsWithValue(t, "stage: origins of different length zipped", func() { stage.ZipOrigins(one, two) })
	require.PanicsWithValue(t, "stage: origins of different lanes joined", func() {
		stage.ConcatOrigins(one, stage.ZipOrigins(two, two))
	})
	require.PanicsWithValue(t, "stage: row is outside the origin", func() { one.At(1) })
}

func TestRowID(t *testing.T) {
	id := stage.RowID{Split: splits[1], Row: 17}
	require.Equal(t, "b:17", id.String())
	require.EqualValues(t, 1017, id.FileRow())
	id.Ordinals = []int32{0, 3}
	require.Equal(t, "b:17.0.3", id.String())
	require.EqualValues(t, -1, stage.RowID{Split: splits[2], Row: 17}.FileRow())
	require.EqualValues(t, -1, stage.RowID{Row: 17}.FileRow())
	require.Equal(t, ":17", stage.RowID{Row: 17}.String())
}

// Each flat-map adds an ordinal, and filters and joins keep them all.
func ExampleOrigin_Children() {
	o := stage.RowRange(&stage.Split{ID: "part-0"}, 4, 2)
	o = o.Children([]int32{0, 0, 1}, []int32{0, 1, 0})
	o = o.Children([]int32{1, 1, 2}, []int32{0, 1, 0})
	for _, id := range o.Take([]int32{2, 1}).All() {
		fmt.Println(id)
	}
	// Output:
	// part-0:5.0.0
	// part-0:4.1.1
}

func TestRowsThatComeTwiceAreNoRange(t *testing.T) {
	split := &stage.Split{ID: "s"}
	for _, rows := range [][]int64{{0, 0, 2}, {3, 4, 4, 6}, {5, 4, 7}, {1, 2, 3}} {
		var got []int64
		for _, id := range stage.RowList(split, rows).All() {
			got = append(got, id.Row)
		}
		require.Equal(t, rows, got)
	}
}
