#define _GNU_SOURCE
#include "ort.h"

#include "onnxruntime_c_api.h"
#include "seam.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct penstock_ort {
	const OrtApi *api;   /* the library's: static */
	OrtEnv *env;         /* one hold of the process's only one */
	OrtAllocator *plain; /* the library's default: not ours to end */
};

struct penstock_ort_session {
	const struct penstock_ort *ort;
	OrtSession *session;
	struct penstock_seam found;
	const struct penstock_seam *seam; /* &found; NULL: the provider queues its work on the stream by itself */
	OrtMemoryInfo *device;            /* what tensors on the device are declared as */
	int host; /* the work is the CPU's */
	void *stream;
	struct penstock_ort_tensor *inputs, *outputs; /* their names are ours */
	size_t n_inputs, n_outputs;
	char *on_cpu;
	struct graph *graphs; /* the newest; with the seam */
};

/* A CUDA graph as the seam stands for it: the memory that its run was captured over. */
struct graph {
	struct graph *next;
	char *number; /* as the run options have it */
	size_t n;
	struct penstock_seam_use uses[];
};

/* What becomes of an output. */
struct place {
	OrtValue *value;  /* over the caller's memory, or what the library made; ours to release */
	int free;         /* the library makes it */
	int kept;         /* the seam keeps a free one, at address */
	uint64_t address;
};

struct penstock_ort_run {
	struct penstock_ort_session *session;
	OrtIoBinding *binding;
	OrtRunOptions *options;
	OrtValue **inputs;     /* ours to release */
	struct place *outputs;
	struct penstock_seam_use *uses;  /* the memory of all tensors, for the seam */
	int status;                      /* with the seam: how the work went */
	struct penstock_ort_error error; /* and why */
};

/* ---- errors ---- */

static int fail(struct penstock_ort_error *error, int status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	error->code = 0;
	vsnprintf(error->text, sizeof error->text, format, args);
	va_end(args);
	return status;
}

struct sign {
	const char *text;
	int status;
};

/* The library has no codes for these: its messages tell. The first that is found counts. */
static const struct sign signs[] = {
	{"terminate flag", PENSTOCK_ORT_TERMINATED},
	{"out of memory", PENSTOCK_ORT_OUT_OF_MEMORY},
	{"Failed to allocate memory", PENSTOCK_ORT_OUT_OF_MEMORY},
	{"smaller than requested bytes", PENSTOCK_ORT_OUT_OF_MEMORY},
	{"ALLOC_FAILED", PENSTOCK_ORT_OUT_OF_MEMORY},
	{"bad allocation", PENSTOCK_ORT_OUT_OF_MEMORY},
	{"std::bad_alloc", PENSTOCK_ORT_OUT_OF_MEMORY},
	{"illegal memory access", PENSTOCK_ORT_LOST},
	{"unspecified launch failure", PENSTOCK_ORT_LOST},
	{"device-side assert", PENSTOCK_ORT_LOST},
	{"uncorrectable", PENSTOCK_ORT_LOST},
	{"hardware stack error", PENSTOCK_ORT_LOST},
	{"illegal instruction", PENSTOCK_ORT_LOST},
	{"misaligned address", PENSTOCK_ORT_LOST},
	{"execution provider is not enabled", PENSTOCK_ORT_NO_PROVIDER},
	{"Failed to load shared library", PENSTOCK_ORT_NO_PROVIDER},
};

/* The one place where a status becomes an error, and is released. status may be NULL: all went well. */
static int check(const OrtApi *api, OrtStatus *status, struct penstock_ort_error *error)
{
	if (!status)
		return PENSTOCK_ORT_OK;
	const char *text = api->GetErrorMessage(status);
	int kind = PENSTOCK_ORT_FAILED;
	for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
		if (strcasestr(text, signs[i].text)) {
			kind = signs[i].status;
			break;
		}
	fail(error, kind, "%s", text);
	error->code = (int)api->GetErrorCode(status);
	api->ReleaseStatus(status);
	return kind;
}

