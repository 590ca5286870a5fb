/*
 * ONNX Runtime's C API as the GPU path needs it: sessions that queue their work on a stream of ours, tensors over any
 * address, and runs that are started now and looked at later. It is flat C: handles, plain structs, a status out of each
 * call that can fail, and no calls back.
 *
 * A run in the life of a slot:
 *
 *	run_new                                 once
 *	run_input, run_output or run_free_output, for each tensor
 *	run_start                               queues the model's work on the session's stream, behind what is queued there
 *	    … the caller records an event behind it and waits for that …
 *	run_finish                              whether the work went well
 *	run_result                              for outputs whose size was not known before
 *	run_reset                               forgets the tensors: the run can be used again
 *	run_delete                              once
 *
 * Ownership: each pointer to an argument is borrowed for the call, unless it says otherwise. What a handle's own function
 * made, its own function ends; handles are ended in the opposite order of their making. Memory of tensors is the caller's:
 * it stays as it is from run_start until the work has happened, and is not touched by any call here outside of that.
 *
 * Threads: different runs may be used at once; one run is used by one thread at a time, except run_terminate, which any
 * thread may call while the run exists. A session's run_start calls come one at a time.
 *
 * Status: every function that gives an int gives PENSTOCK_ORT_OK, or what went wrong, with the text in *error.
 */
#ifndef PENSTOCK_ORT_H
#define PENSTOCK_ORT_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

enum penstock_ort_status {
	PENSTOCK_ORT_OK = 0,
	PENSTOCK_ORT_FAILED = 1,        /* anything that has no kind of its own */
	PENSTOCK_ORT_OUT_OF_MEMORY = 2, /* the device has no room for it, or the arena may take no more */
	PENSTOCK_ORT_LOST = 3,          /* the device reported an error that does not go away */
	PENSTOCK_ORT_TERMINATED = 4,    /* run_terminate ended it */
	PENSTOCK_ORT_NO_PROVIDER = 5,   /* this build of the library lacks the execution provider, or cannot load it */
};

struct penstock_ort_error {
	int code;        /* ONNX Runtime's own (OrtErrorCode); 0: it did not come from there */
	char text[2048]; /* cut to fit */
};

enum penstock_ort_provider {
	PENSTOCK_ORT_CPU = 0,
	PENSTOCK_ORT_CUDA = 1,
	PENSTOCK_ORT_TENSORRT = 2, /* with CUDA behind it for what TensorRT leaves */
};

/* The library, and this process's environment in it. */
struct penstock_ort;

/* Opens the library's file. *out is ended by penstock_ort_close. The library itself stays mapped. */
int penstock_ort_open(const char *path, struct penstock_ort **out, struct penstock_ort_error *error);
void penstock_ort_close(struct penstock_ort *ort);

/* Whether the library has an execution provider and can load what that needs; OK or NO_PROVIDER, with what is missing. */
int penstock_ort_provides(struct penstock_ort *ort, enum penstock_ort_provider provider, struct penstock_ort_error *error);

/* Pairs of strings, as ONNX Runtime takes its options. */
struct penstock_ort_pairs {
	const char *const *keys;
	const char *const *values;
	size_t n;
};

struct penstock_ort_options {
	const char *model_path;   /* used where model is NULL */
	const void *model;        /* an ONNX file in memory: read during the call, not kept */
	size_t model_bytes;
	enum penstock_ort_provider provider;
	int device;               /* CUDA's number of it: its context is current */
	void *stream;             /* a CUstream, which the provider's options name too; it outlives the session */
	int threads;              /* of the CPU, for nodes that run there */
	struct penstock_ort_pairs cuda, tensorrt; /* options of the providers */
	struct penstock_ort_pairs session;        /* session configuration entries */
};

/* A loaded model. */
struct penstock_ort_session;

/* Loads a model. It takes its time. *out is ended by penstock_ort_session_close, after all of its runs. */
int penstock_ort_session_open(struct penstock_ort *ort, const struct penstock_ort_options *options,
                              struct penstock_ort_session **out, struct penstock_ort_error *error);
