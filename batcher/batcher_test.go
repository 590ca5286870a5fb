package batcher_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/batcher"
	"github.com/penstock-data/penstock/stage"
)

// row is a row of the stream.
type row struct {
	cost int32
	size int64
}

// numbered is a batch with its rows by their number in the stream.
type numbered struct {
	Window int64
	Rows   []int
	Sums   [4]int64
}

// feed pushes the rows in blocks that end at cuts, flushes behind the rows of flushes,
// and gives the batches. It fails if what the batches say of themselves does not fit.
func feed(t testing.TB, b *batcher.Batcher, rows []row, cuts, flushes []int) []numbered {
	var out []numbered
	start := map[int64]int{}
	take := func(all []batcher.Batch) {
		for _, x := range all {
			n := numbered{Window: x.Window, Sums: [4]int64{x.Bytes, x.Cost, int64(x.Longest), x.PaddedCost}}
			for _, p := range x.Picks {
				require.Positive(t, p.Len())
				for i := range p.Len() {
					at := int(p.From) + i
					if p.Rows != nil {
						at = int(p.Rows[i])
					}
					n.Rows = append(n.Rows, start[p.Block]+at)
				}
			}
			require.Len(t, n.Rows, x.Rows)
			out = append(out, n)
		}
	}
	ends := append(slices.Clone(cuts), flushes...)
	ends = append(ends, len(rows))
	slices.Sort(ends)
	from := 0
	for id, to := range ends {
		blk := batcher.Block{ID: int64(id), Rows: to - from}
		for _, r := range rows[from:to] {
			blk.Costs, blk.Sizes = append(blk.Costs, r.cost), append(blk.Sizes, r.size)
			blk.Bytes += r.size
		}
		start[blk.ID] = from
		take(b.Push(blk))
		if slices.Contains(flushes, to) {
			take(b.Flush())
		}
		from = to
	}
	take(b.Flush())
	return out
}

// workload is a policy and rows drawn for it.
type workload struct {
	policy  stage.Policy
	window  int64
	rows    []row
	flushes []int
}

func draw(rng *rand.Rand) workload {
	pick := func(values ...int) int { return values[rng.IntN(len(values))] }
	w := workload{window: int64(pick(50, 1000, 1<<40))}
	w.policy = stage.Policy{
		MaxRows: pick(0, 1, 2, 5, 64), MaxBytes: int64(pick(0, 0, 1, 40, 300)), MaxCost: int64(pick(0, 1, 30, 200)),
		LookAheadRows: pick(0, 0, 1, 7, 50, 1000),
	}
	if w.policy.MaxRows == 0 && w.policy.MaxBytes == 0 && w.policy.MaxCost == 0 {
		w.policy.MaxRows = 3
	}
	if rng.IntN(3) == 0 {
		w.policy.Buckets = []int32{4, 8, 16}
	}
	n := pick(0, 1, 5, 40, 200)
	spread := int32(pick(1, 3, 20))
	for range n {
		r := row{cost: rng.Int32N(spread + 1), size: rng.Int64N(30)}
		if rng.IntN(40) == 0 {
			r.cost, r.size = 100_000, 10_000
		}
		w.rows = append(w.rows, r)
	}
	for range rng.IntN(3) {
		w.flushes = append(w.flushes, rng.IntN(n+1))
	}
	return w
}

func (w workload) batcher(t testing.TB) *batcher.Batcher {
	b, err := batcher.NewBounded(w.policy, w.window)
	require.NoError(t, err)
	return b
}

func (w workload) rounded(cost int32) int32 {
	for _, b := range w.policy.Buckets {
		if cost <= b {
			return b
		}
	}
	return cost
}

// within says whether these rows may be one batch.
func (w workload) within(rows []int) bool {
	var bytes int64
	var longest int32
	for _, i := range rows {
		bytes += w.rows[i].size
		longest = max(longest, w.rounded(w.rows[i].cost))
	}
	p := w.policy
	return (p.MaxRows == 0 || len(rows) <= p.MaxRows) && (p.MaxBytes == 0 || bytes <= p.MaxBytes) &&
		(p.MaxCost == 0 || int64(len(rows))*int64(longest) <= p.MaxCost)
}

