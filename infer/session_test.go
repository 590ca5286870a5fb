package infer_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/stage"
)

// longTexts are n texts that fill MiniLM's limit.
func longTexts(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strings.Repeat("a pipe that feeds a turbine under controlled flow ", 60) + strconv.Itoa(i)
	}
	return out
}

// A run that is under way ends soon after it is cancelled, and the worker goes on after.
func TestCancelMidRun(t *testing.T) {
	m := miniLM(t)
	b := newBooks(t)
	task, err := m.Embed(infer.EmbedConfig{Column: "text", BatchSize: 512})
	require.NoError(t, err)
	c := openChain(t, task, textSchema, b.env())
	defer c.close()
	ids, err := process(t.Context(), c.tokens, stage.NewBatch(textRecord(b.mem, pointers(longTexts(512))...), stage.Origin{}))
	require.NoError(t, err)
	defer ids.Release()
	for _, after := range []time.Duration{20 * time.Millisecond, 150 * time.Millisecond} {
		ctx, cancel := context.WithCancel(t.Context())
		var cancelled time.Time
		timer := time.AfterFunc(after, func() {
			cancelled = time.Now()
			cancel()
		})
		ids.Retain()
		_, err = process(ctx, c.model, stage.NewBatch(ids, stage.Origin{}))
		took := time.Since(cancelled)
		timer.Stop()
		require.ErrorIs(t, err, context.Canceled)
		require.Less(t, took, time.Second)
		t.Logf("a run ended %v after it was cancelled", took.Round(time.Millisecond))
	}
	rec, err := c.run(t.Context(), textRecord(b.mem, pointers([]string{"still alive"})...))
	require.NoError(t, err)
	rec.Release()
	require.Positive(t, b.held(stage.Arena))
	require.Greater(t, b.held(stage.Weights), int64(80<<20))
}

// Cancelling at any moment of many short runs neither hangs nor spoils what comes after.
func TestCancelAnywhere(t *testing.T) {
	texts, want := expected(t)
	m := open(t, infer.Config{Path: filepath.Join(tiny, "plain"), RunTokens: 8})
	for i := range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for range i * 10 {
				runtime.Gosched()
			}
			cancel()
		}()
		if _, err := m.EmbedTexts(ctx, texts, infer.EmbedConfig{}); err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
		cancel()
		got, err := m.EmbedTexts(t.Context(), texts, infer.EmbedConfig{})
		require.NoError(t, err)
		requireNear(t, want["plain"], got, 1e-5)
	}
}

// Whoever waits for a model to load stops when it is cancelled; the loading itself ends
// without anyone.
func TestCancelWhileLoading(t *testing.T) {
	m := miniLM(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := newBooks(t)
	task, err := m.Embed(infer.EmbedConfig{Column: "text"})
	require.NoError(t, err)
	_, second := bindTask(t, task, textSchema)
	for range 3 {
		_, err = second.Open(ctx, b.env())
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Zero(t, b.held(stage.Weights))
	_, err = m.EmbedTexts(t.Context(), []string{"now"}, infer.EmbedConfig{})
	require.NoError(t, err)
}

// Callers share one session, and their results are those of one alone.
func TestManyCallersAtOnce(t *testing.T) {
	texts, want := expected(t)
	m := tinyModel(t, "plain")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				got, err := m.EmbedTexts(context.Background(), texts, infer.EmbedConfig{})
				if err != nil {
					t.Error(err)
					return
				}
				for i := range got {
					if far(want["plain"][i], got[i]) > 1e-5 {
						t.Errorf("row %d differs", i)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// The weights are charged once, to someone who is there, and not at all in the end.
func TestWeightsAreChargedOnce(t *testing.T) {
	m := tinyModel(t, "plain")
	task, err := m.Embed(infer.EmbedConfig{Column: "text"})
	require.NoError(t, err)
	_, second := bindTask(t, task, textSchema)
	first, other := newBooks(t), newBooks(t)
	a, err := second.Open(t.Context(), first.env())
	require.NoError(t, err)
	b, err := second.Open(t.Context(), other.env())
	require.NoError(t, err)
	size := m.Inspect().Bytes
	require.Equal(t, []int64{size, 0}, []int64{first.held(stage.Weights), other.held(stage.Weights)})
	require.NoError(t, a.Close())
	require.Equal(t, []int64{0, size}, []int64{first.held(stage.Weights), other.held(stage.Weights)})
	require.NoError(t, m.Close())
	_, err = second.Open(t.Context(), first.env())
	require.ErrorContains(t, err, "closed")
	require.NoError(t, b.Close())
	require.NoError(t, b.Close())
	_, err = m.EmbedTexts(t.Context(), []string{"a"}, infer.EmbedConfig{})
	require.ErrorContains(t, err, "closed")
}

// Fifty jobs in one process, a third of them cancelled, leave nothing behind. Go's heap
// alone moves by some MiB from one moment to the next: of the last three jobs the least
// counts, of the three up to the tenth the most.
func TestFiftyJobs(t *testing.T) {
	library := testkit.ORTLibrary(t)
	texts := append(awkward(t)[:12], longTexts(1)...)
	tenth, last := int64(0), int64(math.MaxInt64)
	for job := range 50 {
		t.Run(strconv.Itoa(job), func(t *testing.T) { oneJob(t, library, texts, job%3 == 2) })
		require.Zero(t, cmem.HeldAll())
		if job >= 7 && job < 10 {
			tenth = max(tenth, rss(t))
		}
		if job >= 47 {
			last = min(last, rss(t))
		}
	}
	t.Logf("RSS after 10 jobs %d MiB, after 50 %d MiB", tenth>>20, last>>20)
	require.LessOrEqual(t, float64(last), 1.05*float64(tenth))
}

func oneJob(t *testing.T, library string, texts []string, cancelled bool) {
	t.Helper()
	m, err := infer.Open(t.Context(), infer.Config{Path: testkit.MiniLM(t), Library: library})
	require.NoError(t, err)
	defer m.Close()
	task, err := m.Embed(infer.EmbedConfig{Column: "text"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if cancelled {
		time.AfterFunc(50*time.Millisecond, cancel)
	}
	b := newBooks(t)
	var wg sync.WaitGroup
	for range 2 {
		c := openChain(t, task, textSchema, b.env())
		wg.Go(func() {
			defer c.close()
			rec, err := c.run(ctx, textRecord(b.mem, pointers(texts)...))
			if err == nil {
				rec.Release()
			} else if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// rss is the process's memory once Go's garbage is gone.
func rss(t *testing.T) int64 {
	t.Helper()
	runtime.GC() // what is in pools outlives one collection
	runtime.GC()
	debug.FreeOSMemory()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("needs /proc")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(raw))[1], 10, 64)
	require.NoError(t, err)
	return pages * int64(os.Getpagesize())
}
