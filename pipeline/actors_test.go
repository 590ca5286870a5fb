package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// timed is a fake stage whose workers report a run on their device for each batch: a millisecond
// of waiting, then copy in, compute and copy out of 100 ns, 400 ns and 100 ns, a quarter of
// compute for padding.
type timed struct{ *stagetest.FakeStage }

func (s timed) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	return bindOpening(s.FakeStage, in, func(ctx context.Context, env stage.Env, open opener) (stage.Worker, error) {
		w, err := open(ctx, env)
		env.Tell("all of it is made up")
		return &timedWorker{Worker: w, env: env, at: time.Now()}, err
	})
}

type timedWorker struct {
	stage.Worker
	env stage.Env
	at  time.Time
}

func (w *timedWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	run := stage.DeviceRun{Device: w.env.Device, Padding: 100}
	for l, ns := range map[stage.Lane]time.Duration{stage.CopyIn: 100, stage.Compute: 400, stage.CopyOut: 100, stage.Wait: time.Millisecond} {
		run.Spans[l] = stage.Span{Begin: w.at.Add(time.Duration(l) * 400), Duration: ns}
	}
	w.at = w.at.Add(2 * time.Millisecond)
	w.env.Report(run)
	return w.Worker.Process(ctx, in, emit)
}

func timedJob(n int, share float64) *pipeline.Dataset {
	st := &stagetest.FakeStage{Name: "infer", Column: "x"}
	st.Need = stage.Need{GPU: share, Workers: stage.Pool{Min: 4, Max: 4}, Batch: stage.Policy{MaxRows: 10}}
	return pipeline.Read(numbers(n)).Apply(timed{st}, pipeline.StageConfig{})
}

// TestTimeOnDevicesIsCountedByActor runs four actors on two devices.
func TestTimeOnDevicesIsCountedByActor(t *testing.T) {
	stats, err := timedJob(400, 0.5).Write(context.Background(), &stagetest.MemorySink{}, small(pipeline.Config{GPUs: []int{3, 1}, Trace: io.Discard}))
	require.NoError(t, err)
	o := stats.Operators[1]
	require.Equal(t, "infer", o.Name)
	require.NotEmpty(t, o.Actors)
	require.LessOrEqual(t, len(o.Actors), 4)
	runs := int64(0)
	for _, a := range o.Actors {
		require.Contains(t, []int{1, 3}, a.Device)
		n := time.Duration(a.Runs)
		require.Equal(t, pipeline.DeviceTime{Runs: a.Runs, Wait: n * time.Millisecond, CopyIn: n * 100, Compute: n * 400, CopyOut: n * 100, Padding: n * 100}, a.DeviceTime)
		runs += a.Runs
	}
	sum := o.DeviceTime()
	require.Equal(t, int64(40), runs)
	require.Equal(t, runs, sum.Runs)
	require.InDelta(t, 0.25, sum.PaddingShare(), 1e-9)
	require.InDelta(t, 0.4/1000.4, sum.BusyShare(), 1e-9)
	require.Zero(t, pipeline.OperatorStats{}.DeviceTime().BusyShare(), "nothing yet")
	require.Nil(t, stats.Operators[0].Actors)
	require.Equal(t, []string{"all of it is made up"}, o.Notes, "once, by however many workers")
}

// lane is a lane of a trace.
type lane struct{ process, thread string }

// lanes reads the spans of a trace, in microseconds, by their lanes.
func lanes(t *testing.T, trace []byte) map[lane][][2]float64 {
	t.Helper()
	var events []struct {
		Name     string
		Ph       string
		Ts, Dur  float64
		Pid, Tid int
		Args     map[string]any
	}
	require.NoError(t, json.Unmarshal(trace, &events))
	processes, threads, spans := map[int]string{}, map[[2]int]string{}, map[lane][][2]float64{}
	for _, e := range events {
		switch {
		case e.Name == "process_name":
			processes[e.Pid] = e.Args["name"].(string)
		case e.Name == "thread_name":
			threads[[2]int{e.Pid, e.Tid}] = e.Args["name"].(string)
		case e.Ph == "X":
			at := lane{processes[e.Pid], threads[[2]int{e.Pid, e.Tid}]}
			spans[at] = append(spans[at], [2]float64{e.Ts, e.Ts + e.Dur})
		}
	}
	return spans
}

// TestTheTraceHasLanesForEachActorOnADevice: spans of less than a microsecond stay apart.
func TestTheTraceHasLanesForEachActorOnADevice(t *testing.T) {
	var out bytes.Buffer
	stats, err := timedJob(400, 0.5).Write(context.Background(), &stagetest.MemorySink{}, small(pipeline.Config{GPUs: []int{0, 1}, Trace: &out}))
	require.NoError(t, err)
	spans := lanes(t, out.Bytes())
	for i, a := range stats.Operators[1].Actors {
		for l := range stage.Lanes {
			at := lane{fmt.Sprint("GPU ", a.Device), fmt.Sprintf("infer %d: %s", i, stage.Lane(l))}
			require.Len(t, spans[at], int(a.Runs), "%v", at)
			for k, s := range spans[at] {
				require.Less(t, s[0], s[1])
				require.True(t, k == 0 || spans[at][k-1][1] <= s[0], "%v: %v, then %v", at, spans[at][max(k-1, 0)], s)
			}
		}
	}
	require.NotEmpty(t, spans[lane{"infer", ""}], "and the workers' tasks beside them")
}

// TestTheLoadOfDevicesIsInStats: it is asked for with each look, and at the end.
func TestTheLoadOfDevicesIsInStats(t *testing.T) {
	looks := 0
	load := func() []pipeline.DeviceLoad {
		looks++
		return []pipeline.DeviceLoad{{Device: 1, Samples: looks, Watts: -1}}
	}
	stats, err := pipeline.Read(numbers(100)).Write(context.Background(), &stagetest.MemorySink{}, small(pipeline.Config{DeviceLoad: load}))
	require.NoError(t, err)
	require.Positive(t, looks)
	require.Equal(t, []pipeline.DeviceLoad{{Device: 1, Samples: looks, Watts: -1}}, stats.Devices)
}
