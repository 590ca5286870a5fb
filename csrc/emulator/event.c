/* Events. */
#define _GNU_SOURCE
#include "state.h"

#include <stdlib.h>

void event_close(struct event *e)
{
	struct event **at = &e->device->events;
	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	handle_drop(e->handle);
	mark_drop(e->mark);
	emu.count.events--;
	free(e);
}

CUresult CUDAAPI cuEventCreate(CUevent *out, unsigned int flags)
{
	ENTER_CONTEXT(cuEventCreate, d);
	if (!out || (flags & ~(unsigned)(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING)))
		return leave(CUDA_ERROR_INVALID_VALUE);
	struct event *e = calloc(1, sizeof *e);
	if (!e)
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	*e = (struct event){.next = d->events, .device = d, .flags = flags, .handle = handle_make(HANDLE_EVENT, e)};
	if (!e->handle) {
		free(e);
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	}
	d->events = e;
	emu.count.events++;
	*out = (CUevent)e->handle;
	return leave(CUDA_SUCCESS);
}

/* Sets e to the event of a handle, or returns. */
#define FIND_EVENT(e, handle) \
	struct event *e = handle_get(HANDLE_EVENT, (uint64_t)(handle)); \
	if (!e) \
	return leave(CUDA_ERROR_INVALID_HANDLE)

CUresult CUDAAPI cuEventDestroy(CUevent event)
{
	ENTER_CONTEXT(cuEventDestroy, d);
	FIND_EVENT(e, event);
	event_close(e);
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuEventRecord(CUevent event, CUstream stream)
{
	ENTER_CONTEXT(cuEventRecord, d);
	FIND_EVENT(e, event);
	struct stream *s = stream_of(d, stream);
	if (!s || s->device != e->device)
		return leave(CUDA_ERROR_INVALID_HANDLE);
	struct mark *m = calloc(1, sizeof *m);
	struct work *w = calloc(1, sizeof *w);
	if (!m || !w) {
		free(m);
		free(w);
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	}
	m->refs = 2; /* the event's and the work's */
	m->op = record_op(EMU_RECORD, s, e->handle, 0, 0, 0);
	*w = (struct work){.kind = EMU_RECORD, .mark = m, .op = m->op};
	mark_drop(e->mark);
	e->mark = m;
	stream_submit(s, w);
	return leave(CUDA_SUCCESS);
}

/* Streams and events of two contexts may meet here, as on a real driver. */
CUresult CUDAAPI cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags)
{
	ENTER_CONTEXT(cuStreamWaitEvent, d);
	FIND_EVENT(e, event);
	struct stream *s = stream_of(d, stream);
	if (!s)
		return leave(CUDA_ERROR_INVALID_HANDLE);
	if (flags & ~(unsigned)CU_EVENT_WAIT_EXTERNAL)
		return leave(CUDA_ERROR_INVALID_VALUE);
	uint64_t op = record_op(EMU_WAIT, s, e->handle, e->mark ? e->mark->op : 0, 0, 0);
	if (!e->mark)
		return leave(CUDA_SUCCESS);
	struct work *w = calloc(1, sizeof *w);
	if (!w)
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	*w = (struct work){.kind = EMU_WAIT, .mark = mark_keep(e->mark), .op = op};
	stream_submit(s, w);
	return leave(CUDA_SUCCESS);
}

/* The host knows: the record shows the first time, and whenever a thread waited for it. */
static void observed(struct device *d, struct mark *m, bool blocking)
{
	if (blocking || !m->observed)
		record_observed(d, m->op, blocking);
	m->observed = true;
}

CUresult CUDAAPI cuEventQuery(CUevent event)
{
	ENTER(cuEventQuery);
	FIND_EVENT(e, event);
	if (e->device->lost != CUDA_SUCCESS)
		return leave(state_of(e->device));
	if (!e->mark)
		return leave(CUDA_SUCCESS);
	if (!e->mark->done)
		return leave(CUDA_ERROR_NOT_READY);
	observed(e->device, e->mark, false);
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuEventSynchronize(CUevent event)
{
	ENTER(cuEventSynchronize);
	FIND_EVENT(e, event);
	struct device *d = e->device;
	if (e->mark && d->lost == CUDA_SUCCESS) {
		struct mark *m = mark_keep(e->mark);
		while (!m->done)
			pthread_cond_wait(&emu.progress, &emu.lock);
		observed(d, m, true);
		mark_drop(m);
	}
	return leave(state_of(d));
}

CUresult CUDAAPI cuEventElapsedTime(float *ms, CUevent start, CUevent end)
{
	ENTER(cuEventElapsedTime);
	FIND_EVENT(a, start);
	FIND_EVENT(b, end);
	if (!ms)
		return leave(CUDA_ERROR_INVALID_VALUE);
	if (!a->mark || !b->mark || a->device != b->device || ((a->flags | b->flags) & CU_EVENT_DISABLE_TIMING))
		return leave(CUDA_ERROR_INVALID_HANDLE);
	if (a->device->lost != CUDA_SUCCESS)
		return leave(a->device->lost);
	if (!a->mark->done || !b->mark->done)
		return leave(CUDA_ERROR_NOT_READY);
	*ms = (float)((double)(b->mark->at_ns - a->mark->at_ns) / 1e6);
	return leave(CUDA_SUCCESS);
}
