//go:build cuda

package gpu

import (
	"context"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pinned"
	"github.com/penstock-data/penstock/stage"
)

// slot is the memory and the events of one run on its way. A caller has it from the moment that it
// is free until its results are taken; the owner works on it between submit and done.
type slot struct {
	actor *Actor

	run     *infer.DeviceRun
	at      *layout
	hostIn  []byte // of the pool
	hostOut []byte
	done    chan error // the owner's answer; room for one

	devIn, devOut *cuda.Memory
	events        [marks]*cuda.Event
	runs          []*ortRun // one for each part that there ever was
	used          int       // of them, in the run on its way
	wait          mark      // which event the waiter looks at
	err           error     // what the waiter, or the owner, came upon
	shrink        bool      // give the arena's free memory back behind the next run
	base          *base     // of the times of the run on its way

	mu   sync.Mutex // over the growth of runs, for stop
	stop atomic.Bool
}

// mark is an event of a slot.
type mark uint8

const (
	inBegan mark = iota
	inDone
	computeBegan
	computeDone
	outBegan
	outDone
	marks
)

// newSlot makes a slot's events. What it made is there to be closed, also after an error.
func newSlot(a *Actor) (*slot, error) {
	s := &slot{actor: a, done: make(chan error, 1)}
	for i := range s.events {
		var err error
		if s.events[i], err = a.ctx.NewEvent(cuda.EventConfig{Timing: true, Blocking: true}); err != nil {
			return s, err
		}
	}
	return s, nil
}

// close gives everything back by calls of end; no work is under way.
func (s *slot) close(end func(f func() error)) {
	for _, r := range s.runs {
		r.close()
	}
	s.runs = nil
	for _, e := range s.events {
		if e != nil {
			end(e.Close)
		}
	}
	for _, m := range []*cuda.Memory{s.devIn, s.devOut} {
		if m != nil {
			end(m.Free)
		}
	}
	s.actor.pool.Free(s.hostIn)
	s.actor.pool.Free(s.hostOut)
	s.hostIn, s.hostOut = nil, nil
}

// fill brings a run's inputs into page-locked memory, on the caller's goroutine.
func (s *slot) fill(r *infer.DeviceRun) error {
	a := s.actor
	at, err := newLayout(r, a.inputs, a.outputs, func(b []byte) bool { return pinned.KindOf(b) != pinned.PageLocked })
	if err != nil {
		return err
	}
	s.run, s.at = r, at
	s.stop.Store(false)
	s.hostIn = a.host(s.hostIn, at.hostIn)
	s.hostOut = a.host(s.hostOut, at.hostOut)
	for i := range at.inputs {
		x := &at.inputs[i]
		if x.host < 0 {
			continue
		}
		to := s.hostIn[x.host : x.host+x.bytes]
		if x.data != nil {
			a.stats.staged.Add(x.bytes) // memory that is not page-locked: the device reads a copy
			a.cfg.Env.Add(stage.StagedBytes, x.bytes)
			copy(to, x.data)
		} else {
			r.Fill(i, to)
		}
	}
	return nil
}

// take hands the outputs to the caller.
func (s *slot) take() error {
	for i := range s.at.outputs {
		x := &s.at.outputs[i]
		if err := s.run.Take(i, s.hostOut[x.host:x.host+x.bytes], x.shape); err != nil {
			return err
		}
	}
	return nil
}

// terminate ends the run on its way, from any goroutine.
func (s *slot) terminate() {
	s.stop.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		r.terminate()
	}
}

// host gives n bytes of page-locked memory in the place of b.
func (a *Actor) host(b []byte, n int64) []byte {
	if int64(cap(b)) >= n {
		return b[:n]
	}
	a.pool.Free(b)
	return a.pool.Allocate(int(n))
}

// queueIn queues the copies to the device, and what the copy stream's part of the slot ends with.
func (s *slot) queueIn() error {
	a := s.actor
	if err := a.in.Record(s.events[inBegan]); err != nil {
		return err
	}
	if n := s.at.staged; n > 0 {
		if err := s.copyIn(0, s.hostIn[:n]); err != nil {
			return err
		}
	}
	for i := range s.at.inputs {
		x := &s.at.inputs[i]
		from := x.data
		if x.host >= 0 {
			if s.at.staged > 0 {
				continue
			}
			from = s.hostIn[x.host : x.host+x.bytes]
		}
		if err := s.at.parts(func(k, first, end int) error {
			return s.copyIn(x.dev+int64(k)*x.part, from[int64(first)*x.row:int64(end)*x.row])
		}); err != nil {
			return err
		}
	}
	return a.in.Record(s.events[inDone])
}

