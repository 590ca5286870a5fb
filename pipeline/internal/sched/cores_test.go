package sched_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/pipeline/internal/sim"
)

// textPlan is a job on texts as the executor runs it on two cores: a reader, a tokeniser with a
// worker for each core, a model with two actors of one thread each, which take the runs of windows,
// and a sink. Blocks are of 512 texts of 60 tokens, vectors of 384 numbers.
type textPlan struct {
	tokenise, infer float64 // seconds of a core for a block
	write           float64 // for a window
}

const (
	textBlocks   = 400
	windowBlocks = 4
	windowRuns   = 120
	blockIDs     = 512 * 60 * 4 // bytes
	blockVectors = 512 * 384 * 4

	tokeniser, model = 1, 2 // operators
)

func (p textPlan) config() sim.Config {
	read := func(sim.Task) []sim.Yield {
		out := make([]sim.Yield, textBlocks/10)
		for i := range out {
			out[i] = sim.Yield{Seconds: 0.001, Bytes: 512 * 300}
		}
		return out
	}
	stage := func(seconds float64, bytes int64) func(sim.Task) []sim.Yield {
		return func(sim.Task) []sim.Yield { return []sim.Yield{{Seconds: seconds, Bytes: bytes}} }
	}
	return sim.Config{Memory: 256 << 20, CPUs: 2, Ops: []sim.Op{
		{Op: sched.Op{Name: "read", CPU: 1, Workers: 2, Generator: true, Window: 8, Estimate: 8 << 20}, Next: []int{tokeniser}, Tasks: 10, Order: true, Work: read},
		{Op: sched.Op{Name: "tokenise", CPU: 1, Workers: 2, Window: 8, Estimate: 2 << 20}, Next: []int{model}, Order: true, Work: stage(p.tokenise, blockIDs)},
		{
			Op: sched.Op{Name: "embed", CPU: 1, Workers: 2, Window: 2, Estimate: 2 << 20}, Next: []int{3}, Order: true,
			Pack: sim.Pack{Blocks: windowBlocks, Tasks: windowRuns},
			Work: stage(p.infer*windowBlocks/windowRuns, windowBlocks*blockVectors/windowRuns),
		},
		{Op: sched.Op{Name: "write", CPU: 1, Workers: 1}, Order: true, Work: stage(p.write, 0)},
	}}
}

// sharedCores is how a tokeniser and a model share the cores.
type sharedCores struct {
	sim.Result
	stolen int // turns of the tokeniser while a run of the model lacked nothing but a core
	lead   int // blocks that were tokenised, or being so, before the model came to them, at most
}

func (p textPlan) run(t *testing.T, policy func(sched.Config) *sched.Scheduler) (out sharedCores) {
	t.Helper()
	cfg := p.config()
	var s *sched.Scheduler
	cfg.New = func(c sched.Config) *sched.Scheduler {
		s = policy(c)
		return s
	}
	tokenised, runs := 0, 0
	watch := func(op int, seen func()) {
		work := cfg.Ops[op].Work
		cfg.Ops[op].Work = func(t sim.Task) []sim.Yield {
			seen()
			return work(t)
		}
	}
	watch(tokeniser, func() {
		tokenised++
		out.lead = max(out.lead, tokenised-runs*windowBlocks/windowRuns)
		if st := s.State(model); st.Queued > 0 && st.Rule == sched.RuleCPU {
			out.stolen++
		}
	})
	watch(model, func() { runs++ })
	var err error
	out.Result, err = sim.Run(cfg)
	require.NoError(t, err)
	require.EqualValues(t, textBlocks/windowBlocks, out.Delivered)
	t.Logf("%.1f s; busy %.1f; both cores %.2f %% busy, with the model %.2f %%; %d of %d turns of the tokeniser were stolen, %d blocks ahead", out.Seconds, out.Busy,
		100*out.atWork(), 100*out.Busy[model]/2/out.Seconds, out.stolen, tokenised, out.lead)
	return out
}

// atWork is the part of the time for which the cores were at work.
func (c *sharedCores) atWork() float64 {
	sum := 0.0
	for _, b := range c.Busy {
		sum += b
	}
	return sum / 2 / c.Seconds
}

// TestTokenisingTakesNoCoreFromInference: where the model is what limits a job, its actors are at
// work all the time but for what the rest of the work takes, and a text is tokenised when a core
// has no run of the model to do.
func TestTokenisingTakesNoCoreFromInference(t *testing.T) {
	plan := textPlan{tokenise: 3.0 / 50, infer: 3, write: 0.02}
	got := plan.run(t, sched.New)
	assert.GreaterOrEqual(t, got.Busy[model]/2/got.Seconds, 0.97)
	assert.GreaterOrEqual(t, got.atWork(), 0.99)
	assert.Zero(t, got.stolen)
	assert.LessOrEqual(t, got.lead, 3*windowBlocks)

	got = plan.run(t, sched.NewUpstreamFirst)
	assert.NotZero(t, got.stolen, "here the tokeniser goes first, and nobody noticed")

	// While vectors wait for a slow sink, texts are tokenised instead, until the ids that wait are as
	// many bytes. That is done sooner than it need be, and nothing is lost: no core is idle.
	plan.write = 1
	got = plan.run(t, sched.New)
	assert.GreaterOrEqual(t, got.atWork(), 0.99)
	assert.LessOrEqual(t, got.lead*blockIDs, 2*windowBlocks*blockVectors)
}

// TestCoresFollowRates: where the tokeniser is the slower one, it has the cores that the model
// leaves, and the two go side by side all the time.
func TestCoresFollowRates(t *testing.T) {
	got := textPlan{tokenise: 0.9, infer: 0.3, write: 0.02}.run(t, sched.New)
	assert.GreaterOrEqual(t, got.atWork(), 0.99)
	assert.LessOrEqual(t, got.lead, 3*windowBlocks)
}
