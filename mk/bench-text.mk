# Text embeddings, from a file of texts to Parquet, beside bare ONNX Runtime, a plain loop, Ray Data and Daft.
# QUICK=1 runs a small size once and leaves benchmarks/results alone. A run takes over an hour; RUNS=2 makes two rounds, not three.

bench-text: build $(PEERS_DONE) ## MiniLM over doc comments, beside bare ONNX Runtime, a plain loop, Ray Data and Daft: benchmarks/results/text.json
	@$(PEERS) benchmarks/text/text.py

.PHONY: bench-text
