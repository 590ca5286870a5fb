package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
)

// TestInterrupted: a signal in the middle of a model's run stops the job within 2 s, with
// the shell's exit code, and leaves nothing that could be taken for a result.
func TestInterrupted(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			p := startLong(t)
			require.NoError(t, p.cmd.Process.Signal(sig))
			sent := time.Now()
			code, stderr := p.wait(t)
			assert.Less(t, time.Since(sent), 2*time.Second)
			assert.Equal(t, 128+int(sig), code)
			assert.Contains(t, stderr, "penstock: interrupted (SIG")
			assert.Contains(t, stderr, " is as it was before")
			assert.Contains(t, stderr, "rows were done")
			assert.NotContains(t, stderr, "goroutine")
			assert.Empty(t, visible(t, filepath.Dir(p.out)))
		})
	}
}

// TestSecondSignalEndsAtOnce: whoever asks twice is not made to wait.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := startLong(t)
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGINT))
	_ = p.cmd.Process.Signal(syscall.SIGINT) // it may have ended by then
	code, _ := p.wait(t)
	assert.Equal(t, 130, code)
	assert.Empty(t, visible(t, filepath.Dir(p.out)))
}

type long struct {
	cmd    *exec.Cmd
	out    string
	stderr io.Reader
	seen   bytes.Buffer
}

// startLong starts a job of many rows through a model, and returns when it shows progress.
func startLong(t *testing.T) *long {
	t.Helper()
	messages, err := os.ReadFile(filepath.Join(testkit.Root(t), "examples", "messages.txt"))
	require.NoError(t, err)
	in := write(t, "many.txt", string(bytes.Repeat(messages, 200)))
	p := &long{out: filepath.Join(t.TempDir(), "out")}
	p.cmd = command(t, "embed", "--model", testkit.MiniLM(t), "--input", in, "--output", p.out, "--progress", "bar")
	pipe, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // if the test failed on its way
	// The sink has rows: the model has run, and is running.
	r := bufio.NewReader(pipe)
	p.stderr = r
	for {
		line, err := r.ReadBytes('\n')
		p.seen.Write(line)
		require.NoError(t, err, p.seen.String())
		if bytes.Contains(line, []byte("write")) && !bytes.Contains(line, []byte("[0 in")) {
			return p
		}
	}
}

func (p *long) wait(t *testing.T) (code int, stderr string) {
	t.Helper()
	rest, err := io.ReadAll(p.stderr)
	require.NoError(t, err)
	p.seen.Write(rest)
	_ = p.cmd.Wait() // its code says more
	return p.cmd.ProcessState.ExitCode(), p.seen.String()
}
