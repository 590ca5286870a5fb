package stagetest

import (
	"errors"
	"fmt"
	"sync"
)

// ErrInjected is wrapped by the errors that the checks and fakes cause on purpose.
var ErrInjected = errors.New("stagetest: injected fault")

// Faults makes one call among many fail: the storage under test asks [Faults.Call] at
// the start of each of its operations and fails if that fails. The zero value never
// does. It may be used by several goroutines.
type Faults struct {
	mu    sync.Mutex
	calls int
	at    int
	hit   bool
}

// Arm makes the nth call from now on fail, the next one being 1. After Arm(0) none does.
func (f *Faults) Arm(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.at, f.hit = 0, n, false
}

// Call counts a call, and is an error wrapping [ErrInjected] for the one that is to
// fail. A nil receiver never fails.
func (f *Faults) Call() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.calls != f.at {
		return nil
	}
	f.hit = true
	return fmt.Errorf("call %d: %w", f.calls, ErrInjected)
}

// Calls is the number of calls since the last Arm.
func (f *Faults) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Hit says whether the armed call has come and failed.
func (f *Faults) Hit() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit
}

// each calls try with the first call failing, then the second, and so on until the
// calls have run out; from the 64th on in growing steps. try says whether it was hit.
func (f *Faults) each(try func(n int) (hit bool)) {
	for n := 1; ; n += max(1, n/64) {
		f.Arm(n)
		if !try(n) {
			break
		}
	}
	f.Arm(0)
}
