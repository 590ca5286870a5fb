package pipeline

import (
	"slices"
	"sync"
	"time"

	"github.com/penstock-data/penstock/stage"
)

// DeviceTime is what actors did on devices, by the devices' own events. Copies of one run go on
// while another computes: times of different kinds don't add up to the time that passed.
type DeviceTime struct {
	Runs    int64         // of the model
	Wait    time.Duration // between runs, for the input of the next
	CopyIn  time.Duration // to the device (H2D)
	Compute time.Duration
	CopyOut time.Duration // from the device (D2H)
	Padding time.Duration // the part of Compute that went into elements that are padding
}

// ActorStats is what one actor of an operator did on its device. One that took the place of a lost
// actor is another.
type ActorStats struct {
	Device int // ordinal
	DeviceTime
}

// DeviceLoad is what a device did since the job began, whoever had it do so, as its driver tells by
// samples. A number is -1 where it does not.
type DeviceLoad struct {
	Device   int // ordinal
	Name     string
	Samples  int
	Busy     float64 // mean of the part of the time that something ran on it
	MaxUsed  int64   // the most of its memory that was in use, bytes
	Memory   int64   // that it has
	Watts    float64 // mean
	MaxWatts float64
}

// BusyShare is the part of the time that the device had work for, from the first run to the last.
func (t DeviceTime) BusyShare() float64 { return part(t.Compute, t.Compute+t.Wait) }

// PaddingShare is the part of Compute that was Padding.
func (t DeviceTime) PaddingShare() float64 { return part(t.Padding, t.Compute) }

func part(of, all time.Duration) float64 {
	if all <= 0 {
		return 0
	}
	return float64(of) / float64(all)
}

// DeviceTime adds up what the operator's actors did.
func (o OperatorStats) DeviceTime() DeviceTime {
	var sum DeviceTime
	for _, a := range o.Actors {
		sum.Runs += a.Runs
		sum.Wait += a.Wait
		sum.CopyIn += a.CopyIn
		sum.Compute += a.Compute
		sum.CopyOut += a.CopyOut
		sum.Padding += a.Padding
	}
	return sum
}

// actors are the workers of an operator that have had a device do something. Each reports from
// goroutines of its own.
type actors struct {
	mu  sync.Mutex
	all []ActorStats
}

// add books a run of an actor, which is told its number at its first one: -1 before.
func (a *actors) add(number int, r stage.DeviceRun) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if number < 0 {
		number = len(a.all)
		a.all = append(a.all, ActorStats{Device: r.Device})
	}
	t := &a.all[number].DeviceTime
	t.Runs++
	t.Wait += r.Spans[stage.Wait].Duration
	t.CopyIn += r.Spans[stage.CopyIn].Duration
	t.Compute += r.Spans[stage.Compute].Duration
	t.CopyOut += r.Spans[stage.CopyOut].Duration
	t.Padding += r.Padding
	return number
}

func (a *actors) copy() []ActorStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.all)
}

// reporter is what a worker of o reports its runs on a device to.
func (r *run) reporter(o *operator) func(stage.DeviceRun) {
	var mu sync.Mutex // over number and lanes, and the order of the trace
	number, lanes := -1, 0
	return func(d stage.DeviceRun) {
		mu.Lock()
		defer mu.Unlock()
		first := number < 0
		number = o.actors.add(number, d)
		if r.trace == nil {
			return
		}
		if first {
			lanes = r.trace.nameLanes(o, number, d.Device)
		}
		r.trace.deviceRun(lanes, d)
	}
}
