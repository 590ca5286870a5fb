//go:build soak

package job_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/pipeline"
)

const soakJob = `
source: {path: %q}
stages:
  - embed: {model: %q, column: text, actors: 2, chunk: 128, overlap: 16, average_chunks: true, dimensions: 32}
sink: {path: %q, mode: overwrite}
`

// TestTextStaysFlat embeds texts of 1 to 600 words for SOAK_MINUTES (30) and looks at the resident
// set each second: its largest in the last third of that time must be that of the second third.
// The first third is for arenas and pools to find their size.
func TestTextStaysFlat(t *testing.T) {
	took := soakTime(t)
	in := manyTexts(t, 3_000)
	j, err := job.Parse(fmt.Appendf(nil, soakJob, in, testkit.MiniLM(t), filepath.Join(t.TempDir(), "out")), "soak.yaml")
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), took)
	defer cancel()
	var peaks [3]int64
	var last pipeline.Stats
	began := time.Now()
	res, err := j.Run(ctx, job.Options{Library: testkit.ORTLibrary(t), Progress: func(s pipeline.Stats) {
		last = s
		third := min(int(3*time.Since(began)/took), 2)
		peaks[third] = max(peaks[third], residentNow(t))
	}})
	res.Release()
	require.ErrorIs(t, err, context.DeadlineExceeded, "the texts must last")
	t.Logf("%d rows read in %v; largest resident set of each third: %d, %d, %d KiB", last.InputRows, took, peaks[0]>>10, peaks[1]>>10, peaks[2]>>10)
	require.Positive(t, peaks[1])
	require.LessOrEqual(t, float64(peaks[2]), 1.05*float64(peaks[1]))
	require.Zero(t, last.Memory.Used, "%v", last.Memory.ByPurpose)
	require.Zero(t, cmem.HeldAll())
}

func soakTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("SOAK_MINUTES")
	if text == "" {
		return 30 * time.Minute
	}
	minutes, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err, "SOAK_MINUTES")
	return time.Duration(minutes * float64(time.Minute))
}

// manyTexts is a folder of so many names of one file of 1,000 texts.
func manyTexts(t *testing.T, files int) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(testkit.Root(t), "examples", "messages.txt"))
	require.NoError(t, err)
	words := strings.Fields(string(raw))
	rng := rand.New(rand.NewPCG(1, 2))
	var texts strings.Builder
	for range 1_000 {
		n := 1 + int(600*rng.Float64()*rng.Float64()*rng.Float64()) // most are short
		at := rng.IntN(len(words) - n)
		texts.WriteString(strings.Join(words[at:at+n], " "))
		texts.WriteByte('\n')
	}
	dir := t.TempDir()
	first := filepath.Join(dir, "0000.txt")
	require.NoError(t, os.WriteFile(first, []byte(texts.String()), 0o600))
	for i := 1; i < files; i++ {
		require.NoError(t, os.Link(first, filepath.Join(dir, fmt.Sprintf("%04d.txt", i))))
	}
	return dir
}
