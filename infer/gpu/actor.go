//go:build cuda

package gpu

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pinned"
	"github.com/penstock-data/penstock/stage"
)

// Actor is a session on a GPU: see the package's comment. It implements [infer.DeviceSession].
//
// Who may touch what: a slot is its caller's while it fills it and takes from it, and the owner's
// in between; the channels hand it over. Streams, events, device memory, runs and the session are
// the owner's alone. The waiter has nothing but the event that it waits for.
type Actor struct {
	cfg             infer.DeviceConfig
	inputs, outputs []binding

	ctx              *cuda.Context
	budget           *budget
	in, compute, out *cuda.Stream
	clock            clock
	library          *ortLibrary
	session          *ortSession
	pool             *pinned.Pool
	slots            []*slot
	ceilings         ceilings
	graphs           graphs
	onCPU            []string

	free   chan *slot // idle
	jobs   chan *slot // filled
	waits  chan *slot // to the waiter
	landed chan *slot // from the waiter
	quit   chan struct{}
	gone   chan struct{} // closed when the owner has ended
	failed error         // what closing came to; after gone
	once   sync.Once

	dead  chan struct{}          // closed when the device is lost
	cause error                  // why; after dead
	warm  bool                   // runs count: those before only made the actor ready
	ends  [stage.Lanes]time.Time // of the last span in each lane; the owner's
	stats counters
}

var _ infer.DeviceSession = (*Actor)(nil)

