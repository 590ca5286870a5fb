/*
 * The driver's loader, its trampolines and the emulator, under the sanitizers: emulator_test EMULATOR
 *
 * What package cuda calls is tested from Go; here is the rest, and what must not leak or race on its way down.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h> /* before cuda.h includes it, where driver.h makes what is declared hidden */
#include <string.h>

#include "driver.h"
#include "emulator.h"

#define want(cond) \
	do { \
		if (!(cond)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
			exit(1); \
		} \
	} while (0)

#define must(call) gives(CUDA_SUCCESS, call)
#define gives(code, call) \
	do { \
		CUresult got_ = (call); \
		if (got_ != (code)) { \
			fprintf(stderr, "%s:%d: %s: %d, not %d\n", __FILE__, __LINE__, #call, got_, code); \
			exit(1); \
		} \
	} while (0)

#define SIZE 20000

/* The emulator's own functions, by name. */
#define EMU(name) ((__typeof__(&name))found(#name))
/* Functions of the driver for which libcuda.a has no trampoline; the header gives some names a version. */
#define DRIVER(name) ((__typeof__(&name))found(STRING(name)))
#define STRING(name) STRING_OF(name)
#define STRING_OF(name) #name

static void *found(const char *name)
{
	void *fn = NULL;
	must(penstock_driver_find(name, &fn));
	return fn;
}

static void start(struct emu_config c)
{
	want(EMU(emu_reset)(&c) == 0);
	CUcontext ctx;
	must(cuDevicePrimaryCtxRetain(&ctx, 0));
	must(cuCtxSetCurrent(ctx));
}

/* Ends what start began: nothing may be left. */
static void stop(void)
{
	must(cuDevicePrimaryCtxRelease(0));
	struct emu_counters c;
	EMU(emu_count)(&c);
	want(!c.contexts && !c.streams && !c.events && !c.device_blocks && !c.host_blocks && !c.registered_blocks && !c.abandoned);
	want(!c.queued && !c.device_bytes && !c.host_bytes && !c.registered_bytes);
}

static struct emu_counters counters(void)
{
	struct emu_counters c;
	EMU(emu_count)(&c);
	return c;
}

/* Copies that the caller waits for, in the default stream, and the order between it and the others. */
static void default_stream(void)
{
	start((struct emu_config){.seed = 2, .max_delay_us = 50});
	unsigned char *plain = malloc(SIZE), *back = malloc(SIZE);
	CUdeviceptr a, b;
	CUstream turns, free_running;
	must(cuMemAlloc(&a, SIZE));
	must(cuMemAlloc(&b, SIZE));
	must(cuStreamCreate(&turns, CU_STREAM_DEFAULT));
	must(cuStreamCreateWithPriority(&free_running, CU_STREAM_NON_BLOCKING, -9));
	int priority = 0;
	unsigned flags = 7;
	must(cuStreamGetPriority(free_running, &priority));
	must(cuStreamGetFlags(turns, &flags));
	want(priority == -5 && flags == CU_STREAM_DEFAULT);
	for (int i = 0; i < 20; i++) {
		memset(plain, i, SIZE);
		must(cuMemcpyHtoD(a, plain, SIZE));
		must(cuMemcpyDtoDAsync(b, a, SIZE, turns));
		must(cuMemsetD8Async(a, 99, SIZE, NULL)); /* after the copy, though nothing says so */
		must(cuMemcpyDtoH(back, b, SIZE));
		want(!memcmp(plain, back, SIZE));
		must(cuMemcpy((CUdeviceptr)back, a, SIZE)); /* of any two places */
		want(back[0] == 99 && back[SIZE - 1] == 99);
	}
	must(cuMemsetD32(a, 0x01020304, SIZE / 4));
	must(cuMemsetD8(a, 9, 1));
	must(cuMemcpyDtoD(b, a, SIZE));
	must(cuMemcpyAsync((CUdeviceptr)back, b, SIZE, CU_STREAM_PER_THREAD));
	want(back[0] == 9 && back[1] == 3 && back[2] == 2 && back[3] == 1 && back[SIZE - 1] == 1);
	must(cuMemsetD32Async(a, 0, SIZE / 4, free_running));
	gives(CUDA_ERROR_INVALID_VALUE, cuMemsetD32(a + 2, 0, 1));
	gives(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD(a + 1, plain, SIZE));
	gives(CUDA_ERROR_INVALID_HANDLE, cuStreamDestroy(NULL));
	must(cuCtxSynchronize());
	want(counters().queued == 0 && counters().pageable_copies > 60);
	must(cuStreamDestroy(turns));
	gives(CUDA_ERROR_INVALID_HANDLE, cuStreamQuery(turns));
	must(cuStreamDestroy(free_running));
	must(cuMemFree(a));
	must(cuMemFree(b));
	gives(CUDA_ERROR_INVALID_VALUE, cuMemFree(b));
	must(cuMemFree(0));
	free(plain);
	free(back);
	stop();
}

static void registered(void)
{
	start((struct emu_config){0});
	unsigned char *p = calloc(2, SIZE);
	void *pinned;
	CUdeviceptr d, base;
	CUstream s;
	size_t bytes;
	unsigned type = 0;
	int device = -1;
	must(cuMemAlloc(&d, SIZE));
	must(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
	must(cuMemHostAlloc(&pinned, SIZE, CU_MEMHOSTALLOC_PORTABLE));
	must(DRIVER(cuMemHostRegister)(p, SIZE, 0));
	gives(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, DRIVER(cuMemHostRegister)(p + SIZE - 1, 2, 0));
	gives(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, DRIVER(cuMemHostRegister)(pinned, 1, 0));
	gives(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, DRIVER(cuMemHostUnregister)(p + 1));
	gives(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(p));
	must(cuMemcpyHtoDAsync(d, p, SIZE, s));
	want(counters().pageable_copies == 0);
	must(cuMemcpyHtoDAsync(d, p + SIZE, SIZE, s));
	want(counters().pageable_copies == 1);

	must(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, d + 5));
	want(type == CU_MEMORYTYPE_DEVICE);
	must(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)pinned));
	want(type == CU_MEMORYTYPE_HOST);
	must(cuPointerGetAttribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, d));
	want(device == 0);
	gives(CUDA_ERROR_INVALID_VALUE, cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)&type));
	must(cuMemGetAddressRange(&base, &bytes, d + 77));
	want(base == d && bytes == SIZE);
	gives(CUDA_ERROR_NOT_FOUND, cuMemGetAddressRange(&base, &bytes, (CUdeviceptr)p));

	/* What a queued copy reads is no longer registered when it is made: it may be no memory at all by then. */
	must(EMU(emu_hold)(s, 1));
	must(cuMemcpyHtoDAsync(d, p, SIZE, s));
	must(DRIVER(cuMemHostUnregister)(p));
	must(EMU(emu_hold)(s, 0));
	gives(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(s));
	want(counters().stale == 1);
	gives(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemFreeHost(pinned));
	must(cuDevicePrimaryCtxRelease(0));
	want(counters().host_blocks == 0 && counters().abandoned == 0); /* it went with the device */
	free(p);
}

