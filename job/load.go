package job

import (
	"errors"

	"github.com/penstock-data/penstock/gpustat"
	"github.com/penstock-data/penstock/pipeline"
)

// watchGPUs samples the job's GPUs, by NVML, until the job has ended, and gives what to ask for
// their load; nil where there are none, or no NVML.
func (e *Env) watchGPUs() func() []pipeline.DeviceLoad {
	if len(e.gpus) == 0 {
		return nil
	}
	m, err := gpustat.Open(gpustat.Config{Library: e.Options.NVML})
	if err != nil {
		if !errors.Is(err, gpustat.ErrUnavailable) {
			e.warn("the load of GPUs is not sampled", err)
		}
		return nil
	}
	recording := m.Record(0)
	e.OnClose(func() error {
		if _, err := recording.Stop(); err != nil {
			e.warn("the load of GPUs was not sampled to the end", err)
		}
		return m.Close()
	})
	places := pciOf(e.gpus)
	return func() []pipeline.DeviceLoad { return loads(e.gpus, places, m.Devices(), recording.Summaries()) }
}

// warn tells of what a job does well without.
func (e *Env) warn(what string, err error) {
	if e.Options.Log != nil {
		e.Options.Log.Warn(what, "cause", err)
	}
}

// loads finds the job's GPUs among those that NVML sees, by their places on the bus: the two number
// them differently. One that NVML has not sampled is left out.
func loads(gpus []int, places []string, devices []gpustat.Device, sums []gpustat.Summary) []pipeline.DeviceLoad {
	var all []pipeline.DeviceLoad
	for i, ordinal := range gpus {
		for k, d := range devices {
			if s := sums[k]; d.PCI != "" && d.PCI == places[i] && s.Samples > 0 {
				all = append(all, pipeline.DeviceLoad{Device: ordinal, Name: d.Name, Samples: s.Samples, Busy: s.Busy,
					MaxUsed: s.MaxUsed, Memory: d.Bytes, Watts: s.Watts, MaxWatts: s.MaxWatts})
			}
		}
	}
	return all
}