// check says what is wrong with the batches of a workload.
func (w workload) check(got []numbered) error {
	var all []int
	for k, b := range got {
		all = append(all, b.Rows...)
		if !slices.IsSorted(b.Rows) {
			return fmt.Errorf("batch %d is not in the order of arrival: %v", k, b.Rows)
		}
		if len(b.Rows) > 1 && !w.within(b.Rows) {
			return fmt.Errorf("batch %d breaks a bound: %v", k, b.Rows)
		}
		var want [4]int64
		for _, i := range b.Rows {
			want[0] += w.rows[i].size
			want[1] += int64(w.rows[i].cost)
			want[2] = max(want[2], int64(w.rounded(w.rows[i].cost)))
		}
		want[3] = want[2] * int64(len(b.Rows))
		if b.Sums != want {
			return fmt.Errorf("batch %d says bytes, cost, longest, padded %v, not %v", k, b.Sums, want)
		}
		for _, f := range w.flushes {
			if b.Rows[0] < f && f <= b.Rows[len(b.Rows)-1] {
				return fmt.Errorf("batch %d goes across the flush before row %d: %v", k, f, b.Rows)
			}
		}
	}
	slices.Sort(all)
	for i := range max(len(all), len(w.rows)) {
		if i >= len(all) || i >= len(w.rows) || all[i] != i {
			return fmt.Errorf("not every row once: %v", all)
		}
	}
	return w.checkWindows(got)
}

// checkWindows says whether the windows are the rows in their order, cut by number and
// size alone.
func (w workload) checkWindows(got []numbered) error {
	var windows [][]int
	for _, b := range got {
		if b.Window == int64(len(windows)) {
			windows = append(windows, nil)
		}
		if b.Window != int64(len(windows)-1) {
			return fmt.Errorf("window %d comes after %d", b.Window, len(windows)-1)
		}
		windows[b.Window] = append(windows[b.Window], b.Rows...)
	}
	next := 0
	limit := max(w.window, w.policy.MaxBytes)
	for k, rows := range windows {
		slices.Sort(rows)
		var bytes int64
		for i, r := range rows {
			if r != next {
				return fmt.Errorf("window %d has row %d in the place of %d", k, r, next)
			}
			next++
			if bytes += w.rows[r].size; i > 0 && bytes > limit && w.policy.LookAheadRows > 0 {
				return fmt.Errorf("window %d has %d bytes", k, bytes)
			}
		}
		if w.policy.LookAheadRows == 0 || next == len(w.rows) || slices.Contains(w.flushes, next) {
			continue
		}
		if len(rows) != w.policy.LookAheadRows && bytes < limit && bytes+w.rows[next].size <= limit {
			return fmt.Errorf("window %d ends at %d rows and %d bytes", k, len(rows), bytes)
		}
	}
	return nil
}

func TestEveryRowOnceWithinBounds(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := draw(rng)
		var cuts []int
		for range rng.IntN(10) {
			cuts = append(cuts, rng.IntN(len(w.rows)+1))
		}
		require.NoError(t, w.check(feed(t, w.batcher(t), w.rows, cuts, w.flushes)), "seed %d: %+v", seed, w.policy)
	}
}

func TestBlocksDoNotMatter(t *testing.T) {
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		w := draw(rng)
		want := feed(t, w.batcher(t), w.rows, nil, w.flushes)
		for range 3 {
			var cuts []int
			for i := range len(w.rows) {
				if rng.IntN(4) == 0 {
					cuts = append(cuts, i)
				}
			}
			require.Equal(t, want, feed(t, w.batcher(t), w.rows, cuts, w.flushes), "seed %d, cuts %v", seed, cuts)
		}
	}
}

