package batcher

import (
	"slices"
)

// rows reads a block row by row.
type rows struct {
	Block
	buckets []int32
}

// cost of row i.
func (r rows) cost(i int) int32 {
	if r.Costs == nil {
		return 1
	}
	return max(r.Costs[i], 0)
}

// size of row i.
func (r rows) size(i int) int64 {
	if r.Sizes != nil {
		return r.Sizes[i]
	}
	return r.before(i+1) - r.before(i)
}

// before is the share of Bytes of the rows before i, when it is spread evenly.
func (r rows) before(i int) int64 {
	n := int64(r.Rows)
	return r.Bytes/n*int64(i) + r.Bytes%n*int64(i)/n
}

// sum is the size and cost of rows [from, to), and the cost of the dearest.
func (r rows) sum(from, to int) (bytes, cost int64, dearest int32) {
	if r.Sizes == nil {
		bytes = r.before(to) - r.before(from)
	} else {
		for _, s := range r.Sizes[from:to] {
			bytes += s
		}
	}
	if r.Costs == nil {
		return bytes, int64(to - from), 1
	}
	for i := from; i < to; i++ {
		c := r.cost(i)
		cost += int64(c)
		dearest = max(dearest, c)
	}
	return bytes, cost, dearest
}

// bucket rounds a cost up to one of buckets. One that is dearer than the last stays as
// it is.
func bucket(buckets []int32, cost int32) int32 {
	if i, _ := slices.BinarySearch(buckets, cost); i < len(buckets) {
		return buckets[i]
	}
	return cost
}
