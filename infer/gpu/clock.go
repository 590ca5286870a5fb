//go:build cuda

package gpu

import (
	"time"

	"github.com/penstock-data/penstock/cuda"
)

// clock tells when events of an actor happened, on the host's clock. It is the owner's.
//
// The driver tells the time between two events, as a float32 of milliseconds: a quarter of a
// millisecond coarse an hour after the first. So the base from which times are counted is moved
// now and then. Each run keeps to the base of its beginning, which stays until the run has ended.
type clock struct {
	began  time.Time // when the first base happened
	bases  [2]base
	now    int  // which of them new runs count from
	moving bool // the other is recorded, and may have happened
	every  time.Duration
}

// baseEvery is how long a base serves: times are then good to a microsecond.
const baseEvery = 10 * time.Second

// base is an event, and when it happened, counted from the first base.
type base struct {
	event *cuda.Event
	at    time.Duration
	users int // runs on their way that count from it
}

// start makes the events and waits for the first of them. What it made is there to be closed, also
// after an error.
func (c *clock) start(ctx *cuda.Context, on *cuda.Stream) error {
	for i := range c.bases {
		var err error
		if c.bases[i].event, err = ctx.NewEvent(cuda.EventConfig{Timing: true}); err != nil {
			return err
		}
	}
	if err := on.Record(c.bases[0].event); err != nil {
		return err
	}
	if err := c.bases[0].event.Wait(); err != nil {
		return err
	}
	c.began = time.Now()
	return nil
}

// enter gives a run its base, before anything of the run is queued. A base that cannot be moved
// serves on.
func (c *clock) enter(on *cuda.Stream) *base {
	old, next := &c.bases[c.now], &c.bases[1-c.now]
	switch {
	case c.moving:
		if done, err := next.event.Done(); err != nil || !done {
			break
		}
		c.moving = false
		if d, err := next.event.Since(old.event); err == nil {
			next.at, c.now = old.at+d, 1-c.now
		}
	case time.Since(c.began)-old.at > c.every && next.users == 0:
		c.moving = on.Record(next.event) == nil
	}
	b := &c.bases[c.now]
	b.users++
	return b
}

// leave says that a run's times have been read, or never will be.
func (b *base) leave() { b.users-- }

// when is the time at which an event of a run of b happened.
func (c *clock) when(b *base, e *cuda.Event) (time.Time, error) {
	d, err := e.Since(b.event)
	return c.began.Add(b.at + d), err
}

// close gives the events back by calls of end.
func (c *clock) close(end func(f func() error)) {
	for _, b := range c.bases {
		if b.event != nil {
			end(b.event.Close)
		}
	}
}