static int no_memory(struct penstock_ort_error *error)
{
	return fail(error, PENSTOCK_ORT_FAILED, "the host has no memory left");
}

/* ---- the library ---- */

/* ONNX Runtime counts the holds of its one environment, but ends it behind its own lock: one that is made meanwhile fails,
 * since there is a logger still. */
static pthread_mutex_t environment = PTHREAD_MUTEX_INITIALIZER;

int penstock_ort_open(const char *path, struct penstock_ort **out, struct penstock_ort_error *error)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* never closed: its threads and statics outlive us */
	if (!library)
		return fail(error, PENSTOCK_ORT_FAILED, "%s", dlerror());
	const OrtApiBase *(*base)(void) = (const OrtApiBase *(*)(void))dlsym(library, "OrtGetApiBase");
	if (!base)
		return fail(error, PENSTOCK_ORT_FAILED, "%s is not ONNX Runtime: it has no OrtGetApiBase", path);
	const OrtApi *api = base()->GetApi(ORT_API_VERSION);
	if (!api)
		return fail(error, PENSTOCK_ORT_FAILED, "ONNX Runtime %s is too old: 1.%d or newer is needed",
		            base()->GetVersionString(), ORT_API_VERSION);
	struct penstock_ort *ort = calloc(1, sizeof *ort);
	if (!ort)
		return no_memory(error);
	ort->api = api;
	/* What goes wrong is in the errors: the library's own log would say it again. */
	pthread_mutex_lock(&environment);
	int status = check(api, api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "penstock", &ort->env), error);
	pthread_mutex_unlock(&environment);
	if (!status)
		status = check(api, api->GetAllocatorWithDefaultOptions(&ort->plain), error);
	if (status) {
		penstock_ort_close(ort);
		return status;
	}
	*out = ort;
	return PENSTOCK_ORT_OK;
}

void penstock_ort_close(struct penstock_ort *ort)
{
	if (!ort)
		return;
	if (ort->env) {
		pthread_mutex_lock(&environment);
		ort->api->ReleaseEnv(ort->env);
		pthread_mutex_unlock(&environment);
	}
	free(ort);
}

size_t penstock_ort_element_bytes(int type)
{
	switch (type) {
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
		return 1;
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
		return 2;
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32:
		return 4;
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
	case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64:
		return 8;
	}
	return 0;
}

/* ---- sessions ---- */

static int add_entries(const OrtApi *api, OrtSessionOptions *to, const struct penstock_ort_pairs *entries, struct penstock_ort_error *error)
{
	for (size_t i = 0; i < entries->n; i++) {
		int status = check(api, api->AddSessionConfigEntry(to, entries->keys[i], entries->values[i]), error);
		if (status)
			return status;
	}
	return PENSTOCK_ORT_OK;
}

static int add_cuda(const OrtApi *api, OrtSessionOptions *to, const struct penstock_ort_pairs *with, struct penstock_ort_error *error)
{
	OrtCUDAProviderOptionsV2 *options = NULL;
	int status = check(api, api->CreateCUDAProviderOptions(&options), error);
	if (status)
		return PENSTOCK_ORT_NO_PROVIDER; /* it is asked for nothing yet: this build has no such provider */
	status = check(api, api->UpdateCUDAProviderOptions(options, with->keys, with->values, with->n), error);
	if (!status)
		status = check(api, api->SessionOptionsAppendExecutionProvider_CUDA_V2(to, options), error);
	api->ReleaseCUDAProviderOptions(options);
	return status;
}

static int add_tensorrt(const OrtApi *api, OrtSessionOptions *to, const struct penstock_ort_pairs *with, struct penstock_ort_error *error)
{
	OrtTensorRTProviderOptionsV2 *options = NULL;
	int status = check(api, api->CreateTensorRTProviderOptions(&options), error);
	if (status)
		return PENSTOCK_ORT_NO_PROVIDER;
	status = check(api, api->UpdateTensorRTProviderOptions(options, with->keys, with->values, with->n), error);
	if (!status)
		status = check(api, api->SessionOptionsAppendExecutionProvider_TensorRT_V2(to, options), error);
	api->ReleaseTensorRTProviderOptions(options);
	return status;
}

