package sched_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
)

func TestPoolsThatDoNotFitAreRefused(t *testing.T) {
	pool := func(name string, gpu float64, workers, most int) sched.Op {
		return sched.Op{Name: name, GPU: gpu, Workers: workers, Max: most}
	}
	for _, ok := range []sched.Config{
		{},
		{Ops: []sched.Op{pool("a", 0, 5, 9)}},
		{GPUs: 1, Ops: []sched.Op{pool("a", 1.0/3, 3, 9)}},
		{GPUs: 2, Ops: []sched.Op{pool("a", 0.6, 2, 4), pool("b", 0.4, 2, 2)}},
		{GPUs: 2, Ops: []sched.Op{pool("a", 0.5, 2, 4), pool("b", 1, 1, 1)}},
		{Ops: []sched.Op{{Name: "fixed", GPU: 1, Workers: 3}}}, // the executor opens these
	} {
		assert.NoError(t, ok.Check(), "%+v", ok)
	}
	for want, bad := range map[string]sched.Config{
		"between 0 and 1": {GPUs: 4, Ops: []sched.Op{pool("a", 2, 1, 1)}},
		"2 workers of a with 0.6 of a device each do not fit on 1 devices beside the others: 1 do": {GPUs: 1, Ops: []sched.Op{pool("a", 0.6, 2, 4)}},
		"1 workers of a with 0.5 of a device each do not fit on 1 devices beside the others: 0 do": {GPUs: 1, Ops: []sched.Op{pool("a", 0.5, 1, 1), pool("b", 1, 0, 2)}},
	} {
		require.ErrorContains(t, bad.Check(), want)
	}
}

// Without a second of work there is nothing to size a pool by.
func TestPoolsStayWhereNothingIsMeasured(t *testing.T) {
	s := sched.New(sched.Config{CPUs: 4, Memory: 1000, Ops: []sched.Op{
		{Name: "read", Workers: 1, Generator: true, Output: true},
		{Name: "work", In: []int{0}, Workers: 2, Max: 8, Output: true},
	}})
	require.Len(t, s.Settle(), 2, "the fewest are opened at once")
	up := func(w int) sched.Event { return sched.Event{Kind: sched.WorkerUp, Op: 1, Worker: w} }
	s.Apply(up(0), up(1), sched.Event{Kind: sched.Ready, Op: 1, Bytes: 10})
	require.Len(t, s.Settle(), 1)
	require.Empty(t, s.Apply(sched.Event{Kind: sched.Done, Op: 1}))
	for range 100 {
		require.Empty(t, s.Apply(sched.Event{Kind: sched.Tick, Seconds: 10}))
	}
}
