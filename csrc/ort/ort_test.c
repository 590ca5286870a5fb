/*
 * The shim on ONNX Runtime's CPU provider, under the sanitizers: ort_test LIBRARY MODEL
 *
 * MODEL takes input_ids, attention_mask and token_type_ids, all int64[batch, tokens], and gives last_hidden_state,
 * float[batch, tokens, 8]. The seam is this file's own: "device memory" is an array, and a stream is a thread that is
 * started by each launch and joined by join.
 */
#include "ort.h"
#include "seam.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 3
#define TOKENS 5
#define DIM 8
#define CELLS (ROWS * TOKENS)

static struct penstock_ort_error error;

#define must(call)                                                                               \
	do {                                                                                         \
		int got_ = (call);                                                                       \
		if (got_) {                                                                              \
			fprintf(stderr, "%s:%d: %s: %d: %s\n", __FILE__, __LINE__, #call, got_, error.text); \
			exit(1);                                                                             \
		}                                                                                        \
	} while (0)

#define want(cond)                                                               \
	do {                                                                         \
		if (!(cond)) {                                                           \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond);   \
			exit(1);                                                             \
		}                                                                        \
	} while (0)

/* ---- a seam ---- */

static int with_seam, kept, refuse_memory;
static pthread_t thread;

struct work {
	int (*fn)(void *);
	void *arg;
};
static struct work work;

static void *go(void *arg)
{
	struct work *w = arg;
	want(w->fn(w->arg) == 0);
	return NULL;
}

static int launch(void *stream, const struct penstock_seam_use *uses, size_t n, int (*fn)(void *), void *arg)
{
	want(stream == &thread && n >= 3 && uses[n - 1].write == (n == 4) && !uses[0].write);
	work = (struct work){fn, arg};
	return pthread_create(&thread, NULL, go, &work);
}

/* Addresses of the "device" are one off, so that one used unreached shows. */
static void *reach(uint64_t address, size_t bytes) { return bytes ? (void *)(uintptr_t)(address - 1) : NULL; }

static int keep(const void *from, size_t bytes, uint64_t *address)
{
	if (refuse_memory)
		return 1;
	void *p = malloc(bytes);
	memcpy(p, from, bytes);
	kept++;
	*address = (uint64_t)(uintptr_t)p + 1;
	return 0;
}

static void give(uint64_t address)
{
	kept--;
	free((void *)(uintptr_t)(address - 1));
}

int penstock_seam_find(struct penstock_seam *seam)
{
	*seam = (struct penstock_seam){launch, reach, keep, give};
	return with_seam;
}

/* ---- the model ---- */

static int64_t ids[CELLS], mask[CELLS], types[CELLS];
static const int64_t in_shape[] = {ROWS, TOKENS}, out_shape[] = {ROWS, TOKENS, DIM};

static uint64_t address(const void *p) { return (uint64_t)(uintptr_t)p + (with_seam ? 1 : 0); }

static void *inputs(const char *name)
{
	if (!strcmp(name, "input_ids"))
		return ids;
	return strcmp(name, "attention_mask") ? types : mask;
}

static void bind_inputs(const struct penstock_ort_session *s, struct penstock_ort_run *run)
{
	for (size_t i = 0; i < penstock_ort_session_inputs(s); i++)
		must(penstock_ort_run_input(run, i, address(inputs(penstock_ort_session_input(s, i)->name)), sizeof ids, in_shape, 2, &error));
}

static int finish(struct penstock_ort_run *run)
{
	if (with_seam)
		pthread_join(thread, NULL);
	return penstock_ort_run_finish(run, &error);
}

/* One run into memory of ours, and one into the library's: both must give the same. */
static void run_twice(struct penstock_ort_session *s, float *out)
{
	struct penstock_ort_run *run;
	must(penstock_ort_run_new(s, &run, &error));
	bind_inputs(s, run);
	must(penstock_ort_run_output(run, 0, address(out), CELLS * DIM * sizeof *out, out_shape, 3, &error));
	must(penstock_ort_run_start(run, &error));
	must(finish(run));

	penstock_ort_run_reset(run);
	bind_inputs(s, run);
	must(penstock_ort_run_free_output(run, 0, &error));
	must(penstock_ort_run_start(run, &error));
	must(finish(run));
	struct penstock_ort_result r;
	must(penstock_ort_run_result(run, 0, &r, &error));
	must(penstock_ort_run_result(run, 0, &r, &error)); /* the same again */
	want(r.rank == 3 && !memcmp(r.shape, out_shape, sizeof out_shape) && r.bytes == CELLS * DIM * sizeof *out);
	want(!memcmp((void *)(uintptr_t)(r.address - (with_seam ? 1 : 0)), out, r.bytes));
	want(kept == (with_seam ? 1 : 0));

	penstock_ort_run_reset(run);
	bind_inputs(s, run);
	must(penstock_ort_run_free_output(run, 0, &error));
	penstock_ort_run_terminate(run);
	int started = penstock_ort_run_start(run, &error);
	want((with_seam ? finish(run) : started) == PENSTOCK_ORT_TERMINATED);

	penstock_ort_run_reset(run); /* takes the termination back */
	bind_inputs(s, run);
	must(penstock_ort_run_free_output(run, 0, &error));
	if (with_seam) {
		refuse_memory = 1;
		must(penstock_ort_run_start(run, &error));
		must(finish(run));
		struct penstock_ort_result r;
		want(penstock_ort_run_result(run, 0, &r, &error) == PENSTOCK_ORT_OUT_OF_MEMORY);
		refuse_memory = 0;
	}
	must(penstock_ort_run_shrink(run, 1, &error));
	must(penstock_ort_run_start(run, &error));
	must(finish(run));
	must(penstock_ort_run_shrink(run, 0, &error));
	penstock_ort_run_delete(run);
	want(kept == 0);
}

