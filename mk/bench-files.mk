# How soon the rows of many small files come, and what the files cost in memory.
# QUICK=1 reads 10,000 once and leaves benchmarks/results alone.

bench-files: ## 100,000 small files, listed and read: benchmarks/results/files.json
	@$(PYTHON) benchmarks/smallfiles/files.py $(if $(QUICK),--quick)

.PHONY: bench-files
