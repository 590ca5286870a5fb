package gpustat

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// ErrUnavailable says that NVML is not there, or that it finds no driver.
var ErrUnavailable = errors.New("gpustat: no NVML")

// Unknown stands where a device, or its driver, does not tell a number.
const Unknown = -1

const usualLibrary = "libnvidia-ml.so.1"

// Config says where NVML is. The zero value works.
type Config struct {
	Library string // a path; empty: libnvidia-ml.so.1, where the loader finds it
}

// Monitor asks NVML. Its methods may be called from several goroutines.
type Monitor struct {
	lib     nvml.Interface
	handles []nvml.Device
	devices []Device
	system  System
}

// System is what there is of the driver.
type System struct {
	Driver string // "550.54.15"
	CUDA   int    // the newest CUDA that it runs: 12040 is 12.4
}

// Device is a GPU. NVML numbers GPUs by their place on the bus, and does not see
// CUDA_VISIBLE_DEVICES: compare UUID or PCI with those of package cuda.
type Device struct {
	Index     int
	Name      string
	UUID      string // "GPU-…"
	PCI       string // "0000:65:00.0": its name below /sys/bus/pci/devices; empty: not known
	Bytes     int64  // memory
	NUMANode  int    // the host's node next to it, or Unknown
	PCIeGen   int    // the most that device and slot can do, or Unknown
	PCIeWidth int    // lanes, likewise
}

// Open loads NVML and lists the devices. The error is ErrUnavailable where NVML is missing or
// finds no driver, with what was looked for. The caller closes the monitor.
func Open(cfg Config) (*Monitor, error) {
	path := cfg.Library
	if path == "" {
		path = usualLibrary
	}
	return open(nvml.New(nvml.WithLibraryPath(path)), path)
}

