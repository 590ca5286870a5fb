//go:build cuda && !soak

package gpu_test

// seeds is how many seeds of delays the runs are made with.
const seeds = uint64(3)
