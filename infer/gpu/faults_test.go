//go:build cuda

package gpu_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer/gpu"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/stage"
)

// life is an actor from its opening to its end, with runs that overlap, some of them new shapes.
// A failed run is tried again, as the executor would. It gives the first error that stands.
func life(t *testing.T, kernel []float32) error {
	a, err := gpu.Open(t.Context(), imageConfig(4))
	if err != nil {
		return err
	}
	errs := make([]error, 8)
	several(len(errs), 3, func(i int) {
		x := newImages(uint64(i), 4+i/4*4)
		for range 2 {
			errs[i] = a.Run(t.Context(), x.run())
			if errs[i] == nil {
				if wrong := x.right(kernel); wrong != nil {
					errs[i] = fmt.Errorf("WRONG: %w", wrong)
				}
				return
			}
		}
	})
	end := a.Close()
	for _, err := range append(errs, end) {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestEveryCallFails has each call of the driver fail at its first, second and last time, once in
// a way that passes and once with the device lost: results are right or there is an error, nothing
// hangs, and nothing is left.
func TestEveryCallFails(t *testing.T) {
	cudaemu.Only(t)
	k := kernel(t)
	cfg := cudaemu.Config{MaxDelay: late / 4}
	machine(t, cfg)
	require.NoError(t, life(t, k))
	calls := cudaemu.Calls()
	require.Greater(t, len(calls), 15)
	failed := 0
	for _, call := range slices.Sorted(maps.Keys(calls)) {
		for _, nth := range slices.Compact([]int{1, min(2, calls[call]), calls[call]}) {
			for _, code := range []int{invalidValue, illegalAddress} {
				require.NoError(t, cudaemu.Reset(cfg))
				require.NoError(t, cudaemu.Inject(cudaemu.Fault{Call: call, Nth: nth, Code: code, Sticky: code == illegalAddress}))
				err := within(t, fmt.Sprintf("%s at call %d of %d with code %d", call, nth, calls[call], code), func() error { return life(t, k) })
				if err != nil {
					failed++
					require.NotContains(t, err.Error(), "WRONG", "%s at call %d with code %d", call, nth, code)
				}
				if code == illegalAddress && err != nil {
					require.True(t, lost(err), "%s at call %d: %v", call, nth, err)
				}
				c := cudaemu.Count()
				if call == "cuDevicePrimaryCtxRelease" && code == illegalAddress {
					c = cudaemu.Counters{} // the hold that was to go is the driver's, with all below it
				}
				require.False(t, c.Left(), "%s at call %d with code %d: %+v", call, nth, code, c)
				require.Zero(t, cuda.Held(), "%s at call %d with code %d", call, nth, code)
			}
		}
	}
	require.Greater(t, failed, len(calls), "the faults did something")
	require.NoError(t, cudaemu.Reset(cfg))
	require.NoError(t, life(t, k), "nothing of them stays")
}

func lost(err error) bool {
	return errors.Is(err, cuda.ErrDeviceLost) || errors.Is(err, stage.ErrWorkerLost)
}

// within fails the test, with what was going on, if f doesn't come back.
func within(t *testing.T, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(time.Minute):
		t.Fatalf("%s: it hangs", what)
		return nil
	}
}