func (s *slot) copyIn(at int64, from []byte) error {
	s.actor.stats.copied(from)
	return s.actor.in.CopyToDevice(s.devIn.Ptr()+cuda.Ptr(at), unsafe.Pointer(unsafe.SliceData(from)), int64(len(from)))
}

// queueRun queues the model's work behind the copies in.
func (s *slot) queueRun() error {
	a := s.actor
	if err := a.compute.Wait(s.events[inDone]); err != nil {
		return err
	}
	if err := a.compute.Record(s.events[computeBegan]); err != nil {
		return err
	}
	s.used = 0
	if err := s.at.parts(s.startPart); err != nil {
		return err
	}
	return a.compute.Record(s.events[computeDone])
}

// startPart binds the tensors of rows [from, to) and starts the run over them.
func (s *slot) startPart(k, from, to int) error {
	r, err := s.runAt(k)
	if err != nil {
		return err
	}
	s.used = k + 1
	r.reset()
	for i := range s.at.inputs {
		x := &s.at.inputs[i]
		if err := r.input(x.model, s.devIn.Ptr()+cuda.Ptr(x.dev+int64(k)*x.part), int64(to-from)*x.row, s.at.shapeOf(x, from, to)); err != nil {
			return err
		}
	}
	for i := range s.at.outputs {
		x := &s.at.outputs[i]
		if s.run.Outputs[i].Shape == nil {
			err = r.freeOutput(x.model)
		} else {
			err = r.output(x.model, s.devOut.Ptr()+cuda.Ptr(x.dev+int64(k)*x.part), int64(to-from)*x.row, s.at.shapeOf(x, from, to))
		}
		if err != nil {
			return err
		}
	}
	if err := r.setShrink(s.shrink); err != nil {
		return err
	}
	if a := s.actor; a.cfg.CUDAGraphs {
		if err := r.setGraph(a.graphs.of(s)); err != nil {
			return err
		}
	}
	if s.stop.Load() {
		return context.Canceled
	}
	return r.start()
}

// runAt gives the run object of a part.
func (s *slot) runAt(k int) (*ortRun, error) {
	if k < len(s.runs) {
		return s.runs[k], nil
	}
	r, err := s.actor.session.newRun()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs = append(s.runs, r)
	return r, nil
}

// queueOut queues the copies of the outputs behind the model's work.
func (s *slot) queueOut() error {
	a := s.actor
	if err := a.out.Wait(s.events[computeDone]); err != nil {
		return err
	}
	if err := a.out.Record(s.events[outBegan]); err != nil {
		return err
	}
	for i := range s.at.outputs {
		x := &s.at.outputs[i]
		to := s.hostOut[x.host : x.host+x.bytes]
		if s.run.Outputs[i].Shape == nil {
			if err := s.copyOut(to, x.free); err != nil {
				return err
			}
			continue
		}
		if err := s.at.parts(func(k, first, end int) error {
			return s.copyOut(to[int64(first)*x.row:int64(end)*x.row], s.devOut.Ptr()+cuda.Ptr(x.dev+int64(k)*x.part))
		}); err != nil {
			return err
		}
	}
	return a.out.Record(s.events[outDone])
}

func (s *slot) copyOut(to []byte, from cuda.Ptr) error {
	if len(to) == 0 {
		return nil
	}
	s.actor.stats.copied(to)
	return s.actor.out.CopyToHost(unsafe.Pointer(unsafe.SliceData(to)), from, int64(len(to)))
}

// measure finds out where the outputs came to lie whose size shows in the run, once it happened.
func (s *slot) measure() error {
	n := s.at.hostOut
	for i := range s.at.outputs {
		x := &s.at.outputs[i]
		if s.run.Outputs[i].Shape != nil {
			continue
		}
		var err error
		if x.free, x.bytes, x.shape, err = s.runs[0].result(x.model); err != nil {
			return err
		}
		x.host = n
		n += aligned(x.bytes)
	}
	s.hostOut = s.actor.host(s.hostOut, n)
	return nil
}
