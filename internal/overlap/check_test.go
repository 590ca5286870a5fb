package overlap_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/overlap"
)

// edit copies a record without the operations that drop names, and with each of the others as
// change leaves it.
func edit(ops []overlap.Op, change func(op *overlap.Op) (keep bool)) []overlap.Op {
	p, moved := &program{}, map[uint64]uint64{0: 0}
	for _, op := range ops {
		before := op.ID
		if change(&op) {
			after, ok := moved[op.After]
			if !ok {
				op.Kind, after = overlap.Wait, 0 // what it was for is gone: it waits for nothing
			}
			op.After = after
			moved[before] = p.add(op)
		}
	}
	return p.ops
}

func TestCheckPassesRings(t *testing.T) {
	for _, slots := range []int{1, 2, 3} {
		for _, apart := range []bool{false, true} {
			require.NoError(t, overlap.Check(ring(20, slots, 2*slots, apart)))
			require.NoError(t, overlap.Check(ring(20, 2*slots, slots, apart)))
		}
	}
	require.NoError(t, overlap.Check(nil))
}

func TestCheckFindsFaults(t *testing.T) {
	dropped := false
	for name, change := range map[string]func(op *overlap.Op) bool{
		"an event that is not recorded": func(op *overlap.Op) bool { return !(op.Kind == overlap.Record && op.Stream == inStream) },
		"one wait too few": func(op *overlap.Op) bool {
			drop := !dropped && op.Kind == overlap.Wait && op.Stream == computeStream && op.ID > 60
			dropped = dropped || drop
			return !drop
		},
		"a wait on the wrong stream": func(op *overlap.Op) bool {
			if op.Kind == overlap.Wait && op.Stream == outStream {
				op.Stream = inStream
			}
			return true
		},
		"a slot used again early": func(op *overlap.Op) bool { return op.Kind != overlap.Observe },
		"a copy out before the computing": func(op *overlap.Op) bool {
			return !(op.Kind == overlap.Wait && op.Stream == outStream)
		},
		"the CPU writes what is being copied": func(op *overlap.Op) bool {
			return !(op.Kind == overlap.Observe && op.ID > 50)
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := overlap.Check(edit(ring(20, 3, 3, true), change))
			require.ErrorContains(t, err, "nothing orders the two")
		})
	}
}

func TestCheckFreedMemory(t *testing.T) {
	free := overlap.Op{Kind: overlap.Free, Thread: owner, Buffers: []overlap.Buffer{use(1000, true)}}
	p := &program{ops: ring(1, 1, 1, false)}
	p.add(free)
	require.ErrorContains(t, overlap.Check(p.ops), "gives back 1024 bytes")

	free.Blocking = true
	p = &program{ops: ring(1, 1, 1, false)}
	p.add(free)
	require.NoError(t, overlap.Check(p.ops), "the driver waited")

	free.Blocking = false
	p = &program{ops: ring(1, 1, 1, false)}
	p.add(overlap.Op{Kind: overlap.Observe, After: uint64(len(p.ops)), Thread: waiter})
	p.add(free)
	// What another owner of the memory does is no business of the first's.
	p.add(overlap.Op{Kind: overlap.CopyIn, Stream: computeStream, Thread: owner, Buffers: []overlap.Buffer{use(1000, false), use(9000, true)}})
	require.NoError(t, overlap.Check(p.ops))
}

// TestCheckParts uses memory by halves.
func TestCheckParts(t *testing.T) {
	half := func(part uint64, write bool) overlap.Buffer {
		b := use(1, write)
		return overlap.Buffer{Address: b.Address + part*b.Bytes/2, Bytes: b.Bytes / 2, Write: write}
	}
	fill := func(stream uint64, b overlap.Buffer) overlap.Op {
		return overlap.Op{Kind: overlap.Fill, Stream: stream, Thread: owner, Buffers: []overlap.Buffer{b}}
	}
	p := &program{}
	p.add(fill(inStream, half(0, true)))
	p.add(fill(outStream, half(1, true)))
	require.NoError(t, overlap.Check(p.ops))
	p.add(fill(inStream, use(1, false)))
	require.ErrorContains(t, overlap.Check(p.ops), "operation 3 (fill on stream 0x100 of device 0) reads 1024 bytes")
	require.ErrorContains(t, overlap.Check(p.ops), "that operation 2 (fill on stream 0x300 of device 0) uses")
	require.NotContains(t, overlap.Check(p.ops).Error(), "that operation 1")
}
