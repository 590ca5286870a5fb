//go:build cuda

package cudaemu

/*
#include <stdlib.h>
#include "driver.h"
*/
import "C"

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"unsafe"
)

// RealVariable names the environment variable with the path of a real driver's library: tests then
// run on its devices, and those that only the emulator can serve are skipped. `make test-gpu-driver`
// sets it.
const RealVariable = "PENSTOCK_REAL_DRIVER"

// Real says whether tests run on a real driver. Count gives zeros there.
func Real() bool { return os.Getenv(RealVariable) != "" }

// Only skips a test that asks for what a real driver hasn't: faults, held streams, counters.
func Only(t testing.TB) {
	t.Helper()
	if Real() {
		t.Skip("needs the emulated driver")
	}
}

// startReal opens the real driver for a test that asks for nothing special. Nothing is recorded.
func startReal(t testing.TB, cfg Config) {
	t.Helper()
	if err := openReal(os.Getenv(RealVariable)); err != nil {
		t.Fatal(err)
	}
	var there C.int
	if C.cuDeviceGetCount(&there) != C.CUDA_SUCCESS || len(cfg.Devices) > int(there) {
		t.Skipf("needs %d devices: there are %d", len(cfg.Devices), int(there))
	}
	special := func(d Device) bool { return d != Device{} }
	if slices.ContainsFunc(cfg.Devices, special) || cfg.HostBytes != 0 {
		Only(t)
	}
}

func openReal(path string) error {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if C.penstock_driver_open(name) == C.PENSTOCK_DRIVER_OPEN {
		return nil
	}
	var facts C.struct_penstock_driver_facts
	C.penstock_driver_look(&facts)
	return fmt.Errorf("cudaemu: cannot open %s as the driver: %s, cuInit %d", path, C.GoString(&facts.why[0]), int(facts.init))
}