static CUstream launched_stream;

static void CUDA_CB ask(void *data)
{
	CUdeviceptr p;
	*(CUresult *)data = cuMemAlloc(&p, 16);
}

static CUresult work(void *data)
{
	CUdeviceptr *made = data;
	CUdeviceptr p;
	CUresult result = cuMemAlloc(&p, 16);
	if (result == CUDA_SUCCESS && cuStreamQuery(launched_stream) != CUDA_ERROR_NOT_PERMITTED)
		return CUDA_ERROR_UNKNOWN;
	*made = p;
	return result;
}

static CUresult fail(void *data)
{
	(void)data;
	return CUDA_ERROR_LAUNCH_FAILED;
}

static void launches(void)
{
	start((struct emu_config){.max_delay_us = 20, .record = 1});
	CUresult asked = CUDA_SUCCESS;
	CUdeviceptr d, made = 0;
	must(cuMemAlloc(&d, 64));
	must(cuStreamCreate(&launched_stream, CU_STREAM_NON_BLOCKING));
	must(DRIVER(cuLaunchHostFunc)(launched_stream, ask, &asked));
	const struct emu_buffer uses[] = {{d, 64, 1, 0}};
	const struct emu_buffer beyond[] = {{d, 65, 1, 0}};
	must(EMU(emu_launch)(launched_stream, uses, 1, work, &made));
	gives(CUDA_ERROR_INVALID_VALUE, EMU(emu_launch)(launched_stream, beyond, 1, work, &made));
	must(cuStreamSynchronize(launched_stream));
	want(asked == CUDA_ERROR_NOT_PERMITTED && made);
	want(EMU(emu_device_to_host)(made, 16) && !EMU(emu_device_to_host)(made, 17) && !EMU(emu_device_to_host)(1, 1));
	must(cuMemFree(made));

	struct emu_op ops[16];
	struct emu_buffer buffers[16];
	size_t n = EMU(emu_record_ops)(0, ops, 16);
	want(n >= 3 && ops[0].kind == EMU_HOST && ops[1].kind == EMU_COMPUTE && ops[1].buffers == 1 && ops[1].bytes == 64);
	want(EMU(emu_record_buffers)(ops[1].first_buffer, buffers, 16) >= 1 && buffers[0].address == d && buffers[0].write);
	want(EMU(emu_record_ops)(n, ops, 16) == 0);

	CUevent e;
	must(cuEventCreate(&e, CU_EVENT_DISABLE_TIMING));
	must(EMU(emu_launch)(launched_stream, NULL, 0, fail, NULL));
	gives(CUDA_ERROR_LAUNCH_FAILED, cuStreamSynchronize(launched_stream));
	gives(CUDA_ERROR_LAUNCH_FAILED, cuEventRecord(e, launched_stream));
	gives(CUDA_ERROR_LAUNCH_FAILED, cuEventQuery(e));
	must(cuDevicePrimaryCtxRelease(0));
	want(counters().streams == 0 && counters().events == 0 && counters().device_blocks == 0);
}

