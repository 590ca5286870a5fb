package infer_test

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/stage"
)

// TestImagesAsBytes takes bytes into a model of floats, whose output is the mean over the last two
// dimensions of its input, in either layout.
func TestImagesAsBytes(t *testing.T) {
	rows := []any{
		[]any{[]any{[]any{0.0, 128.0, 255.0}, []any{1.0, 2.0, 3.0}}, []any{[]any{10.0, 20.0, 30.0}, []any{40.0, 50.0, 60.0}}},
		nil,
		[]any{[]any{[]any{9.0, 8.0, 7.0}, []any{6.0, 5.0, 4.0}}, []any{[]any{3.0, 2.0, 1.0}, []any{255.0, 255.0, 255.0}}},
	}
	for name, images := range map[string]infer.Images{
		"scaled":     {},
		"normalised": {Scale: 0.5, Mean: []float32{1, 2, 3}, Std: []float32{2, 4, 8}},
		"named":      {Input: "image", Layout: infer.NHWC, Mean: []float32{0.5}},
	} {
		for _, leaf := range []arrow.DataType{arrow.PrimitiveTypes.Uint8, arrow.PrimitiveTypes.Int64} {
			for _, fixed := range []bool{true, false} {
				what := fmt.Sprintf("%s, %s, lists of fixed size: %v", name, leaf, fixed)
				rec := tensorRecord(t, map[string][]any{"photo": rows}, func(string) arrow.DataType { return leaf }, fixed)
				task, err := tensorModel(t, "image").Infer(infer.InferConfig{Images: &images, Bind: map[string]string{"image": "photo"}})
				require.NoError(t, err, what)
				got, bound := runTensors2(t, task, rec)
				require.Equal(t, []string{"photo"}, bound.Need.Reads)
				for i, row := range rows {
					requireValue(t, meanOf(images, row), valueOf(got.Record.Column(0), i), what)
				}
				rec.Release()
			}
		}
	}
}

// meanOf is what the model gives for a row: a number for each row of its pixels.
func meanOf(p infer.Images, row any) any {
	if row == nil {
		return nil
	}
	of := func(list []float32, c int, none float32) float64 {
		switch len(list) {
		case 0:
			return float64(none)
		case 1:
			return float64(list[0])
		}
		return float64(list[c])
	}
	scale := 1. / 255
	if p.Scale != 0 {
		scale = float64(p.Scale)
	}
	var out []any
	for _, line := range row.([]any) {
		sum := 0.0
		for _, dot := range line.([]any) {
			for c, x := range dot.([]any) {
				sum += (x.(float64)*scale - of(p.Mean, c, 0)) / of(p.Std, c, 1)
			}
		}
		out = append(out, sum/6)
	}
	return out
}

// TestImagesOutOfRangeFailTheirRow: bytes end at 255.
func TestImagesOutOfRangeFailTheirRow(t *testing.T) {
	flat := func(x float64) []any { return []any{x, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0} }
	rec := tensorRecord(t, map[string][]any{"image": {flat(255), flat(256), flat(-1), flat(0)}}, func(string) arrow.DataType { return arrow.PrimitiveTypes.Int64 }, false)
	defer rec.Release()
	task, err := tensorModel(t, "image").Infer(infer.InferConfig{Images: &infer.Images{}})
	require.NoError(t, err)
	got, _ := runTensors2(t, task, rec)
	require.Equal(t, []int32{0, 3}, got.Parent)
	require.ErrorContains(t, got.Failed[0].Err, `input "image": 256 is out of the range`)
	require.ErrorContains(t, got.Failed[1].Err, "-1 is out of the range")
}

// TestImagesArePartOfTheIdentity: other steps give other results, in sessions of their own.
func TestImagesArePartOfTheIdentity(t *testing.T) {
	m := tensorModel(t, "image")
	id := func(images *infer.Images) string {
		task, err := m.Infer(infer.InferConfig{Images: images})
		require.NoError(t, err)
		stages, err := task.Expand(stage.Placement{})
		require.NoError(t, err)
		return stages[0].ID().Fingerprint()
	}
	seen := map[string]bool{}
	for _, images := range []*infer.Images{nil, {}, {Scale: 1}, {Mean: []float32{1}}, {Std: []float32{2}}, {Layout: infer.NHWC}} {
		require.Equal(t, id(images), id(images))
		seen[id(images)] = true
	}
	require.Len(t, seen, 6)

	rec := tensorRecord(t, map[string][]any{"image": {[]any{6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0}}}, func(string) arrow.DataType { return arrow.PrimitiveTypes.Uint8 }, true)
	defer rec.Release()
	var workers []stage.Worker
	for _, scale := range []float32{1, 2} {
		task, err := m.Infer(infer.InferConfig{Images: &infer.Images{Scale: scale}})
		require.NoError(t, err)
		w, _ := openTensors(t, task, rec, stage.Env{})
		workers = append(workers, w)
	}
	require.Equal(t, 2, m.Sessions())
	for i, w := range workers {
		rec.Retain()
		out, err := process(t.Context(), w, stage.NewBatch(rec, stage.Origin{}))
		require.NoError(t, err)
		x := float64(6 * (i + 1))
		requireValue(t, []any{x, x}, valueOf(out.Column(0), 0), "mean")
		out.Release()
		require.NoError(t, w.Close())
	}
	require.Zero(t, m.Sessions())
}

// TestImagesThatAModelCannotTake are refused when the task is made.
func TestImagesThatAModelCannotTake(t *testing.T) {
	nan := float32(math.NaN())
	for want, c := range map[string]struct {
		model  string
		images infer.Images
	}{
		"say which one takes images":    {"mixed", infer.Images{}},
		`input "b" takes int64`:         {"mixed", infer.Images{Input: "b"}},
		"images have 4":                 {"fixed", infer.Images{}},
		`has no input "photo"`:          {"image", infer.Images{Input: "photo"}},
		"NaN among scale, mean and std": {"image", infer.Images{Mean: []float32{0, nan, 0}}},
		"divided by 0":                  {"image", infer.Images{Std: []float32{1, 0, 1}}},
		"Mean has 2 numbers":            {"image", infer.Images{Mean: []float32{1, 2}}},
		"save it as one file":           {"external", infer.Images{}},
	} {
		_, err := tensorModel(t, c.model).Infer(infer.InferConfig{Images: &c.images})
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, filepath.Join("tensors", c.model+".onnx"))
	}
	_, err := infer.ParseLayout("nchv")
	require.ErrorContains(t, err, `did you mean "nchw"?`)
}
