package onnxgraph

import (
	"errors"
	"fmt"
	"slices"
)

// Layout is the order of the dimensions of a batch of images.
type Layout uint8

const (
	ByShape Layout = iota // the one of the two whose channels are 1, 3 or 4 in the model's shape
	NCHW                  // [batch, channels, height, width]
	NHWC                  // [batch, height, width, channels]
)

// Images is a prefix that takes images as bytes, uint8 [batch, height, width, channels], and gives
// an image model's input (x × Scale − Mean) / Std in its own type and layout. It is computed
// in float32 as x × (Scale/Std) − Mean/Std.
type Images struct {
	Input  string    // of the model; empty: its only one
	Name   string    // of the new input; empty: that of the old one with "_uint8" behind it
	Scale  float32   // 0: 1/255
	Mean   []float32 // of each channel, or one for all; nil: 0
	Std    []float32 // likewise; nil: 1
	Layout Layout    // of the model's input
}

// Prefix puts steps before the model that take images as bytes, and gives the new input, which
// stands where the old one stood. On an error, which names the input, nothing was changed.
func (m *Model) Prefix(p Images) (Tensor, error) {
	at, err := m.input(p.Input)
	if err != nil {
		return Tensor{}, err
	}
	old := m.Inputs[at]
	fail := func(format string, args ...any) (Tensor, error) {
		return Tensor{}, fmt.Errorf("model %s: input %q %w", m.Path, old.Name, fmt.Errorf(format, args...))
	}
	if err := m.oldEnough(); err != nil {
		return fail("%w", err)
	}
	if !old.Type.float() {
		return fail("takes %s: images are put before one that takes float16 or float32", old.Type)
	}
	layout, shape, err := p.layout(old)
	if err != nil {
		return fail("%w", err)
	}
	factor, shift, err := p.affine(shape[3].Size)
	if err != nil {
		return fail("%w", err)
	}
	image := Tensor{Name: p.Name, Type: Uint8, Shape: shape}
	switch {
	case image.Name == "":
		image.Name = m.take(old.Name + "_uint8")
	case m.used(image.Name):
		return fail("cannot be called %q before the steps: the model has that name already; give another", image.Name)
	default:
		m.names[image.Name] = struct{}{}
	}

	s := &steps{m: m, label: "penstock/" + old.Name}
	x, dims := image.Name, []int64{int64(len(factor))}
	if layout == NCHW { // as bytes, so that the least is moved
		x = s.add("Transpose", []string{x}, integers("perm", 0, 3, 1, 2))
		dims = append(dims, 1, 1)
	}
	x = s.cast(x, Float32)
	x = s.add("Mul", []string{x, s.floats(dims, factor...)})
	x = s.add("Add", []string{x, s.floats(dims, shift...)})
	if old.Type != Float32 {
		x = s.cast(x, old.Type)
	}
	s.rename(x, old.Name)
	m.put(span{m.graph.start, m.graph.start}, s.encode())
	m.put(m.inputs[old.Name], appendMessage(nil, 11, image.encode()))
	m.Inputs[at] = image
	delete(m.inputs, old.Name)
	return image, nil
}

// input finds an input by name, or the only one.
func (m *Model) input(name string) (int, error) {
	if name == "" {
		if len(m.Inputs) != 1 {
			return 0, fmt.Errorf("model %s has the inputs %s: say which one takes images", m.Path, list(m.Inputs))
		}
		name = m.Inputs[0].Name
	}
	at := slices.IndexFunc(m.Inputs, func(t Tensor) bool { return t.Name == name })
	switch _, original := m.inputs[name]; {
	case at < 0:
		return 0, fmt.Errorf("model %s has no input %q: it has %s", m.Path, name, list(m.Inputs))
	case !original:
		return 0, fmt.Errorf("model %s: input %q takes images as bytes already", m.Path, name)
	}
	return at, nil
}

// oldest is the first version of ONNX's operators whose axes may be negative, and which has all
// that the steps are made of.
const oldest = 11

func (m *Model) oldEnough() error {
	if m.Opset < oldest {
		return fmt.Errorf("is of opset %d, and steps need %d or newer: convert the model with onnx.version_converter", m.Opset, oldest)
	}
	return nil
}

// layout gives the layout of an input, and the shape [batch, height, width, channels].
func (p *Images) layout(in Tensor) (Layout, []Dim, error) {
	shape := slices.Clone(in.Shape)
	layout := p.Layout
	if shape == nil {
		if layout == ByShape {
			return 0, nil, errors.New("has no shape in the file: say its layout")
		}
		shape = slices.Repeat([]Dim{{Size: -1}}, 4)
	}
	if len(shape) != 4 {
		return 0, nil, fmt.Errorf("has %d dimensions, images have 4: batch, channels, height, width", len(shape))
	}
	if layout == ByShape {
		few := func(d Dim) bool { return d.Size == 1 || d.Size == 3 || d.Size == 4 }
		switch first, last := few(shape[1]), few(shape[3]); {
		case first == last:
			return 0, nil, fmt.Errorf("could have its channels second or last (%s): say its layout", in)
		case first:
			layout = NCHW
		default:
			layout = NHWC
		}
	}
	switch layout {
	case NCHW:
		shape = []Dim{shape[0], shape[2], shape[3], shape[1]}
	case NHWC:
	default:
		return 0, nil, fmt.Errorf("cannot have layout %d", layout)
	}
	if shape[3].Size < 0 { // the constants say how many
		shape[3] = Dim{Size: int64(max(len(p.Mean), len(p.Std)))}
		if shape[3].Size <= 1 {
			shape[3].Size = 3
		}
	}
	return layout, shape, nil
}

// affine gives factor and shift of each channel.
func (p *Images) affine(channels int64) (factor, shift []float32, err error) {
	if channels < 1 || channels > 1024 {
		return nil, nil, fmt.Errorf("has %d channels", channels)
	}
	scale := float64(p.Scale)
	if p.Scale == 0 {
		scale = 1. / 255
	}
	of := func(what string, list []float32, i int, none float64) (float64, error) {
		switch len(list) {
		case 0:
			return none, nil
		case 1:
			return float64(list[0]), nil
		case int(channels):
			return float64(list[i]), nil
		}
		return 0, fmt.Errorf("has %d channels, %s has %d numbers: give one, or one for each", channels, what, len(list))
	}
	for i := range int(channels) {
		mean, err := of("Mean", p.Mean, i, 0)
		if err != nil {
			return nil, nil, err
		}
		std, err := of("Std", p.Std, i, 1)
		if err != nil {
			return nil, nil, err
		}
		if std == 0 {
			return nil, nil, fmt.Errorf("would be divided by 0: Std of channel %d", i)
		}
		factor = append(factor, float32(scale/std))
		shift = append(shift, float32(-mean/std))
	}
	return factor, shift, nil
}
