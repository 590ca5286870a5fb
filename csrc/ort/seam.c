#include "seam.h"

#include "driver.h"

int penstock_seam_find(struct penstock_seam *seam)
{
	struct {
		const char *name;
		void **to;
	} parts[] = {
		{"penstockEmulatorLaunch", (void **)&seam->launch},
		{"penstockEmulatorReach", (void **)&seam->reach},
		{"penstockEmulatorKeep", (void **)&seam->keep},
		{"penstockEmulatorGive", (void **)&seam->give},
	};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (penstock_driver_find(parts[i].name, parts[i].to) != CUDA_SUCCESS)
			return 0;
	return 1;
}
