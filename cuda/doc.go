// Package cuda is the CUDA driver API as the hot path needs it: devices, primary contexts,
// streams, events, asynchronous copies, device memory and page-locked host memory. It stands
// on gorgonia.org/cu and alone imports it.
//
// It is built with the build tag cuda, which `make` sets together with the flags by which cgo
// finds the driver's header and our libcuda.a; without the tag it is empty. `eval "$(make
// go-env)"` gives a shell the same. Nothing of CUDA is needed to build or to start: the driver
// library is opened on first use, from the place given to [Load], or else by the loader.
// Without a driver there are no devices, and whatever else is called gives [ErrNoDevice].
//
// # Threads
//
// A context is current on an OS thread, not in a goroutine. The methods of [Context] and of
// [Stream], and the frees of memory, are called where the context is current: in a goroutine
// that is locked to its thread and has called [Context.MakeCurrent], or inside [Context.Do].
// [Event.Done], [Event.Wait] and [Event.Since] may be called on any thread. One object is
// used by one goroutine at a time; different objects may be used at once.
//
// # Copies
//
// A copy is asynchronous: it has happened when an event recorded behind it is done. Until then
// both its ends must stay as they are. The host's end is C memory, best page-locked
// ([Context.AllocHost], package pinned): from other memory the driver copies through buffers
// of its own while the caller waits. Go memory is never given.
//
// # Errors
//
// Each failed call of the driver is an [*Error] with its code. errors.Is finds its kind:
// [ErrOutOfMemory], [ErrNotReady], [ErrNoDevice], [ErrDeviceLost]. The last is sticky: the
// context is of no more use, and every call in it fails from then on.
package cuda
