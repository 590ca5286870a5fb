package gpustat_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/gpustat"
)

// machine is a fake DGX A100 whose devices answer everything.
func machine() *server.Server {
	s := dgxa100.New()
	for i, d := range s.Devices {
		answer(d.(*server.Device), i)
	}
	return s
}

func answer(d *server.Device, i int) {
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) {
		return nvml.Utilization{Gpu: uint32(10 * i), Memory: 5}, nvml.SUCCESS
	}
	d.GetPcieThroughputFunc = func(c nvml.PcieUtilCounter) (uint32, nvml.Return) {
		if c == nvml.PCIE_UTIL_RX_BYTES {
			return 2_000_000, nvml.SUCCESS
		}
		return 1_000, nvml.SUCCESS
	}
	d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) {
		return nvml.Memory{Total: 40 << 30, Used: 3 << 30, Free: 37 << 30}, nvml.SUCCESS
	}
	d.GetMaxPcieLinkGenerationFunc = func() (int, nvml.Return) { return 4, nvml.SUCCESS }
	d.GetMaxPcieLinkWidthFunc = func() (int, nvml.Return) { return 16, nvml.SUCCESS }
	d.GetCurrPcieLinkGenerationFunc = func() (int, nvml.Return) { return 1, nvml.SUCCESS }
	d.GetCurrPcieLinkWidthFunc = func() (int, nvml.Return) { return 8, nvml.SUCCESS }
	d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 61_500, nvml.SUCCESS }
	d.GetClockInfoFunc = func(c nvml.ClockType) (uint32, nvml.Return) {
		return map[nvml.ClockType]uint32{nvml.CLOCK_SM: 1410}[c], nvml.SUCCESS
	}
	d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 44, nvml.SUCCESS }
	d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return []nvml.ProcessInfo{{Pid: 17, UsedGpuMemory: 1 << 30}, {Pid: 18, UsedGpuMemory: ^uint64(0)}}, nvml.SUCCESS
	}
}

func open(t *testing.T, lib nvml.Interface) *gpustat.Monitor {
	t.Helper()
	m, err := gpustat.OpenWith(lib, "libnvidia-ml.so.1")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func TestDevices(t *testing.T) {
	m := open(t, machine())
	require.Equal(t, gpustat.System{Driver: "550.54.15", CUDA: 12040}, m.System())
	devices := m.Devices()
	require.Len(t, devices, 8)
	for i, d := range devices {
		require.Contains(t, d.Name, "A100")
		require.Regexp(t, "^GPU-", d.UUID)
		require.Equal(t, gpustat.Device{Index: i, Name: d.Name, UUID: d.UUID, PCI: d.PCI, Bytes: 40 << 30, NUMANode: gpustat.Unknown,
			PCIeGen: 4, PCIeWidth: 16}, d)
	}
	require.NotEqual(t, devices[0].UUID, devices[1].UUID)
}

func TestSample(t *testing.T) {
	all, err := open(t, machine()).Sample()
	require.NoError(t, err)
	require.Len(t, all, 8)
	got := all[3]
	require.False(t, got.Time.IsZero())
	got.Time = time.Time{}
	require.Equal(t, gpustat.Sample{Device: 3, Busy: 0.3, MemoryBusy: 0.05, Used: 3 << 30, Received: 2_000_000_000, Sent: 1_000_000, PCIeGen: 1,
		PCIeWidth: 8, Watts: 61.5, Clock: 1410, Celsius: 44, Processes: []gpustat.Process{{PID: 17, Bytes: 1 << 30}, {PID: 18, Bytes: gpustat.Unknown}}}, got)
}

// What a device does not tell is Unknown; what it fails to tell is an error.
func TestUnknown(t *testing.T) {
	const none = gpustat.Unknown
	s := machine()
	d := s.Devices[1].(*server.Device)
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{}, nvml.ERROR_NOT_SUPPORTED }
	d.GetPcieThroughputFunc = func(nvml.PcieUtilCounter) (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
	d.GetCurrPcieLinkGenerationFunc = func() (int, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
	d.GetCurrPcieLinkWidthFunc = func() (int, nvml.Return) { return 0, nvml.ERROR_NO_DATA }
	d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 0, nvml.ERROR_NO_PERMISSION }
	d.GetClockInfoFunc = func(nvml.ClockType) (uint32, nvml.Return) { return 0, nvml.ERROR_FUNCTION_NOT_FOUND }
	d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
	d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) { return nil, nvml.ERROR_NOT_SUPPORTED }
	m := open(t, s)
	all, err := m.Sample()
	require.NoError(t, err)
	require.Equal(t, gpustat.Sample{Device: 1, Time: all[1].Time, Busy: none, MemoryBusy: none, Used: 3 << 30, Received: none, Sent: none,
		PCIeGen: none, PCIeWidth: none, Watts: none, Clock: none, Celsius: none}, all[1])

	d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_GPU_IS_LOST }
	_, err = m.Sample()
	require.ErrorIs(t, err, nvml.ERROR_GPU_IS_LOST)
	require.ErrorContains(t, err, "nvmlDeviceGetMemoryInfo of device 1")
}

