/* What the emulator's files share. Everything is guarded by emu.lock unless it says otherwise. */
#ifndef PENSTOCK_EMULATOR_STATE_H
#define PENSTOCK_EMULATOR_STATE_H

#include "emulator.h"

#include <pthread.h>
#include <stdbool.h>

/* The calls that are counted and can fail, by the names that programs write. */
#define EMU_CALLS(X) \
	X(cuInit) X(cuDriverGetVersion) X(cuDeviceGetCount) X(cuDeviceGet) X(cuDeviceGetName) X(cuDeviceGetUuid) \
	X(cuDeviceTotalMem) X(cuDeviceGetAttribute) X(cuDevicePrimaryCtxRetain) X(cuDevicePrimaryCtxRelease) \
	X(cuDevicePrimaryCtxReset) X(cuDevicePrimaryCtxGetState) X(cuDevicePrimaryCtxSetFlags) X(cuCtxGetCurrent) \
	X(cuCtxSetCurrent) X(cuCtxPushCurrent) X(cuCtxPopCurrent) X(cuCtxGetDevice) X(cuCtxSynchronize) \
	X(cuCtxGetStreamPriorityRange) X(cuMemGetInfo) X(cuMemAlloc) X(cuMemFree) X(cuMemGetAddressRange) X(cuMemHostAlloc) \
	X(cuMemFreeHost) X(cuMemHostRegister) X(cuMemHostUnregister) X(cuPointerGetAttribute) X(cuMemcpy) X(cuMemcpyAsync) \
	X(cuMemcpyHtoD) X(cuMemcpyHtoDAsync) X(cuMemcpyDtoH) X(cuMemcpyDtoHAsync) X(cuMemcpyDtoD) X(cuMemcpyDtoDAsync) \
	X(cuMemsetD8) X(cuMemsetD8Async) X(cuMemsetD32) X(cuMemsetD32Async) X(cuStreamCreate) X(cuStreamCreateWithPriority) \
	X(cuStreamDestroy) X(cuStreamQuery) X(cuStreamSynchronize) X(cuStreamWaitEvent) X(cuStreamGetFlags) \
	X(cuStreamGetPriority) X(cuEventCreate) X(cuEventDestroy) X(cuEventRecord) X(cuEventQuery) X(cuEventSynchronize) \
	X(cuEventElapsedTime) X(cuLaunchHostFunc) X(cuThreadExchangeStreamCaptureMode) X(emu_launch)

enum emu_call {
#define X(name) CALL_##name,
	EMU_CALLS(X)
#undef X
	CALLS
};

/* A block of memory that was handed out. */
struct block {
	struct block *next; /* by offset */
	uint64_t id;        /* never used again */
	size_t offset, room; /* room is asked, rounded up */
	size_t asked;
	int device; /* whose context took it */
};

/* Memory behind a memfd, seen by the host in one mapping and by the streams in another. */
struct arena {
	char *host, *work;
	int fd;
	bool guarded;       /* the host reaches live blocks; otherwise it reaches nothing */
	size_t limit, used; /* bytes */
	struct block *blocks;
};

#define ARENA_CAPACITY ((size_t)16 << 30)

bool arena_open(struct arena *a, bool guarded);
void arena_clear(struct arena *a, size_t limit);
struct block *arena_take(struct arena *a, size_t bytes, size_t align, int device); /* NULL: no room */
void arena_give(struct arena *a, struct block *b);
struct block *arena_find(const struct arena *a, uint64_t address, size_t bytes); /* the live block that holds them all */
bool arena_holds(const struct arena *a, uint64_t address);
char *arena_work(const struct arena *a, uint64_t address);

/* Page-locked memory of the caller's own. */
struct registered {
	struct registered *next;
	uint64_t id, address;
	size_t bytes;
	int device;
};

/* Where one end of a copy lies. */
enum place { PLACE_DEVICE, PLACE_PINNED, PLACE_REGISTERED, PLACE_PAGEABLE };
struct end {
	enum place place;
	uint64_t address, block; /* block: its id, 0 where pageable */
	char *work;              /* where a stream's thread finds it */
	int device;              /* of PLACE_DEVICE */
};

/* A point in a stream: done once all before it is. Events, waits and the default stream's order refer to it. */
struct mark {
	int refs;
	bool done, observed;
	CUresult error;
	int64_t at_ns;
	uint64_t op; /* in the record */
};

struct work {
	struct work *next;
	enum emu_kind kind;
	struct mark *mark; /* RECORD: to be set; WAIT: to be waited for; owns a reference */
	struct end from, to;
	size_t bytes;
	uint32_t value, width; /* FILL: of width bytes */
	CUhostFn function;
	CUresult (*launched)(void *data);
	void *data;
	CUresult fail; /* fault that shows when it is done */
	uint64_t op;   /* in the record, 0: none */
	bool slow;
};

