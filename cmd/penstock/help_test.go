package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/job"
)

// TestHelp holds the help of every verb: scripts rely on the names. `go test
// ./cmd/penstock -update` writes it anew.
func TestHelp(t *testing.T) {
	for _, verb := range []string{"", "classify", "zeroshot", "embed", "ner", "rerank", "similarity", "infer", "optimize", "run", "inspect", "doctor", "search"} {
		t.Run("penstock "+verb, func(t *testing.T) {
			args := []string{"--help"}
			if verb != "" {
				args = []string{verb, "--help"}
			}
			r := penstock(t, args...)
			require.Equal(t, 0, r.code)
			assert.Empty(t, r.stderr)
			golden := filepath.Join("testdata", "help-"+strings.TrimSpace("penstock "+verb)+".txt")
			golden = strings.ReplaceAll(golden, " ", "-")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(golden, []byte(r.stdout), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), r.stdout)
			if verb != "" {
				assert.Contains(t, r.stdout, "Example:\n\n    penstock "+verb)
			}
		})
	}
}

// TestTheStagesOfTheHelpAreStages: what the help of run shows can be read, and is all there is.
func TestTheStagesOfTheHelpAreStages(t *testing.T) {
	help := penstock(t, "run", "--help").stdout
	_, list, found := strings.Cut(help, "too):\n\n")
	require.True(t, found)
	list, _, found = strings.Cut(list, "\n\n")
	require.True(t, found)
	j, err := job.Parse([]byte("source: {path: in}\n"+strings.ReplaceAll(list, "\n    ", "\n")[4:]+"\nsink: {path: out}\n"), "help")
	require.NoError(t, err, list)
	names := map[string]bool{"drop": true, "rename": true} // which stand in comments
	for _, s := range j.Stages {
		names[s.Name] = true
	}
	for _, name := range job.Default().Stages() {
		assert.Contains(t, names, name)
	}
}

// TestContract: the flags that the issue of the command line names are all there.
func TestContract(t *testing.T) {
	common := strings.Fields("--memory-limit --batch-size --actors --limit --show --preserve-order --on-error --max-errors --mode " +
		"--progress --quiet --trace --cpus --explain --source-columns --ort-lib --format --stats --packing --look-ahead-rows --max-batch-tokens --threads-per-actor")
	for verb, own := range map[string]string{
		"classify":   "--model --labels --labels-file --template --temperature --top-k --threshold --activation --input --column --output",
		"zeroshot":   "--model --labels --labels-file --template --multi-label --top-k --threshold --variant --input --column --output",
		"embed":      "--model --input --column --output --prompt --pooling --dimensions normalize --chunk --overlap --average-chunks --variant --max-tokens",
		"ner":        "--model --aggregation --ignore --threshold --input --column --output",
		"rerank":     "--model --query --query-column --activation --input --column --output",
		"similarity": "--model --other --prompt --other-prompt --input --column --output",
		"infer":      "--model --bind --outputs --variant --threads-per-actor --input --output",
		"run":        "--set",
	} {
		help := penstock(t, verb, "--help").stdout
		for _, flag := range append(strings.Fields(own), common...) {
			assert.Contains(t, help, flag, verb)
		}
	}
	help := penstock(t, "search", "--help").stdout
	assert.Contains(t, help, "--in=DIR")
	assert.Contains(t, help, "--top=10")
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		r := penstock(t, arg)
		assert.Equal(t, 0, r.code)
		assert.Regexp(t, `^penstock test \(go1\.\S+ \w+/\w+\)\n$`, r.stdout)
	}
}
