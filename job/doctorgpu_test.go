package job_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/gpustat"
	"github.com/penstock-data/penstock/job"
)

func TestLoadText(t *testing.T) {
	const none = gpustat.Unknown
	devices := []gpustat.Device{
		{Index: 0, Name: "NVIDIA A", Bytes: 80 << 30, NUMANode: 1, PCIeGen: 5, PCIeWidth: 16},
		{Index: 1, Name: "NVIDIA B", Bytes: 40 << 30, NUMANode: none, PCIeGen: none, PCIeWidth: none},
	}
	samples := []gpustat.Sample{
		{Busy: 0.5, Used: 3 << 30, PCIeGen: 1, PCIeWidth: 8, Watts: 61.4, Processes: make([]gpustat.Process, 2)},
		{Device: 1, Busy: none, Used: none, PCIeGen: none, PCIeWidth: none, Watts: none},
	}
	require.Equal(t, "driver 550.1; 0: NVIDIA A, 50 % busy, 3 GiB of 80 GiB in use, PCIe 5.0 x16 (runs at x8), 61 W, NUMA node 1, 2 processes compute; "+
		"1: NVIDIA B", job.LoadText(gpustat.System{Driver: "550.1"}, devices, samples))
}
