package infer

import (
	"context"
	"fmt"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/stage"
)

// cpuRunner runs a session that it shares with others. It owns the tensors' memory: C memory,
// since ONNX Runtime keeps the addresses.
type cpuRunner struct {
	session *session
	spec    *textSpec
	book    func(stage.Purpose, int64)
	size    activations
	charged int64 // for activations
	options *ort.RunOptions

	inputs []slab
	output slab
	values []ort.Value
	result [1]ort.Value
}

func newCPURunner(s *session, spec *textSpec, size activations, book func(stage.Purpose, int64)) (*cpuRunner, error) {
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, fmt.Errorf("infer: run options: %w", err)
	}
	return &cpuRunner{session: s, spec: spec, book: book, size: size, options: options,
		inputs: make([]slab, len(spec.inputs)), values: make([]ort.Value, len(spec.inputs))}, nil
}

func (c *cpuRunner) close() error {
	for i := range c.inputs {
		c.inputs[i].free(c.book)
	}
	c.output.free(c.book)
	c.book(stage.Arena, -c.charged)
	c.charged = 0
	return c.options.Destroy()
}

func (c *cpuRunner) shape(n, length int) (int, int) { return c.spec.fixed(n, length) }

// run ends a run that is cancelled by ONNX Runtime's terminate flag, which it looks at between
// two operators.
func (c *cpuRunner) run(ctx context.Context, n, length int, _ float64, fill func(i int, to []byte), take func(out []byte)) error {
	c.charge(n, length)
	defer c.destroyValues()
	for i, in := range c.spec.inputs {
		data, err := c.inputs[i].take(n*length*in.kind.size(), c.book)
		if err != nil {
			return err
		}
		fill(i, data)
		c.values[i], err = ort.NewCustomDataTensor(ort.NewShape(int64(n), int64(length)), data, ort.TensorElementDataType(in.kind))
		if err != nil {
			return fmt.Errorf("infer: input %q: %w", in.name, err)
		}
	}
	shape := c.spec.outputShape(n, length)
	data, err := c.output.take(c.spec.outputBytes(n, length), c.book)
	if err != nil {
		return err
	}
	c.result[0], err = ort.NewCustomDataTensor(ort.NewShape(shape...), data, ort.TensorElementDataType(c.spec.kind))
	if err != nil {
		return fmt.Errorf("infer: output %q: %w", c.spec.output, err)
	}
	err = interruptible(ctx, c.options, func() error { return c.session.ort.RunWithOptions(c.values, c.result[:], c.options) })
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("infer: run of %d rows by %d tokens: %w", n, length, err)
	}
	take(data)
	return nil
}

// interruptible calls f, whose runs have these options. If ctx ends, the run under way
// ends, too, and so must f.
func interruptible(ctx context.Context, options *ort.RunOptions, f func() error) error {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = options.Terminate() // fails only on options that were destroyed
		close(fired)
	})
	err := f()
	if !stop() {
		<-fired
		_ = options.UnsetTerminate()
		return ctx.Err()
	}
	return err
}

func (c *cpuRunner) destroyValues() {
	for i, v := range c.values {
		if v != nil {
			_ = v.Destroy() // of a tensor: never fails
			c.values[i] = nil
		}
	}
	if c.result[0] != nil {
		_ = c.result[0].Destroy()
		c.result[0] = nil
	}
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
