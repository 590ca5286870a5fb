//go:build cuda

package pinned

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"unsafe"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/internal/cmem"
)

// Kind is a kind of memory.
type Kind uint8

const (
	PageLocked Kind = iota // a device copies from and to it by itself
	Ordinary               // C memory: a copy keeps the caller waiting
)

func (k Kind) String() string { return [...]string{"page-locked", "ordinary"}[k] }

// Config says what a pool may take. The zero value works.
type Config struct {
	// MaxBytes bounds the page-locked memory. 0: 256 MiB.
	MaxBytes int64
	// SlabBytes is what is page-locked at once, at least. 0: 16 MiB.
	SlabBytes int64
	// Room is asked before more is page-locked; where it says no, nothing is. nil: there is room.
	Room func(bytes int64) bool
	// Book is told of page-locked and of ordinary memory that is taken, and by a negative delta
	// of what is given back. It may be called from any goroutine. nil: nobody is told.
	Book func(delta int64)
	// Log gets one warning when ordinary memory is given for the first time. nil: none.
	Log *slog.Logger
}

// Stats says what a pool has given.
type Stats struct {
	LockedBytes   int64 // page-locked, used or not
	UsedBytes     int64 // of them, in blocks that are out
	OrdinaryBytes int64 // out
	Fallbacks     int64 // blocks that were ordinary memory, from the beginning
}

// Pool is page-locked memory of a device. It is safe for concurrent use, and implements arrow's
// memory.Allocator.
//
// A block is a multiple of a size class, carved from a slab from the front to the back. One that
// is freed waits in its slab for a request of its class; a slab without blocks starts anew. So
// whoever asks for few sizes, again and again, finds what was freed, and a change of sizes costs
// no more than the slabs that are still in use.
type Pool struct {
	cfg  Config
	ctx  *cuda.Context // a hold of its own; nil: there is no device
	node int           // of the host's memory next to it; -1: not known

	mu       sync.Mutex
	slabs    []*slab
	locked   int64
	used     int64
	ordinary map[uintptr]int // the sizes of ordinary blocks that are out
	outside  int64           // their sum
	count    int64           // and how many there ever were
	missing  int64           // bytes that were asked for and not page-locked, since the last Refill
	closed   bool
}

// slab is one piece of page-locked memory.
type slab struct {
	host *cuda.HostMemory
	b    []byte
	next int           // where nothing was carved yet
	live int           // blocks that are out
	free map[int][]int // by size: where such blocks begin
	size map[int]int   // of the blocks, by where they begin
}

// New makes a pool of memory page-locked for a device's context; nothing is taken yet. ctx nil
// is no device: all memory is ordinary then. The pool keeps a hold of the context's device until
// it is closed and all of its blocks are back.
func New(ctx *cuda.Context, cfg Config) (*Pool, error) {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = 256 << 20
	}
	if cfg.SlabBytes <= 0 {
		cfg.SlabBytes = 16 << 20
	}
	if cfg.Room == nil {
		cfg.Room = func(int64) bool { return true }
	}
	if cfg.Book == nil {
		cfg.Book = func(int64) {}
	}
	p := &Pool{cfg: cfg, node: -1, ordinary: map[uintptr]int{}}
	if ctx == nil {
		return p, nil
	}
	info, err := ctx.Device().Info()
	if err != nil {
		return nil, fmt.Errorf("pinned: %w", err)
	}
	if p.ctx, err = ctx.Device().Retain(); err != nil {
		return nil, fmt.Errorf("pinned: %w", err)
	}
	p.node = info.NUMANode
	pools.Lock()
	defer pools.Unlock()
	pools.all = append(pools.all, p)
	return p, nil
}

