// Package pinned hands out page-locked host memory, from which a device copies without a stop
// and while the host goes on, behind arrow's memory.Allocator: a decoder that fills an Arrow
// column in it has filled the staging buffer, and nothing is copied on the host.
//
// Page-locking is slow and wants a CUDA context, so it is done ahead, in slabs, on the thread of
// whoever owns the context ([Pool.Grow], [Pool.Refill]). Allocating from the slabs calls nothing of CUDA, and
// may be done by any goroutine. What the slabs have no room for comes from ordinary C memory: it
// works, but the driver copies it through buffers of its own while the caller waits. The pool
// says of each block which kind it is, counts both, and warns once.
//
// Like package cuda it has the build tag cuda, and is empty without it.
package pinned
