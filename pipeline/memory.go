package pipeline

import (
	"math"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// MemoryShare is the part of the memory at hand that a job may use by default.
const MemoryShare = 0.7

// DefaultMemoryLimit is MemoryShare of the smaller of the cgroup's limit and the
// machine's memory, in bytes; 2 GiB where neither can be read.
func DefaultMemoryLimit() int64 {
	total := AvailableMemory()
	if total == 0 {
		return 2 << 30
	}
	return int64(float64(total) * MemoryShare)
}

// AvailableMemory is the smaller of the cgroup's limit and the machine's memory, in
// bytes; 0 where neither can be read.
func AvailableMemory() int64 {
	least := uint64(math.MaxInt64)
	for _, read := range []func() (uint64, error){memlimit.FromCgroup, memlimit.FromSystem} {
		if n, err := read(); err == nil && n > 0 {
			least = min(least, n)
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return int64(least)
}
