# The C code by itself, under AddressSanitizer, LeakSanitizer and UBSan.

ASAN_BIN := build/asan

test-asan: test-asan-ort test-asan-emulator ## the C code under the address and undefined-behaviour sanitizers

test-asan-ort: setup
	@mkdir -p $(ASAN_BIN)
	@$(CC) $(ASAN_FLAGS) -isystem "$$(go list -m -f '{{.Dir}}' $(ORT_MODULE))" -I csrc/ort csrc/ort/ort.c csrc/ort/ort_test.c \
		-o $(ASAN_BIN)/ort_test -ldl -lpthread
	@$(ASAN_BIN)/ort_test build/lib/libonnxruntime.so infer/testdata/models/plain/onnx/model.onnx

# The loader with its trampolines and the emulator that it opens, each built with the sanitizers.
test-asan-emulator: setup
	@mkdir -p $(ASAN_BIN)
	@$(CC) $(ASAN_FLAGS) -fPIC -fvisibility=hidden -I $(CUDA_INCLUDE) -shared -o $(ASAN_BIN)/libcuda-emulator.so \
		$(filter %.c,$(EMULATOR_SOURCES)) -lpthread
	@$(VENV) csrc/driver/trampolines.py $(CUDA_INCLUDE) csrc/driver/symbols.txt $(ASAN_BIN)/trampolines.c
	@$(CC) $(ASAN_FLAGS) -I $(CUDA_INCLUDE) -I csrc/driver -I csrc/emulator csrc/driver/driver.c $(ASAN_BIN)/trampolines.c \
		csrc/emulator/emulator_test.c -o $(ASAN_BIN)/emulator_test -ldl -lpthread
	@$(ASAN_BIN)/emulator_test $(ASAN_BIN)/libcuda-emulator.so

.PHONY: test-asan test-asan-ort test-asan-emulator
