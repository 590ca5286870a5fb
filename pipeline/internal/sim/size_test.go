//go:build !soak

package sim_test

const graphs = 2_000
