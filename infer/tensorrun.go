package infer

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	ort "github.com/yalue/onnxruntime_go"

	"github.com/penstock-data/penstock/stage"
)

// tensorCaller runs a model of any kind, one run at a time. It owns the memory of the
// inputs, and of the outputs whose size is known: C memory, since ONNX Runtime keeps the
// addresses. Other outputs lie where the binding puts them.
type tensorCaller struct {
	session *session
	plan    *tensorPlan
	book    func(stage.Purpose, int64)
	options *ort.RunOptions
	inputs  []slab
	outputs []slab
	values  []ort.Value
	results []ort.Value
}

func (s *tensorStage) newTensorCaller(ctx context.Context, u *user, p *tensorPlan) (*tensorCaller, error) {
	var want ports
	for _, in := range p.inputs {
		want.inputs = append(want.inputs, in.Name)
	}
	for _, out := range p.outputs {
		want.outputs = append(want.outputs, out.Name)
	}
	session, err := s.model.acquire(ctx, u, want)
	if err != nil {
		return nil, err
	}
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, fmt.Errorf("infer: run options: %w", err)
	}
	return &tensorCaller{session: session, plan: p, book: u.book, options: options,
		inputs: make([]slab, len(p.inputs)), outputs: make([]slab, len(p.outputs)),
		values: make([]ort.Value, len(p.inputs)), results: make([]ort.Value, len(p.outputs))}, nil
}

// close gives all memory back.
func (c *tensorCaller) close() error {
	for i := range c.inputs {
		c.inputs[i].free(c.book)
	}
	for i := range c.outputs {
		c.outputs[i].free(c.book)
	}
	return c.options.Destroy()
}

// row gives the memory of row i of n of an input.
func (c *tensorCaller) row(input, i, n int) ([]byte, error) {
	size := c.plan.inputs[input].rowBytes()
	all, err := c.inputs[input].take(n*size, c.book)
	if err != nil {
		return nil, err
	}
	return all[i*size : (i+1)*size], nil
}

func (in *boundInput) rowBytes() int {
	n := in.Type.size()
	for _, d := range in.dims {
		n *= int(d)
	}
	return n
}

// run runs the first n rows of the inputs. The results are valid until destroy.
func (c *tensorCaller) run(n int) error {
	for i := range c.plan.inputs {
		in := &c.plan.inputs[i]
		data, err := c.inputs[i].take(n*in.rowBytes(), c.book)
		if err != nil {
			return err
		}
		c.values[i], err = ort.NewCustomDataTensor(shapeWith(n, in.dims), data, ort.TensorElementDataType(in.Type))
		if err != nil {
			return fmt.Errorf("infer: input %q: %w", in.Name, err)
		}
	}
	for i := range c.plan.outputs {
		out := &c.plan.outputs[i]
		size := out.size()
		if size <= 0 {
			continue // ONNX Runtime allocates it
		}
		data, err := c.outputs[i].take(n*size*out.Type.size(), c.book)
		if err != nil {
			return err
		}
		c.results[i], err = ort.NewCustomDataTensor(shapeWith(n, out.dims), data, ort.TensorElementDataType(out.Type))
		if err != nil {
			return fmt.Errorf("infer: output %q: %w", out.Name, err)
		}
	}
	if err := c.session.ort.RunWithOptions(c.values, c.results, c.options); err != nil {
		return fmt.Errorf("infer: run of %d rows (%s): %w", n, c.plan.describe(), err)
	}
	return nil
}

func shapeWith(n int, dims []int64) ort.Shape { return append(ort.NewShape(int64(n)), dims...) }

// result gives the shape and the numbers of an output of n rows.
func (c *tensorCaller) result(i, n int) (dims []int64, data []byte, err error) {
	out := &c.plan.outputs[i]
	v := c.results[i]
	shape := v.GetShape()
	if len(shape) != len(out.dims)+1 || shape[0] != int64(n) {
		return nil, nil, fmt.Errorf("infer: output %s has the shape %v for %d rows: it has no row for each row that goes in", names([]TensorInfo{out.TensorInfo}), shape, n)
	}
	for d, size := range out.dims {
		if size >= 0 && size != shape[d+1] {
			return nil, nil, fmt.Errorf("infer: output %s has the shape %v", names([]TensorInfo{out.TensorInfo}), shape)
		}
	}
	data = rawData(v)
	if want := int(shape.FlattenedSize()) * out.Type.size(); len(data) < want {
		return nil, nil, fmt.Errorf("infer: output %s has %d bytes, not %d", names([]TensorInfo{out.TensorInfo}), len(data), want)
	}
	return shape[1:], data, nil
}

// rawData are the bytes of a tensor of numbers.
func rawData(v ort.Value) []byte {
	switch t := v.(type) {
	case *ort.CustomDataTensor:
		return t.GetData()
	case *ort.Tensor[int8]:
		return bytesOf(t.GetData())
	case *ort.Tensor[int16]:
		return bytesOf(t.GetData())
	case *ort.Tensor[int32]:
		return bytesOf(t.GetData())
	case *ort.Tensor[int64]:
		return bytesOf(t.GetData())
	case *ort.Tensor[uint8]:
		return t.GetData()
	case *ort.Tensor[uint16]:
		return bytesOf(t.GetData())
	case *ort.Tensor[uint32]:
		return bytesOf(t.GetData())
	case *ort.Tensor[uint64]:
		return bytesOf(t.GetData())
	case *ort.Tensor[float32]:
		return bytesOf(t.GetData())
	case *ort.Tensor[float64]:
		return bytesOf(t.GetData())
	case *ort.Tensor[bool]:
		return bytesOf(t.GetData())
	}
	return nil
}

