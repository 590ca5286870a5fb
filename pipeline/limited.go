package pipeline

import (
	"fmt"
	"time"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
)

const (
	kindSource = "source"
	kindStage  = "stage"
	kindSink   = "sink"
)

// lives adds up how long an operator's workers are open.
type lives struct {
	total time.Duration
	open  int
	most  int
	last  time.Time
}

func (l *lives) change(n int, now time.Time) {
	l.total = l.sum(now)
	l.last = now
	l.open += n
	l.most = max(l.most, l.open)
}

func (l *lives) sum(now time.Time) time.Duration {
	return l.total + time.Duration(l.open)*now.Sub(l.last)
}

const (
	muchBusy = 0.8 // of their time: such workers limit a job
	muchKept = 0.5 // of the looks at it: what kept an operator waiting so often limits the job
	muchIdle = 0.5 // of their time: readers that use less CPU than this wait for what they read
)

// limitedBy says what a job would have to have more of to be faster. Workers that had no time to
// spare come first, on devices before others; then CPUs that had none; then memory that kept
// operators waiting. Where nothing was used up, it names the workers that had the least to spare.
func limitedBy(s Stats, cpus int) string {
	best, share, sum := -1, 0.0, time.Duration(0)
	for i, o := range s.Operators {
		if o.GPU == 0 {
			sum += o.Busy
		}
		n := o.busyShare(s.Elapsed)
		ahead := best >= 0 && share >= muchBusy && s.Operators[best].GPU > 0 && o.GPU == 0
		behind := n >= muchBusy && o.GPU > 0 && best >= 0 && s.Operators[best].GPU == 0
		if n > share && !ahead || behind {
			best, share = i, n
		}
	}
	if best < 0 {
		return "nothing yet"
	}
	o := s.Operators[best]
	used := float64(s.CPU) / (float64(cpus) * float64(max(s.Elapsed, 1)))
	switch kept, looks := mostKept(s, string(sched.RuleMemory)); {
	case share >= muchBusy:
	case used >= muchBusy:
		return fmt.Sprintf("CPU: %s %.0f %% busy, most of it in %s", plural(cpus, "core"), 100*min(used, 1), busiest(s).Name)
	case kept.Name != "" && looks >= muchKept:
		return fmt.Sprintf("memory: %s waited for room %.0f %% of the time", kept.Name, 100*looks)
	}
	if o.Kind == kindSource && s.CPU > 0 && float64(s.CPU) < muchIdle*float64(sum) && sum-o.Busy < o.Busy {
		return fmt.Sprintf("%s: %s %.0f %% busy, waiting for disk or network", o.Name, plural(o.Workers, "worker"), 100*min(share, 1))
	}
	return fmt.Sprintf("%s: %s %.0f %% busy", o.Name, plural(o.Workers, o.who()), 100*min(share, 1))
}

func (o OperatorStats) who() string {
	if o.GPU > 0 {
		return "GPU actor"
	}
	return "worker"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// busyShare is the part of their time that an operator's workers were at work: of the time that
// they were open, or of the whole run where they were open for less than one worker's worth of it.
func (o OperatorStats) busyShare(elapsed time.Duration) float64 {
	if n := max(o.open, elapsed); n > 0 && o.Workers > 0 {
		return float64(o.Busy) / float64(n)
	}
	return 0
}

// busiest is the operator that was at work longest.
func busiest(s Stats) (best OperatorStats) {
	for _, o := range s.Operators {
		if o.Busy > best.Busy && o.GPU == 0 {
			best = o
		}
	}
	return best
}

// mostKept is the operator that a rule kept waiting most often, and the share of the looks at it.
func mostKept(s Stats, rule string) (best OperatorStats, share float64) {
	for _, o := range s.Operators {
		if o.Samples > 0 {
			if n := float64(o.Throttled[rule]) / float64(o.Samples); n > share {
				best, share = o, n
			}
		}
	}
	return best, share
}