func open(lib nvml.Interface, path string) (*Monitor, error) {
	switch ret := lib.Init(); ret {
	case nvml.SUCCESS:
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return nil, fmt.Errorf("%w: looked for %s", ErrUnavailable, path)
	default:
		return nil, fmt.Errorf("%w: %s is there, and says %w", ErrUnavailable, path, failed("nvmlInit", ret))
	}
	m := &Monitor{lib: lib}
	if err := m.look(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Close gives NVML back.
func (m *Monitor) Close() error { return failed("nvmlShutdown", m.lib.Shutdown()) }

// System says which driver runs.
func (m *Monitor) System() System { return m.system }

// Devices lists the GPUs of this machine, or of this container.
func (m *Monitor) Devices() []Device { return append([]Device(nil), m.devices...) }

func (m *Monitor) look() error {
	n, ret := m.lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return failed("nvmlDeviceGetCount", ret)
	}
	m.system.CUDA = Unknown
	if name, ret := m.lib.SystemGetDriverVersion(); ret == nvml.SUCCESS {
		m.system.Driver = name
	}
	if v, ret := m.lib.SystemGetCudaDriverVersion(); ret == nvml.SUCCESS {
		m.system.CUDA = v
	}
	for i := range n {
		h, ret := m.lib.DeviceGetHandleByIndex(i)
		if ret != nvml.SUCCESS {
			return failed(fmt.Sprintf("nvmlDeviceGetHandleByIndex(%d)", i), ret)
		}
		d, err := describe(i, h)
		if err != nil {
			return err
		}
		m.handles, m.devices = append(m.handles, h), append(m.devices, d)
	}
	return nil
}

func describe(i int, h nvml.Device) (Device, error) {
	d := Device{Index: i, PCIeGen: Unknown, PCIeWidth: Unknown}
	var ret nvml.Return
	if d.Name, ret = h.GetName(); ret != nvml.SUCCESS {
		return d, failed(fmt.Sprintf("nvmlDeviceGetName of device %d", i), ret)
	}
	if d.UUID, ret = h.GetUUID(); ret != nvml.SUCCESS {
		return d, failed(fmt.Sprintf("nvmlDeviceGetUUID of device %d", i), ret)
	}
	memory, ret := h.GetMemoryInfo()
	if ret != nvml.SUCCESS {
		return d, failed(fmt.Sprintf("nvmlDeviceGetMemoryInfo of device %d", i), ret)
	}
	d.Bytes = int64(memory.Total)
	if info, ret := h.GetPciInfo(); ret == nvml.SUCCESS {
		d.PCI = fmt.Sprintf("%04x:%02x:%02x.0", info.Domain, info.Bus, info.Device)
	}
	d.NUMANode = nodeOf("/sys/bus/pci/devices", d.PCI)
	if v, ret := h.GetMaxPcieLinkGeneration(); ret == nvml.SUCCESS {
		d.PCIeGen = v
	}
	if v, ret := h.GetMaxPcieLinkWidth(); ret == nvml.SUCCESS {
		d.PCIeWidth = v
	}
	return d, nil
}

// nodeOf reads a PCI device's NUMA node from the kernel's tree.
func nodeOf(tree, pci string) int {
	if pci == "" {
		return Unknown
	}
	raw, err := os.ReadFile(filepath.Join(tree, pci, "numa_node"))
	if err != nil {
		return Unknown
	}
	node, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || node < 0 {
		return Unknown
	}
	return node
}

// Sample is what a device does at a moment. Numbers that it does not tell are Unknown.
type Sample struct {
	Device     int // index
	Time       time.Time
	Busy       float64 // share of NVML's last period in which kernels ran, 0 to 1
	MemoryBusy float64 // share of it in which device memory was read or written, 0 to 1
	Used       int64   // bytes of memory, of all processes and of the driver
	Received   int64   // bytes a second over PCIe, host to device
	Sent       int64   // bytes a second over PCIe, device to host
	PCIeGen    int     // what the link runs at now: idle devices lower it
	PCIeWidth  int     // lanes
	Watts      float64
	Clock      int // MHz of the multiprocessors
	Celsius    int
	Processes  []Process // that compute; nil where the driver, or a container, does not tell
}

// Process is a process that computes on a device.
type Process struct {
	PID   int
	Bytes int64 // of device memory, or Unknown
}

// Sample asks every device. PCIe traffic is counted while it waits: 40 ms a device.
func (m *Monitor) Sample() ([]Sample, error) {
	all := make([]Sample, len(m.handles))
	for i, h := range m.handles {
		s, err := sample(i, h)
		if err != nil {
			return nil, err
		}
		all[i] = s
	}
	return all, nil
}

func sample(i int, h nvml.Device) (Sample, error) {
	s := Sample{Device: i, Time: time.Now()}
	a := asker{device: i}
	if v, ret := h.GetUtilizationRates(); a.told("nvmlDeviceGetUtilizationRates", ret) {
		s.Busy, s.MemoryBusy = float64(v.Gpu)/100, float64(v.Memory)/100
	} else {
		s.Busy, s.MemoryBusy = Unknown, Unknown
	}
	s.Used = Unknown
	if v, ret := h.GetMemoryInfo(); a.told("nvmlDeviceGetMemoryInfo", ret) {
		s.Used = int64(v.Used)
	}
	s.Received, s.Sent = Unknown, Unknown
	const kilobyte = 1000 // NVML says KB/s, and counts packets' bytes over 20 ms
	if v, ret := h.GetPcieThroughput(nvml.PCIE_UTIL_RX_BYTES); a.told("nvmlDeviceGetPcieThroughput", ret) {
		s.Received = int64(v) * kilobyte
	}
	if v, ret := h.GetPcieThroughput(nvml.PCIE_UTIL_TX_BYTES); a.told("nvmlDeviceGetPcieThroughput", ret) {
		s.Sent = int64(v) * kilobyte
	}
	s.PCIeGen, s.PCIeWidth, s.Clock, s.Celsius, s.Watts = Unknown, Unknown, Unknown, Unknown, Unknown
	if v, ret := h.GetCurrPcieLinkGeneration(); a.told("nvmlDeviceGetCurrPcieLinkGeneration", ret) {
		s.PCIeGen = v
	}
	if v, ret := h.GetCurrPcieLinkWidth(); a.told("nvmlDeviceGetCurrPcieLinkWidth", ret) {
		s.PCIeWidth = v
	}
	if v, ret := h.GetPowerUsage(); a.told("nvmlDeviceGetPowerUsage", ret) {
		s.Watts = float64(v) / 1000
	}
	if v, ret := h.GetClockInfo(nvml.CLOCK_SM); a.told("nvmlDeviceGetClockInfo", ret) {
		s.Clock = int(v)
	}
	if v, ret := h.GetTemperature(nvml.TEMPERATURE_GPU); a.told("nvmlDeviceGetTemperature", ret) {
		s.Celsius = int(v)
	}
	if list, ret := h.GetComputeRunningProcesses(); a.told("nvmlDeviceGetComputeRunningProcesses", ret) {
		s.Processes = processes(list)
	}
	return s, a.err
}

func processes(list []nvml.ProcessInfo) []Process {
	out := make([]Process, len(list))
	for i, p := range list {
		out[i] = Process{PID: int(p.Pid), Bytes: Unknown}
		if int64(p.UsedGpuMemory) >= 0 { // all bits set: not available
			out[i].Bytes = int64(p.UsedGpuMemory)
		}
	}
	return out
}

// asker tells answers, and questions that a device does not take, from failures.
type asker struct {
	device int
	err    error // the first
}

func (a *asker) told(call string, ret nvml.Return) bool {
	switch ret {
	case nvml.SUCCESS:
		return true
	case nvml.ERROR_NOT_SUPPORTED, nvml.ERROR_NO_PERMISSION, nvml.ERROR_NO_DATA, nvml.ERROR_FUNCTION_NOT_FOUND:
		return false
	}
	if a.err == nil {
		a.err = failed(fmt.Sprintf("%s of device %d", call, a.device), ret)
	}
	return false
}

// failed makes an error of NVML's code, and nil of success: as an error value, a Return is never nil.
func failed(call string, ret nvml.Return) error {
	if ret == nvml.SUCCESS {
		return nil
	}
	return fmt.Errorf("gpustat: %s: %w", call, ret)
}
