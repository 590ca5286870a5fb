package job_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/gpustat"
	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/pipeline"
)

// TestLoadsAreOfTheJobsGPUs: CUDA's ordinals are not NVML's numbers.
func TestLoadsAreOfTheJobsGPUs(t *testing.T) {
	devices := []gpustat.Device{{Name: "A", PCI: "0000:01:00.0", Bytes: 10}, {Name: "B", PCI: "0000:02:00.0", Bytes: 20}, {Name: "C"}, {Name: "D", PCI: "0000:04:00.0"}}
	sums := []gpustat.Summary{{Samples: 2, Busy: 0.5, MaxUsed: 7, Watts: 60, MaxWatts: 70}, {Samples: 2, Busy: gpustat.Unknown, MaxUsed: 3, Watts: gpustat.Unknown,
		MaxWatts: gpustat.Unknown}, {Samples: 2}, {}}
	got := job.Loads([]int{0, 1, 4, 5}, []string{"0000:02:00.0", "0000:01:00.0", "", "0000:04:00.0"}, devices, sums)
	require.Equal(t, []pipeline.DeviceLoad{
		{Device: 0, Name: "B", Samples: 2, Busy: -1, MaxUsed: 3, Memory: 20, Watts: -1, MaxWatts: -1},
		{Device: 1, Name: "A", Samples: 2, Busy: 0.5, MaxUsed: 7, Memory: 10, Watts: 60, MaxWatts: 70},
	}, got)
}
