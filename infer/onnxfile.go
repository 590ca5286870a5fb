package infer

import (
	"fmt"

	"github.com/penstock-data/penstock/internal/onnxgraph"
)

// modelFile is what an ONNX file says of itself, read without loading its weights.
type modelFile struct {
	path     string
	producer string
	opset    int64 // of the default domain
	inputs   []TensorInfo
	outputs  []TensorInfo
	external []string // files beside it that hold weights
	bytes    int64    // of all files
}

// ElementType is the type of a tensor's elements, numbered as ONNX does.
type ElementType int32

// The element types that columns can be.
const (
	Float32 ElementType = 1
	Uint8   ElementType = 2
	Int8    ElementType = 3
	Uint16  ElementType = 4
	Int16   ElementType = 5
	Int32   ElementType = 6
	Int64   ElementType = 7
	Bool    ElementType = 9
	Float16 ElementType = 10
	Float64 ElementType = 11
	Uint32  ElementType = 12
	Uint64  ElementType = 13
)

func (t ElementType) String() string { return onnxgraph.ElementType(t).String() }

// size is that of one element in bytes; 0: it cannot be a column.
func (t ElementType) size() int {
	switch t {
	case Uint8, Int8, Bool:
		return 1
	case Uint16, Int16, Float16:
		return 2
	case Float32, Int32, Uint32:
		return 4
	case Float64, Int64, Uint64:
		return 8
	}
	return 0
}

// Dim is one dimension of a tensor.
type Dim struct {
	Size int64  // -1: chosen for each run
	Name string // of a dimension that is chosen for each run; may be empty
}

func (d Dim) String() string { return onnxgraph.Dim(d).String() }

// TensorInfo is an input or output of a model.
type TensorInfo struct {
	Name  string
	Type  ElementType // 0: not a tensor
	Shape []Dim       // nil: the file does not say
}

// readModelFile reads the header of the ONNX file at path, and looks whether the files
// that it refers to are there and whole.
func readModelFile(path string) (*modelFile, error) {
	m, err := onnxgraph.Open(path)
	if err != nil {
		return nil, fmt.Errorf("infer: %w", err)
	}
	return &modelFile{path: path, producer: m.Producer, opset: m.Opset, inputs: tensorInfos(m.Inputs), outputs: tensorInfos(m.Outputs),
		external: m.External, bytes: m.Size}, nil
}

func tensorInfos(list []onnxgraph.Tensor) []TensorInfo {
	out := make([]TensorInfo, len(list))
	for i, t := range list {
		out[i] = TensorInfo{Name: t.Name, Type: ElementType(t.Type)}
		if t.Shape != nil {
			out[i].Shape = make([]Dim, len(t.Shape))
		}
		for k, d := range t.Shape {
			out[i].Shape[k] = Dim(d)
		}
	}
	return out
}
