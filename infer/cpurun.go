package infer

import (
	"context"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"

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
	results []textVector        // the spec's
	outputs []slab              // of the results
	held    heldTensors[[2]int] // by rows and tokens
}

func newCPURunner(s *session, spec *textSpec, size activations, book func(stage.Purpose, int64)) (*cpuRunner, error) {
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, fmt.Errorf("infer: run options: %w", err)
	}
	results := spec.results()
	return &cpuRunner{session: s, spec: spec, book: book, size: size, ending: ending{options: options},
		inputs: make([]slab, len(spec.inputs)), results: results, outputs: make([]slab, len(results)), held: heldTensors[[2]int]{}}, nil
}

func (c *cpuRunner) close() error {
	c.held.destroy()
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
		if err := c.held.grow(&c.inputs[i], n*length*in.kind.size(), c.book); err != nil {
			return err
		}
	}
	for k := range c.results {
		if err := c.held.grow(&c.outputs[k], c.results[k].bytes(n, length), c.book); err != nil {
			return err
		}
	}
	return nil
}

// tensors are those held for the shape, or new ones.
func (c *cpuRunner) tensors(n, length int) (*runTensors, error) {
	shape := [2]int{n, length}
	if t := c.held[shape]; t != nil {
		return t, nil
	}
	t, err := c.newTensors(n, length)
	return c.held.add(shape, t, err)
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
