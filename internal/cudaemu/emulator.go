//go:build cuda

package cudaemu

/*
#cgo CFLAGS: -I${SRCDIR}/../../csrc/driver -I${SRCDIR}/../../csrc/emulator
#cgo LDFLAGS: -lcuda -ldl
#include <stdlib.h>
#include "driver.h"
#include "emulator.h"

static void *find(const char *name)
{
	void *fn = NULL;
	return penstock_driver_find(name, &fn) == CUDA_SUCCESS ? fn : NULL;
}

// The emulator's functions are in the library, not in this binary: each is found by its name. Which is there when one is, all are.
#define EMU(name) ((typeof(&name))find(#name))

static int is_emulator(void) { return EMU(emu_reset) != NULL; }
static int reset(const struct emu_config *c) { return EMU(emu_reset)(c); }
static int inject(const struct emu_fault *f) { return EMU(emu_inject)(f); }
static void count(struct emu_counters *out) { EMU(emu_count)(out); }
static const char *call_name(size_t i) { return EMU(emu_call_name)(i); }
static uint64_t call_count(size_t i) { return EMU(emu_call_count)(i); }
static CUresult lose(int device, int code) { return EMU(emu_lose)(device, (CUresult)code); }
static CUresult hold(uintptr_t stream, int on) { return EMU(emu_hold)((CUstream)stream, on); }
static CUresult capture(int on) { return EMU(emu_capture)(on); }
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/penstock-data/penstock/internal/overlap"
)

// Variable names the environment variable with the emulator's path; make sets it.
const Variable = "PENSTOCK_CUDA_EMULATOR"

// MaxDevices is how many devices there can be.
const MaxDevices = int(C.EMU_MAX_DEVICES)

// What new and freed blocks of memory are full of.
const (
	Fresh = byte(C.EMU_FRESH)
	Freed = byte(C.EMU_FREED)
)

// Config says what the machine is. The zero value works: one device of 1 GiB, 1 GiB of
// page-locked memory, no delays.
type Config struct {
	Seed      uint64        // of the delays
	MaxDelay  time.Duration // usual bound of a delay before a stream's next piece of work
	Devices   []Device      // none: one with the zero value
	HostBytes int64         // page-locked memory; 0: 1 GiB
	Record    bool          // keep the record
}

// Device is one emulated device.
type Device struct {
	Bytes     int64 // memory; 0: 1 GiB
	NUMANode  *int  // nil: the driver says that there is none
	OldDriver bool  // it knows no such attribute, as drivers before CUDA 12.2
}

// Open opens the emulator as this process's driver. Once open it stays, and Open does nothing.
func Open() error {
	path := os.Getenv(Variable)
	if path == "" {
		return errors.New(`cudaemu: ` + Variable + ` is not set: run tests by make, or do eval "$(make go-env)" before`)
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	status := C.penstock_driver_open(name)
	if status == C.PENSTOCK_DRIVER_OPEN && C.is_emulator() != 0 {
		return nil
	}
	var facts C.struct_penstock_driver_facts
	C.penstock_driver_look(&facts)
	return fmt.Errorf("cudaemu: cannot open %s as the driver: %s %s", path, C.GoString(&facts.path[0]), C.GoString(&facts.why[0]))
}

// Reset opens the emulator if it isn't and starts it anew: all that was made with it before is
// gone, without a trace in the counters.
func Reset(cfg Config) error {
	if err := Open(); err != nil {
		return err
	}
	if len(cfg.Devices) > MaxDevices {
		return fmt.Errorf("cudaemu: %d devices: at most %d", len(cfg.Devices), MaxDevices)
	}
	c := C.struct_emu_config{
		seed: C.uint64_t(cfg.Seed), devices: C.uint32_t(len(cfg.Devices)),
		max_delay_us: C.uint32_t(cfg.MaxDelay.Microseconds()), host_bytes: C.uint64_t(cfg.HostBytes),
	}
	if cfg.Record {
		c.record = 1
	}
	for i, d := range cfg.Devices {
		c.device[i].bytes = C.uint64_t(d.Bytes)
		if d.NUMANode != nil {
			c.device[i].numa = C.int32_t(*d.NUMANode + 1)
		}
		if d.OldDriver {
			c.device[i].numa = C.EMU_NO_NUMA
		}
	}
	if C.reset(&c) != 0 {
		return errors.New("cudaemu: a device, or the host, has more memory than the emulator can give")
	}
	return nil
}

// started is the test whose machine the emulator is. Tests with a machine run one at a time.
var started testing.TB

// Start is Reset for a test. At its end, or when the test starts another machine, nothing may be
// left: no context, stream, event or block, none that had to be torn down with its context, and no
// copy may have found its page-locked end freed. With cfg.Record the record must pass
// [overlap.Check]: what is not in order fails the test also when the delays happened to hide it.
func Start(t testing.TB, cfg Config) {
	t.Helper()
	if Real() {
		startReal(t, cfg)
		return
	}
	if started == t {
		finish(t)
	} else {
		t.Cleanup(func() {
			finish(t)
			started = nil
		})
	}
	if err := Reset(cfg); err != nil {
		t.Fatal(err)
	}
	started = t
}

// finish looks at what a test leaves of its machine.
func finish(t testing.TB) {
	t.Helper()
	if c := Count(); c.Left() {
		t.Errorf("cudaemu: left behind: %+v", c)
	}
	if err := overlap.Check(Record()); err != nil {
		t.Error(err)
	}
}

// Counters says what there is, and what was done since the last reset.
type Counters struct {
	Contexts                int64 // holds of primary contexts
	Streams, Events         int64
	DeviceBlocks            int64
	DeviceBytes             int64 // as asked for, not rounded
	HostBlocks, HostBytes   int64 // page-locked by the driver
	Registered              int64 // blocks of the caller's own that are page-locked
	Abandoned               int64 // of all these, those that ended with their context (of a device that wasn't lost)
	Pageable, PageableBytes int64 // copies whose host end wasn't page-locked
	Copies, CopyBytes       int64 // between host and devices, all
	Stale                   int64 // copies whose host end was freed before they were made
	Queued                  int64 // pieces of work not done yet
}

// Left says whether something was not given back, or was given back too early.
func (c Counters) Left() bool {
	return c.Contexts != 0 || c.Streams != 0 || c.Events != 0 || c.DeviceBlocks != 0 || c.HostBlocks != 0 || c.Registered != 0 ||
		c.Abandoned != 0 || c.Stale != 0
}

// Count reads the counters.
func Count() Counters {
	if Real() {
		return Counters{}
	}
	var c C.struct_emu_counters
	C.count(&c)
	return Counters{
		Contexts: int64(c.contexts), Streams: int64(c.streams), Events: int64(c.events),
		DeviceBlocks: int64(c.device_blocks), DeviceBytes: int64(c.device_bytes),
		HostBlocks: int64(c.host_blocks), HostBytes: int64(c.host_bytes),
		Registered: int64(c.registered_blocks), Abandoned: int64(c.abandoned),
		Pageable: int64(c.pageable_copies), PageableBytes: int64(c.pageable_bytes),
		Copies: int64(c.copies), CopyBytes: int64(c.copy_bytes),
		Stale: int64(c.stale), Queued: int64(c.queued),
	}
}

// Fault makes calls of the driver fail.
type Fault struct {
	Call   string // the function as programs write it, "cuMemAlloc"; "*": any
	Nth    int    // which call of it from now on; 0 and 1: the next
	Times  int    // how many in a row; 0: one
	Device int    // 0: on whichever device; else its number + 1, of the calling thread's context
	Code   int    // CUresult
	Sticky bool   // the device is lost with it
	Late   bool   // the call succeeds; what it queued fails with the code, and the device is lost
}

// Inject adds a fault to those that there are.
func Inject(f Fault) error {
	name := C.CString(f.Call)
	defer C.free(unsafe.Pointer(name))
	c := C.struct_emu_fault{
		call: name, nth: C.uint64_t(max(f.Nth, 1)), times: C.uint64_t(f.Times), device: C.int32_t(f.Device - 1), code: C.int32_t(f.Code),
	}
	if f.Sticky {
		c.sticky = 1
	}
	if f.Late {
		c.late = 1
	}
	if C.inject(&c) != 0 {
		return fmt.Errorf("cudaemu: no fault at %q: no such call, or too many faults", f.Call)
	}
	return nil
}

// Calls says how often each function was called since the reset; those that weren't are left out.
func Calls() map[string]int {
	calls := map[string]int{}
	for i := C.size_t(0); ; i++ {
		name := C.call_name(i)
		if name == nil {
			return calls
		}
		if n := C.call_count(i); n > 0 {
			calls[C.GoString(name)] = int(n)
		}
	}
}

// Lose takes a device away, with the code that each later call in its context gives.
func Lose(device, code int) error {
	if C.lose(C.int(device), C.int(code)) != C.CUDA_SUCCESS {
		return fmt.Errorf("cudaemu: lose device %d: there is no such device", device)
	}
	return nil
}

// Capture does f while a thread captures a CUDA graph in the global mode: see emu_capture. It says
// what the capture came to.
func Capture(f func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if code := C.capture(1); code != C.CUDA_SUCCESS {
		return fmt.Errorf("cudaemu: capture: code %d", int(code))
	}
	done := make(chan struct{})
	go func() { // on another thread: this one is locked
		defer close(done)
		f()
	}()
	<-done
	if code := C.capture(0); code != C.CUDA_SUCCESS {
		return fmt.Errorf("cudaemu: the capture was spoiled: code %d", int(code))
	}
	return nil
}

// Hold stops a stream (its CUstream) before its next piece of work, or lets it go on.
func Hold(stream uintptr, on bool) error {
	flag := C.int(0)
	if on {
		flag = 1
	}
	if C.hold(C.uintptr_t(stream), flag) != C.CUDA_SUCCESS {
		return fmt.Errorf("cudaemu: hold stream %#x: there is no such stream", stream)
	}
	return nil
}
