// Package gpu runs models on NVIDIA's GPUs. Importing it, for its effect alone, is what makes
// package infer able to: it registers itself there. It has the build tag cuda and is empty
// without it (see package cuda).
//
//	import _ "github.com/penstock-data/penstock/infer/gpu"
//
// # Actors
//
// A session is an actor: one goroutine, locked to its thread, that owns the device's context, a
// copy-in stream, a compute stream given to ONNX Runtime and a copy-out stream, and a ring of
// slots. A slot is page-locked input, device input, device output and page-locked output for one
// run, and the events between them:
//
//	caller   fills the input                              … takes the output
//	copy in      ├──────────┤ event
//	compute                 └─ waits ├────────────┤ event
//	copy out                                      └─ waits ├──────┤ event
//	waiter                                                        └─ wakes the owner, which tells the caller
//
// Runs of different slots overlap: one is copied in while another computes and a third is copied
// out. The owner queues and never waits for the device; one waiter does, for all slots of an
// actor. Filling and taking are done by the callers, so they overlap too.
//
// Each run's events say when it was copied in, computed and copied out: [Stats] adds that up, and
// stage.Env.Report is told of it. Runs that warm the actor are not counted.
//
// With CUDA graphs ONNX Runtime waits for each run itself, so that the owner queues the next one
// only then: less overlaps, and launching costs less.
//
// # Memory
//
// Every byte crosses the host's memory once: callers write straight into page-locked memory,
// their own (Arrow columns from [infer.DeviceSession.InputMemory]) or the slot's, and read
// results where the device put them. [Stats] counts what did not go that way. The device's memory
// has a ledger: what actors of this process may take of it together, slots and ONNX Runtime's arena
// with the weights, which is limited to match.
//
// # Failures
//
// A run that the device has no memory for is done in halves, and in halves of those; the size
// that went well is remembered for its shape, and tried again doubled after a while. A lost device
// ends all of its actors: each of their runs gives a stage.DeviceLostError.
package gpu
