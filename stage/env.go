package stage

import (
	"context"
	"log/slog"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Env is what the executor lends to readers, workers and writers. The zero value works:
// ordinary memory, no bound, no log.
type Env struct {
	// Alloc gives the memory for an output field; the consumer of the field chooses
	// it, and the ledger is charged. Use [Env.Allocator].
	Alloc func(field int) memory.Allocator
	// Reserve waits until there is room for bytes more. It is called before much is
	// allocated, since an Arrow allocator can neither wait nor fail. What was reserved
	// is given back when the call (Next, Process, Write) that asked for it emits or
	// returns: by then the real allocations stand in its place. Use [Env.Room].
	Reserve func(ctx context.Context, bytes int64) error
	// Charge books delta bytes of memory that no Arrow allocator sees; a negative delta
	// gives them back. It does not wait. Use [Env.Book].
	Charge func(purpose Purpose, delta int64)
	// Count adds n to a counter of the operator's statistics. Use [Env.Add].
	Count func(counter Counter, n int64)
	// Ran is told of each run of a model that the worker had a device do, in the order in which
	// the device did them, from any goroutine. Use [Env.Report].
	Ran func(DeviceRun)
	// Note is told what a user should know of how the worker runs: that parts of a model are on
	// the CPU. It is no failure; a text counts once, however many workers tell it. Use [Env.Tell].
	Note func(text string)

	// Device is the ordinal of the device that a worker whose stage asks for a share of one
	// ([Need].GPU) was placed on, of those in the job's list: it opens there. The scheduler
	// chooses it, so that no device is given away more than once. A worker that takes the
	// place of a lost one gets the same, unless the device itself is lost
	// ([DeviceLostError]). Without a share it says nothing.
	Device int

	Seed    uint64 // of the operator: the same for every worker and run of the same job
	Attempt int    // 0 at first, then one more for each retry
	Log     *slog.Logger
}

// Purpose says what memory is for.
type Purpose uint8

const (
	Blocks        Purpose = iota // records between operators
	ReaderBuffers                // pages and decompression buffers of readers
	DecodeBuffers                // images and audio on their way to tensors
	Weights                      // models
	Arena                        // ONNX Runtime's arenas: activations and work space
	Pinned                       // page-locked slots
	WriterBuffers                // pages and compression buffers of writers
	Indexes                      // of results that are kept on disk
	Purposes      int     = iota // how many there are
)

func (p Purpose) String() string {
	return [...]string{"blocks", "reader buffers", "decode buffers", "weights", "arena", "pinned", "writer buffers", "indexes"}[p]
}

// Counter names a number that an operator counts beside rows, bytes and times.
type Counter string

const (
	NullInputs   Counter = "null_inputs"   // rows whose input was null, which gave a null result
	Tokens       Counter = "tokens"        // that the model had to see
	PaddedTokens Counter = "padded_tokens" // that it did see: rows × longest, over all batches
	Truncated    Counter = "truncated"     // rows cut to the model's limit
	CacheHits    Counter = "cache_hits"    // texts whose result was kept from before, or from their like in the batch
	PlacedBytes  Counter = "placed_bytes"  // of columns that were put together in memory that the worker named: see [InputMemory]
	StagedBytes  Counter = "staged_bytes"  // of columns that were copied on the host once more on their way to a device
	ReadBytes    Counter = "read_bytes"    // from files, as stored
	WrittenBytes Counter = "written_bytes" // to files, as stored
)

// Allocator is where the buffers of output field i are made.
func (e Env) Allocator(i int) memory.Allocator {
	if e.Alloc == nil {
		return memory.DefaultAllocator
	}
	return e.Alloc(i)
}

// Room waits until there is room for bytes more.
func (e Env) Room(ctx context.Context, bytes int64) error {
	if e.Reserve == nil {
		return ctx.Err()
	}
	return e.Reserve(ctx, bytes)
}

// Book charges delta bytes to purpose.
func (e Env) Book(purpose Purpose, delta int64) {
	if e.Charge != nil {
		e.Charge(purpose, delta)
	}
}

// Add adds n to a counter.
func (e Env) Add(counter Counter, n int64) {
	if e.Count != nil && n != 0 {
		e.Count(counter, n)
	}
}

// Report tells of a run on a device.
func (e Env) Report(r DeviceRun) {
	if e.Ran != nil {
		e.Ran(r)
	}
}

// Tell notes a text for the user, and writes it to the log.
func (e Env) Tell(text string) {
	if e.Note != nil {
		e.Note(text)
	}
	e.Logger().Warn(text)
}

// Logger is Log, or one that drops everything.
func (e Env) Logger() *slog.Logger {
	if e.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return e.Log
}
