package cmem_test

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/stage"
)

func TestBlocksAreZeroedAlignedAndCounted(t *testing.T) {
	before := cmem.HeldAll()
	rng := rand.New(rand.NewPCG(1, 2))
	var blocks [][]byte
	var sum int64
	for range 200 {
		n := rng.IntN(100_000) + 1
		b, err := cmem.Alloc(stage.Arena, n)
		require.NoError(t, err)
		require.Len(t, b, n)
		require.Zero(t, uintptr(unsafe.Pointer(&b[0]))%cmem.Align)
		for i := range b {
			if b[i] != 0 {
				t.Fatalf("byte %d of %d is %d", i, n, b[i])
			}
			b[i] = 0xff // so that a block handed out again shows whether it was cleared
		}
		sum += int64(n)
		blocks = append(blocks, b)
		require.Equal(t, before+sum, cmem.HeldAll())
		if rng.IntN(3) == 0 {
			k := rng.IntN(len(blocks))
			sum -= int64(cap(blocks[k]))
			cmem.Free(stage.Arena, blocks[k][:1])
			blocks = append(blocks[:k], blocks[k+1:]...)
		}
	}
	for _, b := range blocks {
		cmem.Free(stage.Arena, b)
	}
	require.Equal(t, before, cmem.HeldAll())
	require.Zero(t, cmem.Held(stage.Arena))
}

func TestNothingIsNil(t *testing.T) {
	b, err := cmem.Alloc(stage.Blocks, 0)
	require.NoError(t, err)
	require.Nil(t, b)
	cmem.Free(stage.Blocks, nil)
	require.Zero(t, cmem.Held(stage.Blocks))
}

func TestTooMuchIsAnError(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) < 8 {
		t.Skip("needs a 64-bit size")
	}
	if !cmem.FromC {
		t.Skip("Go's allocator ends the process instead")
	}
	_, err := cmem.Alloc(stage.Weights, 1<<60)
	require.ErrorContains(t, err, "weights")
	require.Zero(t, cmem.Held(stage.Weights))
}
