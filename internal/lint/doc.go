// Package lint holds the repository's own rules as tests: who may import whom,
// where cgo may stand, how long a file may be, and what the Go tools say.
//
// Each rule is a function from plain data (files as text, packages as lists of
// names) to findings, so that a test can plant the fault it is there to catch.
// Run it with `make lint`.
package lint