func TestUnavailable(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "libnvidia-ml.so.1")
	_, err := gpustat.Open(gpustat.Config{Library: missing})
	require.ErrorIs(t, err, gpustat.ErrUnavailable)
	require.ErrorContains(t, err, "looked for "+missing)

	s := machine()
	s.InitFunc = func() nvml.Return { return nvml.ERROR_DRIVER_NOT_LOADED }
	_, err = gpustat.OpenWith(s, "somewhere")
	require.ErrorIs(t, err, gpustat.ErrUnavailable)
	require.ErrorIs(t, err, nvml.ERROR_DRIVER_NOT_LOADED)
	require.ErrorContains(t, err, "somewhere")
}

// NVML is given back when looking at the devices fails.
func TestOpenFails(t *testing.T) {
	for _, call := range []string{"nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex(0)", "nvmlDeviceGetName of device 7", "nvmlDeviceGetUUID of device 7",
		"nvmlDeviceGetMemoryInfo of device 7"} {
		s, closed := machine(), 0
		s.ShutdownFunc = func() nvml.Return { closed++; return nvml.SUCCESS }
		last := s.Devices[7].(*server.Device)
		switch call {
		case "nvmlDeviceGetCount":
			s.DeviceGetCountFunc = func() (int, nvml.Return) { return 0, nvml.ERROR_UNKNOWN }
		case "nvmlDeviceGetHandleByIndex(0)":
			s.DeviceGetHandleByIndexFunc = func(int) (nvml.Device, nvml.Return) { return nil, nvml.ERROR_UNKNOWN }
		case "nvmlDeviceGetName of device 7":
			last.GetNameFunc = func() (string, nvml.Return) { return "", nvml.ERROR_UNKNOWN }
		case "nvmlDeviceGetUUID of device 7":
			last.GetUUIDFunc = func() (string, nvml.Return) { return "", nvml.ERROR_UNKNOWN }
		default:
			last.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_UNKNOWN }
		}
		_, err := gpustat.OpenWith(s, "x")
		require.ErrorContains(t, err, call)
		require.ErrorIs(t, err, nvml.ERROR_UNKNOWN)
		require.False(t, errors.Is(err, gpustat.ErrUnavailable))
		require.Equal(t, 1, closed, call)
	}
}

func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := machine()
		n := 0
		d := s.Devices[0].(*server.Device)
		d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) {
			n++
			if n == 2 {
				return nvml.Utilization{}, nvml.ERROR_NO_DATA
			}
			return nvml.Utilization{Gpu: uint32(20 * n)}, nvml.SUCCESS
		}
		d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return uint32(100_000 * n), nvml.SUCCESS }
		d.GetPcieThroughputFunc = func(nvml.PcieUtilCounter) (uint32, nvml.Return) { return 0, nvml.ERROR_NOT_SUPPORTED }
		m := open(t, s)
		r := m.Record(time.Second)
		synctest.Wait() // the first sample is taken at once
		for range 2 {
			<-time.After(time.Second)
			synctest.Wait()
		}
		running := r.Summaries()
		sums, err := r.Stop()
		require.NoError(t, err)
		require.Equal(t, running, sums)
		require.Len(t, sums, 8)
		require.InDelta(t, 0.4, sums[0].Busy, 1e-9, "of 0.2 and 0.6")
		sums[0].Busy = 0
		require.Equal(t, gpustat.Summary{Device: 0, Samples: 3, MaxUsed: 3 << 30, Received: gpustat.Unknown, Sent: gpustat.Unknown, Watts: 200, MaxWatts: 300}, sums[0])
		require.Equal(t, int64(2_000_000_000), sums[7].Received)
		again, err := r.Stop()
		require.NoError(t, err)
		require.Equal(t, running, again)
	})
}

// A device that fails ends the recording; Stop tells.
func TestRecordFails(t *testing.T) {
	s := machine()
	s.Devices[2].(*server.Device).GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 0, nvml.ERROR_GPU_IS_LOST }
	sums, err := open(t, s).Record(0).Stop()
	require.ErrorIs(t, err, nvml.ERROR_GPU_IS_LOST)
	require.Len(t, sums, 8)
	require.Equal(t, gpustat.Summary{Device: 2, Busy: -1, MaxUsed: -1, Received: -1, Sent: -1, Watts: -1, MaxWatts: -1}, sums[2])
}

func TestNUMANode(t *testing.T) {
	tree := t.TempDir()
	for pci, text := range map[string]string{"0000:01:00.0": "1\n", "0000:02:00.0": "-1\n", "0000:03:00.0": "?"} {
		require.NoError(t, os.MkdirAll(filepath.Join(tree, pci), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(tree, pci, "numa_node"), []byte(text), 0o644))
	}
	for pci, want := range map[string]int{"0000:01:00.0": 1, "0000:02:00.0": -1, "0000:03:00.0": -1, "0000:04:00.0": -1, "": -1} {
		require.Equal(t, want, gpustat.NodeOf(tree, pci), pci)
	}
}
