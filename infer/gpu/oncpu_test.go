//go:build cuda

package gpu_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/infer/gpu"
)

// TestNodesOnTheCPUAreNamed asks a session of the CPU's provider, all of whose nodes are there.
func TestNodesOnTheCPUAreNamed(t *testing.T) {
	path, _, err := infer.FindLibrary("../../build/lib")
	require.NoError(t, err)
	nodes, err := gpu.NodesOnCPU(path, "testdata/image.onnx")
	require.NoError(t, err)
	require.NotEmpty(t, nodes)
	for _, n := range nodes {
		require.Regexp(t, `^\S+ \(\w+\)$`, n)
	}
}

func TestTheUserIsToldOfNodesOnTheCPU(t *testing.T) {
	require.Equal(t, "1 node of m.onnx runs on the CPU, since the GPU's provider has no kernel for it: /pool (Unique)", gpu.OnCPUText("m.onnx", []string{"/pool (Unique)"}))
	many := make([]string, 25)
	for i := range many {
		many[i] = fmt.Sprintf("n%d (Op)", i)
	}
	text := gpu.OnCPUText("m.onnx", many)
	require.Contains(t, text, "25 nodes of m.onnx run on the CPU")
	require.Contains(t, text, "n19 (Op), and 5 more")
}
