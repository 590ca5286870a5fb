package batcher

import "math"

// overhead is what one more batch is held to cost, as a share of a full one: the start
// of a model run, some kernel launches, matrices that are less tall. A batch is divided
// where that saves more padding. Of texts of 62 tokens in the mean, 2,048 rows ahead and
// MaxCost 4,096, the fewest batches there can be have 0.959 real tokens for a padded one,
// and with this share it is 0.975 in a quarter more batches. TestPaddingEfficiency prints
// what other shares and bounds give.
const overhead = 1.0 / 32

// partition cuts rows that are sorted by cost into batches, and gives their ends. Of all
// ways to cut that keep to the bounds it takes the one with the least padded cost, a
// batch itself counting as overhead. It is the shortest path over the places to cut at,
// as in breaking a paragraph into lines (Knuth and Plass, Breaking Paragraphs into
// Lines, 1981).
//
// A batch ends where the cost changes or where it is full: if it ended before a row of
// the same cost that it could hold, that row would be cheaper in it than in the next
// one, whose rows are as dear or dearer. So from each place only few others are to be
// looked at.
func (b *Batcher) partition(keys []uint64, w *window) []int {
	n := len(keys)
	if n == 0 {
		return nil
	}
	cost := func(k int) int32 { return int32(keys[k] >> 32) }
	bytes := make([]int64, n+1) // of the rows before k
	for k, key := range keys {
		bytes[k+1] = bytes[k] + w.sizes[int32(key)]
	}
	next := make([]int, n) // behind the last row of the same cost
	for k := n - 1; k >= 0; k-- {
		next[k] = k + 1
		if k+1 < n && cost(k+1) == cost(k) {
			next[k] = next[k+1]
		}
	}
	batch := b.batchCost(keys)
	best := make([]int64, n+1) // least cost of cutting the rows before k
	came := make([]int, n+1)   // where the last batch before k begins
	for k := 1; k <= n; k++ {
		best[k] = math.MaxInt64
	}
	for from := range n {
		if best[from] == math.MaxInt64 {
			continue
		}
		for at := from; at < n; {
			to := b.reach(from, next[at], bytes, cost(at))
			if to <= at {
				break // of this cost not one row is left room for
			}
			if c := best[from] + batch + int64(to-from)*int64(cost(at)); c < best[to] {
				best[to], came[to] = c, from
			}
			if to < next[at] {
				break
			}
			at = to
		}
	}
	return ends(came)
}

// reach is the furthest end, up to limit, of a batch that begins at from and whose
// dearest rows have this cost.
func (b *Batcher) reach(from, limit int, bytes []int64, cost int32) int {
	if b.fits(limit-from, bytes[limit]-bytes[from], cost) {
		return limit
	}
	lo, hi := from, limit // the first fits, the second does not
	for lo+1 < hi {
		mid := (lo + hi) / 2
		if b.fits(mid-from, bytes[mid]-bytes[from], cost) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// batchCost is what a batch itself is held to cost: a share of MaxCost, or else of what
// MaxRows rows of middling cost have. Where only bytes are bounded it is nothing but one.
func (b *Batcher) batchCost(keys []uint64) int64 {
	full := b.policy.MaxCost
	if full == 0 {
		full = int64(b.policy.MaxRows) * int64(keys[len(keys)/2]>>32)
	}
	return max(int64(float64(full)*b.overhead), 1)
}

// ends follows the path back from the last row.
func ends(came []int) []int {
	var out []int
	for k := len(came) - 1; k > 0; k = came[k] {
		out = append(out, k)
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}
