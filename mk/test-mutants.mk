# Whether the tests of the GPU hot path would see a fault in it.

test-mutants: setup $(EMULATOR_DONE) ## put faults into the GPU hot path, one at a time: each must make its tests fail
	@$(PYTHON) scripts/mutants.py

.PHONY: test-mutants
