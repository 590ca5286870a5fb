//go:build cuda

package gpu

import (
	"sync/atomic"
	"time"

	"github.com/penstock-data/penstock/pinned"
)

// Stats says what an actor has done since it was opened and warmed.
type Stats struct {
	Runs int64
	// Times on the device, summed over runs, by its own events: copies in, the model's work, copies
	// out, and the compute stream's waiting for input between two runs.
	CopyIn, Compute, CopyOut, Wait time.Duration
	// Padding is the part of Compute that went into elements that are padding.
	Padding time.Duration
	// Halved counts runs that were done in smaller parts for want of device memory, Refused those
	// that could not be.
	Halved, Refused int64
	// CopiedBytes went between the host and the device; PageableBytes of them from or to memory that
	// is not page-locked, while the owner waited. StagedBytes were copied on the host first, into
	// page-locked memory. In a healthy job both are 0.
	CopiedBytes, PageableBytes, StagedBytes int64
	Pinned                                  pinned.Stats
}

// counters is Stats in the making.
type counters struct {
	runs, halved, refused                  atomic.Int64
	copyIn, compute, copyOut, wait, padded atomic.Int64 // nanoseconds
	bytes, pageable, staged                atomic.Int64
	last                                   time.Duration // when the compute stream last ended a run, from base; the owner's
}

// Stats may be called at any time.
func (a *Actor) Stats() Stats {
	c := &a.stats
	return Stats{
		Runs:   c.runs.Load(),
		CopyIn: time.Duration(c.copyIn.Load()), Compute: time.Duration(c.compute.Load()), CopyOut: time.Duration(c.copyOut.Load()),
		Wait: time.Duration(c.wait.Load()), Padding: time.Duration(c.padded.Load()),
		Halved: c.halved.Load(), Refused: c.refused.Load(),
		CopiedBytes: c.bytes.Load(), PageableBytes: c.pageable.Load(), StagedBytes: c.staged.Load(), Pinned: a.pool.Stats(),
	}
}

// reset forgets the runs that warmed the actor.
func (c *counters) reset() {
	for _, v := range []*atomic.Int64{&c.runs, &c.halved, &c.refused, &c.copyIn, &c.compute, &c.copyOut, &c.wait, &c.padded, &c.bytes, &c.pageable, &c.staged} {
		v.Store(0)
	}
}

// copied counts a copy between the host's b and the device.
func (c *counters) copied(b []byte) {
	c.bytes.Add(int64(len(b)))
	if pinned.KindOf(b) != pinned.PageLocked {
		c.pageable.Add(int64(len(b)))
	}
}

// landed adds a run's times. Where the driver doesn't give them the run goes uncounted.
func (c *counters) landed(a *Actor, s *slot) {
	var at [marks]time.Duration
	for i, e := range s.events {
		var err error
		if at[i], err = e.Since(a.base); err != nil {
			return
		}
	}
	compute := at[computeDone] - at[computeBegan]
	c.runs.Add(1)
	c.copyIn.Add(int64(at[inDone] - at[inBegan]))
	c.compute.Add(int64(compute))
	c.copyOut.Add(int64(at[outDone] - at[outBegan]))
	if c.last > 0 {
		c.wait.Add(int64(max(at[computeBegan]-c.last, 0)))
	}
	c.last = at[computeDone]
	if real := s.run.Real; real > 0 && real < 1 {
		c.padded.Add(int64((1 - real) * float64(compute)))
	}
}
