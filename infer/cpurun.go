package infer

import (
	"context"
	"fmt"
	"slices"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/stage"
)

// cpuRunner runs a session that it shares with others. It owns the tensors' memory: C memory,
// since ONNX Runtime keeps the addresses. A tensor is made once for each shape and taken again,
// so a run allocates nothing but what onnxruntime_go does: two lists of values for C.
//
// Values are handed to each run, and not bound once (IoBinding), which would spare those two
// lists: onnxruntime_go runs a binding without run options, and so nothing could end it.
type cpuRunner struct {
	session *session
	spec    *textSpec
	book    func(stage.Purpose, int64)
	size    activations
	charged int64 // for activations
	ending  ending

	inputs  []slab
	results []textVector           // the spec's
	outputs []slab                 // of the results
	held    map[[2]int]*runTensors // by rows and tokens
}

// maxShapes bounds the shapes that tensors are held for. Packed runs have about as many shapes as
// there are lengths of rows; a shape's tensors take about a kilobyte.
const maxShapes = 256

// runTensors are the tensors of the runs of one shape, over the slabs.
type runTensors struct{ inputs, outputs []ort.Value }

func newCPURunner(s *session, spec *textSpec, size activations, book func(stage.Purpose, int64)) (*cpuRunner, error) {
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, fmt.Errorf("infer: run options: %w", err)
	}
	results := spec.results()
	return &cpuRunner{session: s, spec: spec, book: book, size: size, ending: ending{options: options},
		inputs: make([]slab, len(spec.inputs)), results: results, outputs: make([]slab, len(results)), held: map[[2]int]*runTensors{}}, nil
}

func (c *cpuRunner) close() error {
	c.destroyTensors()
	for i := range c.inputs {
		c.inputs[i].free(c.book)
	}
	for k := range c.outputs {
		c.outputs[k].free(c.book)
	}
	c.book(stage.Arena, -c.charged)
	c.charged = 0
	return c.ending.close()
}

func (c *cpuRunner) shape(n, length int) (int, int) { return c.spec.fixed(n, length) }

// run ends a run that is cancelled by ONNX Runtime's terminate flag, which it looks at between
// two operators.
func (c *cpuRunner) run(ctx context.Context, n, length int, _ float64, fill func(i int, to []byte), take func(k int, out []byte)) error {
	c.charge(n, length)
	if err := c.room(n, length); err != nil {
		return err
	}
	t, err := c.tensors(n, length)
	if err != nil {
		return err
	}
	for i, in := range c.spec.inputs {
		fill(i, c.inputs[i].b[:n*length*in.kind.size()])
	}
	c.ending.watch(ctx)
	err = c.session.ort.RunWithOptions(t.inputs, t.outputs, c.ending.options)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("infer: run of %d rows by %d tokens: %w", n, length, err)
	}
	for k := range c.results {
		take(k, c.outputs[k].b[:c.results[k].bytes(n, length)])
	}
	return nil
}

// room makes the slabs as large as a run needs them. Tensors over a slab that moves go first.
func (c *cpuRunner) room(n, length int) error {
	for i, in := range c.spec.inputs {
		if err := c.grow(&c.inputs[i], n*length*in.kind.size()); err != nil {
			return err
		}
	}
	for k := range c.results {
		if err := c.grow(&c.outputs[k], c.results[k].bytes(n, length)); err != nil {
			return err
		}
	}
	return nil
}

func (c *cpuRunner) grow(s *slab, n int) error {
	if n > cap(s.b) {
		c.destroyTensors()
	}
	_, err := s.take(n, c.book)
	return err
}

// tensors are those held for the shape, or new ones. Where too many shapes are held, any of them
// goes: sorted windows bring the same shapes round and round, and if always the oldest one went,
// each would be gone when it comes again.
func (c *cpuRunner) tensors(n, length int) (*runTensors, error) {
	shape := [2]int{n, length}
	if t := c.held[shape]; t != nil {
		return t, nil
	}
	if len(c.held) >= maxShapes {
		for other, t := range c.held {
			t.destroy()
			delete(c.held, other)
			break
		}
	}
	t, err := c.newTensors(n, length)
	if err != nil {
		t.destroy()
		return nil, err
	}
	c.held[shape] = t
	return t, nil
}

// newTensors gives what it made also beside an error.
func (c *cpuRunner) newTensors(n, length int) (*runTensors, error) {
	t := &runTensors{}
	for i, in := range c.spec.inputs {
		data := c.inputs[i].b[:n*length*in.kind.size()]
		v, err := newHeldTensor(ort.NewShape(int64(n), int64(length)), data, in.kind)
		if err != nil {
			return t, fmt.Errorf("infer: input %q: %w", in.name, err)
		}
		t.inputs = append(t.inputs, v)
	}
	for k := range c.results {
		out := &c.results[k]
		v, err := newHeldTensor(out.shape(n, length), c.outputs[k].b[:out.bytes(n, length)], out.kind)
		if err != nil {
			return t, fmt.Errorf("infer: output %q: %w", out.output, err)
		}
		t.outputs = append(t.outputs, v)
	}
	return t, nil
}

func (c *cpuRunner) destroyTensors() {
	for _, t := range c.held {
		t.destroy()
	}
	clear(c.held)
}

func (t *runTensors) destroy() {
	for _, v := range slices.Concat(t.inputs, t.outputs) {
		_ = v.Destroy() // of a tensor: never fails
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

// charge books what a run of this shape takes beyond what was booked: the arena keeps the
// largest.
func (c *cpuRunner) charge(rows, tokens int) {
	if need := c.size.bytes(rows, tokens); need > c.charged {
		c.book(stage.Arena, need-c.charged)
		c.charged = need
	}
}

// activations estimates what ONNX Runtime's arena holds for a caller. The arena cannot be
// asked. What is alive at once in a transformer block is, in float32: the inner layer
// twice (before and after its activation), some five tensors of the hidden size, and the
// attention scores of all heads twice. Two callers of MiniLM with runs of 1024 tokens: 91
// MiB booked, tensors included, 83 MiB more RSS.
type activations struct {
	hidden, inner, heads int
}

func (a activations) bytes(rows, tokens int) int64 {
	n := int64(rows) * int64(tokens)
	return 4 * (n*int64(2*a.inner+5*a.hidden) + 2*n*int64(tokens)*int64(a.heads))
}

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
