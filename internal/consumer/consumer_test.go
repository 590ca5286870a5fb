package consumer_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
)

const module = "github.com/penstock-data/penstock"

// cleanEnv is the environment without what would help or hinder a build: no
// CGO_*, no GOFLAGS, no workspace, and none of our own variables.
func cleanEnv(extra ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "CGO_") && !strings.HasPrefix(name, "PENSTOCK_") && name != "GOFLAGS" && name != "GOWORK" {
			env = append(env, v)
		}
	}
	return append(env, extra...)
}

func run(t *testing.T, folder string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = folder
	cmd.Env = cleanEnv("GOWORK=off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %s:\n%s", name, strings.Join(args, " "), out)
	return string(out)
}

// foreignModule lays a program out as somebody else's module would be: its own
// go.mod, which requires ours by a replace, and what ours requires as `go get`
// would write it down.
func foreignModule(t *testing.T, program string) string {
	t.Helper()
	root, folder := testkit.Root(t), t.TempDir()
	var ours struct {
		Go      string
		Require []struct{ Path, Version string }
	}
	require.NoError(t, json.Unmarshal([]byte(run(t, root, "go", "mod", "edit", "-json")), &ours))
	mod := "module example.org/consumer\n\ngo " + ours.Go + "\n\nrequire " + module + " v0.0.0\n\nrequire (\n"
	for _, r := range ours.Require {
		mod += "\t" + r.Path + " " + r.Version + " // indirect\n"
	}
	mod += ")\n\nreplace " + module + " => " + root + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(folder, "go.mod"), []byte(mod), 0o644))
	for from, to := range map[string]string{filepath.Join(root, "go.sum"): "go.sum", filepath.Join("testdata", program, "main.go"): "main.go"} {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(folder, to), text, 0o644))
	}
	return folder
}

// TestForeignModule builds a program that embeds a file with the public API
// alone, and runs it.
func TestForeignModule(t *testing.T) {
	folder := foreignModule(t, "embed")
	run(t, folder, "go", "build")

	in, out := filepath.Join(folder, "in.jsonl"), filepath.Join(folder, "out")
	require.NoError(t, os.WriteFile(in, []byte("{\"id\": 7, \"text\": \"a pipe\"}\n{\"id\": 8, \"text\": \"a turbine\"}\n"), 0o644))
	run(t, folder, filepath.Join(folder, "consumer"), in, out, testkit.MiniLM(t), testkit.ORTLibrary(t))

	files, err := filepath.Glob(filepath.Join(out, "*.jsonl"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	require.Len(t, lines, 2)
	for i, line := range lines {
		var row struct {
			ID        int
			Text      string
			Embedding []float64
		}
		require.NoError(t, json.Unmarshal([]byte(line), &row))
		require.Equal(t, 7+i, row.ID)
		require.Len(t, row.Embedding, 384)
		length := 0.0
		for _, x := range row.Embedding {
			length += x * x
		}
		require.InDelta(t, 1, length, 1e-4)
	}
}
