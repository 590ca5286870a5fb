package sim

import "github.com/penstock-data/penstock/pipeline/internal/sched"

// MemoryPlan is the constants of the memory experiment of the Ray Data paper (arXiv
// 2501.12407, §5.3): load, transform on CPUs, infer on GPUs.
type MemoryPlan struct {
	LoadTasks        int     `json:"load_tasks"`
	LoadSeconds      float64 `json:"load_seconds"` // of CPU, before the first block of a task
	BlocksPerTask    int     `json:"blocks_per_task"`
	BlockBytes       int64   `json:"block_bytes"`
	TransformSeconds float64 `json:"transform_seconds"` // of CPU, per block
	InferSeconds     float64 `json:"infer_seconds"`     // of GPU, per block
	CPUs             int     `json:"cpus"`
	GPUs             int     `json:"gpus"`
	EstimateBytes    int64   `json:"estimate_bytes"` // that the scheduler starts from, for it knows no better
}

// Reading is how a load task holds its blocks in memory.
type Reading string

const (
	// Streamed makes one block after another: the next is made when the one before was handed
	// over. The first takes the task's seconds.
	Streamed Reading = "streamed"
	// Whole makes all of a task's blocks as one piece of memory, which is there from the task's
	// first second and goes with the last of its parts: the worst that a reader can do.
	Whole Reading = "whole"
)

// Config is the plan under a memory limit. A transform's output exists beside its input from
// its first second on, and what is inferred stays until that is done.
func (p MemoryPlan) Config(limit int64, reading Reading) Config {
	block := Yield{Bytes: p.BlockBytes}
	load := func(Task) []Yield {
		out := make([]Yield, p.BlocksPerTask)
		for k := range out {
			out[k] = block
		}
		out[0].Seconds = p.LoadSeconds
		return out
	}
	if reading == Whole {
		n := p.BlocksPerTask
		load = func(Task) []Yield {
			return []Yield{{Seconds: p.LoadSeconds, Bytes: p.BlockBytes * int64(n), Cut: n}}
		}
	}
	return Config{Memory: limit, CPUs: float64(p.CPUs), Ops: []Op{
		{
			Op:   sched.Op{Name: "load", CPU: 1, Workers: p.CPUs, Generator: true, Estimate: p.EstimateBytes, Window: int64(4 * p.CPUs)},
			Next: []int{1}, Tasks: p.LoadTasks, Order: true, Work: load,
		},
		{
			Op:   sched.Op{Name: "transform", CPU: 1, Workers: p.CPUs, Estimate: p.EstimateBytes / 4, Window: int64(4 * p.CPUs)},
			Next: []int{2}, Order: true,
			Work: func(Task) []Yield { return []Yield{{Seconds: p.TransformSeconds, Bytes: p.BlockBytes}} },
		},
		{
			Op: sched.Op{Name: "infer", Workers: p.GPUs}, Order: true,
			Work: func(Task) []Yield { return []Yield{{Seconds: p.InferSeconds}} },
		},
	}}
}

// Bound is what no schedule can beat: the work of the CPUs, or of the GPUs.
func (p MemoryPlan) Bound() float64 {
	blocks := float64(p.LoadTasks * p.BlocksPerTask)
	cpu := float64(p.LoadTasks)*p.LoadSeconds + blocks*p.TransformSeconds
	return max(cpu/float64(p.CPUs), blocks*p.InferSeconds/float64(p.GPUs))
}
