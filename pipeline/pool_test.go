package pipeline_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// TestAPoolGrowsToWhatTheRatesAskFor has a stage that waits, as one does for a device or a
// service, so that one worker cannot keep up with the source.
func TestAPoolGrowsToWhatTheRatesAskFor(t *testing.T) {
	st := &stagetest.FakeStage{Column: "x", Need: stage.Need{CPU: 0.001}, OnProcess: func(ctx context.Context, _ int, _ stage.Batch) error {
		wait := time.NewTimer(3 * time.Millisecond)
		defer wait.Stop()
		select {
		case <-wait.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	var most int
	cfg := small(pipeline.Config{ProgressEvery: 5 * time.Millisecond, Progress: func(s pipeline.Stats) { most = max(most, s.Operators[1].Workers) }})
	n := 0
	for rec, err := range pipeline.Read(numbers(3000)).Apply(st, pipeline.StageConfig{Actors: 1, MaxActors: 6, BatchSize: 10}).Batches(context.Background(), cfg) {
		require.NoError(t, err)
		for _, line := range lines(rec) {
			require.Equal(t, fmt.Sprintf("x=%d name=row-%d x_out=%d", n, n, n), line)
			n++
		}
	}
	require.Equal(t, 3000, n)
	require.Greater(t, most, 1)
	require.LessOrEqual(t, most, 6)
	require.Equal(t, st.Opened(), st.Closed())
}

func TestAPoolFailsAndStopsLikeAnyOther(t *testing.T) {
	for n := 1; n < 30; n += 3 {
		st := &stagetest.FakeStage{Column: "x", OnProcess: stagetest.FailOn(n, errOdd)}
		_, err := collect(t, pipeline.Read(numbers(300)).Apply(st, pipeline.StageConfig{Actors: 2, MaxActors: 5, BatchSize: 10}), small(pipeline.Config{}))
		require.ErrorIs(t, err, errOdd)
		require.Equal(t, st.Opened(), st.Closed())
		got, err := collect(t, pipeline.Read(numbers(300)).Apply(&stagetest.FakeStage{Column: "x"}, pipeline.StageConfig{Actors: 2, MaxActors: 5, BatchSize: 10}).Limit(int64(n)), small(pipeline.Config{}))
		require.NoError(t, err)
		require.Len(t, got, n)
	}
}
