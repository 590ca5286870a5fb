//go:build !race

package writers_test

// stride is how many calls lie between two that are disturbed.
const stride = 1
