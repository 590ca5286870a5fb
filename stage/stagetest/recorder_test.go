package stagetest_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// recorder is a testing.TB that keeps what it is told, so that a check can be seen to
// fail.
type recorder struct {
	testing.TB
	failed bool
	lines  []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.failed = true
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) {
	r.Errorf("%s", fmt.Sprint(args...))
	runtime.Goexit()
}

func (r *recorder) FailNow() {
	r.failed = true
	runtime.Goexit()
}

// verdict runs a check and gives what it says against what it checked; "" is nothing.
func verdict(t *testing.T, check func(testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		check(r)
	}()
	<-done
	if !r.failed {
		return ""
	}
	return strings.Join(r.lines, "\n")
}

// refuses fails the test unless the check finds fault, and says so in these words.
func refuses(t *testing.T, words string, check func(testing.TB)) {
	t.Helper()
	switch said := verdict(t, check); {
	case said == "":
		t.Errorf("the check found no fault; want %q", words)
	case !strings.Contains(said, words):
		t.Errorf("the check said %q; want %q", said, words)
	}
}
