// Package testkit holds what the tests of several packages share: a leak-checking
// allocator and the places of the artefacts that `make setup` builds.
package testkit

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Allocator gives a checked allocator and fails the test if any byte of it is
// still held when the test ends.
func Allocator(t testing.TB) *memory.CheckedAllocator {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	t.Cleanup(func() { mem.AssertSize(t, 0) })
	return mem
}

// Root is the top folder of the repository, found from this file's own place.
func Root(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("testkit: no caller information: build the tests without -trimpath")
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Artefact gives the path of something that `make setup` builds, below build/,
// and fails the test with the command to run when it is not there.
func Artefact(t testing.TB, elem ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{Root(t), "build"}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("testkit: %s is not there: run `make setup` first (%v)", path, err)
	}
	return path
}

// ORTLibrary is the path of ONNX Runtime's shared library.
func ORTLibrary(t testing.TB) string {
	t.Helper()
	return Artefact(t, "lib", "libonnxruntime.so")
}

// MiniLM is the model folder of all-MiniLM-L6-v2.
func MiniLM(t testing.TB) string {
	t.Helper()
	return Artefact(t, "models", "all-MiniLM-L6-v2")
}

// Python is the interpreter of the set-up environment, with numpy, onnx,
// onnxruntime and tokenizers in it: the oracle of numeric tests.
func Python(t testing.TB) string {
	t.Helper()
	return Artefact(t, "venv", "bin", "python")
}
