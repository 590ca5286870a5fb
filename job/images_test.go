package job_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/job"
)

// TestImagesAsBytes has a job file say how bytes become a model's input.
func TestImagesAsBytes(t *testing.T) {
	in := file(t, "in.jsonl", `{"photo": [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]}`+"\n")
	run := func(images string) (string, error) {
		j, err := job.Parse(fmt.Appendf(nil, "source: {path: %q}\nstages: [infer: {model: ../infer/testdata/tensors/image.onnx, bind: {image: photo}, images: %s}]\nsink: {path: %q}\nrun: {show: 1, memory_limit: 1GiB}\n",
			in, images, filepath.Join(t.TempDir(), "out")), "j.yaml")
		if err != nil {
			return "", err
		}
		res, err := j.Run(t.Context(), job.Options{Library: "../build/lib"})
		if err != nil {
			return "", err
		}
		defer res.Release()
		return res.Shown[0].Column(1).ValueStr(0), nil
	}
	for images, want := range map[string]string{
		"{scale: 1}": "[3.5,9.5]",
		"{scale: 1, mean: [1, 2, 3], std: [0.5], layout: nhwc, input: image}": "[3,15]",
	} {
		got, err := run(images)
		require.NoError(t, err, images)
		require.Equal(t, want, got, images)
	}
	for images, problem := range map[string]string{
		"{layout: nchv}":   `did you mean "nchw"?`,
		"{mean: [1, 2]}":   "Mean has 2 numbers",
		"{scale: .nan}":    "not a number",
		"{means: [1]}":     `unknown key "means"`,
		"{mean: [.inf]}":   "among scale, mean and std",
		"{input: picture}": `no input "picture"`,
	} {
		_, err := run(images)
		require.ErrorContains(t, err, problem, images)
	}
}
