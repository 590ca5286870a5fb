//go:build !cuda

package job

import "errors"

// cuda says that there is nothing in this binary to open a driver with.
func (d Doctor) cuda() (driver Finding, devices []Finding) {
	return noDriver(errors.New("this binary was built without CUDA (the build tag cuda, which `make build` sets)")), nil
}
