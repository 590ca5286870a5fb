package sim_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/pipeline/internal/sim"
)

// slowGPU is a job whose middle makes four bytes of each that it reads, before devices that are
// the bottleneck, or nearly. heavy has one split in ten take ten times as long; late is when
// the devices are up.
func slowGPU(limit int64, infer float64, heavy bool, late float64) sim.Config {
	load := func(t sim.Task) (out []sim.Yield) {
		r := rand.New(rand.NewPCG(5, uint64(t.ID)))
		seconds := 0.5
		if heavy && r.IntN(10) == 0 {
			seconds *= 10
		}
		for range 5 {
			out = append(out, sim.Yield{Seconds: seconds, Bytes: 10e6})
		}
		return out
	}
	return sim.Config{Memory: limit, CPUs: 8, Ops: []sim.Op{
		{Op: sched.Op{Name: "load", CPU: 1, Workers: 8, Generator: true, Estimate: 8 << 20, Window: 32}, Next: []int{1}, Tasks: 200, Order: true, Work: load},
		{Op: sched.Op{Name: "expand", CPU: 1, Workers: 8, Estimate: 2 << 20, Window: 32}, Next: []int{2}, Order: true,
			Work: func(sim.Task) []sim.Yield { return []sim.Yield{{Seconds: 0.5, Bytes: 40e6}} }},
		{Op: sched.Op{Name: "infer", Workers: 4}, Order: true, Open: func(int) float64 { return late },
			Work: func(sim.Task) []sim.Yield { return []sim.Yield{{Seconds: infer}} }},
	}}
}

// job is one of those that source admission is tried on.
type job struct {
	name string
	cfg  func() sim.Config
}

func admissionJobs() (jobs []job) {
	for _, gb := range []float64{1, 1.5, 2, 3, 4, 6, 8} {
		for _, reading := range []sim.Reading{sim.Streamed, sim.Whole} {
			jobs = append(jobs, job{fmt.Sprintf("paper, %s, %v GB", reading, gb), func() sim.Config { return memoryPlan.Config(int64(gb*1e9), reading) }})
		}
	}
	for _, mb := range []float64{300, 500, 1000, 4000} {
		for _, infer := range []float64{0.3, 0.5, 1} {
			for _, heavy := range []bool{false, true} {
				for _, late := range []float64{0, 30} {
					jobs = append(jobs, job{fmt.Sprintf("slow GPU %v s, %v MB, heavy %v, late %v", infer, mb, heavy, late),
						func() sim.Config { return slowGPU(int64(mb*1e6), infer, heavy, late) }})
				}
			}
		}
	}
	return jobs
}

// TestAdmissionByRateBringsNothing holds the reason why the scheduler has no such rule: over
// jobs with little and much memory, even and skewed, the devices up at once or late, it makes as
// many slower as faster. -v prints each.
func TestAdmissionByRateBringsNothing(t *testing.T) {
	jobs := admissionJobs()
	sum := map[sim.Admission]float64{}
	for _, j := range jobs {
		plain, err := sim.Run(j.cfg())
		require.NoError(t, err)
		var out string
		for _, rule := range []sim.Admission{sim.AdmitBySum, sim.AdmitByKind} {
			cfg := j.cfg()
			cfg.Admit = rule
			res, err := sim.Run(cfg)
			require.NoError(t, err)
			change := 100 * (res.Seconds/plain.Seconds - 1)
			sum[rule] += change
			out += fmt.Sprintf("; %s %+.1f %%, %.2f GB", rule, change, float64(res.Physical)/1e9)
		}
		t.Logf("%-50s %7.1f s, %.2f GB%s", j.name, plain.Seconds, float64(plain.Physical)/1e9, out)
	}
	for rule, change := range sum {
		t.Logf("%s: %+.1f %% on average", rule, change/float64(len(jobs)))
		assert.Greater(t, change/float64(len(jobs)), -1.0, "%s would now make jobs faster", rule)
	}
}

func TestDownstreamHasItsRoom(t *testing.T) {
	for infer, most := range map[float64]float64{0.3: 180, 0.5: 220, 1: 270} { // without the rule: 263, 329 and 493 s
		res, err := sim.Run(slowGPU(500e6, infer, false, 0))
		require.NoError(t, err)
		assert.Less(t, res.Seconds, most, "%v s of GPU a block", infer)
		assert.LessOrEqual(t, res.Physical, int64(500e6))
	}
}
