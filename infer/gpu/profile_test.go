//go:build cuda

package gpu_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/infer/gpu"
)

func run(shapes ...[]int64) infer.DeviceRun {
	r := infer.DeviceRun{Splittable: true}
	for _, s := range shapes {
		r.Inputs = append(r.Inputs, infer.DeviceTensor{Shape: s})
	}
	return r
}

func TestProfile(t *testing.T) {
	texts := infer.DeviceConfig{Inputs: []string{"input_ids", "attention_mask"}, Warm: []infer.DeviceRun{
		run([]int64{32, 512}, []int64{32, 512}), run([]int64{64, 256}, []int64{64, 256}), run([]int64{128, 8}, []int64{128, 8}),
	}}
	require.Equal(t, map[string]string{
		"trt_profile_min_shapes": "input_ids:1x8,attention_mask:1x8",
		"trt_profile_max_shapes": "input_ids:128x512,attention_mask:128x512",
		"trt_profile_opt_shapes": "input_ids:32x512,attention_mask:32x512",
	}, gpu.Profile(&texts))

	fixed := infer.DeviceConfig{Inputs: []string{"x"}, Warm: []infer.DeviceRun{run([]int64{4, 3})}}
	fixed.Warm[0].Splittable = false
	require.Equal(t, "x:4x3", gpu.Profile(&fixed)["trt_profile_min_shapes"])

	for _, name := range []string{"input:0", "a,b"} {
		fixed.Inputs[0] = name
		require.Empty(t, gpu.Profile(&fixed))
	}
	require.Empty(t, gpu.Profile(&infer.DeviceConfig{Warm: fixed.Warm}), "inputs that are the model's have no names before it is loaded")
	require.Empty(t, gpu.Profile(&infer.DeviceConfig{Inputs: []string{"x"}}))
}

// TestProfileOfAModelInParts: such a model is opened again without one, and the user is told; other
// errors are errors.
func TestProfileOfAModelInParts(t *testing.T) {
	inParts := errors.New("EP_FAIL: provide all the dynamic shape inputs with associated profiles")
	for _, first := range []error{nil, inParts, errors.New("no such file"), errors.Join(inParts, cuda.ErrDeviceLost)} {
		options := gpu.Profile(&infer.DeviceConfig{Inputs: []string{"x"}, Warm: []infer.DeviceRun{run([]int64{4, 3})}})
		options["device_id"] = "0"
		var opened []int
		told, err := gpu.OpenWithProfile(options, func(options map[string]string) error {
			if opened = append(opened, len(options)); len(opened) == 1 {
				return first
			}
			return nil
		})
		if errors.Is(first, inParts) && !errors.Is(first, cuda.ErrDeviceLost) {
			require.NoError(t, err)
			require.Equal(t, []int{4, 1}, opened)
			require.Contains(t, told, "with associated profiles")
			continue
		}
		require.Equal(t, first, err)
		require.Equal(t, []int{4}, opened)
		require.Empty(t, told)
	}
}
