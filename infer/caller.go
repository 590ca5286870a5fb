package infer

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow/float16"
	ort "github.com/yalue/onnxruntime_go"

	"github.com/penstock-data/penstock/internal/cmem"
	"github.com/penstock-data/penstock/stage"
)

// caller runs batches of texts through a session, one at a time. It owns the tensors'
// memory: C memory, since ONNX Runtime keeps the addresses.
type caller struct {
	session *session
	spec    *textSpec
	budget  int
	arrival bool // rows stay in the order in which they come
	pad     int32
	book    func(stage.Purpose, int64)
	size    activations
	charged int64 // for activations
	options *ort.RunOptions

	planner planner
	inputs  []slab
	output  slab
	values  []ort.Value
	result  [1]ort.Value
	scratch []float32
}

// runStats is what a batch came to.
type runStats struct {
	tokens, padded, truncated int64
}

// vectors takes the vectors of a batch's texts, in no order.
type vectors interface {
	at(i int32) []float32 // where the vector of text i is to be written
	done(i int32)         // it was
}

// tokenVectors takes those of every token instead, where the spec's pooling is everyToken.
type tokenVectors interface {
	tokenVectors(i int32, out *output, row, first, n int) // n of them, from the first on
}

func newCaller(s *session, spec *textSpec, cfg Config, pad int32, size activations, book func(stage.Purpose, int64)) (*caller, error) {
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, fmt.Errorf("infer: run options: %w", err)
	}
	return &caller{session: s, spec: spec, budget: cfg.runTokens(), arrival: cfg.NoPacking, pad: pad, book: book, size: size, options: options,
		inputs: make([]slab, len(spec.inputs)), values: make([]ort.Value, len(spec.inputs)), scratch: make([]float32, spec.dim)}, nil
}

// close gives all memory back.
func (c *caller) close() error {
	for i := range c.inputs {
		c.inputs[i].free(c.book)
	}
	c.output.free(c.book)
	c.book(stage.Arena, -c.charged)
	c.charged = 0
	return c.options.Destroy()
}

