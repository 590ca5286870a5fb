package infer

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/penstock-data/penstock/internal/onnxgraph"
)

// Images says that an input takes images, and that columns hold them as bytes: uint8 [height,
// width, channels]. What brings them into the input's form, (x × Scale − Mean) / Std in its type
// and layout, is put before the model, and runs where the model runs: so bytes cross the bus to a
// device, and not floats. The zero value scales to 0…1.
type Images struct {
	Input  string    // of the model; empty: its only one
	Scale  float32   // 0: 1/255
	Mean   []float32 // of each channel, or one for all; nil: 0
	Std    []float32 // likewise; nil: 1
	Layout Layout    // of the model's input
}

// Layout is the order of the dimensions of a batch of images.
type Layout uint8

const (
	LayoutByShape = Layout(onnxgraph.ByShape) // the one of the two whose channels are 1, 3 or 4 in the model's shape
	NCHW          = Layout(onnxgraph.NCHW)    // [batch, channels, height, width]
	NHWC          = Layout(onnxgraph.NHWC)    // [batch, height, width, channels]
)

var layoutNames = []string{"model", "nchw", "nhwc"}

func (l Layout) String() string { return layoutNames[l] }

// ParseLayout reads the name of a layout: model (by its shape), nchw or nhwc.
func ParseLayout(name string) (Layout, error) {
	i, err := choose("layout", name, layoutNames)
	return Layout(i), err
}

// check refuses numbers that no image can have come of.
func (p *Images) check() error {
	for _, x := range slices.Concat([]float32{p.Scale}, p.Mean, p.Std) {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("images: %v among scale, mean and std", x)
		}
	}
	return nil
}

// before puts the steps before a model.
func (p *Images) before(path string) (*onnxgraph.Model, error) {
	m, err := onnxgraph.Open(path)
	if err != nil {
		return nil, fmt.Errorf("infer: %w", err)
	}
	if len(m.External) > 0 {
		return nil, fmt.Errorf("infer: model %s: its weights are in files of their own, and nothing can be put before it: save it as one file (onnx.save)", path)
	}
	if _, err := m.Prefix(onnxgraph.Images{Input: p.Input, Scale: p.Scale, Mean: p.Mean, Std: p.Std, Layout: onnxgraph.Layout(p.Layout)}); err != nil {
		return nil, fmt.Errorf("infer: %w", err)
	}
	return m, nil
}

// tensorInputs are what a model takes, and under which names it is fed: those of the file, but for
// an input before which steps are put.
type tensorInputs struct {
	list  []TensorInfo // by the names that the file gives them
	feeds []string
}

func (m *Model) tensorInputs(images *Images) (tensorInputs, error) {
	in := tensorInputs{list: slices.Clone(m.file.inputs)}
	if images != nil {
		if err := images.check(); err != nil {
			return in, fmt.Errorf("infer: model %s: %w", m.file.path, err)
		}
		changed, err := images.before(m.file.path)
		if err != nil {
			return in, err
		}
		in.list = tensorInfos(changed.Inputs)
	}
	for i := range in.list {
		in.feeds = append(in.feeds, in.list[i].Name)
		in.list[i].Name = m.file.inputs[i].Name
	}
	return in, nil
}

// fileFor is the model as a session runs it: the file itself or, with steps before it, one that
// remove removes.
func (m *Model) fileFor(images *Images) (path string, remove func() error, err error) {
	if images == nil {
		return m.file.path, func() error { return nil }, nil
	}
	changed, err := images.before(m.file.path)
	if err != nil {
		return "", nil, err
	}
	return writeModel(changed)
}

// openFor loads a session for some ports.
func (m *Model) openFor(p ports) (*session, error) {
	path, remove, err := m.fileFor(p.images)
	if err != nil {
		return nil, err
	}
	s, err := openSession(m.cfg, path, p)
	if gone := remove(); gone != nil && err == nil {
		return nil, errors.Join(fmt.Errorf("infer: %w", gone), s.close())
	}
	return s, err
}
