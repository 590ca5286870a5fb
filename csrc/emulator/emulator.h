/*
 * An emulated CUDA driver, for tests on machines without a GPU. It is a shared library with the driver API's own symbols
 * (those of csrc/driver/symbols.txt that the hot path and package cuda use, and a few more), opened by path through the
 * same trampolines as the real one: the code under test is the same, bit for bit. What it lacks is absent, so that a call
 * of it gives CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND.
 *
 * What it does as a device would, or worse:
 *
 *  - Device memory is a memfd mapped twice. A CUdeviceptr is an address in a mapping without access: a host that reads or
 *    writes through it faults. The streams' threads use the other mapping. New blocks hold EMU_FRESH, freed ones
 *    EMU_FREED. Page-locked memory lies in such a memfd too: the host can touch a block of it only until it is freed.
 *  - A stream is a thread that takes up each piece of its queue late, after a random delay drawn from the seed, and does
 *    large copies in two parts. What no event orders goes wrong sooner or later.
 *  - Copies from and to memory that was never page-locked are waited for by the caller, slower, and counted. A queued copy
 *    whose page-locked end was freed meanwhile is counted (stale) and reads or writes the freed block.
 *  - Work that reaches device memory which is no longer there loses the device: CUDA_ERROR_ILLEGAL_ADDRESS, sticky.
 *  - Stricter than the driver: a call that needs a context wants one on the calling thread even where the handle would do
 *    (all but cuEventQuery, cuEventSynchronize and cuEventElapsedTime); a stream's function may make no call of the driver
 *    (CUDA_ERROR_NOT_PERMITTED); cuMemFreeHost does not wait for the device.
 *  - Contexts are primary contexts. A device once lost stays lost until emu_reset, as for a process on a real one; a call
 *    that says so returns when the device is at no work any more.
 *
 * The functions below are the emulator's alone. They are found by name: penstock_driver_find("emu_launch", &fn) gives
 * CUDA_SUCCESS on the emulator, CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND on a real driver. They may be called from any
 * thread, unless it says otherwise. Arguments are borrowed for the call.
 *
 * THE SEAM for computing "on the device" with a library of the CPU. The shim makes its tensors over the addresses that
 * emu_device_to_host gives, as ordinary CPU memory, and instead of running the session it queues the run:
 *
 *	void *x = emu_device_to_host(in, in_bytes), *y = emu_device_to_host(out, out_bytes);   (once a slot)
 *	struct emu_buffer uses[] = {{in, in_bytes, 0}, {out, out_bytes, 1}};
 *	emu_launch(stream, uses, 2, run_session, &job);                                        (once a batch)
 *
 * run_session is then called on the stream's thread, in the stream's order, with x holding what the copy-in stream has
 * brought by then. If it returns anything but CUDA_SUCCESS the device is lost with that code, as by a kernel that failed;
 * errors that are not the device's are the job's to keep. On a device that is lost before, it is not called at all: data
 * must live until the stream is done. A library that wants device memory during a run may call cuMemAlloc and cuMemGetInfo
 * from run_session, in the stream's context and with the faults of any other call of theirs, and emu_device_to_host.
 */
#ifndef PENSTOCK_EMULATOR_H
#define PENSTOCK_EMULATOR_H

#pragma GCC visibility push(default)
#include <cuda.h>
#include <stddef.h>
#include <stdint.h>

#define EMU_MAX_DEVICES 16
#define EMU_FRESH 0xCD /* what a new block of device or page-locked memory is full of */
#define EMU_FREED 0xDE /* what a freed one is full of */

/* The seam. */

struct emu_buffer {
	uint64_t address; /* of the device, or page-locked */
	uint64_t bytes;
	uint32_t write; /* 1: the work writes it (and may read it); 0: it only reads it */
	uint32_t unused;
};

/* The address by which the streams' threads reach bytes at p; NULL unless all of them lie in one live block of a device. */
void *emu_device_to_host(CUdeviceptr p, size_t bytes);

/* Queues work on a stream: see above. The buffers, count of them, say what it reads and writes. */
CUresult emu_launch(CUstream stream, const struct emu_buffer *buffers, size_t count, CUresult (*work)(void *data), void *data);

/* Control. */

struct emu_device_config {
	uint64_t bytes; /* memory; 0: 1 GiB, at most 16 GiB */
	int32_t numa;   /* NUMA node - 1, so that 0 means "none" (-1); EMU_NO_NUMA: the attribute is not known, as before 12.2 */
	uint32_t unused;
};

#define EMU_NO_NUMA (-2)

struct emu_config {
	uint64_t seed;         /* of all delays */
	uint32_t devices;      /* 0: 1 */
	uint32_t max_delay_us; /* usual bound of a delay, one in eight is up to four times as long; 0: none */
	uint64_t host_bytes;   /* page-locked memory that there is; 0: 1 GiB, at most 16 GiB */
	uint32_t record;       /* 1: keep what is done for emu_record */
	uint32_t unused;
	struct emu_device_config device[EMU_MAX_DEVICES];
};

