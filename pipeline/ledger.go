package pipeline

import (
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// ledger counts the memory of a run by purpose. It does not bound it: the scheduler does,
// with what the ledger says is left for blocks.
type ledger struct {
	limit int64
	used  [stage.Purposes]atomic.Int64
	total atomic.Int64
	peak  atomic.Int64
}

func (l *ledger) charge(p stage.Purpose, delta int64) {
	l.used[p].Add(delta)
	total := l.total.Add(delta)
	for peak := l.peak.Load(); total > peak && !l.peak.CompareAndSwap(peak, total); {
		peak = l.peak.Load()
	}
}

// forBlocks is what of the limit is left once everything but blocks has its own.
func (l *ledger) forBlocks() int64 {
	left := l.limit
	for p := range stage.Purposes {
		if stage.Purpose(p) != stage.Blocks {
			left -= l.used[p].Load()
		}
	}
	return max(left, 1)
}

func (l *ledger) byPurpose() map[string]int64 {
	out := map[string]int64{}
	for p := range stage.Purposes {
		if n := l.used[p].Load(); n != 0 {
			out[stage.Purpose(p).String()] = n
		}
	}
	return out
}

// allocator is an Arrow allocator whose bytes are charged to one purpose.
type allocator struct {
	mem     memory.Allocator
	ledger  *ledger
	purpose stage.Purpose
}

func (a *allocator) Allocate(size int) []byte {
	b := a.mem.Allocate(size)
	a.ledger.charge(a.purpose, int64(len(b)))
	return b
}

func (a *allocator) Reallocate(size int, b []byte) []byte {
	before := len(b)
	b = a.mem.Reallocate(size, b)
	a.ledger.charge(a.purpose, int64(len(b)-before))
	return b
}

func (a *allocator) Free(b []byte) {
	a.ledger.charge(a.purpose, -int64(len(b)))
	a.mem.Free(b)
}
