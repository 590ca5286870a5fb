//go:build cuda

package gpu

import (
	"context"
	"fmt"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/stage"
)

func init() { infer.RegisterBackend(stage.CUDA, backend{}) }

type backend struct{}

// Devices counts the devices, and looks whether the driver and ONNX Runtime can use them.
func (backend) Devices(library string) (int, error) {
	if _, err := cuda.Load(""); err != nil {
		return 0, fmt.Errorf("gpu: %w", err)
	}
	all, err := cuda.Devices()
	if err != nil {
		return 0, fmt.Errorf("gpu: %w", err)
	}
	if len(all) == 0 {
		return 0, fmt.Errorf("gpu: %w: the driver sees none", cuda.ErrNoDevice)
	}
	return len(all), backend{}.Provides(library, infer.CUDAProvider)
}

// Provides looks whether ONNX Runtime's library has the provider and can load what it needs.
func (backend) Provides(library string, p infer.Provider) error {
	path, _, err := infer.FindLibrary(library)
	if err != nil {
		return err
	}
	lib, err := openORT(path)
	if err != nil {
		return err
	}
	defer lib.close()
	if p == infer.TensorRTProvider {
		return lib.provides(onTensorRT)
	}
	return lib.provides(onCUDA)
}

func (backend) Open(ctx context.Context, cfg infer.DeviceConfig) (infer.DeviceSession, error) {
	a, err := Open(ctx, cfg)
	if err != nil {
		return nil, err // an *Actor that is nil would be no nil session
	}
	return a, nil
}