/* Sets what holds for every session here: the threads of the CPU are for the odd node, and only block a core by spinning. */
static int set_options(const OrtApi *api, OrtSessionOptions *to, const struct penstock_ort_options *options, int seam,
                       struct penstock_ort_error *error)
{
	int status = check(api, api->SetIntraOpNumThreads(to, options->threads > 0 ? options->threads : 1), error);
	if (!status)
		status = check(api, api->SetInterOpNumThreads(to, 1), error);
	if (!status)
		status = check(api, api->SetSessionGraphOptimizationLevel(to, ORT_ENABLE_ALL), error);
	if (!status)
		status = check(api, api->SetSessionLogSeverityLevel(to, ORT_LOGGING_LEVEL_FATAL), error);
	if (!status)
		status = check(api, api->AddSessionConfigEntry(to, "session.intra_op.allow_spinning", "0"), error);
	if (!status)
		status = check(api, api->AddSessionConfigEntry(to, "session.record_ep_graph_assignment_info", "1"), error);
	if (!status)
		status = add_entries(api, to, &options->session, error);
	if (status || seam)
		return status;
	if (options->provider == PENSTOCK_ORT_TENSORRT)
		status = add_tensorrt(api, to, &options->tensorrt, error);
	if (!status && options->provider != PENSTOCK_ORT_CPU)
		status = add_cuda(api, to, &options->cuda, error);
	return status;
}

int penstock_ort_provides(struct penstock_ort *ort, enum penstock_ort_provider provider, struct penstock_ort_error *error)
{
	struct penstock_seam seam;
	if (provider == PENSTOCK_ORT_CPU || penstock_seam_find(&seam))
		return PENSTOCK_ORT_OK;
	OrtSessionOptions *o = NULL;
	int status = check(ort->api, ort->api->CreateSessionOptions(&o), error);
	if (status)
		return status;
	struct penstock_ort_pairs none = {NULL, NULL, 0};
	status = provider == PENSTOCK_ORT_TENSORRT ? add_tensorrt(ort->api, o, &none, error) : add_cuda(ort->api, o, &none, error);
	ort->api->ReleaseSessionOptions(o);
	return status ? PENSTOCK_ORT_NO_PROVIDER : PENSTOCK_ORT_OK;
}

static int shape_of(const OrtApi *api, const OrtTensorTypeAndShapeInfo *info, int *type, size_t *rank, int64_t *shape,
                    struct penstock_ort_error *error)
{
	ONNXTensorElementDataType element;
	int status = check(api, api->GetTensorElementType(info, &element), error);
	if (!status)
		status = check(api, api->GetDimensionsCount(info, rank), error);
	if (status)
		return status;
	if (*rank > PENSTOCK_ORT_MAX_RANK)
		return fail(error, PENSTOCK_ORT_FAILED, "%zu dimensions are more than %d", *rank, PENSTOCK_ORT_MAX_RANK);
	*type = (int)element;
	return check(api, api->GetDimensions(info, shape, *rank), error);
}

typedef OrtStatus *(ORT_API_CALL *name_fn)(const OrtSession *, size_t, OrtAllocator *, char **);
typedef OrtStatus *(ORT_API_CALL *type_fn)(const OrtSession *, size_t, OrtTypeInfo **);

/* Fills in tensor i; what it has set so far is ended with the session, also after an error. */
static int describe(const struct penstock_ort_session *s, size_t i, name_fn name_of, type_fn type_of, struct penstock_ort_tensor *to,
                    struct penstock_ort_error *error)
{
	const OrtApi *api = s->ort->api;
	char *name = NULL;
	int status = check(api, name_of(s->session, i, s->ort->plain, &name), error);
	if (status)
		return status;
	to->name = name;
	OrtTypeInfo *type = NULL;
	status = check(api, type_of(s->session, i, &type), error);
	if (status)
		return status;
	const OrtTensorTypeAndShapeInfo *info = NULL;
	status = check(api, api->CastTypeInfoToTensorInfo(type, &info), error);
	if (!status && !info)
		status = fail(error, PENSTOCK_ORT_FAILED, "%s is no tensor", name);
	if (!status)
		status = shape_of(api, info, &to->type, &to->rank, to->shape, error);
	api->ReleaseTypeInfo(type);
	return status;
}

