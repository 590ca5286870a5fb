//go:build cuda

package cuda_test

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/internal/overlap"
	"github.com/penstock-data/penstock/stage"
)

const relaySize = 64 << 10

// relay copies to the device on one stream and back on another, with or without an event
// between them, and says whether the bytes came back. The record shows a missing event for sure,
// the bytes show it when the delays let them.
func relay(t *testing.T, seed uint64, ordered bool) (same bool) {
	t.Helper()
	t.Run("", func(t *testing.T) {
		require.NoError(t, cudaemu.Reset(cudaemu.Config{Seed: seed, MaxDelay: late, Record: true}))
		k := newKit(t, 0, relaySize)
		back := closing[*cuda.Stream](t)(k.ctx.NewStream(cuda.StreamConfig{Priority: -1}))
		there := closing[*cuda.Event](t)(k.ctx.NewEvent(cuda.EventConfig{}))
		pattern(k.in.Bytes(), byte(seed))
		require.NoError(t, k.stream.CopyToDevice(k.memory.Ptr(), head(k.in.Bytes()), relaySize))
		require.NoError(t, k.stream.Record(there))
		if ordered {
			require.NoError(t, back.Wait(there))
		}
		require.NoError(t, back.CopyToHost(head(k.out.Bytes()), k.memory.Ptr(), relaySize))
		require.NoError(t, k.ctx.Synchronize())
		same = bytes.Equal(k.in.Bytes(), k.out.Bytes())
		if !cudaemu.Real() {
			require.Equal(t, ordered, overlap.Check(cudaemu.Record()) == nil)
		}
	})
	return same
}

func TestEventsOrderStreams(t *testing.T) {
	wrong := 0
	for seed := range uint64(20) {
		require.True(t, relay(t, seed, true), "seed %d", seed)
		if !cudaemu.Real() && !relay(t, seed, false) {
			wrong++
		}
	}
	if cudaemu.Real() {
		return // whose streams may be in time
	}
	require.Positive(t, wrong, "without the event some seed shows wrong data")
}

func TestHeldStream(t *testing.T) {
	cudaemu.Only(t)
	start(t, cudaemu.Config{})
	k := newKit(t, 0, 4096)
	first := closing[*cuda.Event](t)(k.ctx.NewEvent(cuda.EventConfig{Timing: true}))
	second := closing[*cuda.Event](t)(k.ctx.NewEvent(cuda.EventConfig{Timing: true, Blocking: true}))
	isDone := func(want bool) {
		t.Helper()
		for _, ask := range []func() (bool, error){k.stream.Done, second.Done} {
			done, err := ask()
			require.NoError(t, err)
			require.Equal(t, want, done)
		}
	}
	isDone(true) // nothing was queued, and an event that was never recorded holds nothing up
	require.NoError(t, k.stream.Wait(second))
	require.NoError(t, k.stream.Synchronize())
	_, err := second.Since(first)
	require.Error(t, err, "neither was recorded")

	require.NoError(t, k.stream.Record(first))
	require.NoError(t, first.Wait())
	require.NoError(t, cudaemu.Hold(k.stream.Handle(), true))
	require.NoError(t, k.stream.Fill(k.memory.Ptr(), 1, 4096))
	require.NoError(t, k.stream.Record(second))
	isDone(false)
	_, err = second.Since(first)
	require.ErrorIs(t, err, cuda.ErrNotReady)

	require.NoError(t, cudaemu.Hold(k.stream.Handle(), false))
	require.NoError(t, second.Wait())
	require.NoError(t, k.stream.Synchronize())
	isDone(true)
	took, err := second.Since(first)
	require.NoError(t, err)
	require.Positive(t, took)
	require.Less(t, took, time.Minute, "in nanoseconds")
	backwards, err := first.Since(second)
	require.NoError(t, err)
	require.Equal(t, -took, backwards)
}

// TestWaitIsForTheLastRecord waits for an event on one stream while it is recorded anew on
// another: each wait is for the event as it was at the call.
func TestWaitIsForTheLastRecord(t *testing.T) {
	cudaemu.Only(t)
	start(t, cudaemu.Config{})
	k := newKit(t, 0, 4096)
	other := closing[*cuda.Stream](t)(k.ctx.NewStream(cuda.StreamConfig{}))
	waiting := closing[*cuda.Stream](t)(k.ctx.NewStream(cuda.StreamConfig{}))
	e := closing[*cuda.Event](t)(k.ctx.NewEvent(cuda.EventConfig{}))
	require.NoError(t, k.stream.Record(e))
	require.NoError(t, waiting.Wait(e))
	require.NoError(t, cudaemu.Hold(other.Handle(), true))
	require.NoError(t, other.Record(e))
	require.NoError(t, waiting.Synchronize(), "it waits for the first stream's mark, which is done")
	done, err := e.Done()
	require.NoError(t, err)
	require.False(t, done)
	require.NoError(t, waiting.Wait(e))
	done, err = waiting.Done()
	require.NoError(t, err)
	require.False(t, done)
	require.NoError(t, cudaemu.Hold(other.Handle(), false))
	require.NoError(t, waiting.Synchronize())
}

