package gpustat

import (
	"sync"
	"time"
)

// Recording samples the devices until it is stopped.
type Recording struct {
	stop chan struct{}
	done chan struct{}
	once sync.Once
	err  error // after done

	mu    sync.Mutex
	means []tally // by device
}

// Summary is what a device did while it was recorded. Means are over the samples that told the
// number; it is Unknown where none did.
type Summary struct {
	Device   int
	Samples  int
	Busy     float64 // mean
	MaxUsed  int64   // the most memory in use, bytes
	Received int64   // mean, bytes a second
	Sent     int64
	Watts    float64 // mean
	MaxWatts float64
}

// Record starts to sample every device now and then every interval: a second where it is 0. The
// caller stops the recording before it closes the monitor.
func (m *Monitor) Record(every time.Duration) *Recording {
	if every <= 0 {
		every = time.Second
	}
	r := &Recording{stop: make(chan struct{}), done: make(chan struct{}), means: make([]tally, len(m.handles))}
	go r.run(m, every)
	return r
}

// Stop ends the recording and gives a summary of each device. The error is the one that a sample
// failed with; what was recorded until then is given beside it. It may be called again.
func (r *Recording) Stop() ([]Summary, error) {
	r.once.Do(func() { close(r.stop) })
	<-r.done
	return r.Summaries(), r.err
}

// Summaries gives what has been recorded so far. It doesn't wait, and may be called at any time.
func (r *Recording) Summaries() []Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	sums := make([]Summary, len(r.means))
	for i := range r.means {
		sums[i] = r.means[i].summary(i)
	}
	return sums
}

func (r *Recording) add(all []Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range all {
		r.means[i].add(&all[i])
	}
}

func (r *Recording) run(m *Monitor, every time.Duration) {
	defer close(r.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for r.err == nil {
		var all []Sample
		if all, r.err = m.Sample(); r.err == nil {
			r.add(all)
			select {
			case <-tick.C:
				continue
			case <-r.stop:
			}
		}
		break
	}
}

// tally gathers the samples of a device.
type tally struct {
	samples                     int
	busy, received, sent, watts mean
	maxUsed                     int64
	maxWatts                    float64
}

func (t *tally) add(s *Sample) {
	if t.samples == 0 {
		t.maxUsed, t.maxWatts = s.Used, s.Watts
	}
	t.samples++
	t.busy.add(s.Busy)
	t.received.add(float64(s.Received))
	t.sent.add(float64(s.Sent))
	t.watts.add(s.Watts)
	t.maxUsed, t.maxWatts = max(t.maxUsed, s.Used), max(t.maxWatts, s.Watts)
}

func (t *tally) summary(device int) Summary {
	s := Summary{Device: device, Samples: t.samples, Busy: t.busy.value(), MaxUsed: t.maxUsed, Received: int64(t.received.value()),
		Sent: int64(t.sent.value()), Watts: t.watts.value(), MaxWatts: t.maxWatts}
	if t.samples == 0 {
		s.MaxUsed, s.MaxWatts = Unknown, Unknown
	}
	return s
}

// mean is over the numbers that are known.
type mean struct {
	sum float64
	n   int
}

func (m *mean) add(v float64) {
	if v >= 0 {
		m.sum += v
		m.n++
	}
}

func (m *mean) value() float64 {
	if m.n == 0 {
		return Unknown
	}
	return m.sum / float64(m.n)
}
