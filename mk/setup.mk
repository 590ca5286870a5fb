# What is fetched and made once: Python's environment (for set-up and oracles only), ONNX Runtime's library, the model.
# Each leaves a stamp in its own folder, newer than what it is made from: a second `make setup` runs nothing, and a
# folder that was removed is made again.

VENV_DONE    := build/venv/.done
LIBRARY_DONE := build/lib/.done
MODEL_DONE   := $(MODEL)/.done
MODULES_DONE := build/modules.done

setup: $(LIBRARY_DONE) $(MODEL_DONE) $(MODULES_DONE) ## fetch and make what build, tests and examples need (pinned, by hash)

need:
	@scripts/need.sh go cc python

$(VENV_DONE): scripts/requirements.txt | need
	@mkdir -p $(@D)
	@echo "setup: build/venv, from scripts/requirements.txt" >&2
	@$(PYTHON) -m venv --clear build/venv
	@$(VENV) -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes -r scripts/requirements.txt
	@touch $@

$(LIBRARY_DONE): scripts/ort_library.py $(VENV_DONE)
	@echo "setup: build/lib, ONNX Runtime" >&2
	@$(VENV) scripts/ort_library.py build/lib
	@touch $@

$(MODEL_DONE): scripts/minilm.py $(VENV_DONE)
	@echo "setup: $(MODEL)" >&2
	@$(VENV) scripts/minilm.py $(MODEL)
	@touch $@

$(MODULES_DONE): go.mod go.sum internal/tools/go.mod internal/tools/go.sum | need
	@mkdir -p $(@D)
	@echo "setup: Go modules" >&2
	@go mod download
	@cd internal/tools && go mod download
	@touch $@

lock-python: $(VENV_DONE) ## write scripts/requirements.txt anew from requirements.in
	$(VENV) scripts/lock_python.py

.PHONY: setup need lock-python
