package sim

import (
	"math/rand/v2"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
)

// loseDevice takes a device away. What runs on it comes back at its next step, or ends there, if
// its result had landed before; workers that are being opened on it come up or fail.
func (m *simulation) loseDevice(device int) {
	m.lost[device] = true
	m.push(sched.Event{Kind: sched.DeviceLost, Device: device})
}

// onLost says that a worker is on a device that is lost.
func (m *simulation) onLost(i, worker int) bool {
	device, ok := m.ops[i].device[worker]
	return ok && m.lost[device]
}

// comesBack says that a task can do no more, since its worker's device is lost. Handing in the
// parts of a set is no work of the device.
func (m *simulation) comesBack(i int, t *simTask) bool {
	return m.onLost(i, t.worker) && !t.last && (t.ID+int64(t.at))%4 != 0
}

// giveBack has a task stand in line again with what it has not yielded.
func (m *simulation) giveBack(i int, t *simTask) {
	m.res.Returned++
	t.started, t.service = false, 0
	m.push(sched.Event{Kind: sched.Returned, Op: i, Task: t.ID, Bytes: t.Bytes})
}

// end stops the job: there is no device left for one of its operators.
func (m *simulation) end() {
	m.res.Ended = true
	for i := range m.ops {
		m.stop(i)
	}
}

// WithLostDevices makes pools on devices, which they fill as far as they can, of some operators of
// a random job, slow enough to be at work when it loses devices: some of them, or all.
func WithLostDevices(cfg Config, seed uint64) Config {
	rng := rand.New(rand.NewPCG(seed, 29))
	cfg.Tick = 0.1 + rng.Float64()
	cfg.GPUs = 2 + rng.IntN(3)
	left := cfg.GPUs // devices that no pool is on
	for i := range cfg.Ops {
		o := &cfg.Ops[i]
		if left == 0 || rng.IntN(3) == 0 {
			continue
		}
		whole := 1 + rng.IntN(left)
		left -= whole
		each := 1 + rng.IntN(3)
		o.GPU = []float64{1, 0.5, 1.0 / 3}[each-1]
		o.Workers = whole*each - rng.IntN(each)
		o.Max = o.Workers + rng.IntN(4)
		o.Open = func(w int) float64 { return 0.1 * float64(w) }
		o.Work = slowly(o.Work)
	}
	for _, device := range rng.Perm(cfg.GPUs)[:1+rng.IntN(cfg.GPUs)] {
		cfg.Faults = append(cfg.Faults, Fault{At: 8 * rng.Float64(), Kind: sched.DeviceLost, Device: device})
	}
	return cfg
}

func slowly(work func(Task) []Yield) func(Task) []Yield {
	return func(t Task) []Yield {
		out := work(t)
		for k := range out {
			out[k].Seconds *= 5
		}
		return out
	}
}
