package chunk

import (
	"fmt"
	"math/bits"
	"sync"
)

// Seats bound how many goroutines all crews of an output have at work at once.
type Seats chan struct{}

// NewSeats makes room for so many goroutines besides the callers; 0 is right where there
// is one processor.
func NewSeats(n int) Seats { return make(Seats, n) }

// Crew does the work of one file's columns.
type Crew struct {
	seats Seats
	wg    sync.WaitGroup
	mu    sync.Mutex
	err   error
}

// NewCrew makes a crew whose goroutines take seats.
func NewCrew(seats Seats) *Crew { return &Crew{seats: seats} }

// Do has the work done on another goroutine if a seat is free, and does it itself if not.
// A panic becomes an error.
func (c *Crew) Do(work func() error) {
	select {
	case c.seats <- struct{}{}:
		c.wg.Go(func() {
			c.do(work)
			<-c.seats
		})
	default:
		c.do(work)
	}
}

func (c *Crew) do(work func() error) {
	defer func() {
		if p := recover(); p != nil {
			c.fail(fmt.Errorf("panic: %v", p))
		}
	}()
	if err := work(); err != nil {
		c.fail(err)
	}
}

func (c *Crew) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

// Wait returns when all work is done, with its first error, which it forgets.
func (c *Crew) Wait() error {
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.err
	c.err = nil
	return err
}

// Buffers of pages are used again, across files: their sizes are powers of two. What lies
// here unused is the garbage collector's to take.
const (
	smallestBuffer = 13 // 8 KiB
	largestBuffer  = 21 // 2 MiB
)

var idle [largestBuffer + 1]sync.Pool

// buffer gives at least n bytes, with any contents.
func buffer(n int) []byte {
	class := max(bits.Len(uint(n-1)), smallestBuffer)
	if class > largestBuffer {
		return make([]byte, n)
	}
	if b, ok := idle[class].Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 1<<class)
}

func recycle(b []byte) {
	b = b[:cap(b)]
	class := bits.Len(uint(len(b))) - 1
	if class < smallestBuffer || class > largestBuffer || len(b) != 1<<class {
		return
	}
	idle[class].Put(&b)
}