/* Several threads with streams of their own in one context; queues are not empty when all is given back. */
static void *churn(void *arg)
{
	CUcontext ctx;
	must(cuDevicePrimaryCtxRetain(&ctx, 0));
	must(cuCtxPushCurrent(ctx));
	for (int i = 0; i < 30; i++) {
		CUstream a, b;
		CUevent e;
		CUdeviceptr d;
		void *h;
		must(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
		must(cuStreamCreate(&b, i % 2 ? CU_STREAM_NON_BLOCKING : CU_STREAM_DEFAULT));
		must(cuEventCreate(&e, 0));
		must(cuMemAlloc(&d, SIZE));
		must(cuMemHostAlloc(&h, SIZE, 0));
		memset(h, (int)(intptr_t)arg, SIZE);
		must(cuMemcpyHtoDAsync(d, h, SIZE, a));
		must(cuEventRecord(e, a));
		must(cuStreamWaitEvent(b, e, 0));
		must(cuMemcpyDtoHAsync(h, d, SIZE, b));
		if (i % 3 == 0)
			must(cuEventSynchronize(e));
		must(cuEventDestroy(e));
		must(cuStreamDestroy(a));
		must(cuStreamDestroy(b));
		must(cuMemFree(d)); /* waits for the copies */
		want(((unsigned char *)h)[SIZE - 1] == (unsigned char)(intptr_t)arg);
		must(cuMemFreeHost(h));
	}
	CUcontext popped;
	must(cuCtxPopCurrent(&popped));
	want(popped == ctx);
	gives(CUDA_ERROR_INVALID_CONTEXT, cuCtxPopCurrent(NULL));
	must(cuDevicePrimaryCtxRelease(0));
	return NULL;
}

static void threads(void)
{
	start((struct emu_config){.seed = 9, .max_delay_us = 20, .record = 1});
	pthread_t all[4];
	for (intptr_t i = 0; i < 4; i++)
		want(pthread_create(&all[i], NULL, churn, (void *)(i + 1)) == 0);
	for (int i = 0; i < 4; i++)
		pthread_join(all[i], NULL);
	want(counters().stale == 0);
	stop();
}

/* What is left at the end of a context, or at a reset, is given back and counted. */
static void torn_down(void)
{
	struct emu_config two = {.devices = 2, .max_delay_us = 20};
	start(two);
	CUstream s;
	CUevent e;
	CUdeviceptr d;
	void *h;
	int active = 0, count = 0;
	unsigned flags;
	must(cuDeviceGetCount(&count));
	must(cuDevicePrimaryCtxGetState(0, &flags, &active));
	want(count == 2 && active);
	must(cuStreamCreate(&s, 0));
	must(cuEventCreate(&e, 0));
	must(cuMemAlloc(&d, 64));
	must(cuMemHostAlloc(&h, 64, 0));
	must(cuMemcpyHtoDAsync(d, h, 64, s));
	must(cuMemcpyHtoDAsync(d, h, 64, NULL));
	must(cuDevicePrimaryCtxReset(0));
	want(counters().abandoned == 4 && counters().streams == 0);
	gives(CUDA_ERROR_CONTEXT_IS_DESTROYED, cuStreamCreate(&s, 0));
	gives(CUDA_ERROR_INVALID_DEVICE, cuDevicePrimaryCtxReset(2));

	start(two);
	must(cuStreamCreate(&s, 0));
	must(EMU(emu_hold)(s, 1));
	must(cuEventCreate(&e, 0));
	must(cuEventRecord(e, s));
	start(two); /* with a held stream and its queue */
	gives(CUDA_ERROR_INVALID_HANDLE, cuEventQuery(e));
	gives(CUDA_ERROR_INVALID_HANDLE, EMU(emu_hold)(s, 0));
	stop();
	const struct emu_config wrong[] = {{.devices = 17}, {.host_bytes = UINT64_MAX}, {.device = {{.bytes = UINT64_MAX}}}};
	for (int i = 0; i < 3; i++)
		want(EMU(emu_reset)(&wrong[i]) == -1);
}

static void faults(void)
{
	start((struct emu_config){0});
	CUdeviceptr d;
	size_t bytes, total;
	struct emu_fault f = {.call = "cuMemAlloc", .nth = 2, .times = 2, .device = -1, .code = CUDA_ERROR_OUT_OF_MEMORY};
	want(EMU(emu_inject)(&f) == 0);
	must(cuMemAlloc(&d, 1));
	must(cuMemFree(d));
	gives(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&d, 1));
	gives(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&d, 1));
	must(cuMemAlloc(&d, 1));
	must(cuMemFree(d));
	f = (struct emu_fault){.call = "*", .nth = 1, .device = 1, .code = CUDA_ERROR_UNKNOWN};
	want(EMU(emu_inject)(&f) == 0);
	must(cuMemGetInfo(&bytes, &total)); /* device 0 */
	f.device = 0;
	want(EMU(emu_inject)(&f) == 0);
	gives(CUDA_ERROR_UNKNOWN, cuMemGetInfo(&bytes, &total));
	must(cuMemGetInfo(&bytes, &total));
	want(bytes == total && total == (size_t)1 << 30);
	struct emu_fault wrong = {.call = "cuNothing", .nth = 1};
	want(EMU(emu_inject)(&wrong) == -1);
	wrong = (struct emu_fault){.call = "cuMemFree"};
	want(EMU(emu_inject)(&wrong) == -1);
	gives(CUDA_ERROR_INVALID_DEVICE, EMU(emu_lose)(1, CUDA_ERROR_UNKNOWN));
	stop();
}

