//go:build cuda

package gpu_test

import (
	"context"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/infer/gpu"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/stage"
)

// late is the usual bound of the emulated streams' delays in these tests.
const late = 200 * time.Microsecond

func kernel(t testing.TB) []float32 {
	t.Helper()
	raw, err := os.ReadFile("testdata/kernel.f32")
	require.NoError(t, err)
	return floats(raw)
}

// TestRunsGiveTheModelsResults runs many batches through actors on one, two and four devices, as
// many at once as there are slots, with the streams late in ways that the seed draws.
func TestRunsGiveTheModelsResults(t *testing.T) {
	k := kernel(t)
	for seed := range seeds {
		for _, devices := range []int{1, 2, 4} {
			machine(t, cudaemu.Config{Seed: seed, MaxDelay: late, Devices: make([]cudaemu.Device, devices)})
			actors := make([]*gpu.Actor, devices)
			for d := range devices {
				cfg := imageConfig(8)
				cfg.Device = d
				var err error
				actors[d], err = gpu.Open(t.Context(), cfg)
				require.NoError(t, err)
			}
			several(24, 3*devices, func(i int) {
				x := newImages(uint64(i), 1+i%8) // whatever the size, up to the one that was warmed
				if !assert.NoError(t, actors[i%devices].Run(t.Context(), x.run())) {
					return
				}
				assert.NoError(t, x.right(k), "seed %d, %d devices, batch %d", seed, devices, i)
			})
			for _, a := range actors {
				s := a.Stats()
				require.Zero(t, s.PageableBytes)
				require.Zero(t, s.StagedBytes, "nothing is copied twice on the host")
				require.Zero(t, s.Pinned.Fallbacks)
				require.Equal(t, int64(24/devices), s.Runs)
				require.Positive(t, s.Compute)
				require.Positive(t, s.CopyIn)
				require.Positive(t, s.CopyOut)
				require.NoError(t, a.Close())
				require.NoError(t, a.Close())
			}
			c := cudaemu.Count()
			require.Zero(t, c.Pageable)
			require.False(t, c.Left(), "%+v", c)
		}
	}
}

// TestPageLockedInputIsReadInPlace gives the actor a batch in memory of its own pool, as a decoder
// does that fills an Arrow column there, and one in ordinary memory.
func TestPageLockedInputIsReadInPlace(t *testing.T) {
	machine(t, cudaemu.Config{MaxDelay: late})
	a := openActor(t, imageConfig(4))
	for _, own := range []bool{true, false} {
		x := newImages(5, 4)
		r := x.run()
		r.Fill = nil
		r.Inputs[0].Data = x.in
		if own {
			b := a.InputMemory().Allocate(len(x.in))
			defer a.InputMemory().Free(b)
			copy(b, x.in)
			r.Inputs[0].Data = b
		}
		before := a.Stats()
		require.NoError(t, a.Run(t.Context(), r))
		require.NoError(t, x.right(kernel(t)))
		after := a.Stats()
		require.Zero(t, after.PageableBytes)
		require.Equal(t, !own, after.StagedBytes > before.StagedBytes, "ordinary memory is copied once, into the slot's, so that no copy to the device waits")
	}
	require.Zero(t, cudaemu.Count().Pageable)
}

// TestOutputsSizedByTheRun: how many rows are above 0 shows when the model has run.
func TestOutputsSizedByTheRun(t *testing.T) {
	machine(t, cudaemu.Config{MaxDelay: late, Seed: 3})
	a := openActor(t, infer.DeviceConfig{Library: library(), Model: "testdata/count.onnx", Outputs: []string{"twice", "big"}, Share: 0.4})
	several(12, 3, func(i int) {
		rows := 50 + 10*i
		var big, twice []float32
		r := &infer.DeviceRun{
			Inputs:  []infer.DeviceTensor{{Shape: []int64{int64(rows), 4}}},
			Outputs: []infer.DeviceTensor{{Shape: []int64{int64(rows), 4}}, {}},
			Fill: func(_ int, to []byte) {
				for k := range floats(to) {
					floats(to)[k] = float32((k/4+i)%3) - 1 + float32(k%4)/8
				}
			},
			Take: func(k int, from []byte, shape []int64) error {
				got := append([]float32(nil), floats(from)...)
				assert.Equal(t, int64(len(got)), shape[0]*shape[1])
				if k == 0 {
					twice = got
				} else {
					big = got
				}
				return nil
			},
		}
		if !assert.NoError(t, a.Run(t.Context(), r)) {
			return
		}
		var want []float32
		for row := range rows {
			assert.Equal(t, 2*(float32((row+i)%3)-1), twice[4*row])
			if (row+i)%3 == 2 {
				want = append(want, 1, 1.125, 1.25, 1.375)
			}
		}
		assert.Equal(t, want, big)
	})
}

