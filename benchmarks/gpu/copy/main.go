//go:build cuda

// Copy measures how fast blocks of page-locked memory from package pinned go to a device and back
// by package cuda, in a ring as an actor has it: the rate beside that of the bare loop in C
// (benchmarks/gpu/bare/copy.c), and that of ordinary memory.
//
//	copy LIBRARY BYTES COPIES
//
// LIBRARY is the driver's; "" is the loader's. It prints one line of JSON: the device, and bytes a
// second of each.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/pinned"
)

const depth = 3

// report is what is printed.
type report struct {
	Device   string  `json:"device"`
	H2D      float64 `json:"h2d"`
	D2H      float64 `json:"d2h"`
	Pageable float64 `json:"h2d_pageable"`
	Ordinary int64   `json:"fallbacks"` // blocks that were not page-locked though they should be
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "copy:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 4 {
		return errors.New("usage: copy LIBRARY BYTES COPIES")
	}
	bytes, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return err
	}
	copies, err := strconv.Atoi(os.Args[3])
	if err != nil {
		return err
	}
	if _, err := cuda.Load(os.Args[1]); err != nil {
		return err
	}
	r, err := measure(bytes, copies)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func measure(bytes, copies int) (r report, err error) {
	runtime.LockOSThread()
	info, err := cuda.Device(0).Info()
	if err != nil {
		return r, err
	}
	r.Device = info.Name
	ctx, err := cuda.Device(0).Retain()
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, ctx.Release()) }()
	if err := ctx.MakeCurrent(); err != nil {
		return r, err
	}
	pool, err := pinned.New(ctx, pinned.Config{MaxBytes: 2 * depth * int64(bytes+1<<20), SlabBytes: int64(bytes)})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, pool.Close()) }()
	for range depth {
		if err := pool.Grow(int64(bytes)); err != nil {
			return r, err
		}
	}
	if r.H2D, err = with(ctx, pool, bytes, copies, true); err != nil {
		return r, err
	}
	if r.D2H, err = with(ctx, pool, bytes, copies, false); err != nil {
		return r, err
	}
	r.Ordinary = pool.Stats().Fallbacks
	// Beyond its limit the pool would give ordinary memory too; this has no limit to be beyond.
	r.Pageable, err = with(ctx, ordinary{}, bytes, max(copies/4, depth), true)
	return r, err
}

// ring is the slots of a copy loop.
type ring struct {
	stream *cuda.Stream
	slots  [depth]struct {
		host   []byte
		device *cuda.Memory
		done   *cuda.Event
	}
}

// with gives the bytes a second of copies through memory of alloc.
func with(ctx *cuda.Context, alloc memory.Allocator, bytes, copies int, toDevice bool) (rate float64, err error) {
	var r ring
	defer func() { err = errors.Join(err, r.close(alloc)) }()
	if r.stream, err = ctx.NewStream(cuda.StreamConfig{}); err != nil {
		return 0, err
	}
	for i := range r.slots {
		s := &r.slots[i]
		s.host = alloc.Allocate(bytes)
		for k := range s.host {
			s.host[k] = byte(i)
		}
		if s.device, err = ctx.Alloc(int64(bytes)); err != nil {
			return 0, err
		}
		if s.done, err = ctx.NewEvent(cuda.EventConfig{}); err != nil {
			return 0, err
		}
	}
	return r.run(copies, toDevice)
}

func (r *ring) run(copies int, toDevice bool) (float64, error) {
	var start time.Time
	bytes := len(r.slots[0].host)
	for i := -depth; i < copies; i++ { // the first ones warm up
		s := &r.slots[(i+depth)%depth]
		var err error
		switch {
		case i == 0:
			err = r.stream.Synchronize()
			start = time.Now()
		case i > 0:
			err = s.done.Wait()
		}
		if err != nil {
			return 0, err
		}
		if toDevice {
			err = r.stream.CopyToDevice(s.device.Ptr(), unsafe.Pointer(&s.host[0]), int64(bytes))
		} else {
			err = r.stream.CopyToHost(unsafe.Pointer(&s.host[0]), s.device.Ptr(), int64(bytes))
		}
		if err != nil {
			return 0, err
		}
		if err := r.stream.Record(s.done); err != nil {
			return 0, err
		}
	}
	if err := r.stream.Synchronize(); err != nil {
		return 0, err
	}
	return float64(bytes) * float64(copies) / time.Since(start).Seconds(), nil
}

func (r *ring) close(alloc memory.Allocator) error {
	var all []error
	if r.stream != nil {
		all = append(all, r.stream.Synchronize())
	}
	for i := range r.slots {
		s := &r.slots[i]
		if s.done != nil {
			all = append(all, s.done.Close())
		}
		if s.device != nil {
			all = append(all, s.device.Free())
		}
		if s.host != nil {
			alloc.Free(s.host)
		}
	}
	if r.stream != nil {
		all = append(all, r.stream.Close())
	}
	return errors.Join(all...)
}
