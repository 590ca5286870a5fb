// Command bench runs an experiment in the simulator and prints what came of it, as JSON. It
// lives here since nothing outside of package pipeline may import the simulator.
//
//	go run ./pipeline/internal/sim/bench memory benchmarks/sim/memory.json
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/penstock-data/penstock/pipeline/internal/sim"
)

// run is one simulated job.
type run struct {
	Plan          string  `json:"plan"`
	LimitGB       int64   `json:"limit_gb,omitempty"`
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
		log.Fatal("usage: bench memory CONSTANTS.json")
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
	}
	return nil, errors.New("there is no experiment " + name + "; there is memory")
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
	for _, reading := range []sim.Reading{sim.Streamed, sim.Whole} {
		for _, gb := range plan.Limits {
			res, err := sim.Run(plan.Config(gb*1e9, reading))
			if err != nil {
				return nil, fmt.Errorf("%s, %d GB: %w", reading, gb, err)
			}
			runs = append(runs, run{string(reading), gb, res.Seconds, res.Delivered, res.Peak, res.Physical, res.Alone})
		}
	}
	return runs, nil
}
