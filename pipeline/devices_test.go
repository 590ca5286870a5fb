package pipeline_test

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// card is the devices of a machine, as the workers that are open hold them.
type card struct {
	mu    sync.Mutex
	held  map[int]float64
	most  map[int]float64
	opens map[int]int
}

func newCard() *card {
	return &card{held: map[int]float64{}, most: map[int]float64{}, opens: map[int]int{}}
}

// opener is how a stage opens a worker.
type opener func(context.Context, stage.Env) (stage.Worker, error)

// bindOpening binds a stage whose workers are opened by with, which is given the stage's own way.
func bindOpening(s stage.Stage, in []*arrow.Schema, with func(context.Context, stage.Env, opener) (stage.Worker, error)) (*stage.Bound, error) {
	b, err := s.Bind(in)
	if err != nil {
		return nil, err
	}
	open := b.Open
	b.Open = func(ctx context.Context, env stage.Env) (stage.Worker, error) { return with(ctx, env, open) }
	return b, nil
}

// onDevice is a fake stage whose workers note the device that they were placed on.
type onDevice struct {
	*stagetest.FakeStage
	card *card
}

func (s onDevice) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	return bindOpening(s.FakeStage, in, func(ctx context.Context, env stage.Env, open opener) (stage.Worker, error) {
		w, err := open(ctx, env)
		if err != nil {
			return nil, err
		}
		s.card.mu.Lock()
		defer s.card.mu.Unlock()
		s.card.opens[env.Device]++
		s.card.held[env.Device] += s.Need.GPU
		s.card.most[env.Device] = max(s.card.most[env.Device], s.card.held[env.Device])
		return &deviceWorker{Worker: w, stage: s, device: env.Device}, nil
	})
}

type deviceWorker struct {
	stage.Worker
	stage  onDevice
	device int
}

func (w *deviceWorker) Close() error {
	w.stage.card.mu.Lock()
	defer w.stage.card.mu.Unlock()
	w.stage.card.held[w.device] -= w.stage.Need.GPU
	return w.Worker.Close()
}

// gpuJob is n rows through stages that ask for these shares of a device.
func gpuJob(c *card, n int, workers stage.Pool, shares ...float64) *pipeline.Dataset {
	d := pipeline.Read(numbers(n))
	for i, share := range shares {
		st := &stagetest.FakeStage{Name: fmt.Sprint("infer", i), Column: "x", Output: fmt.Sprint("y", i)}
		st.Need = stage.Need{GPU: share, Workers: workers, Batch: stage.Policy{MaxRows: 7}, RowWise: true, Retryable: true}
		d = d.Apply(onDevice{st, c}, pipeline.StageConfig{})
	}
	return d
}

func TestWorkersAreToldTheDeviceThatHasRoomForThem(t *testing.T) {
	for _, c := range []struct {
		name    string
		gpus    []int
		workers stage.Pool
		shares  []float64
		opens   map[int]int // by device
	}{
		{"two actors on one device", []int{0}, stage.Pool{Min: 2, Max: 2}, []float64{0.5}, map[int]int{0: 2}},
		{"four actors on two", []int{3, 1}, stage.Pool{Min: 4, Max: 4}, []float64{0.5}, map[int]int{3: 2, 1: 2}},
		{"one each", []int{0, 2}, stage.Pool{Min: 2, Max: 2}, []float64{1}, map[int]int{0: 1, 2: 1}},
		{"two stages share", []int{5}, stage.Pool{Min: 1, Max: 1}, []float64{0.75, 0.25}, map[int]int{5: 2}},
		{"the larger share first", []int{0, 1}, stage.Pool{Min: 1, Max: 1}, []float64{0.5, 1, 0.5}, map[int]int{0: 1, 1: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			held := newCard()
			got, err := collect(t, gpuJob(held, 100, c.workers, c.shares...), small(pipeline.Config{GPUs: c.gpus}))
			require.NoError(t, err)
			require.Len(t, got, 100)
			assert.Equal(t, c.opens, held.opens)
			for device, most := range held.most {
				assert.LessOrEqual(t, most, 1+1e-9, "of device %d", device)
				assert.Zero(t, held.held[device], "of device %d is still held", device)
			}
		})
	}
}

// TestAPoolOnDevicesTakesWhatIsFree has no number of actors given: there is one at least, and
// never more than fit.
func TestAPoolOnDevicesTakesWhatIsFree(t *testing.T) {
	held := newCard()
	got, err := collect(t, gpuJob(held, 300, stage.Pool{}, 0.5, 0.25), small(pipeline.Config{GPUs: []int{0, 1}}))
	require.NoError(t, err)
	require.Len(t, got, 300)
	for device, most := range held.most {
		assert.LessOrEqual(t, most, 1+1e-9, "of device %d", device)
	}
	assert.Subset(t, []int{0, 1}, slices.Collect(maps.Keys(held.opens)))
}

func TestALostWorkerIsReplacedOnItsDevice(t *testing.T) {
	held := newCard()
	st := &stagetest.FakeStage{Column: "x", OnProcess: stagetest.FailOn(3, stage.ErrWorkerLost)}
	st.Need = stage.Need{GPU: 1, Workers: stage.Pool{Min: 2, Max: 2}, Batch: stage.Policy{MaxRows: 10}, Retryable: true}
	got, err := collect(t, pipeline.Read(numbers(200)).Apply(onDevice{st, held}, pipeline.StageConfig{}), small(pipeline.Config{GPUs: []int{4, 6}}))
	require.NoError(t, err)
	require.Len(t, got, 200)
	require.Equal(t, 3, held.opens[4]+held.opens[6])
	require.Equal(t, map[int]float64{4: 1, 6: 1}, held.most, "two workers were open on one device")
}

