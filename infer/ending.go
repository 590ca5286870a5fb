package infer

import (
	"context"

	ort "github.com/yalue/onnxruntime_go"
)

// ending ends the runs that have its options when the context of the last watch ends. The context
// is watched until another comes: all batches of a job have one, and to begin anew with each would
// allocate.
type ending struct {
	options *ort.RunOptions
	done    <-chan struct{} // of the context that is watched; nil: none is, or it never ends
	stop    func() bool
	fired   chan struct{}
}

func (e *ending) watch(ctx context.Context) {
	if ctx.Done() == e.done {
		return
	}
	e.rest()
	e.done = ctx.Done()
	fired := make(chan struct{})
	e.fired = fired
	e.stop = context.AfterFunc(ctx, func() {
		_ = e.options.Terminate() // fails only on options that were destroyed
		close(fired)
	})
}

// rest watches none, and leaves options that let runs begin.
func (e *ending) rest() {
	if e.done == nil {
		return
	}
	if !e.stop() {
		<-e.fired
		_ = e.options.UnsetTerminate()
	}
	*e = ending{options: e.options}
}

func (e *ending) close() error {
	e.rest()
	return e.options.Destroy()
}
