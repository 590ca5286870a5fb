package job_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/job"
)

// runCSV runs the stages over 200 rows and gives what comes out.
func runCSV(t *testing.T, dir, stages string) [][]string {
	t.Helper()
	var in strings.Builder
	in.WriteString("id,text\n")
	for i := range 200 {
		fmt.Fprintf(&in, "%d,row %d\n", i, i)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in.csv"), []byte(in.String()), 0o600))
	j, err := job.Parse([]byte(fmt.Sprintf("source: {path: %s}\nstages:\n%s\nsink: {path: %s, format: csv, mode: overwrite}\nrun: {seed: 9}\n",
		filepath.Join(dir, "in.csv"), stages, filepath.Join(dir, "out"))), "job.yaml")
	require.NoError(t, err)
	_, err = j.Run(context.Background(), job.Options{})
	require.NoError(t, err)
	f, err := os.Open(filepath.Join(dir, "out", "part-000000.csv"))
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	return rows[1:]
}

func TestStagesThatChooseAndOrderRows(t *testing.T) {
	dir := t.TempDir() // of all runs: the sample depends on the file's name
	require.Len(t, runCSV(t, dir, "  - repartition: {rows: 7}\n  - limit: 150"), 150)
	require.Len(t, runCSV(t, dir, "  - randomize_block_order: {}"), 200)
	some := runCSV(t, dir, "  - random_sample: {fraction: 0.3}")
	require.InDelta(t, 60, len(some), 25)
	require.Equal(t, some, runCSV(t, dir, "  - random_sample: {fraction: 0.3, seed: 9}"), "the job's seed is the default")
}

func TestAResultTakesNoColumnsPlace(t *testing.T) {
	const text = "source: {path: %s}\nstages:\n  - classify: {model: %s, labels: [a, b]%s}\nsink: {path: %s}\n"
	in := filepath.Join(testkit.Root(t), "examples", "messages_labelled.csv")
	for extra, want := range map[string]string{"": `column "label": the input has it already`, ", label_column: guess": ""} {
		j, err := job.Parse([]byte(fmt.Sprintf(text, in, testkit.MiniLM(t), extra, filepath.Join(t.TempDir(), "out"))), "job.yaml")
		require.NoError(t, err)
		_, err = j.Check(context.Background(), job.Options{Library: testkit.ORTLibrary(t)})
		if want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, want)
		}
	}
}
