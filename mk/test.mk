# The tests' lanes. `make test` runs them all, says how long each took, and goes on past one that fails.

LANES  := lint unit race nocgo consumer asan
PURE   := expr stage batcher readers writers pipeline
RACED  := $(PURE) job preprocess/tokenize
# Lint and consumer have lanes of their own; vet is lint's.
GOTEST := go test -vet=off -timeout 300s
here    = $(foreach p,$(1),$(if $(wildcard $(p)/*.go),./$(p)/...))

ORACLE_DONE := build/oracle/.done

oracle: $(ORACLE_DONE) ## make the oracle of the embedding test with Python's tokenizers and onnxruntime

$(ORACLE_DONE): scripts/oracle.py $(MODEL_DONE)
	@$(VENV) scripts/oracle.py --model $(MODEL) --out build/oracle
	@touch $@

test: setup oracle ## all lanes of tests, in under 10 minutes on 2 cores
	@scripts/lanes.sh $(LANES)

lint: test-lint ## the same as test-lint

test-lint: setup ## vet, staticcheck, gofmt, import rules, file length and the like
	@go test -vet=off -count=1 -timeout 300s ./internal/lint

test-unit: setup oracle ## every package's tests
	@$(GOTEST) $$(go list ./... | grep -v -e /internal/lint$$ -e /internal/consumer$$)

test-race: setup oracle ## the pure packages under the race detector
	@$(GOTEST) -race $(call here,$(RACED))

test-nocgo: setup ## the packages that must do without cgo
	@CGO_ENABLED=0 $(GOTEST) $(call here,$(PURE))

test-consumer: setup ## a foreign module that imports ours, by plain `go build`
	@go test -vet=off -count=1 -timeout 300s ./internal/consumer

soak: setup oracle ## what is too slow for make test: long tests, 30 minutes of texts (SOAK_MINUTES), then each fuzz target for FUZZTIME (30s)
	@go test -vet=off -tags soak,cuda -count=1 -timeout 2h ./...
	@scripts/fuzz.sh $(or $(FUZZTIME),30s)

.PHONY: oracle test lint test-lint test-unit test-race test-nocgo test-consumer soak
