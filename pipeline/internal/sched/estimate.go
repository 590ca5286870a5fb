package sched

// estimate foretells the size of the next yield: the mean of what was seen, but no less
// than the peak, which fades. A mean alone is passed by every second block of a skewed
// operator; a peak alone never forgets one odd block.
type estimate struct {
	mean, peak float64
	seen       bool
}

const (
	meanWeight = 0.2
	peakFade   = 0.98
)

func (e *estimate) see(bytes int64) {
	b := float64(bytes)
	if !e.seen {
		*e = estimate{mean: b, peak: b, seen: true}
		return
	}
	e.mean += meanWeight * (b - e.mean)
	e.peak = max(b, e.peak*peakFade)
}

func (e *estimate) next() int64 { return int64(max(e.mean, e.peak)) }
