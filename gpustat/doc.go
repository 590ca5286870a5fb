// Package gpustat tells what NVIDIA GPUs are doing, by NVML: how busy they are, their memory, the
// traffic on their bus, power, clocks and processes. It wraps github.com/NVIDIA/go-nvml and
// alone imports it.
//
// NVML is opened at run time; where it is missing, [Open] gives [ErrUnavailable], and a program
// goes on without. Nothing is needed to build but a C compiler.
//
// # The final link
//
// go-nvml has whatever imports it linked with --unresolved-symbols=ignore-in-object-files: a C
// function that nobody defines is then no longer an error of the linker, and the program dies when
// it first calls it. So this is a package of its own, which no package of the engine imports: the
// tests of cuda, pinned and infer/gpu link strictly. A test of cmd/penstock looks for symbols that
// its binary lacks.
//
// # What busy means
//
// NVML's utilisation is the share of the last sampling period (a sixth of a second to a second) in
// which at least one kernel ran, however small. It is an upper bound of what was got from the
// device; the times between CUDA events say more.
package gpustat
