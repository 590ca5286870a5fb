/* Streams: a thread each, which does what is queued late and in order. */
#define _GNU_SOURCE
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

__thread bool in_stream;
__thread struct device *launched_on;

int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

struct mark *mark_keep(struct mark *m)
{
	m->refs++;
	return m;
}

void mark_drop(struct mark *m)
{
	if (m && --m->refs == 0)
		free(m);
}

/* splitmix64: a stream's delays depend on the seed and on which stream it is, not on the others. */
static uint64_t draw(struct stream *s)
{
	uint64_t z = s->random += UINT64_C(0x9E3779B97F4A7C15);
	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return z ^ (z >> 31);
}

static void pause_ns(int64_t ns)
{
	if (ns > 0)
		nanosleep(&(struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000}, NULL);
}

/* How long the next piece of work is late: not at all, up to the bound, or, one time in eight, up to four times that. */
static int64_t delay_locked(struct stream *s, bool slow)
{
	int64_t bound = (int64_t)emu.max_delay_us * 1000;
	uint64_t r = draw(s), kind = r % 8;
	if (!bound || kind == 0)
		return slow ? bound : 0;
	if (kind == 1)
		bound *= 4;
	return (int64_t)((r >> 8) % (uint64_t)bound) + (slow ? bound : 0);
}

static void fill(char *to, uint32_t value, uint32_t width, size_t bytes)
{
	if (width == 1)
		memset(to, (int)value, bytes);
	else
		for (size_t i = 0; i + 4 <= bytes; i += 4)
			memcpy(to + i, &value, 4);
}

/* A large copy is made in two parts, so that who changes its ends meanwhile is seen to. */
static void move(const struct work *w, int64_t between)
{
	size_t first = w->bytes > 4096 ? w->bytes / 2 : w->bytes;
	memmove(w->to.work, w->from.work, first);
	if (first < w->bytes) {
		pause_ns(between);
		memmove(w->to.work + first, w->from.work + first, w->bytes - first);
	}
}

/* Looks once more at memory that was fine when the work was queued. A registered block's address may be no memory now. */
static CUresult check_end(struct end *e, size_t bytes, unsigned *flags)
{
	if (e->place == PLACE_PAGEABLE || end_live(e, bytes))
		return CUDA_SUCCESS;
	if (e->place == PLACE_DEVICE)
		return CUDA_ERROR_ILLEGAL_ADDRESS;
	*flags |= EMU_STALE;
	emu.count.stale++;
	return e->place == PLACE_PINNED ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
}

/* Does a piece of work, without the lock for the part that takes long. */
static CUresult do_work(struct stream *s, struct work *w, unsigned *flags)
{
	CUresult result = CUDA_SUCCESS;
	bool copy = w->kind == EMU_COPY_IN || w->kind == EMU_COPY_OUT || w->kind == EMU_COPY_DEVICE || w->kind == EMU_COPY_HOST;
	if (copy)
		result = check_end(&w->from, w->bytes, flags);
	if (result == CUDA_SUCCESS && (copy || w->kind == EMU_FILL))
		result = check_end(&w->to, w->bytes, flags);
	if (result != CUDA_SUCCESS)
		return result;
	int64_t between = copy ? delay_locked(s, false) / 4 : 0;
	s->device->busy++;
	pthread_mutex_unlock(&emu.lock);
	if (copy)
		move(w, between);
	else if (w->kind == EMU_FILL)
		fill(w->to.work, w->value, w->width, w->bytes);
	else if (w->kind == EMU_HOST)
		w->function(w->data);
	else if (w->kind == EMU_COMPUTE) {
		launched_on = s->device;
		result = w->launched(w->data);
		launched_on = NULL;
	}
	pthread_mutex_lock(&emu.lock);
	s->device->busy--;
	return result;
}

static void run(struct stream *s, struct work *w)
{
	struct device *d = s->device;
	unsigned flags = 0;
	int64_t start = now_ns();
	if (w->kind == EMU_WAIT)
		while (!w->mark->done && d->lost == CUDA_SUCCESS)
			pthread_cond_wait(&emu.progress, &emu.lock);
	else if (w->kind != EMU_RECORD && d->lost == CUDA_SUCCESS) {
		CUresult result = w->fail != CUDA_SUCCESS ? w->fail : do_work(s, w, &flags);
		if (result != CUDA_SUCCESS)
			lose(d, result);
	}
	int64_t end = now_ns();
	if (w->kind == EMU_RECORD) {
		w->mark->done = true;
		w->mark->error = d->lost;
		w->mark->at_ns = end;
	}
	record_times(w->op, start, end, flags | (d->lost != CUDA_SUCCESS ? EMU_FAILED : 0));
}

static void finish(struct stream *s)
{
	struct work *w = s->head;
	s->head = w->next;
	if (!s->head)
		s->tail = &s->head;
	mark_drop(w->mark);
	free(w);
	s->finished++;
	emu.count.queued--;
	pthread_cond_broadcast(&emu.progress);
}

