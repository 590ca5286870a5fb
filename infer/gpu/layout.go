//go:build cuda

package gpu

import (
	"fmt"
	"slices"

	"github.com/penstock-data/penstock/cuda"
	"github.com/penstock-data/penstock/infer"
)

// align is where tensors begin in a slot's memory: kernels read whole vectors, and ONNX Runtime's
// own arena aligns to as much.
const align = 256

func aligned(n int64) int64 { return (n + align - 1) / align * align }

// tensor is where an input or output of a run lies in a slot.
type tensor struct {
	model int // which of the model's inputs or outputs
	shape []int64
	bytes int64 // 0 of an output that is sized by the run
	row   int64 // bytes of a row
	host  int64 // where it begins in the slot's host memory; -1: it is not there
	data  []byte
	dev   int64    // where it begins in the slot's device memory
	part  int64    // bytes from one part to the next there
	free  cuda.Ptr // where the run put an output that it sized
}

// layout is how a run lies in a slot: on the host in one piece, and on the device in parts of so
// many rows, each of which begins aligned.
type layout struct {
	rows, part          int // rows of the run, and of a part
	inputs, outputs     []tensor
	hostIn, hostOut     int64 // bytes
	deviceIn, deviceOut int64
	staged              int64 // bytes of the host's input that go over in one copy; 0: each input goes by itself
	free                bool  // some output is sized by the run
	shape               string
}

// newLayout checks a run against the session's tensors. ordinary says of memory whether it is
// not page-locked: then it goes through the slot's.
func newLayout(r *infer.DeviceRun, in, out []binding, ordinary func([]byte) bool) (*layout, error) {
	if len(r.Inputs) != len(in) || len(r.Outputs) != len(out) {
		return nil, fmt.Errorf("gpu: a run has %d inputs and %d outputs, the session %d and %d", len(r.Inputs), len(r.Outputs), len(in), len(out))
	}
	l := &layout{rows: 1, free: slices.ContainsFunc(r.Outputs, func(t infer.DeviceTensor) bool { return t.Shape == nil })}
	if r.Splittable && !l.free && len(r.Inputs) > 0 && len(r.Inputs[0].Shape) > 0 {
		l.rows = int(r.Inputs[0].Shape[0]) // with outputs of any size it is one part: what several give could not be joined
	}
	for i, t := range r.Inputs {
		x, err := in[i].lay(t, l.rows)
		if err != nil {
			return nil, err
		}
		x.host, x.data = -1, t.Data
		if t.Data != nil && int64(len(t.Data)) != x.bytes {
			return nil, fmt.Errorf("gpu: input %q: its shape %v takes %d bytes, not %d", in[i].name, t.Shape, x.bytes, len(t.Data))
		}
		if t.Data == nil || ordinary(t.Data) {
			x.host = l.hostIn
			l.hostIn += aligned(x.bytes)
		}
		l.inputs = append(l.inputs, x)
		l.shape += fmt.Sprint(x.shape[min(1, len(x.shape)):])
	}
	for i, t := range r.Outputs {
		x := tensor{model: out[i].index}
		if t.Shape != nil {
			var err error
			if x, err = out[i].lay(t, l.rows); err != nil {
				return nil, err
			}
			x.host = l.hostOut
			l.hostOut += aligned(x.bytes)
		}
		l.outputs = append(l.outputs, x)
	}
	l.divide(l.rows)
	return l, nil
}

// binding is a tensor of the model that runs give or want.
type binding struct {
	index int
	ortTensor
}

func (b binding) lay(t infer.DeviceTensor, rows int) (tensor, error) {
	n := int64(b.bytes)
	for _, d := range t.Shape {
		if d < 0 || d > 0 && n > (1<<50)/d {
			return tensor{}, fmt.Errorf("gpu: %q: shape %v", b.name, t.Shape)
		}
		n *= d
	}
	if len(t.Shape) != len(b.shape) && len(b.shape) > 0 {
		return tensor{}, fmt.Errorf("gpu: %q has %d dimensions, not %v", b.name, len(b.shape), t.Shape)
	}
	if n == 0 {
		return tensor{}, fmt.Errorf("gpu: %q: shape %v has no elements", b.name, t.Shape)
	}
	if rows > 1 && (len(t.Shape) == 0 || t.Shape[0] != int64(rows)) {
		return tensor{}, fmt.Errorf("gpu: %q: shape %v has not the run's %d rows", b.name, t.Shape, rows)
	}
	return tensor{model: b.index, shape: t.Shape, bytes: n, row: n / int64(rows)}, nil
}

// divide lays the run out on the device in parts of so many rows.
func (l *layout) divide(part int) {
	l.part = part
	n := int64((l.rows + part - 1) / part)
	l.deviceIn, l.deviceOut, l.staged = 0, 0, 0
	place := func(x *tensor, at *int64) {
		x.dev, x.part = *at, aligned(x.row*int64(part))
		if n == 1 {
			x.part = aligned(x.bytes)
		}
		*at += n * x.part
	}
	// Inputs lie in their order, staged or not, so that a shape has one place in a slot. Where all are
	// staged they lie as on the host: a run of one part takes one copy.
	staged := n == 1
	for i := range l.inputs {
		place(&l.inputs[i], &l.deviceIn)
		staged = staged && l.inputs[i].host >= 0
	}
	if staged {
		l.staged = l.hostIn
	}
	for i := range l.outputs {
		if l.outputs[i].bytes > 0 {
			place(&l.outputs[i], &l.deviceOut)
		}
	}
}

// parts calls f for the rows [from, to) of each part.
func (l *layout) parts(f func(k, from, to int) error) error {
	for k, from := 0, 0; from < l.rows; k, from = k+1, from+l.part {
		if err := f(k, from, min(from+l.part, l.rows)); err != nil {
			return err
		}
	}
	return nil
}

// shapeOf is the shape of rows [from, to) of a tensor.
func (l *layout) shapeOf(x *tensor, from, to int) []int64 {
	if l.rows == 1 {
		return x.shape
	}
	shape := append([]int64(nil), x.shape...)
	shape[0] = int64(to - from)
	return shape
}