/* What is wrong with a tensor is said when it is bound or run, by name. */
static void refuse_wrong_tensors(struct penstock_ort_session *s)
{
	struct penstock_ort_run *run;
	struct penstock_ort_result r;
	must(penstock_ort_run_new(s, &run, &error));
	want(penstock_ort_run_input(run, 0, address(ids), sizeof ids - 8, in_shape, 2, &error) == PENSTOCK_ORT_FAILED);
	want(strstr(error.text, "120 bytes, not 112"));
	int64_t negative[] = {-1, TOKENS};
	want(penstock_ort_run_input(run, 0, address(ids), sizeof ids, negative, 2, &error) == PENSTOCK_ORT_FAILED);
	int64_t huge[] = {INT64_MAX, INT64_MAX};
	want(penstock_ort_run_input(run, 0, address(ids), sizeof ids, huge, 2, &error) == PENSTOCK_ORT_FAILED);
	want(penstock_ort_run_result(run, 0, &r, &error) == PENSTOCK_ORT_FAILED);
	penstock_ort_run_delete(run);
}

static void session(struct penstock_ort *ort, const char *model, enum penstock_ort_provider provider, float *out)
{
	const char *keys[] = {"session.use_env_allocators"}, *values[] = {"0"};
	struct penstock_ort_options options = {.model_path = model, .provider = provider, .stream = &thread, .session = {keys, values, 1}};
	struct penstock_ort_session *s;
	must(penstock_ort_session_open(ort, &options, &s, &error));
	want(penstock_ort_session_inputs(s) == 3 && penstock_ort_session_outputs(s) == 1);
	const struct penstock_ort_tensor *t = penstock_ort_session_output(s, 0);
	want(!strcmp(t->name, "last_hidden_state") && t->rank == 3 && t->shape[0] == -1 && t->shape[2] == DIM);
	want(penstock_ort_element_bytes(t->type) == 4 && !penstock_ort_element_bytes(8));
	/* Nodes that the CPU runs are named with their operators. With the seam that is all of them: it does not tell. */
	want(with_seam ? !*penstock_ort_session_on_cpu(s) : strstr(penstock_ort_session_on_cpu(s), " (Gather)\n") != NULL);
	run_twice(s, out);
	refuse_wrong_tensors(s);
	penstock_ort_session_close(s);
}

static void from_memory(struct penstock_ort *ort, const char *model)
{
	FILE *f = fopen(model, "rb");
	want(f && !fseek(f, 0, SEEK_END));
	long n = ftell(f);
	rewind(f);
	char *bytes = malloc((size_t)n);
	want(n > 0 && fread(bytes, 1, (size_t)n, f) == (size_t)n);
	fclose(f);
	struct penstock_ort_options options = {.model = bytes, .model_bytes = (size_t)n};
	struct penstock_ort_session *s;
	must(penstock_ort_session_open(ort, &options, &s, &error));
	memset(bytes, 0, (size_t)n); /* it was not kept */
	free(bytes);
	penstock_ort_session_close(s);
	options = (struct penstock_ort_options){.model = "no model", .model_bytes = 8};
	want(penstock_ort_session_open(ort, &options, &s, &error) == PENSTOCK_ORT_FAILED && error.code);
}

int main(int argc, char **argv)
{
	want(argc == 3);
	struct penstock_ort *ort;
	want(penstock_ort_open("/no/such/library.so", &ort, &error) == PENSTOCK_ORT_FAILED && strstr(error.text, "/no/such/library.so"));
	want(penstock_ort_open("libm.so.6", &ort, &error) == PENSTOCK_ORT_FAILED && strstr(error.text, "OrtGetApiBase"));
	must(penstock_ort_open(argv[1], &ort, &error));
	for (int i = 0; i < CELLS; i++) {
		ids[i] = i % 7;
		mask[i] = 1;
	}
	static float plain[CELLS * DIM], seamed[CELLS * DIM];
	session(ort, argv[2], PENSTOCK_ORT_CPU, plain);
	want(plain[0] != plain[DIM]);
	struct penstock_ort_session *s;
	struct penstock_ort_options options = {.model_path = argv[2], .provider = PENSTOCK_ORT_CUDA, .stream = &thread};
	want(penstock_ort_session_open(ort, &options, &s, &error) == PENSTOCK_ORT_NO_PROVIDER); /* this build is the CPU's */
	options.provider = PENSTOCK_ORT_TENSORRT;
	want(penstock_ort_session_open(ort, &options, &s, &error) == PENSTOCK_ORT_NO_PROVIDER);
	must(penstock_ort_provides(ort, PENSTOCK_ORT_CPU, &error));
	want(penstock_ort_provides(ort, PENSTOCK_ORT_CUDA, &error) == PENSTOCK_ORT_NO_PROVIDER && *error.text);
	want(penstock_ort_provides(ort, PENSTOCK_ORT_TENSORRT, &error) == PENSTOCK_ORT_NO_PROVIDER);
	with_seam = 1;
	must(penstock_ort_provides(ort, PENSTOCK_ORT_CUDA, &error));
	session(ort, argv[2], PENSTOCK_ORT_CUDA, seamed);
	want(!memcmp(plain, seamed, sizeof plain));
	with_seam = 0;
	from_memory(ort, argv[2]);
	penstock_ort_close(ort);
	puts("ort_test: ok");
	return 0;
}
