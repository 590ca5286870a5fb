//go:build cuda

package cuda_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/internal/cudaemu"
)

// Codes of the driver's header, by the numbers that they have had since they were there.
const (
	invalidValue     cuda.Code = 1
	outOfMemory      cuda.Code = 2
	deinitialised    cuda.Code = 4
	noDevice         cuda.Code = 100
	invalidDevice    cuda.Code = 101
	invalidContext   cuda.Code = 201
	eccUncorrectable cuda.Code = 214
	invalidHandle    cuda.Code = 400
	notReady         cuda.Code = 600
	illegalAddress   cuda.Code = 700
	tooManyResources cuda.Code = 701
	destroyed        cuda.Code = 709
	launchFailed     cuda.Code = 719
	unknown          cuda.Code = 999
)

var sentinels = []error{cuda.ErrNoDriver, cuda.ErrNoDevice, cuda.ErrOutOfMemory, cuda.ErrNotReady, cuda.ErrDeviceLost}

func requireKind(t *testing.T, err, want error, code cuda.Code, call string) {
	t.Helper()
	var typed *cuda.Error
	require.ErrorAs(t, err, &typed)
	require.Equal(t, code, typed.Code)
	require.Equal(t, call, typed.Call)
	for _, s := range sentinels {
		require.Equal(t, s == want, errors.Is(err, s), "%v: %v", err, s)
	}
	require.ErrorContains(t, err, fmt.Sprint(int(code)))
}

func TestEachCodeHasItsKind(t *testing.T) {
	cudaemu.Only(t)
	for code, want := range map[cuda.Code]error{
		invalidValue: nil, tooManyResources: nil, invalidContext: nil, invalidHandle: nil,
		outOfMemory: cuda.ErrOutOfMemory, notReady: cuda.ErrNotReady, noDevice: cuda.ErrNoDevice, invalidDevice: cuda.ErrNoDevice,
		deinitialised: cuda.ErrDeviceLost, eccUncorrectable: cuda.ErrDeviceLost, illegalAddress: cuda.ErrDeviceLost,
		destroyed: cuda.ErrDeviceLost, launchFailed: cuda.ErrDeviceLost, unknown: cuda.ErrDeviceLost,
	} {
		t.Run(fmt.Sprint(int(code)), func(t *testing.T) {
			start(t, cudaemu.Config{})
			k := newKit(t, 0, 16)
			require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: "cuMemAlloc", Code: int(code)}))
			_, err := k.ctx.Alloc(16)
			requireKind(t, err, want, code, "cuMemAlloc")
			require.ErrorContains(t, err, code.String())
		})
	}
}

func TestWrongUse(t *testing.T) {
	start(t, cudaemu.Config{Devices: make([]cudaemu.Device, 2)})
	two := enter(t, 1)
	foreign := closing[*cuda.Event](t)(two.NewEvent(cuda.EventConfig{}))
	t.Cleanup(func() { assert.NoError(t, two.MakeCurrent()) })
	k := newKit(t, 0, 64)

	requireKind(t, k.stream.Record(foreign), nil, invalidHandle, "cuEventRecord")
	require.NoError(t, k.stream.Wait(foreign), "but it may wait for another device's event")
	requireKind(t, k.stream.CopyToDevice(k.memory.Ptr(), head(k.in.Bytes()), 65), nil, invalidValue, "cuMemcpyHtoDAsync")
	requireKind(t, k.stream.CopyToHost(head(k.in.Bytes()), 0, 1), nil, invalidValue, "cuMemcpyDtoHAsync")
	requireKind(t, k.stream.Fill(k.memory.Ptr()+64, 0, 1), nil, invalidValue, "cuMemsetD8Async")

	closed, err := k.ctx.NewEvent(cuda.EventConfig{})
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	require.NoError(t, closed.Close())
	_, err = closed.Done()
	requireKind(t, err, nil, invalidHandle, "cuEventQuery")
	requireKind(t, k.stream.Record(closed), nil, invalidHandle, "cuEventRecord")
	gone, err := k.ctx.NewStream(cuda.StreamConfig{})
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	require.NoError(t, gone.Close())

	for _, size := range []int64{0, -1} {
		_, err = k.ctx.Alloc(size)
		require.Error(t, err)
		_, err = k.ctx.AllocHost(size)
		require.Error(t, err)
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		_, err := k.ctx.Alloc(16)
		result <- err
	}()
	requireKind(t, <-result, nil, invalidContext, "cuMemAlloc")
	go func() { result <- k.ctx.Do(func() error { _, _, err := k.ctx.Memory(); return err }) }()
	require.NoError(t, <-result)
}

