//go:build !race

package pipeline

// The race detector keeps a shadow of all memory, which counts as the process's own.

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/assert"
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
