// Command bench runs an experiment in the simulator and prints what came of it, as JSON. It
// lives here since nothing outside of package pipeline may import the simulator.
//
//	go run ./pipeline/internal/sim/bench memory benchmarks/sim/memory.json
//	go run ./pipeline/internal/sim/bench rate benchmarks/sim/rate.json
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/pipeline/internal/sim"
)

// run is one simulated job.
type run struct {
	Plan          string  `json:"plan"`
	LimitGB       int64   `json:"limit_gb"`
	Seconds       float64 `json:"seconds"`
	Blocks        int64   `json:"blocks"`
	CountedBytes  int64   `json:"counted_bytes"`  // by the scheduler, at most
	PhysicalBytes int64   `json:"physical_bytes"` // of blocks that exist, at most
	Alone         int64   `json:"alone"`          // turns over the limit
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	if len(os.Args) != 3 {
		log.Fatal("usage: bench memory|rate CONSTANTS.json")
	}
	runs, err := experiment(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	if err := out.Encode(runs); err != nil {
		log.Fatal(err)
	}
}

func experiment(name, constants string) (any, error) {
	raw, err := os.ReadFile(constants)
	if err != nil {
		return nil, err
	}
	switch name {
	case "memory":
		return memory(raw)
	case "rate":
		return rate(raw)
	}
	return nil, errors.New("there is no experiment " + name + ": there are memory and rate")
}

func memory(raw []byte) ([]run, error) {
	var plan struct {
		sim.MemoryPlan
		Limits []int64 `json:"limits_gb"`
	}
	if err := json.Unmarshal(raw, &plan); err != nil {
		return nil, err
	}
	var runs []run
	for _, c := range []struct {
		name    string
		reading sim.Reading
		admit   sched.Admission
	}{
		{"streamed", sim.Streamed, sched.ByBytes}, {"whole", sim.Whole, sched.ByBytes},
		{"by_rate", sim.Streamed, sched.ByRate}, {"whole_by_rate", sim.Whole, sched.ByRate},
	} {
		for _, gb := range plan.Limits {
			cfg := plan.Config(gb*1e9, c.reading)
			if cfg.Admit = c.admit; c.admit == sched.ByRate {
				cfg.Tick = 1
			}
			res, err := sim.Run(cfg)
			if err != nil {
				return nil, fmt.Errorf("%s, %d GB: %w", c.name, gb, err)
			}
			runs = append(runs, run{c.name, gb, res.Seconds, res.Delivered, res.Peak, res.Physical, res.Alone})
		}
	}
	return runs, nil
}

// rateRun is one simulated job of two pools.
type rateRun struct {
	Plan      string  `json:"plan"`
	Seconds   float64 `json:"seconds"`
	Items     int64   `json:"items"`
	SlotsUsed float64 `json:"slots_used"` // at work, on average
	Workers   []int   `json:"workers"`    // of the two pools, at most
	Closed    int     `json:"closed"`
}

// rate sizes the pools in both ways of holding slots, and tries all fixed splits around the best.
func rate(raw []byte) ([]rateRun, error) {
	var plan sim.RatePlan
	if err := json.Unmarshal(raw, &plan); err != nil {
		return nil, err
	}
	var runs []rateRun
	add := func(name string, cfg sim.Config, workers func(sim.Result) []int) error {
		res, err := sim.Run(cfg)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		runs = append(runs, rateRun{name, res.Seconds, res.Delivered, plan.SlotsUsed(res), workers(res), res.Closed})
		return nil
	}
	for _, holding := range []sim.Holding{sim.ByWorker, sim.ByTask} {
		if err := add(string(holding), plan.Config(holding), func(r sim.Result) []int { return r.Opened[1:3] }); err != nil {
			return nil, err
		}
	}
	for fast := plan.Slots / 4; fast <= 3*plan.Slots/4; fast++ {
		slow := plan.Slots - fast
		if err := add(fmt.Sprintf("split %d/%d", fast, slow), plan.Split(fast), func(sim.Result) []int { return []int{fast, slow} }); err != nil {
			return nil, err
		}
	}
	return runs, nil
}
