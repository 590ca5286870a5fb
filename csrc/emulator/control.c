#define _GNU_SOURCE
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct emu emu = {.lock = PTHREAD_MUTEX_INITIALIZER, .progress = PTHREAD_COND_INITIALIZER};

/* Handles. */

#define MAX_HANDLES ((size_t)1 << 26)
#define HANDLE_STEP 16

struct slot {
	enum handle_kind kind;
	void *object;
};

static char *handle_base;
static struct slot *slots;
static size_t slots_used, slots_room;

uint64_t handle_make(enum handle_kind kind, void *object)
{
	if (!handle_base) {
		void *base = mmap(NULL, MAX_HANDLES * HANDLE_STEP, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (base == MAP_FAILED)
			return 0;
		handle_base = base;
	}
	if (slots_used == slots_room) {
		size_t room = slots_room ? 2 * slots_room : 256;
		struct slot *more = room <= MAX_HANDLES ? realloc(slots, room * sizeof *slots) : NULL;
		if (!more)
			return 0;
		slots = more;
		slots_room = room;
	}
	slots[slots_used] = (struct slot){kind, object};
	return (uint64_t)handle_base + HANDLE_STEP * slots_used++;
}

static struct slot *slot_of(uint64_t handle)
{
	uint64_t offset = handle - (uint64_t)handle_base;
	if (!handle_base || offset % HANDLE_STEP || offset / HANDLE_STEP >= slots_used)
		return NULL;
	return &slots[offset / HANDLE_STEP];
}

void *handle_get(enum handle_kind kind, uint64_t handle)
{
	struct slot *s = slot_of(handle);
	return s && s->kind == kind ? s->object : NULL;
}

void handle_drop(uint64_t handle)
{
	struct slot *s = slot_of(handle);
	if (s)
		*s = (struct slot){HANDLE_NONE, NULL};
}

/* Calls and faults. */

#define MAX_FAULTS 64

struct fault {
	int call; /* CALLS: any */
	uint64_t seen;
	struct emu_fault is;
};

static const char *const names[] = {
#define X(name) #name,
	EMU_CALLS(X)
#undef X
};
static uint64_t calls[CALLS];
static struct fault faults[MAX_FAULTS];
static size_t faults_used;
static __thread CUresult late;

const char *emu_call_name(size_t index) { return index < CALLS ? names[index] : NULL; }

uint64_t emu_call_count(size_t index)
{
	pthread_mutex_lock(&emu.lock);
	uint64_t n = index < CALLS ? calls[index] : 0;
	pthread_mutex_unlock(&emu.lock);
	return n;
}

int emu_inject(const struct emu_fault *fault)
{
	int call = 0;
	bool any = fault->call && !strcmp(fault->call, "*");
	while (!any && call < CALLS && (!fault->call || strcmp(fault->call, names[call])))
		call++;
	if ((!any && call == CALLS) || fault->nth == 0)
		return -1;
	pthread_mutex_lock(&emu.lock);
	bool room = faults_used < MAX_FAULTS;
	if (room) {
		struct fault *f = &faults[faults_used++];
		*f = (struct fault){.call = any ? CALLS : call, .is = *fault};
		f->is.call = NULL; /* borrowed */
		if (!f->is.times)
			f->is.times = 1;
	}
	pthread_mutex_unlock(&emu.lock);
	return room ? 0 : -1;
}

/* Counts the call in every fault that it concerns; the first that is due decides. */
static const struct emu_fault *fault_due(enum emu_call call, const struct device *d)
{
	const struct emu_fault *due = NULL;
	for (size_t i = 0; i < faults_used; i++) {
		struct fault *f = &faults[i];
		if ((f->call != CALLS && f->call != (int)call) || (f->is.device >= 0 && (!d || d->number != f->is.device)))
			continue;
		f->seen++;
		if (!due && f->seen >= f->is.nth && f->seen - f->is.nth < f->is.times)
			due = &f->is;
	}
	return due;
}

CUresult enter(enum emu_call call)
{
	pthread_mutex_lock(&emu.lock);
	late = CUDA_SUCCESS;
	if (in_stream && !(launched_on && (call == CALL_cuMemAlloc || call == CALL_cuMemGetInfo)))
		return CUDA_ERROR_NOT_PERMITTED;
	if (capture_forbids(call))
		return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
	calls[call]++;
	struct device *d = thread_device();
	const struct emu_fault *f = fault_due(call, d);
	if (f && f->late)
		late = f->code;
	else if (f && f->code != CUDA_SUCCESS) {
		if (f->sticky && d)
			lose(d, f->code);
		return f->code;
	}
	return emu.initialised || call == CALL_cuInit || call == CALL_cuDriverGetVersion ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult leave(CUresult result)
{
	pthread_mutex_unlock(&emu.lock);
	return result;
}

CUresult late_fault(void)
{
	CUresult code = late;
	late = CUDA_SUCCESS;
	return code;
}

/* Reset. */

static bool fits(const struct emu_config *c)
{
	if (c->devices > EMU_MAX_DEVICES || c->host_bytes > ARENA_CAPACITY)
		return false;
	for (unsigned i = 0; i < EMU_MAX_DEVICES; i++)
		if (c->device[i].bytes > ARENA_CAPACITY)
			return false;
	return true;
}

static size_t or_usual(uint64_t bytes) { return bytes ? bytes : (size_t)1 << 30; }

static int start_locked(const struct emu_config *c)
{
	emu.seed = c->seed;
	emu.max_delay_us = c->max_delay_us;
	emu.record = c->record;
	emu.streams_made = 0;
	emu.devices = c->devices ? (int)c->devices : 1;
	emu.count = (struct emu_counters){0};
	memset(calls, 0, sizeof calls);
	faults_used = 0;
	record_clear();
	if (!arena_open(&emu.pinned, true))
		return -1;
	arena_clear(&emu.pinned, or_usual(c->host_bytes));
	for (int i = 0; i < emu.devices; i++) {
		struct device *d = &emu.device[i];
		if (!arena_open(&d->memory, false))
			return -1;
		arena_clear(&d->memory, or_usual(c->device[i].bytes));
		d->number = i;
		d->numa = c->device[i].numa == EMU_NO_NUMA ? EMU_NO_NUMA : c->device[i].numa - 1;
		d->lost = CUDA_SUCCESS;
		d->context_flags = 0;
		handle_drop(d->context);
		d->context = handle_make(HANDLE_CONTEXT, d);
		if (!d->context)
			return -1;
	}
	return 0;
}

int emu_reset(const struct emu_config *config)
{
	if (!fits(config))
		return -1;
	pthread_mutex_lock(&emu.lock);
	for (int i = 0; i < emu.devices; i++)
		context_end(&emu.device[i]);
	int result = start_locked(config);
	pthread_mutex_unlock(&emu.lock);
	return result;
}

__attribute__((constructor)) static void start(void)
{
	const struct emu_config usual = {.max_delay_us = 200};
	if (start_locked(&usual) != 0)
		emu.devices = 0;
}

CUresult emu_lose(int device, CUresult code)
{
	pthread_mutex_lock(&emu.lock);
	if (device < 0 || device >= emu.devices)
		return leave(CUDA_ERROR_INVALID_DEVICE);
	lose(&emu.device[device], code);
	return leave(CUDA_SUCCESS);
}

void emu_count(struct emu_counters *out)
{
	pthread_mutex_lock(&emu.lock);
	*out = emu.count;
	pthread_mutex_unlock(&emu.lock);
}
