package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRealPlan runs the plan of memory.json a thousand times faster than it is published, so
// that what the executor asks of a plan and the benchmark's own do not drift apart.
func TestRealPlan(t *testing.T) {
	raw, err := os.ReadFile("memory.json")
	require.NoError(t, err)
	var c constants
	require.NoError(t, json.Unmarshal(raw, &c))
	c.Real.TimeDivisor, c.Real.BytesDivisor = 1000, 10_000

	res, err := c.run(t.Context(), 6)
	require.NoError(t, err)
	require.EqualValues(t, c.LoadTasks*c.BlocksPerTask, res.Blocks)
	require.Positive(t, res.Seconds)
}
