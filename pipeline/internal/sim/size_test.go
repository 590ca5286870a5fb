//go:build !soak

package sim_test

const soak = false