func TestDevicesThatDoNotSufficeAreFoundBeforeDataMoves(t *testing.T) {
	for want, c := range map[string]struct {
		cfg     pipeline.Config
		workers int
		share   float64
	}{
		"Config.GPUs names the devices":      {pipeline.Config{}, 1, 0.5},
		"3 workers of infer0 with 0.5 of a":  {pipeline.Config{GPUs: []int{0}}, 3, 0.5},
		"a share is between 0 and 1":         {pipeline.Config{GPUs: []int{0, 1}}, 1, 2},
		"ordinals from 0 on, each once":      {pipeline.Config{GPUs: []int{1, 1}}, 1, 0.5},
		"it must list ordinals from 0 on":    {pipeline.Config{GPUs: []int{-1}}, 1, 0.5},
		"or name more devices in Config.GPU": {pipeline.Config{GPUs: []int{0}}, 2, 0.6},
	} {
		held := newCard()
		_, err := collect(t, gpuJob(held, 10, stage.Pool{Min: c.workers, Max: c.workers}, c.share), small(c.cfg))
		require.ErrorContains(t, err, want)
		require.Empty(t, held.opens)
	}
}

// placed is a task that keeps what it was told.
type placed struct{ got *stage.Placement }

func (p placed) Expand(at stage.Placement) ([]stage.Stage, error) {
	*p.got = at
	return []stage.Stage{&stagetest.FakeStage{Column: "x"}}, nil
}

func TestTasksAreToldWhatDevicesThereAre(t *testing.T) {
	for _, c := range []struct {
		gpus []int
		want stage.Placement
	}{{nil, stage.Placement{}}, {[]int{2, 0}, stage.Placement{Device: stage.CUDA, Index: 2}}} {
		var got stage.Placement
		_, err := pipeline.Read(numbers(1)).Run(placed{&got}, pipeline.StageConfig{}).Check(context.Background(), pipeline.Config{GPUs: c.gpus})
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
}

// TestCallsHoldTheirCPUTokens runs a stage whose calls use two threads each, as a model with two
// intra-op threads does, beside one that uses one, on three CPUs.
func TestCallsHoldTheirCPUTokens(t *testing.T) {
	var mu sync.Mutex
	busy, most := 0.0, 0.0
	hold := func(tokens float64) func(context.Context, int, stage.Batch) error {
		return func(context.Context, int, stage.Batch) error {
			mu.Lock()
			busy += tokens
			most = max(most, busy)
			mu.Unlock()
			for range 100 { // others get a chance to start
				runtime.Gosched()
			}
			mu.Lock()
			defer mu.Unlock()
			busy -= tokens
			return nil
		}
	}
	wide := &stagetest.FakeStage{Column: "x", Output: "a", OnProcess: hold(2)}
	wide.Need = stage.Need{CPU: 2, Batch: stage.Policy{MaxRows: 5}, InFlight: 2}
	narrow := &stagetest.FakeStage{Column: "x", Output: "b", OnProcess: hold(1)}
	narrow.Need = stage.Need{InFlight: 2, Batch: stage.Policy{MaxRows: 5}}
	d := pipeline.Read(numbers(500, 500)).Apply(wide, pipeline.StageConfig{Actors: 3}).Apply(narrow, pipeline.StageConfig{Actors: 4})
	got, err := collect(t, d, pipeline.Config{CPUs: 3})
	require.NoError(t, err)
	require.Len(t, got, 1000)
	require.LessOrEqual(t, most, 3.0)
	require.GreaterOrEqual(t, most, 2.0)
}

// pair is a task of two stages.
type pair struct{ first, last *stagetest.FakeStage }

func (p pair) Expand(stage.Placement) ([]stage.Stage, error) {
	return []stage.Stage{p.first, p.last}, nil
}

func TestATaskIsConfiguredAtItsModel(t *testing.T) {
	pool := stage.Need{Workers: stage.Pool{Min: 2, Max: 2}}
	for want, task := range map[string]pair{
		"-> tokenise: workers by CPUs, 1 CPU\n": {&stagetest.FakeStage{Name: "tokenise", Column: "x"}, &stagetest.FakeStage{Name: "infer", Column: "x", Need: pool}},
		"-> choose: workers by CPUs, 1 CPU\n":   {&stagetest.FakeStage{Name: "infer", Column: "x", Need: pool}, &stagetest.FakeStage{Name: "choose", Column: "x"}},
		"-> first: workers by CPUs, 1 CPU\n":    {&stagetest.FakeStage{Name: "first", Column: "x"}, &stagetest.FakeStage{Name: "infer", Column: "x"}},
	} {
		d := pipeline.Read(numbers(1)).Run(task, pipeline.StageConfig{Actors: 3, BatchSize: 7})
		text, err := d.Explain(context.Background(), pipeline.Config{})
		require.NoError(t, err)
		require.Contains(t, text, want)
		require.Contains(t, text, "-> infer: 3 workers, 1 CPU, batches of 7 rows\n")
	}
}
