# Whether a process stays within its memory limit, by the kernel's account.
# QUICK=1 copies 300 MB and leaves benchmarks/results alone.

bench-rss: $(PEERS_DONE) ## 3 GB of Parquet copied under 256 MiB: benchmarks/results/rss.json
	@$(PYTHON) benchmarks/memory/rss.py $(if $(QUICK),--quick)

.PHONY: bench-rss
