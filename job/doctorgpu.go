package job

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-data/penstock/gpustat"
	"github.com/penstock-data/penstock/infer"
)

// What is missing for GPUs, and which packages hold it.
const (
	cpuOnly   = "models run on the CPU"
	driverFix = "for a GPU, install NVIDIA's driver (Debian and Ubuntu: nvidia-driver-NNN, whose libcuda.so.1 and libnvidia-ml.so.1 are in " +
		"libnvidia-compute-NNN); in a container, pass the GPUs through (NVIDIA's container toolkit: --gpus all); nothing is needed for the CPU"
	nvmlFix     = "it comes with NVIDIA's driver; jobs run without it"
	providerFix = "for a GPU, `make gpu-libs` gets onnxruntime-gpu, CUDA's libraries and cuDNN (pip's names) into build/gpu/lib: give that with --ort-lib and LD_LIBRARY_PATH; nothing is needed for the CPU"
)

// gpus looks at all that a job on a GPU needs.
func (d Doctor) gpus() []Finding {
	driver, devices := d.cuda()
	return append([]Finding{driver}, append(devices, d.load(), d.provider())...)
}

// kernelDriver is the version of the driver in the kernel, or nothing. In a container it may be
// there without the library that goes with it.
func kernelDriver() string {
	raw, err := os.ReadFile("/proc/driver/nvidia/version")
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	return strings.TrimSpace(strings.TrimPrefix(line, "NVRM version:"))
}

// noDriver says why there is no driver library, as err does.
func noDriver(err error) Finding {
	found := packagePrefix.ReplaceAllString(err.Error(), "")
	if kernel := kernelDriver(); kernel != "" {
		found += "; the kernel has the driver (" + kernel + ")"
	}
	if nodes, _ := filepath.Glob("/dev/nvidia[0-9]*"); len(nodes) > 0 { // the pattern is well formed
		found += "; there are " + strings.Join(nodes, ", ")
	}
	return Finding{What: "CUDA driver", Status: Missing, Found: found + ": " + cpuOnly, Fix: driverFix}
}

// load says what the GPUs do at this moment, by NVML.
func (d Doctor) load() Finding {
	f := Finding{What: "GPU load", Status: Missing}
	m, err := gpustat.Open(gpustat.Config{Library: d.NVML})
	if err == nil {
		var samples []gpustat.Sample
		samples, err = m.Sample()
		if err == nil && len(samples) > 0 {
			f.Status, f.Found = Fine, loadText(m.System(), m.Devices(), samples)
		}
		err = errors.Join(err, m.Close())
	}
	switch {
	case err != nil:
		f.Status, f.Found, f.Fix = Missing, packagePrefix.ReplaceAllString(err.Error(), ""), nvmlFix
	case f.Found == "":
		f.Found, f.Fix = "NVML sees no GPU", nvmlFix
	}
	return f
}

func loadText(system gpustat.System, devices []gpustat.Device, samples []gpustat.Sample) string {
	lines := []string{"driver " + system.Driver}
	for i, s := range samples {
		dev := devices[i]
		line := fmt.Sprintf("%d: %s", dev.Index, dev.Name)
		if s.Busy >= 0 {
			line += fmt.Sprintf(", %.0f %% busy", s.Busy*100)
		}
		if s.Used >= 0 {
			line += fmt.Sprintf(", %s of %s in use", Size(s.Used), Size(dev.Bytes))
		}
		if dev.PCIeGen > 0 && dev.PCIeWidth > 0 {
			line += fmt.Sprintf(", PCIe %d.0 x%d", dev.PCIeGen, dev.PCIeWidth)
			if s.PCIeWidth > 0 && s.PCIeWidth < dev.PCIeWidth {
				line += fmt.Sprintf(" (runs at x%d)", s.PCIeWidth)
			}
		}
		if s.Watts >= 0 {
			line += fmt.Sprintf(", %.0f W", s.Watts)
		}
		if dev.NUMANode >= 0 {
			line += fmt.Sprintf(", NUMA node %d", dev.NUMANode)
		}
		if n := len(s.Processes); n > 0 {
			line += fmt.Sprintf(", %d processes compute", n)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

// provider says whether ONNX Runtime's library computes on GPUs.
func (d Doctor) provider() Finding {
	f := Finding{What: "GPU provider", Status: Missing, Fix: providerFix}
	lib, err := infer.LibraryInfo(d.Library)
	if err != nil {
		f.Found = "not known without ONNX Runtime"
		return f
	}
	var gpu []string
	for _, name := range []string{"CUDAExecutionProvider", "TensorrtExecutionProvider"} {
		if slices.Contains(lib.Providers, name) {
			gpu = append(gpu, name)
		}
	}
	if len(gpu) == 0 {
		f.Found = lib.Path + " has no CUDAExecutionProvider: " + cpuOnly
		return f
	}
	f.Status, f.Found, f.Fix = Fine, strings.Join(gpu, ", "), ""
	return f
}
