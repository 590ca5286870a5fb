/* Memory of devices, page-locked memory, and what is done with them. */
#define _GNU_SOURCE
#include "state.h"

#include <stdlib.h>

#define ALIGN 256
#define PAGE 4096

static struct device *memory_device(uint64_t address)
{
	for (int i = 0; i < emu.devices; i++)
		if (arena_holds(&emu.device[i].memory, address))
			return &emu.device[i];
	return NULL;
}

static struct registered *registered_find(uint64_t address, size_t bytes)
{
	for (struct registered *r = emu.registered; r; r = r->next)
		if (address >= r->address && address - r->address < r->bytes)
			return bytes <= r->bytes - (address - r->address) ? r : NULL;
	return NULL;
}

/* False: the range is in no memory that it could be in. Host memory that we don't know is pageable. */
bool end_find(uint64_t address, size_t bytes, bool device_only, struct end *out)
{
	struct device *d = memory_device(address);
	*out = (struct end){.address = address, .device = -1};
	if (d) {
		struct block *b = arena_find(&d->memory, address, bytes);
		if (!b)
			return false;
		out->place = PLACE_DEVICE;
		out->block = b->id;
		out->work = arena_work(&d->memory, address);
		out->device = d->number;
		return true;
	}
	if (device_only || !address)
		return false;
	if (arena_holds(&emu.pinned, address)) {
		struct block *b = arena_find(&emu.pinned, address, bytes);
		if (!b)
			return false;
		out->place = PLACE_PINNED;
		out->block = b->id;
		out->work = arena_work(&emu.pinned, address);
		return true;
	}
	struct registered *r = registered_find(address, bytes);
	out->place = r ? PLACE_REGISTERED : PLACE_PAGEABLE;
	out->block = r ? r->id : 0;
	out->work = (char *)address;
	return true;
}

/* Whether a range that was found is still the same block. */
bool end_live(const struct end *e, size_t bytes)
{
	struct end now;
	return end_find(e->address, bytes, false, &now) && now.place == e->place && now.block == e->block;
}

void *emu_device_to_host(CUdeviceptr p, size_t bytes)
{
	struct end e;
	pthread_mutex_lock(&emu.lock);
	bool found = end_find(p, bytes, true, &e);
	pthread_mutex_unlock(&emu.lock);
	return found ? e.work : NULL;
}

static void counted(int64_t *blocks, int64_t *bytes, int64_t sign, size_t asked)
{
	*blocks += sign;
	*bytes += sign * (int64_t)asked;
}

static void device_block_free(struct device *d, struct block *b)
{
	counted(&emu.count.device_blocks, &emu.count.device_bytes, -1, b->asked);
	record_free(d, (uint64_t)d->memory.host + b->offset, b->asked, true);
	arena_give(&d->memory, b);
}

static void host_block_free(struct block *b, bool waited)
{
	counted(&emu.count.host_blocks, &emu.count.host_bytes, -1, b->asked);
	record_free(&emu.device[b->device], (uint64_t)emu.pinned.host + b->offset, b->asked, waited);
	arena_give(&emu.pinned, b);
}

static void unregister(struct registered **at)
{
	struct registered *r = *at;
	*at = r->next;
	counted(&emu.count.registered_blocks, &emu.count.registered_bytes, -1, r->bytes);
	free(r);
}

void memory_end(struct device *d)
{
	int64_t dropped = 0;
	for (; d->memory.blocks; dropped++)
		device_block_free(d, d->memory.blocks);
	for (struct block *b = emu.pinned.blocks, *next; b; b = next) {
		next = b->next;
		if (b->device == d->number) {
			host_block_free(b, true);
			dropped++;
		}
	}
	for (struct registered **at = &emu.registered; *at;)
		if ((*at)->device == d->number) {
			unregister(at);
			dropped++;
		} else
			at = &(*at)->next;
	if (d->lost == CUDA_SUCCESS)
		emu.count.abandoned += dropped;
}

