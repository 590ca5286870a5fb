#define _GNU_SOURCE
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct list {
	void *items;
	size_t used, room, size;
};

static struct list ops = {.size = sizeof(struct emu_op)};
static struct list buffers = {.size = sizeof(struct emu_buffer)};

/* A record with holes would be worse than none. */
static void *add(struct list *l)
{
	if (l->used == l->room) {
		l->room = l->room ? 2 * l->room : 1024;
		l->items = realloc(l->items, l->room * l->size);
		if (!l->items)
			abort();
	}
	return memset((char *)l->items + l->size * l->used++, 0, l->size);
}

static size_t read_list(const struct list *l, size_t index, void *out, size_t max)
{
	pthread_mutex_lock(&emu.lock);
	size_t n = index < l->used ? l->used - index : 0;
	if (n > max)
		n = max;
	if (n)
		memcpy(out, (const char *)l->items + index * l->size, n * l->size);
	pthread_mutex_unlock(&emu.lock);
	return n;
}

size_t emu_record_ops(size_t index, struct emu_op *out, size_t max) { return read_list(&ops, index, out, max); }

size_t emu_record_buffers(size_t index, struct emu_buffer *out, size_t max) { return read_list(&buffers, index, out, max); }

void record_clear(void)
{
	ops.used = 0;
	buffers.used = 0;
}

static struct emu_op *op_add(enum emu_kind kind, int device)
{
	struct emu_op *op = add(&ops);
	op->id = ops.used;
	op->kind = kind;
	op->device = device;
	op->thread = (uint64_t)syscall(SYS_gettid);
	op->first_buffer = buffers.used;
	op->submit_ns = now_ns();
	return op;
}

uint64_t record_op(enum emu_kind kind, struct stream *s, uint64_t event, uint64_t after, uint64_t bytes, unsigned flags)
{
	if (!emu.record)
		return 0;
	struct emu_op *op = op_add(kind, s->device->number);
	op->stream = s->handle;
	op->event = event;
	op->after = after;
	op->bytes = bytes;
	op->flags = flags;
	return op->id;
}

/* Buffers follow their piece of work at once, so that one range describes them. */
void record_buffer(uint64_t id, uint64_t address, uint64_t bytes, bool write)
{
	if (!id)
		return;
	struct emu_buffer *b = add(&buffers);
	*b = (struct emu_buffer){.address = address, .bytes = bytes, .write = write};
	((struct emu_op *)ops.items)[id - 1].buffers++;
}

void record_times(uint64_t id, int64_t start, int64_t end, unsigned flags)
{
	if (!id)
		return;
	struct emu_op *op = &((struct emu_op *)ops.items)[id - 1];
	op->start_ns = start;
	op->end_ns = end;
	op->flags |= flags;
}

void record_observed(struct device *d, uint64_t after, bool blocking)
{
	if (!emu.record || !after)
		return;
	struct emu_op *op = op_add(EMU_OBSERVE, d->number);
	op->after = after;
	op->flags = blocking ? EMU_BLOCKING : 0;
}

void record_free(struct device *d, uint64_t address, uint64_t bytes, bool waited)
{
	if (!emu.record)
		return;
	struct emu_op *op = op_add(EMU_FREE, d->number);
	op->bytes = bytes;
	op->flags = waited ? EMU_BLOCKING : 0;
	record_buffer(op->id, address, bytes, true);
}

uint64_t emu_note(uint32_t note, uint64_t number, const struct emu_buffer *uses, size_t count)
{
	pthread_mutex_lock(&emu.lock);
	uint64_t id = 0;
	if (emu.record) {
		struct emu_op *op = op_add(EMU_NOTE, -1);
		id = op->id;
		op->note = note;
		op->number = number;
		for (size_t i = 0; i < count; i++) {
			record_buffer(id, uses[i].address, uses[i].bytes, uses[i].write);
			((struct emu_op *)ops.items)[id - 1].bytes += uses[i].bytes;
		}
	}
	pthread_mutex_unlock(&emu.lock);
	return id;
}