void penstock_ort_session_close(struct penstock_ort_session *session);

#define PENSTOCK_ORT_MAX_RANK 8

/* What a tensor is. type is ONNXTensorElementDataType's number; a size of -1 in shape is not known. */
struct penstock_ort_tensor {
	const char *name; /* the session's, valid as long as it */
	int type;
	size_t rank;
	int64_t shape[PENSTOCK_ORT_MAX_RANK];
};

size_t penstock_ort_session_inputs(const struct penstock_ort_session *session);
size_t penstock_ort_session_outputs(const struct penstock_ort_session *session);
/* The tensor belongs to the session: valid as long as it. i is below the count. */
const struct penstock_ort_tensor *penstock_ort_session_input(const struct penstock_ort_session *session, size_t i);
const struct penstock_ort_tensor *penstock_ort_session_output(const struct penstock_ort_session *session, size_t i);

/*
 * The nodes that run on the CPU, one a line, as "name (Operator)": all where the CPU was asked for, else those that the
 * provider has no kernel for. "" where there are none, or where the library does not tell; the seam does not. The text is
 * the session's, valid as long as it.
 */
const char *penstock_ort_session_on_cpu(const struct penstock_ort_session *session);

/* One run of a model, to be used again and again. */
struct penstock_ort_run;

/* *out is ended by penstock_ort_run_delete. */
int penstock_ort_run_new(struct penstock_ort_session *session, struct penstock_ort_run **out, struct penstock_ort_error *error);
void penstock_ort_run_delete(struct penstock_ort_run *run);

/* Lays input i over bytes at a device's address. The number of bytes is exactly that of the shape. */
int penstock_ort_run_input(struct penstock_ort_run *run, size_t i, uint64_t address, size_t bytes, const int64_t *shape,
                           size_t rank, struct penstock_ort_error *error);
/* The same for output i, whose size is known. */
int penstock_ort_run_output(struct penstock_ort_run *run, size_t i, uint64_t address, size_t bytes, const int64_t *shape,
                            size_t rank, struct penstock_ort_error *error);
/* Has the library find room on the device for output i, whose size shows in the run. */
int penstock_ort_run_free_output(struct penstock_ort_run *run, size_t i, struct penstock_ort_error *error);

/* Queues the work. An error says that not all of it was queued; what was is still on the stream. */
int penstock_ort_run_start(struct penstock_ort_run *run, struct penstock_ort_error *error);
/* Called once the work has happened, or failed. */
int penstock_ort_run_finish(struct penstock_ort_run *run, struct penstock_ort_error *error);

/*
 * Where a free output lies, after a run_finish that gave OK. It is the run's, until run_reset. Both are called with the
 * device's context current, and so is run_delete.
 */
struct penstock_ort_result {
	uint64_t address;
	size_t bytes;
	size_t rank;
	int64_t shape[PENSTOCK_ORT_MAX_RANK];
};
int penstock_ort_run_result(struct penstock_ort_run *run, size_t i, struct penstock_ort_result *result, struct penstock_ort_error *error);

/* Forgets all tensors, and a termination. No work may be under way. */
void penstock_ort_run_reset(struct penstock_ort_run *run);

/* Ends the run between two of its operators. */
void penstock_ort_run_terminate(struct penstock_ort_run *run);

/* Has the device's arena give back what is free in it at the end of each run from now on, or no longer. */
int penstock_ort_run_shrink(struct penstock_ort_run *run, int on, struct penstock_ort_error *error);

/*
 * Has the provider capture the run as CUDA graph number, from 1 on, if that is the first run with it, or replay that graph.
 * A replay uses the memory and the shapes of the run that was captured: those that are bound must be the same. -1: neither.
 * It is for sessions whose CUDA options have enable_cuda_graph.
 */
int penstock_ort_run_graph(struct penstock_ort_run *run, int number, struct penstock_ort_error *error);

/* The bytes of one element of a type; 0: a type that lies in no flat memory, or is not known. */
size_t penstock_ort_element_bytes(int type);

#pragma GCC visibility pop
#endif
