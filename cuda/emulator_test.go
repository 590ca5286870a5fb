//go:build cuda

package cuda_test

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/internal/cudaemu"
)

// late is the usual bound of the emulated streams' delays in these tests.
const late = 100 * time.Microsecond

// start resets the emulator and checks at the end that neither it nor the package holds
// anything, and that all work was in order.
func start(t *testing.T, cfg cudaemu.Config) {
	t.Helper()
	cfg.Record = true
	cudaemu.Start(t, cfg)
	t.Cleanup(func() { assert.Zero(t, cuda.Held()) })
}

// enter takes device d's context and makes it current for the rest of the test. The thread
// ends with the test's goroutine, so that none with a stale context is left to others.
func enter(t *testing.T, d cuda.Device) *cuda.Context {
	t.Helper()
	runtime.LockOSThread()
	ctx, err := d.Retain()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, ctx.Release()) })
	require.NoError(t, ctx.MakeCurrent())
	return ctx
}

// closing gives v back to the test and closes it at the test's end.
func closing[T interface{ Close() error }](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, v.Close()) })
		return v
	}
}

// freeing is closing for memory.
func freeing[T interface{ Free() error }](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, v.Free()) })
		return v
	}
}

// kit is one of each.
type kit struct {
	ctx     *cuda.Context
	stream  *cuda.Stream
	in, out *cuda.HostMemory
	memory  *cuda.Memory
}

func newKit(t *testing.T, d cuda.Device, bytes int64) kit {
	t.Helper()
	ctx := enter(t, d)
	return kit{
		ctx: ctx, stream: closing[*cuda.Stream](t)(ctx.NewStream(cuda.StreamConfig{})),
		in: freeing[*cuda.HostMemory](t)(ctx.AllocHost(bytes)), out: freeing[*cuda.HostMemory](t)(ctx.AllocHost(bytes)),
		memory: freeing[*cuda.Memory](t)(ctx.Alloc(bytes)),
	}
}

// pattern fills b with bytes that depend on the place and on salt.
func pattern(b []byte, salt byte) {
	for i := range b {
		b[i] = byte(i*7) ^ salt
	}
}

func head(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

func TestCopiesBothWays(t *testing.T) {
	for _, size := range []int64{1, 255, 256, 4096, 4097, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			start(t, cudaemu.Config{Seed: uint64(size), MaxDelay: late})
			k := newKit(t, 0, size)
			second := freeing[*cuda.Memory](t)(k.ctx.Alloc(size))
			pattern(k.in.Bytes(), 3)
			require.NoError(t, k.stream.CopyToDevice(k.memory.Ptr(), head(k.in.Bytes()), size))
			require.NoError(t, k.stream.CopyOnDevice(second.Ptr(), k.memory.Ptr(), size))
			require.NoError(t, k.stream.CopyToHost(head(k.out.Bytes()), second.Ptr(), size))
			require.NoError(t, k.stream.Synchronize())
			require.True(t, bytes.Equal(k.in.Bytes(), k.out.Bytes()))

			require.NoError(t, k.stream.Fill(second.Ptr(), 9, size))
			require.NoError(t, k.stream.CopyToHost(head(k.out.Bytes()), second.Ptr(), size))
			require.NoError(t, k.stream.Synchronize())
			require.Equal(t, bytes.Repeat([]byte{9}, int(size)), k.out.Bytes())

			if cudaemu.Real() {
				return // which counts nothing
			}
			c := cudaemu.Count()
			require.Zero(t, c.Pageable, "all of it was page-locked")
			require.EqualValues(t, 3, c.Copies)
			require.EqualValues(t, 3*size, c.CopyBytes)
		})
	}
}

func TestNothingIsCopiedForNoBytes(t *testing.T) {
	start(t, cudaemu.Config{})
	k := newKit(t, 0, 8)
	require.NoError(t, k.stream.CopyToDevice(0, nil, 0))
	require.NoError(t, k.stream.CopyToHost(nil, 0, 0))
	require.NoError(t, k.stream.CopyOnDevice(0, 0, 0))
	require.NoError(t, k.stream.Fill(0, 1, 0))
	require.Zero(t, cudaemu.Count().Copies)
}

func TestDeviceMemoryIsNotTheHosts(t *testing.T) {
	cudaemu.Only(t)
	start(t, cudaemu.Config{})
	k := newKit(t, 0, 4096)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { require.NotNil(t, recover(), "the host read device memory") }()
	// Through a number, as vet wants it: nothing else here turns a device address into a pointer.
	p := uintptr(k.memory.Ptr())
	_ = **(**byte)(unsafe.Pointer(&p))
}
