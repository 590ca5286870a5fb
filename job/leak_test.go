package job_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
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

const leakJob = `
source: {path: %q, limit: 96}
stages:
  - embed: {model: %q, column: text, actors: 2, batch_size: 16}
sink: {path: %q, mode: overwrite}
`

// TestManyJobsLeaveNothing runs 50 jobs in one process, a third of them cancelled midway.
func TestManyJobsLeaveNothing(t *testing.T) {
	data := fmt.Sprintf(leakJob, filepath.Join(testkit.Root(t), "examples", "messages.txt"), testkit.MiniLM(t), filepath.Join(t.TempDir(), "out"))
	j, err := job.Parse([]byte(data), "leak.yaml")
	require.NoError(t, err)
	goroutines := 0
	var tenth int64
	for n := 1; n <= 50; n++ {
		runLeakJob(t, j, n%3 == 0)
		if n == 1 { // what is made once for the process is there now
			goroutines = settledGoroutines(0)
		}
		if n == 10 {
			tenth = residentSet(t)
		}
	}
	require.LessOrEqual(t, settledGoroutines(goroutines), goroutines)
	fiftieth := residentSet(t)
	t.Logf("resident set after 10 jobs %d KiB, after 50 jobs %d KiB, ratio %.3f", tenth>>10, fiftieth>>10, float64(fiftieth)/float64(tenth))
	require.LessOrEqual(t, float64(fiftieth), 1.05*float64(tenth))
}

func runLeakJob(t *testing.T, j *job.Job, cancelled bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var last pipeline.Stats
	res, err := j.Run(ctx, job.Options{Library: testkit.ORTLibrary(t), Progress: func(s pipeline.Stats) {
		last = s
		if cancelled && s.InputRows > 0 {
			cancel()
		}
	}})
	res.Release()
	if !cancelled {
		require.NoError(t, err)
		require.Equal(t, int64(96), res.Stats.Rows)
	} else if err != nil { // it may have ended before the first look at it
		require.True(t, errors.Is(err, context.Canceled), err)
	}
	require.Zero(t, last.Memory.Used, "%v", last.Memory.ByPurpose)
	require.Zero(t, cmem.HeldAll())
}

// settledGoroutines waits until there are no more than want, and gives how many there are.
func settledGoroutines(want int) int {
	end := time.Now().Add(2 * time.Second)
	for runtime.NumGoroutine() > want && time.Now().Before(end) {
		runtime.Gosched()
	}
	return runtime.NumGoroutine()
}

// residentSet is the process's resident memory in bytes, once Go and C have given back what
// they can: the least of a few looks, since what a job has left to the collector's cleanups goes
// a little later than the job.
func residentSet(t *testing.T) int64 {
	t.Helper()
	least := int64(math.MaxInt64)
	for range 5 {
		debug.FreeOSMemory()
		cmem.Trim()
		least = min(least, residentNow(t))
	}
	return least
}

func residentNow(t *testing.T) int64 {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	pages, err := strconv.ParseInt(strings.Fields(string(raw))[1], 10, 64)
	require.NoError(t, err)
	return pages * int64(os.Getpagesize())
}
