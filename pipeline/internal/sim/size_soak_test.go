//go:build soak

package sim_test

const graphs = 100_000
