//go:build !soak

package tokenize_test

const soak = false
