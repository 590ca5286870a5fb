//go:build !cuda

package job

// pciOf knows no GPU's place on the bus.
func pciOf(gpus []int) []string { return make([]string, len(gpus)) }
