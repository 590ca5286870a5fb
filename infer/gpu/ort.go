//go:build cuda

package gpu

/*
#cgo CFLAGS: -I${SRCDIR}/../../csrc/ort
#cgo LDFLAGS: -lpenstock_ort -lcuda -ldl
#include <stdlib.h>
#include "ort.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/penstock-data/penstock/cuda"
)

// ErrNoProvider says that the ONNX Runtime that was loaded has not the execution provider that is
// asked for, CUDA's or TensorRT's, or cannot load it.
var ErrNoProvider = errors.New("gpu: this ONNX Runtime lacks an execution provider, or cannot load it")

// noProvider says where the provider is that err may miss.
func noProvider(p provider, err error) error {
	switch {
	case !errors.Is(err, ErrNoProvider):
		return err
	case p == onTensorRT:
		return fmt.Errorf("%w (TensorRT's: the package onnxruntime-gpu has it, and tensorrt-cu12 the libraries that it loads; CUDA runs the model where TensorRT is not asked for)", err)
	}
	return fmt.Errorf("%w (CUDA's: the package onnxruntime-gpu has it)", err)
}

// ortError is what the shim reports.
type ortError struct {
	kind C.int
	code int
	text string
}

func (e *ortError) Error() string {
	if e.kind == C.PENSTOCK_ORT_NO_PROVIDER {
		return ErrNoProvider.Error() + ": " + e.text
	}
	return "gpu: ONNX Runtime: " + e.text
}

// Is sorts the error as package cuda would.
func (e *ortError) Is(target error) bool {
	switch e.kind {
	case C.PENSTOCK_ORT_OUT_OF_MEMORY:
		return target == cuda.ErrOutOfMemory
	case C.PENSTOCK_ORT_LOST:
		return target == cuda.ErrDeviceLost
	case C.PENSTOCK_ORT_TERMINATED:
		return target == context.Canceled
	case C.PENSTOCK_ORT_NO_PROVIDER:
		return target == ErrNoProvider
	}
	return false
}

// checked makes an error of a status.
func checked(status C.int, e *C.struct_penstock_ort_error) error {
	if status == C.PENSTOCK_ORT_OK {
		return nil
	}
	return &ortError{kind: status, code: int(e.code), text: C.GoString(&e.text[0])}
}

// ortLibrary is ONNX Runtime's library, with a hold of this process's environment in it.
type ortLibrary struct{ p *C.struct_penstock_ort }

func openORT(path string) (*ortLibrary, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	var e C.struct_penstock_ort_error
	l := &ortLibrary{}
	return l, checked(C.penstock_ort_open(name, &l.p, &e), &e)
}

func (l *ortLibrary) close() { C.penstock_ort_close(l.p); l.p = nil }

// provides says whether sessions can have a provider.
func (l *ortLibrary) provides(p provider) error {
	var e C.struct_penstock_ort_error
	return noProvider(p, checked(C.penstock_ort_provides(l.p, C.enum_penstock_ort_provider(p), &e), &e))
}

// provider is which execution provider a session asks for.
type provider C.enum_penstock_ort_provider

const (
	onCUDA     provider = C.PENSTOCK_ORT_CUDA
	onTensorRT provider = C.PENSTOCK_ORT_TENSORRT
)

// sessionConfig is what a session is made of.
type sessionConfig struct {
	model          string
	provider       provider
	device         int
	stream         uintptr
	cuda, tensorRT map[string]string // options of the providers
}

// ortSession is a loaded model. Its names and shapes are read once.
type ortSession struct {
	p               *C.struct_penstock_ort_session
	inputs, outputs []ortTensor
}

// ortTensor is an input or output of a model.
type ortTensor struct {
	name  string
	bytes int     // of an element
	shape []int64 // -1: any
}

// open loads a model, with the device's context current.
func (l *ortLibrary) open(cfg sessionConfig) (*ortSession, error) {
	var own cStrings
	defer own.free()
	options := (*C.struct_penstock_ort_options)(own.calloc(unsafe.Sizeof(C.struct_penstock_ort_options{})))
	options.model_path = own.add(cfg.model)
	options.provider = C.enum_penstock_ort_provider(cfg.provider)
	options.device = C.int(cfg.device)
	*(*uintptr)(unsafe.Pointer(&options.stream)) = cfg.stream // a handle of the driver's
	options.threads = 1
	own.pairs(&options.cuda, cfg.cuda)
	own.pairs(&options.tensorrt, cfg.tensorRT)
	var e C.struct_penstock_ort_error
	s := &ortSession{}
	if err := checked(C.penstock_ort_session_open(l.p, options, &s.p, &e), &e); err != nil {
		return nil, noProvider(cfg.provider, err)
	}
	for i := range C.penstock_ort_session_inputs(s.p) {
		s.inputs = append(s.inputs, tensorOf(C.penstock_ort_session_input(s.p, i)))
	}
	for i := range C.penstock_ort_session_outputs(s.p) {
		s.outputs = append(s.outputs, tensorOf(C.penstock_ort_session_output(s.p, i)))
	}
	return s, nil
}

func tensorOf(t *C.struct_penstock_ort_tensor) ortTensor {
	out := ortTensor{name: C.GoString(t.name), bytes: int(C.penstock_ort_element_bytes(t._type)), shape: make([]int64, t.rank)}
	for i := range out.shape {
		out.shape[i] = int64(t.shape[i])
	}
	return out
}

// onCPU names the nodes that run on the CPU.
func (s *ortSession) onCPU() []string {
	return strings.FieldsFunc(C.GoString(C.penstock_ort_session_on_cpu(s.p)), func(r rune) bool { return r == '\n' })
}

// close ends the session, after its runs.
func (s *ortSession) close() {
	C.penstock_ort_session_close(s.p)
	s.p = nil
}

// ortRun is one run of a session, used again and again.
type ortRun struct {
	p       *C.struct_penstock_ort_run
	shrinks bool
	graph   int // that was set last; 0: none was
}

func (s *ortSession) newRun() (*ortRun, error) {
	var e C.struct_penstock_ort_error
	r := &ortRun{}
	return r, checked(C.penstock_ort_run_new(s.p, &r.p, &e), &e)
}

func (r *ortRun) close() { C.penstock_ort_run_delete(r.p); r.p = nil }

// input lays input i over device memory.
func (r *ortRun) input(i int, at cuda.Ptr, bytes int64, shape []int64) error {
	var e C.struct_penstock_ort_error
	return checked(C.penstock_ort_run_input(r.p, C.size_t(i), C.uint64_t(at), C.size_t(bytes), dims(shape), C.size_t(len(shape)), &e), &e)
}

// output lays output i over device memory.
func (r *ortRun) output(i int, at cuda.Ptr, bytes int64, shape []int64) error {
	var e C.struct_penstock_ort_error
	return checked(C.penstock_ort_run_output(r.p, C.size_t(i), C.uint64_t(at), C.size_t(bytes), dims(shape), C.size_t(len(shape)), &e), &e)
}

// freeOutput leaves the place of output i to the library.
func (r *ortRun) freeOutput(i int) error {
	var e C.struct_penstock_ort_error
	return checked(C.penstock_ort_run_free_output(r.p, C.size_t(i), &e), &e)
}

// start queues the work on the session's stream.
func (r *ortRun) start() error {
	var e C.struct_penstock_ort_error
	return checked(C.penstock_ort_run_start(r.p, &e), &e)
}

// finish says how the work went, once it has happened.
func (r *ortRun) finish() error {
	var e C.struct_penstock_ort_error
	return checked(C.penstock_ort_run_finish(r.p, &e), &e)
}

// result says where output i came to lie; it is there until reset.
func (r *ortRun) result(i int) (at cuda.Ptr, bytes int64, shape []int64, err error) {
	var e C.struct_penstock_ort_error
	var out C.struct_penstock_ort_result
	if err := checked(C.penstock_ort_run_result(r.p, C.size_t(i), &out, &e), &e); err != nil {
		return 0, 0, nil, err
	}
	shape = make([]int64, out.rank)
	for k := range shape {
		shape[k] = int64(out.shape[k])
	}
	return cuda.Ptr(out.address), int64(out.bytes), shape, nil
}

// setShrink has the arena give its free memory back behind each run, or no longer.
func (r *ortRun) setShrink(on bool) error {
	if on == r.shrinks {
		return nil
	}
	var e C.struct_penstock_ort_error
	flag := C.int(0)
	if on {
		flag = 1
	}
	err := checked(C.penstock_ort_run_shrink(r.p, flag, &e), &e)
	if err == nil {
		r.shrinks = on
	}
	return err
}

// setGraph has the run captured as a graph, or replayed from the one of that number; noGraph: it
// is neither.
func (r *ortRun) setGraph(number int) error {
	if number == r.graph {
		return nil
	}
	var e C.struct_penstock_ort_error
	err := checked(C.penstock_ort_run_graph(r.p, C.int(number), &e), &e)
	if err == nil {
		r.graph = number
	}
	return err
}

func (r *ortRun) reset() { C.penstock_ort_run_reset(r.p) }

// terminate ends the run between two operators; any goroutine may call it.
func (r *ortRun) terminate() { C.penstock_ort_run_terminate(r.p) }

// dims lends a shape to C for a call.
func dims(shape []int64) *C.int64_t { return (*C.int64_t)(unsafe.Pointer(unsafe.SliceData(shape))) }

// cStrings owns what is lent to C for the length of a call.
type cStrings struct{ all []unsafe.Pointer }

func (c *cStrings) calloc(n uintptr) unsafe.Pointer {
	p := C.calloc(1, C.size_t(max(n, 1)))
	c.all = append(c.all, p)
	return p
}

func (c *cStrings) add(s string) *C.char {
	p := C.CString(s)
	c.all = append(c.all, unsafe.Pointer(p))
	return p
}

func (c *cStrings) pairs(to *C.struct_penstock_ort_pairs, from map[string]string) {
	to.n = C.size_t(len(from))
	keys := unsafe.Slice((**C.char)(c.calloc(uintptr(len(from))*unsafe.Sizeof((*C.char)(nil)))), len(from))
	values := unsafe.Slice((**C.char)(c.calloc(uintptr(len(from))*unsafe.Sizeof((*C.char)(nil)))), len(from))
	i := 0
	for k, v := range from {
		keys[i], values[i] = c.add(k), c.add(v)
		i++
	}
	to.keys, to.values = unsafe.SliceData(keys), unsafe.SliceData(values)
}

func (c *cStrings) free() {
	for _, p := range c.all {
		C.free(p)
	}
}