static int describe_all(struct penstock_ort_session *s, struct penstock_ort_error *error)
{
	const OrtApi *api = s->ort->api;
	size_t in = 0, out = 0;
	int status = check(api, api->SessionGetInputCount(s->session, &in), error);
	if (!status)
		status = check(api, api->SessionGetOutputCount(s->session, &out), error);
	if (status)
		return status;
	s->inputs = calloc(in + 1, sizeof *s->inputs);
	s->outputs = calloc(out + 1, sizeof *s->outputs);
	if (!s->inputs || !s->outputs)
		return no_memory(error);
	s->n_inputs = in;
	s->n_outputs = out;
	for (size_t i = 0; i < in && !status; i++)
		status = describe(s, i, api->SessionGetInputName, api->SessionGetInputTypeInfo, &s->inputs[i], error);
	for (size_t i = 0; i < out && !status; i++)
		status = describe(s, i, api->SessionGetOutputName, api->SessionGetOutputTypeInfo, &s->outputs[i], error);
	return status;
}

/* Lists a provider's nodes, one a line. */
static void list_nodes(const OrtApi *api, const OrtEpAssignedSubgraph *part, FILE *to)
{
	const OrtEpAssignedNode *const *nodes = NULL;
	size_t n = 0;
	struct penstock_ort_error ignored;
	if (check(api, api->EpAssignedSubgraph_GetNodes(part, &nodes, &n), &ignored))
		return;
	for (size_t i = 0; i < n; i++) {
		const char *name = "", *op = "";
		if (check(api, api->EpAssignedNode_GetName(nodes[i], &name), &ignored) ||
		    check(api, api->EpAssignedNode_GetOperatorType(nodes[i], &op), &ignored))
			continue;
		fprintf(to, "%s (%s)\n", *name ? name : "?", op);
	}
}

/* What a library does not tell is left out: it is for people to read. */
static void list_on_cpu(struct penstock_ort_session *s)
{
	const OrtApi *api = s->ort->api;
	const OrtEpAssignedSubgraph *const *parts = NULL;
	size_t n = 0, size = 0;
	struct penstock_ort_error ignored;
	if (check(api, api->Session_GetEpGraphAssignmentInfo(s->session, &parts, &n), &ignored))
		return;
	FILE *to = open_memstream(&s->on_cpu, &size);
	if (!to)
		return;
	for (size_t i = 0; i < n; i++) {
		const char *provider = "";
		if (!check(api, api->EpAssignedSubgraph_GetEpName(parts[i], &provider), &ignored) && !strcmp(provider, "CPUExecutionProvider"))
			list_nodes(api, parts[i], to);
	}
	fclose(to);
}

static int create(struct penstock_ort_session *s, const struct penstock_ort_options *options, struct penstock_ort_error *error)
{
	const OrtApi *api = s->ort->api;
	OrtSessionOptions *o = NULL;
	int status = check(api, api->CreateSessionOptions(&o), error);
	if (status)
		return status;
	status = set_options(api, o, options, s->seam != NULL, error);
	if (!status && options->model)
		status = check(api, api->CreateSessionFromArray(s->ort->env, options->model, options->model_bytes, o, &s->session), error);
	else if (!status)
		status = check(api, api->CreateSession(s->ort->env, options->model_path, o, &s->session), error);
	api->ReleaseSessionOptions(o);
	return status;
}

