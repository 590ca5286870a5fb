package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

var errBroken = errors.New("illegal address")

// cards are devices of which some are lost.
type cards struct {
	dies  map[int]int // of each that is lost, the call in which it is; 0: when a worker is opened there
	after int         // pieces that this call has emitted by then

	wait       bool // work on the others goes on once all those are lost
	unfinished bool // no piece is called finished before the call returns

	mu    sync.Mutex
	calls map[int]int
	opens map[int]int
	lost  int
	all   chan struct{} // closed when all are that die
}

func newCards(dies map[int]int, after int) *cards {
	c := &cards{dies: dies, after: after, calls: map[int]int{}, opens: map[int]int{}, all: make(chan struct{})}
	if len(dies) == 0 {
		close(c.all)
	}
	return c
}

func broken(device int) error {
	return fmt.Errorf("model: %w", &stage.DeviceLostError{Device: stage.Placement{Device: stage.CUDA, Index: device}, Err: errBroken})
}

// die has a device be lost, if it is not.
func (c *cards) die(device int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dies[device] >= 0 {
		c.dies[device] = -1
		if c.lost++; c.lost == len(c.dies) {
			close(c.all)
		}
	}
	return broken(device)
}

// call counts a call on a device. It gives after how many pieces the device is lost; -1: it is not.
func (c *cards) call(ctx context.Context, device int) (int, error) {
	c.mu.Lock()
	at, dies := c.dies[device]
	c.calls[device]++
	now := c.calls[device]
	c.mu.Unlock()
	switch {
	case at < 0:
		return 0, broken(device)
	case dies && now >= at:
		return c.after, nil
	case dies, !c.wait:
		return -1, nil
	}
	select {
	case <-c.all:
		return -1, nil
	case <-ctx.Done():
		return -1, ctx.Err()
	}
}

// onCards is a fake stage whose workers run on cards.
type onCards struct {
	*stagetest.FakeStage
	cards *cards
}

func (s onCards) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	return bindOpening(s.FakeStage, in, func(ctx context.Context, env stage.Env, open opener) (stage.Worker, error) {
		s.cards.mu.Lock()
		s.cards.opens[env.Device]++
		at, dies := s.cards.dies[env.Device]
		s.cards.mu.Unlock()
		if dies && at <= 0 {
			return nil, s.cards.die(env.Device)
		}
		w, err := open(ctx, env)
		return &cardWorker{w, s.cards, env.Device}, err
	})
}

type cardWorker struct {
	stage.Worker
	cards  *cards
	device int
}

func (w *cardWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	left, err := w.cards.call(ctx, w.device)
	switch {
	case err != nil:
		return err
	case left == 0:
		return w.cards.die(w.device)
	}
	return w.Worker.Process(ctx, in, func(out stage.Output) error {
		if left--; left == 0 {
			if out.Record != nil {
				out.Record.Release()
			}
			return w.cards.die(w.device)
		}
		if w.cards.unfinished {
			out.Through = 0
		}
		return emit(out)
	})
}

// deviceRun is what a job came to.
type deviceRun struct {
	rows    []string
	letters []string
	log     string
	stats   pipeline.Stats
}

// onDevices runs rows through stages on cards into a sink.
func onDevices(t *testing.T, n int, cfg pipeline.Config, stages ...onCards) (deviceRun, error) {
	t.Helper()
	before := runtime.NumGoroutine()
	d := pipeline.Read(numbers(n/3, n/2, n-n/3-n/2))
	for _, st := range stages {
		d = d.Apply(st, pipeline.StageConfig{})
	}
	var out deviceRun
	var log bytes.Buffer
	sink, w := &stagetest.MemorySink{}, &watch{}
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	cfg.OnError.DeadLetter = func(e *stage.RowError) { out.letters = append(out.letters, e.Error()) }
	stats, err := d.Write(t.Context(), sink, w.config(small(cfg)))
	w.balanced(t)
	noneLeft(t, before)
	for _, st := range stages {
		require.Equal(t, st.Opened(), st.Closed())
	}
	slices.Sort(out.letters)
	out.rows, out.stats, out.log = linesOf(sink), stats, log.String()
	return out, err
}

// gpuStage adds a column to batches of seven rows, in pieces of three. Rows that 50 divides fail.
func gpuStage(name string, c *cards, need stage.Need) onCards {
	need.Batch.MaxRows, need.RowWise, need.Retryable = 7, true, true
	return onCards{&stagetest.FakeStage{Name: name, Column: "x", Output: name, Need: need, Piece: 3, Map: func(x int64) ([]int64, error) {
		if x%50 == 7 {
			return nil, errOdd
		}
		return []int64{x * x}, nil
	}}, c}
}

func pool(n int) stage.Pool { return stage.Pool{Min: n, Max: n} }

var skip = pipeline.OnError{Skip: true}

