# The C code by itself, under AddressSanitizer, LeakSanitizer and UBSan.

ASAN_BIN := build/asan

test-asan: test-asan-ort ## the C code under the address and undefined-behaviour sanitizers

test-asan-ort: setup
	@mkdir -p $(ASAN_BIN)
	@$(CC) $(ASAN_FLAGS) -isystem "$$(go list -m -f '{{.Dir}}' $(ORT_MODULE))" -I csrc/ort csrc/ort/ort.c csrc/ort/ort_test.c \
		-o $(ASAN_BIN)/ort_test -ldl -lpthread
	@$(ASAN_BIN)/ort_test build/lib/libonnxruntime.so infer/testdata/models/plain/onnx/model.onnx

.PHONY: test-asan test-asan-ort
