//go:build cuda

package cuda

//#include "driver.h"
import "C"

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"
)

// Ptr is an address in a device's memory. The host doesn't read or write through it; other
// libraries take it as a number.
type Ptr uintptr

// Memory is a block of device memory.
type Memory struct {
	ptr   Ptr
	bytes int64
}

// Alloc takes bytes of the device's memory, aligned to 256. What they hold is not defined. It
// may wait for all work of the device: it is for the start, not for the hot path.
func (c *Context) Alloc(bytes int64) (*Memory, error) {
	if bytes <= 0 {
		return nil, fmt.Errorf("cuda: allocate %d bytes: must be more than 0", bytes)
	}
	p, err := cu.MemAlloc(bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %d bytes of device memory", failed("cuMemAlloc", err), bytes)
	}
	held.device.add(1, bytes)
	return &Memory{ptr: Ptr(p), bytes: bytes}, nil
}

// Ptr is where the block begins; 0 after Free.
func (m *Memory) Ptr() Ptr { return m.ptr }

// Bytes is the size that was asked for; 0 after Free.
func (m *Memory) Bytes() int64 { return m.bytes }

// Free gives the block back, after all work with it: it waits for the device. A second call
// does nothing, unless the first failed.
func (m *Memory) Free() error {
	if m.ptr == 0 {
		return nil
	}
	err := failed("cuMemFree", cu.MemFree(cu.DevicePtr(m.ptr)))
	if kept(err) {
		return err
	}
	held.device.add(-1, -m.bytes)
	*m = Memory{}
	return err
}

// HostMemory is a block of page-locked host memory, which every context of the process may copy
// from and to.
type HostMemory struct {
	ptr   unsafe.Pointer
	bytes int64
}

// AllocHost takes bytes of page-locked memory, aligned to a page. What they hold is not
// defined. It is slow, about a millisecond for each few MB: see package pinned, which takes it
// ahead. The pages lie on the NUMA node that the thread's memory policy says.
func (c *Context) AllocHost(bytes int64) (*HostMemory, error) {
	if bytes <= 0 {
		return nil, fmt.Errorf("cuda: allocate %d bytes: must be more than 0", bytes)
	}
	var p unsafe.Pointer
	if err := result("cuMemHostAlloc", C.cuMemHostAlloc(&p, C.size_t(bytes), C.CU_MEMHOSTALLOC_PORTABLE)); err != nil {
		return nil, fmt.Errorf("%w: %d bytes of page-locked memory", err, bytes)
	}
	held.host.add(1, bytes)
	return &HostMemory{ptr: p, bytes: bytes}, nil
}

// Bytes is the block itself, until Free; nil after it.
func (m *HostMemory) Bytes() []byte {
	if m.ptr == nil {
		return nil
	}
	return unsafe.Slice((*byte)(m.ptr), m.bytes)
}

// Free gives the block back, after all copies from and to it. A second call does nothing,
// unless the first failed.
func (m *HostMemory) Free() error {
	if m.ptr == nil {
		return nil
	}
	err := result("cuMemFreeHost", C.cuMemFreeHost(m.ptr))
	if kept(err) {
		return err
	}
	held.host.add(-1, -m.bytes)
	*m = HostMemory{}
	return err
}
