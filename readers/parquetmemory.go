package readers

import (
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// bookedMemory is ordinary memory that is booked as reader buffers. What Arrow's decoders
// never give back, as after damage, or give back when the collector comes by, is taken off
// the books by close: nothing refers to it then.
type bookedMemory struct {
	env    stage.Env
	mu     sync.Mutex
	held   int64
	closed bool
}

func (m *bookedMemory) book(delta int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.held += delta
		m.env.Book(stage.ReaderBuffers, delta)
	}
}

func (m *bookedMemory) Allocate(size int) []byte {
	b := memory.DefaultAllocator.Allocate(size)
	m.book(int64(cap(b)))
	return b
}

func (m *bookedMemory) Reallocate(size int, b []byte) []byte {
	before := cap(b)
	b = memory.DefaultAllocator.Reallocate(size, b)
	m.book(int64(cap(b) - before))
	return b
}

func (m *bookedMemory) Free(b []byte) {
	m.book(-int64(cap(b)))
	memory.DefaultAllocator.Free(b)
}

func (m *bookedMemory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.env.Book(stage.ReaderBuffers, -m.held)
	m.held, m.closed = 0, true
}
