//go:build cuda

package gpu_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/infer/gpu"
	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/internal/cudaemu"
)

// machine starts the emulator, and sees to it that nothing of it is left and that all work on the
// device was in order.
func machine(t testing.TB, cfg cudaemu.Config) {
	t.Helper()
	cfg.Record = true
	cudaemu.Start(t, cfg)
	before := cmem.HeldAll()
	t.Cleanup(func() {
		require.Zero(t, cuda.Held())
		require.Equal(t, before, cmem.HeldAll())
	})
}

const (
	side     = 6
	pixels   = side * side * 3
	features = 5
)

// library is ONNX Runtime's: on a real driver, the one with the provider for GPUs.
func library() string {
	if cudaemu.Real() {
		return os.Getenv("PENSTOCK_GPU_LIBS")
	}
	return "../../build/lib"
}

// imageConfig is a session of image.onnx that is warmed for batches of rows.
func imageConfig(rows int) infer.DeviceConfig {
	return infer.DeviceConfig{Library: library(), Model: "testdata/image.onnx", Share: 0.4,
		Inputs: []string{"pixels"}, Outputs: []string{"features"}, Warm: []infer.DeviceRun{imageShape(rows)}}
}

func imageShape(rows int) infer.DeviceRun {
	return infer.DeviceRun{Splittable: true,
		Inputs:  []infer.DeviceTensor{{Shape: []int64{int64(rows), side, side, 3}}},
		Outputs: []infer.DeviceTensor{{Shape: []int64{int64(rows), features}}}}
}

// image is a batch and what came of it.
type image struct {
	in  []byte
	out []float32
}

func newImages(seed uint64, rows int) *image {
	rng := rand.New(rand.NewPCG(seed, 3))
	x := &image{in: make([]byte, rows*pixels)}
	for i := range x.in {
		x.in[i] = byte(rng.Uint32())
	}
	return x
}

func (x *image) run() *infer.DeviceRun {
	r := imageShape(len(x.in) / pixels)
	r.Fill = func(_ int, to []byte) { copy(to, x.in) }
	r.Take = func(_ int, from []byte, _ []int64) error {
		x.out = append([]float32(nil), floats(from)...)
		return nil
	}
	return &r
}

func floats(b []byte) []float32 { return unsafe.Slice((*float32)(unsafe.Pointer(&b[0])), len(b)/4) }

// want computes image.onnx the plain way, in float64, with the kernel that is read out of it.
func (x *image) want(kernel []float32) []float32 {
	mean := [3]float64{float64(float32(0.4)), float64(float32(0.5)), float64(float32(0.6))}
	out := make([]float32, len(x.in)/pixels*features)
	at := func(row, y, x2, c int) float64 {
		return float64(x.in[row*pixels+(y*side+x2)*3+c])/255 - mean[c]
	}
	for row := range len(x.in) / pixels {
		for f := range features {
			sum := 0.0
			for y := range side - 2 {
				for x2 := range side - 2 {
					v := 0.0
					for c := range 3 {
						for k := range 9 {
							v += at(row, y+k/3, x2+k%3, c) * float64(kernel[(f*3+c)*9+k])
						}
					}
					sum += math.Max(v, 0)
				}
			}
			out[row*features+f] = float32(sum / ((side - 2) * (side - 2)))
		}
	}
	return out
}

// right says how far a batch's result is from the plain computation.
func (x *image) right(kernel []float32) error {
	want := x.want(kernel)
	if len(x.out) != len(want) {
		return fmt.Errorf("%d numbers came out, not %d", len(x.out), len(want))
	}
	for i := range want {
		if d := math.Abs(float64(x.out[i] - want[i])); !(d < 1e-4) {
			return fmt.Errorf("number %d of %d is %v, not %v", i, len(want), x.out[i], want[i])
		}
	}
	return nil
}

func openActor(t testing.TB, cfg infer.DeviceConfig) *gpu.Actor {
	t.Helper()
	a, err := gpu.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

// several calls f for 0 to n-1, on so many goroutines.
func several(n, workers int, f func(i int)) {
	var all sync.WaitGroup
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	for range workers {
		all.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	all.Wait()
}