CUresult CUDAAPI cuMemGetInfo(size_t *free_bytes, size_t *total)
{
	ENTER_CONTEXT(cuMemGetInfo, d);
	if (!free_bytes || !total)
		return leave(CUDA_ERROR_INVALID_VALUE);
	*free_bytes = d->memory.limit - d->memory.used;
	*total = d->memory.limit;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuMemAlloc(CUdeviceptr *out, size_t bytes)
{
	ENTER_CONTEXT(cuMemAlloc, d);
	if (!out || !bytes)
		return leave(CUDA_ERROR_INVALID_VALUE);
	struct block *b = arena_take(&d->memory, bytes, ALIGN, d->number);
	if (!b)
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	counted(&emu.count.device_blocks, &emu.count.device_bytes, 1, bytes);
	*out = (CUdeviceptr)d->memory.host + b->offset;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuMemFree(CUdeviceptr p)
{
	ENTER_CONTEXT(cuMemFree, d);
	if (!p)
		return leave(CUDA_SUCCESS);
	struct device *owner = memory_device(p);
	struct block *b = owner ? arena_find(&owner->memory, p, 1) : NULL;
	if (!b || p != (CUdeviceptr)owner->memory.host + b->offset)
		return leave(CUDA_ERROR_INVALID_VALUE);
	uint64_t id = b->id;
	CUresult result = device_wait(owner);
	b = arena_find(&owner->memory, p, 1);
	if (result != CUDA_SUCCESS || !b || b->id != id) /* another thread freed it while we waited */
		return leave(result != CUDA_SUCCESS ? result : CUDA_ERROR_INVALID_VALUE);
	device_block_free(owner, b);
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuMemGetAddressRange(CUdeviceptr *base, size_t *bytes, CUdeviceptr p)
{
	ENTER_CONTEXT(cuMemGetAddressRange, d);
	struct device *owner = memory_device(p);
	struct block *b = owner ? arena_find(&owner->memory, p, 1) : NULL;
	if (!b)
		return leave(CUDA_ERROR_NOT_FOUND);
	if (base)
		*base = (CUdeviceptr)owner->memory.host + b->offset;
	if (bytes)
		*bytes = b->asked;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuMemHostAlloc(void **out, size_t bytes, unsigned int flags)
{
	ENTER_CONTEXT(cuMemHostAlloc, d);
	unsigned known = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
	if (!out || !bytes || (flags & ~known))
		return leave(CUDA_ERROR_INVALID_VALUE);
	struct block *b = arena_take(&emu.pinned, bytes, PAGE, d->number);
	if (!b)
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	counted(&emu.count.host_blocks, &emu.count.host_bytes, 1, bytes);
	*out = emu.pinned.host + b->offset;
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuMemFreeHost(void *p)
{
	ENTER_CONTEXT(cuMemFreeHost, d);
	struct block *b = arena_find(&emu.pinned, (uint64_t)p, 1);
	if (!b || (char *)p != emu.pinned.host + b->offset)
		return leave(CUDA_ERROR_INVALID_VALUE);
	host_block_free(b, false);
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuMemHostRegister(void *p, size_t bytes, unsigned int flags)
{
	ENTER_CONTEXT(cuMemHostRegister, d);
	uint64_t address = (uint64_t)p;
	unsigned known = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY;
	if (!p || !bytes || (flags & ~known) || memory_device(address))
		return leave(CUDA_ERROR_INVALID_VALUE);
	bool taken = arena_find(&emu.pinned, address, 1) != NULL;
	for (struct registered *r = emu.registered; r && !taken; r = r->next)
		taken = address < r->address + r->bytes && r->address < address + bytes;
	if (taken)
		return leave(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
	struct registered *r = calloc(1, sizeof *r);
	if (!r)
		return leave(CUDA_ERROR_OUT_OF_MEMORY);
	*r = (struct registered){.next = emu.registered, .id = ++emu.next_id, .address = address, .bytes = bytes, .device = d->number};
	emu.registered = r;
	counted(&emu.count.registered_blocks, &emu.count.registered_bytes, 1, bytes);
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuMemHostUnregister(void *p)
{
	ENTER_CONTEXT(cuMemHostUnregister, d);
	struct registered **at = &emu.registered;
	while (*at && (*at)->address != (uint64_t)p)
		at = &(*at)->next;
	if (!*at)
		return leave(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
	unregister(at);
	return leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr p)
{
	ENTER_CONTEXT(cuPointerGetAttribute, d);
	struct end e;
	if (!data || !end_find(p, 1, false, &e) || e.place == PLACE_PAGEABLE)
		return leave(CUDA_ERROR_INVALID_VALUE);
	switch (attribute) {
	case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
		*(unsigned *)data = e.place == PLACE_DEVICE ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
		return leave(CUDA_SUCCESS);
	case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
		*(int *)data = e.place == PLACE_DEVICE ? e.device : d->number;
		return leave(CUDA_SUCCESS);
	default:
		return leave(CUDA_ERROR_NOT_SUPPORTED);
	}
}

/* Copies and fills. */

static enum emu_kind copy_kind(const struct end *from, const struct end *to)
{
	if (from->place == PLACE_DEVICE)
		return to->place == PLACE_DEVICE ? EMU_COPY_DEVICE : EMU_COPY_OUT;
	return to->place == PLACE_DEVICE ? EMU_COPY_IN : EMU_COPY_HOST;
}

static CUresult submit(struct stream *s, struct work *w, bool wait)
{
	stream_submit(s, w);
	return wait ? stream_wait(s) : CUDA_SUCCESS;
}

/* A copy in stream order. From and to pageable memory the driver goes through buffers of its own, and the caller waits. */
static CUresult copy(struct device *d, uint64_t to, bool to_device, uint64_t from, bool from_device, size_t bytes, CUstream stream, bool wait)
{
	struct end source, target;
	if (!bytes)
		return CUDA_SUCCESS;
	if (!end_find(from, bytes, from_device, &source) || !end_find(to, bytes, to_device, &target))
		return CUDA_ERROR_INVALID_VALUE;
	struct stream *s = stream_of(d, stream);
	struct work *w = s ? calloc(1, sizeof *w) : NULL;
	if (!w)
		return s ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_HANDLE;
	bool pageable = source.place == PLACE_PAGEABLE || target.place == PLACE_PAGEABLE;
	*w = (struct work){.kind = copy_kind(&source, &target), .from = source, .to = target, .bytes = bytes,
		.slow = pageable, .fail = late_fault()};
	w->op = record_op(w->kind, s, 0, 0, bytes, pageable ? EMU_PAGEABLE : 0);
	record_buffer(w->op, from, bytes, false);
	record_buffer(w->op, to, bytes, true);
	if (w->kind == EMU_COPY_IN || w->kind == EMU_COPY_OUT)
		counted(&emu.count.copies, &emu.count.copy_bytes, 1, bytes);
	if (pageable)
		counted(&emu.count.pageable_copies, &emu.count.pageable_bytes, 1, bytes);
	return submit(s, w, wait || pageable);
}

static CUresult fill(struct device *d, CUdeviceptr to, uint32_t value, uint32_t width, size_t count, CUstream stream, bool wait)
{
	struct end target;
	size_t bytes = count * width;
	if (!bytes)
		return CUDA_SUCCESS;
	if (count > SIZE_MAX / width || to % width || !end_find(to, bytes, true, &target))
		return CUDA_ERROR_INVALID_VALUE;
	struct stream *s = stream_of(d, stream);
	struct work *w = s ? calloc(1, sizeof *w) : NULL;
	if (!w)
		return s ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_HANDLE;
	*w = (struct work){.kind = EMU_FILL, .to = target, .bytes = bytes, .value = value, .width = width, .fail = late_fault()};
	w->op = record_op(EMU_FILL, s, 0, 0, bytes, 0);
	record_buffer(w->op, to, bytes, true);
	return submit(s, w, wait);
}

CUresult CUDAAPI cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
	ENTER_CONTEXT(cuMemcpy, d);
	return leave(copy(d, to, false, from, false, bytes, NULL, true));
}

CUresult CUDAAPI cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	ENTER_CONTEXT(cuMemcpyAsync, d);
	return leave(copy(d, to, false, from, false, bytes, stream, false));
}

CUresult CUDAAPI cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes)
{
	ENTER_CONTEXT(cuMemcpyHtoD, d);
	return leave(copy(d, to, true, (uint64_t)from, false, bytes, NULL, true));
}

CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream stream)
{
	ENTER_CONTEXT(cuMemcpyHtoDAsync, d);
	return leave(copy(d, to, true, (uint64_t)from, false, bytes, stream, false));
}

CUresult CUDAAPI cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes)
{
	ENTER_CONTEXT(cuMemcpyDtoH, d);
	return leave(copy(d, (uint64_t)to, false, from, true, bytes, NULL, true));
}

CUresult CUDAAPI cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	ENTER_CONTEXT(cuMemcpyDtoHAsync, d);
	return leave(copy(d, (uint64_t)to, false, from, true, bytes, stream, false));
}

CUresult CUDAAPI cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
	ENTER_CONTEXT(cuMemcpyDtoD, d);
	return leave(copy(d, to, true, from, true, bytes, NULL, true));
}

CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
	ENTER_CONTEXT(cuMemcpyDtoDAsync, d);
	return leave(copy(d, to, true, from, true, bytes, stream, false));
}

CUresult CUDAAPI cuMemsetD8(CUdeviceptr to, unsigned char value, size_t count)
{
	ENTER_CONTEXT(cuMemsetD8, d);
	return leave(fill(d, to, value, 1, count, NULL, true));
}

CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream)
{
	ENTER_CONTEXT(cuMemsetD8Async, d);
	return leave(fill(d, to, value, 1, count, stream, false));
}

CUresult CUDAAPI cuMemsetD32(CUdeviceptr to, unsigned int value, size_t count)
{
	ENTER_CONTEXT(cuMemsetD32, d);
	return leave(fill(d, to, value, 4, count, NULL, true));
}

CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream stream)
{
	ENTER_CONTEXT(cuMemsetD32Async, d);
	return leave(fill(d, to, value, 4, count, stream, false));
}
