//go:build cuda

// Command overlap says how well the hot path overlaps copies, computing and the CPU's work.
//
//	overlap rates.json
//
// It runs a job on the emulated CUDA driver: a source, a stage that prepares each batch in
// page-locked memory on the CPU, and a model on a GPU actor with a ring of slots. The driver
// records what waited for what. From that record, and not from the clock of this machine, the
// busy share of each resource is computed under each set of rates (package internal/overlap says
// how): with the ring of rates.json, and with one slot for comparison.
//
// It prints JSON. It has the build tag cuda and needs the environment of `make go-env`.
package main
