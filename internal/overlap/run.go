package overlap

import (
	"errors"
	"time"
)

// Rates says how long one batch keeps each resource busy.
type Rates struct {
	CPU                      time.Duration
	Workers                  int // of the CPU; 0: 1
	CopyIn, Compute, CopyOut time.Duration
}

// Result is what a run would have been at given rates.
type Result struct {
	Span    time.Duration // from the start of the first piece of work to the end of the last
	CPU     float64       // busy shares of the span, of all workers, and of the busiest device's engines
	CopyIn  float64
	Compute float64
	CopyOut float64
}

// Busiest is the busy share of the resource that has most to do: at 1 nothing could be faster.
func (r Result) Busiest() float64 { return max(r.CPU, r.CopyIn, r.Compute, r.CopyOut) }

// Run computes when everything would happen.
func (g *Graph) Run(r Rates) (Result, error) {
	if g.batches == 0 {
		return Result{}, errors.New("overlap: the record has no notes of batches")
	}
	workers := max(r.Workers, 1)
	takes := map[Kind]time.Duration{CopyIn: r.CopyIn, Compute: r.Compute, CopyOut: r.CopyOut, Note: r.CPU}
	free, busy := map[resource][]float64{}, map[resource]float64{}
	ends := make([]float64, len(g.nodes))
	begin, end := -1.0, 0.0
	for i, n := range g.nodes {
		at := 0.0
		for _, a := range n.after {
			at = max(at, ends[a])
		}
		if n.of.kind != 0 {
			servers := free[n.of]
			if servers == nil {
				servers = make([]float64, 1)
				if n.of.kind == Note {
					servers = make([]float64, workers)
				}
				free[n.of] = servers
			}
			next := earliest(servers)
			at = max(at, servers[next])
			took := n.share * float64(takes[n.of.kind])
			if begin < 0 || at < begin {
				begin = at
			}
			at += took
			servers[next] = at
			busy[n.of] += took
			end = max(end, at)
		}
		ends[i] = at
	}
	span := end - begin
	result := Result{Span: time.Duration(span)}
	if span <= 0 {
		return result, errors.New("overlap: no piece of work takes any time")
	}
	for of, took := range busy {
		into := map[Kind]*float64{CopyIn: &result.CopyIn, Compute: &result.Compute, CopyOut: &result.CopyOut, Note: &result.CPU}[of.kind]
		*into = max(*into, took/span/float64(len(free[of])))
	}
	return result, nil
}

func earliest(servers []float64) int {
	best := 0
	for i, at := range servers {
		if at < servers[best] {
			best = i
		}
	}
	return best
}
