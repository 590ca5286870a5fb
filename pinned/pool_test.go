//go:build cuda

package pinned_test

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/pinned"
	"github.com/penstock-data/penstock/stage"
)

var _ memory.Allocator = (*pinned.Pool)(nil)

// device gives a context that is current on this test's thread.
func device(t *testing.T, cfg cudaemu.Config) *cuda.Context {
	t.Helper()
	cudaemu.Start(t, cfg)
	runtime.LockOSThread()
	all, err := cuda.Devices()
	require.NoError(t, err)
	ctx, err := all[0].Retain()
	require.NoError(t, err)
	require.NoError(t, ctx.MakeCurrent())
	t.Cleanup(func() {
		require.NoError(t, ctx.Release())
		require.Zero(t, cuda.Held())
		runtime.UnlockOSThread()
	})
	return ctx
}

// open is a pool, and what its Book came to.
func open(t *testing.T, ctx *cuda.Context, cfg pinned.Config) (*pinned.Pool, *atomic.Int64) {
	t.Helper()
	booked := new(atomic.Int64)
	cfg.Book = func(delta int64) { booked.Add(delta) }
	p, err := pinned.New(ctx, cfg)
	require.NoError(t, err)
	return p, booked
}

func TestWithoutDeviceAllIsOrdinaryAndSaidOnce(t *testing.T) {
	var log bytes.Buffer
	before := cmem.Held(stage.Pinned)
	p, booked := open(t, nil, pinned.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.ErrorIs(t, p.Grow(1), cuda.ErrOutOfMemory)
	a, b := p.Allocate(1000), p.Allocate(10)
	require.Len(t, a, 1000)
	require.Equal(t, pinned.Ordinary, pinned.KindOf(a))
	require.Equal(t, pinned.Stats{OrdinaryBytes: 1010, Fallbacks: 2}, p.Stats())
	require.Equal(t, int64(1010), booked.Load())
	require.Equal(t, 1, strings.Count(log.String(), "page-locked memory is short"))
	p.Free(a)
	require.NoError(t, p.Close())
	p.Free(b)
	require.Zero(t, booked.Load())
	require.Equal(t, before, cmem.Held(stage.Pinned))
}

func TestBlocksComeFromSlabsAndOutliveThePool(t *testing.T) {
	ctx := device(t, cudaemu.Config{})
	p, booked := open(t, ctx, pinned.Config{SlabBytes: 1 << 20})
	require.NoError(t, p.Grow(1<<10))
	require.Equal(t, int64(1<<20), booked.Load())
	b := p.Allocate(1000)
	require.Equal(t, pinned.PageLocked, pinned.KindOf(b))
	require.Equal(t, pinned.PageLocked, pinned.KindOf(b[500:]), "from its middle too")
	require.Equal(t, pinned.Ordinary, pinned.KindOf(make([]byte, 10)))
	require.NoError(t, p.Close())
	require.Equal(t, int64(1<<20), cuda.Held().HostBytes, "a block is out")
	b[999] = 1
	late := p.Allocate(10)
	require.Equal(t, pinned.Ordinary, pinned.KindOf(late), "the pool is closed")
	p.Free(late)

	done := make(chan struct{})
	go func() { // on a thread without a context
		defer close(done)
		p.Free(b)
	}()
	<-done
	require.Zero(t, cuda.Held().HostBytes)
	require.Zero(t, booked.Load())
	require.NoError(t, p.Close())
}

func TestLimitsAndRefill(t *testing.T) {
	ctx := device(t, cudaemu.Config{})
	room := true
	p, _ := open(t, ctx, pinned.Config{MaxBytes: 1 << 20, SlabBytes: 1 << 18, Room: func(int64) bool { return room }})
	a := p.Allocate(1 << 16)
	require.Equal(t, pinned.Ordinary, pinned.KindOf(a), "nothing was taken ahead")
	p.Refill()
	b := p.Allocate(1 << 16)
	require.Equal(t, pinned.PageLocked, pinned.KindOf(b))
	p.Refill()
	require.Equal(t, int64(1<<18), p.Stats().LockedBytes, "nothing was missing")
	room = false
	require.ErrorIs(t, p.Grow(1<<16), cuda.ErrOutOfMemory)
	room = true
	require.NoError(t, p.Grow(3<<18), "what is left, to the byte")
	require.ErrorIs(t, p.Grow(1), cuda.ErrOutOfMemory)
	p.Free(a)
	p.Free(b)
	require.NoError(t, p.Close())
}

func TestDriverWithoutMemory(t *testing.T) {
	ctx := device(t, cudaemu.Config{HostBytes: 1 << 20})
	p, booked := open(t, ctx, pinned.Config{SlabBytes: 4 << 20})
	require.ErrorIs(t, p.Grow(1), cuda.ErrOutOfMemory)
	require.Zero(t, booked.Load())
	require.NoError(t, p.Close())
}

// TestRandomBlocks holds every block to what was written into it, whatever else is taken, changed
// and freed meanwhile by several goroutines.
func TestRandomBlocks(t *testing.T) {
	for _, locked := range []bool{false, true} {
		var ctx *cuda.Context
		if locked {
			ctx = device(t, cudaemu.Config{})
		}
		p, booked := open(t, ctx, pinned.Config{SlabBytes: 1 << 20})
		if locked {
			require.NoError(t, p.Grow(1))
			require.NoError(t, p.Grow(1))
		}
		var all sync.WaitGroup
		for seed := range 4 {
			all.Go(func() { churn(t, p, rand.New(rand.NewPCG(uint64(seed), 7))) })
		}
		all.Wait()
		s := p.Stats()
		require.Zero(t, s.UsedBytes)
		require.Zero(t, s.OrdinaryBytes)
		require.Equal(t, s.LockedBytes, booked.Load())
		require.NoError(t, p.Close())
		require.Zero(t, booked.Load())
	}
}

func churn(t *testing.T, p *pinned.Pool, rng *rand.Rand) {
	type block struct {
		b    []byte
		mark byte
	}
	var out []block
	hold := func(x block) {
		for i, v := range x.b {
			if v != x.mark {
				t.Errorf("byte %d of %d was written over", i, len(x.b))
				return
			}
		}
	}
	for range 2000 {
		switch k := rng.IntN(len(out) + 8); {
		case k >= len(out):
			x := block{p.Allocate(rng.IntN(1<<uint(rng.IntN(17))) + 1), byte(rng.Uint32())}
			for i := range x.b {
				x.b[i] = x.mark
			}
			out = append(out, x)
		case rng.IntN(4) == 0:
			n := rng.IntN(2*len(out[k].b)) + 1
			old := len(out[k].b)
			out[k].b = p.Reallocate(n, out[k].b)
			for i := old; i < n; i++ {
				out[k].b[i] = out[k].mark
			}
			hold(out[k])
		default:
			hold(out[k])
			p.Free(out[k].b[:1])
			out[k] = out[len(out)-1]
			out = out[:len(out)-1]
		}
	}
	for _, x := range out {
		hold(x)
		p.Free(x.b)
	}
}

func TestArrowBuildsInIt(t *testing.T) {
	ctx := device(t, cudaemu.Config{})
	p, _ := open(t, ctx, pinned.Config{})
	require.NoError(t, p.Grow(1<<20))
	b := array.NewInt32Builder(p)
	for i := range 10_000 {
		b.Append(int32(i))
	}
	col := b.NewInt32Array()
	b.Release()
	require.Equal(t, pinned.PageLocked, pinned.KindOf(col.Data().Buffers()[1].Bytes()))
	require.Equal(t, int32(9_999), col.Value(9_999))
	require.Zero(t, p.Stats().Fallbacks)
	col.Release()
	require.Zero(t, p.Stats().UsedBytes)
	require.NoError(t, p.Close())
}

func TestFreeingTwiceIsCaught(t *testing.T) {
	ctx := device(t, cudaemu.Config{})
	p, _ := open(t, ctx, pinned.Config{})
	require.NoError(t, p.Grow(1))
	b := p.Allocate(10)
	p.Free(b)
	require.Panics(t, func() { p.Free(b) })
	require.Panics(t, func() { p.Free(make([]byte, 10)) })
	require.NoError(t, p.Close())
}