// TestOutOfMemoryHalves has the device refuse runs: what is left of them goes well in parts, and
// the size that did is remembered.
func TestOutOfMemoryHalves(t *testing.T) {
	cudaemu.Only(t)
	machine(t, cudaemu.Config{MaxDelay: late})
	a := openActor(t, imageConfig(8))
	k := kernel(t)
	require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: "emu_launch", Times: 2, Code: outOfMemory}))
	x := newImages(1, 8)
	require.NoError(t, a.Run(t.Context(), x.run()))
	require.NoError(t, x.right(k))
	require.Equal(t, int64(2), a.Stats().Halved, "8 rows, then 4, and 2 went well")

	launches := cudaemu.Calls()["emu_launch"]
	require.NoError(t, a.Run(t.Context(), x.run()))
	require.Equal(t, 4, cudaemu.Calls()["emu_launch"]-launches, "2 rows at once, from the beginning")
	require.NoError(t, x.right(k))

	// A single row that there is no memory for is an error, and nothing else suffers from it.
	require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: "emu_launch", Times: 2, Code: outOfMemory}))
	err := a.Run(t.Context(), x.run())
	require.ErrorIs(t, err, cuda.ErrOutOfMemory)
	require.ErrorContains(t, err, "one row")
	require.NotErrorIs(t, err, stage.ErrWorkerLost)
	require.NoError(t, a.Run(t.Context(), x.run()))
	require.NoError(t, x.right(k))
	require.Equal(t, int64(1), a.Stats().Refused)
}

func TestLostDeviceEndsItsActorAlone(t *testing.T) {
	cudaemu.Only(t)
	machine(t, cudaemu.Config{MaxDelay: late, Devices: make([]cudaemu.Device, 2)})
	cfg := imageConfig(4)
	first := openActor(t, cfg)
	cfg.Device = 1
	second := openActor(t, cfg)
	require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: "emu_launch", Nth: 5, Device: 1, Code: illegalAddress, Late: true}))
	var lost, right atomic.Int64
	several(20, 3, func(i int) {
		x := newImages(uint64(i), 4)
		err := first.Run(t.Context(), x.run())
		if err != nil {
			var gone *stage.DeviceLostError
			assert.ErrorIs(t, err, stage.ErrWorkerLost)
			assert.ErrorIs(t, err, cuda.ErrDeviceLost)
			if assert.ErrorAs(t, err, &gone) {
				assert.Equal(t, "cuda:0", gone.Device.String())
			}
			lost.Add(1)
			return
		}
		assert.NoError(t, x.right(kernel(t)))
		right.Add(1)
	})
	require.GreaterOrEqual(t, right.Load(), int64(1))
	require.GreaterOrEqual(t, lost.Load(), int64(14))
	x := newImages(1, 4)
	require.NoError(t, second.Run(t.Context(), x.run()))
	require.NoError(t, x.right(kernel(t)))
}

func TestCancelledRunLeavesItsSlotInOrder(t *testing.T) {
	machine(t, cudaemu.Config{MaxDelay: late})
	a := openActor(t, imageConfig(4))
	ctx, cancel := context.WithCancel(t.Context())
	x := newImages(1, 4)
	r := x.run()
	fill := r.Fill
	r.Fill = func(i int, to []byte) {
		fill(i, to)
		cancel()
	}
	require.ErrorIs(t, a.Run(ctx, r), context.Canceled)
	require.ErrorIs(t, a.Run(ctx, x.run()), context.Canceled)
	several(6, 3, func(i int) {
		x := newImages(uint64(i), 4)
		assert.NoError(t, a.Run(t.Context(), x.run()))
		assert.NoError(t, x.right(kernel(t)))
	})
}