func bytesOf[T any](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), len(v)*int(unsafe.Sizeof(v[0])))
}

// destroy lets go of the tensors of a run.
func (c *tensorCaller) destroy() {
	for _, list := range [][]ort.Value{c.values, c.results} {
		for i, v := range list {
			if v != nil {
				_ = v.Destroy() // of a tensor: never fails
				list[i] = nil
			}
		}
	}
}

// tensorBatch is a batch on its way through the model.
type tensorBatch struct {
	worker  *tensorWorker
	rec     arrow.Record
	columns []*tensorColumn
	parent  []int32
	failed  []stage.RowFailure
	nulls   int64

	waiting []bool // rows since the last run: true is in the inputs, false is null
	filled  int
}

// rows takes n rows through the model.
func (b *tensorBatch) rows(ctx context.Context, n int) error {
	size := n
	if fixed := b.worker.plan.stage.rows; fixed > 0 {
		size = fixed
	}
	for row := range n {
		if row%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		done, err := b.row(row, size)
		if err != nil {
			return err
		}
		if done && b.filled == size {
			if err := b.run(ctx, size); err != nil {
				return err
			}
		}
	}
	return b.run(ctx, size)
}

// row puts a row into the inputs, unless it is null or cannot be put there.
func (b *tensorBatch) row(row, size int) (filled bool, err error) {
	c, plan := b.worker.caller, b.worker.plan
	for _, in := range plan.inputs {
		if b.rec.Column(in.at).IsNull(row) {
			b.nulls++
			b.waiting, b.parent = append(b.waiting, false), append(b.parent, int32(row))
			return false, nil
		}
	}
	for i := range plan.inputs {
		in := &plan.inputs[i]
		dst, err := c.row(i, b.filled, size)
		if err != nil {
			return false, err
		}
		if err := fillRow(dst, in.Type, b.rec.Column(in.at), row, in.dims); err != nil {
			b.failed = append(b.failed, stage.RowFailure{Row: int32(row), Column: in.column, Kind: stage.BadData,
				Err: fmt.Errorf("infer: input %q: %w", in.Name, err)})
			return false, nil
		}
	}
	b.filled++
	b.waiting, b.parent = append(b.waiting, true), append(b.parent, int32(row))
	return true, nil
}

// run runs the model over the rows that are in the inputs, if there are any, and appends
// all that wait to the columns.
func (b *tensorBatch) run(ctx context.Context, size int) error {
	c, plan := b.worker.caller, b.worker.plan
	defer c.destroy()
	n := b.filled
	if n > 0 {
		if plan.stage.rows > 0 {
			n = size
			if err := b.repeatLast(size); err != nil {
				return err
			}
		}
		if err := c.run(n); err != nil {
			return err
		}
	}
	for i, col := range b.columns {
		if err := b.append(ctx, i, col, n); err != nil {
			return err
		}
	}
	b.waiting, b.filled = b.waiting[:0], 0
	return nil
}

// repeatLast fills a run of fixed size up.
func (b *tensorBatch) repeatLast(size int) error {
	c := b.worker.caller
	for i := range b.worker.plan.inputs {
		last, err := c.row(i, b.filled-1, size)
		if err != nil {
			return err
		}
		for k := b.filled; k < size; k++ {
			dst, err := c.row(i, k, size)
			if err != nil {
				return err
			}
			copy(dst, last)
		}
	}
	return nil
}

func (b *tensorBatch) append(ctx context.Context, i int, col *tensorColumn, n int) (err error) {
	var dims []int64
	var data []byte
	step := 0
	if n > 0 {
		if dims, data, err = b.worker.caller.result(i, n); err != nil {
			return err
		}
		step = len(data) / n
	}
	if err := b.worker.env.Room(ctx, int64(len(b.waiting)*(step+8))); err != nil {
		return err
	}
	done := 0
	for at := 0; at < len(b.waiting); {
		if !b.waiting[at] {
			if err := col.null(); err != nil {
				return err
			}
			at++
			continue
		}
		rows := 1
		for at+rows < len(b.waiting) && b.waiting[at+rows] {
			rows++
		}
		if err := col.add(rows, dims, data[done*step:]); err != nil {
			return err
		}
		done, at = done+rows, at+rows
	}
	return nil
}

func (b *tensorBatch) record() arrow.Record {
	var fields []arrow.Field
	var cols []arrow.Array
	for _, c := range b.columns {
		a := c.array()
		defer a.Release()
		cols = append(cols, a)
		fields = append(fields, arrow.Field{Name: c.out.column, Type: c.out.columnType(), Nullable: true})
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), cols, int64(len(b.parent)))
}

func (b *tensorBatch) drop() {
	for _, c := range b.columns {
		c.drop()
	}
}