int penstock_ort_session_open(struct penstock_ort *ort, const struct penstock_ort_options *options,
                              struct penstock_ort_session **out, struct penstock_ort_error *error)
{
	const OrtApi *api = ort->api;
	struct penstock_ort_session *s = calloc(1, sizeof *s);
	if (!s)
		return no_memory(error);
	s->ort = ort;
	s->stream = options->stream;
	s->seam = options->provider != PENSTOCK_ORT_CPU && penstock_seam_find(&s->found) ? &s->found : NULL;
	int host = s->host = options->provider == PENSTOCK_ORT_CPU || s->seam;
	int status = create(s, options, error);
	if (!status)
		status = check(api, api->CreateMemoryInfo(host ? "Cpu" : "Cuda", OrtDeviceAllocator, host ? 0 : options->device, OrtMemTypeDefault, &s->device), error);
	if (!status)
		status = describe_all(s, error);
	if (status) {
		penstock_ort_session_close(s);
		return status;
	}
	if (!s->seam)
		list_on_cpu(s);
	*out = s;
	return PENSTOCK_ORT_OK;
}

static void free_tensors(const struct penstock_ort *ort, struct penstock_ort_tensor *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].name)
			ort->plain->Free(ort->plain, (void *)list[i].name);
	free(list);
}

void penstock_ort_session_close(struct penstock_ort_session *s)
{
	if (!s)
		return;
	free_tensors(s->ort, s->inputs, s->n_inputs);
	free_tensors(s->ort, s->outputs, s->n_outputs);
	if (s->device)
		s->ort->api->ReleaseMemoryInfo(s->device);
	if (s->session)
		s->ort->api->ReleaseSession(s->session);
	free(s->on_cpu);
	while (s->graphs) {
		struct graph *g = s->graphs;
		s->graphs = g->next;
		free(g->number);
		free(g);
	}
	free(s);
}

size_t penstock_ort_session_inputs(const struct penstock_ort_session *s) { return s->n_inputs; }
size_t penstock_ort_session_outputs(const struct penstock_ort_session *s) { return s->n_outputs; }

const struct penstock_ort_tensor *penstock_ort_session_input(const struct penstock_ort_session *s, size_t i) { return &s->inputs[i]; }
const struct penstock_ort_tensor *penstock_ort_session_output(const struct penstock_ort_session *s, size_t i) { return &s->outputs[i]; }

const char *penstock_ort_session_on_cpu(const struct penstock_ort_session *s) { return s->on_cpu ? s->on_cpu : ""; }

/* ---- runs ---- */

/* The entry of run options that tells CUDA graphs from each other. */
static const char graph_number[] = "gpu_graph_id";

int penstock_ort_run_new(struct penstock_ort_session *s, struct penstock_ort_run **out, struct penstock_ort_error *error)
{
	const OrtApi *api = s->ort->api;
	struct penstock_ort_run *run = calloc(1, sizeof *run);
	if (!run)
		return no_memory(error);
	run->session = s;
	run->inputs = calloc(s->n_inputs + 1, sizeof *run->inputs);
	run->outputs = calloc(s->n_outputs + 1, sizeof *run->outputs);
	run->uses = calloc(s->n_inputs + s->n_outputs + 1, sizeof *run->uses);
	int status = run->inputs && run->outputs && run->uses ? PENSTOCK_ORT_OK : no_memory(error);
	if (!status)
		status = check(api, api->CreateIoBinding(s->session, &run->binding), error);
	if (!status)
		status = check(api, api->CreateRunOptions(&run->options), error);
	/* The caller's event tells when the work has happened: without this each run waits for the device. */
	if (!status)
		status = check(api, api->AddRunConfigEntry(run->options, "disable_synchronize_execution_providers", "1"), error);
	if (status) {
		penstock_ort_run_delete(run);
		return status;
	}
	*out = run;
	return PENSTOCK_ORT_OK;
}

void penstock_ort_run_delete(struct penstock_ort_run *run)
{
	if (!run)
		return;
	const OrtApi *api = run->session->ort->api;
	if (run->binding) {
		penstock_ort_run_reset(run);
		api->ReleaseIoBinding(run->binding);
	}
	if (run->options)
		api->ReleaseRunOptions(run->options);
	free(run->inputs);
	free(run->outputs);
	free(run->uses);
	free(run);
}

