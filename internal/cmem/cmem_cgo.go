//go:build cgo

package cmem

/*
#include <stdint.h>
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

// calloc gives no more than 16-byte alignment, and what gives more differs between
// systems: the block begins at the first aligned address behind what calloc gave, and the
// byte before it says how far behind. The zeroes are needed because cgo forbids Go to
// write over what may look like a Go pointer.
static void *penstock_cmem_alloc(size_t align, size_t n) {
	if (n > SIZE_MAX - align) return NULL;
	unsigned char *raw = calloc(1, n + align);
	if (raw == NULL) return NULL;
	size_t skip = align - (uintptr_t)raw % align;
	raw[skip - 1] = (unsigned char)skip;
	return raw + skip;
}

static void penstock_cmem_free(unsigned char *p) {
	free(p - p[-1]);
}

static void penstock_cmem_steady(void) {
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 256 * 1024);
	mallopt(M_ARENA_MAX, 2);
#endif
}

static void penstock_cmem_trim(void) {
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}
*/
import "C"

import "unsafe"

// allocate: the result is owned by the caller and freed by release; nil: no memory.
func allocate(n int) []byte {
	p := C.penstock_cmem_alloc(Align, C.size_t(n))
	if p == nil {
		return nil
	}
	return unsafe.Slice((*byte)(p), n)
}

// release takes what allocate gave.
func release(b []byte) { C.penstock_cmem_free((*C.uchar)(unsafe.Pointer(&b[0]))) }

// Steady keeps C's heap from growing with every model that is loaded and unloaded, in the whole
// process. Blocks of 256 KiB or more are taken from the system and given back when they are
// freed: by itself glibc stops doing so once a larger block was freed, and keeps up to 64 MiB in
// each thread's heap, where [Trim] does not reach it. And there are no more than two heaps: Go
// moves calls to C between many threads, and each would leave fragments in one of its own. It
// is called before the first model is loaded; it may be called again.
func Steady() { C.penstock_cmem_steady() }

// FromC says whether blocks come from C's allocator.
const FromC = true

// Trim gives memory that was freed, by any C code of the process, back to the system. It
// takes some milliseconds for each 100 MB: for after a model was closed.
func Trim() { C.penstock_cmem_trim() }
