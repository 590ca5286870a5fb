# Benchmarks: Penstock and its peers in the same run, in one form of result (benchmarks/README.md).
# QUICK=1 runs a small size once and leaves benchmarks/results alone.

PEERS      := build/peers/bin/python
PEERS_DONE := build/peers/.done
CONTESTANT := build/bench/bin/penstock
export QUICK

bench-peers: $(PEERS_DONE) ## the peers' Python environment: Ray Data, Daft, pyarrow and the like (pinned, by hash)

$(PEERS_DONE): benchmarks/peers/requirements.txt | need
	@mkdir -p $(@D)
	@echo "bench-peers: build/peers, from benchmarks/peers/requirements.txt"
	@$(PYTHON) -m venv --clear build/peers
	@$(PEERS) -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes -r benchmarks/peers/requirements.txt
	@touch $@

lock-peers: ## write benchmarks/peers/requirements.txt anew from requirements.in
	@$(PYTHON) benchmarks/peers/lock.py

bench-contestant: $(MODULES_DONE)
	@go build -o $(CONTESTANT) ./benchmarks/contestants/penstock

bench-overhead: bench-contestant $(PEERS_DONE) ## what the engine costs, beside pyarrow, Daft and Ray Data: benchmarks/results/overhead.json
	@$(PEERS) benchmarks/harness/overhead.py

bench-lines: bench-contestant $(PEERS_DONE) ## lines of text, beside pyarrow and Daft: benchmarks/results/lines.json
	@$(PEERS) benchmarks/harness/lines.py

.PHONY: bench-peers lock-peers bench-contestant bench-overhead bench-lines
