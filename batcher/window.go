package batcher

import (
	"cmp"
	"slices"
)

// window is the rows that are packed together.
type window struct {
	parts []part
	costs []int32 // of each row, as given
	sizes []int64 // of each row
	bytes int64
}

// part is a run of rows of one block. Row i of the window is row i-at+from of the block.
type part struct {
	block int64
	from  int32
	at    int
}

func (w *window) rows() int { return len(w.costs) }

// add puts row i of a block behind the others.
func (w *window) add(r rows, i int, size int64) {
	if k := len(w.parts); k == 0 || w.parts[k-1].block != r.ID || int(w.parts[k-1].from)+w.rows()-w.parts[k-1].at != i {
		w.parts = append(w.parts, part{block: r.ID, from: int32(i), at: w.rows()})
	}
	w.costs = append(w.costs, r.cost(i))
	w.sizes = append(w.sizes, size)
	w.bytes += size
}

// fillWindow adds rows to the window, which ends at LookAheadRows rows, or before a row
// that would make it too large. A row too large for any window has one of its own.
func (b *Batcher) fillWindow(r rows) []Batch {
	var out []Batch
	w := &b.window
	for i := range r.Rows {
		size := r.size(i)
		if w.rows() > 0 && w.bytes+size > b.windowBytes {
			out = b.closeWindow(out)
		}
		w.add(r, i, size)
		if w.rows() == b.policy.LookAheadRows || w.bytes >= b.windowBytes {
			out = b.closeWindow(out)
		}
	}
	return out
}

// closeWindow packs the window's rows, and appends the batches to out. Dear batches come
// first, so that what runs last is short and workers finish the window together (Graham,
// Bounds on Multiprocessing Timing Anomalies, 1969). Rows that no batch may hold come
// last, each alone: whoever has to wait for room for one has done the rest.
func (b *Batcher) closeWindow(out []Batch) []Batch {
	w := b.window
	if w.rows() == 0 {
		return out
	}
	keys := make([]uint64, 0, w.rows()) // cost, then place in the window
	var lone []int32
	for i, c := range w.costs {
		rounded := bucket(b.policy.Buckets, c)
		if b.fits(1, w.sizes[i], rounded) {
			keys = append(keys, uint64(rounded)<<32|uint64(i))
		} else {
			lone = append(lone, int32(i))
		}
	}
	slices.Sort(keys)
	order := make([]int32, len(keys))
	for k, key := range keys {
		order[k] = int32(key) // the low half
	}
	first, from := len(out), 0
	for _, to := range b.partition(keys, &w) {
		out = append(out, b.pack(&w, order[from:to]))
		from = to
	}
	slices.SortStableFunc(out[first:], func(x, y Batch) int { return cmp.Compare(y.PaddedCost, x.PaddedCost) })
	for i := range lone {
		out = append(out, b.pack(&w, lone[i:i+1]))
	}
	b.next++
	b.window = window{parts: w.parts[:0], costs: w.costs[:0], sizes: w.sizes[:0]}
	return out
}

// pack makes rows of the window a batch. Their order becomes that of arrival, so that
// rows of a block are picked front to back.
func (b *Batcher) pack(w *window, at []int32) Batch {
	slices.Sort(at)
	out := Batch{Window: b.next, Rows: len(at)}
	var dearest int32
	for _, i := range at {
		out.Bytes += w.sizes[i]
		out.Cost += int64(w.costs[i])
		dearest = max(dearest, w.costs[i])
	}
	out.Longest = bucket(b.policy.Buckets, dearest)
	out.PaddedCost = int64(out.Rows) * int64(out.Longest)
	part := 0
	for i := 0; i < len(at); {
		for part+1 < len(w.parts) && w.parts[part+1].at <= int(at[i]) {
			part++
		}
		end := w.rows()
		if part+1 < len(w.parts) {
			end = w.parts[part+1].at
		}
		j := i + 1
		for j < len(at) && int(at[j]) < end {
			j++
		}
		out.Picks = append(out.Picks, w.parts[part].pick(at[i:j:j]))
		i = j
	}
	return out
}

// pick turns rows of the window into rows of the block, in place.
func (p part) pick(at []int32) Pick {
	shift := p.from - int32(p.at)
	first, last := at[0]+shift, at[len(at)-1]+shift
	if int(last-first) == len(at)-1 {
		return Pick{Block: p.block, From: first, To: last + 1}
	}
	for i := range at {
		at[i] += shift
	}
	return Pick{Block: p.block, Rows: at}
}
