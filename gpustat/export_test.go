package gpustat

import "github.com/NVIDIA/go-nvml/pkg/nvml"

// OpenWith opens a library that is given, under a path that is told.
func OpenWith(lib nvml.Interface, path string) (*Monitor, error) { return open(lib, path) }

// NodeOf reads a device's NUMA node from a tree like the kernel's.
func NodeOf(tree, pci string) int { return nodeOf(tree, pci) }
