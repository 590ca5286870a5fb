//go:build cuda

package gpu

import (
	"sync/atomic"
	"time"

	"github.com/penstock-data/penstock/pinned"
	"github.com/penstock-data/penstock/stage"
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

// timed tells of a run's times. Where the driver doesn't give them the run goes uncounted.
func (a *Actor) timed(s *slot) {
	var at [marks]time.Time
	for i, e := range s.events {
		var err error
		if at[i], err = a.clock.when(s.base, e); err != nil {
			return
		}
	}
	run := stage.DeviceRun{Device: a.cfg.Device}
	if last := a.ends[stage.Compute]; !last.IsZero() {
		run.Spans[stage.Wait] = a.span(stage.Wait, last, at[computeBegan])
	}
	run.Spans[stage.CopyIn] = a.span(stage.CopyIn, at[inBegan], at[inDone])
	run.Spans[stage.Compute] = a.span(stage.Compute, at[computeBegan], at[computeDone])
	run.Spans[stage.CopyOut] = a.span(stage.CopyOut, at[outBegan], at[outDone])
	if real := s.run.Real; real > 0 && real < 1 {
		run.Padding = time.Duration((1 - real) * float64(run.Spans[stage.Compute].Duration))
	}
	a.stats.add(&run)
	if a.warm {
		a.cfg.Env.Report(run)
	}
}

// span is a stretch of a lane, in which runs come in the order of the device. Where two bases of
// the clock differ by a microsecond, it begins when the one before it ends.
func (a *Actor) span(l stage.Lane, from, to time.Time) stage.Span {
	if last := a.ends[l]; from.Before(last) {
		from = last
	}
	s := stage.Span{Begin: from, Duration: max(to.Sub(from), 0)}
	a.ends[l] = s.End()
	return s
}

func (c *counters) add(r *stage.DeviceRun) {
	c.runs.Add(1)
	c.copyIn.Add(int64(r.Spans[stage.CopyIn].Duration))
	c.compute.Add(int64(r.Spans[stage.Compute].Duration))
	c.copyOut.Add(int64(r.Spans[stage.CopyOut].Duration))
	c.wait.Add(int64(r.Spans[stage.Wait].Duration))
	c.padded.Add(int64(r.Padding))
}
