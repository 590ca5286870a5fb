package onnxgraph

import (
	"fmt"
	"strconv"
	"strings"
)

// ElementType is the type of a tensor's elements, numbered as ONNX does.
type ElementType int32

// The element types that steps take or give. A model may have others.
const (
	Float32  ElementType = 1
	Uint8    ElementType = 2
	Int32    ElementType = 6
	Int64    ElementType = 7
	Bool     ElementType = 9
	Float16  ElementType = 10
	Float64  ElementType = 11
	BFloat16 ElementType = 16
)

var elementNames = [...]string{"undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string",
	"bool", "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"}

func (t ElementType) String() string {
	if t >= 0 && int(t) < len(elementNames) {
		return elementNames[t]
	}
	return "type " + strconv.Itoa(int(t))
}

func (t ElementType) float() bool {
	return t == Float32 || t == Float16 || t == Float64 || t == BFloat16
}

// Dim is one dimension of a tensor.
type Dim struct {
	Size int64  // -1: chosen for each run
	Name string // of a dimension that is chosen for each run; may be empty
}

func (d Dim) String() string {
	switch {
	case d.Size >= 0:
		return strconv.FormatInt(d.Size, 10)
	case d.Name != "":
		return d.Name
	}
	return "?"
}

// Tensor is an input or output of a model.
type Tensor struct {
	Name  string
	Type  ElementType // 0: not a tensor
	Shape []Dim       // nil: the file does not say
}

func (t Tensor) String() string {
	if t.Shape == nil {
		return fmt.Sprintf("%s %s", t.Name, t.Type)
	}
	dims := make([]string, len(t.Shape))
	for i, d := range t.Shape {
		dims[i] = d.String()
	}
	return fmt.Sprintf("%s %s[%s]", t.Name, t.Type, strings.Join(dims, ", "))
}

func list(tensors []Tensor) string {
	out := make([]string, len(tensors))
	for i, t := range tensors {
		out[i] = t.String()
	}
	return strings.Join(out, ", ")
}