struct device;

struct stream {
	struct stream *next; /* of the device's */
	struct device *device;
	uint64_t handle, random;
	unsigned flags;
	int priority;
	struct work *head, **tail;
	uint64_t submitted, finished;
	uint64_t last; /* in the record: the last piece of work that was queued */
	bool closing, held;
	pthread_cond_t wake;
};

struct event {
	struct event *next; /* of the device's */
	struct device *device;
	uint64_t handle;
	unsigned flags;
	struct mark *mark; /* NULL: never recorded */
};

/* A device and its primary context. */
struct device {
	int number, numa;
	struct arena memory;
	uint64_t context; /* the context's handle */
	int holds;        /* of the context; 0: there is none */
	unsigned context_flags;
	CUresult lost; /* not CUDA_SUCCESS: every call in the context gives it */
	unsigned busy; /* pieces of work that its streams are at */
	struct stream *streams;  /* with those that are closing and not done yet */
	struct stream *standard; /* the default one, made when it is first used; NULL: not yet */
	struct event *events;
};

struct emu {
	pthread_mutex_t lock;
	pthread_cond_t progress; /* something was done, or a thread ended, or a device was lost */
	bool initialised, record;
	uint64_t seed, streams_made, next_id;
	unsigned max_delay_us;
	int devices;
	struct device device[EMU_MAX_DEVICES];
	struct arena pinned;
	struct registered *registered;
	struct emu_counters count;
};

extern struct emu emu;

/* Handles are addresses in a mapping without access; one is never used twice. */
enum handle_kind { HANDLE_NONE, HANDLE_CONTEXT, HANDLE_STREAM, HANDLE_EVENT };
uint64_t handle_make(enum handle_kind kind, void *object); /* 0: no memory */
void *handle_get(enum handle_kind kind, uint64_t handle);  /* NULL: no such object */
void handle_drop(uint64_t handle);

/*
 * A call of the driver begins: takes the lock, counts the call, and gives what an injected fault, a missing cuInit or a call
 * from inside a stream's function has it return. leave gives the lock back and returns result.
 */
CUresult enter(enum emu_call call);
CUresult leave(CUresult result);
/* What a late fault of this call left for the work that it queues. */
CUresult late_fault(void);

/* Returns from the calling function when the call has to fail before it begins. */
#define ENTER_CALL(call) \
	do { \
		CUresult entered = enter(call); \
		if (entered != CUDA_SUCCESS) \
			return leave(entered); \
	} while (0)
#define ENTER(name) ENTER_CALL(CALL_##name)
/* The same, and wants a context on this thread: sets d, a struct device *, to its device. */
#define ENTER_CONTEXT(name, d) \
	ENTER_CALL(CALL_##name); \
	struct device *d = NULL; \
	do { \
		CUresult at = current(&d); \
		if (at != CUDA_SUCCESS) \
			return leave(at); \
	} while (0)

/* device.c, event.c */
CUresult current(struct device **d);
CUresult state_of(struct device *d); /* CUDA_SUCCESS, or what it is lost with; by then it is at no work any more */
struct device *thread_device(void); /* without an error: NULL where there is no context */
void context_end(struct device *d); /* waits for its streams, then drops all that it has */
void lose(struct device *d, CUresult code);
void event_close(struct event *e);

/* stream.c. The functions that wait give the lock back meanwhile. */
struct stream *stream_of(struct device *d, CUstream handle); /* NULL: no such stream; the default ones belong to d */
struct stream *stream_make(struct device *d, unsigned flags, int priority);
void stream_close(struct stream *s);
void stream_submit(struct stream *s, struct work *w); /* owns w */
CUresult stream_wait(struct stream *s);
CUresult device_wait(struct device *d); /* for all its streams */
struct mark *mark_keep(struct mark *m);
void mark_drop(struct mark *m);
int64_t now_ns(void);
extern __thread bool in_stream;             /* this thread is a stream's */
extern __thread struct device *launched_on; /* whose work of emu_launch it is doing; NULL: none */

/* capture.c */
bool capture_forbids(enum emu_call call); /* and spoils the capture */

/* memory.c */
bool end_find(uint64_t address, size_t bytes, bool device_only, struct end *out);
bool end_live(const struct end *e, size_t bytes);
void memory_end(struct device *d); /* frees all that the context took */

/* record.c: ids of 0 are ignored. */
uint64_t record_op(enum emu_kind kind, struct stream *s, uint64_t event, uint64_t after, uint64_t bytes, unsigned flags);
void record_buffer(uint64_t id, uint64_t address, uint64_t bytes, bool write);
void record_times(uint64_t id, int64_t start, int64_t end, unsigned flags);
void record_observed(struct device *d, uint64_t after, bool blocking);
void record_free(struct device *d, uint64_t address, uint64_t bytes, bool waited);
void record_clear(void);

#endif
