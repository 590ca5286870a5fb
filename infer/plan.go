package infer

import (
	"cmp"
	"slices"
)

// row is a text, or a pair of them, on its way through the model.
type row struct {
	ids   []int32 // borrowed from the batch
	types []int32 // of the tokens, likewise; nil: all 0
	at    int32   // which text of the batch
}

// runCost is what a run costs beyond its tokens, in tokens: the weights have to come
// through memory once for each. Per weight that is 4 bytes at some 20 GB/s against two
// operations at some 160 GFLOP/s, so it hardly depends on the model. Measured for MiniLM
// on one core: 16.
const runCost = 16

// planner cuts a batch into runs. It keeps its working memory between batches.
type planner struct {
	best []int64 // the least cost of the first i rows
	from []int32 // where the last run of that begins
	ends []int32
}

// sortRows puts rows in order of length; rows of one length stay in their order.
func sortRows(rows []row) {
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(len(a.ids), len(b.ids)), cmp.Compare(a.at, b.at))
	})
}

// cut says where the runs of rows, sorted by length, end. A run has no more than maxRows
// rows (0: any number) and, padded to its longest row, no more than budget tokens, unless
// it is of one row. Of all ways to cut, the one with the least padded tokens is taken,
// [runCost] added for each run: a shortest path over the places to cut.
func (p *planner) cut(rows []row, budget, maxRows int) []int32 {
	n := len(rows)
	p.best, p.from, p.ends = grow(p.best, n+1), grow(p.from, n+1), p.ends[:0]
	p.best[0] = 0
	for i := 1; i <= n; i++ {
		longest := max(len(rows[i-1].ids), 1)
		reach := max(budget/longest, 1)
		if maxRows > 0 {
			reach = min(reach, maxRows)
		}
		p.best[i] = -1
		for j := i - 1; j >= max(i-reach, 0); j-- {
			if cost := p.best[j] + int64((i-j)*longest) + runCost; p.best[i] < 0 || cost < p.best[i] {
				p.best[i], p.from[i] = cost, int32(j)
			}
		}
	}
	for i := int32(n); i > 0; i = p.from[i] {
		p.ends = append(p.ends, i)
	}
	slices.Reverse(p.ends)
	return p.ends
}

// inTurn is cut for rows that are not sorted: each run takes what still fits.
func (p *planner) inTurn(rows []row, budget int) []int32 {
	p.ends = p.ends[:0]
	start, most := 0, 1
	for i, r := range rows {
		if most = max(most, len(r.ids)); i > start && (i+1-start)*most > budget {
			p.ends = append(p.ends, int32(i))
			start, most = i, max(len(r.ids), 1)
		}
	}
	return append(p.ends, int32(len(rows)))
}

// longest is the tokens of the longest row, and 1 at least.
func longest(rows []row) int {
	n := 1
	for _, r := range rows {
		n = max(n, len(r.ids))
	}
	return n
}

// chunk is cut for a model whose runs are all of one size.
func (p *planner) chunk(rows []row, size int) []int32 {
	p.ends = p.ends[:0]
	for i := size; i < len(rows); i += size {
		p.ends = append(p.ends, int32(i))
	}
	return append(p.ends, int32(len(rows)))
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/2)
	}
	return s[:n]
}
