//go:build cuda

package job

import (
	"errors"
	"fmt"

	"github.com/penstock-data/penstock/cuda"
)

// cuda opens the driver library and lists its devices.
func (d Doctor) cuda() (driver Finding, devices []Finding) {
	found, err := cuda.Load(d.Driver)
	switch {
	case errors.Is(err, cuda.ErrNoDriver):
		return noDriver(err), nil
	case err != nil:
		text := packagePrefix.ReplaceAllString(err.Error(), "")
		return Finding{What: "CUDA driver", Status: Missing, Found: text + ": " + cpuOnly, Fix: driverFix}, nil
	}
	driver = Finding{What: "CUDA driver", Status: Fine,
		Found: fmt.Sprintf("%s, for CUDA up to %d.%d", found.Path, found.Version/1000, found.Version%1000/10)}
	if kernel := kernelDriver(); kernel != "" {
		driver.Found += "; " + kernel
	}
	all, err := cuda.Devices()
	if err != nil {
		return driver, noDevices(packagePrefix.ReplaceAllString(err.Error(), ""))
	}
	for _, dev := range all {
		f := Finding{What: "CUDA device", Status: Fine}
		if in, err := dev.Info(); err != nil {
			f.Status, f.Found, f.Fix = Missing, fmt.Sprintf("%d: %s", dev, packagePrefix.ReplaceAllString(err.Error(), "")), "look at nvidia-smi"
		} else {
			f.Found = deviceText(dev, in)
		}
		devices = append(devices, f)
	}
	if len(devices) == 0 {
		devices = noDevices("the driver sees none")
	}
	return driver, devices
}

func deviceText(dev cuda.Device, in cuda.Info) string {
	text := fmt.Sprintf("%d: %s, %s, compute capability %d.%d, %s", dev, in.Name, Size(in.Bytes), in.ComputeMajor, in.ComputeMinor, in.PCI)
	if in.NUMANode >= 0 {
		text += fmt.Sprintf(", NUMA node %d", in.NUMANode)
	}
	return text
}

// noDevices says that there are none to be used, and why.
func noDevices(why string) []Finding {
	return []Finding{{What: "CUDA devices", Status: Missing, Found: why + ": " + cpuOnly,
		Fix: "look at CUDA_VISIBLE_DEVICES; in a container, pass the GPUs through; nothing is needed for the CPU"}}
}
