//go:build !unix

package pipeline

import "time"

// processCPU is not known here.
func processCPU() time.Duration { return 0 }
