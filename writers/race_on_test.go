//go:build race

package writers_test

// stride is how many calls lie between two that are disturbed: the race detector makes
// file system calls slow, and the order of these is tested without it.
const stride = 11
