// Command penstock runs AI jobs over files: it classifies and embeds text with ONNX models,
// runs jobs that are written down as YAML, and searches what it embedded.
//
// All that it does is in package job; here are the flags, the exit codes, the progress and
// the signals.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"
)

// version is set by the build.
var version = "unknown"

// Exit codes. A signal gives 128 and its number.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitSkipped = 3
	exitSignal  = 128
)

// patience is how long a job may take to stop after a signal. It stops on its own sooner,
// unless a library is busy with something that cannot be broken off.
const patience = 1700 * time.Millisecond

func main() {
	a := &app{
		stdout: os.Stdout, stderr: os.Stderr,
		bars: term.IsTerminal(int(os.Stderr.Fd())), color: os.Getenv("NO_COLOR") == "",
	}
	if term.IsTerminal(int(os.Stdout.Fd())) {
		a.width, _, _ = term.GetSize(int(os.Stdout.Fd())) // 0: not known
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go stopOn(signals, cancel)
	os.Exit(a.run(ctx, os.Args[1:]))
}

// sameSignal is how soon a second signal is taken for the first: timeout(1) sends it to
// the process and then to its group.
const sameSignal = 100 * time.Millisecond

// stopOn ends the context at the first signal, and the process at the second one or when
// it does not stop by itself.
func stopOn(signals <-chan os.Signal, cancel context.CancelCauseFunc) {
	sig := (<-signals).(syscall.Signal)
	first, late := time.Now(), time.After(patience)
	cancel(interrupted{sig})
	for {
		select {
		case <-signals:
			if time.Since(first) < sameSignal {
				continue
			}
		case <-late:
			fmt.Fprintf(os.Stderr, "penstock: %v: stopped without waiting for what was running; nothing was written\n", interrupted{sig})
		}
		os.Exit(exitSignal + int(sig))
	}
}

// interrupted is the cause of a context that a signal ended.
type interrupted struct{ signal syscall.Signal }

func (i interrupted) Error() string {
	if i.signal == syscall.SIGTERM {
		return "interrupted (SIGTERM)"
	}
	return "interrupted (SIGINT)"
}
