//go:build cuda

package gpu

import (
	"context"
	"errors"
	"fmt"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/stage"
)

func init() { infer.RegisterBackend(stage.CUDA, backend{}) }

type backend struct{}

// Check looks for the driver, the device and an ONNX Runtime.
func (backend) Check(device int, library string) error {
	if _, err := cuda.Load(""); err != nil && !errors.Is(err, cuda.ErrNoDevice) {
		return fmt.Errorf("gpu: %w", err)
	}
	if _, err := deviceAt(device); err != nil {
		return err
	}
	_, _, err := infer.FindLibrary(library)
	return err
}

func (backend) Open(ctx context.Context, cfg infer.DeviceConfig) (infer.DeviceSession, error) {
	a, err := Open(ctx, cfg)
	if err != nil {
		return nil, err // an *Actor that is nil would be no nil session
	}
	return a, nil
}
