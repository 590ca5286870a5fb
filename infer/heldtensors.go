package infer

import (
	"fmt"
	"slices"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/stage"
)

// heldTensors are the tensors of runs, over slabs, by the shape of a run.
type heldTensors[Shape comparable] map[Shape]*runTensors

// maxShapes bounds the shapes that tensors are held for. Packed runs have about as many shapes as
// there are lengths of rows; a shape's tensors take about a kilobyte.
const maxShapes = 256

// runTensors are the tensors of the runs of one shape. An output that is nil is allocated by ONNX
// Runtime.
type runTensors struct{ inputs, outputs []ort.Value }

// add holds t, unless there was an error, and then destroys what there is of it. Where too many
// shapes are held, any of them goes: sorted windows bring the same shapes round and round, and if
// always the oldest one went, each would be gone when it comes again.
func (h heldTensors[Shape]) add(shape Shape, t *runTensors, err error) (*runTensors, error) {
	if err != nil {
		t.destroy()
		return nil, err
	}
	if len(h) >= maxShapes {
		for other, t := range h {
			t.destroy()
			delete(h, other)
			break
		}
	}
	h[shape] = t
	return t, nil
}

// grow makes a slab large enough. Tensors over one that moves go first.
func (h heldTensors[Shape]) grow(s *slab, n int, book func(stage.Purpose, int64)) error {
	if n > cap(s.b) {
		h.destroy()
	}
	_, err := s.take(n, book)
	return err
}

func (h heldTensors[Shape]) destroy() {
	for _, t := range h {
		t.destroy()
	}
	clear(h)
}

func (t *runTensors) destroy() {
	for _, v := range slices.Concat(t.inputs, t.outputs) {
		if v != nil {
			_ = v.Destroy() // of a tensor: never fails
		}
	}
}

// heldTensor is a tensor for many runs: one of onnxruntime_go's own allocates for each run what
// tells the run its address.
type heldTensor struct {
	*ort.CustomDataTensor
	internals *ort.ValueInternalData
}

func newHeldTensor(shape ort.Shape, data []byte, kind ElementType) (*heldTensor, error) {
	t, err := ort.NewCustomDataTensor(shape, data, ort.TensorElementDataType(kind))
	if err != nil {
		return nil, err
	}
	return &heldTensor{t, t.GetInternals()}, nil
}

func (t *heldTensor) GetInternals() *ort.ValueInternalData { return t.internals }

// slab is C memory that grows in powers of two and is used again.
type slab struct{ b []byte }

const minSlab = 4096

// take gives the first n bytes, whatever stands in them.
func (s *slab) take(n int, book func(stage.Purpose, int64)) ([]byte, error) {
	if n <= cap(s.b) {
		return s.b[:n], nil
	}
	size := minSlab
	for size < n {
		size *= 2
	}
	s.free(book)
	b, err := cmem.Alloc(stage.Arena, size)
	if err != nil {
		return nil, fmt.Errorf("infer: %w", err)
	}
	book(stage.Arena, int64(size))
	s.b = b
	return b[:n], nil
}

func (s *slab) free(book func(stage.Purpose, int64)) {
	if s.b == nil {
		return
	}
	book(stage.Arena, -int64(cap(s.b)))
	cmem.Free(stage.Arena, s.b)
	s.b = nil
}
