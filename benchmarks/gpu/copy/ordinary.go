//go:build cuda

package main

import "golang.org/x/sys/unix"

// ordinary is memory outside of Go's heap that nobody page-locked.
type ordinary struct{}

// Allocate gives memory of the system's own; it panics where there is none.
func (ordinary) Allocate(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	return b
}

// Reallocate is not needed here.
func (o ordinary) Reallocate(n int, b []byte) []byte {
	next := o.Allocate(n)
	copy(next, b)
	o.Free(b)
	return next
}

// Free gives it back.
func (ordinary) Free(b []byte) { _ = unix.Munmap(b) } // it is what Allocate gave
