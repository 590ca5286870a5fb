# The tests' lanes.

ORACLE_DONE := build/oracle/.done

oracle: $(ORACLE_DONE) ## make the oracle of the embedding test with Python's tokenizers and onnxruntime

$(ORACLE_DONE): scripts/oracle.py $(MODEL_DONE)
	@$(VENV) scripts/oracle.py --model $(MODEL) --out build/oracle
	@touch $@

.PHONY: oracle
