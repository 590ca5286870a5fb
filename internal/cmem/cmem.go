// Package cmem hands out memory that C may keep: it does not move, the garbage
// collector does not see it, and what is out is counted by purpose. Built without cgo
// it gives Go memory under the same contract, so that pure packages can be
// tested with it.
package cmem

import (
	"fmt"
	"sync/atomic"

	"github.com/penstock-data/penstock/stage"
)

// Align is the alignment of every block, in bytes: a cache line, and the widest vector
// register.
const Align = 64

// Pinned is stage.Pinned, for package pinned, which knows no stages.
const Pinned = stage.Pinned

var held [stage.Purposes]atomic.Int64

// Alloc gives n zeroed bytes aligned to [Align]. The caller gives them back with [Free],
// once; no Go pointer may be stored in them. n of 0 gives nil. It fails only when the
// machine has no such memory.
func Alloc(purpose stage.Purpose, n int) ([]byte, error) {
	if n <= 0 {
		return nil, nil
	}
	b := allocate(n)
	if b == nil {
		return nil, fmt.Errorf("cmem: no memory for %d bytes of %s", n, purpose)
	}
	held[purpose].Add(int64(n))
	return b, nil
}

// Free gives back what [Alloc] gave for the same purpose: the whole slice, not a part of
// it. nil is ignored.
func Free(purpose stage.Purpose, b []byte) {
	if cap(b) == 0 {
		return
	}
	held[purpose].Add(-int64(cap(b)))
	release(b[:cap(b)])
}

// Held is how many bytes of a purpose are out, in the whole process.
func Held(purpose stage.Purpose) int64 { return held[purpose].Load() }

// HeldAll is how many bytes are out for all purposes together.
func HeldAll() int64 {
	var sum int64
	for i := range held {
		sum += held[i].Load()
	}
	return sum
}
