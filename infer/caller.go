package infer

import (
	"cmp"
	"context"
	"slices"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow/float16"

	"github.com/penstock-data/penstock/stage"
)

// caller runs batches of texts through a session, one at a time.
type caller struct {
	runner  runner
	spec    *textSpec
	budget  int
	arrival bool // rows stay in the order in which they come
	pad     padding

	vectors []textVector // the spec's
	results []textVector // likewise

	planner planner
	scratch []float32
	now     textRun
	fill    func(i int, to []byte) // of now; made once, as take is: a run allocates nothing
	take    func(k int, from []byte)
}

// textRun is the run that a caller is at.
type textRun struct {
	rows  []row
	block block
	into  vectors
	out   output
}

// runner makes single runs of a text model, on the CPU or on a device.
type runner interface {
	// shape is what a run of n rows by length tokens is padded to.
	shape(n, length int) (int, int)
	// run runs the model. fill writes input i, and take reads result k, one after the other, and keeps none.
	run(ctx context.Context, n, length int, real float64, fill func(i int, to []byte), take func(k int, out []byte)) error
	// close gives back what runs took.
	close() error
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

// furtherVectors takes what the spec has in more: more(i) is for the i-th vector of a text, i > 0.
type furtherVectors interface {
	more(i int) vectors
}

// tokenVectors takes those of every token instead, where the spec's pooling is everyToken.
type tokenVectors interface {
	tokenVectors(i int32, out *output, row, first, n int) // n of them, from the first on
}

func newCaller(r runner, spec *textSpec, cfg Config, pad padding) *caller {
	c := &caller{runner: r, spec: spec, budget: cfg.runTokens(stage.CPU), arrival: cfg.NoPacking, pad: pad, vectors: spec.all(), results: spec.results()}
	widest := slices.MaxFunc(c.vectors, func(a, b textVector) int { return cmp.Compare(a.dim, b.dim) })
	c.scratch = make([]float32, widest.dim)
	c.fill, c.take = c.fillInput, c.takeOutput
	return c
}

func (c *caller) close() error { return c.runner.close() }

// embed runs rows through the model. It sorts them, unless they stay in their order. If ctx is
// cancelled, the run under way is ended between two of the model's operators.
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
	err := c.runs(ctx, rows, into, &stats)
	return stats, err
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
		padded, err := c.run(ctx, rows[start:end], into)
		if err != nil {
			return err
		}
		stats.padded += padded
		start = end
	}
	return nil
}

// run is one call of the model.
func (c *caller) run(ctx context.Context, rows []row, into vectors) (padded int64, err error) {
	n, length := c.runner.shape(len(rows), longest(rows))
	real := 0
	for i := range rows {
		real += len(rows[i].ids)
	}
	c.now = textRun{rows: rows, block: block{n, length, c.spec.left, c.pad}, into: into}
	err = c.runner.run(ctx, n, length, float64(real)/float64(n*length), c.fill, c.take)
	c.now = textRun{} // rows and vectors are the batch's
	return int64(n * length), err
}

func (c *caller) fillInput(i int, to []byte) { fill(to, c.spec.inputs[i], c.now.rows, c.now.block) }

// takeOutput hands on what result k of a run holds for its rows.
func (c *caller) takeOutput(k int, from []byte) {
	for i := range c.vectors {
		if v := &c.vectors[i]; v.output == c.results[k].output {
			c.takeVectors(v, vectorsAt(c.now.into, i), from)
		}
	}
}

// vectorsAt takes the i-th vector of texts.
func vectorsAt(into vectors, i int) vectors {
	if i == 0 {
		return into
	}
	return into.(furtherVectors).more(i)
}

func (c *caller) takeVectors(v *textVector, into vectors, from []byte) {
	run := &c.now
	tokens := run.block.length
	if v.pooling == NoPooling {
		tokens = 1
	}
	run.out = newOutput(from, v.kind, run.block.rows, tokens, v.dim, c.scratch)
	for i, r := range run.rows {
		first := 0
		if c.spec.left {
			first = run.block.length - len(r.ids)
		}
		if v.pooling == everyToken {
			into.(tokenVectors).tokenVectors(r.at, &run.out, i, first, len(r.ids))
			continue
		}
		v.pooling.pool(into.at(r.at), &run.out, i, first, len(r.ids))
		into.done(r.at)
	}
}

// block is the shape of an input, and how its rows are padded.
type block struct {
	rows, length int
	left         bool
	pad          padding
}

// padding is the token that fills rows up, and its type.
type padding struct{ id, kind int32 }

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
	zero, one, pad := as(0), as(1), as(b.pad.id)
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
			fillWith(rest, pad)
		case attentionMask:
			fillWith(to, one)
			fillWith(rest, zero)
		case positionIDs:
			fillPositions(to, rest, b.left, as)
		case tokenTypes:
			fillWith(to, zero)
			fillWith(rest, as(b.pad.kind))
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
