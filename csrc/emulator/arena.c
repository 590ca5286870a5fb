#define _GNU_SOURCE
#include "state.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

bool arena_open(struct arena *a, bool guarded)
{
	if (a->host)
		return true;
	int fd = memfd_create("penstock-emulator", MFD_CLOEXEC);
	if (fd < 0)
		return false;
	int flags = MAP_SHARED | MAP_NORESERVE;
	void *host = MAP_FAILED, *work = MAP_FAILED;
	if (ftruncate(fd, ARENA_CAPACITY) == 0) {
		host = mmap(NULL, ARENA_CAPACITY, PROT_NONE, flags, fd, 0);
		work = mmap(NULL, ARENA_CAPACITY, PROT_READ | PROT_WRITE, flags, fd, 0);
	}
	if (host == MAP_FAILED || work == MAP_FAILED) {
		if (host != MAP_FAILED)
			munmap(host, ARENA_CAPACITY);
		if (work != MAP_FAILED)
			munmap(work, ARENA_CAPACITY);
		close(fd);
		return false;
	}
	*a = (struct arena){.host = host, .work = work, .fd = fd, .guarded = guarded};
	return true;
}

/* The mappings stay where they are: what still points into them from before gets a fault, not somebody else's memory. */
void arena_clear(struct arena *a, size_t limit)
{
	while (a->blocks) {
		struct block *b = a->blocks;
		a->blocks = b->next;
		if (a->guarded)
			mprotect(a->host + b->offset, b->room, PROT_NONE);
		free(b);
	}
	fallocate(a->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, ARENA_CAPACITY);
	a->used = 0;
	a->limit = limit;
}

struct block *arena_take(struct arena *a, size_t bytes, size_t align, int device)
{
	if (bytes > a->limit)
		return NULL;
	size_t room = (bytes + align - 1) / align * align, offset = 0;
	struct block **at = &a->blocks;
	while (*at && (*at)->offset - offset < room) {
		offset = (*at)->offset + (*at)->room;
		at = &(*at)->next;
	}
	if (room > a->limit || offset > a->limit - room)
		return NULL;
	struct block *b = calloc(1, sizeof *b);
	if (!b)
		return NULL;
	if (a->guarded && mprotect(a->host + offset, room, PROT_READ | PROT_WRITE) != 0) {
		free(b);
		return NULL;
	}
	*b = (struct block){.next = *at, .id = ++emu.next_id, .offset = offset, .room = room, .asked = bytes, .device = device};
	*at = b;
	a->used += room;
	memset(a->work + offset, EMU_FRESH, room);
	return b;
}

void arena_give(struct arena *a, struct block *b)
{
	struct block **at = &a->blocks;
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	if (a->guarded)
		mprotect(a->host + b->offset, b->room, PROT_NONE);
	memset(a->work + b->offset, EMU_FREED, b->room);
	a->used -= b->room;
	free(b);
}

bool arena_holds(const struct arena *a, uint64_t address)
{
	return a->host && address >= (uint64_t)a->host && address < (uint64_t)a->host + ARENA_CAPACITY;
}

char *arena_work(const struct arena *a, uint64_t address) { return a->work + (address - (uint64_t)a->host); }

struct block *arena_find(const struct arena *a, uint64_t address, size_t bytes)
{
	if (!arena_holds(a, address))
		return NULL;
	size_t offset = address - (uint64_t)a->host;
	for (struct block *b = a->blocks; b && b->offset <= offset; b = b->next)
		if (offset - b->offset < b->asked)
			return bytes <= b->asked - (offset - b->offset) ? b : NULL;
	return NULL;
}
