package killtest_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/writers"
)

// TestAKilledJobLeavesOneSetOfFiles kills jobs at random moments, some of them in the middle of
// the commit, which is when a job that is just over is followed at once by the next.
func TestAKilledJobLeavesOneSetOfFiles(t *testing.T) {
	for _, mode := range []string{"overwrite", "append"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(kills), uint64(len(mode))))
			seen := map[string]int{}                           // what the killed left in their staging folders
			out, done := filepath.Join(t.TempDir(), "out"), -1 // done: the last job that is known to be
			for k := range kills / 2 {
				if mode == "append" && k%8 == 0 { // so that the output does not grow without end
					out, done = filepath.Join(t.TempDir(), "out"), -1
				}
				next := done + 1
				// Now and then it is not the job that was killed which comes next, so that
				// another one has to clear what that has left.
				if rng.IntN(3) == 0 {
					next++
				}
				last := killed(t, rng, out, mode, next)
				left, err := filepath.Glob(filepath.Join(filepath.Dir(out), ".out.penstock-*", "*"))
				require.NoError(t, err)
				for _, name := range left {
					seen[filepath.Base(name)]++
				}
				done = check(t, out, mode, done, last, next)
			}
			t.Logf("%d kills, and in the staging folders they left: %v", kills/2, seen)
			require.Greater(t, seen["job.json"], kills/10, "too few jobs were killed at work")
			// a job that nobody kills finds its way, and clears up
			run(t, out, mode, done+1)
			require.Equal(t, done+1, check(t, out, mode, done, done+1, done+1))
			left, err := filepath.Glob(filepath.Join(filepath.Dir(out), ".out.penstock-*"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func victim(ctx context.Context, out, mode string, first, jobs int) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), envOutput+"="+out, envMode+"="+mode,
		envFirst+"="+strconv.Itoa(first), envJobs+"="+strconv.Itoa(jobs))
	return cmd
}

// killed starts a process that writes job after job, from first on, and kills it. It gives the
// last job that it said was done; first-1: none.
func killed(t *testing.T, rng *rand.Rand, out, mode string, first int) int {
	t.Helper()
	cmd := victim(t.Context(), out, mode, first, 0)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(pipe)
	line, err := lines.ReadString('\n')
	require.NoError(t, err, stderr.String())
	require.Equal(t, "ready\n", line)
	// From here on it is at work: by chance it is killed in its first job, which follows one
	// that was killed, or in one of the next.
	wait, jobs := time.Duration(rng.Int64N(int64(60*time.Millisecond))), rng.IntN(3)
	for range jobs {
		line, err = lines.ReadString('\n')
		require.NoError(t, err, "the job that follows a killed one fails: %s", stderr.String())
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	<-timer.C
	require.NoError(t, cmd.Process.Kill(), stderr.String())
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.Error(t, cmd.Wait())
	require.Empty(t, stderr.String())
	last := first - 1
	for _, said := range strings.Fields(line + string(rest)) {
		if n, err := strconv.Atoi(said); err == nil {
			last = n
		}
	}
	return last
}

// run writes one job and lets it end.
func run(t *testing.T, out, mode string, n int) {
	t.Helper()
	text, err := victim(t.Context(), out, mode, n, 1).CombinedOutput()
	require.NoError(t, err, string(text))
}

// check looks at an output. before is the last job that was seen there before the victim
// came, last the last that the victim said was done, and first its first one. It gives the last
// job that is there now.
func check(t *testing.T, out, mode string, before, last, first int) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(out, "*.parquet"))
	require.NoError(t, err)
	if before < 0 && last < first && len(files) == 0 {
		return -1 // nothing was there and nothing came
	}
	manifest, err := writers.ReadManifest(out)
	if mode == "append" {
		if os.IsNotExist(err) {
			require.Less(t, last, first)
			return -1
		}
		require.NoError(t, err)
		files = nil
		for _, f := range manifest.Files { // other files may be there early
			files = append(files, filepath.Join(out, f.Path))
		}
	} else {
		require.NoError(t, err)
		require.Len(t, files, len(manifest.Files))
	}
	rows := readAll(t, files)
	require.Equal(t, manifest.Rows, int64(len(rows))*rowsPerJob)
	jobs := slices.Sorted(maps.Keys(rows))
	for _, n := range jobs {
		require.Len(t, rows[n], rowsPerJob, "job %d", n)
		for row, times := range rows[n] {
			require.Equal(t, 1, times, "job %d, row %d", n, row)
		}
	}
	if mode == "overwrite" {
		require.Len(t, jobs, 1, "a mix")
	}
	now := int(jobs[len(jobs)-1])
	// what was said to be done is there, and of the rest at most the one that was under way
	seen := max(before, last)
	if last < first {
		require.Contains(t, []int{before, first}, now)
	} else {
		require.Contains(t, []int{seen, seen + 1}, now, fmt.Sprint(before, last, first))
	}
	return now
}

// readAll counts each row of each job.
func readAll(t *testing.T, files []string) map[int64]map[int64]int {
	t.Helper()
	rows := map[int64]map[int64]int{}
	for _, name := range files {
		pf, err := file.OpenParquetFile(name, false)
		require.NoError(t, err)
		r, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: 1024}, memory.DefaultAllocator)
		require.NoError(t, err)
		table, err := r.ReadTable(context.Background())
		require.NoError(t, err)
		read := array.NewTableReader(table, -1)
		for read.Next() {
			rec := read.Record()
			jobs, at := rec.Column(0).(*array.Int64).Int64Values(), rec.Column(1).(*array.Int64).Int64Values()
			for i, n := range jobs {
				if rows[n] == nil {
					rows[n] = map[int64]int{}
				}
				rows[n][at[i]]++
			}
		}
		read.Release()
		table.Release()
		require.NoError(t, pf.Close())
	}
	return rows
}
