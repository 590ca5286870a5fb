package overlap

import "slices"

// span is memory that holds bytes of one batch.
type span struct {
	from, to uint64 // addresses, to behind the last
	batch    int
}

// spans says which batch's bytes lie where: apart from each other and sorted.
type spans []span

// over is the range of spans that overlap m.
func (s spans) over(m Buffer) (first, last int) {
	first, _ = slices.BinarySearchFunc(s, m.Address, func(x span, at uint64) int {
		if x.to <= at {
			return -1
		}
		return 1
	})
	for last = first; last < len(s) && s[last].from < m.Address+m.Bytes; last++ {
	}
	return first, last
}

// set puts a batch's bytes over what was there.
func (s *spans) set(m Buffer, batch int) {
	if m.Bytes == 0 {
		return
	}
	first, last := s.over(m)
	var fresh []span
	if first < last && (*s)[first].from < m.Address {
		fresh = append(fresh, span{(*s)[first].from, m.Address, (*s)[first].batch})
	}
	fresh = append(fresh, span{m.Address, m.Address + m.Bytes, batch})
	if first < last && (*s)[last-1].to > m.Address+m.Bytes {
		fresh = append(fresh, span{m.Address + m.Bytes, (*s)[last-1].to, (*s)[last-1].batch})
	}
	*s = slices.Replace(*s, first, last, fresh...)
}

// batch is the first batch whose bytes lie in m, or none.
func (s spans) batch(m Buffer) int {
	for _, n := range s.batches(m) {
		return n
	}
	return none
}

// batches lists the batches whose bytes lie in m.
func (s spans) batches(m Buffer) []int {
	first, last := s.over(m)
	var all []int
	for _, x := range s[first:last] {
		if x.batch != none && !slices.Contains(all, x.batch) {
			all = append(all, x.batch)
		}
	}
	return all
}
