package pipeline

import (
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// headroom is what of a limit is kept free of blocks: for what was given back and waits for
// the collector, for what a worker allocates on its way to a block, and for small things that
// nobody charges. What floats while the collector works depends on how much is allocated in
// that time, not on the limit: so a large one gives it a smaller share. (Measured by
// benchmarks/memory: a copy of Parquet floats 60 to 80 MiB on two busy cores.)
func headroom(limit int64) int64 { return limit/8 + min(limit*5/16, 256<<20) }

// 1/fewestBlocks is the share of the limit that blocks may take even where everything else
// leaves them less: then the job goes on, over its limit, and says so in its statistics.
const fewestBlocks = 16

// ledger counts the memory of a run by purpose. It does not bound it: the scheduler does,
// with what the ledger says is left for blocks.
type ledger struct {
	limit    int64
	blocks   int64 // limit for blocks; 0: what is left
	baseline int64 // of the process, before the run
	heap     int64 // of it in use on the Go heap
	runtime  int64 // of it with the Go runtime, the heap included
	used     [stage.Purposes]atomic.Int64
	peaks    [stage.Purposes]atomic.Int64
	total    atomic.Int64
	peak     atomic.Int64
	unknown  atomic.Int64 // bytes that the collector found in use, each of the last times, and nobody had charged
	found    [32]int64    // by the last collections; of the cleanups' goroutine
	times    int          // that the collector ran; of the cleanups' goroutine
	ended    atomic.Bool
}

func newLedger(cfg Config) *ledger {
	l := newUnwatched(cfg)
	l.watch()
	return l
}

// newUnwatched makes a ledger whose collected somebody else calls.
func newUnwatched(cfg Config) *ledger {
	l := &ledger{limit: cfg.MemoryLimit, blocks: cfg.BlockLimit}
	l.baseline, l.heap, l.runtime = processBaseline()
	return l
}

func (l *ledger) charge(p stage.Purpose, delta int64) {
	raise(&l.peaks[p], l.used[p].Add(delta))
	raise(&l.peak, l.total.Add(delta))
}

// raise keeps the largest of all values.
func raise(peak *atomic.Int64, to int64) {
	for now := peak.Load(); to > now && !peak.CompareAndSwap(now, to); {
		now = peak.Load()
	}
}

// onGoHeap says where memory of a purpose lies: models and page-locked slots are C's.
func onGoHeap(p stage.Purpose) bool {
	return p != stage.Weights && p != stage.Arena && p != stage.Pinned
}

// watch compares what is charged with what is in use whenever the collector has run, which
// it knows by an object that dies at once.
func (l *ledger) watch() {
	type sentinel struct{ _ *ledger } // with a pointer, or it would share its place with others
	runtime.AddCleanup(&sentinel{}, func(l *ledger) {
		l.collected()
		if !l.ended.Load() {
			l.watch()
		}
	}, l)
}

// collected takes the least of the last collections: what is allocated while the collector
// marks counts as in use, and is dead the next time.
func (l *ledger) collected() {
	l.times++
	l.found[l.times%len(l.found)] = max(readGoMemory().live-l.heap-(l.total.Load()-l.outsideGo()), 0)
	l.unknown.Store(slices.Min(l.found[:]))
}

// forBlocks is what of the limit is left once everything but blocks has its own.
func (l *ledger) forBlocks() int64 {
	left := l.limit - l.baseline - headroom(l.limit)
	for p := range stage.Purposes {
		if stage.Purpose(p) != stage.Blocks {
			left -= l.used[p].Load()
		}
	}
	left = max(left, l.limit/fewestBlocks, 1)
	if l.blocks > 0 {
		left = min(left, l.blocks)
	}
	return left
}

func byPurpose(all *[stage.Purposes]atomic.Int64) map[string]int64 {
	out := map[string]int64{}
	for p := range stage.Purposes {
		if n := all[p].Load(); n != 0 {
			out[stage.Purpose(p).String()] = n
		}
	}
	return out
}

// stats looks at the ledger and at the process.
func (l *ledger) stats() MemoryStats {
	g := readGoMemory()
	s := MemoryStats{
		Limit: l.limit, Used: l.total.Load(), Peak: l.peak.Load(), Baseline: l.baseline,
		ByPurpose: byPurpose(&l.used), PeakByPurpose: byPurpose(&l.peaks),
	}
	c := l.outsideGo()
	s.Garbage = max(g.mapped-l.runtime-(s.Used-c)-l.unknown.Load(), 0)
	s.RSS, s.PeakRSS = residentSet()
	s.GoLimit = goLimit(l.limit, max(s.RSS-g.mapped, c))
	return s
}

// outsideGo is what is charged to purposes that lie outside the Go heap.
func (l *ledger) outsideGo() (n int64) {
	for p := range stage.Purposes {
		if !onGoHeap(stage.Purpose(p)) {
			n += l.used[p].Load()
		}
	}
	return n
}

// allocator is an Arrow allocator whose bytes are charged to one purpose. What counts is the
// capacity: a buffer that was made shorter still holds all of it.
type allocator struct {
	mem     memory.Allocator
	ledger  *ledger
	purpose stage.Purpose
}

func (a *allocator) Allocate(size int) []byte {
	b := a.mem.Allocate(size)
	a.ledger.charge(a.purpose, int64(cap(b)))
	return b
}

func (a *allocator) Reallocate(size int, b []byte) []byte {
	before := cap(b)
	b = a.mem.Reallocate(size, b)
	a.ledger.charge(a.purpose, int64(cap(b)-before))
	return b
}

func (a *allocator) Free(b []byte) {
	a.ledger.charge(a.purpose, -int64(cap(b)))
	a.mem.Free(b)
}
