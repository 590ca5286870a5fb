#include "seam.h"

#include "driver.h"

#include <string.h>

/* emu_device_to_host; NULL: the driver has none. */
static void *(*find_reach(void))(uint64_t, size_t)
{
	void *fn = NULL;
	return penstock_driver_find("emu_device_to_host", &fn) == CUDA_SUCCESS ? (void *(*)(uint64_t, size_t))fn : NULL;
}

static int keep(const void *from, size_t bytes, uint64_t *address)
{
	CUdeviceptr p = 0;
	if (cuMemAlloc(&p, bytes) != CUDA_SUCCESS)
		return 1;
	memcpy(find_reach()(p, bytes), from, bytes);
	*address = p;
	return 0;
}

static void give(uint64_t address) { (void)cuMemFree(address); }

int penstock_seam_find(struct penstock_seam *seam)
{
	void *fn = NULL;
	seam->reach = find_reach();
	if (!seam->reach || penstock_driver_find("emu_launch", &fn) != CUDA_SUCCESS)
		return 0;
	seam->launch = (int (*)(void *, const struct penstock_seam_use *, size_t, int (*)(void *), void *))fn;
	seam->keep = keep;
	seam->give = give;
	return 1;
}
