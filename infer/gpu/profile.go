//go:build cuda

package gpu

import (
	"errors"
	"strconv"
	"strings"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
)

// The options that give TensorRT a profile: for each input the least shape, the largest, and the one
// that kernels are chosen for.
const (
	profileMin  = "trt_profile_min_shapes"
	profileMax  = "trt_profile_max_shapes"
	profileBest = "trt_profile_opt_shapes"
)

// profile says which shapes are to come: those of cfg.Warm and, where a run can be split, fewer rows,
// the first of cfg.Warm being the usual one. With it TensorRT builds one engine for all of them;
// without, ONNX Runtime has it build another, which takes minutes, for each run that is smaller or
// larger than all before it. nil: the inputs have no names that it could be written with.
func profile(cfg *infer.DeviceConfig) map[string]string {
	if len(cfg.Warm) == 0 || len(cfg.Inputs) == 0 {
		return nil
	}
	var least, most, best []string
	for i, name := range cfg.Inputs {
		if strings.ContainsAny(name, ":,") {
			return nil // they separate names and shapes
		}
		usual := cfg.Warm[0].Inputs[i].Shape
		low, high := append([]int64(nil), usual...), append([]int64(nil), usual...)
		for _, r := range cfg.Warm[1:] {
			for d, n := range r.Inputs[i].Shape {
				low[d], high[d] = min(low[d], n), max(high[d], n)
			}
		}
		if cfg.Warm[0].Splittable && len(low) > 0 {
			low[0] = 1
		}
		least, most, best = append(least, name+":"+times(low)), append(most, name+":"+times(high)), append(best, name+":"+times(usual))
	}
	return map[string]string{profileMin: strings.Join(least, ","), profileMax: strings.Join(most, ","), profileBest: strings.Join(best, ",")}
}

// times writes a shape as 1x3x224x224.
func times(shape []int64) string {
	var dims []string
	for _, d := range shape {
		dims = append(dims, strconv.FormatInt(d, 10))
	}
	return strings.Join(dims, "x")
}

// profiled opens a session by open. A model that TensorRT can run only in parts is opened again
// without its profile: ONNX Runtime asks for one of the inputs of every part, and those nobody knows.
func profiled(open func(sessionConfig) (*ortSession, error), cfg sessionConfig, tell func(string)) (*ortSession, error) {
	s, err := open(cfg)
	if err == nil || cfg.tensorRT[profileMin] == "" || !strings.Contains(err.Error(), "profile") ||
		errors.Is(err, cuda.ErrOutOfMemory) || errors.Is(err, cuda.ErrDeviceLost) {
		return s, err
	}
	for _, key := range []string{profileMin, profileMax, profileBest} {
		delete(cfg.tensorRT, key)
	}
	tell("TensorRT builds an engine anew for shapes that it has not seen, which takes minutes: it runs this model only in parts (" + err.Error() + ")")
	return open(cfg)
}
