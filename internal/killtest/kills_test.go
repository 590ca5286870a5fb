//go:build !soak

package killtest_test

const kills = 50
