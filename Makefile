# Penstock. `make help` lists what there is; each part stands in mk/.
ifeq ($(filter 4.% 5.%,$(MAKE_VERSION)),)
$(error GNU make 4 or newer is needed (this one is $(MAKE_VERSION)): apt install make)
endif

SHELL         := /bin/sh
.SHELLFLAGS   := -ec
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS     += --no-print-directory

PYTHON ?= python3
export PYTHON
VENV   := build/venv/bin/python
MODEL  := build/models/all-MiniLM-L6-v2

include mk/setup.mk mk/build.mk mk/test.mk mk/vectors.mk mk/bench.mk mk/gpu.mk $(wildcard mk/bench-*.mk mk/test-*.mk)

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  %-18s %s\n", $$1, $$2 }'

clean: ## remove build/ and dist/; the next set-up takes the wheels from pip's cache
	rm -rf build dist

.PHONY: help clean
