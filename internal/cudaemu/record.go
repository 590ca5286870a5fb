//go:build cuda

package cudaemu

/*
#include <stdlib.h>
#include "driver.h"
#include "emulator.h"

static void *record_find(const char *name)
{
	void *fn = NULL;
	return penstock_driver_find(name, &fn) == CUDA_SUCCESS ? fn : NULL;
}
#define RECORD_EMU(name) ((typeof(&name))record_find(#name))

static size_t record_ops(size_t i, struct emu_op *out, size_t max) { return RECORD_EMU(emu_record_ops)(i, out, max); }
static size_t record_buffers(size_t i, struct emu_buffer *out, size_t max) { return RECORD_EMU(emu_record_buffers)(i, out, max); }

struct invert_job {
	unsigned char *to;
	const unsigned char *from;
	size_t bytes;
};

static CUresult invert(void *data)
{
	struct invert_job *job = data;
	for (size_t i = 0; i < job->bytes; i++)
		job->to[i] = (unsigned char)~job->from[i];
	free(job);
	return CUDA_SUCCESS;
}

static CUresult launch_invert(uintptr_t stream, CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
	struct invert_job *job = malloc(sizeof *job);
	if (!job)
		return CUDA_ERROR_OUT_OF_MEMORY;
	*job = (struct invert_job){RECORD_EMU(emu_device_to_host)(to, bytes), RECORD_EMU(emu_device_to_host)(from, bytes), bytes};
	const struct emu_buffer uses[] = {{from, bytes, 0, 0}, {to, bytes, 1, 0}};
	CUresult result = job->to && job->from ? RECORD_EMU(emu_launch)((CUstream)stream, uses, 2, invert, job) : CUDA_ERROR_INVALID_VALUE;
	if (result != CUDA_SUCCESS)
		free(job);
	return result;
}

static void record_note(uint64_t number, const struct emu_buffer *b, size_t n) { RECORD_EMU(emu_note)(0, number, b, n); }
*/
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/penstock-data/penstock/internal/overlap"
)

const chunk = 4096

// Record is what was done since the reset, if Config.Record was set. Work may go on meanwhile.
func Record() []overlap.Op {
	var raw []C.struct_emu_op
	read(&raw, func(i C.size_t, out *C.struct_emu_op) C.size_t { return C.record_ops(i, out, chunk) })
	var buffers []C.struct_emu_buffer
	read(&buffers, func(i C.size_t, out *C.struct_emu_buffer) C.size_t { return C.record_buffers(i, out, chunk) })
	ops := make([]overlap.Op, len(raw))
	for i, c := range raw {
		ops[i] = overlap.Op{
			ID: uint64(c.id), Kind: overlap.Kind(c.kind), Device: int(c.device), Stream: uint64(c.stream), Event: uint64(c.event),
			After: uint64(c.after), Thread: uint64(c.thread), Bytes: uint64(c.bytes), Number: uint64(c.number),
			Blocking: c.flags&C.EMU_BLOCKING != 0, Pageable: c.flags&C.EMU_PAGEABLE != 0, Failed: c.flags&C.EMU_FAILED != 0,
		}
		for _, b := range buffers[c.first_buffer : c.first_buffer+c.buffers] {
			ops[i].Buffers = append(ops[i].Buffers, overlap.Buffer{Address: uint64(b.address), Bytes: uint64(b.bytes), Write: b.write != 0})
		}
	}
	return ops
}

func read[T any](to *[]T, next func(i C.size_t, out *T) C.size_t) {
	page := make([]T, chunk)
	for {
		n := next(C.size_t(len(*to)), &page[0])
		if n == 0 {
			return
		}
		*to = append(*to, page[:n]...)
	}
}

// Note puts the CPU's work for a batch into the record: work that is about to write b, which is
// C memory.
func Note(batch uint64, b []byte) {
	c := C.struct_emu_buffer{address: C.uint64_t(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), bytes: C.uint64_t(len(b)), write: 1}
	C.record_note(C.uint64_t(batch), &c, 1)
}

// Invert queues a piece of computing on a stream (its CUstream), in the current context: each of
// bytes at the device's to becomes the complement of that at from. It stands for a model.
func Invert(stream, to, from uintptr, bytes int64) error {
	if code := C.launch_invert(C.uintptr_t(stream), C.CUdeviceptr(to), C.CUdeviceptr(from), C.size_t(bytes)); code != C.CUDA_SUCCESS {
		return fmt.Errorf("cudaemu: launch: CUDA error %d", int(code))
	}
	return nil
}