// Open makes an actor, with the model loaded and each of cfg.Warm run once.
func Open(ctx context.Context, cfg infer.DeviceConfig) (*Actor, error) {
	if cfg.Slots <= 0 {
		cfg.Slots = 3
	}
	if err := checkGraphs(&cfg); err != nil {
		return nil, err
	}
	path, _, err := infer.FindLibrary(cfg.Library)
	if err != nil {
		return nil, err
	}
	device, err := deviceAt(cfg.Device)
	if err != nil {
		return nil, err
	}
	n := cfg.Slots
	a := &Actor{cfg: cfg, ceilings: ceilings{}, graphs: graphs{}, free: make(chan *slot, n), jobs: make(chan *slot, n), waits: make(chan *slot, n),
		landed: make(chan *slot, n), quit: make(chan struct{}), gone: make(chan struct{}), dead: make(chan struct{})}
	opened := make(chan error, 1)
	go a.own(device, path, opened)
	select {
	case err := <-opened:
		if err != nil {
			<-a.gone
			return nil, err
		}
	case <-ctx.Done(): // loading cannot be interrupted: the owner closes what it has loaded, once it has
		go func() { _ = a.Close() }() // nobody is there to be told
		return nil, ctx.Err()
	}
	if err := a.warmUp(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// deviceAt is the device with this number.
func deviceAt(index int) (cuda.Device, error) {
	all, err := cuda.Devices()
	if err != nil {
		return 0, fmt.Errorf("gpu: %w", err)
	}
	if index < 0 || index >= len(all) {
		return 0, fmt.Errorf("gpu: %w %d: there are %d", cuda.ErrNoDevice, index, len(all))
	}
	return all[index], nil
}

// warmUp makes the runs of cfg.Warm: the first, which is the largest, on each slot, so that their
// memory grows to what is to come, and the others once, or with CUDA graphs on each slot, too.
func (a *Actor) warmUp(ctx context.Context) error {
	times := a.cfg.Slots
	for _, r := range a.cfg.Warm {
		r.Fill = func(_ int, to []byte) { clear(to) }
		r.Take = func(int, []byte, []int64) error { return nil }
		for range times {
			if err := a.Run(ctx, &r); err != nil {
				return fmt.Errorf("gpu: the model's first run with inputs of shape %v: %w", shapes(r.Inputs), err)
			}
		}
		if !a.cfg.CUDAGraphs {
			times = 1
		}
	}
	a.warm = true // the owner sees it with the next run
	a.stats.reset()
	return nil
}

func shapes(list []infer.DeviceTensor) [][]int64 {
	var out [][]int64
	for _, t := range list {
		out = append(out, t.Shape)
	}
	return out
}

// Run runs the model once. It may be called by any number of goroutines.
func (a *Actor) Run(ctx context.Context, r *infer.DeviceRun) error {
	var s *slot
	select {
	case s = <-a.free:
	case <-a.dead:
		return a.lost()
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { a.free <- s }() // there is room for all
	if err := s.fill(r); err != nil {
		return err
	}
	a.jobs <- s // room for all
	var err error
	select {
	case err = <-s.done:
	case <-ctx.Done():
		// What is queued uses r's memory: it is waited for, but not for long.
		s.terminate()
		<-s.done
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	return s.take()
}

// lost is the error of every run once the actor can do no more.
func (a *Actor) lost() error {
	err := a.onDevice(a.cause)
	if !errors.Is(err, stage.ErrWorkerLost) {
		err = fmt.Errorf("%w: %w", err, stage.ErrWorkerLost)
	}
	return err
}

// onDevice says of an error which device it happened on, and whether that is lost with it.
func (a *Actor) onDevice(err error) error {
	if errors.Is(err, cuda.ErrDeviceLost) {
		return &stage.DeviceLostError{Device: stage.Placement{Device: stage.CUDA, Index: a.cfg.Device}, Err: err}
	}
	return fmt.Errorf("gpu: device %d: %w", a.cfg.Device, err)
}

// InputMemory is page-locked memory, as far as there is some: what there is none for is ordinary
// memory, and is copied once more.
func (a *Actor) InputMemory() memory.Allocator { return a.pool }

// Slots is how many runs may be on their way.
func (a *Actor) Slots() int { return a.cfg.Slots }

// OnCPU names the nodes that ONNX Runtime left to the CPU.
func (a *Actor) OnCPU() []string { return a.onCPU }

// Close ends the session and gives all it had back, page-locked memory once the last block that
// came from [Actor.InputMemory] is freed.
func (a *Actor) Close() error {
	a.once.Do(func() { close(a.quit) })
	<-a.gone
	return a.failed
}

// open is the owner's beginning: everything that an actor has, from the context to the slots.
func (a *Actor) open(device cuda.Device, library string) error {
	var err error
	if a.ctx, err = device.Retain(); err != nil {
		return err
	}
	if err = a.ctx.MakeCurrent(); err != nil {
		return err
	}
	if err = cuda.IgnoreCaptures(); err != nil { // of other actors
		return err
	}
	if a.budget, err = takeBudget(a.ctx, a.cfg.Share); err != nil {
		return err
	}
	if err = a.openStreams(); err != nil {
		return err
	}
	if err = a.openPool(); err != nil {
		return err
	}
	if a.library, err = openORT(library); err != nil {
		return err
	}
	for range a.cfg.Slots {
		s, err := newSlot(a)
		a.slots = append(a.slots, s)
		if err != nil {
			return err
		}
	}
	return a.load()
}

func (a *Actor) openStreams() error {
	for _, s := range []**cuda.Stream{&a.in, &a.compute, &a.out} {
		var err error
		if *s, err = a.ctx.NewStream(cuda.StreamConfig{}); err != nil {
			return err
		}
	}
	a.clock.every = baseEvery
	return a.clock.start(a.ctx, a.compute)
}

// openPool takes page-locked memory ahead: for the slots as the runs to come need them, and half
// as much again for what is on its way to them. Inputs that come in place lie beside the slots'.
func (a *Actor) openPool() error {
	book := func(delta int64) { a.cfg.Env.Book(stage.Pinned, delta) }
	var err error
	need := a.pinnedNeed()
	if a.cfg.InPlace {
		need *= 2
	}
	a.pool, err = pinned.New(a.ctx, pinned.Config{MaxBytes: max(8*need, 64<<20), SlabBytes: 1 << 20, Book: book, Log: a.cfg.Env.Logger()})
	if err != nil {
		return err
	}
	if err := a.pool.Grow(need + need/2); err != nil && !errors.Is(err, cuda.ErrOutOfMemory) {
		return err // without page-locked memory it goes on, slower, and the pool says so
	}
	return nil
}

// pinnedNeed is what the slots take of it when runs are the largest of cfg.Warm.
func (a *Actor) pinnedNeed() int64 {
	var most int64
	for _, r := range a.cfg.Warm {
		var n int64
		for _, t := range append(append([]infer.DeviceTensor(nil), r.Inputs...), r.Outputs...) {
			size := int64(8) // no element is larger
			if t.ElementBytes > 0 {
				size = int64(t.ElementBytes)
			}
			for _, d := range t.Shape {
				size *= d
			}
			n += aligned(size)
		}
		most = max(most, n)
	}
	return max(most*int64(a.cfg.Slots), 1<<20)
}

// load makes the session.
func (a *Actor) load() error {
	cfg := a.sessionConfig()
	if folder := a.cfg.TensorRTCache; folder != "" {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("the folder for TensorRT's engines: %w", err)
		}
	}
	var err error
	if a.session, err = profiled(a.library.open, cfg, a.cfg.Env.Tell); err != nil {
		return fmt.Errorf("model %s: %w", a.cfg.Model, err)
	}
	a.onCPU = a.session.onCPU()
	if len(a.onCPU) > 0 {
		a.cfg.Env.Tell(onCPUText(filepath.Base(a.cfg.Model), a.onCPU))
	}
	if a.inputs, err = bindings(a.cfg.Inputs, a.session.inputs, "input"); err != nil {
		return err
	}
	if len(a.inputs) != len(a.session.inputs) {
		return fmt.Errorf("model %s has %d inputs, and %d are given", a.cfg.Model, len(a.session.inputs), len(a.inputs))
	}
	a.outputs, err = bindings(a.cfg.Outputs, a.session.outputs, "output")
	return err
}

// onCPUText names nodes that run on the CPU, as many as a user wants to read.
func onCPUText(model string, nodes []string) string {
	const most = 20
	list := strings.Join(nodes[:min(len(nodes), most)], ", ")
	if more := len(nodes) - most; more > 0 {
		list += fmt.Sprintf(", and %d more", more)
	}
	if len(nodes) == 1 {
		return fmt.Sprintf("1 node of %s runs on the CPU, since the GPU's provider has no kernel for it: %s", model, list)
	}
	return fmt.Sprintf("%d nodes of %s run on the CPU, since the GPU's provider has no kernel for them: %s", len(nodes), model, list)
}

// sessionConfig says how ONNX Runtime is to run the model. Its arena may take what the slots leave
// of the budget.
func (a *Actor) sessionConfig() sessionConfig {
	stream := strconv.FormatUint(uint64(a.compute.Handle()), 10)
	device := strconv.Itoa(a.cfg.Device)
	cfg := sessionConfig{model: a.cfg.Model, provider: onCUDA, device: a.cfg.Device, stream: a.compute.Handle(),
		cuda: map[string]string{
			"device_id": device, "user_compute_stream": stream, "has_user_compute_stream": "1",
			"gpu_mem_limit": strconv.FormatInt(a.budget.arena()-a.slotNeed(), 10), "arena_extend_strategy": "kSameAsRequested",
			"cudnn_conv_algo_search": "HEURISTIC", "cudnn_conv_use_max_workspace": "1", "do_copy_in_default_stream": "1", "prefer_nhwc": "1",
		}}
	if a.cfg.FixedShapes {
		cfg.cuda["cudnn_conv_algo_search"] = "EXHAUSTIVE"
	}
	if a.cfg.CUDAGraphs {
		cfg.cuda["enable_cuda_graph"] = "1"
	}
	if a.cfg.Provider == infer.TensorRTProvider {
		cfg.provider = onTensorRT
		cfg.tensorRT = map[string]string{
			"device_id": device, "user_compute_stream": stream, "has_user_compute_stream": "1", "trt_fp16_enable": "1",
		}
		maps.Copy(cfg.tensorRT, profile(&a.cfg))
		if folder := a.cfg.TensorRTCache; folder != "" {
			cfg.tensorRT["trt_engine_cache_enable"], cfg.tensorRT["trt_engine_cache_path"] = "1", folder
			cfg.tensorRT["trt_timing_cache_enable"], cfg.tensorRT["trt_timing_cache_path"] = "1", folder
		}
	}
	return cfg
}

// slotNeed is about what the slots will take of the device when the runs of cfg.Warm are made.
func (a *Actor) slotNeed() int64 { return a.pinnedNeed() }

// bindings finds the model's tensors by name; no names are all of them.
func bindings(names []string, have []ortTensor, what string) ([]binding, error) {
	if names == nil {
		for _, t := range have {
			names = append(names, t.name)
		}
	}
	out := make([]binding, len(names))
	for k, name := range names {
		found := false
		for i, t := range have {
			if t.name == name {
				out[k], found = binding{i, t}, true
			}
		}
		if !found {
			return nil, fmt.Errorf("the model has no %s %q", what, name)
		}
		if out[k].bytes == 0 {
			return nil, fmt.Errorf("the model's %s %q is of a type that lies in no flat memory", what, name)
		}
	}
	return out, nil
}

// shut is the owner's end: everything goes in the opposite order of its making, errors or not.
func (a *Actor) shut() error {
	var errs []error
	end := func(f func() error) {
		err := f()
		if err != nil && !errors.Is(err, cuda.ErrDeviceLost) {
			err = f() // what failed once is still there to be ended
		}
		// A lost device answers everything so, and takes all that it had with it: runs have told.
		if !a.isDead() || !errors.Is(err, cuda.ErrDeviceLost) {
			errs = append(errs, err)
		}
	}
	for _, s := range a.slots {
		s.close(end)
	}
	if a.session != nil {
		a.session.close()
	}
	if a.library != nil && a.library.p != nil {
		a.library.close()
	}
	if a.pool != nil {
		end(a.pool.Close)
	}
	a.clock.close(end)
	for _, s := range []*cuda.Stream{a.in, a.compute, a.out} {
		if s != nil {
			end(s.Close)
		}
	}
	if a.budget != nil {
		a.budget.close()
	}
	if a.ctx != nil {
		end(a.ctx.Release)
	}
	return errors.Join(errs...)
}
