// Package consumer holds the test that a foreign module can use ours: with its
// own go.mod, a replace, and plain `go build`.
package consumer
