//go:build cuda

package cuda_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/internal/overlap"
)

const slotSize = 8 << 10

// slot is what one batch needs on its way.
type slot struct {
	hostIn, hostOut *cuda.HostMemory
	devIn, devOut   *cuda.Memory
	in, run, out    *cuda.Event
	batch           int // -1: free
}

// pipe brings n batches through a ring of slots, as a GPU actor does.
type pipe struct {
	t                *testing.T
	in, compute, out *cuda.Stream
	slots            []*slot
}

func newPipe(t *testing.T, slots int) *pipe {
	t.Helper()
	ctx := enter(t, 0)
	stream, event := closing[*cuda.Stream](t), closing[*cuda.Event](t)
	host, memory := freeing[*cuda.HostMemory](t), freeing[*cuda.Memory](t)
	p := &pipe{
		t: t, in: stream(ctx.NewStream(cuda.StreamConfig{})), compute: stream(ctx.NewStream(cuda.StreamConfig{})),
		out: stream(ctx.NewStream(cuda.StreamConfig{})),
	}
	for range slots {
		p.slots = append(p.slots, &slot{
			hostIn: host(ctx.AllocHost(slotSize)), hostOut: host(ctx.AllocHost(slotSize)),
			devIn: memory(ctx.Alloc(slotSize)), devOut: memory(ctx.Alloc(slotSize)), batch: -1,
			in: event(ctx.NewEvent(cuda.EventConfig{})), run: event(ctx.NewEvent(cuda.EventConfig{})), out: event(ctx.NewEvent(cuda.EventConfig{})),
		})
	}
	return p
}

func (p *pipe) take(s *slot) {
	if s.batch < 0 {
		return
	}
	require.NoError(p.t, s.out.Wait())
	want := make([]byte, slotSize)
	pattern(want, byte(s.batch))
	for i := range want {
		want[i] = ^want[i]
	}
	require.Equal(p.t, want, s.hostOut.Bytes(), "batch %d", s.batch)
	s.batch = -1
}

func (p *pipe) run(n int) {
	for i := range n {
		s := p.slots[i%len(p.slots)]
		p.take(s)
		s.batch = i
		cudaemu.Note(uint64(i), s.hostIn.Bytes())
		pattern(s.hostIn.Bytes(), byte(i))
		for _, err := range []error{
			p.in.CopyToDevice(s.devIn.Ptr(), head(s.hostIn.Bytes()), slotSize),
			p.in.Record(s.in),
			p.compute.Wait(s.in),
			cudaemu.Invert(p.compute.Handle(), uintptr(s.devOut.Ptr()), uintptr(s.devIn.Ptr()), slotSize),
			p.compute.Record(s.run),
			p.out.Wait(s.run),
			p.out.CopyToHost(head(s.hostOut.Bytes()), s.devOut.Ptr(), slotSize),
			p.out.Record(s.out),
		} {
			require.NoError(p.t, err)
		}
	}
	for _, s := range p.slots {
		p.take(s)
	}
}

// TestRecordedRing computes from real records what a ring of one and of four slots would be on a
// device whose copies in, computing and copies out take 3, 4 and 1 ms. A slot's memory waits for
// its CPU work here too, so that it takes four to hide 4 ms of that.
func TestRecordedRing(t *testing.T) {
	cudaemu.Only(t)
	const n = 200
	rates := overlap.Rates{CPU: 4 * time.Millisecond, Workers: 2, CopyIn: 3 * time.Millisecond, Compute: 4 * time.Millisecond, CopyOut: time.Millisecond}
	for _, c := range []struct {
		slots int
		span  time.Duration
	}{{1, n * 12 * time.Millisecond}, {4, (4 + 3 + n*4 + 1) * time.Millisecond}} {
		t.Run(fmt.Sprint(c.slots), func(t *testing.T) {
			start(t, cudaemu.Config{Seed: 4, MaxDelay: 20 * time.Microsecond, Record: true})
			newPipe(t, c.slots).run(n)
			ops := cudaemu.Record()
			g, err := overlap.NewGraph(ops)
			require.NoError(t, err)
			require.Equal(t, n, g.Batches())
			result, err := g.Run(rates)
			require.NoError(t, err)
			require.Equal(t, c.span, result.Span)

			copies := 0
			for _, op := range ops {
				require.False(t, op.Pageable)
				if op.Kind == overlap.CopyIn || op.Kind == overlap.CopyOut {
					require.EqualValues(t, slotSize, op.Bytes)
					copies++
				}
			}
			require.Equal(t, 2*n, copies)
		})
	}
}
