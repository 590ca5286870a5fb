package infer

import (
	"context"
	"fmt"

	"github.com/penstock-data/penstock/stage"
)

// deviceSlots is how many runs a worker on a device has on their way: one that is copied in, one
// that computes, one that is copied out.
const deviceSlots = 3

// share is the part of a device that a worker takes.
func (c Config) share() float64 {
	if c.DeviceShare <= 0 {
		return 1
	}
	return c.DeviceShare
}

// openDevice makes a session on the device of cfg.Env. cfg says what of the model is run there.
func (m *Model) openDevice(ctx context.Context, kind stage.DeviceKind, cfg DeviceConfig) (DeviceSession, error) {
	b, err := backendOf(kind)
	if err != nil {
		return nil, err
	}
	cfg.Library, cfg.Device, cfg.Share = m.cfg.Library, cfg.Env.Device, m.cfg.share()
	cfg.Slots, cfg.Provider, cfg.TensorRTCache, cfg.CUDAGraphs = deviceSlots, m.cfg.Provider, m.cfg.TensorRTCache, m.cfg.CUDAGraphs
	return b.Open(ctx, cfg)
}

// openDevice makes a session for the task on the worker's device.
func (t *textTask) openDevice(ctx context.Context, kind stage.DeviceKind, env stage.Env) (DeviceSession, error) {
	ports := t.spec.ports()
	cfg := DeviceConfig{Model: t.file, Inputs: ports.inputs, Outputs: ports.outputs, FixedShapes: t.spec.batch > 0 && t.spec.tokens > 0, Env: env}
	for _, s := range t.deviceShapes() {
		cfg.Warm = append(cfg.Warm, t.deviceRun(s[0], s[1]))
	}
	session, err := t.model.openDevice(ctx, kind, cfg)
	if err != nil {
		return nil, fmt.Errorf("infer: %s: %w", t.name, err)
	}
	return session, nil
}

// deviceRun is a run of this shape, without its data.
func (t *textTask) deviceRun(n, length int) DeviceRun {
	r := DeviceRun{Splittable: t.spec.batch == 0}
	for range t.spec.inputs {
		r.Inputs = append(r.Inputs, DeviceTensor{Shape: []int64{int64(n), int64(length)}})
	}
	for _, out := range t.spec.results() {
		r.Outputs = append(r.Outputs, DeviceTensor{Shape: out.shape(n, length)})
	}
	return r
}

// deviceShapes are the shapes that a device is warmed for, the largest first: for each length as
// many rows as a run has.
func (t *textTask) deviceShapes() [][2]int {
	budget, most := t.model.cfg.runTokens(stage.CUDA), t.model.maxTokens()
	if most <= 0 {
		most = 512
	}
	if t.spec.tokens > 0 {
		n, length := t.spec.fixed(max(budget/t.spec.tokens, 1), t.spec.tokens)
		return [][2]int{{n, length}}
	}
	var all [][2]int
	for length := 8; ; length = rung(length + 1) {
		length = min(length, most)
		rows := max(budget/length, 1)
		if n := t.maxRows(stage.CUDA); n > 0 {
			rows = min(rows, n*max(t.per, 1))
		}
		n, l := t.spec.fixed(rung(rows), length)
		all = append([][2]int{{n, l}}, all...)
		if length == most {
			return all
		}
	}
}

// maxRows is how many rows a batch has at most; 0: as many as its tokens allow. TensorRT takes memory
// for runs of the longest texts in the largest number, which never come together: with rows bounded
// that is little more than a run takes.
func (t *textTask) maxRows(on stage.DeviceKind) int {
	const tokens = 128 // of a text, from which on runs are as large as they may be
	if cfg := &t.model.cfg; t.batch == 0 && on != stage.CPU && cfg.Provider == TensorRTProvider {
		return max(cfg.runTokens(on)/tokens/max(t.per, 1), 1)
	}
	return t.batch
}

// rung rounds up to a power of two or one and a half of it: to the few sizes that a device sees.
func rung(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	if half := p / 4 * 3; half >= n && p >= 4 {
		return half
	}
	return p
}

// deviceRunner is one of the runs that a session on a device has on their way.
type deviceRunner struct {
	task    *textTask
	session DeviceSession
}

func deviceRunners(t *textTask, session DeviceSession) []runner {
	all := make([]runner, session.Slots())
	for i := range all {
		all[i] = &deviceRunner{task: t, session: session}
	}
	return all
}

// shape is one of few: the next rung of both sides, and no more tokens than the model takes.
func (d *deviceRunner) shape(n, length int) (int, int) {
	wide := rung(max(length, 8))
	if most := d.task.model.maxTokens(); most > 0 {
		wide = max(min(wide, most), length)
	}
	return d.task.spec.fixed(rung(n), wide)
}

func (d *deviceRunner) run(ctx context.Context, n, length int, real float64, fill func(i int, to []byte), take func(k int, out []byte)) error {
	r := d.task.deviceRun(n, length)
	r.Real, r.Fill = real, fill
	r.Take = func(k int, from []byte, _ []int64) error {
		take(k, from)
		return nil
	}
	if err := d.session.Run(ctx, &r); err != nil {
		return fmt.Errorf("infer: run of %d rows by %d tokens: %w", n, length, err)
	}
	return nil
}

func (d *deviceRunner) close() error { return nil } // the session is the worker's
