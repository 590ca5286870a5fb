package stage

import "time"

// Lane is one of the queues of work that an actor has on its device, or the waiting between.
type Lane uint8

const (
	CopyIn  Lane = iota // to the device (H2D)
	Compute             // of the model
	CopyOut             // from the device (D2H)
	Wait                // of the compute queue, for the input of its next run
	Lanes   int  = iota // how many there are
)

func (l Lane) String() string { return [...]string{"copy in", "compute", "copy out", "wait"}[l] }

// Span is a stretch of time.
type Span struct {
	Begin    time.Time
	Duration time.Duration
}

// End is when the span ends.
func (s Span) End() time.Time { return s.Begin.Add(s.Duration) }

// DeviceRun is one run of a model on a device, as the device's own events timed it. The spans of
// one lane of an actor don't overlap, and a run is copied in before it computes, and computes
// before it is copied out.
type DeviceRun struct {
	Device int // as [Env].Device
	Spans  [Lanes]Span
	// Padding is the part of the compute span that went into elements that are padding.
	Padding time.Duration
}
