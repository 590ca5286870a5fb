package job

import (
	"errors"
	"fmt"
	"slices"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/stage"
)

// The settings of [Settings].Device.
const (
	onCPU   = "cpu"
	onCUDA  = "cuda"
	onEvery = "auto"
)

// devices finds the GPUs that the job's models run on; none: they run on the CPU. Where the job
// asks for GPUs that are not there, the error says what is missing; where it leaves that open, the
// user is told.
func (e *Env) devices() ([]int, error) {
	s := e.Settings
	want := s.Device
	if want == "" && len(s.GPUs) > 0 {
		want = onCUDA
	}
	if want == "" || want == onCPU {
		if len(s.GPUs) > 0 {
			return nil, fmt.Errorf("job: gpus is %v, but device is cpu: leave one of them out", s.GPUs)
		}
		if s.Provider != "" || s.TensorRTCache != "" || s.CUDAGraphs {
			return nil, errors.New("job: provider, tensorrt_cache and cuda_graphs are of models on GPUs, and models run on the CPU: say device: cuda (or auto), or leave them out")
		}
		return nil, nil
	}
	n, err := infer.Devices(stage.CUDA, e.Options.Library)
	for _, d := range s.GPUs {
		if err == nil && (d < 0 || d >= n) {
			err = fmt.Errorf("there is no GPU %d: there are %d, from 0 on", d, n)
		}
	}
	switch {
	case err == nil && len(s.GPUs) > 0:
		return slices.Clone(s.GPUs), nil
	case err == nil:
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		return all, nil
	case want == onEvery:
		if e.Options.Note != nil {
			e.Options.Note(fmt.Sprintf("models run on the CPU, since no GPU can be used: %v", err))
		}
		return nil, nil
	}
	return nil, fmt.Errorf("job: device is cuda: %w (device: auto goes on with the CPU)", err)
}

// provider puts into cfg how models run on the job's GPUs.
func (e *Env) provider(cfg *infer.Config) error {
	if len(e.gpus) == 0 {
		return nil
	}
	s := &e.Settings
	name := s.Provider
	if name == "" && s.TensorRTCache != "" {
		name = infer.TensorRTProvider.String()
	}
	var err error
	cfg.Provider, err = infer.ParseProvider(name)
	cfg.TensorRTCache, cfg.CUDAGraphs = s.TensorRTCache, s.CUDAGraphs
	return err
}

// places is how many actors each device has, over all stages of the job whose models run there.
func (j *Job) places(e *Env) int {
	n := 0
	j.eachBranch(func(_ string, b Branch) {
		for _, s := range b.Stages {
			with := inferenceOf(s.Step)
			if with == nil {
				continue
			}
			actors, _ := with.inference().pool(e)
			n += max((actors+len(e.gpus)-1)/len(e.gpus), 1)
		}
	})
	return n
}

// share is the part of a GPU that each actor takes; 0: all of one.
func (e *Env) share() float64 {
	if e.places <= 1 {
		return 0
	}
	return 1 / float64(e.places)
}