// TestArrivalAgainstPlainLoop compares with the rule as one would say it.
func TestArrivalAgainstPlainLoop(t *testing.T) {
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		w := draw(rng)
		w.policy.LookAheadRows, w.flushes = 0, nil
		var want [][]int
		var open []int
		for i := range w.rows {
			if len(open) > 0 && !w.within(append(slices.Clone(open), i)) {
				want, open = append(want, open), nil
			}
			open = append(open, i)
			if w.policy.MaxBytes > 0 && w.bytes(open) >= w.policy.MaxBytes { // no room, even for an empty row
				want, open = append(want, open), nil
			}
		}
		if open != nil {
			want = append(want, open)
		}
		var got [][]int
		for _, b := range feed(t, w.batcher(t), w.rows, nil, nil) {
			got = append(got, b.Rows)
		}
		require.Equal(t, want, got, "seed %d: %+v", seed, w.policy)
	}
}

func (w workload) bytes(rows []int) (n int64) {
	for _, i := range rows {
		n += w.rows[i].size
	}
	return n
}

// TestPackingIsBest tries every way to cut a few rows.
func TestPackingIsBest(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 4))
		w := workload{window: math.MaxInt64, policy: stage.Policy{
			LookAheadRows: 12, MaxRows: rng.IntN(7), MaxCost: 20 + rng.Int64N(100), MaxBytes: []int64{0, 60}[rng.IntN(2)],
		}}
		for range 1 + rng.IntN(12) {
			w.rows = append(w.rows, row{cost: 1 + rng.Int32N(20), size: rng.Int64N(30)})
		}
		got := int64(0)
		batch := max(w.policy.MaxCost/32, 1)
		for _, b := range feed(t, w.batcher(t), w.rows, nil, nil) {
			got += b.Sums[3] + batch
		}
		order := make([]int, len(w.rows))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return int(w.rows[a].cost - w.rows[b].cost) })
		require.Equal(t, w.cheapest(order, batch, map[int]int64{}), got, "seed %d: %+v", seed, w.policy)
	}
}

// cheapest is the least cost of cutting the rows of order, by trying everything.
func (w workload) cheapest(order []int, batch int64, known map[int]int64) int64 {
	if len(order) == 0 {
		return 0
	}
	if c, ok := known[len(order)]; ok {
		return c
	}
	best := int64(math.MaxInt64)
	for n := 1; n <= len(order); n++ {
		if n > 1 && !w.within(order[:n]) {
			break
		}
		longest := w.rows[order[n-1]].cost
		best = min(best, batch+int64(n)*int64(longest)+w.cheapest(order[n:], batch, known))
	}
	known[len(order)] = best
	return best
}

func TestLoneRowsComeLastAndChangeNothingElse(t *testing.T) {
	costs := lengths(1000, 9)
	p := stage.Policy{LookAheadRows: 1001, MaxCost: 2048}
	b, err := batcher.New(p)
	require.NoError(t, err)
	b.Push(batcher.Block{ID: 1, Rows: 1000, Costs: costs})
	without := b.Flush()

	b, err = batcher.New(p)
	require.NoError(t, err)
	with := b.Push(batcher.Block{ID: 1, Rows: 1001, Costs: append(slices.Clone(costs), 50_000)})
	require.Equal(t, without, with[:len(with)-1])
	require.Equal(t, []batcher.Pick{{Block: 1, From: 1000, To: 1001}}, with[len(with)-1].Picks)
}

func TestDearBatchesFirst(t *testing.T) {
	b, err := batcher.New(stage.Policy{LookAheadRows: 512, MaxCost: 2048})
	require.NoError(t, err)
	all := b.Push(batcher.Block{Rows: 512, Costs: lengths(512, 5)})
	require.True(t, slices.IsSortedFunc(all, func(x, y batcher.Batch) int { return int(y.PaddedCost - x.PaddedCost) }))
}

func TestRowsAreNotLookedAtWithoutNeed(t *testing.T) {
	for _, maxBytes := range []int64{0, 1 << 40} {
		b, err := batcher.New(stage.Policy{MaxRows: 1 << 20, MaxBytes: maxBytes})
		require.NoError(t, err)
		all := b.Push(batcher.Block{Rows: 1 << 30, Bytes: 1 << 40}) // a walk over them would take seconds
		require.Len(t, all, 1<<10)
		require.EqualValues(t, 1<<30, all[1].Bytes)
	}
}

