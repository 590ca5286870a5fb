//go:build cuda

package job

import (
	"github.com/penstock-data/penstock/cuda"
	_ "github.com/penstock-data/penstock/infer/gpu" // models can run on GPUs
)

// pciOf gives the places on the bus of GPUs; empty: not known.
func pciOf(gpus []int) []string {
	places := make([]string, len(gpus))
	for i, d := range gpus {
		if in, err := cuda.Device(d).Info(); err == nil {
			places[i] = in.PCI
		}
	}
	return places
}
