//go:build unix

package pipeline_test

import (
	"context"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// BenchmarkObserving runs a plan of cheap stages with nobody looking and with progress and a trace
// being written, in turns, and gives by how much CPU time the second is dearer:
//
//	go test ./pipeline -run - -bench Observing -benchtime 20x
func BenchmarkObserving(b *testing.B) {
	src := numbers(200_000, 200_000)
	d := pipeline.Read(src).Apply(&stagetest.FakeStage{Column: "x", Output: "y"}, pipeline.StageConfig{BatchSize: 4096})
	used := func(cfg pipeline.Config) time.Duration {
		before := cpuTime(b)
		n, err := d.Count(context.Background(), cfg)
		require.NoError(b, err)
		require.EqualValues(b, 400_000, n)
		return cpuTime(b) - before
	}
	var plain, observed time.Duration
	for b.Loop() {
		plain += used(pipeline.Config{NoOptimise: true, ProgressEvery: time.Hour})
		observed += used(pipeline.Config{NoOptimise: true, Progress: func(pipeline.Stats) {}, Trace: io.Discard})
	}
	b.ReportMetric(100*(observed.Seconds()/plain.Seconds()-1), "%observing")
	b.ReportMetric(plain.Seconds()/float64(b.N), "cpu-s/run")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
