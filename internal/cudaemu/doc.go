// Package cudaemu drives the emulated CUDA driver of csrc/emulator from tests: it opens it as
// this process's driver, starts it anew for each test, puts faults into it and counts what is
// left. Its C header says how the emulated device behaves. Like package cuda it has the build
// tag cuda, and is empty without it.
//
// A process has one driver and one emulator: tests that use it don't run in parallel. Where a
// test needs another driver, or none, it starts its own binary anew.
package cudaemu