// Rows that are all alike are batched as those whose sizes and costs are told one by one.
func TestEvenRowsAgainstToldOnes(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := draw(rng)
		w.policy.LookAheadRows = 0
		even, told := w.batcher(t), w.batcher(t)
		for id := range int64(1 + rng.IntN(5)) {
			blk := batcher.Block{ID: id, Rows: rng.IntN(200), Bytes: rng.Int64N(3000)}
			same := blk
			for i := range int64(blk.Rows) {
				n := int64(blk.Rows)
				before := func(i int64) int64 { return blk.Bytes/n*i + blk.Bytes%n*i/n }
				same.Sizes, same.Costs = append(same.Sizes, before(i+1)-before(i)), append(same.Costs, 1)
			}
			require.Equal(t, told.Push(same), even.Push(blk), "seed %d: %+v", seed, w.policy)
			if rng.IntN(3) == 0 {
				require.Equal(t, told.Flush(), even.Flush())
			}
		}
		require.Equal(t, told.Flush(), even.Flush())
	}
}

func TestBytesAreSpreadWithoutRest(t *testing.T) {
	b, err := batcher.New(stage.Policy{MaxRows: 3})
	require.NoError(t, err)
	var sum int64
	for _, x := range append(b.Push(batcher.Block{Rows: 1000, Bytes: 777}), b.Flush()...) {
		sum += x.Bytes
	}
	require.EqualValues(t, 777, sum)
}

func TestHeldAndDue(t *testing.T) {
	for _, lookAhead := range []int{0, 100} {
		b, err := batcher.New(stage.Policy{MaxRows: 10, LookAheadRows: lookAhead, MaxDelay: 5 * time.Millisecond})
		require.NoError(t, err)
		_, ok := b.Due(time.Hour, 0)
		require.False(t, ok)
		b.Push(batcher.Block{ID: 7, Rows: 4, Bytes: 40})
		b.Push(batcher.Block{ID: 8, Rows: 4, Bytes: 44})
		rows, bytes := b.Held()
		require.Equal(t, 8, rows)
		require.EqualValues(t, 84, bytes)
		oldest, ok := b.Oldest()
		require.True(t, ok)
		require.EqualValues(t, 7, oldest)
		wait, ok := b.Due(3*time.Millisecond, time.Millisecond)
		require.True(t, ok)
		require.Equal(t, 3*time.Millisecond, wait)
		wait, _ = b.Due(time.Hour, time.Millisecond)
		require.Zero(t, wait)
		require.Len(t, b.Flush(), 1)
		rows, bytes = b.Held()
		require.Zero(t, rows)
		require.Zero(t, bytes)
	}
}

func FuzzBatches(f *testing.F) {
	f.Add(uint64(1), []byte{3, 5, 7, 200, 1, 1, 9}, []byte{2, 4})
	f.Add(uint64(77), []byte{255, 0, 0, 255}, []byte{1})
	f.Add(uint64(12345), []byte("a fairly long line of text to cut"), []byte{3, 3, 9, 30})
	f.Fuzz(func(t *testing.T, seed uint64, costs, cuts []byte) {
		w := draw(rand.New(rand.NewPCG(seed, 5)))
		w.rows, w.flushes = nil, nil
		for i, c := range costs {
			r := row{cost: int32(c), size: int64(c) * 3}
			if c == 255 {
				r = row{cost: math.MaxInt32, size: 1 << 50}
			}
			w.rows = append(w.rows, r)
			if c == 254 {
				w.flushes = append(w.flushes, i)
			}
		}
		var ends []int
		for _, c := range cuts {
			if int(c) <= len(w.rows) {
				ends = append(ends, int(c))
			}
		}
		got := feed(t, w.batcher(t), w.rows, ends, w.flushes)
		require.NoError(t, w.check(got))
		require.Equal(t, got, feed(t, w.batcher(t), w.rows, nil, w.flushes))
	})
}

func BenchmarkWindow(b *testing.B) {
	costs := lengths(2048, 3)
	for _, c := range []int64{1024, 4096, 65536} {
		b.Run(fmt.Sprint("cost=", c), func(b *testing.B) {
			m, err := batcher.New(stage.Policy{LookAheadRows: 2048, MaxCost: c})
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				m.Push(batcher.Block{Rows: 2048, Costs: costs})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2048, "ns/row")
		})
	}
}