// Grow page-locks a slab that has room for bytes more, on the device's NUMA node where the machine
// has several. It is called where the context is current, on a locked thread, and while the pool is
// open, by one goroutine at a time. It gives [cuda.ErrOutOfMemory] where MaxBytes or Room stand against it, or the
// machine has no more.
func (p *Pool) Grow(bytes int64) error {
	size := max(int64(class(int(bytes))), p.cfg.SlabBytes)
	p.mu.Lock()
	room := p.cfg.MaxBytes - p.locked
	p.mu.Unlock()
	if size > room {
		size = int64(class(int(bytes))) // the last slab is as small as it can be
	}
	if p.ctx == nil || size > room || !p.cfg.Room(size) {
		return fmt.Errorf("pinned: %w: %d bytes more than the %d that are page-locked", cuda.ErrOutOfMemory, size, p.cfg.MaxBytes-room)
	}
	back := preferNode(p.node)
	host, err := p.ctx.AllocHost(size)
	back()
	if err != nil {
		return fmt.Errorf("pinned: %w", err)
	}
	p.cfg.Book(size)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.locked += size
	p.slabs = append(p.slabs, &slab{host: host, b: host.Bytes(), free: map[int][]int{}, size: map[int]int{}})
	slices.SortFunc(p.slabs, func(a, b *slab) int { return cmpAddress(a.b, b.b) })
	return nil
}

// Refill page-locks what there was no room for since the last Refill, as far as that goes. It is
// called where the context is current, and costs next to nothing when nothing was missing.
func (p *Pool) Refill() {
	p.mu.Lock()
	missing := p.missing
	p.missing = 0
	p.mu.Unlock()
	if missing > 0 {
		_ = p.Grow(missing) // if there is no room, blocks stay ordinary, which is counted
	}
}

// Allocate gives n bytes aligned to 64. What they hold is not defined.
func (p *Pool) Allocate(n int) []byte {
	if n == 0 {
		return []byte{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		if b := p.carveLocked(n); b != nil {
			return b
		}
	}
	return p.fallBackLocked(n)
}

func (p *Pool) carveLocked(n int) []byte {
	size := class(n)
	for _, s := range p.slabs {
		if b := s.take(size); b != nil {
			p.used += int64(size)
			return b[:n:size]
		}
	}
	return nil
}

// fallBackLocked gives ordinary memory, which never comes to nothing: an allocator cannot fail.
func (p *Pool) fallBackLocked(n int) []byte {
	b, err := cmem.Alloc(cmem.Pinned, n)
	if err != nil {
		panic(err) // the machine has no memory left, as when Go's own allocator ends the process
	}
	p.missing += int64(class(n))
	if p.count++; p.count == 1 && p.cfg.Log != nil {
		p.cfg.Log.Warn("page-locked memory is short: copies to the device wait", "bytes", n, "locked", p.locked, "used", p.used, "limit", p.cfg.MaxBytes)
	}
	p.ordinary[address(b)] = n
	p.outside += int64(n)
	p.cfg.Book(int64(n))
	return b
}

// Reallocate changes a block's size, moving it where it must.
func (p *Pool) Reallocate(n int, b []byte) []byte {
	if n <= cap(b) && n > 0 {
		return b[:n]
	}
	next := p.Allocate(n)
	copy(next, b)
	p.Free(b)
	return next
}

// Free takes a block back: what Allocate gave, or the front of it.
func (p *Pool) Free(b []byte) {
	if cap(b) == 0 {
		return
	}
	_ = p.takeBack(b)() // there is nobody to tell
}

func (p *Pool) takeBack(b []byte) (give func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.slabOfLocked(b); s != nil {
		p.used -= int64(s.give(int(address(b) - address(s.b))))
	} else {
		p.freeOrdinaryLocked(b)
	}
	return p.leaveLocked()
}

func (p *Pool) freeOrdinaryLocked(b []byte) {
	n, ours := p.ordinary[address(b)]
	if !ours {
		panic("pinned: a block is freed that is not the pool's, or that is free")
	}
	delete(p.ordinary, address(b))
	p.outside -= int64(n)
	cmem.Free(cmem.Pinned, b[:n:n])
	p.cfg.Book(-int64(n))
}

// pools are those of this process that have slabs.
var pools struct {
	sync.RWMutex
	all []*Pool
}

// KindOf says what memory bytes lie in, wherever in a block they begin and whichever pool of this
// process it came from: page-locked memory is so for all devices. What no pool gave is ordinary.
func KindOf(b []byte) Kind {
	if cap(b) == 0 {
		return Ordinary
	}
	pools.RLock()
	defer pools.RUnlock()
	for _, p := range pools.all {
		if p.holds(b) {
			return PageLocked
		}
	}
	return Ordinary
}

func (p *Pool) holds(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slabOfLocked(b) != nil
}

// Stats says how it stands.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{LockedBytes: p.locked, UsedBytes: p.used, OrdinaryBytes: p.outside, Fallbacks: p.count}
}

