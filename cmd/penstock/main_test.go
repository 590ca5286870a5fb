package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
)

var update = flag.Bool("update", false, "write the golden files anew")

// binary is the program, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "penstock-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "penstock")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=test", "-o", binary, ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "go build:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// result is how a run of the program ended.
type result struct {
	stdout, stderr string
	code           int
}

// command is a run of the program in the top folder, where build/ is, with none of our
// variables set.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = testkit.Root(t)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PENSTOCK_") && !strings.HasPrefix(v, "GOMEMLIMIT") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}

func penstock(t testing.TB, args ...string) result {
	t.Helper()
	return finish(t, command(t, args...))
}

func finish(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
	}
	r := result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	for _, trace := range []string{"goroutine ", "panic:", "runtime error"} {
		require.NotContains(t, r.stderr, trace)
	}
	return r
}

// write writes a file into a folder of its own and gives its path.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

// visible lists what a user sees in a folder; nothing where there is none.
func visible(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}
