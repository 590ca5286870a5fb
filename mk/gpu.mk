# CUDA without a toolkit: the driver's header from a wheel; libcuda.a, which finds the real library at run time; and
# libpenstock_ort.a, our shim over ONNX Runtime, whose header comes with the Go module of its binding. Packages cuda,
# pinned and infer/gpu have the build tag `cuda`, which make sets, with the flags by which cgo finds these; without the
# tag they are empty, so that plain `go build ./...` needs none of it. `eval "$(make go-env)"` gives a shell what make
# gives its recipes.

CC           ?= cc
CSRC_SOURCES := $(wildcard csrc/driver/*.c csrc/driver/*.h csrc/driver/*.py csrc/driver/*.txt) \
	csrc/ort/ort.c csrc/ort/ort.h csrc/ort/seam.c csrc/ort/seam.h
CSRC_FLAGS   := -std=gnu11 -O3 -g -fPIC -fvisibility=hidden -Wall -Wextra -Werror
ASAN_FLAGS   := -std=gnu11 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all -Wall -Wextra -Werror

# The emulated driver that tests open by the path in this variable; in the name so that Go's test cache sees a change of it.
EMULATOR_SOURCES := $(filter-out %_test.c,$(wildcard csrc/emulator/*.c)) $(wildcard csrc/emulator/*.h)
EMULATOR_SUM     := $(shell cat $(EMULATOR_SOURCES) | cksum | cut -d ' ' -f 1)
EMULATOR_DONE    := $(CURDIR)/build/cuda/emulator-$(EMULATOR_SUM)/libcuda-emulator.so
export PENSTOCK_CUDA_EMULATOR := $(EMULATOR_DONE)

# Go's build cache sees a change of its flags, not of a library or of a header outside a package: so the sum of csrc
# stands in flags that mean nothing else, for the packages that include its headers and for whatever is linked. The paths
# reach the C compiler by its own variables, not by CGO_CFLAGS: a change of csrc, or another checkout, then compiles
# these packages anew and not each one that stands on cgo.
CUDA_INCLUDE := $(CURDIR)/build/cuda/include
NATIVE_SUM   := $(shell cat $(CSRC_SOURCES) | cksum | cut -d ' ' -f 1)
CUDA_LIB     := $(CURDIR)/build/cuda/$(NATIVE_SUM)
NATIVE_MARK  := -X=main.native=$(NATIVE_SUM)
NATIVE_SUMS  := $(patsubst %,-gcflags=github.com/penstock-data/penstock/%, \
	$(patsubst %,%=-D=$(NATIVE_SUM),cuda pinned infer/gpu) internal/cudaemu=-D=$(NATIVE_SUM).$(EMULATOR_SUM))
NATIVE_FLAGS := -tags=cuda -ldflags=$(NATIVE_MARK) $(NATIVE_SUMS)
HEADERS_DONE := build/cuda/include/.done
CUDA_DONE    := $(CUDA_LIB)/libcuda.a
ORT_MODULE   := github.com/yalue/onnxruntime_go

export GOFLAGS        := $(strip $(filter-out -tags=cuda -ldflags=-X=main.native=% -gcflags=github.com/penstock-data/penstock/%,$(GOFLAGS)) $(NATIVE_FLAGS))
export C_INCLUDE_PATH := $(CUDA_INCLUDE)
export LIBRARY_PATH   := $(CUDA_LIB)

setup: $(CUDA_DONE)

# Whatever builds Go code depends on the modules, and so on these.
$(MODULES_DONE): $(CUDA_DONE)

$(HEADERS_DONE): scripts/cuda_headers.py $(VENV_DONE)
	@echo "setup: build/cuda/include, CUDA's driver header" >&2
	@$(VENV) scripts/cuda_headers.py $(@D)
	@touch $@

$(CUDA_DONE): $(CSRC_SOURCES) $(HEADERS_DONE)
	@echo "setup: libcuda.a, which finds CUDA's driver at run time, and libpenstock_ort.a" >&2
	@mkdir -p $(@D)
	@go mod download $(ORT_MODULE)
	@include=$$(go list -m -f '{{.Dir}}' $(ORT_MODULE)); for part in ort seam; do \
		$(CC) $(CSRC_FLAGS) -isystem "$$include" -I $(CUDA_INCLUDE) -I csrc/driver -I csrc/ort -c csrc/ort/$$part.c -o $(@D)/$$part.o; done
	@rm -f $(@D)/libpenstock_ort.a
	@ar rcs $(@D)/libpenstock_ort.a $(@D)/ort.o $(@D)/seam.o
	@$(VENV) csrc/driver/trampolines.py $(CUDA_INCLUDE) csrc/driver/symbols.txt $(@D)/trampolines.c
	@$(CC) $(CSRC_FLAGS) -I $(CUDA_INCLUDE) -I csrc/driver -c csrc/driver/driver.c -o $(@D)/driver.o
	@$(CC) $(CSRC_FLAGS) -I $(CUDA_INCLUDE) -I csrc/driver -c $(@D)/trampolines.c -o $(@D)/trampolines.o
	@ar rcs $@.tmp $(@D)/driver.o $(@D)/trampolines.o
	@mv $@.tmp $@

test-unit soak: $(EMULATOR_DONE)

$(EMULATOR_DONE): $(EMULATOR_SOURCES) $(HEADERS_DONE)
	@echo "tests: libcuda-emulator.so, a CUDA driver without a GPU" >&2
	@mkdir -p $(@D)
	@$(CC) $(CSRC_FLAGS) -I $(CUDA_INCLUDE) -shared -Wl,-z,defs -o $@.tmp $(filter %.c,$(EMULATOR_SOURCES)) -lpthread
	@mv $@.tmp $@

go-env: $(CUDA_DONE) $(EMULATOR_DONE) ## what a shell needs for go commands with the tag cuda: eval "$(make go-env)"
	@echo "export GOFLAGS='$(GOFLAGS)'"
	@echo "export C_INCLUDE_PATH='$(C_INCLUDE_PATH)'"
	@echo "export LIBRARY_PATH='$(LIBRARY_PATH)'"
	@echo "export PENSTOCK_CUDA_EMULATOR='$(PENSTOCK_CUDA_EMULATOR)'"

.PHONY: go-env
