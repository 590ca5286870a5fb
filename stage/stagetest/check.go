package stagetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// defaultPatience is far beyond what a call on test data takes, and short enough for
// the test to say what hung before the test program is killed.
const defaultPatience = 30 * time.Second

// breach is an error that says how the contract was broken. Code that runs on the
// goroutine of a guarded call cannot end the test itself: it returns one of these.
type breach struct{ error }

func breachf(format string, args ...any) error {
	return breach{fmt.Errorf(format, args...)}
}

// panicked is what a guarded call that panicked returns.
type panicked struct {
	value any
	stack []byte
}

func (p panicked) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

type checker struct {
	t        testing.TB
	patience time.Duration
}

func newChecker(t testing.TB, patience time.Duration) checker {
	if patience <= 0 {
		patience = defaultPatience
	}
	return checker{t: t, patience: patience}
}

// call runs f on a goroutine of its own, and ends the test if f panics, hangs or
// returns a breach. Other errors are the caller's.
func (c checker) call(what string, f func() error) error {
	c.t.Helper()
	done := make(chan error, 1)
	go func() { done <- recovered(f) }()
	timer := time.NewTimer(c.patience)
	defer timer.Stop()
	select {
	case err := <-done:
		var b breach
		var p panicked
		if errors.As(err, &b) {
			c.t.Fatalf("%s: %v", what, b.error)
		}
		if errors.As(err, &p) {
			c.t.Fatalf("%s: %v", what, p)
		}
		return err
	case <-timer.C:
		buf := make([]byte, 1<<20)
		c.t.Fatalf("%s: no return after %v; the goroutines:\n%s", what, c.patience, buf[:runtime.Stack(buf, true)])
		return nil
	}
}

func recovered(f func() error) (err error) {
	err = panicked{value: "the goroutine was ended by runtime.Goexit"}
	defer func() {
		if p := recover(); p != nil {
			err = panicked{value: p, stack: debug.Stack()}
		}
	}()
	return f()
}

// must ends the test if err is not nil.
func (c checker) must(err error, format string, args ...any) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
	}
}

// that ends the test if ok is false.
func (c checker) that(ok bool, format string, args ...any) {
	c.t.Helper()
	if !ok {
		c.t.Fatalf(format, args...)
	}
}

// cancelled says whether err is what a cancelled call returns.
func cancelled(err error) bool { return errors.Is(err, context.Canceled) }

// injected says whether err tells of an injected fault. Libraries in between may have
// kept only its text.
func injected(err error) bool {
	return errors.Is(err, ErrInjected) || err != nil && strings.Contains(err.Error(), ErrInjected.Error())
}

// poison overwrites freed memory, so that whoever still reads it is found out.
type poison struct{ memory.Allocator }

func (p poison) Free(b []byte) {
	fillPoison(b)
	p.Allocator.Free(b)
}

func (p poison) Reallocate(size int, b []byte) []byte {
	out := p.Allocator.Allocate(size)
	copy(out, b)
	fillPoison(b)
	p.Allocator.Free(b)
	return out
}

func fillPoison(b []byte) {
	for i := range b {
		b[i] = 0xCC
	}
}

func newMemory() *memory.CheckedAllocator {
	return memory.NewCheckedAllocator(poison{memory.NewGoAllocator()})
}

// intact says how rec differs from the copy that was made of it. A record whose memory
// is gone cannot even be read.
func intact(copied, rec arrow.Record) error {
	err := recovered(func() error { return diffRecords(copied, rec, 0) })
	var p panicked
	if errors.As(err, &p) {
		return fmt.Errorf("reading it panics (%v): its memory is gone", p.value)
	}
	return err
}

// probe is the Env of one scenario: it counts what is lent, and asks it back at the end.
type probe struct {
	c      checker
	mem    *memory.CheckedAllocator
	fields int // that Alloc may be asked for; negative: any

	mu       sync.Mutex
	charged  [stage.Purposes]int64
	reserved int // calls of Reserve
	failAt   int // the Reserve call that fails; 0: none
	misuse   error
}

func newProbe(c checker, fields int) *probe {
	return &probe{c: c, mem: newMemory(), fields: fields}
}

// env is base with what the probe lends in it.
func (p *probe) env(base stage.Env) stage.Env {
	base.Alloc = func(field int) memory.Allocator {
		if p.fields >= 0 && (field < 0 || field >= p.fields) {
			p.note(fmt.Errorf("Env.Alloc was asked for field %d of %d", field, p.fields))
		}
		return p.mem
	}
	base.Reserve = p.reserve
	base.Charge = func(purpose stage.Purpose, delta int64) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.charged[purpose] += delta
	}
	return base
}

func (p *probe) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.misuse == nil {
		p.misuse = err
	}
}

func (p *probe) reserve(ctx context.Context, bytes int64) error {
	if bytes < 0 {
		p.note(fmt.Errorf("Env.Reserve was asked for %d bytes", bytes))
	}
	p.mu.Lock()
	p.reserved++
	fail := p.reserved == p.failAt
	p.mu.Unlock()
	if fail {
		return fmt.Errorf("reserve: %w", ErrInjected)
	}
	return ctx.Err()
}

func (p *probe) reserves() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reserved
}

// settle checks that everything that was lent has come back.
func (p *probe) settle(what string) {
	p.c.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.c.must(p.misuse, "%s", what)
	for purpose, n := range p.charged {
		p.c.that(n == 0, "%s: %d bytes stay charged for %s", what, n, stage.Purpose(purpose))
	}
	if n := p.mem.CurrentAlloc(); n != 0 {
		p.mem.AssertSize(p.c.t, 0)
		p.c.t.Fatalf("%s: %d bytes were not released", what, n)
	}
}

// spread is up to most of the numbers from 0 to n-1, the first and the last among them.
func spread(n, most int) []int {
	if n <= 0 {
		return nil
	}
	out := make([]int, 0, min(n, most))
	if n <= most {
		for i := range n {
			out = append(out, i)
		}
		return out
	}
	for i := range most {
		out = append(out, i*(n-1)/(most-1))
	}
	return out
}
