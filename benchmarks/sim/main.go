// Command sim runs the plan of the memory experiment in the real executor, with stages that
// wait on a timer in the place of work and hold real Arrow buffers, and prints what came of it
// as JSON. The constants are those of the simulated experiment, with times and bytes divided.
//
//	go run ./benchmarks/sim benchmarks/sim/memory.json 6
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/penstock-data/penstock/pipeline"
)

// constants are those of memory.json that a real run needs.
type constants struct {
	LoadTasks        int     `json:"load_tasks"`
	LoadSeconds      float64 `json:"load_seconds"`
	BlocksPerTask    int     `json:"blocks_per_task"`
	BlockBytes       int64   `json:"block_bytes"`
	TransformSeconds float64 `json:"transform_seconds"`
	InferSeconds     float64 `json:"infer_seconds"`
	CPUs             int     `json:"cpus"`
	GPUs             int     `json:"gpus"`
	Real             struct {
		TimeDivisor  float64 `json:"time_divisor"`
		BytesDivisor int64   `json:"bytes_divisor"`
	} `json:"real"`
}

// result is one run.
type result struct {
	Plan         string  `json:"plan"`
	LimitGB      int64   `json:"limit_gb"` // before it was divided
	Seconds      float64 `json:"seconds"`
	SteadyStart  float64 `json:"first_block_seconds"`
	Blocks       int64   `json:"blocks"`
	PeakBytes    int64   `json:"peak_bytes"` // by the ledger
	PeakRSSBytes int64   `json:"peak_rss_bytes"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("sim: ")
	if len(os.Args) != 3 {
		log.Fatal("usage: sim CONSTANTS.json LIMIT_GB")
	}
	raw, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var c constants
	if err := json.Unmarshal(raw, &c); err != nil {
		log.Fatal(err)
	}
	gb, err := strconv.ParseInt(os.Args[2], 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	res, err := c.run(context.Background(), gb)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(res); err != nil {
		log.Fatal(err)
	}
}

func (c constants) seconds(s float64) time.Duration {
	return time.Duration(s / c.Real.TimeDivisor * float64(time.Second))
}

// devices are the ordinals of n devices, which the sleeping stages only count.
func devices(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// run loads, transforms and infers, and consumes what comes out.
func (c constants) run(ctx context.Context, gb int64) (result, error) {
	blockBytes := c.BlockBytes / c.Real.BytesDivisor
	var last pipeline.Stats
	cfg := pipeline.Config{
		BlockLimit: gb * 1e9 / c.Real.BytesDivisor, CPUs: c.CPUs, BlockBytes: blockBytes, GPUs: devices(c.GPUs),
		Progress: func(s pipeline.Stats) { last = s },
	}
	ds := pipeline.Read(load{c, blockBytes}).
		Apply(work{"transform", c.seconds(c.TransformSeconds), blockBytes, 1}, pipeline.StageConfig{Actors: c.CPUs}).
		Apply(work{"infer", c.seconds(c.InferSeconds), 0, 0}, pipeline.StageConfig{Actors: c.GPUs})
	res := result{Plan: "real", LimitGB: gb}
	began := time.Now()
	for rec, err := range ds.Batches(ctx, cfg) {
		if err != nil {
			return res, err
		}
		if res.Blocks == 0 {
			res.SteadyStart = time.Since(began).Seconds()
		}
		res.Blocks += rec.NumRows()
	}
	res.Seconds = time.Since(began).Seconds()
	res.PeakBytes, res.PeakRSSBytes = last.Memory.Peak, last.Memory.PeakRSS
	if want := int64(c.LoadTasks * c.BlocksPerTask); res.Blocks != want {
		return res, fmt.Errorf("%d blocks came out, not %d", res.Blocks, want)
	}
	return res, nil
}
