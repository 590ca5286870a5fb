package infer

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// openDevice makes a session on the worker's device, warmed for full batches and for the few
// sizes that the last ones are padded to.
func (p *tensorPlan) openDevice(ctx context.Context, env stage.Env) (DeviceSession, error) {
	s := p.stage
	path, remove, err := s.model.fileFor(s.config.Images)
	if err != nil {
		return nil, err
	}
	cfg := DeviceConfig{Model: path, Inputs: s.inputs.feeds, Outputs: p.wanted(), FixedShapes: s.rows > 0 || s.model.cfg.CUDAGraphs, Env: env}
	for _, in := range p.inputs {
		cfg.InPlace = cfg.InPlace || in.plain
	}
	for _, n := range s.deviceRows() {
		cfg.Warm = append(cfg.Warm, p.deviceRun(n))
	}
	session, err := s.model.openDevice(ctx, s.device, cfg)
	if gone := remove(); gone != nil && err == nil {
		err = errors.Join(gone, session.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("infer: %w", err)
	}
	return session, nil
}

// deviceRows are the numbers of rows that runs have, the largest first.
func (s *tensorStage) deviceRows() []int {
	if s.rows > 0 {
		return []int{s.rows}
	}
	all := []int{s.config.BatchSize}
	for n := 1; n < s.config.BatchSize; n = rung(n + 1) {
		all = append([]int{all[0], n}, all[1:]...)
	}
	return all
}

// deviceTensors is one of the runs that a session on a device has on their way.
type deviceTensors struct {
	plan    *tensorPlan
	session DeviceSession
}

// inPlace: columns lie where the device reads them, if the worker was asked where they should.
func (d *deviceTensors) inPlace() bool { return true }

// rows is one of few: those of a full batch, or the next rung.
func (d *deviceTensors) rows(n int) int {
	switch s := d.plan.stage; {
	case s.rows > 0:
		return s.rows
	case n <= s.config.BatchSize:
		return min(rung(n), s.config.BatchSize)
	}
	return rung(n)
}

func (d *deviceTensors) run(ctx context.Context, r *DeviceRun) error { return d.session.Run(ctx, r) }

func (d *deviceTensors) close() error { return nil } // the session is the worker's

// InputAllocator is the device's memory for columns that it reads as they are.
func (w *tensorWorker) InputAllocator(field int) (memory.Allocator, error) {
	if w.session == nil {
		return nil, nil
	}
	for _, in := range w.plan.inputs {
		if in.at == field && in.plain {
			return w.session.InputMemory(), nil
		}
	}
	return nil, nil
}
