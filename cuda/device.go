//go:build cuda

package cuda

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"gorgonia.org/cu"
)

// Device is a GPU, by its number: what CUDA_VISIBLE_DEVICES leaves, in its order.
type Device int

// Devices lists the GPUs; none, without an error, where there is no driver.
func Devices() ([]Device, error) {
	n, err := cu.NumDevices()
	if err != nil {
		return nil, failed("cuDeviceGetCount", err)
	}
	all := make([]Device, n)
	for i := range all {
		d, err := cu.GetDevice(i)
		if err != nil {
			return nil, failed("cuDeviceGet", err)
		}
		all[i] = Device(d)
	}
	return all, nil
}

// Info is what a device is.
type Info struct {
	Name            string
	UUID            string // as NVML writes it, "GPU-…"; empty where the driver doesn't say
	PCI             string // "0000:65:00.0": its name below /sys/bus/pci/devices
	ComputeMajor    int    // compute capability
	ComputeMinor    int
	Bytes           int64 // memory
	Multiprocessors int
	CopyEngines     int  // copies that go on at once, beside kernels
	Integrated      bool // shares the host's memory
	NUMANode        int  // the host's node next to it; -1: not known, or the host has one
}

// hostNUMA is CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID, which cu doesn't know.
const hostNUMA cu.DeviceAttribute = 134

// Info asks the driver about a device.
func (d Device) Info() (Info, error) {
	dev, in := cu.Device(d), Info{}
	var err error
	if in.Name, err = dev.Name(); err != nil {
		return Info{}, failed("cuDeviceGetName", err)
	}
	if in.Bytes, err = dev.TotalMem(); err != nil {
		return Info{}, failed("cuDeviceTotalMem", err)
	}
	var domain, bus, slot, integrated int
	for _, a := range []struct {
		to *int
		id cu.DeviceAttribute
	}{
		{&in.ComputeMajor, cu.ComputeCapabilityMajor}, {&in.ComputeMinor, cu.ComputeCapabilityMinor},
		{&in.Multiprocessors, cu.MultiprocessorCount}, {&in.CopyEngines, cu.AsyncEngineCount}, {&integrated, cu.Integrated},
		{&domain, cu.PciDomainID}, {&bus, cu.PciBusID}, {&slot, cu.PciDeviceID},
	} {
		if *a.to, err = dev.Attribute(a.id); err != nil {
			return Info{}, failed("cuDeviceGetAttribute", err)
		}
	}
	in.PCI = fmt.Sprintf("%04x:%02x:%02x.0", domain, bus, slot)
	in.Integrated = integrated != 0
	if id, err := dev.UUID(); err == nil {
		in.UUID = "GPU-" + id.String()
	}
	in.NUMANode = -1
	if node, err := dev.Attribute(hostNUMA); err == nil && node >= 0 {
		in.NUMANode = node // drivers since CUDA 12.2
	} else {
		in.NUMANode = nodeOf("/sys/bus/pci/devices", in.PCI)
	}
	return in, nil
}

// nodeOf reads a PCI device's NUMA node from the kernel's tree; -1 where it doesn't say.
func nodeOf(tree, pci string) int {
	raw, err := os.ReadFile(filepath.Join(tree, pci, "numa_node"))
	if err != nil {
		return -1
	}
	node, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || node < 0 {
		return -1
	}
	return node
}
