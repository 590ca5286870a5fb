// Package stagetest checks implementations of the contracts in package stage, and lends
// small fakes that keep to them.
//
// [Source], [Stage] and [Sink] are for the tests of whoever implements one of these:
// they use it in every way that the contract allows (cut small and large, cancelled
// anywhere, failing at the Nth call, several at once) and stop the test at the first
// thing that the contract forbids. A call that panics or hangs fails the test too,
// instead of ending the test program. Memory is counted, and poisoned once it is freed,
// so a reference too few and a reference too many both show.
//
// [FakeSource], [FakeStage] and [MemorySink] are for the tests of whoever uses one.
//
// The checks read what they are given many times over: give them hundreds of rows, not
// millions.
package stagetest
