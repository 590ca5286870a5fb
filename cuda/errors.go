//go:build cuda

package cuda

//#include "driver.h"
import "C"

import (
	"errors"
	"fmt"
	"reflect"

	"gorgonia.org/cu"
)

var (
	// ErrNoDriver says that there is no driver library, or none that can be opened.
	ErrNoDriver = errors.New("cuda: no driver library")
	// ErrNoDevice says that there is no such device, or none at all.
	ErrNoDevice = errors.New("cuda: no device")
	// ErrOutOfMemory says that the device, or the host's page-locked memory, has no room. What
	// was asked for may be asked for again, or less of it.
	ErrOutOfMemory = errors.New("cuda: out of memory")
	// ErrNotReady says that work is still under way.
	ErrNotReady = errors.New("cuda: not ready")
	// ErrDeviceLost says that the context, and often the device, can no longer be used in this
	// process: an illegal access, an error of the hardware, a kernel that was ended. Every later
	// call in the context gives it too.
	ErrDeviceLost = errors.New("cuda: device lost")
)

// Code is a result code of the driver (CUresult).
type Code int

// String is the driver's own name for the code where a driver is there to ask.
func (c Code) String() string {
	var name *C.char
	if C.cuGetErrorName(C.CUresult(c), &name) == C.CUDA_SUCCESS && name != nil {
		return C.GoString(name)
	}
	return fmt.Sprintf("CUDA error %d", int(c))
}

// kind is the sentinel that a code belongs to, nil for those that callers don't tell apart.
func (c Code) kind() error {
	switch c {
	case C.CUDA_ERROR_OUT_OF_MEMORY:
		return ErrOutOfMemory
	case C.CUDA_ERROR_NOT_READY:
		return ErrNotReady
	case C.CUDA_ERROR_NO_DEVICE, C.CUDA_ERROR_INVALID_DEVICE:
		return ErrNoDevice
	}
	if c.sticky() {
		return ErrDeviceLost
	}
	return nil
}

// sticky says whether the driver's manual has the process end, or the context torn down, after
// this code. CUDA_ERROR_UNKNOWN is one of them: it is what a device that fell off its bus gives.
func (c Code) sticky() bool {
	switch c {
	case C.CUDA_ERROR_DEINITIALIZED, C.CUDA_ERROR_ECC_UNCORRECTABLE, C.CUDA_ERROR_NVLINK_UNCORRECTABLE, C.CUDA_ERROR_CONTAINED,
		C.CUDA_ERROR_ILLEGAL_ADDRESS, C.CUDA_ERROR_LAUNCH_TIMEOUT, C.CUDA_ERROR_CONTEXT_IS_DESTROYED, C.CUDA_ERROR_ASSERT,
		C.CUDA_ERROR_HARDWARE_STACK_ERROR, C.CUDA_ERROR_ILLEGAL_INSTRUCTION, C.CUDA_ERROR_MISALIGNED_ADDRESS, C.CUDA_ERROR_INVALID_ADDRESS_SPACE,
		C.CUDA_ERROR_INVALID_PC, C.CUDA_ERROR_LAUNCH_FAILED, C.CUDA_ERROR_TENSOR_MEMORY_LEAK, C.CUDA_ERROR_EXTERNAL_DEVICE,
		C.CUDA_ERROR_MPS_CLIENT_TERMINATED, C.CUDA_ERROR_UNKNOWN:
		return true
	}
	return false
}

// Error is a failed call of the driver.
type Error struct {
	Call string // the driver's function
	Code Code
}

func (e *Error) Error() string {
	text := "cuda: " + e.Call
	if kind := e.Code.kind(); kind != nil {
		text += kind.Error()[len("cuda"):]
	} else {
		text += ": failed"
	}
	return fmt.Sprintf("%s (%s, %d)", text, e.Code, int(e.Code))
}

// Is says whether target is the kind of the error's code.
func (e *Error) Is(target error) bool {
	kind := e.Code.kind()
	return kind != nil && target == kind
}

// failed gives a call's error its type. cu's own is an unexported integer.
func failed(call string, err error) error {
	if err == nil {
		return nil
	}
	code := Code(C.CUDA_ERROR_UNKNOWN)
	if v := reflect.ValueOf(err); v.CanInt() {
		code = Code(v.Int())
	}
	return &Error{Call: call, Code: code}
}

// result is failed for the calls that cu lacks.
func result(call string, code C.CUresult) error {
	if code == C.CUDA_SUCCESS {
		return nil
	}
	return &Error{Call: call, Code: Code(code)}
}

// done reads the answer of a query, without an allocation where it is "not yet".
func done(call string, err error) (bool, error) {
	switch err {
	case nil:
		return true, nil
	case cu.NotReady:
		return false, nil
	}
	return false, failed(call, err)
}
