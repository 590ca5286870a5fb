//go:build cuda

package gpu_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/infer/gpu"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
)

// inOrder checks the runs that one actor reported: each is copied in before it computes and
// computes before it is copied out, the compute lane is never without a span, and spans of a
// lane don't overlap.
func inOrder(t *testing.T, runs []stage.DeviceRun) {
	t.Helper()
	for i, r := range runs {
		s := r.Spans
		for l := range s {
			if i > 0 {
				require.False(t, s[l].Begin.Before(runs[i-1].Spans[l].End()), "run %d, %s: %+v, then %+v", i, stage.Lane(l), runs[i-1].Spans[l], s[l])
			}
		}
		require.Positive(t, s[stage.CopyIn].Duration)
		require.Positive(t, s[stage.Compute].Duration)
		require.Positive(t, s[stage.CopyOut].Duration)
		require.False(t, s[stage.Compute].Begin.Before(s[stage.CopyIn].End()), "run %d: %+v", i, s)
		require.False(t, s[stage.CopyOut].Begin.Before(s[stage.Compute].End()), "run %d: %+v", i, s)
		require.Equal(t, s[stage.Compute].Begin, s[stage.Wait].End(), "run %d: %+v", i, s)
		if i > 0 {
			require.Equal(t, runs[i-1].Spans[stage.Compute].End(), s[stage.Wait].Begin, "run %d: %+v", i, s)
		}
	}
}

// TestRunsAreReported: those that warm the actor are not. The base that times are counted from
// moves on while runs are on their way.
func TestRunsAreReported(t *testing.T) {
	for _, moving := range []bool{false, true} {
		machine(t, cudaemu.Config{Seed: 7, MaxDelay: late, Devices: make([]cudaemu.Device, 2)})
		var runs []stage.DeviceRun // the owner's, until it has ended
		cfg := imageConfig(8)
		cfg.Device = 1
		cfg.Env.Ran = func(r stage.DeviceRun) { runs = append(runs, r) }
		a, err := gpu.Open(t.Context(), cfg)
		require.NoError(t, err)
		if moving {
			gpu.MoveBases(a)
		}
		began := time.Now()
		several(30, 3, func(i int) {
			x := newImages(uint64(i), 8)
			r := x.run()
			r.Real = 0.75
			assert.NoError(t, a.Run(t.Context(), r))
		})
		ended := time.Now()
		stats := a.Stats()
		require.NoError(t, a.Close())
		require.Equal(t, moving, gpu.Moved(a) > 0)
		require.Len(t, runs, 30)
		inOrder(t, runs)
		var sum gpu.Stats
		for _, r := range runs {
			require.Equal(t, 1, r.Device)
			require.InDelta(t, float64(r.Spans[stage.Compute].Duration)/4, float64(r.Padding), 1)
			sum.CopyIn += r.Spans[stage.CopyIn].Duration
			sum.Compute += r.Spans[stage.Compute].Duration
			sum.CopyOut += r.Spans[stage.CopyOut].Duration
			sum.Wait += r.Spans[stage.Wait].Duration
			sum.Padding += r.Padding
		}
		require.Equal(t, []time.Duration{stats.CopyIn, stats.Compute, stats.CopyOut, stats.Wait, stats.Padding},
			[]time.Duration{sum.CopyIn, sum.Compute, sum.CopyOut, sum.Wait, sum.Padding})
		// The host's clock and the device's tell the same time, but for how long the host takes to see it.
		require.WithinRange(t, runs[0].Spans[stage.CopyIn].Begin, began.Add(-time.Millisecond), ended.Add(time.Second))
		require.WithinRange(t, runs[29].Spans[stage.CopyOut].End(), began, ended.Add(time.Second))
	}
}

// TestTheTraceShowsEachDevice runs a job on two devices: the trace has four lanes for each, and the
// statistics add up to it.
func TestTheTraceShowsEachDevice(t *testing.T) {
	rec := texts(400)
	defer rec.Release()
	machine(t, cudaemu.Config{MaxDelay: late, Devices: make([]cudaemu.Device, 2)})
	cfg := infer.Config{Path: filepath.Join("../testdata/models", "plain"), RunTokens: 96}
	var trace bytes.Buffer
	var last pipeline.Stats
	_, err := embed(t, cfg, infer.EmbedConfig{Actors: 2}, rec, pipeline.Config{GPUs: []int{0, 1}, Trace: &trace,
		Progress: func(s pipeline.Stats) { last = s }})
	require.NoError(t, err)
	var op pipeline.OperatorStats
	for _, o := range last.Operators {
		if o.GPU > 0 {
			op = o
		}
	}
	require.NotEmpty(t, op.Actors)
	for i, a := range op.Actors {
		for l, want := range map[stage.Lane]time.Duration{stage.CopyIn: a.CopyIn, stage.Compute: a.Compute, stage.CopyOut: a.CopyOut, stage.Wait: a.Wait} {
			got := laneTime(t, trace.Bytes(), fmt.Sprint("GPU ", a.Device), fmt.Sprintf("%s %d: %s", op.Name, i, l))
			require.Positive(t, got, "actor %d: %s", i, l)
			require.InDelta(t, want.Seconds(), got.Seconds(), 1e-6, "actor %d: %s", i, l)
		}
	}
	sum := op.DeviceTime()
	require.Positive(t, sum.Padding)
	require.Less(t, sum.Padding, sum.Compute)
}

// laneTime adds up the spans of a lane of a trace, which must not overlap.
func laneTime(t *testing.T, trace []byte, process, thread string) time.Duration {
	t.Helper()
	var events []struct {
		Name, Ph string
		Ts, Dur  float64
		Pid, Tid int
		Args     map[string]any
	}
	require.NoError(t, json.Unmarshal(trace, &events))
	pid, tid, end, sum := -1, -1, 0.0, 0.0
	for _, e := range events {
		switch {
		case e.Name == "process_name" && e.Args["name"] == process:
			pid = e.Pid
		case e.Name == "thread_name" && e.Pid == pid && e.Args["name"] == thread:
			tid = e.Tid
		case e.Ph == "X" && e.Pid == pid && e.Tid == tid:
			require.GreaterOrEqual(t, e.Ts, end-1e-3, "%s, %s", process, thread)
			end, sum = e.Ts+e.Dur, sum+e.Dur
		}
	}
	return time.Duration(sum * float64(time.Microsecond))
}