func TestALostDevicesWorkGoesToOthers(t *testing.T) {
	for name, c := range map[string]struct {
		gpus  []int
		dies  map[int]int
		after int
		need  stage.Need
	}{
		"at a batch":                  {gpus: []int{4, 6}, dies: map[int]int{6: 3}, need: stage.Need{GPU: 1, Workers: pool(2)}},
		"in the middle of a batch":    {gpus: []int{4, 6}, dies: map[int]int{6: 3}, after: 2, need: stage.Need{GPU: 1, Workers: pool(2)}},
		"at the first call":           {gpus: []int{4, 6}, dies: map[int]int{4: 1}, need: stage.Need{GPU: 1, Workers: pool(2)}},
		"when it is opened":           {gpus: []int{4, 6}, dies: map[int]int{4: 0}, need: stage.Need{GPU: 1, Workers: pool(2)}},
		"with three calls under way":  {gpus: []int{4, 6}, dies: map[int]int{6: 4}, after: 3, need: stage.Need{GPU: 1, Workers: pool(2), InFlight: 3}},
		"with two actors on each":     {gpus: []int{4, 6}, dies: map[int]int{6: 5}, need: stage.Need{GPU: 0.5, Workers: pool(4)}},
		"one after the other":         {gpus: []int{2, 1, 0}, dies: map[int]int{0: 2, 2: 4}, after: 1, need: stage.Need{GPU: 1, Workers: pool(3), InFlight: 2}},
		"with as many actors as fit":  {gpus: []int{4, 6}, dies: map[int]int{4: 2}, need: stage.Need{GPU: 0.5}},
		"with one actor, which moves": {gpus: []int{4, 6}, dies: map[int]int{4: 2}, after: 2, need: stage.Need{GPU: 1, Workers: pool(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := onDevices(t, 300, pipeline.Config{GPUs: c.gpus, OnError: skip}, gpuStage("infer", newCards(nil, 0), c.need))
			require.NoError(t, err)
			require.Len(t, want.rows, 294)
			held := newCards(c.dies, c.after)
			held.wait = true
			got, err := onDevices(t, 300, pipeline.Config{GPUs: c.gpus, OnError: skip}, gpuStage("infer", held, c.need))
			require.NoError(t, err)
			require.Equal(t, want.rows, got.rows)
			require.Equal(t, want.letters, got.letters, "a lost device fails no row")
			require.Len(t, got.stats.Lost, held.lost)
			for i, lost := range got.stats.Lost {
				require.Contains(t, held.dies, lost.Device.Index)
				require.Len(t, lost.Left, len(c.gpus)-i-1)
				require.Equal(t, 1, strings.Count(got.log, lost.String()), got.log)
				require.LessOrEqual(t, held.opens[lost.Device.Index], int(1/c.need.GPU), "none was opened there again")
			}
			assert.Equal(t, int64(300), got.stats.Operators[1].InRows)
		})
	}
}

func TestALostDeviceIsOneLine(t *testing.T) {
	at := func(i int) stage.Placement { return stage.Placement{Device: stage.CUDA, Index: i} }
	lost := pipeline.LostDevice{Device: at(1), Err: errors.Join(errBroken, errOdd), Left: []stage.Placement{at(0), at(3)}}
	require.Equal(t, "device cuda:1 lost: illegal address; "+errOdd.Error()+"; its work went to cuda:0, cuda:3", lost.String())
	lost.Left = nil
	require.Equal(t, "device cuda:1 lost: illegal address; "+errOdd.Error()+"; no other is left", lost.String())
}

// TestLostDevicesAtRandom loses devices, but never all, in jobs of one or two stages.
func TestLostDevicesAtRandom(t *testing.T) {
	lost := 0
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 5))
		gpus := rng.Perm(2 + rng.IntN(3))
		dies := map[int]int{}
		for _, d := range gpus[:1+rng.IntN(len(gpus)-1)] {
			dies[d] = rng.IntN(6)
		}
		each := 2 + rng.IntN(2) // actors to a device
		needs := make([]stage.Need, 1+rng.IntN(2))
		for i := range needs {
			needs[i] = stage.Need{GPU: 1 / float64(each), InFlight: 1 + rng.IntN(3), Workers: pool(len(gpus) * each / len(needs))}
			if rng.IntN(3) == 0 {
				needs[i].Cost, needs[i].Batch.LookAheadRows = func(rec arrow.Record, dst []int32) { clear(dst) }, 64
			}
		}
		cfg := pipeline.Config{GPUs: gpus, OnError: skip, Unordered: rng.IntN(4) == 0}
		run := func(c *cards) deviceRun {
			stages := make([]onCards, len(needs))
			for i, need := range needs {
				stages[i] = gpuStage(fmt.Sprint("infer", i), c, need)
			}
			out, err := onDevices(t, 200, cfg, stages...)
			require.NoError(t, err, "seed %d: %v die of %v", seed, dies, gpus)
			if cfg.Unordered {
				slices.Sort(out.rows)
			}
			return out
		}
		want := run(newCards(nil, 0))
		got := run(newCards(dies, rng.IntN(4)))
		require.Equal(t, want.rows, got.rows, "seed %d", seed)
		require.Equal(t, want.letters, got.letters, "seed %d", seed)
		lost += len(got.stats.Lost)
	}
	require.Greater(t, lost, 30)
}

