package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

func TestWhatLimitedTheJobIsSaidInOneLine(t *testing.T) {
	const second = time.Second
	op := func(kind, name string, workers int, busy time.Duration, gpu float64) pipeline.OperatorStats {
		return pipeline.OperatorOpen(pipeline.OperatorStats{Name: name, Kind: kind, Workers: workers, Busy: busy, GPU: gpu, Samples: 10}, 10*second*time.Duration(workers))
	}
	memory := op("stage", "decode", 2, 4*second, 0)
	memory.Throttled = map[string]int64{"memory limit": 7}
	for want, c := range map[string]struct {
		cpu  time.Duration
		cpus int
		ops  []pipeline.OperatorStats
	}{
		"nothing yet":                                            {0, 2, nil},
		"infer: 2 GPU actors 93 % busy":                          {9 * second, 2, []pipeline.OperatorStats{op("source", "read", 2, 19*second, 0), op("stage", "infer", 2, 18600*time.Millisecond, 0.5)}},
		"infer: 1 GPU actor 85 % busy":                           {9 * second, 2, []pipeline.OperatorStats{op("stage", "infer", 1, 8500*time.Millisecond, 1), op("sink", "write", 1, 9*second, 0)}},
		"read: 2 workers 98 % busy, waiting for disk or network": {3 * second, 2, []pipeline.OperatorStats{op("source", "read", 2, 19600*time.Millisecond, 0), op("stage", "tokenise", 2, second, 0)}},
		"read: 2 workers 90 % busy":                              {18 * second, 8, []pipeline.OperatorStats{op("source", "read", 2, 18*second, 0), op("stage", "tokenise", 2, second, 0)}},
		"CPU: 2 cores 95 % busy, most of it in tokenise":         {19 * second, 2, []pipeline.OperatorStats{op("source", "read", 2, 7*second, 0), op("stage", "tokenise", 2, 12*second, 0)}},
		"memory: decode waited for room 70 % of the time":        {4 * second, 2, []pipeline.OperatorStats{op("source", "read", 2, 3*second, 0), memory}},
		"write: 1 worker 60 % busy":                              {8 * second, 2, []pipeline.OperatorStats{op("source", "read", 2, 2*second, 0), op("sink", "write", 1, 6*second, 0)}},
	} {
		assert.Equal(t, want, pipeline.LimitedBy(pipeline.Stats{Elapsed: 10 * second, CPU: c.cpu, Operators: c.ops}, c.cpus))
	}
}

// TestTimesOfWorkersAddUp: what workers were open for is what they were at work, blocked or waiting.
func TestTimesOfWorkersAddUp(t *testing.T) {
	st := &stagetest.FakeStage{Column: "x", Need: stage.Need{GPU: 0.5, Workers: stage.Pool{Min: 2, Max: 2}}}
	w := &watch{}
	n := 0
	cfg := w.config(small(pipeline.Config{GPUs: []int{0}}))
	cfg.ProgressEvery = time.Millisecond
	for rec, err := range pipeline.Read(numbers(500, 500)).Apply(st, pipeline.StageConfig{BatchSize: 10}).Batches(context.Background(), cfg) {
		require.NoError(t, err)
		n += int(rec.NumRows())
	}
	require.Equal(t, 1000, n)
	s := w.stats
	require.NotEqual(t, "nothing yet", s.LimitedBy)
	infer := s.Operators[1]
	require.Equal(t, 2, infer.Workers, "those of a pool count after they were closed")
	require.InDelta(t, 0.5, infer.GPU, 0)
	require.Positive(t, infer.Busy)
	require.Positive(t, infer.Waiting)
	require.LessOrEqual(t, infer.Busy+infer.Blocked+infer.Waiting, 2*s.Elapsed+time.Millisecond)
	require.InEpsilon(t, 1000/infer.Busy.Seconds(), infer.ServiceRate(), 1e-9)
	require.Positive(t, s.Operators[0].ServiceRate())
	for _, o := range s.Operators {
		require.Zero(t, o.HeldBytes, o.Name)
	}
}

func TestTheTraceHasALaneForEachWorkerAndCounters(t *testing.T) {
	var out bytes.Buffer
	st := &stagetest.FakeStage{Name: "work", Column: "x"}
	d := pipeline.Read(numbers(300, 300)).Apply(st, pipeline.StageConfig{Actors: 2, BatchSize: 10})
	_, err := d.Count(context.Background(), small(pipeline.Config{Trace: &out, ProgressEvery: time.Millisecond, NoOptimise: true}))
	require.NoError(t, err)
	var events []struct {
		Name string         `json:"name"`
		Ph   string         `json:"ph"`
		Ts   *float64       `json:"ts"`
		Dur  float64        `json:"dur"`
		Pid  int            `json:"pid"`
		Tid  int            `json:"tid"`
		Args map[string]any `json:"args"`
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &events))
	names, lanes, counters, rows := map[int]any{}, map[string]bool{}, map[string]map[string]any{}, 0.0
	for _, e := range events {
		require.NotNil(t, e.Ts)
		switch e.Ph {
		case "M":
			if e.Name == "process_name" {
				names[e.Pid] = e.Args["name"]
			}
		case "X":
			require.GreaterOrEqual(t, e.Dur, 1.0)
			require.Equal(t, names[e.Pid], e.Name)
			lanes[e.Name+" "+strconv.Itoa(e.Tid)] = true
			if e.Name == "work" {
				rows += e.Args["rows_in"].(float64)
			}
		case "C":
			counters[e.Name] = e.Args
		}
	}
	require.InDelta(t, 600, rows, 0)
	for _, lane := range []string{"work 0", "work 1", "write 0"} {
		require.Contains(t, lanes, lane)
	}
	require.Contains(t, counters["memory"], "blocks")
	require.Contains(t, counters["queued bytes"], "work")
}

// TestBlocksOverTheLimitAreCounted: the limit is near nothing, and still the job ends.
func TestBlocksOverTheLimitAreCounted(t *testing.T) {
	w := &watch{}
	n := 0
	for rec, err := range pipeline.Read(numbers(50, 50)).Batches(context.Background(), w.config(pipeline.Config{BlockLimit: 10})) {
		require.NoError(t, err)
		n += int(rec.NumRows())
	}
	require.Equal(t, 100, n)
	require.Positive(t, w.stats.Memory.Alone)
	for _, err := range pipeline.Read(numbers(50, 50)).Batches(context.Background(), w.config(pipeline.Config{})) {
		require.NoError(t, err)
	}
	require.Zero(t, w.stats.Memory.Alone)
}
