/*
 * The bare copy loop: what the driver gives for page-locked memory, with nothing else going on. One device, one stream a
 * direction, DEPTH blocks of page-locked memory in turn, copies queued as far ahead as there are blocks.
 *
 *     bare_copy LIBRARY BYTES COPIES
 *
 * LIBRARY is the driver's ("": libcuda.so.1). Prints one line of JSON: bytes a second to the device, and from it.
 */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "driver.h"

enum { DEPTH = 3 };

static void must(CUresult result, const char *what)
{
	if (result == CUDA_SUCCESS)
		return;
	fprintf(stderr, "bare_copy: %s failed with %d\n", what, (int)result);
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct ring {
	CUstream stream;
	CUevent done[DEPTH];
	void *host[DEPTH];
	CUdeviceptr device[DEPTH];
};

static double rate(struct ring *r, size_t bytes, long copies, int to_device)
{
	double start = 0;
	for (long i = -DEPTH; i < copies; i++) { /* the first ones warm up */
		long slot = (i + DEPTH) % DEPTH;
		if (i == 0) {
			must(cuStreamSynchronize(r->stream), "cuStreamSynchronize");
			start = now();
		} else if (i > 0) {
			must(cuEventSynchronize(r->done[slot]), "cuEventSynchronize");
		}
		if (to_device)
			must(cuMemcpyHtoDAsync(r->device[slot], r->host[slot], bytes, r->stream), "cuMemcpyHtoDAsync");
		else
			must(cuMemcpyDtoHAsync(r->host[slot], r->device[slot], bytes, r->stream), "cuMemcpyDtoHAsync");
		must(cuEventRecord(r->done[slot], r->stream), "cuEventRecord");
	}
	must(cuStreamSynchronize(r->stream), "cuStreamSynchronize");
	return (double)bytes * (double)copies / (now() - start);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: bare_copy LIBRARY BYTES COPIES\n");
		return 2;
	}
	size_t bytes = strtoull(argv[2], NULL, 10);
	long copies = strtol(argv[3], NULL, 10);
	if (penstock_driver_open(argv[1]) != PENSTOCK_DRIVER_OPEN) {
		struct penstock_driver_facts facts;
		penstock_driver_look(&facts);
		fprintf(stderr, "bare_copy: no driver: looked for %s: %s\n", facts.path, facts.why);
		return 1;
	}
	CUdevice device;
	CUcontext context;
	struct ring r;
	must(cuDeviceGet(&device, 0), "cuDeviceGet");
	must(cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
	must(cuCtxSetCurrent(context), "cuCtxSetCurrent");
	must(cuStreamCreate(&r.stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
	for (int i = 0; i < DEPTH; i++) {
		must(cuMemHostAlloc(&r.host[i], bytes, CU_MEMHOSTALLOC_PORTABLE), "cuMemHostAlloc");
		memset(r.host[i], i, bytes);
		must(cuMemAlloc(&r.device[i], bytes), "cuMemAlloc");
		must(cuEventCreate(&r.done[i], CU_EVENT_DISABLE_TIMING), "cuEventCreate");
	}
	double in = rate(&r, bytes, copies, 1), out = rate(&r, bytes, copies, 0);
	printf("{\"h2d\": %.0f, \"d2h\": %.0f}\n", in, out);
	for (int i = 0; i < DEPTH; i++) {
		must(cuEventDestroy(r.done[i]), "cuEventDestroy");
		must(cuMemFree(r.device[i]), "cuMemFree");
		must(cuMemFreeHost(r.host[i]), "cuMemFreeHost");
	}
	must(cuStreamDestroy(r.stream), "cuStreamDestroy");
	must(cuDevicePrimaryCtxRelease(device), "cuDevicePrimaryCtxRelease");
	return 0;
}
