// Package stage holds the contracts that everything else in Penstock hangs on: where
// rows come from ([Source], [Scan], [Split], [Reader]), what is done to them ([Stage],
// [Worker]), where they go ([Sink], [PartWriter]), and what travels between these
// ([Batch], [Origin], [RowFailure]).
//
// A type that keeps to a contract can be checked against it with package stagetest.
//
// # Ownership
//
// One rule holds throughout. A record or batch that a call returns is owned by the
// receiver, who releases it once. An argument is borrowed for the call: whoever wants
// to keep it retains it. An emit function takes ownership of the record it is given,
// also when it returns an error. The end of a stream is io.EOF, with no data beside it.
//
// # Order and identity
//
// Splits have a fixed order for the same input, and every row has a physical position
// in its split. [Origin] carries both through the pipeline, so errors, dead letters,
// order, seeds and resumption all speak of the same thing: a row of a file.
package stage