static void *serve(void *arg)
{
	struct stream *s = arg;
	in_stream = true;
	pthread_mutex_lock(&emu.lock);
	for (;;) {
		bool lost = s->device->lost != CUDA_SUCCESS;
		if (s->head && (!s->held || lost)) {
			int64_t ns = lost ? 0 : delay_locked(s, s->head->slow);
			pthread_mutex_unlock(&emu.lock);
			pause_ns(ns);
			pthread_mutex_lock(&emu.lock);
			if (s->held && s->device->lost == CUDA_SUCCESS)
				continue;
			run(s, s->head);
			finish(s);
		} else if (s->closing)
			break;
		else
			pthread_cond_wait(&s->wake, &emu.lock);
	}
	struct stream **at = &s->device->streams;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	pthread_cond_broadcast(&emu.progress);
	pthread_mutex_unlock(&emu.lock);
	pthread_cond_destroy(&s->wake);
	free(s);
	return NULL;
}

struct stream *stream_make(struct device *d, unsigned flags, int priority)
{
	struct stream *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	*s = (struct stream){.next = d->streams, .device = d, .flags = flags, .priority = priority};
	s->tail = &s->head;
	s->random = emu.seed * 1000003 + ++emu.streams_made;
	s->handle = handle_make(HANDLE_STREAM, s);
	pthread_cond_init(&s->wake, NULL);
	pthread_t thread;
	if (!s->handle || pthread_create(&thread, NULL, serve, s) != 0) {
		handle_drop(s->handle);
		pthread_cond_destroy(&s->wake);
		free(s);
		return NULL;
	}
	pthread_detach(thread); /* it takes the stream out of the device's list when it ends */
	d->streams = s;
	return s;
}

/* The thread ends, and frees the stream, when its queue is empty. */
void stream_close(struct stream *s)
{
	if (s->device->standard == s)
		s->device->standard = NULL;
	else
		emu.count.streams--;
	handle_drop(s->handle);
	s->closing = true;
	s->held = false;
	pthread_cond_signal(&s->wake);
}

struct stream *stream_of(struct device *d, CUstream handle)
{
	if (handle && handle != CU_STREAM_LEGACY && handle != CU_STREAM_PER_THREAD)
		return handle_get(HANDLE_STREAM, (uint64_t)handle);
	if (!d->standard)
		d->standard = stream_make(d, CU_STREAM_DEFAULT, 0);
	return d->standard;
}

static void push(struct stream *s, struct work *w)
{
	w->next = NULL;
	*s->tail = w;
	s->tail = &w->next;
	s->submitted++;
	if (w->op)
		s->last = w->op;
	emu.count.queued++;
	pthread_cond_signal(&s->wake);
}

/* Makes what comes next in s wait for all that is queued in other. */
static void push_order(struct stream *other, struct stream *s)
{
	if (other == s || other->submitted == other->finished)
		return;
	struct mark *m = calloc(1, sizeof *m);
	struct work *mark = calloc(1, sizeof *mark), *wait = calloc(1, sizeof *wait);
	if (!m || !mark || !wait)
		abort(); /* what was said to be in order would not be */
	m->refs = 2;
	m->op = record_op(EMU_RECORD, other, 0, 0, 0, 0);
	*mark = (struct work){.kind = EMU_RECORD, .mark = m, .op = m->op};
	push(other, mark);
	*wait = (struct work){.kind = EMU_WAIT, .mark = m, .op = record_op(EMU_WAIT, s, 0, m->op, 0, 0)};
	push(s, wait);
}

/* The default stream and those made without CU_STREAM_NON_BLOCKING take turns, in the order of the host's calls. */
void stream_submit(struct stream *s, struct work *w)
{
	struct device *d = s->device;
	if (s == d->standard) {
		for (struct stream *other = d->streams; other; other = other->next)
			if (!(other->flags & CU_STREAM_NON_BLOCKING))
				push_order(other, s);
	} else if (d->standard && !(s->flags & CU_STREAM_NON_BLOCKING))
		push_order(d->standard, s);
	push(s, w);
}

static bool exists(const struct device *d, const struct stream *s, uint64_t handle)
{
	for (const struct stream *at = d->streams; at; at = at->next)
		if (at == s)
			return s->handle == handle; /* a number that is never used again, though the memory may be */
	return false;
}

/* Waits for one stream's first pieces of work. It may be closed meanwhile, and be gone when it has done them. */
static void wait_until(const struct device *d, const struct stream *s, uint64_t handle, uint64_t until)
{
	while (exists(d, s, handle) && s->finished < until)
		pthread_cond_wait(&emu.progress, &emu.lock);
}

CUresult stream_wait(struct stream *s)
{
	struct device *d = s->device;
	uint64_t last = s->last;
	wait_until(d, s, s->handle, s->submitted);
	record_observed(d, last, true);
	return d->lost;
}

