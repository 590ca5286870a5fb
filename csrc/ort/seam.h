/*
 * The seam between ONNX Runtime and the emulated driver that tests use (csrc/emulator).
 *
 * On a machine with a GPU, ONNX Runtime's CUDA provider queues its kernels on a stream of the driver by itself. The
 * emulated driver runs no kernels: there the CPU provider does the model's work, on the emulated device's memory, when the
 * stream comes to it. That is all that differs; a real driver lacks the symbols that the seam is made of.
 */
#ifndef PENSTOCK_SEAM_H
#define PENSTOCK_SEAM_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Memory that queued work uses: laid out as the emulator's struct emu_buffer. */
struct penstock_seam_use {
	uint64_t address, bytes;
	uint32_t write, unused;
};

struct penstock_seam {
	/* Queues fn(arg) on a stream. Gives a CUresult; with 0 arg stays valid until fn has run, which gives 0. uses is borrowed. */
	int (*launch)(void *stream, const struct penstock_seam_use *uses, size_t n, int (*fn)(void *), void *arg);
	/* Where code that a stream runs finds bytes of device memory; NULL: there is no such memory. */
	void *(*reach)(uint64_t address, size_t bytes);
	/* Takes device memory, in *address, and fills it from the host's; 0: done. The thread has the device's context. */
	int (*keep)(const void *from, size_t bytes, uint64_t *address);
	/* Gives back what keep took. The thread has the context. */
	void (*give)(uint64_t address);
};

/* Whether the open driver has the seam, which *seam then is. */
int penstock_seam_find(struct penstock_seam *seam);

#pragma GCC visibility pop
#endif