// Close gives all memory back once the last block is: at once, or when that one is freed. Blocks
// that are out stay good, and new ones are ordinary memory. It may be called on any thread, after
// all copies from and to blocks that are free, and again.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	give := p.leaveLocked()
	p.mu.Unlock()
	return give()
}

// leaveLocked takes the slabs and the hold of the context off a closed pool with no block out, for
// the function that it gives to hand them back. That one calls the driver, and no lock is held.
func (p *Pool) leaveLocked() (give func() error) {
	if !p.closed || p.ctx == nil || p.used > 0 || len(p.ordinary) > 0 {
		return func() error { return nil }
	}
	slabs, ctx := p.slabs, p.ctx
	p.slabs, p.ctx, p.locked = nil, nil, 0
	return func() error {
		pools.Lock()
		pools.all = slices.DeleteFunc(pools.all, func(other *Pool) bool { return other == p })
		pools.Unlock()
		errs := []error{twice(func() error {
			return ctx.Do(func() error {
				var errs []error
				for _, s := range slabs {
					errs = append(errs, s.host.Free())
				}
				return errors.Join(errs...)
			})
		})}
		for _, s := range slabs {
			p.cfg.Book(-int64(len(s.b)))
		}
		return errors.Join(append(errs, twice(ctx.Release))...)
	}
}

// twice calls f again where it failed: what it gives back is still there, and nobody else will.
func twice(f func() error) error {
	if f() == nil {
		return nil
	}
	return f()
}

// slabOfLocked finds the slab that b begins in.
func (p *Pool) slabOfLocked(b []byte) *slab {
	at := address(b)
	i, found := slices.BinarySearchFunc(p.slabs, at, func(s *slab, at uintptr) int {
		switch {
		case address(s.b)+uintptr(len(s.b)) <= at:
			return -1
		case address(s.b) > at:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return p.slabs[i]
}

// take gives size bytes; nil: there are none.
func (s *slab) take(size int) []byte {
	at := -1
	if list := s.free[size]; len(list) > 0 {
		at = list[len(list)-1]
		s.free[size] = list[:len(list)-1]
	} else if size <= len(s.b)-s.next {
		at = s.next
		s.next += size
	}
	if at < 0 {
		return nil
	}
	s.size[at] = size
	s.live++
	return s.b[at : at+size]
}

// give takes the block that begins at at back, and says how large it is.
func (s *slab) give(at int) int {
	size, out := s.size[at]
	if !out {
		panic("pinned: a block is freed from its middle, or twice")
	}
	delete(s.size, at)
	s.free[size] = append(s.free[size], at)
	if s.live--; s.live == 0 {
		clear(s.free)
		s.next = 0
	}
	return size
}

// class rounds a size up so that blocks of about one size are of one class: to 64 bytes, and to
// an eighth of the power of two below it.
func class(n int) int {
	step := 64
	for step*16 < n {
		step *= 2
	}
	return (n + step - 1) / step * step
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

func cmpAddress(a, b []byte) int {
	if address(a) < address(b) {
		return -1
	}
	return 1
}