/* A tensor over the caller's memory, in *value: ours to release. */
static int lay(const struct penstock_ort_session *s, const struct penstock_ort_tensor *what, uint64_t address, size_t bytes,
               const int64_t *shape, size_t rank, OrtValue **value, struct penstock_ort_error *error)
{
	size_t need = penstock_ort_element_bytes(what->type);
	if (!need)
		return fail(error, PENSTOCK_ORT_FAILED, "%s: elements of type %d lie in no flat memory", what->name, what->type);
	for (size_t i = 0; i < rank; i++)
		if (shape[i] < 0 || __builtin_mul_overflow(need, (size_t)shape[i], &need))
			return fail(error, PENSTOCK_ORT_FAILED, "%s: dimension %zu of %lld", what->name, i, (long long)shape[i]);
	if (need != bytes)
		return fail(error, PENSTOCK_ORT_FAILED, "%s: its shape takes %zu bytes, not %zu", what->name, need, bytes);
	void *at = s->seam ? s->seam->reach(address, bytes) : (void *)(uintptr_t)address; /* never read here */
	if (!at)
		return fail(error, PENSTOCK_ORT_FAILED, "%s: no device memory at 0x%llx", what->name, (unsigned long long)address);
	const OrtApi *api = s->ort->api;
	return check(api, api->CreateTensorWithDataAsOrtValue(s->device, at, bytes, shape, rank, (ONNXTensorElementDataType)what->type, value), error);
}

static void drop(const OrtApi *api, OrtValue **value)
{
	if (*value)
		api->ReleaseValue(*value);
	*value = NULL;
}

int penstock_ort_run_input(struct penstock_ort_run *run, size_t i, uint64_t address, size_t bytes, const int64_t *shape, size_t rank,
                           struct penstock_ort_error *error)
{
	const struct penstock_ort_session *s = run->session;
	const OrtApi *api = s->ort->api;
	drop(api, &run->inputs[i]);
	int status = lay(s, &s->inputs[i], address, bytes, shape, rank, &run->inputs[i], error);
	run->uses[i] = (struct penstock_seam_use){address, bytes, 0, 0};
	return status ? status : check(api, api->BindInput(run->binding, s->inputs[i].name, run->inputs[i]), error);
}

int penstock_ort_run_output(struct penstock_ort_run *run, size_t i, uint64_t address, size_t bytes, const int64_t *shape, size_t rank,
                            struct penstock_ort_error *error)
{
	const struct penstock_ort_session *s = run->session;
	const OrtApi *api = s->ort->api;
	struct place *p = &run->outputs[i];
	drop(api, &p->value);
	int status = lay(s, &s->outputs[i], address, bytes, shape, rank, &p->value, error);
	if (!status)
		status = check(api, api->BindOutput(run->binding, s->outputs[i].name, p->value), error);
	run->uses[s->n_inputs + i] = (struct penstock_seam_use){address, bytes, 1, 0};
	return status;
}

int penstock_ort_run_free_output(struct penstock_ort_run *run, size_t i, struct penstock_ort_error *error)
{
	const struct penstock_ort_session *s = run->session;
	int status = check(s->ort->api, s->ort->api->BindOutputToDevice(run->binding, s->outputs[i].name, s->device), error);
	run->outputs[i].free = !status;
	return status;
}

/* Looks up output i among the bound ones: the library gives them in the order of binding. */
static int same_name(const struct penstock_ort_session *s, const char *names, size_t length, size_t *i)
{
	for (*i = 0; *i < s->n_outputs; (*i)++)
		if (strlen(s->outputs[*i].name) == length && !memcmp(s->outputs[*i].name, names, length))
			return 1;
	return 0;
}

