/* Devices and their primary contexts. */
#define _GNU_SOURCE
#include "state.h"

#include <stdio.h>
#include <string.h>

#define DEPTH 16 /* of a thread's stack of contexts */

static __thread uint64_t stack[DEPTH];
static __thread int depth;

struct device *thread_device(void)
{
	if (launched_on)
		return launched_on;
	return depth ? handle_get(HANDLE_CONTEXT, stack[depth - 1]) : NULL;
}

/* A lost device works on nothing: whoever is told that it is lost may free what its work used. */
CUresult state_of(struct device *d)
{
	while (d->lost != CUDA_SUCCESS && d->busy && !in_stream)
		pthread_cond_wait(&emu.progress, &emu.lock);
	return d->lost;
}

CUresult current(struct device **d)
{
	if (launched_on) {
		*d = launched_on;
		return launched_on->lost;
	}
	if (!depth || !stack[depth - 1])
		return CUDA_ERROR_INVALID_CONTEXT;
	*d = thread_device();
	if (!*d || !(*d)->holds)
		return CUDA_ERROR_CONTEXT_IS_DESTROYED;
	return state_of(*d);
}

void lose(struct device *d, CUresult code)
{
	if (d->lost == CUDA_SUCCESS)
		d->lost = code;
	for (struct stream *s = d->streams; s; s = s->next)
		pthread_cond_signal(&s->wake);
	pthread_cond_broadcast(&emu.progress);
}

void context_end(struct device *d)
{
	for (struct stream *s = d->streams; s; s = s->next)
		if (!s->closing) {
			if (s != d->standard && d->lost == CUDA_SUCCESS)
				emu.count.abandoned++;
			stream_close(s);
		}
	while (d->streams)
		pthread_cond_wait(&emu.progress, &emu.lock);
	while (d->events) {
		if (d->lost == CUDA_SUCCESS)
			emu.count.abandoned++;
		event_close(d->events);
	}
	memory_end(d);
	emu.count.contexts -= d->holds;
	d->holds = 0;
}

CUresult CUDAAPI cuInit(unsigned int flags)
{
	ENTER(cuInit);
	if (flags)
		return leave(CUDA_ERROR_INVALID_VALUE);
	emu.initialised = true;
	return leave(emu.devices ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE);
}

CUresult CUDAAPI cuDriverGetVersion(int *version)
{
	ENTER(cuDriverGetVersion);
	if (!version)
		return leave(CUDA_ERROR_INVALID_VALUE);
	*version = CUDA_VERSION;
	return leave(CUDA_SUCCESS);
}

static struct device *device_of(CUdevice dev) { return dev >= 0 && dev < emu.devices ? &emu.device[dev] : NULL; }