/* On another thread, while one captures. */
static void *take_memory(void *current)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
	CUdeviceptr p;
	must(cuCtxSetCurrent(current));
	gives(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuMemAlloc(&p, 16));
	must(cuThreadExchangeStreamCaptureMode(&mode));
	want(mode == CU_STREAM_CAPTURE_MODE_GLOBAL);
	must(cuMemAlloc(&p, 16));
	must(cuMemFree(p));
	return NULL;
}

static void captures(void)
{
	start((struct emu_config){0});
	CUdeviceptr p;
	CUcontext current;
	pthread_t thread;
	must(cuCtxGetCurrent(&current));
	must(EMU(emu_capture)(1));
	gives(CUDA_ERROR_ILLEGAL_STATE, EMU(emu_capture)(1));
	must(EMU(emu_capture)(0));
	must(EMU(emu_capture)(1));
	gives(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuMemAlloc(&p, 16));
	gives(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, EMU(emu_capture)(0));
	must(EMU(emu_capture)(1));
	want(pthread_create(&thread, NULL, take_memory, current) == 0 && pthread_join(thread, NULL) == 0);
	gives(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, EMU(emu_capture)(0));
	CUstreamCaptureMode wrong = 3;
	gives(CUDA_ERROR_INVALID_VALUE, cuThreadExchangeStreamCaptureMode(&wrong));
	must(cuMemAlloc(&p, 16));
	must(cuMemFree(p));
	stop();
}

int main(int argc, char **argv)
{
	want(argc == 2);
	want(penstock_driver_open("/no/such/driver") == PENSTOCK_DRIVER_ABSENT);
	want(penstock_driver_open(argv[1]) == PENSTOCK_DRIVER_OPEN);
	want(penstock_driver_open(argv[1]) == PENSTOCK_DRIVER_OPEN && penstock_driver_open("libm.so.6") == PENSTOCK_DRIVER_OTHER);
	struct penstock_driver_facts facts;
	penstock_driver_look(&facts);
	want(facts.status == PENSTOCK_DRIVER_OPEN && strstr(facts.path, "emulator"));
	CUarray lacking;
	gives(CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND, cuArrayCreate(&lacking, NULL));

	default_stream();
	registered();
	launches();
	threads();
	torn_down();
	faults();
	captures();
	puts("emulator_test: ok");
	return 0;
}