func TestReleasedContext(t *testing.T) {
	start(t, cudaemu.Config{})
	first := enter(t, 0)
	second, err := cuda.Device(0).Retain()
	require.NoError(t, err)
	require.NoError(t, first.Release())
	require.NoError(t, first.Release())
	_, _, err = second.Memory()
	require.NoError(t, err, "there is one more hold")
	require.NoError(t, second.Release())
	_, err = second.NewEvent(cuda.EventConfig{})
	requireKind(t, err, cuda.ErrDeviceLost, destroyed, "cuEventCreate")
}

func TestScarceMemory(t *testing.T) {
	start(t, cudaemu.Config{Devices: []cudaemu.Device{{Bytes: 1 << 20}}, HostBytes: 1 << 20})
	ctx := enter(t, 0)
	free, total, err := ctx.Memory()
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, total)
	require.Equal(t, total, free)
	m := freeing[*cuda.Memory](t)(ctx.Alloc(1000 << 10))
	_, err = ctx.Alloc(100 << 10)
	requireKind(t, err, cuda.ErrOutOfMemory, outOfMemory, "cuMemAlloc")
	require.ErrorContains(t, err, "102400 bytes of device memory")
	freeing[*cuda.Memory](t)(ctx.Alloc(10 << 10))
	free, _, err = ctx.Memory()
	require.NoError(t, err)
	require.EqualValues(t, 14<<10, free)
	require.NoError(t, m.Free())
	freeing[*cuda.Memory](t)(ctx.Alloc(1000 << 10))

	freeing[*cuda.HostMemory](t)(ctx.AllocHost(1 << 20))
	_, err = ctx.AllocHost(1)
	requireKind(t, err, cuda.ErrOutOfMemory, outOfMemory, "cuMemHostAlloc")
}

func TestLostDevice(t *testing.T) {
	cudaemu.Only(t)
	start(t, cudaemu.Config{Devices: make([]cudaemu.Device, 2)})
	other := newKit(t, 1, 16)
	t.Cleanup(func() { assert.NoError(t, other.ctx.MakeCurrent()) })
	ctx := enter(t, 0)
	m, err := ctx.Alloc(16)
	require.NoError(t, err)
	h, err := ctx.AllocHost(16)
	require.NoError(t, err)
	s, err := ctx.NewStream(cuda.StreamConfig{})
	require.NoError(t, err)
	e, err := ctx.NewEvent(cuda.EventConfig{})
	require.NoError(t, err)

	require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: "cuMemcpyHtoDAsync", Code: int(eccUncorrectable), Late: true}))
	require.NoError(t, s.CopyToDevice(m.Ptr(), head(h.Bytes()), 16), "it was only queued")
	if err := s.Record(e); err != nil { // the copy may have failed by now
		require.ErrorIs(t, err, cuda.ErrDeviceLost)
	}
	requireKind(t, s.Synchronize(), cuda.ErrDeviceLost, eccUncorrectable, "cuStreamSynchronize")
	requireKind(t, e.Wait(), cuda.ErrDeviceLost, eccUncorrectable, "cuEventSynchronize")
	_, err = e.Done()
	requireKind(t, err, cuda.ErrDeviceLost, eccUncorrectable, "cuEventQuery")
	_, err = ctx.Alloc(1)
	require.ErrorIs(t, err, cuda.ErrDeviceLost)
	for _, err := range []error{e.Close(), s.Close(), m.Free(), h.Free()} {
		require.ErrorIs(t, err, cuda.ErrDeviceLost)
	}
	require.NoError(t, ctx.Release())
	_, err = cuda.Device(0).Retain()
	require.ErrorIs(t, err, cuda.ErrDeviceLost, "it stays lost")

	require.NoError(t, other.ctx.MakeCurrent())
	require.NoError(t, other.stream.CopyToDevice(other.memory.Ptr(), head(other.in.Bytes()), 16))
	require.NoError(t, other.stream.Synchronize(), "the other device goes on")
}

