//go:build cuda

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"time"

	"github.com/penstock-data/penstock/internal/overlap"
)

// constants are those of rates.json.
type constants struct {
	Batches    int            `json:"batches"`
	Rows       int            `json:"rows_of_a_batch"`
	Tokens     int            `json:"tokens"`
	Ring       int            `json:"ring"`
	BlockLimit int64          `json:"block_limit"`
	DelayUS    int            `json:"delay_us"`
	Sets       map[string]set `json:"sets"`
	Random     struct {
		Sets    int        `json:"sets"`
		Seed    uint64     `json:"seed"`
		CPU     [2]float64 `json:"cpu_ms"`
		Workers [2]int     `json:"workers"`
		CopyIn  [2]float64 `json:"copy_in_ms"`
		Compute [2]float64 `json:"compute_ms"`
		CopyOut [2]float64 `json:"copy_out_ms"`
	} `json:"random"`
}

// set is what one batch takes of each resource.
type set struct {
	CPU     float64 `json:"cpu_ms"`
	Workers int     `json:"workers"`
	CopyIn  float64 `json:"copy_in_ms"`
	Compute float64 `json:"compute_ms"`
	CopyOut float64 `json:"copy_out_ms"`
}

func (s set) rates() overlap.Rates {
	ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
	return overlap.Rates{CPU: ms(s.CPU), Workers: s.Workers, CopyIn: ms(s.CopyIn), Compute: ms(s.Compute), CopyOut: ms(s.CopyOut)}
}

// share is what one set comes to on one run.
type share struct {
	Set     string  `json:"set"`
	Rates   set     `json:"rates"`
	Seconds float64 `json:"seconds"` // virtual
	CPU     float64 `json:"cpu"`     // busy shares
	CopyIn  float64 `json:"copy_in"`
	Compute float64 `json:"compute"`
	CopyOut float64 `json:"copy_out"`
	Busiest float64 `json:"busiest"`
}

// result is one run and what was computed from its record.
type result struct {
	Ring        int     `json:"ring"`
	Batches     int64   `json:"batches"`
	Checksum    uint32  `json:"checksum"`
	Seconds     float64 `json:"wall_seconds"`
	Operations  int     `json:"operations"` // recorded
	PeakBlocks  int64   `json:"peak_block_bytes"`
	BlockLimit  int64   `json:"block_limit"`
	PeakBytes   int64   `json:"peak_bytes"` // by the ledger, everything
	MemoryLimit int64   `json:"memory_limit"`
	Pageable    int64   `json:"pageable_copies"`
	Shares      []share `json:"shares"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("overlap: ")
	if len(os.Args) != 2 {
		log.Fatal("usage: overlap rates.json")
	}
	raw, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var c constants
	if err := json.Unmarshal(raw, &c); err != nil {
		log.Fatal(err)
	}
	var results []result
	for _, ring := range []int{c.Ring, 1} {
		r, err := c.measure(context.Background(), ring)
		if err != nil {
			log.Fatalf("ring of %d: %v", ring, err)
		}
		results = append(results, r)
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		log.Fatal(err)
	}
}

// measure runs the job once and computes every set from its record.
func (c constants) measure(ctx context.Context, ring int) (result, error) {
	r, ops, err := c.run(ctx, ring)
	if err != nil {
		return r, err
	}
	r.Operations = len(ops)
	g, err := overlap.NewGraph(ops)
	if err != nil {
		return r, err
	}
	if g.Batches() != c.Batches {
		return r, fmt.Errorf("the record has %d batches, not %d", g.Batches(), c.Batches)
	}
	compute := func(name string, s set) error {
		v, err := g.Run(s.rates())
		r.Shares = append(r.Shares, share{
			Set: name, Rates: s, Seconds: v.Span.Seconds(), CPU: v.CPU, CopyIn: v.CopyIn, Compute: v.Compute, CopyOut: v.CopyOut, Busiest: v.Busiest(),
		})
		return err
	}
	for _, name := range []string{"balanced", "compute", "copy"} {
		if err := compute(name, c.Sets[name]); err != nil {
			return r, err
		}
	}
	random := rand.New(rand.NewPCG(c.Random.Seed, 0))
	between := func(b [2]float64) float64 { return b[0] + random.Float64()*(b[1]-b[0]) }
	for i := range c.Random.Sets {
		s := set{
			CPU: between(c.Random.CPU), Workers: c.Random.Workers[0] + random.IntN(c.Random.Workers[1]-c.Random.Workers[0]+1),
			CopyIn: between(c.Random.CopyIn), Compute: between(c.Random.Compute), CopyOut: between(c.Random.CopyOut),
		}
		if err := compute(fmt.Sprintf("random %d", i), s); err != nil {
			return r, err
		}
	}
	return r, nil
}
