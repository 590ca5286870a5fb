# Our tokenisers beside the Rust library, one core each.
# QUICK=1 takes 2,000 texts once and leaves benchmarks/results alone.

bench-tokenizer: setup $(TOKENIZERS_DONE) ## rows/s of the tokenisers, beside the library `tokenizers`: benchmarks/results/tokenizer.json
	@$(VENV) benchmarks/tokenizer/tokenizer.py

.PHONY: bench-tokenizer
