// Package batcher cuts a stream of rows into batches: by rows, by bytes, and by padded
// cost, which is what a model pays for a batch of texts of unlike length.
//
// It is a pure state machine. Blocks of rows go in as numbers (how many rows, what each
// costs), batches come out as lists of picks (which rows of which block); no data passes
// through it, and it has no goroutine and no clock.
//
// # Order of arrival
//
// Without [stage.Policy].LookAheadRows rows go into batches as they come, and a batch is
// complete when the next row would break a bound. A row that breaks one by itself runs
// alone.
//
// # Windows
//
// With LookAheadRows the rows are first cut into windows of that many rows, fewer where
// they would be more than so many bytes. Inside a window rows of like cost are put
// together. Batches of one window never hold rows of another, so whoever puts the rows
// back in their order waits for no more than one window.
//
// What comes out depends on the sequence of the rows and on the flushes between them,
// and never on how the rows were cut into blocks or when they came. (With no bound at
// all a batch is a block, as it came.)
package batcher
