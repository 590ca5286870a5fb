#include "state.h"

/*
 * What the capture of a CUDA graph is to the other threads. While one is under way that began in the global mode, calls that it
 * could miss are refused on every thread, and the capture is spoiled by them, except on threads whose own mode says that they
 * are nobody's business: see cuThreadExchangeStreamCaptureMode. On the thread that captures they are refused in any case.
 */

static unsigned captures;
static bool spoiled;
static __thread bool capturing;
static __thread CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

/* The driver's manual names some and says that there are others: these are all that take or free memory or wait, or ask. */
static bool is_unsafe(enum emu_call call)
{
	switch (call) {
	case CALL_cuMemAlloc:
	case CALL_cuMemFree:
	case CALL_cuMemHostAlloc:
	case CALL_cuMemFreeHost:
	case CALL_cuMemHostRegister:
	case CALL_cuMemHostUnregister:
	case CALL_cuMemcpy:
	case CALL_cuMemcpyHtoD:
	case CALL_cuMemcpyDtoH:
	case CALL_cuMemcpyDtoD:
	case CALL_cuMemsetD8:
	case CALL_cuMemsetD32:
	case CALL_cuCtxSynchronize:
	case CALL_cuStreamQuery:
	case CALL_cuStreamSynchronize:
	case CALL_cuEventQuery:
	case CALL_cuEventSynchronize:
		return true;
	default:
		return false;
	}
}

bool capture_forbids(enum emu_call call)
{
	if (in_stream || !is_unsafe(call) || !(capturing || (captures && mode == CU_STREAM_CAPTURE_MODE_GLOBAL)))
		return false;
	spoiled = true;
	return true;
}

CUresult CUDAAPI cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *other)
{
	ENTER(cuThreadExchangeStreamCaptureMode);
	if (!other || *other > CU_STREAM_CAPTURE_MODE_RELAXED)
		return leave(CUDA_ERROR_INVALID_VALUE);
	CUstreamCaptureMode before = mode;
	mode = *other;
	*other = before;
	return leave(CUDA_SUCCESS);
}

CUresult emu_capture(int on)
{
	pthread_mutex_lock(&emu.lock);
	if (capturing == (on != 0))
		return leave(CUDA_ERROR_ILLEGAL_STATE);
	capturing = on;
	if (on) {
		spoiled = captures++ && spoiled;
		return leave(CUDA_SUCCESS);
	}
	captures--;
	return leave(spoiled ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS);
}
