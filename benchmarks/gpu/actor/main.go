//go:build cuda

// Actor runs batches of one shape through a GPU actor as fast as it takes them: the contestant
// beside benchmarks/gpu/bare.py.
//
//	actor [-library PATH] [-driver PATH] [-slots 3] DIR BATCHES
//
// DIR is a folder of benchmarks/gpu/models.py. It prints one line of JSON; the first outputs go to
// DIR/penstock-NAME.bin.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/infer/gpu"
)

// work is what DIR/work.json says.
type work struct {
	Inputs, Outputs []struct {
		Name  string
		Shape []int64
	}
}

// report is what is printed. Busy, and what follows, are shares of the time by the device's events.
type report struct {
	Device    string   `json:"device"`
	Rows      int64    `json:"rows"`
	Seconds   float64  `json:"seconds"`
	Busy      float64  `json:"gpu_busy"`
	CopyIn    float64  `json:"copy_in"`
	CopyOut   float64  `json:"copy_out"`
	Waiting   float64  `json:"waiting"`
	Pageable  int64    `json:"pageable_bytes"`
	Staged    int64    `json:"staged_bytes"`
	Fallbacks int64    `json:"pinned_fallbacks"`
	OnCPU     []string `json:"on_cpu"` // nodes that have no kernel on the device
}

func main() {
	library := flag.String("library", "", "ONNX Runtime's library")
	driver := flag.String("driver", "", "CUDA's driver library")
	slots := flag.Int("slots", 3, "runs on their way at once")
	flag.Parse()
	batches, err := strconv.Atoi(flag.Arg(1))
	if err == nil {
		if _, err = cuda.Load(*driver); err == nil {
			err = run(*library, *slots, flag.Arg(0), batches)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "actor:", err)
		os.Exit(1)
	}
}

func run(library string, slots int, dir string, batches int) (err error) {
	ctx := context.Background()
	var w work
	raw, err := os.ReadFile(filepath.Join(dir, "work.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &w); err != nil {
		return err
	}
	info, err := cuda.Device(0).Info()
	if err != nil {
		return err
	}
	cfg := infer.DeviceConfig{Library: library, Model: filepath.Join(dir, "model.onnx"), Slots: slots, FixedShapes: true}
	var shape infer.DeviceRun
	for _, in := range w.Inputs {
		cfg.Inputs = append(cfg.Inputs, in.Name)
		shape.Inputs = append(shape.Inputs, infer.DeviceTensor{Shape: in.Shape})
	}
	for _, out := range w.Outputs {
		cfg.Outputs = append(cfg.Outputs, out.Name)
		shape.Outputs = append(shape.Outputs, infer.DeviceTensor{Shape: out.Shape})
	}
	cfg.Warm = []infer.DeviceRun{shape}
	a, err := gpu.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	inputs, free, err := load(a, dir, cfg.Inputs)
	if err != nil {
		return err
	}
	defer free()
	if err := once(ctx, a, shape, inputs, dir, cfg.Outputs); err != nil {
		return err
	}
	return measure(ctx, a, shape, inputs, batches, info.Name)
}

// load reads a batch's inputs, each into page-locked memory, where a decoder would have put them.
func load(a *gpu.Actor, dir string, names []string) (inputs [][]byte, free func(), err error) {
	memory := a.InputMemory()
	free = func() {
		for _, b := range inputs {
			memory.Free(b)
		}
	}
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(dir, name+".bin"))
		if err != nil {
			free()
			return nil, nil, err
		}
		b := memory.Allocate(len(raw))
		copy(b, raw)
		inputs = append(inputs, b)
	}
	return inputs, free, nil
}

// batch is a run of the shape on the inputs.
func batch(shape infer.DeviceRun, inputs [][]byte, take func(int, []byte, []int64) error) *infer.DeviceRun {
	r := infer.DeviceRun{Outputs: shape.Outputs, Take: take}
	for i, in := range shape.Inputs {
		r.Inputs = append(r.Inputs, infer.DeviceTensor{Shape: in.Shape, Data: inputs[i]})
	}
	return &r
}

// once keeps the outputs of a batch, to be compared.
func once(ctx context.Context, a *gpu.Actor, shape infer.DeviceRun, inputs [][]byte, dir string, outputs []string) error {
	return a.Run(ctx, batch(shape, inputs, func(i int, from []byte, _ []int64) error {
		return os.WriteFile(filepath.Join(dir, "penstock-"+outputs[i]+".bin"), from, 0o644)
	}))
}

func measure(ctx context.Context, a *gpu.Actor, shape infer.DeviceRun, inputs [][]byte, batches int, device string) error {
	before, start := a.Stats(), time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * a.Slots()) // so that a filled slot always waits
	for range batches {
		var kept [][]byte // what a job would do: take the results over
		group.Go(func() error {
			return a.Run(ctx, batch(shape, inputs, func(_ int, from []byte, _ []int64) error {
				kept = append(kept, append([]byte(nil), from...))
				return nil
			}))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	seconds, after := time.Since(start), a.Stats()
	share := func(d time.Duration) float64 { return d.Seconds() / seconds.Seconds() }
	return json.NewEncoder(os.Stdout).Encode(report{Device: device, Rows: int64(batches) * shape.Inputs[0].Shape[0], Seconds: seconds.Seconds(),
		Busy: share(after.Compute - before.Compute), CopyIn: share(after.CopyIn - before.CopyIn), CopyOut: share(after.CopyOut - before.CopyOut),
		Waiting: share(after.Wait - before.Wait), Pageable: after.PageableBytes - before.PageableBytes, Staged: after.StagedBytes - before.StagedBytes,
		Fallbacks: after.Pinned.Fallbacks - before.Pinned.Fallbacks, OnCPU: a.OnCPU()})
}
