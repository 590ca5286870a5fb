//go:build cuda

package cuda

import (
	"time"
	"unsafe"

	"gorgonia.org/cu"
)

// Stream is a queue of work that a device does in order. Work of different streams goes on at
// once, and waits for nothing but what [Stream.Wait] says: there is no hidden order with the
// default stream.
type Stream struct {
	s    cu.Stream
	open bool
}

// StreamConfig says how a stream is. The zero value works.
type StreamConfig struct {
	Priority int // lower goes first; 0 is the lowest; what the device lacks is cut to what it has
}

// NewStream makes a stream.
func (c *Context) NewStream(cfg StreamConfig) (*Stream, error) {
	call := "cuStreamCreate"
	s, err := cu.Stream{}, error(nil)
	if cfg.Priority == 0 {
		s, err = cu.MakeStream(cu.NonBlocking)
	} else {
		call = "cuStreamCreateWithPriority"
		s, err = cu.MakeStreamWithPriority(cfg.Priority, cu.NonBlocking)
	}
	if err != nil {
		return nil, failed(call, err)
	}
	held.streams.Add(1)
	return &Stream{s: s, open: true}, nil
}

// Handle is the driver's own handle (a CUstream), for libraries that queue work on the stream.
func (s *Stream) Handle() uintptr { return uintptr(unsafe.Pointer(s.s.C())) }

// CopyToDevice queues a copy of bytes from the host's src to dst. src is C memory (see the
// package's comment) and is borrowed until the copy has happened.
func (s *Stream) CopyToDevice(dst Ptr, src unsafe.Pointer, bytes int64) error {
	if bytes == 0 {
		return nil
	}
	return failed("cuMemcpyHtoDAsync", cu.MemcpyHtoDAsync(cu.DevicePtr(dst), src, bytes, s.s))
}

// CopyToHost queues a copy of bytes from src to the host's dst. dst is C memory and is borrowed
// until the copy has happened.
func (s *Stream) CopyToHost(dst unsafe.Pointer, src Ptr, bytes int64) error {
	if bytes == 0 {
		return nil
	}
	return failed("cuMemcpyDtoHAsync", cu.MemcpyDtoHAsync(dst, cu.DevicePtr(src), bytes, s.s))
}

// CopyOnDevice queues a copy of bytes from src to dst on the device.
func (s *Stream) CopyOnDevice(dst, src Ptr, bytes int64) error {
	if bytes == 0 {
		return nil
	}
	return failed("cuMemcpyDtoDAsync", cu.MemcpyDtoDAsync(cu.DevicePtr(dst), cu.DevicePtr(src), bytes, s.s))
}

// Fill queues the setting of bytes at dst to value.
func (s *Stream) Fill(dst Ptr, value byte, bytes int64) error {
	if bytes == 0 {
		return nil
	}
	return failed("cuMemsetD8Async", cu.MemsetD8Async(cu.DevicePtr(dst), value, bytes, s.s))
}

// Record queues an event: it is done when all that was queued before is.
func (s *Stream) Record(e *Event) error { return failed("cuEventRecord", e.e.Record(s.s)) }

// Wait makes what is queued from now on wait for an event, as it was last recorded. The caller
// doesn't wait. An event that was never recorded holds nothing up.
func (s *Stream) Wait(e *Event) error { return failed("cuStreamWaitEvent", s.s.Wait(e.e, 0)) }

// Done says whether all that was queued has happened. It doesn't wait. A failure of that work
// is its error.
func (s *Stream) Done() (bool, error) { return done("cuStreamQuery", s.s.Query()) }

// Synchronize waits until all that was queued has happened.
func (s *Stream) Synchronize() error { return failed("cuStreamSynchronize", s.s.Synchronize()) }

// Close gives the stream back without waiting; what was queued still happens. A second call
// does nothing, unless the first failed.
func (s *Stream) Close() error {
	if !s.open {
		return nil
	}
	handle := s.s // Destroy forgets the handle even when it fails
	err := failed("cuStreamDestroy", handle.Destroy())
	if kept(err) {
		return err
	}
	*s = Stream{}
	held.streams.Add(-1)
	return err
}

// Event is a mark in a stream. It may be recorded again and again; it stands for the last time.
type Event struct {
	e    cu.Event
	open bool
}

// EventConfig says how an event is. The zero value is the fastest.
type EventConfig struct {
	Timing   bool // for Since
	Blocking bool // Wait sleeps instead of spinning
}

// NewEvent makes an event.
func (c *Context) NewEvent(cfg EventConfig) (*Event, error) {
	flags := cu.DefaultEvent
	if !cfg.Timing {
		flags |= cu.DisableTiming
	}
	if cfg.Blocking {
		flags |= cu.BlockingSyncEvent
	}
	e, err := cu.MakeEvent(flags)
	if err != nil {
		return nil, failed("cuEventCreate", err)
	}
	held.events.Add(1)
	return &Event{e: e, open: true}, nil
}

// Done says whether the event has happened; one that was never recorded has. It doesn't wait. A
// failure of the work before it is its error.
func (e *Event) Done() (bool, error) { return done("cuEventQuery", e.e.Query()) }

// Wait waits until the event has happened, on the CPU unless it is Blocking.
func (e *Event) Wait() error { return failed("cuEventSynchronize", e.e.Synchronize()) }

// Since is the time on the device from start to e, two events with Timing that have happened,
// to about half a microsecond.
func (e *Event) Since(start *Event) (time.Duration, error) {
	ms, err := start.e.Elapsed(e.e)
	if err != nil {
		return 0, failed("cuEventElapsedTime", err)
	}
	return time.Duration(ms * float64(time.Millisecond)), nil
}

// Close gives the event back without waiting for it. A second call does nothing, unless the
// first failed.
func (e *Event) Close() error {
	if !e.open {
		return nil
	}
	handle := e.e
	err := failed("cuEventDestroy", cu.DestroyEvent(&handle))
	if kept(err) {
		return err
	}
	*e = Event{}
	held.events.Add(-1)
	return err
}