/* Takes over the values that the library made for free outputs. */
static int collect(struct penstock_ort_run *run, struct penstock_ort_error *error)
{
	const struct penstock_ort_session *s = run->session;
	const OrtApi *api = s->ort->api;
	char *names = NULL;
	size_t *lengths = NULL, n = 0, got = 0;
	OrtValue **values = NULL;
	int status = check(api, api->GetBoundOutputNames(run->binding, s->ort->plain, &names, &lengths, &n), error);
	if (!status)
		status = check(api, api->GetBoundOutputValues(run->binding, s->ort->plain, &values, &got), error);
	const char *name = names;
	for (size_t k = 0; k < got; k++) {
		size_t i = 0;
		if (k < n && same_name(s, name, lengths[k], &i) && run->outputs[i].free && !run->outputs[i].value)
			run->outputs[i].value = values[k];
		else
			api->ReleaseValue(values[k]);
		if (k < n)
			name += lengths[k];
	}
	if (values)
		s->ort->plain->Free(s->ort->plain, values);
	if (names)
		s->ort->plain->Free(s->ort->plain, names);
	if (lengths)
		s->ort->plain->Free(s->ort->plain, lengths);
	return status;
}

static int any_free(const struct penstock_ort_run *run)
{
	for (size_t i = 0; i < run->session->n_outputs; i++)
		if (run->outputs[i].free)
			return 1;
	return 0;
}

static int work(struct penstock_ort_run *run, struct penstock_ort_error *error)
{
	const struct penstock_ort_session *s = run->session;
	int status = check(s->ort->api, s->ort->api->RunWithBinding(s->session, run->options, run->binding), error);
	return status || !any_free(run) ? status : collect(run, error);
}

/* With the seam the work happens here, when the stream comes to it. */
static int in_stream(void *arg)
{
	struct penstock_ort_run *run = arg;
	run->status = work(run, &run->error);
	return 0;
}

/* Moves the memory that is used to the front: free outputs have none yet. */
static size_t used(struct penstock_ort_run *run)
{
	size_t n = 0, all = run->session->n_inputs + run->session->n_outputs;
	for (size_t i = 0; i < all; i++)
		if (run->uses[i].bytes)
			run->uses[n++] = run->uses[i];
	memset(run->uses + n, 0, (all - n) * sizeof *run->uses);
	return n;
}

/*
 * A provider captures a run whose options have a graph's number, and replays it over the memory of that run from then on:
 * what is bound later is not looked at. Here such a run fails if anything else is bound.
 */
static int replay(struct penstock_ort_run *run, size_t n, struct penstock_ort_error *error)
{
	struct penstock_ort_session *s = run->session;
	const char *number = s->ort->api->GetRunConfigEntry(run->options, graph_number);
	if (!number || !strcmp(number, "-1"))
		return PENSTOCK_ORT_OK;
	for (const struct graph *g = s->graphs; g; g = g->next)
		if (!strcmp(g->number, number)) {
			if (g->n == n && !memcmp(g->uses, run->uses, n * sizeof *run->uses))
				return PENSTOCK_ORT_OK;
			return fail(error, PENSTOCK_ORT_FAILED, "CUDA graph %s was captured over other memory", number);
		}
	struct graph *g = calloc(1, sizeof *g + n * sizeof *g->uses);
	char *name = strdup(number);
	if (!g || !name) {
		free(g);
		free(name);
		return no_memory(error);
	}
	g->next = s->graphs;
	g->number = name;
	g->n = n;
	memcpy(g->uses, run->uses, n * sizeof *g->uses);
	s->graphs = g;
	return PENSTOCK_ORT_OK;
}

int penstock_ort_run_start(struct penstock_ort_run *run, struct penstock_ort_error *error)
{
	const struct penstock_ort_session *s = run->session;
	run->status = PENSTOCK_ORT_OK;
	if (!s->seam)
		return work(run, error);
	size_t n = used(run);
	int status = replay(run, n, error);
	if (status)
		return status;
	int code = s->seam->launch(s->stream, run->uses, n, in_stream, run);
	if (code == 2) /* CUDA_ERROR_OUT_OF_MEMORY: a provider's arena would report it here too */
		return fail(error, PENSTOCK_ORT_OUT_OF_MEMORY, "out of memory");
	return code ? fail(error, PENSTOCK_ORT_FAILED, "the stream took no work (CUDA error %d)", code) : PENSTOCK_ORT_OK;
}

