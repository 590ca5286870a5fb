/*
 * The seam between ONNX Runtime and the emulated driver that tests use.
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

struct penstock_seam {
	/* Queues fn(arg) on a stream; 0: it was queued. arg stays valid until it has run. */
	int (*launch)(void *stream, void (*fn)(void *), void *arg);
	/* Where code that a stream runs finds bytes of device memory; NULL: there is no such memory. */
	void *(*reach)(uint64_t address, size_t bytes);
	/* Takes device memory, in *address, and fills it from the host's; 0: done. For code that a stream runs. */
	int (*keep)(const void *from, size_t bytes, uint64_t *address);
	/* Gives back what keep took. */
	void (*give)(uint64_t address);
};

/* Whether the open driver has the seam, which *seam then is. */
int penstock_seam_find(struct penstock_seam *seam);

#pragma GCC visibility pop
#endif
