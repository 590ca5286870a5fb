//go:build cuda

package job

import _ "github.com/penstock-data/penstock/infer/gpu" // models can run on GPUs
