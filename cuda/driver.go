//go:build cuda

package cuda

/*
#cgo CFLAGS: -I${SRCDIR}/../csrc/driver
#cgo LDFLAGS: -lcuda -ldl
#include <stdlib.h>
#include "driver.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"
)

// Driver is the driver library that this process uses.
type Driver struct {
	Path    string // of the library
	Version int    // the newest CUDA that it runs: 12090 is 12.9
}

// Load opens the driver library at path, or where path is empty the one that the loader finds
// (libcuda.so.1), and initialises it. A process has one driver: once it is open, another path
// is an error, and the same is not. Load is called before anything else here, or else the
// first call does what Load("") does. The error is [ErrNoDriver] where there is none, with what
// was looked for and what the loader said; it is an [*Error] where the library is there but
// cannot be used: [ErrNoDevice] without a GPU.
func Load(path string) (Driver, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	status := C.penstock_driver_open(name)
	var facts C.struct_penstock_driver_facts
	C.penstock_driver_look(&facts)
	at := C.GoString(&facts.path[0])
	switch status {
	case C.PENSTOCK_DRIVER_OPEN:
		return Driver{Path: at, Version: cu.Version()}, nil
	case C.PENSTOCK_DRIVER_ABSENT:
		return Driver{}, fmt.Errorf("%w: looked for %s: %s", ErrNoDriver, at, C.GoString(&facts.why[0]))
	case C.PENSTOCK_DRIVER_REFUSED:
		return Driver{}, fmt.Errorf("%w (%s)", &Error{Call: "cuInit", Code: Code(facts.init)}, at)
	default:
		return Driver{}, fmt.Errorf("cuda: open %s: %s is open already, and a process has one driver", path, at)
	}
}
