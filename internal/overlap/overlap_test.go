package overlap_test

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/overlap"
)

// program writes the record that a program with a ring of slots leaves.
type program struct {
	ops []overlap.Op
}

func (p *program) add(op overlap.Op) uint64 {
	op.ID = uint64(len(p.ops) + 1)
	for _, b := range op.Buffers {
		op.Bytes = b.Bytes
	}
	p.ops = append(p.ops, op)
	return op.ID
}

func use(address uint64, write bool) overlap.Buffer {
	return overlap.Buffer{Address: address << 20, Bytes: 1 << 10, Write: write}
}

const (
	inStream, computeStream, outStream = 0x100, 0x200, 0x300
	owner, waiter, preparer            = 1, 2, 3
)

// ring is n batches over slots, with hosts page-locked buffers for the CPU's work. With apart the
// host never blocks in the thread that queues.
func ring(n, slots, hosts int, apart bool) []overlap.Op {
	p := &program{}
	outs := make([]uint64, n)
	seen := 0
	watch := owner
	if apart {
		watch = waiter
	}
	see := func(through int) {
		for ; seen <= through; seen++ {
			p.add(overlap.Op{Kind: overlap.Observe, After: outs[seen], Thread: uint64(watch), Blocking: true})
		}
	}
	for i := range n {
		host, dev, out := uint64(1000+i%hosts), uint64(2000+i%slots), uint64(3000+i%slots)
		see(i - min(slots, hosts))
		p.add(overlap.Op{Kind: overlap.Note, Number: uint64(i), Thread: preparer, Device: -1, Buffers: []overlap.Buffer{use(host, true)}})
		p.add(overlap.Op{Kind: overlap.CopyIn, Stream: inStream, Thread: owner, Buffers: []overlap.Buffer{use(host, false), use(dev, true)}})
		mark := p.add(overlap.Op{Kind: overlap.Record, Stream: inStream, Thread: owner})
		p.add(overlap.Op{Kind: overlap.Wait, Stream: computeStream, Thread: owner, After: mark})
		p.add(overlap.Op{Kind: overlap.Compute, Stream: computeStream, Thread: owner, Buffers: []overlap.Buffer{use(dev, false), use(out, true)}})
		mark = p.add(overlap.Op{Kind: overlap.Record, Stream: computeStream, Thread: owner})
		p.add(overlap.Op{Kind: overlap.Wait, Stream: outStream, Thread: owner, After: mark})
		p.add(overlap.Op{Kind: overlap.CopyOut, Stream: outStream, Thread: owner, Buffers: []overlap.Buffer{use(out, false), use(uint64(4000+i), true)}})
		outs[i] = p.add(overlap.Op{Kind: overlap.Record, Stream: outStream, Thread: owner})
	}
	return p.ops
}

func run(t *testing.T, ops []overlap.Op, r overlap.Rates) overlap.Result {
	t.Helper()
	g, err := overlap.NewGraph(ops)
	require.NoError(t, err)
	result, err := g.Run(r)
	require.NoError(t, err)
	return result
}

const ms = time.Millisecond

// TestByHand holds the computed spans to sums done by hand.
func TestByHand(t *testing.T) {
	rates := overlap.Rates{CPU: 4 * ms, Workers: 2, CopyIn: 3 * ms, Compute: 4 * ms, CopyOut: 1 * ms}
	for _, c := range []struct {
		name            string
		n, slots, hosts int
		rates           overlap.Rates
		span            time.Duration
	}{
		{"one batch", 1, 3, 3, rates, 12 * ms},
		{"one slot and one buffer: nothing overlaps", 10, 1, 1, rates, 10 * 12 * ms},
		{"one slot, and buffers enough: the CPU works ahead", 10, 1, 100, rates, (4 + 10*8) * ms},
		// The first batch takes 4 + 3 until it computes; then one computes every 4; the last is copied out.
		{"three slots: the device computes all the time", 10, 3, 100, rates, (4 + 3 + 10*4 + 1) * ms},
		{"copies are the slowest", 10, 3, 100, overlap.Rates{CPU: 2 * ms, Workers: 1, CopyIn: 6 * ms, Compute: 4 * ms, CopyOut: 1 * ms},
			(2 + 10*6 + 4 + 1) * ms},
		{"the CPU is the slowest", 10, 3, 100, overlap.Rates{CPU: 9 * ms, CopyIn: 1 * ms, Compute: 2 * ms, CopyOut: 1 * ms}, (10*9 + 4) * ms},
		{"twice as many workers", 10, 3, 100, overlap.Rates{CPU: 18 * ms, Workers: 2, CopyIn: 1 * ms, Compute: 2 * ms, CopyOut: 1 * ms}, (5*18 + 1 + 2*2 + 1) * ms},
		// Two slots of 3 + 4 + 1 take 8 for two batches: as fast as the computing alone.
		{"two slots are enough for these rates", 10, 2, 100, rates, (4 + 3 + 10*4 + 1) * ms},
		// A slot is free 9 after its copy began, and then the other's copy is over: two batches every 9.
		{"two slots are too few", 10, 2, 100, overlap.Rates{CPU: 1 * ms, CopyIn: 3 * ms, Compute: 3 * ms, CopyOut: 3 * ms}, (1 + 4*9 + 9 + 3) * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, apart := range []bool{false, true} {
				result := run(t, ring(c.n, c.slots, c.hosts, apart), c.rates)
				require.Equal(t, c.span, result.Span)
				n := time.Duration(c.n)
				require.InDelta(t, float64(n*c.rates.Compute)/float64(c.span), result.Compute, 1e-9)
				require.InDelta(t, float64(n*c.rates.CopyIn)/float64(c.span), result.CopyIn, 1e-9)
				require.InDelta(t, float64(n*c.rates.CopyOut)/float64(c.span), result.CopyOut, 1e-9)
				require.InDelta(t, float64(n*c.rates.CPU)/float64(c.span)/float64(max(c.rates.Workers, 1)), result.CPU, 1e-9)
				require.Equal(t, max(result.CPU, result.CopyIn, result.Compute, result.CopyOut), result.Busiest())
			}
		})
	}
}