func TestPageableCopiesAreCountedAndWaitedFor(t *testing.T) {
	cudaemu.Only(t)
	start(t, cudaemu.Config{Seed: 5, MaxDelay: late})
	k := newKit(t, 0, 4096)
	plain, err := cmem.Alloc(stage.Blocks, 4096)
	require.NoError(t, err)
	defer cmem.Free(stage.Blocks, plain)
	pattern(plain, 1)
	require.NoError(t, k.stream.CopyToDevice(k.memory.Ptr(), head(plain), 4096))
	require.Zero(t, cudaemu.Count().Queued, "the caller waited")
	require.NoError(t, k.stream.CopyToHost(head(k.out.Bytes()), k.memory.Ptr(), 4096))
	require.NoError(t, k.stream.Synchronize())
	require.Equal(t, plain, k.out.Bytes())
	c := cudaemu.Count()
	require.EqualValues(t, 1, c.Pageable)
	require.EqualValues(t, 4096, c.PageableBytes)
	require.EqualValues(t, 2, c.Copies)
}

func TestHostMemoryFreedTooEarly(t *testing.T) {
	cudaemu.Only(t)
	require.NoError(t, cudaemu.Reset(cudaemu.Config{Record: true})) // not start, which would complain
	k := newKit(t, 0, 4096)
	early, err := k.ctx.AllocHost(4096)
	require.NoError(t, err)
	pattern(early.Bytes(), 1)
	require.NoError(t, cudaemu.Hold(k.stream.Handle(), true))
	require.NoError(t, k.stream.CopyToDevice(k.memory.Ptr(), head(early.Bytes()), 4096))
	require.NoError(t, k.stream.CopyToHost(head(k.out.Bytes()), k.memory.Ptr(), 4096))
	require.NoError(t, early.Free())
	require.NoError(t, early.Free(), "a second call does nothing")
	require.Nil(t, early.Bytes())
	require.NoError(t, cudaemu.Hold(k.stream.Handle(), false))
	require.NoError(t, k.stream.Synchronize())
	require.Equal(t, bytes.Repeat([]byte{cudaemu.Freed}, 4096), k.out.Bytes())
	require.EqualValues(t, 1, cudaemu.Count().Stale)
	require.True(t, cudaemu.Count().Left(), "which fails every other test")
	require.ErrorContains(t, overlap.Check(cudaemu.Record()), "gives back 4096 bytes")
}

func TestFreeWaitsForTheDevice(t *testing.T) {
	start(t, cudaemu.Config{Seed: 3, MaxDelay: late})
	k := newKit(t, 0, 4096)
	m, err := k.ctx.Alloc(4096)
	require.NoError(t, err)
	stream, err := k.ctx.NewStream(cuda.StreamConfig{})
	require.NoError(t, err)
	require.NoError(t, stream.Fill(m.Ptr(), 7, 4096))
	require.NoError(t, stream.CopyToHost(head(k.out.Bytes()), m.Ptr(), 4096))
	require.NoError(t, stream.Close(), "what was queued still happens")
	require.NoError(t, m.Free())
	require.Equal(t, bytes.Repeat([]byte{7}, 4096), k.out.Bytes())
	require.Zero(t, m.Ptr())
	require.Zero(t, m.Bytes())
}

func TestNewMemoryHoldsNothing(t *testing.T) {
	cudaemu.Only(t)
	start(t, cudaemu.Config{})
	k := newKit(t, 0, 300)
	require.Equal(t, bytes.Repeat([]byte{cudaemu.Fresh}, 300), k.in.Bytes())
	require.NoError(t, k.stream.CopyToHost(head(k.out.Bytes()), k.memory.Ptr(), 300))
	require.NoError(t, k.stream.Synchronize())
	require.Equal(t, k.in.Bytes(), k.out.Bytes())
}

// TestCapturesOfOtherThreads: a thread takes memory while another captures a graph, if it said that
// captures are not its business, and so does [cuda.Context.Do].
func TestCapturesOfOtherThreads(t *testing.T) {
	cudaemu.Only(t)
	start(t, cudaemu.Config{})
	ctx := enter(t, 0)
	take := func() error {
		m, err := ctx.Alloc(1 << 10)
		if err != nil {
			return err
		}
		return m.Free()
	}
	locked := func(first func() error) func() {
		return func() {
			runtime.LockOSThread() // never unlocked
			assert.NoError(t, errors.Join(ctx.MakeCurrent(), first(), take()))
		}
	}
	require.NoError(t, cudaemu.Capture(locked(cuda.IgnoreCaptures)))
	require.NoError(t, cudaemu.Capture(func() { assert.NoError(t, ctx.Do(take)) }))
	require.ErrorContains(t, cudaemu.Capture(func() {
		runtime.LockOSThread()
		assert.ErrorContains(t, errors.Join(ctx.MakeCurrent(), take()), "cuMemAlloc")
	}), "spoiled")
}
