#define _GNU_SOURCE
#include "driver.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *library; /* guarded by lock, as are all below; kept for the life of the process */
static int asked;
static struct penstock_driver_facts facts = {.status = PENSTOCK_DRIVER_ABSENT};

static void copy(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from ? from : ""); }

/* The file of an open library: what was asked for may have been a bare name. */
static void note_path_locked(const char *asked_for)
{
	struct link_map *map = NULL;
	int found = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name && *map->l_name;
	copy(facts.path, sizeof facts.path, found ? map->l_name : asked_for);
}

static void open_locked(const char *path)
{
	asked = 1;
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		copy(facts.why, sizeof facts.why, dlerror());
		copy(facts.path, sizeof facts.path, path);
		facts.status = PENSTOCK_DRIVER_ABSENT;
		return;
	}
	facts.why[0] = 0;
	note_path_locked(path);
	CUresult (*init)(unsigned) = (CUresult(*)(unsigned))dlsym(library, "cuInit");
	facts.init = init ? init(0) : CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND;
	facts.status = facts.init == CUDA_SUCCESS ? PENSTOCK_DRIVER_OPEN : PENSTOCK_DRIVER_REFUSED;
}

/* Whether path names the library that is open. dlopen gives the same handle for the same file. */
static int same_locked(const char *path)
{
	void *other = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
	if (!other)
		return 0;
	dlclose(other); /* gives back the count that this dlopen took */
	return other == library;
}

enum penstock_driver_status penstock_driver_open(const char *path)
{
	int any = !path || !*path;
	pthread_mutex_lock(&lock);
	if (!library)
		open_locked(any ? "libcuda.so.1" : path);
	else if (!any && !same_locked(path)) {
		pthread_mutex_unlock(&lock);
		return PENSTOCK_DRIVER_OTHER;
	}
	enum penstock_driver_status status = facts.status;
	pthread_mutex_unlock(&lock);
	return status;
}

void penstock_driver_look(struct penstock_driver_facts *out)
{
	pthread_mutex_lock(&lock);
	*out = facts;
	pthread_mutex_unlock(&lock);
}

CUresult penstock_driver_find(const char *name, void **fn)
{
	pthread_mutex_lock(&lock);
	if (!asked)
		open_locked("libcuda.so.1");
	CUresult result = CUDA_SUCCESS;
	if (!library)
		result = CUDA_ERROR_NO_DEVICE;
	else if (facts.init != CUDA_SUCCESS)
		result = facts.init;
	else if (!(*fn = dlsym(library, name)))
		result = CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND;
	pthread_mutex_unlock(&lock);
	return result;
}

/* The two symbols that do not simply pass a call on. */

CUresult CUDAAPI cuInit(unsigned int flags)
{
	(void)flags;
	return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetCount(int *count)
{
	void *fn = NULL;
	CUresult result = penstock_driver_find("cuDeviceGetCount", &fn);
	if (result == CUDA_SUCCESS)
		return ((CUresult(*)(int *))fn)(count);
	*count = 0;
	return result == CUDA_ERROR_NO_DEVICE ? CUDA_SUCCESS : result;
}