/*
 * Ends all streams when their queues are empty, frees all memory, forgets all handles, faults, counters and records, and
 * starts anew. The same happens with a zero configuration (but max_delay_us 200) when the library is loaded. The current
 * contexts of threads are handles and so no longer valid. 0, or -1: the configuration is out of range and nothing was done.
 */
int emu_reset(const struct emu_config *config);

struct emu_fault {
	const char *call; /* "cuMemAlloc", without a version; "*": any call */
	uint64_t nth;     /* which call of it from now on, 1 is the next */
	uint64_t times;   /* how many in a row; 0: 1 */
	int32_t device;   /* of the calling thread's current context; -1: any */
	int32_t code;     /* CUresult */
	uint32_t sticky;  /* 1: the device is lost with this code */
	uint32_t late;    /* 1: the call succeeds and what it queued fails, losing the device (copies, fills, launches) */
};

/* Adds a fault, up to 64. 0, or -1: unknown call, nth 0, or too many. Calls on threads without a context count as device -1. */
int emu_inject(const struct emu_fault *fault);

/* Stops a stream before its next piece of work (1), or lets it go on (0). What is under way ends. */
CUresult emu_hold(CUstream stream, int hold);

/*
 * Begins (1) on this thread what the capture of a CUDA graph in the global mode is to the others, or ends it (0). Until then calls
 * that a capture could miss, such as those that take memory, give CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED on threads that have not
 * left the global mode (cuThreadExchangeStreamCaptureMode), and the end CUDA_ERROR_STREAM_CAPTURE_INVALIDATED if there was one.
 */
CUresult emu_capture(int on);

/* The device is lost now, with this code. */
CUresult emu_lose(int device, CUresult code);

struct emu_counters {
	int64_t contexts; /* holds of primary contexts */
	int64_t streams, events;
	int64_t device_blocks, device_bytes; /* as asked for */
	int64_t host_blocks, host_bytes;
	int64_t registered_blocks, registered_bytes;
	int64_t abandoned; /* streams, events and blocks that ended with their context, unless its device was lost */
	int64_t pageable_copies, pageable_bytes;
	int64_t copies, copy_bytes; /* all queued copies between host and device */
	int64_t stale;              /* queued copies whose host end was no longer page-locked when they were made */
	int64_t queued;             /* pieces of work not done yet, of streams that are open or closing */
};

void emu_count(struct emu_counters *out);

/* The calls that can fail, by index from 0: name (NULL behind the last) and how often it was called since the reset. */
const char *emu_call_name(size_t index);
uint64_t emu_call_count(size_t index);

/* The record: what was done, in the order of the host's calls, as a graph. */

enum emu_kind {
	EMU_COPY_IN = 1, /* host to device */
	EMU_COPY_OUT,    /* device to host */
	EMU_COPY_DEVICE, /* device to device */
	EMU_COPY_HOST,   /* host to host */
	EMU_FILL,
	EMU_COMPUTE, /* emu_launch */
	EMU_HOST,    /* cuLaunchHostFunc */
	EMU_RECORD,  /* an event recorded */
	EMU_WAIT,    /* a stream waits for an event; after is the id of the EMU_RECORD, 0 where there was none */
	EMU_OBSERVE, /* the host saw that work was done, by a query or a wait; after is the id of the last piece of that work */
	EMU_NOTE,    /* emu_note */
	EMU_FREE     /* memory freed */
};

#define EMU_PAGEABLE 1 /* flags: the host's end was not page-locked */
#define EMU_STALE 2    /* it no longer was when the copy was made */
#define EMU_FAILED 4   /* the device was lost before it was done */
#define EMU_BLOCKING 8 /* OBSERVE, FREE: the thread waited, and did nothing else meanwhile; a FREE without did not */

struct emu_op {
	uint64_t id;     /* from 1, in the order of the host's calls */
	uint64_t stream; /* its handle; 0: none (the default stream has one here) */
	uint64_t event;  /* the handle, of RECORD and WAIT */
	uint64_t after;
	uint64_t thread; /* of the host, as the kernel numbers it */
	uint64_t bytes;
	uint32_t kind, flags;
	int32_t device; /* -1: none */
	uint32_t note;  /* of NOTE: the caller's kind */
	uint64_t number; /* of NOTE: the caller's number */
	uint64_t first_buffer, buffers; /* in the list of buffers: a copy's source (if it lies in memory) and target */
	int64_t submit_ns, start_ns, end_ns; /* monotonic clock; 0: not yet */
};

/* How many there are, and a copy of those from index on, at most max: returns how many were written to out. */
size_t emu_record_ops(size_t index, struct emu_op *out, size_t max);
size_t emu_record_buffers(size_t index, struct emu_buffer *out, size_t max);

/* Puts something of the caller's own into the record, with the memory that it reads or writes; its id, 0 without a record. */
uint64_t emu_note(uint32_t note, uint64_t number, const struct emu_buffer *buffers, size_t count);

#pragma GCC visibility pop
#endif