// all does one of everything and closes what it made, whatever failed.
func all() (err error) {
	closing := func(f func() error) {
		for range 2 { // a close that failed may be tried again
			cerr := f()
			if err = errors.Join(err, cerr); cerr == nil || errors.Is(cerr, cuda.ErrDeviceLost) {
				return
			}
		}
	}
	runtime.LockOSThread() // as enter does
	devices, err := cuda.Devices()
	if err != nil {
		return err
	}
	if _, err = devices[0].Info(); err != nil {
		return err
	}
	ctx, err := devices[0].Retain()
	if err != nil {
		return err
	}
	defer closing(ctx.Release)
	if err = ctx.MakeCurrent(); err != nil {
		return err
	}
	if err = ctx.Do(func() error { _, _, err := ctx.Memory(); return err }); err != nil {
		return err
	}
	s, err := ctx.NewStream(cuda.StreamConfig{})
	if err != nil {
		return err
	}
	defer closing(s.Close)
	urgent, err := ctx.NewStream(cuda.StreamConfig{Priority: -1})
	if err != nil {
		return err
	}
	defer closing(urgent.Close)
	begin, err := ctx.NewEvent(cuda.EventConfig{Timing: true})
	if err != nil {
		return err
	}
	defer closing(begin.Close)
	end, err := ctx.NewEvent(cuda.EventConfig{Timing: true})
	if err != nil {
		return err
	}
	defer closing(end.Close)
	h, err := ctx.AllocHost(64)
	if err != nil {
		return err
	}
	defer closing(h.Free)
	m, err := ctx.Alloc(64)
	if err != nil {
		return err
	}
	defer closing(m.Free)
	// What was queued is waited for before its memory is given back, also when something failed.
	defer func() { err = errors.Join(err, ctx.Synchronize()) }()
	for _, f := range []func() error{
		func() error { return s.Record(begin) },
		func() error { return s.CopyToDevice(m.Ptr(), head(h.Bytes()), 64) },
		func() error { return s.CopyOnDevice(m.Ptr()+32, m.Ptr(), 32) },
		func() error { return s.Fill(m.Ptr(), 1, 8) },
		func() error { return s.Record(end) },
		func() error { return urgent.Wait(end) },
		func() error { return urgent.CopyToHost(head(h.Bytes()), m.Ptr(), 64) },
		urgent.Synchronize,
		end.Wait,
		func() error { _, err := urgent.Done(); return err },
		func() error { _, err := end.Done(); return err },
		func() error { _, err := end.Since(begin); return err },
	} {
		if err = f(); err != nil {
			return err
		}
	}
	return nil
}

// TestFaultAtEveryCall fails each call that the package makes, each time that it makes it, once
// with an error that passes and once with one that takes the device away.
func TestFaultAtEveryCall(t *testing.T) {
	cudaemu.Only(t)
	start(t, cudaemu.Config{})
	require.NoError(t, all())
	calls := cudaemu.Calls()
	require.Greater(t, len(calls), 25)
	tolerated := map[string]bool{"cuDeviceGetUuid": true, "cuDriverGetVersion": true} // and one attribute
	for call, n := range calls {
		if call == "cuInit" { // once in a process, long ago
			continue
		}
		for nth := 1; nth <= n; nth++ {
			for _, sticky := range []bool{false, true} {
				if sticky && call == "cuDevicePrimaryCtxRelease" {
					continue // the hold is the driver's to forget then
				}
				t.Run(fmt.Sprint(call, "/", nth, "/", sticky), func(t *testing.T) {
					start(t, cudaemu.Config{})
					code := tooManyResources
					if sticky {
						code = launchFailed
					}
					require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: call, Nth: nth, Code: int(code), Sticky: sticky}))
					err := all()
					if tolerated[call] || err == nil && call == "cuDeviceGetAttribute" && nth == n {
						require.NoError(t, err)
						return
					}
					var typed *cuda.Error
					require.ErrorAs(t, err, &typed)
					require.Equal(t, cuda.Error{Call: call, Code: code}, *typed)
					require.Equal(t, sticky, errors.Is(err, cuda.ErrDeviceLost))
				})
			}
		}
	}
}
