//go:build cuda

package gpu

import (
	"encoding/binary"
	"errors"

	"github.com/penstock-data/penstock/infer"
)

// graphs numbers the CUDA graphs of an actor, by the device memory and the shapes of their runs. ONNX
// Runtime captures a graph when it sees a number for the first time, and from then on replays it
// over the same memory in the same shapes, whatever is bound, without a word. So a number is for one
// shape in one slot, and for the memory that the slot had at the time: one that grew has others.
type graphs map[string]int

// noGraph is the number of runs that are not to be captured.
const noGraph = -1

// checkGraphs says why runs cannot be replayed from graphs.
func checkGraphs(cfg *infer.DeviceConfig) error {
	if !cfg.CUDAGraphs {
		return nil
	}
	if cfg.Provider != infer.CUDAProvider {
		return errors.New("gpu: CUDA graphs are for CUDA's provider: leave TensorRT or the graphs out")
	}
	if !cfg.FixedShapes || len(cfg.Warm) == 0 {
		return errors.New("gpu: CUDA graphs ask for fixed shapes, each of which the actor is warmed for: a graph is of one")
	}
	for _, r := range cfg.Warm {
		for _, t := range r.Outputs {
			if t.Shape == nil {
				return errors.New("gpu: CUDA graphs ask for outputs of known size: one that is sized by the run lies somewhere else each time")
			}
		}
	}
	return nil
}

// of gives the number of a slot's run. Parts of a run, which the device had no memory for as a
// whole, are in no bucket.
func (g graphs) of(s *slot) int {
	if s.at.free || s.at.part < s.at.rows {
		return noGraph
	}
	var room [256]byte
	key := room[:0]
	if s.devIn != nil {
		key = binary.AppendUvarint(key, uint64(s.devIn.Ptr()))
	}
	if s.devOut != nil {
		key = binary.AppendUvarint(key, uint64(s.devOut.Ptr()))
	}
	for _, list := range [][]tensor{s.at.inputs, s.at.outputs} {
		for i := range list {
			key = binary.AppendVarint(key, list[i].dev)
			for _, d := range list[i].shape {
				key = binary.AppendVarint(key, d)
			}
		}
	}
	number, ok := g[string(key)]
	if !ok {
		number = len(g) + 1 // 0 is ONNX Runtime's own
		g[string(key)] = number
	}
	return number
}
