# Tests and benchmarks on a real card. On a machine without one they say what is missing, and fail.
#
# GPU_LIBS=DIR is a folder with ONNX Runtime's GPU library and CUDA's (libonnxruntime.so.1, libonnxruntime_providers_cuda.so,
# libcublas.so.12, libcudnn.so.9 and so on). Without it they come by `make gpu-libs` from packages (scripts/gpu/requirements.txt:
# versions that fit each other, by hash) into build/gpu. PENSTOCK_CUDA_DRIVER=PATH is a driver other than the loader's
# libcuda.so.1.

GPU_VENV  := build/gpu/venv/bin/python
GPU_DONE  := build/gpu/.done
GPU_LIBS  ?= build/gpu/lib
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

bench-copy: setup ## page-locked copies beside a bare loop in C: needs a card, no ONNX Runtime: benchmarks/results/copy.json
	@$(GPU_CHECK)
	@$(PYTHON) benchmarks/gpu/copy.py

.PHONY: gpu-libs lock-gpu test-gpu-driver bench-copy
