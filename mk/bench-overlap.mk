# How well the hot path overlaps, computed from what the emulated CUDA driver recorded of a real run.
# QUICK=1 leaves benchmarks/results alone.

bench-overlap: setup $(EMULATOR_DONE) ## overlap of copies, computing and CPU work on the emulated driver: benchmarks/results/overlap.json
	@$(PYTHON) benchmarks/overlap/overlap.py $(if $(QUICK),--quick)

.PHONY: bench-overlap
