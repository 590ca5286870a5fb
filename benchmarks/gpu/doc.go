// Package gpu holds the benchmarks that need a card, and the test of what they say without one.
package gpu