// embed runs rows through the model. It sorts them, unless they stay in their order. If ctx is cancelled, the run under
// way is ended by ONNX Runtime's terminate flag, which it looks at between two operators.
func (c *caller) embed(ctx context.Context, rows []row, into vectors) (runStats, error) {
	var stats runStats
	if err := ctx.Err(); err != nil || len(rows) == 0 {
		return stats, err
	}
	for i := range rows {
		if n := c.spec.tokens; n > 0 && len(rows[i].ids) > n {
			rows[i].ids = rows[i].ids[:n]
			if rows[i].types != nil {
				rows[i].types = rows[i].types[:n]
			}
			stats.truncated++
		}
		stats.tokens += int64(len(rows[i].ids))
	}
	err := interruptible(ctx, c.options, func() error { return c.runs(ctx, rows, into, &stats) })
	return stats, err
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

func (c *caller) runs(ctx context.Context, rows []row, into vectors, stats *runStats) error {
	if !c.arrival {
		sortRows(rows)
	}
	var ends []int32
	switch {
	case c.spec.batch > 0:
		ends = c.planner.chunk(rows, c.spec.batch)
	case c.spec.tokens > 0:
		ends = c.planner.chunk(rows, max(c.budget/c.spec.tokens, 1))
	case c.arrival:
		ends = c.planner.inTurn(rows, c.budget)
	default:
		ends = c.planner.cut(rows, c.budget, 0)
	}
	start := int32(0)
	for _, end := range ends {
		if err := ctx.Err(); err != nil {
			return err
		}
		padded, err := c.run(rows[start:end], into)
		if err != nil {
			return err
		}
		stats.padded += padded
		start = end
	}
	return nil
}

// run is one call of the model.
func (c *caller) run(rows []row, into vectors) (padded int64, err error) {
	n, length := len(rows), longest(rows)
	if c.spec.batch > 0 {
		n = c.spec.batch
	}
	if c.spec.tokens > 0 {
		length = c.spec.tokens
	}
	c.charge(n, length)
	defer c.destroyValues()
	for i, in := range c.spec.inputs {
		data, err := c.inputs[i].take(n*length*in.kind.size(), c.book)
		if err != nil {
			return 0, err
		}
		fill(data, in, rows, block{n, length, c.spec.left, c.pad})
		c.values[i], err = ort.NewCustomDataTensor(ort.NewShape(int64(n), int64(length)), data, ort.TensorElementDataType(in.kind))
		if err != nil {
			return 0, fmt.Errorf("infer: input %q: %w", in.name, err)
		}
	}
	shape, tokens := ort.NewShape(int64(n), int64(length), int64(c.spec.dim)), length
	if c.spec.pooling == NoPooling {
		shape, tokens = ort.NewShape(int64(n), int64(c.spec.dim)), 1
	}
	data, err := c.output.take(n*tokens*c.spec.dim*c.spec.kind.size(), c.book)
	if err != nil {
		return 0, err
	}
	c.result[0], err = ort.NewCustomDataTensor(shape, data, ort.TensorElementDataType(c.spec.kind))
	if err != nil {
		return 0, fmt.Errorf("infer: output %q: %w", c.spec.output, err)
	}
	if err := c.session.ort.RunWithOptions(c.values, c.result[:], c.options); err != nil {
		return 0, fmt.Errorf("infer: run of %d rows by %d tokens: %w", n, length, err)
	}
	out := newOutput(data, c.spec.kind, n, tokens, c.spec.dim, c.scratch)
	for i, r := range rows {
		first := 0
		if c.spec.left {
			first = length - len(r.ids)
		}
		if c.spec.pooling == everyToken {
			into.(tokenVectors).tokenVectors(r.at, &out, i, first, len(r.ids))
			continue
		}
		c.spec.pooling.pool(into.at(r.at), &out, i, first, len(r.ids))
		into.done(r.at)
	}
	return int64(n * length), nil
}

func (c *caller) destroyValues() {
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
func (c *caller) charge(rows, tokens int) {
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

// block is the shape of an input, and how its rows are padded.
type block struct {
	rows, length int
	left         bool
	pad          int32
}

// fill writes an input of a block: rows padded behind or in front, and behind the rows
// copies of the last one where the model's batch is fixed (rows of padding alone would
// make some models compute with NaN, which is slow).
func fill(data []byte, in textInput, rows []row, b block) {
	switch in.kind {
	case Int64:
		fillAs(cells[int64](data), in.role, rows, b, func(v int32) int64 { return int64(v) })
	case Int32:
		fillAs(cells[int32](data), in.role, rows, b, func(v int32) int32 { return v })
	case Float32:
		fillAs(cells[float32](data), in.role, rows, b, func(v int32) float32 { return float32(v) })
	case Float16:
		fillAs(cells[float16.Num](data), in.role, rows, b, func(v int32) float16.Num { return float16.New(float32(v)) })
	case Bool:
		fillAs(data, in.role, rows, b, func(v int32) byte { return byte(min(max(v, 0), 1)) })
	}
}

func cells[T any](data []byte) []T {
	var t T
	return unsafe.Slice((*T)(unsafe.Pointer(&data[0])), len(data)/int(unsafe.Sizeof(t)))
}

func fillAs[T any](dst []T, r role, rows []row, b block, as func(int32) T) {
	zero, one, padding := as(0), as(1), as(b.pad)
	for i := range b.rows {
		from := rows[min(i, len(rows)-1)]
		all := dst[i*b.length : (i+1)*b.length]
		to, rest := all[:len(from.ids)], all[len(from.ids):]
		if b.left {
			rest, to = all[:b.length-len(from.ids)], all[b.length-len(from.ids):]
		}
		switch r {
		case tokenIDs:
			for k, id := range from.ids {
				to[k] = as(id)
			}
			fillWith(rest, padding)
		case attentionMask:
			fillWith(to, one)
			fillWith(rest, zero)
		case positionIDs:
			fillPositions(to, rest, b.left, as)
		case tokenTypes:
			fillWith(all, zero)
			for k, kind := range from.types {
				to[k] = as(kind)
			}
		}
	}
}

// fillPositions counts on over padding behind the tokens; padding before them is at 0.
func fillPositions[T any](to, rest []T, left bool, as func(int32) T) {
	for k := range to {
		to[k] = as(int32(k))
	}
	for k := range rest {
		at := int32(0)
		if !left {
			at = int32(len(to) + k)
		}
		rest[k] = as(at)
	}
}

func fillWith[T any](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}
