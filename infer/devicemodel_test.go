package infer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
)

// A device pools where the model is told of padding and has its weights in its own file; else the
// host does.
func TestPoolingOnDevices(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for name, want := range map[string]infer.Pooling{
		"plain": infer.NoPooling, "int32": infer.NoPooling, "half": infer.NoPooling, "bool_mask": infer.NoPooling, "float_mask": infer.NoPooling,
		"fixed_both": infer.NoPooling, "left": infer.NoPooling, "whole": infer.NoPooling,
		"external": infer.MeanPooling, "ids_only": infer.MaxPooling, "left_fixed": infer.CLSPooling,
	} {
		m := open(t, infer.Config{Path: filepath.Join(tiny, name)})
		file, outputs, left, remove, err := m.OnDevice()
		require.NoError(t, err, name)
		require.Equal(t, want, left, name)
		own := file == m.Inspect().File
		require.Equal(t, want != infer.NoPooling || name == "whole", own, name)
		if !own {
			require.Equal(t, filepath.Base(m.Inspect().File), filepath.Base(file), "by which TensorRT finds its engines")
			require.Len(t, outputs, 1)
			require.Equal(t, infer.Float32, outputs[0].Type, name)
			require.Len(t, outputs[0].Shape, 2, name)
			require.Equal(t, int64(m.Inspect().Dim), outputs[0].Shape[1].Size)
		}
		require.NoError(t, remove())
	}
	rest, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, rest, "nothing is left behind")

	t.Setenv("TMPDIR", "/nowhere")
	_, _, _, _, err = open(t, infer.Config{Path: filepath.Join(tiny, "plain")}).OnDevice()
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "/nowhere")
}