int penstock_ort_run_finish(struct penstock_ort_run *run, struct penstock_ort_error *error)
{
	if (run->status)
		*error = run->error;
	return run->status;
}

int penstock_ort_run_result(struct penstock_ort_run *run, size_t i, struct penstock_ort_result *result, struct penstock_ort_error *error)
{
	const struct penstock_ort_session *s = run->session;
	const OrtApi *api = s->ort->api;
	struct place *p = &run->outputs[i];
	if (!p->free || !p->value)
		return fail(error, PENSTOCK_ORT_FAILED, "%s: the run gave no such output", s->outputs[i].name);
	OrtTensorTypeAndShapeInfo *info = NULL;
	int type = 0, status = check(api, api->GetTensorTypeAndShape(p->value, &info), error);
	if (status)
		return status;
	status = shape_of(api, info, &type, &result->rank, result->shape, error);
	api->ReleaseTensorTypeAndShapeInfo(info);
	if (!status)
		status = check(api, api->GetTensorSizeInBytes(p->value, &result->bytes), error);
	void *at = NULL;
	if (!status)
		status = check(api, api->GetTensorMutableData(p->value, &at), error);
	if (status)
		return status;
	result->address = (uint64_t)(uintptr_t)at;
	if (!s->seam || !result->bytes)
		return PENSTOCK_ORT_OK;
	/* The CPU's provider made it in the host's memory: it goes to where a provider of the device would have put it. */
	if (!p->kept && s->seam->keep(at, result->bytes, &p->address))
		return fail(error, PENSTOCK_ORT_OUT_OF_MEMORY, "%s: out of memory for %zu bytes", s->outputs[i].name, result->bytes);
	p->kept = 1;
	result->address = p->address;
	return PENSTOCK_ORT_OK;
}

void penstock_ort_run_reset(struct penstock_ort_run *run)
{
	const struct penstock_ort_session *s = run->session;
	const OrtApi *api = s->ort->api;
	api->ClearBoundInputs(run->binding);
	api->ClearBoundOutputs(run->binding);
	for (size_t i = 0; i < s->n_inputs; i++)
		drop(api, &run->inputs[i]);
	for (size_t i = 0; i < s->n_outputs; i++) {
		struct place *p = &run->outputs[i];
		drop(api, &p->value);
		if (p->kept)
			s->seam->give(p->address);
		memset(p, 0, sizeof *p);
	}
	memset(run->uses, 0, (s->n_inputs + s->n_outputs) * sizeof *run->uses);
	if (run->options)
		(void)check(api, api->RunOptionsUnsetTerminate(run->options), &run->error); /* never fails on options that exist */
	run->status = PENSTOCK_ORT_OK;
}

void penstock_ort_run_terminate(struct penstock_ort_run *run)
{
	struct penstock_ort_error ignored;
	(void)check(run->session->ort->api, run->session->ort->api->RunOptionsSetTerminate(run->options), &ignored);
}

int penstock_ort_run_graph(struct penstock_ort_run *run, int number, struct penstock_ort_error *error)
{
	char text[16];
	snprintf(text, sizeof text, "%d", number);
	return check(run->session->ort->api, run->session->ort->api->AddRunConfigEntry(run->options, graph_number, text), error);
}

int penstock_ort_run_shrink(struct penstock_ort_run *run, int on, struct penstock_ort_error *error)
{
	const struct penstock_ort_session *s = run->session;
	const char *arena = "";
	char name[32];
	if (on) {
		int id = 0;
		const OrtApi *api = s->ort->api;
		int status = check(api, api->MemoryInfoGetId(s->device, &id), error);
		if (status)
			return status;
		snprintf(name, sizeof name, s->host ? "cpu:%d" : "gpu:%d", id);
		arena = name;
	}
	return check(s->ort->api, s->ort->api->AddRunConfigEntry(run->options, "memory.enable_memory_arena_shrinkage", arena), error);
}
