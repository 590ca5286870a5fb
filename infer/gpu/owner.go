//go:build cuda

package gpu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/penstock-data/penstock/cuda"
)

// own is the life of an actor's owner, on a thread of its own.
func (a *Actor) own(device cuda.Device, library string, opened chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with its context current
	defer close(a.gone)
	err := a.open(device, library)
	if err != nil {
		a.failed = a.shut()
		opened <- a.onDevice(err)
		return
	}
	for _, s := range a.slots {
		a.free <- s
	}
	waiter := make(chan struct{})
	go a.await(waiter)
	opened <- nil
	a.loop()
	close(a.waits)
	<-waiter
	if err := a.shut(); err != nil {
		a.failed = a.onDevice(err)
	}
}

// loop takes runs as they come and leads each on when its event has happened. It never waits for
// the device while all goes well.
func (a *Actor) loop() {
	for {
		select {
		case s := <-a.jobs:
			a.submit(s)
		case s := <-a.landed:
			a.land(s)
		case <-a.quit:
			return // no run is under way: Close is called after the last
		}
	}
}

// await waits for events, of one slot after the other, as they were queued: the device does them
// in that order. An event may be waited for on any thread.
func (a *Actor) await(done chan<- struct{}) {
	defer close(done)
	runtime.LockOSThread()    // never unlocked: the thread goes with its mode
	_ = cuda.IgnoreCaptures() // where that fails, so may a capture, and says so
	for s := range a.waits {
		if err := s.events[s.wait].Wait(); err != nil {
			s.err = err
		}
		a.landed <- s
	}
}

// submit queues all of a run that can be queued, and leaves the slot to the waiter.
func (a *Actor) submit(s *slot) {
	if a.isDead() {
		s.done <- a.lost()
		return
	}
	a.pool.Refill()
	s.base = a.clock.enter(a.in)
	s.at.divide(a.ceilings.rows(s.at.shape, s.at.rows))
	a.queue(s)
}

// queue queues a run as it is divided.
func (a *Actor) queue(s *slot) {
	s.err = nil
	err := a.fit(s)
	if err == nil {
		err = s.queueIn()
	}
	if err == nil {
		err = s.queueRun()
	}
	s.wait = computeDone
	if err == nil && !s.at.free {
		s.wait = outDone
		err = s.queueOut()
	}
	if err != nil {
		a.recover(s, err)
		return
	}
	a.waits <- s // room for all
}

// fit sees to it that the slot's device memory has room. What is there is not kept.
func (a *Actor) fit(s *slot) error {
	for _, m := range []struct {
		of   **cuda.Memory
		need int64
	}{{&s.devIn, s.at.deviceIn}, {&s.devOut, s.at.deviceOut}} {
		if *m.of != nil && (*m.of).Bytes() >= m.need || m.need == 0 {
			continue
		}
		if *m.of != nil {
			n := (*m.of).Bytes()
			if err := (*m.of).Free(); err != nil {
				return err
			}
			*m.of = nil
			a.budget.give(n)
		}
		if err := a.budget.take(m.need); err != nil {
			return err
		}
		block, err := a.ctx.Alloc(m.need)
		if err != nil {
			a.budget.give(m.need)
			return err
		}
		*m.of = block
	}
	return nil
}

// land leads a slot on whose event has happened.
func (a *Actor) land(s *slot) {
	err := s.err
	for k := 0; k < s.used && err == nil; k++ {
		err = s.runs[k].finish()
	}
	if err == nil && s.wait == computeDone {
		if err = s.measure(); err == nil {
			err = s.queueOut()
		}
		if err == nil {
			s.wait = outDone
			a.waits <- s
			return
		}
	}
	if err != nil {
		a.recover(s, err)
		return
	}
	a.ceilings.went(s.at.shape, s.at.part)
	s.shrink = false
	a.timed(s)
	a.end(s, nil)
}

// end gives a run's answer to its caller, to whom the slot belongs from then on.
func (a *Actor) end(s *slot, err error) {
	s.base.leave()
	s.base = nil
	s.done <- err
}

// recover is what becomes of a run that failed. Only here does the owner wait for the device:
// whatever of the run is queued must have ended before its memory is used again.
func (a *Actor) recover(s *slot, err error) {
	drained := a.drain()
	switch {
	case errors.Is(err, cuda.ErrDeviceLost):
		a.die(err)
	case drained != nil:
		a.die(drained)
	}
	switch {
	case a.isDead():
		a.end(s, a.lost())
	case errors.Is(err, cuda.ErrOutOfMemory):
		part, ok := a.ceilings.failed(s.at.shape, s.at.part)
		if !ok {
			a.stats.refused.Add(1)
			a.end(s, fmt.Errorf("gpu: device %d has no memory for a run of one row of shape %v: %w", a.cfg.Device, shapes(s.run.Inputs), err))
			return
		}
		a.stats.halved.Add(1)
		s.shrink = true
		s.at.divide(part)
		a.queue(s)
	case s.stop.Load():
		a.end(s, context.Canceled)
	default:
		a.end(s, fmt.Errorf("gpu: device %d: run with inputs of shape %v: %w", a.cfg.Device, shapes(s.run.Inputs), err))
	}
}

// drain waits for all that is queued, and gives the first error of that. A call that fails for no reason of the device's is tried
// again: without its answer the memory under copies could never be used again.
func (a *Actor) drain() error {
	var err error
	for range 3 {
		err = cmp.Or(a.in.Synchronize(), a.compute.Synchronize(), a.out.Synchronize())
		if err == nil || errors.Is(err, cuda.ErrDeviceLost) {
			return err
		}
	}
	return err
}

// die ends the actor: no run will go well any more.
func (a *Actor) die(err error) {
	if a.isDead() {
		return
	}
	a.cause = err
	close(a.dead)
}

func (a *Actor) isDead() bool {
	select {
	case <-a.dead:
		return true
	default:
		return false
	}
}
