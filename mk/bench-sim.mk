# What the scheduler makes of published plans, in the simulator and with the real executor.
# QUICK=1 runs once and leaves benchmarks/results alone.

bench-memory: ## the Ray Data paper's memory experiment, simulated and real: benchmarks/results/memory.json
	@$(PYTHON) benchmarks/sim/memory.py $(if $(QUICK),--quick)

bench-rate: ## two actor pools sized by their rates, simulated: benchmarks/results/rate.json
	@$(PYTHON) benchmarks/sim/rate.py $(if $(QUICK),--quick)

.PHONY: bench-memory bench-rate