/* For what is queued now: others may go on queueing. */
CUresult device_wait(struct device *d)
{
	size_t n = 0;
	for (struct stream *s = d->streams; s; s = s->next)
		n++;
	struct {
		struct stream *s;
		uint64_t handle, until, last;
	} all[n + 1];
	n = 0;
	for (struct stream *s = d->streams; s; s = s->next, n++) {
		all[n].s = s;
		all[n].handle = s->handle;
		all[n].until = s->submitted;
		all[n].last = s->last;
	}
	for (size_t i = 0; i < n; i++) {
		wait_until(d, all[i].s, all[i].handle, all[i].until);
		record_observed(d, all[i].last, true);
	}
	return d->lost;
}

/* The calls. */

static CUresult create(struct device *d, CUstream *out, unsigned flags, int priority)
{
	if (!out || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING))
		return CUDA_ERROR_INVALID_VALUE;
	struct stream *s = stream_make(d, flags, priority < -5 ? -5 : priority > 0 ? 0 : priority);
	if (!s)
		return CUDA_ERROR_OUT_OF_MEMORY;
	emu.count.streams++;
	*out = (CUstream)s->handle;
	return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamCreate(CUstream *out, unsigned int flags)
{
	ENTER_CONTEXT(cuStreamCreate, d);
	return leave(create(d, out, flags, 0));
}

CUresult CUDAAPI cuStreamCreateWithPriority(CUstream *out, unsigned int flags, int priority)
{
	ENTER_CONTEXT(cuStreamCreateWithPriority, d);
	return leave(create(d, out, flags, priority));
}

/* Sets s to the stream of a handle, or returns. */
#define FIND_STREAM(s, d, handle) \
	struct stream *s = stream_of(d, handle); \
	if (!s) \
	return leave(CUDA_ERROR_INVALID_HANDLE)

CUresult CUDAAPI cuStreamDestroy(CUstream stream)
{
	ENTER_CONTEXT(cuStreamDestroy, d);
	FIND_STREAM(s, d, stream);
	if (s == s->device->standard)
		return leave(CUDA_ERROR_INVALID_HANDLE);
	stream_close(s);
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuStreamQuery(CUstream stream)
{
	ENTER_CONTEXT(cuStreamQuery, d);
	FIND_STREAM(s, d, stream);
	if (s->device->lost != CUDA_SUCCESS)
		return leave(s->device->lost);
	if (s->finished < s->submitted)
		return leave(CUDA_ERROR_NOT_READY);
	record_observed(s->device, s->last, false);
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuStreamSynchronize(CUstream stream)
{
	ENTER_CONTEXT(cuStreamSynchronize, d);
	FIND_STREAM(s, d, stream);
	return leave(stream_wait(s));
}

CUresult CUDAAPI cuStreamGetFlags(CUstream stream, unsigned int *flags)
{
	ENTER_CONTEXT(cuStreamGetFlags, d);
	FIND_STREAM(s, d, stream);
	if (!flags)
		return leave(CUDA_ERROR_INVALID_VALUE);
	*flags = s->flags;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuStreamGetPriority(CUstream stream, int *priority)
{
	ENTER_CONTEXT(cuStreamGetPriority, d);
	FIND_STREAM(s, d, stream);
	if (!priority)
		return leave(CUDA_ERROR_INVALID_VALUE);
	*priority = s->priority;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *data)
{
	ENTER_CONTEXT(cuLaunchHostFunc, d);
	FIND_STREAM(s, d, stream);
	struct work *w = fn ? calloc(1, sizeof *w) : NULL;
	if (!w)
		return leave(fn ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE);
	*w = (struct work){.kind = EMU_HOST, .function = fn, .data = data, .fail = late_fault()};
	w->op = record_op(EMU_HOST, s, 0, 0, 0, 0);
	stream_submit(s, w);
	return leave(CUDA_SUCCESS);
}

CUresult emu_launch(CUstream stream, const struct emu_buffer *uses, size_t count, CUresult (*fn)(void *data), void *data)
{
	ENTER_CONTEXT(emu_launch, d);
	FIND_STREAM(s, d, stream);
	uint64_t bytes = 0;
	for (size_t i = 0; i < count; i++) {
		struct end e;
		if (!end_find(uses[i].address, uses[i].bytes, false, &e) || e.place == PLACE_PAGEABLE)
			return leave(CUDA_ERROR_INVALID_VALUE);
		bytes += uses[i].bytes;
	}
	struct work *w = fn ? calloc(1, sizeof *w) : NULL;
	if (!w)
		return leave(fn ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_VALUE);
	*w = (struct work){.kind = EMU_COMPUTE, .launched = fn, .data = data, .fail = late_fault()};
	w->op = record_op(EMU_COMPUTE, s, 0, 0, bytes, 0);
	for (size_t i = 0; i < count; i++)
		record_buffer(w->op, uses[i].address, uses[i].bytes, uses[i].write);
	stream_submit(s, w);
	return leave(CUDA_SUCCESS);
}

CUresult emu_hold(CUstream stream, int hold)
{
	pthread_mutex_lock(&emu.lock);
	struct stream *s = handle_get(HANDLE_STREAM, (uint64_t)stream);
	if (!s)
		return leave(CUDA_ERROR_INVALID_HANDLE);
	s->held = hold != 0;
	pthread_cond_signal(&s->wake);
	return leave(CUDA_SUCCESS);
}
