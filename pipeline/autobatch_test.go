package pipeline_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// settle runs the search against a device of which a batch of n rows takes cost(n), and gives
// the size that it stays at.
func settleBatch(cost func(n int) time.Duration, memory, rowBytes int64) int {
	c := pipeline.NewAutoCutter(memory)
	size := 0
	for range 2000 {
		for _, rows := range c.Push(1000, 1000*rowBytes) {
			c.Observe(rows, cost(rows))
			size = rows
		}
	}
	return size
}

func TestTheBatchSizeGrowsAsLongAsItPays(t *testing.T) {
	overhead := func(fixed, perRow time.Duration) func(int) time.Duration {
		return func(n int) time.Duration { return fixed + time.Duration(n)*perRow }
	}
	// a call costs as much as 1,000 rows: large batches pay
	require.GreaterOrEqual(t, settleBatch(overhead(time.Millisecond, time.Microsecond), 1<<40, 8), 4096)
	// no cost per call: nothing is gained beyond the first size
	require.LessOrEqual(t, settleBatch(overhead(0, time.Microsecond), 1<<40, 8), 32)
	// rows get dearer past 128, as when a cache is full
	require.LessOrEqual(t, settleBatch(func(n int) time.Duration {
		d := 100*time.Microsecond + time.Duration(n)*10*time.Microsecond
		if n > 128 {
			d += time.Duration(n) * 20 * time.Microsecond
		}
		return d
	}, 1<<40, 8), 128)
	// the memory bounds it, whatever would pay: a sixteenth of 1 MiB in rows of 1 KiB
	require.LessOrEqual(t, settleBatch(overhead(time.Second, time.Microsecond), 1<<20, 1<<10), 64)
}

func TestAutoBatchLosesNothing(t *testing.T) {
	st := &stagetest.FakeStage{Column: "x"}
	got, err := collect(t, pipeline.Read(numbers(5000, 33)).Apply(st, pipeline.StageConfig{BatchSize: pipeline.AutoBatch, Actors: 2}).Select("x"), small(pipeline.Config{BlockBytes: 2000}))
	require.NoError(t, err)
	require.Len(t, got, 5033)
	require.Equal(t, "x=5032", got[5032])
}