// TestBlockingShows blocks the thread that queues after each batch, though it has slots enough.
func TestBlockingShows(t *testing.T) {
	rates := overlap.Rates{CPU: 1 * ms, CopyIn: 3 * ms, Compute: 4 * ms, CopyOut: 1 * ms}
	ops := ring(10, 10, 10, false)
	require.Less(t, run(t, ops, rates).Span, 60*ms)
	blocking, polled := &program{}, &program{}
	moved := map[uint64]uint64{0: 0}
	for _, op := range ops {
		before := op.ID
		op.After = moved[op.After]
		polled.add(op)
		moved[before] = blocking.add(op)
		if op.Kind == overlap.Record && op.Stream == outStream {
			see := overlap.Op{Kind: overlap.Observe, After: moved[before], Thread: owner, Blocking: true}
			blocking.add(see)
			see.Blocking = false
			polled.add(see)
		}
	}
	require.Equal(t, (1+10*8)*ms, run(t, blocking.ops, rates).Span)
	require.Equal(t, run(t, ops, rates).Span, run(t, polled.ops, rates).Span, "what it only saw holds nothing up")
}

// TestMonotone makes one duration longer at a time: nothing gets faster.
func TestMonotone(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		g, err := overlap.NewGraph(ring(1+random.IntN(20), 1+random.IntN(4), 1+random.IntN(6), random.IntN(2) == 0))
		require.NoError(t, err)
		draw := func() time.Duration { return time.Duration(1+random.IntN(1000)) * time.Microsecond }
		r := overlap.Rates{CPU: draw(), Workers: 1 + random.IntN(4), CopyIn: draw(), Compute: draw(), CopyOut: draw()}
		base, err := g.Run(r)
		require.NoError(t, err)
		require.LessOrEqual(t, base.Busiest(), 1+1e-9)
		work := max(r.CPU/time.Duration(r.Workers), r.CopyIn, r.Compute, r.CopyOut) * time.Duration(g.Batches())
		require.GreaterOrEqual(t, base.Span+time.Duration(g.Batches()), work, "no faster than the slowest resource")
		require.LessOrEqual(t, base.Span, (r.CPU+r.CopyIn+r.Compute+r.CopyOut)*time.Duration(g.Batches()), "no slower than one after the other")
		for _, longer := range []*time.Duration{&r.CPU, &r.CopyIn, &r.Compute, &r.CopyOut} {
			before := *longer
			*longer += draw()
			slower, err := g.Run(r)
			require.NoError(t, err)
			require.GreaterOrEqual(t, slower.Span, base.Span)
			*longer = before
		}
		r.Workers++
		more, err := g.Run(r)
		require.NoError(t, err)
		require.LessOrEqual(t, more.Span, base.Span)
	}
}

func TestSharesOfABatch(t *testing.T) {
	p := &program{ops: ring(1, 1, 1, false)}
	first := p.ops[1]
	first.Buffers = []overlap.Buffer{use(1000, false), use(2001, true)}
	p.add(first) // a second, equal copy of the same batch
	result := run(t, p.ops, overlap.Rates{CPU: 4 * ms, CopyIn: 3 * ms, Compute: 4 * ms, CopyOut: 1 * ms})
	require.Equal(t, (4*ms + 3*ms/2 + 4*ms + 1*ms), result.Span, "each copy takes half of the batch's time")
}

func TestBrokenRecords(t *testing.T) {
	for name, edit := range map[string]func(ops []overlap.Op) []overlap.Op{
		"a gap":                func(ops []overlap.Op) []overlap.Op { return append(ops[:3:3], ops[4:]...) },
		"work that failed":     func(ops []overlap.Op) []overlap.Op { ops[4].Failed = true; return ops },
		"no copy out":          func(ops []overlap.Op) []overlap.Op { return ops[:7] },
		"a batch noted twice":  func(ops []overlap.Op) []overlap.Op { ops[9].Number = 0; return ops },
		"waits for the future": func(ops []overlap.Op) []overlap.Op { ops[3].After = 9; return ops },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := overlap.NewGraph(edit(ring(2, 2, 2, false)))
			require.Error(t, err)
		})
	}
	g, err := overlap.NewGraph(nil)
	require.NoError(t, err)
	_, err = g.Run(overlap.Rates{CPU: ms})
	require.Error(t, err)
}

func TestRecordsAsJSON(t *testing.T) {
	ops := ring(3, 2, 2, true)
	var b bytes.Buffer
	require.NoError(t, overlap.Write(&b, ops))
	back, err := overlap.Read(&b)
	require.NoError(t, err)
	require.Equal(t, ops, back)
	_, err = overlap.Read(bytes.NewReader([]byte(`{"kind":"nothing"}`)))
	require.Error(t, err)
}
