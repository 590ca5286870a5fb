//go:build !cgo

package cmem

import "unsafe"

func allocate(n int) []byte {
	b := make([]byte, n+Align-1)
	at := int(-uintptr(unsafe.Pointer(&b[0])) & (Align - 1))
	return b[at : at+n : at+n]
}

func release([]byte) {} // the garbage collector has it

// FromC says whether blocks come from C's allocator.
const FromC = false

// Steady does nothing: there is no C heap.
func Steady() {}

// Trim does nothing: there is no C heap.
func Trim() {}