// TestAJobWithoutDevicesEnds loses all devices, or so many that a stage has no room.
func TestAJobWithoutDevicesEnds(t *testing.T) {
	whole := stage.Need{GPU: 1, Workers: pool(1)}
	for name, c := range map[string]struct {
		gpus   []int
		dies   map[int]int
		stages int
		need   stage.Need
		want   []string
	}{
		"the only one":         {[]int{3}, map[int]int{3: 4}, 1, whole, []string{"infer0: no device is left: device cuda:3 lost: illegal address; "}},
		"when it is opened":    {[]int{3}, map[int]int{3: 0}, 1, whole, []string{"infer0: no device is left: device cuda:3 lost: illegal address; 0 rows were done"}},
		"both":                 {[]int{0, 1}, map[int]int{0: 3, 1: 6}, 1, stage.Need{GPU: 0.5, Workers: pool(4), InFlight: 2}, []string{"infer0: no device is left", "cuda:0 lost: illegal address", "cuda:1 lost: illegal address"}},
		"no room for a second": {[]int{0, 1}, map[int]int{1: 2}, 2, whole, []string{"there is no room on cuda:0 for a worker that takes 1 of a device", "cuda:1 lost: illegal address"}},
	} {
		t.Run(name, func(t *testing.T) {
			held := newCards(c.dies, 0)
			var stages []onCards
			for i := range c.stages {
				stages = append(stages, gpuStage(fmt.Sprint("infer", i), held, c.need))
				stages[i].Map = nil
			}
			got, err := onDevices(t, 200, pipeline.Config{GPUs: c.gpus, OnError: skip}, stages...)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.Regexp(t, `; \d+ rows were done$`, err.Error())
			require.ErrorIs(t, err, errBroken)
			require.ErrorIs(t, err, stage.ErrWorkerLost)
			require.Empty(t, got.rows)
			require.Empty(t, got.letters, "a lost device fails no row")
			require.Zero(t, got.stats.Failed)
			require.Len(t, got.stats.Lost, len(c.dies))
		})
	}
}

// TestPoolsMakeRoomOnTheDevicesThatAreLeft has the second of two stages lose all its actors.
func TestPoolsMakeRoomOnTheDevicesThatAreLeft(t *testing.T) {
	for name, c := range map[string]struct {
		gpus          []int
		first, second stage.Need
	}{
		"one of the first goes":   {[]int{0, 1}, stage.Need{GPU: 0.5, Workers: pool(3)}, stage.Need{GPU: 0.5, Workers: pool(1)}},
		"with several calls each": {[]int{0, 1}, stage.Need{GPU: 0.5, Workers: pool(3), InFlight: 3}, stage.Need{GPU: 0.5, Workers: pool(1), InFlight: 2}},
		"all are placed anew":     {[]int{0, 1, 2}, stage.Need{GPU: 0.5, Workers: pool(3)}, stage.Need{GPU: 1, Workers: pool(1)}},
		"nobody has to":           {[]int{0, 1}, stage.Need{GPU: 0.25, Workers: pool(2)}, stage.Need{GPU: 0.5, Workers: pool(1)}},
	} {
		t.Run(name, func(t *testing.T) {
			held := newCards(map[int]int{0: 2}, 0) // where all of the second are
			stages := []onCards{gpuStage("infer0", held, c.first), gpuStage("infer1", held, c.second)}
			got, err := onDevices(t, 300, pipeline.Config{GPUs: c.gpus, OnError: skip}, stages...)
			require.NoError(t, err)
			require.Len(t, got.rows, 294)
			require.Len(t, got.stats.Lost, 1)
		})
	}
}

// TestRowsThatAreGoneAreNotRunAgain has a stage hand over rows that it does not call finished, and
// then lose its device: to run them again would give them twice.
func TestRowsThatAreGoneAreNotRunAgain(t *testing.T) {
	held := newCards(map[int]int{0: 2}, 9)
	held.unfinished, held.wait = true, true
	st := gpuStage("infer", held, stage.Need{GPU: 1, Workers: pool(2)})
	st.Need.Batch.MaxRows = 50
	got, err := onDevices(t, 300, pipeline.Config{GPUs: []int{0, 1}, OnError: skip}, st)
	require.ErrorContains(t, err, "rows that the stage did not call finished were passed on before it failed")
	require.ErrorIs(t, err, errBroken)
	require.Empty(t, got.rows)
}
