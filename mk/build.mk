# The binary and the tarball.

VERSION = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BIN    := build/bin/penstock
LABELS ?= examples/labels.txt

build: setup ## build/bin/penstock
	@mkdir -p $(dir $(BIN))
	@go build -trimpath -ldflags '-s -w $(NATIVE_MARK) -X main.version=$(VERSION)' -o $(BIN) ./cmd/penstock

quickstart: build ## classify examples/messages.txt by the labels in LABELS, with two actors in batches of 64
	@$(BIN) classify --model $(MODEL) --labels-file $(LABELS) --input examples/messages.txt \
		--output build/quickstart --mode overwrite --actors 2 --batch-size 64 --show 10

demo: build ## embed doc comments of Go's standard library (5,000; FULL=1: all), then search them
	@go run ./examples/godoc --out build/demo-input/comments.jsonl $(if $(FULL),,--limit 5000)
	@$(BIN) embed --model $(MODEL) --input build/demo-input/comments.jsonl --column text --output build/demo --mode overwrite
	@$(BIN) search "how do I cancel a request" --in build/demo

dist: build third-party-check ## dist/penstock-VERSION-linux-ARCH.tar.gz, tried out in a folder of its own
	@scripts/need.sh tar
	@scripts/dist.sh $(VERSION) $(MODEL)

third-party: setup ## write THIRD_PARTY.md anew from the modules linked into the binary
	@$(VENV) scripts/third_party.py

third-party-check: setup
	@$(VENV) scripts/third_party.py --check

bench-start: build ## time `penstock run` on one row with no model: benchmarks/results/start.json
	@$(VENV) scripts/bench_start.py --binary $(BIN) --out benchmarks/results/start.json

.PHONY: build quickstart demo dist third-party third-party-check bench-start
