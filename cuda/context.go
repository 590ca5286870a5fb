//go:build cuda

package cuda

//#include "driver.h"
import "C"

import (
	"errors"
	"runtime"
	"sync/atomic"

	"gorgonia.org/cu"
)

// Context is one hold of a device's primary context: the one that ONNX Runtime and every other
// library of the process use too. Release gives it back.
type Context struct {
	ctx      cu.CUContext
	device   Device
	released atomic.Bool
}

// Retain makes the device's primary context, or takes one more hold of it. It doesn't make it
// current.
func (d Device) Retain() (*Context, error) {
	ctx, err := cu.Device(d).RetainPrimaryCtx()
	if err != nil {
		return nil, failed("cuDevicePrimaryCtxRetain", err)
	}
	held.contexts.Add(1)
	return &Context{ctx: ctx, device: d}, nil
}

// Device is the context's device.
func (c *Context) Device() Device { return c.device }

// MakeCurrent makes the context current on this OS thread, to which the caller has locked its
// goroutine.
func (c *Context) MakeCurrent() error {
	return failed("cuCtxSetCurrent", cu.SetCurrentContext(c.ctx))
}

// IgnoreCaptures has the calls of this OS thread, to which the caller has locked its goroutine, go
// on while other threads capture CUDA graphs. Otherwise what a capture could miss, such as taking
// memory or asking for an event, fails meanwhile on all threads of the process, and the capture
// fails with it (CU_STREAM_CAPTURE_MODE_GLOBAL).
func IgnoreCaptures() error {
	_, err := exchangeCaptureMode(C.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
	return err
}

func exchangeCaptureMode(mode C.CUstreamCaptureMode) (before C.CUstreamCaptureMode, err error) {
	err = result("cuThreadExchangeStreamCaptureMode", C.cuThreadExchangeStreamCaptureMode(&mode))
	return mode, err
}

// Do calls f with the context current on its thread, on which captures of other threads are
// ignored, and leaves what was there before. It is for goroutines that own no thread.
func (c *Context) Do(f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	mode, err := exchangeCaptureMode(C.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
	if err != nil {
		return err
	}
	defer func() {
		_, end := exchangeCaptureMode(mode)
		err = errors.Join(err, end)
	}()
	before, err := cu.CurrentContext()
	if err != nil {
		return failed("cuCtxGetCurrent", err)
	}
	if before == c.ctx {
		return f()
	}
	if err := c.MakeCurrent(); err != nil {
		return err
	}
	err = f()
	return errors.Join(err, failed("cuCtxSetCurrent", cu.SetCurrentContext(before)))
}

// Synchronize waits for all work of the context.
func (c *Context) Synchronize() error { return failed("cuCtxSynchronize", cu.Synchronize()) }

// Memory says how many bytes of the device are free, for all processes, and how many it has.
func (c *Context) Memory() (free, total int64, err error) {
	free, total, err = cu.MemInfo()
	return free, total, failed("cuMemGetInfo", err)
}

// Release gives the hold back. Whatever was made with the context is closed before: with the
// last hold the driver destroys the context, and all of it. It may be called on any thread, and
// again: the second call does nothing unless the first failed.
func (c *Context) Release() error {
	if c.released.Swap(true) {
		return nil
	}
	err := failed("cuDevicePrimaryCtxRelease", cu.Device(c.device).ReleasePrimaryCtx())
	if kept(err) {
		c.released.Store(false)
		return err
	}
	held.contexts.Add(-1)
	return err
}
