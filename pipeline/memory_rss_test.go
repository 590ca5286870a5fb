//go:build !race

package pipeline

// The race detector keeps a shadow of all memory, which counts as the process's own.

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/stage"
)

// Memory that is in use and that nobody charges is not taken for garbage.
func TestUnchargedMemoryIsFound(t *testing.T) {
	debug.FreeOSMemory() // what other tests left
	l := newUnwatched(Config{MemoryLimit: 1 << 30})
	hidden := make([]byte, 96<<20)
	for i := range hidden {
		hidden[i] = 1
	}
	for range len(l.found) {
		runtime.GC()
		l.collected()
	}
	assert.InDelta(t, 96<<20, l.stats().Unattributed(), 8<<20)
	runtime.KeepAlive(hidden)
}

// What the ledger knows and what it does not add up to what the kernel says.
func TestMemoryStatsAddUp(t *testing.T) {
	debug.FreeOSMemory() // what other tests left
	l := newLedger(Config{MemoryLimit: 1 << 30})
	defer l.ended.Store(true)
	mem := &allocator{mem: memory.DefaultAllocator, ledger: l, purpose: stage.Blocks}
	buf := mem.Allocate(64 << 20)
	for i := range buf {
		buf[i] = 1
	}
	s := l.stats()
	require.EqualValues(t, 64<<20, s.Used)
	require.Equal(t, s.Used, s.ByPurpose["blocks"])
	require.Positive(t, s.Baseline)
	assert.Less(t, s.Unattributed(), int64(16<<20))
	assert.InDelta(t, s.RSS, s.Baseline+s.Used+s.Garbage+s.Unattributed(), 16<<20)
	before := l.forBlocks()
	l.charge(stage.Weights, 100<<20)
	assert.Equal(t, before-100<<20, l.forBlocks())
	assert.Equal(t, s.GoLimit > l.stats().GoLimit, true)

	buf = mem.Reallocate(1<<20, buf)
	assert.EqualValues(t, 64<<20, l.used[stage.Blocks].Load(), "a buffer that was made shorter holds all of it")
	mem.Free(buf)
	assert.Zero(t, l.used[stage.Blocks].Load())
	runtime.KeepAlive(buf)
}
