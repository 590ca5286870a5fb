package batcher

import "sort"

// open is a batch that is being filled in order of arrival.
type open struct {
	picks   []Pick
	rows    int
	bytes   int64
	cost    int64
	longest int32 // rounded up
}

// add puts rows [from, to) of a block behind the others.
func (o *open) add(block int64, from, to int) {
	if k := len(o.picks); k > 0 && o.picks[k-1].Block == block && int(o.picks[k-1].To) == from {
		o.picks[k-1].To = int32(to)
	} else {
		o.picks = append(o.picks, Pick{Block: block, From: int32(from), To: int32(to)})
	}
	o.rows += to - from
}

// fits says whether a batch of this size is within the bounds.
func (b *Batcher) fits(rows int, bytes int64, longest int32) bool {
	p := &b.policy
	return (p.MaxRows == 0 || rows <= p.MaxRows) &&
		(p.MaxBytes == 0 || bytes <= p.MaxBytes) &&
		(p.MaxCost == 0 || int64(rows)*int64(longest) <= p.MaxCost)
}

// full says that no row is to be added any more, whatever it is.
func (b *Batcher) full(o *open) bool {
	return !b.fits(o.rows+1, o.bytes, o.longest) || b.policy.MaxBytes > 0 && o.bytes >= b.policy.MaxBytes
}

// cutByRows fills batches by number alone: it does not look at the rows.
func (b *Batcher) cutByRows(r rows) []Batch {
	var out []Batch
	for from := 0; from < r.Rows; {
		to := r.Rows
		if most := b.policy.MaxRows; most > 0 {
			to = min(to, from+most-b.open.rows)
		}
		bytes, cost, dearest := r.sum(from, to)
		b.open.add(r.ID, from, to)
		b.open.bytes += bytes
		b.open.cost += cost
		b.open.longest = max(b.open.longest, bucket(r.buckets, dearest))
		if b.policy.MaxRows == 0 || b.full(&b.open) {
			out = b.closeOpen(out)
		}
		from = to
	}
	return out
}

// cut fills batches row by row.
func (b *Batcher) cut(r rows) []Batch {
	var out []Batch
	o := &b.open
	for i := range r.Rows {
		size, cost := r.size(i), r.cost(i)
		longest := bucket(r.buckets, cost)
		if o.rows > 0 && !b.fits(o.rows+1, o.bytes+size, max(o.longest, longest)) {
			out = b.closeOpen(out)
		}
		o.add(r.ID, i, i+1)
		o.bytes += size
		o.cost += int64(cost)
		o.longest = max(o.longest, longest)
		if b.full(o) {
			out = b.closeOpen(out)
		}
	}
	return out
}

// cutEven fills batches as cut does, where all rows are alike: a batch is bounded by numbers
// that grow with its rows, so its end is searched for and no row is looked at.
func (b *Batcher) cutEven(r rows) []Batch {
	var out []Batch
	o := &b.open
	longest := bucket(r.buckets, 1)
	for from := 0; from < r.Rows; {
		if o.rows > 0 && !b.fits(o.rows+1, o.bytes+r.size(from), max(o.longest, longest)) {
			out = b.closeOpen(out)
		}
		o.longest = max(o.longest, longest)
		// One row goes in whatever its size is; then as many as leave it neither full nor over.
		most := r.Rows - from
		k := 1 + sort.Search(most-1, func(more int) bool {
			rows, bytes := o.rows+more+1, o.bytes+r.before(from+more+1)-r.before(from)
			return b.full(&open{rows: rows, bytes: bytes, longest: o.longest}) || !b.fits(rows+1, bytes+r.size(from+more+1), o.longest)
		})
		o.add(r.ID, from, from+k)
		o.bytes += r.before(from+k) - r.before(from)
		o.cost += int64(k)
		if b.full(o) {
			out = b.closeOpen(out)
		}
		from += k
	}
	return out
}

// closeOpen appends the open batch to out, if it has rows.
func (b *Batcher) closeOpen(out []Batch) []Batch {
	o := b.open
	if o.rows == 0 {
		return out
	}
	b.open = open{}
	b.next++
	return append(out, Batch{
		Window: b.next - 1, Picks: o.picks, Rows: o.rows, Bytes: o.bytes, Cost: o.cost,
		Longest: o.longest, PaddedCost: int64(o.rows) * int64(o.longest),
	})
}