/* The same for functions that write something about a device to *out. */
#define ENTER_DEVICE(name, dev, out) \
	ENTER_CALL(CALL_##name); \
	struct device *d = device_of(dev); \
	if (!d) \
		return leave(CUDA_ERROR_INVALID_DEVICE); \
	if (!(out)) \
	return leave(CUDA_ERROR_INVALID_VALUE)

CUresult CUDAAPI cuDeviceGetCount(int *count)
{
	ENTER(cuDeviceGetCount);
	if (!count)
		return leave(CUDA_ERROR_INVALID_VALUE);
	*count = emu.devices;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDeviceGet(CUdevice *out, int ordinal)
{
	ENTER_DEVICE(cuDeviceGet, ordinal, out);
	*out = d->number;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDeviceGetName(char *name, int len, CUdevice dev)
{
	ENTER_DEVICE(cuDeviceGetName, dev, name && len > 0);
	snprintf(name, len, "Emulated GPU %d", d->number);
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
	ENTER_DEVICE(cuDeviceGetUuid, dev, uuid);
	memcpy(uuid->bytes, "emulated-device", sizeof uuid->bytes);
	uuid->bytes[15] = (char)d->number;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDeviceTotalMem(size_t *bytes, CUdevice dev)
{
	ENTER_DEVICE(cuDeviceTotalMem, dev, bytes);
	*bytes = d->memory.limit;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice dev)
{
	ENTER_DEVICE(cuDeviceGetAttribute, dev, value);
	switch ((int)attribute) {
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
		*value = 9;
		break;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
	case CU_DEVICE_ATTRIBUTE_INTEGRATED:
	case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
	case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
		*value = 0;
		break;
	case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
		*value = 1;
		break;
	case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
		*value = 2;
		break;
	case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
		*value = 1;
		break;
	case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
		*value = 0xE0 + d->number;
		break;
	case CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID:
		if (d->numa == EMU_NO_NUMA)
			return leave(CUDA_ERROR_INVALID_VALUE);
		*value = d->numa;
		break;
	default:
		return leave(CUDA_ERROR_INVALID_VALUE);
	}
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice dev)
{
	ENTER_DEVICE(cuDevicePrimaryCtxRetain, dev, ctx);
	if (d->lost != CUDA_SUCCESS)
		return leave(d->lost);
	d->holds++;
	emu.count.contexts++;
	*ctx = (CUcontext)d->context;
	return leave(CUDA_SUCCESS);
}

/* A hold of a lost device's context can be given back: that is no work for the device. */
CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice dev)
{
	ENTER_DEVICE(cuDevicePrimaryCtxRelease, dev, true);
	if (!d->holds)
		return leave(CUDA_ERROR_INVALID_CONTEXT);
	if (d->holds == 1)
		context_end(d);
	else {
		d->holds--;
		emu.count.contexts--;
	}
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDevicePrimaryCtxReset(CUdevice dev)
{
	ENTER_DEVICE(cuDevicePrimaryCtxReset, dev, true);
	context_end(d);
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
	ENTER_DEVICE(cuDevicePrimaryCtxGetState, dev, flags && active);
	*flags = d->context_flags;
	*active = d->holds > 0;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags)
{
	ENTER_DEVICE(cuDevicePrimaryCtxSetFlags, dev, true);
	d->context_flags = flags;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext *ctx)
{
	ENTER(cuCtxGetCurrent);
	if (!ctx)
		return leave(CUDA_ERROR_INVALID_VALUE);
	*ctx = depth ? (CUcontext)stack[depth - 1] : NULL;
	return leave(CUDA_SUCCESS);
}

/* Whether a context may become current; a lost one may: it is there, and says so at the next call. */
static CUresult usable(CUcontext ctx)
{
	struct device *d = handle_get(HANDLE_CONTEXT, (uint64_t)ctx);
	if (!d)
		return CUDA_ERROR_INVALID_CONTEXT;
	return d->holds ? CUDA_SUCCESS : CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext ctx)
{
	ENTER(cuCtxSetCurrent);
	if (!ctx) {
		depth -= depth > 0;
		return leave(CUDA_SUCCESS);
	}
	CUresult result = usable(ctx);
	if (result != CUDA_SUCCESS)
		return leave(result);
	if (!depth)
		depth = 1;
	stack[depth - 1] = (uint64_t)ctx;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuCtxPushCurrent(CUcontext ctx)
{
	ENTER(cuCtxPushCurrent);
	CUresult result = usable(ctx);
	if (result != CUDA_SUCCESS)
		return leave(result);
	if (depth == DEPTH)
		return leave(CUDA_ERROR_OPERATING_SYSTEM);
	stack[depth++] = (uint64_t)ctx;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuCtxPopCurrent(CUcontext *ctx)
{
	ENTER(cuCtxPopCurrent);
	if (!depth)
		return leave(CUDA_ERROR_INVALID_CONTEXT);
	depth--;
	if (ctx)
		*ctx = (CUcontext)stack[depth];
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuCtxGetDevice(CUdevice *dev)
{
	ENTER_CONTEXT(cuCtxGetDevice, d);
	if (!dev)
		return leave(CUDA_ERROR_INVALID_VALUE);
	*dev = d->number;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuCtxSynchronize(void)
{
	ENTER_CONTEXT(cuCtxSynchronize, d);
	return leave(device_wait(d));
}

CUresult CUDAAPI cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
	ENTER_CONTEXT(cuCtxGetStreamPriorityRange, d);
	if (least)
		*least = 0;
	if (greatest)
		*greatest = -5;
	return leave(CUDA_SUCCESS);
}

#define CODES(X) \
	X(CUDA_SUCCESS) X(CUDA_ERROR_INVALID_VALUE) X(CUDA_ERROR_OUT_OF_MEMORY) X(CUDA_ERROR_NOT_INITIALIZED) \
	X(CUDA_ERROR_DEINITIALIZED) X(CUDA_ERROR_STUB_LIBRARY) X(CUDA_ERROR_DEVICE_UNAVAILABLE) X(CUDA_ERROR_NO_DEVICE) \
	X(CUDA_ERROR_INVALID_DEVICE) X(CUDA_ERROR_INVALID_CONTEXT) X(CUDA_ERROR_ECC_UNCORRECTABLE) \
	X(CUDA_ERROR_NVLINK_UNCORRECTABLE) X(CUDA_ERROR_CONTAINED) X(CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND) \
	X(CUDA_ERROR_SHARED_OBJECT_INIT_FAILED) X(CUDA_ERROR_OPERATING_SYSTEM) X(CUDA_ERROR_INVALID_HANDLE) \
	X(CUDA_ERROR_ILLEGAL_STATE) X(CUDA_ERROR_NOT_FOUND) X(CUDA_ERROR_NOT_READY) X(CUDA_ERROR_ILLEGAL_ADDRESS) \
	X(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES) X(CUDA_ERROR_LAUNCH_TIMEOUT) X(CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE) \
	X(CUDA_ERROR_CONTEXT_IS_DESTROYED) X(CUDA_ERROR_ASSERT) X(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED) \
	X(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED) X(CUDA_ERROR_HARDWARE_STACK_ERROR) X(CUDA_ERROR_ILLEGAL_INSTRUCTION) \
	X(CUDA_ERROR_MISALIGNED_ADDRESS) X(CUDA_ERROR_INVALID_ADDRESS_SPACE) X(CUDA_ERROR_INVALID_PC) \
	X(CUDA_ERROR_LAUNCH_FAILED) X(CUDA_ERROR_TENSOR_MEMORY_LEAK) X(CUDA_ERROR_NOT_PERMITTED) X(CUDA_ERROR_NOT_SUPPORTED) \
	X(CUDA_ERROR_SYSTEM_NOT_READY) X(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH) X(CUDA_ERROR_MPS_CLIENT_TERMINATED) \
	X(CUDA_ERROR_TIMEOUT) X(CUDA_ERROR_EXTERNAL_DEVICE) X(CUDA_ERROR_UNKNOWN)

/* These two are called with no context, at any time, and never fail on purpose. */

CUresult CUDAAPI cuGetErrorName(CUresult code, const char **name)
{
	switch (code) {
#define X(c) \
	case c: \
		*name = #c; \
		return CUDA_SUCCESS;
		CODES(X)
#undef X
	default:
		*name = NULL;
		return CUDA_ERROR_INVALID_VALUE;
	}
}

CUresult CUDAAPI cuGetErrorString(CUresult code, const char **text) { return cuGetErrorName(code, text); }
