package pipeline_test

import (
	"context"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// endings is a sink that notes how its jobs end and which job comes.
type endings struct {
	*stagetest.MemorySink
	job   stage.JobID
	found []stage.Part
	ends  []string
	once  sync.Once
}

func (e *endings) Begin(ctx context.Context, schema *arrow.Schema, job stage.JobID) (found []stage.Part, err error) {
	found, err = e.MemorySink.Begin(ctx, schema, job)
	e.job, e.found = job, found
	return found, err
}

func (e *endings) Keep(ctx context.Context) error {
	e.ends = append(e.ends, "keep")
	return e.MemorySink.Keep(ctx)
}

func (e *endings) Abort(ctx context.Context) error {
	e.ends = append(e.ends, "abort")
	return e.MemorySink.Abort(ctx)
}

func TestAFailedWriteKeepsItsFinishedParts(t *testing.T) {
	const rows, perGroup = 60, 300
	fail := int64(45)
	closed := make(chan struct{}) // the first part is
	st := func() *stagetest.FakeStage {
		return &stagetest.FakeStage{Name: "model", Column: "x", Map: func(x int64) ([]int64, error) {
			if x != fail {
				return []int64{x}, nil
			}
			if x == 45 {
				<-closed
			}
			return nil, errOdd
		}}
	}
	sink := &endings{MemorySink: &stagetest.MemorySink{}}
	sink.OnWrite = func(_ context.Context, part stage.PartID, _ arrow.Record) error {
		if part.Group == 1 {
			sink.once.Do(func() { close(closed) })
		}
		return nil
	}
	write := func(cfg pipeline.Config) error {
		cfg.GroupBytes = perGroup
		w := &watch{}
		_, err := pipeline.Read(numbers(20, 20, 20)).Apply(st(), pipeline.StageConfig{BatchSize: 10}).
			Write(context.Background(), sink, w.config(small(cfg)))
		w.balanced(t)
		return err
	}
	require.ErrorIs(t, write(pipeline.Config{}), errOdd)
	require.Equal(t, []string{"keep"}, sink.ends)
	require.Empty(t, sink.Records(false))
	first := sink.job

	// A run of the same job that fails before it has finished a part keeps what it was given,
	// but for a part that it had begun anew.
	fail = 5
	require.ErrorIs(t, write(pipeline.Config{}), errOdd)
	require.Equal(t, first, sink.job)
	require.NotEmpty(t, sink.found)
	require.Equal(t, "keep", sink.ends[1])

	fail = -1
	require.NoError(t, write(pipeline.Config{}))
	require.Len(t, linesOf(sink.MemorySink), rows)
	require.Len(t, sink.ends, 2)

	// Another job: other rows would be in its parts.
	fail = 45
	for _, cfg := range []pipeline.Config{{Seed: 1}, {OnError: pipeline.OnError{Skip: true}}} {
		_ = write(cfg)
		require.NotEqual(t, first, sink.job)
		require.Empty(t, sink.found)
	}
	require.Len(t, linesOf(sink.MemorySink), rows-1) // by the second, which skips
}

func TestAFailedWriteWithoutAPartLeavesNothing(t *testing.T) {
	sink := &endings{MemorySink: &stagetest.MemorySink{}}
	st := &stagetest.FakeStage{Column: "x", Map: failOn(0)}
	_, err := pipeline.Read(numbers(20, 20)).Apply(st, pipeline.StageConfig{}).Write(context.Background(), sink, small(pipeline.Config{GroupBytes: 300}))
	require.ErrorIs(t, err, errOdd)
	require.Equal(t, []string{"abort"}, sink.ends)
}
