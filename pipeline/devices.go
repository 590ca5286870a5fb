package pipeline

import (
	"fmt"

	"github.com/penstock-data/penstock/pipeline/internal/sched"
	"github.com/penstock-data/penstock/stage"
)

// placement is where tasks are told that they will run.
func (c Config) placement() stage.Placement {
	if len(c.GPUs) == 0 {
		return stage.Placement{}
	}
	return stage.Placement{Device: stage.CUDA, Index: c.GPUs[0]}
}

// checkDevices makes sure that the fewest workers of all stages that want shares of devices can
// be open at once.
func (p *plan) checkDevices(gpus []int) error {
	cfg := sched.Config{GPUs: len(gpus)}
	p.root.eachStep(func(s *step) {
		if s.bound != nil && s.bound.Need.GPU != 0 {
			need := s.bound.Need
			cfg.Ops = append(cfg.Ops, sched.Op{Name: s.name, GPU: need.GPU, Workers: need.Workers.Min, Max: max(need.Workers.Max, need.Workers.Min, 1)})
		}
	})
	switch err := cfg.Check(); {
	case err == nil:
		return nil
	case len(gpus) == 0:
		return fmt.Errorf("pipeline: %w (Config.GPUs names the devices of a job)", err)
	default:
		return fmt.Errorf("pipeline: %w: have fewer actors or smaller shares, or name more devices in Config.GPUs", err)
	}
}

// eachStep calls f for the step of every node, inputs first.
func (n *planNode) eachStep(f func(*step)) {
	for _, in := range n.in {
		in.eachStep(f)
	}
	if n.step != nil {
		f(n.step)
	}
}
