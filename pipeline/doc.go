// Package pipeline is the engine: a [Dataset] describes where rows come from, what is
// done to them and in what order; consuming it runs the description as a stream, in
// bounded memory.
//
// A Dataset is inert. Building one reads nothing and cannot fail; its faults are found,
// all at once and each with the name of its stage, when it is checked or consumed, before
// any data moves.
//
// Order is kept: rows come out in the order of their source, at any number of workers
// (Config.Unordered lifts that). Memory is bounded by Config.MemoryLimit, counted in bytes
// of Arrow buffers and of what stages charge besides. Cancelling the context stops every
// worker, and consumption returns when all of them have.
//
// The package knows no file format and no model: sources, stages and sinks come in
// through the contracts of package stage.
package pipeline
