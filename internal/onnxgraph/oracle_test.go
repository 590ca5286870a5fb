package onnxgraph_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/onnxgraph"
	"github.com/penstock-data/penstock/internal/testkit"
)

// python runs a command of testdata/models.py.
func python(t testing.TB, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testkit.Python(t), append([]string{"testdata/models.py"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	return out
}

// makeModels gives a folder of models, and their names.
func makeModels(t testing.TB, opsets ...string) (dir string, names []string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, json.Unmarshal(python(t, nil, append([]string{"make", dir}, opsets...)...), &names))
	return dir, names
}

// images is a prefix as the oracle reads it: with the name of the new input.
type images struct {
	onnxgraph.Images
	Is string
}

type oracleCase struct {
	Model   string           `json:"model"`
	Changed string           `json:"changed"`
	Memory  bool             `json:"memory"` // run from memory, with its weights in a folder elsewhere
	Images  *images          `json:"images,omitempty"`
	Steps   *onnxgraph.Steps `json:"steps,omitempty"`
	Inputs  []string         `json:"inputs"`
	Outputs []string         `json:"outputs"`
}

// told writes tensors as the oracle does.
func told(tensors []onnxgraph.Tensor) []string {
	kinds := map[onnxgraph.ElementType]string{onnxgraph.Float32: "float", onnxgraph.Uint8: "uint8", onnxgraph.Int32: "int32",
		onnxgraph.Int64: "int64", onnxgraph.Bool: "bool", onnxgraph.Float16: "float16"}
	out := make([]string, len(tensors))
	for i, t := range tensors {
		dims := make([]string, len(t.Shape))
		for k, d := range t.Shape {
			dims[k] = fmt.Sprint(d.Size)
		}
		out[i] = fmt.Sprintf("%s tensor(%s) [%s]", t.Name, kinds[t.Type], strings.Join(dims, ", "))
	}
	return out
}

// imageCases and textCases are what is asked of each model.
var (
	mean, std  = []float32{0.485, 0.456, 0.406}, []float32{0.229, 0.224, 0.225}
	imageCases = []oracleCase{
		{Images: &images{}},
		{Images: &images{Images: onnxgraph.Images{Input: "images", Name: "photos", Mean: mean, Std: std}}},
		{Images: &images{Images: onnxgraph.Images{Scale: 1, Mean: []float32{127.5}, Std: []float32{127.5}}},
			Steps: &onnxgraph.Steps{Output: "pixels", Activation: onnxgraph.Sigmoid}},
	}
	hidden    = "last_hidden_state"
	textCases = []oracleCase{
		{Steps: &onnxgraph.Steps{Output: hidden, Pool: onnxgraph.MeanPooling, Normalize: true, Only: true}},
		{Steps: &onnxgraph.Steps{Output: hidden, Pool: onnxgraph.MeanPooling, Name: "embedding"}},
		{Steps: &onnxgraph.Steps{Output: hidden, Pool: onnxgraph.CLSPooling, Normalize: true, Half: true}},
		{Steps: &onnxgraph.Steps{Output: hidden, Pool: onnxgraph.MaxPooling}},
		{Steps: &onnxgraph.Steps{Output: hidden, Pool: onnxgraph.LastTokenPooling, Only: true}},
		{Steps: &onnxgraph.Steps{Output: "logits", Activation: onnxgraph.Softmax, TopK: 3}},
		{Steps: &onnxgraph.Steps{Output: "logits", Activation: onnxgraph.Sigmoid, TopK: 2, Half: true, Only: true}},
		{Steps: &onnxgraph.Steps{Output: "logits", ArgMax: true}},
		{Steps: &onnxgraph.Steps{Output: "logits", Normalize: true}},
	}
)

// change does to a model what a case asks for, and completes the case.
func change(t *testing.T, dir, name string, number int, c oracleCase) oracleCase {
	t.Helper()
	c.Model = filepath.Join(dir, name+".onnx")
	c.Changed = filepath.Join(dir, fmt.Sprintf("%s.%d.onnx", name, number))
	m, err := onnxgraph.Open(c.Model)
	require.NoError(t, err)
	if c.Images != nil {
		in, err := m.Prefix(c.Images.Images)
		require.NoError(t, err, name)
		c.Images = &images{Images: c.Images.Images, Is: in.Name}
	}
	if c.Steps != nil {
		_, err := m.Suffix(*c.Steps)
		require.NoError(t, err, name)
	}
	if c.Memory {
		c.Changed = filepath.Join(t.TempDir(), filepath.Base(c.Changed))
	}
	changed, err := m.Bytes()
	require.NoError(t, err)
	require.Equal(t, len(changed), cap(changed), "its size was known")
	require.NoError(t, os.WriteFile(c.Changed, changed, 0o644))
	c.Inputs, c.Outputs = told(m.Inputs), told(m.Outputs)

	again, err := onnxgraph.Open(c.Changed)
	if !c.Memory {
		require.NoError(t, err)
		require.Equal(t, c.Inputs, told(again.Inputs))
		require.Equal(t, c.Outputs, told(again.Outputs))
	}
	return c
}

// Models of each opset, element type and kind of shape give, after the change, what numpy makes
// of what they gave before; onnx.checker has nothing against them.
func TestAgainstNumpy(t *testing.T) {
	opsets := []string{"11", "13", "17", "18", "21"}
	dir, names := makeModels(t, opsets...)
	require.Len(t, names, len(opsets)*(8+4)+6)
	var cases []oracleCase
	for _, name := range names {
		for i, c := range textCases {
			if strings.HasPrefix(name, "text") && (c.Steps.Half || !strings.Contains(name, "none") || c.Steps.Output == hidden) {
				cases = append(cases, change(t, dir, name, i, c))
			}
		}
		for i, c := range imageCases {
			if strings.HasPrefix(name, "image") {
				cases = append(cases, change(t, dir, name, i, c))
			}
		}
		if strings.HasSuffix(name, "_external") {
			c := textCases[0]
			c.Memory = true
			cases = append(cases, change(t, dir, name, len(textCases), c))
		}
	}
	raw, err := json.Marshal(cases)
	require.NoError(t, err)
	faults := string(python(t, raw, "check"))
	require.Empty(t, faults, "of %d cases", len(cases))
}
