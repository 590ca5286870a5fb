# Tests and benchmarks on a real card. On a machine without one they say what is missing, and fail.
#
# GPU_LIBS=DIR is a folder with ONNX Runtime's GPU library and CUDA's (libonnxruntime.so.1, libonnxruntime_providers_cuda.so,
# libcublas.so.12, libcudnn.so.9 and so on). Without it they come by `make gpu-libs` from packages (scripts/gpu/requirements.txt:
# versions that fit each other, by hash) into build/gpu. PENSTOCK_CUDA_DRIVER=PATH is a driver other than the loader's
# libcuda.so.1. GPU_PYTHON is a Python whose onnxruntime is onnxruntime-gpu, for the bare loop.

GPU_VENV  := build/gpu/venv/bin/python
GPU_DONE  := build/gpu/.done
GPU_LIBS  ?= build/gpu/lib
GPU_PYTHON ?= $(GPU_VENV)
# What is asked for is fetched once the driver is there: it is large.
GPU_READY  = $(if $(filter build/gpu/lib,$(GPU_LIBS)),if $(GPU_CHECK) 2>/dev/null; then $(MAKE) gpu-libs || true; fi)
GPU_CHECK  = $(PYTHON) scripts/gpu_check.py --driver "$(PENSTOCK_CUDA_DRIVER)" --what $@

gpu-libs: $(GPU_DONE) ## onnxruntime-gpu, CUDA's libraries and cuDNN into build/gpu (some 1.5 GB, pinned, by hash)

$(GPU_DONE): scripts/gpu/requirements.txt scripts/gpu_libs.py | need
	@mkdir -p $(@D)
	@echo "gpu-libs: build/gpu, from scripts/gpu/requirements.txt"
	@$(PYTHON) -m venv --clear build/gpu/venv
	@$(GPU_VENV) -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes -r scripts/gpu/requirements.txt
	@$(GPU_VENV) scripts/gpu_libs.py build/gpu/lib
	@touch $@

lock-gpu: ## write scripts/gpu/requirements.txt anew from requirements.in
	@$(PYTHON) scripts/lock_python.py scripts/gpu x86_64

# The packages that need the driver alone.
DRIVER_TESTS := ./cuda ./pinned

test-gpu-driver: setup ## the tests of packages cuda and pinned on the real driver: needs a card, no ONNX Runtime
	@$(GPU_CHECK)
	@PENSTOCK_REAL_DRIVER="$(or $(PENSTOCK_CUDA_DRIVER),libcuda.so.1)" $(GOTEST) -count=1 -v $(DRIVER_TESTS)

test-gpu: test-gpu-driver ## the same, and those of package infer/gpu with ONNX Runtime's CUDA provider
	@$(GPU_READY)
	@$(GPU_CHECK) --libs $(GPU_LIBS)
	@LD_LIBRARY_PATH="$(abspath $(GPU_LIBS)):$(LD_LIBRARY_PATH)" PENSTOCK_GPU_LIBS="$(abspath $(GPU_LIBS))" \
		PENSTOCK_REAL_DRIVER="$(or $(PENSTOCK_CUDA_DRIVER),libcuda.so.1)" $(GOTEST) -count=1 -v ./infer/gpu

bench-copy: setup ## page-locked copies beside a bare loop in C: needs a card, no ONNX Runtime: benchmarks/results/copy.json
	@$(GPU_CHECK)
	@$(PYTHON) benchmarks/gpu/copy.py

bench-gpu: setup ## ResNet-50 and MiniLM in float16 beside a bare I/O-binding loop: needs a card: benchmarks/results/gpu.json
	@$(GPU_READY)
	@$(GPU_CHECK) --libs $(GPU_LIBS) --python $(GPU_PYTHON)
	@$(PYTHON) benchmarks/gpu/gpu.py --libs $(abspath $(GPU_LIBS)) --python $(GPU_PYTHON)

.PHONY: gpu-libs lock-gpu test-gpu-driver test-gpu bench-copy bench-gpu
