package tokenize

import (
	"math"
	"math/bits"
)

// pairTable gives the rank of a pair of ids that merge: a hash table with open
// addressing, laid out once.
type pairTable struct {
	slots []pairSlot
	shift uint
}

type pairSlot struct {
	pair uint64
	rank int32 // noRank: free
}

// noRank is above all ranks.
const noRank = math.MaxInt32

func newPairTable(n int) *pairTable {
	size := max(bits.Len(uint(n+n/2)), 4)
	t := &pairTable{slots: make([]pairSlot, 1<<size), shift: uint(64 - size)}
	for i := range t.slots {
		t.slots[i].rank = noRank
	}
	return t
}

func pairOf(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// find gives the slot of a pair, or the free one where it would be.
func (t *pairTable) find(pair uint64) *pairSlot {
	mask := uint64(len(t.slots) - 1)
	for i := pair * mixA >> t.shift; ; i = (i + 1) & mask {
		s := &t.slots[i&mask]
		if s.pair == pair || s.rank == noRank {
			return s
		}
	}
}

// rank gives noRank for a pair that doesn't merge.
func (t *pairTable) rank(left, right int32) int32 {
	pair := pairOf(left, right)
	if s := t.find(pair); s.pair == pair {
		return s.rank
	}
	return noRank
}

// unit is a symbol of a piece: at first a character, then what merging made.
type unit struct{ id, size int32 }

// shortPiece bounds the units that are merged by looking through them all each
// time, which is faster than a queue for so few.
const shortPiece = 48

// merge merges units, in place, until no neighbours merge.
func (m *bpe) merge(s *bpeScratch) []unit {
	if len(s.units) <= shortPiece && !m.odd {
		return m.mergeShort(s.units)
	}
	return m.mergeLong(s)
}

// mergeShort takes the pair of least rank, of equal ones the leftmost, each time.
func (m *bpe) mergeShort(units []unit) []unit {
	var room [shortPiece]int32
	ranks := room[:max(len(units)-1, 0)]
	for i := range ranks {
		ranks[i] = m.pairs.rank(units[i].id, units[i+1].id)
	}
	for {
		at, least := 0, int32(noRank)
		for i, r := range ranks {
			if r < least {
				at, least = i, r
			}
		}
		if least == noRank {
			return units
		}
		units[at] = unit{m.results[least], units[at].size + units[at+1].size}
		units = append(units[:at+1], units[at+2:]...)
		ranks = append(ranks[:at], ranks[at+1:]...)
		if at > 0 {
			ranks[at-1] = m.pairs.rank(units[at-1].id, units[at].id)
		}
		if at < len(ranks) {
			ranks[at] = m.pairs.rank(units[at].id, units[at+1].id)
		}
	}
}

// link joins a unit to those that remain on either side of it.
type link struct {
	prev, next int32 // -1: none
	rank       int32 // of the pair with the next; merged away: gone
}

const gone = -1

// mergeLong does with a queue what mergeShort does, in time n log n. Its order
// and its test for pairs that are there no more (by what they merge into) are
// those of the Rust library, so that it agrees with it even on vocabularies
// where several tokens share an id.
func (m *bpe) mergeLong(s *bpeScratch) []unit {
	units := s.units
	s.links = s.links[:0]
	s.queue = s.queue[:0]
	for i := range units {
		l := link{prev: int32(i - 1), next: int32(i + 1), rank: noRank}
		if i == len(units)-1 {
			l.next = -1
		} else if l.rank = m.pairs.rank(units[i].id, units[i+1].id); l.rank != noRank {
			s.queue = append(s.queue, queued(l.rank, int32(i)))
		}
		s.links = append(s.links, l)
	}
	s.queue.order()
	for len(s.queue) > 0 {
		rank, at := s.queue.pop()
		l := &s.links[at]
		if l.rank == gone || l.rank == noRank || m.results[l.rank] != m.results[rank] {
			continue
		}
		next := l.next
		units[at] = unit{m.results[rank], units[at].size + units[next].size}
		l.next = s.links[next].next
		s.links[next].rank = gone
		if l.next >= 0 {
			s.links[l.next].prev = at
		}
		if l.prev >= 0 {
			m.pairUp(s, l.prev)
		}
		m.pairUp(s, at)
	}
	kept := units[:0]
	for i := range units {
		if s.links[i].rank != gone {
			kept = append(kept, units[i])
		}
	}
	return kept
}

// pairUp looks up the pair of a unit with the next and queues it.
func (m *bpe) pairUp(s *bpeScratch, at int32) {
	l := &s.links[at]
	l.rank = noRank
	if l.next < 0 {
		return
	}
	if l.rank = m.pairs.rank(s.units[at].id, s.units[l.next].id); l.rank != noRank {
		s.queue.push(queued(l.rank, at))
	}
}

// mergeQueue is a binary heap of pairs: rank first, position second.
type mergeQueue []uint64

func queued(rank, at int32) uint64 { return uint64(rank)<<32 | uint64(at) }

func (q mergeQueue) order() {
	for i := len(q)/2 - 1; i >= 0; i-- {
		q.sink(i)
	}
}

func (q *mergeQueue) push(x uint64) {
	h := append(*q, x)
	*q = h
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if h[up] <= x {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = x
}

func (q *mergeQueue) pop() (rank, at int32) {
	h := *q
	top := h[0]
	last := len(h) - 1
	h[0] = h[last]
	*q = h[:last]
	if last > 0 {
		q.sink(0)
	}
	return int32(top >> 32), int32(uint32(top))
}

func (q mergeQueue) sink(i int) {
	x := q[i]
	for {
		down := 2*i + 1
		if down >= len(q) {
			break
		}
		if right := down + 1; right < len(q) && q[right] < q[down] {
			down = right
		}
		if x <= q[down] {
			break
		}
		q[i] = q[down]
		i = down
	}
	q[i] = x
}