// TestWrongRunsAreRefusedBeforeTheDevice names the tensor at fault.
func TestWrongRunsAreRefusedBeforeTheDevice(t *testing.T) {
	machine(t, cudaemu.Config{})
	a := openActor(t, imageConfig(4))
	copies := cudaemu.Count().Copies
	for want, change := range map[string]func(r *infer.DeviceRun){
		"0 inputs":        func(r *infer.DeviceRun) { r.Inputs = nil },
		"4 dimensions":    func(r *infer.DeviceRun) { r.Inputs[0].Shape = []int64{4, pixels} },
		"432 bytes, not":  func(r *infer.DeviceRun) { r.Inputs[0].Data = make([]byte, 5) },
		"no elements":     func(r *infer.DeviceRun) { r.Inputs[0].Shape[1] = 0 },
		"the run's 4":     func(r *infer.DeviceRun) { r.Outputs[0].Shape[0] = 3 },
		`"pixels": shape`: func(r *infer.DeviceRun) { r.Inputs[0].Shape[0] = -1 },
	} {
		r := newImages(1, 4).run()
		change(r)
		require.ErrorContains(t, a.Run(t.Context(), r), want)
	}
	require.Equal(t, copies, cudaemu.Count().Copies)
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	cudaemu.Only(t)
	machine(t, cudaemu.Config{})
	for want, change := range map[string]func(c *infer.DeviceConfig){
		"there are 1":      func(c *infer.DeviceConfig) { c.Device = 3 },
		"no/such/lib":      func(c *infer.DeviceConfig) { c.Library = "no/such/lib" },
		"none.onnx":        func(c *infer.DeviceConfig) { c.Model = "testdata/none.onnx" },
		`no output "wrong`: func(c *infer.DeviceConfig) { c.Outputs = []string{"wrong"} },
		"1 inputs, and 0":  func(c *infer.DeviceConfig) { c.Inputs = []string{} },
		"out of memory":    func(c *infer.DeviceConfig) { c.Share = 2 },
		"pixels":           func(c *infer.DeviceConfig) { c.Warm[0].Inputs[0].Shape[3] = 4 },
	} {
		cfg := imageConfig(4)
		change(&cfg)
		_, err := gpu.Open(t.Context(), cfg)
		require.ErrorContains(t, err, want)
		require.False(t, cudaemu.Count().Left(), want)
	}
}

// TestShareOfADevice: actors share a device by its ledger, which takes back what they had.
func TestShareOfADevice(t *testing.T) {
	cudaemu.Only(t)
	machine(t, cudaemu.Config{})
	cfg := imageConfig(4)
	cfg.Share = 0.5
	a, err := gpu.Open(t.Context(), cfg)
	require.NoError(t, err)
	b, err := gpu.Open(t.Context(), cfg)
	require.NoError(t, err)
	_, err = gpu.Open(t.Context(), cfg)
	require.ErrorIs(t, err, cuda.ErrOutOfMemory)
	require.NoError(t, a.Close())
	c, err := gpu.Open(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.NoError(t, c.Close())
}

func TestPinnedMemoryIsCharged(t *testing.T) {
	cudaemu.Only(t)
	machine(t, cudaemu.Config{})
	var pinned atomic.Int64
	cfg := imageConfig(4)
	cfg.Env.Charge = func(p stage.Purpose, delta int64) {
		if p == stage.Pinned {
			pinned.Add(delta)
		}
	}
	a, err := gpu.Open(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, cudaemu.Count().HostBytes, pinned.Load())
	b := a.InputMemory().Allocate(100)
	require.NoError(t, a.Close())
	require.Positive(t, pinned.Load(), "a block is out")
	a.InputMemory().Free(b)
	require.Zero(t, pinned.Load())
}

// The driver's codes.
const (
	invalidValue   = 1
	outOfMemory    = 2
	illegalAddress = 700
)
