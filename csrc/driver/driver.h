/*
 * The CUDA driver library, found while the program runs.
 *
 * libcuda.a has a trampoline for each symbol of symbols.txt under the name that the real library gives it. The first
 * call of any opens the real library; what opens it, when, and what happens without one is the same for all:
 *
 *  - penstock_driver_open names the library before anything is called. Without it "libcuda.so.1" is looked for where
 *    the loader looks.
 *  - cuInit does nothing and succeeds: gorgonia.org/cu calls it before main and ends the process on an error. The real
 *    one is called once, when the library is opened, and a failure of it is what every later call returns.
 *  - With no library cuDeviceGetCount gives 0 devices and every other call CUDA_ERROR_NO_DEVICE.
 *  - A symbol that an old library lacks gives CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND when it is called.
 *
 * A library, once open, stays: handles and addresses of it are all over the process. Every function here may be called
 * from any thread. All symbols are hidden, so that the real library and those that link it never meet ours.
 */
#ifndef PENSTOCK_DRIVER_H
#define PENSTOCK_DRIVER_H

#include <stddef.h>

#pragma GCC visibility push(hidden)
#include <cuda.h>

enum penstock_driver_status {
	PENSTOCK_DRIVER_OPEN = 0,    /* the library is open and initialised */
	PENSTOCK_DRIVER_ABSENT = 1,  /* there is no such library, or it cannot be opened */
	PENSTOCK_DRIVER_REFUSED = 2, /* it is open, but its cuInit failed */
	PENSTOCK_DRIVER_OTHER = 3,   /* another library is open already: nothing was done */
};

/*
 * Opens the library at path (borrowed for the call; NULL or "": libcuda.so.1) unless it is open. After ABSENT it may be
 * called again, with another path.
 */
enum penstock_driver_status penstock_driver_open(const char *path);

struct penstock_driver_facts {
	enum penstock_driver_status status;
	CUresult init;   /* what cuInit gave, where status is OPEN or REFUSED */
	char path[1024]; /* the file that is open; else what was looked for; empty: nothing was asked yet */
	char why[512];   /* what the loader said, where status is ABSENT */
};

/* Says what is known, without looking for a library. facts is borrowed for the call. */
void penstock_driver_look(struct penstock_driver_facts *facts);

/*
 * For the trampolines: puts the address of a symbol of the library into *fn (borrowed for the call) and returns
 * CUDA_SUCCESS, or what the call has to return in its stead.
 */
CUresult penstock_driver_find(const char *name, void **fn);

#pragma GCC visibility pop
#endif
