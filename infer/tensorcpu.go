package infer

import (
	"context"
	"fmt"
	"slices"
	"unsafe"

	ort "github.com/yalue/onnxruntime_go"

	"github.com/penstock-data/penstock/stage"
)

// cpuTensors runs a session that it shares with others. It owns the memory of the inputs, and of
// the outputs whose size is known: C memory, since ONNX Runtime keeps the addresses. Other outputs
// lie where the binding puts them.
type cpuTensors struct {
	session *session
	plan    *tensorPlan
	book    func(stage.Purpose, int64)
	charged int64 // for activations
	ending  ending
	inputs  []slab
	outputs []slab
	values  []ort.Value
	results []ort.Value
}

func (p *tensorPlan) newCPUTensors(ctx context.Context, u *user) (*cpuTensors, error) {
	session, err := p.stage.model.acquire(ctx, u, ports{inputs: p.stage.inputs.feeds, outputs: p.wanted(), images: p.stage.config.Images})
	if err != nil {
		return nil, err
	}
	options, err := ort.NewRunOptions()
	if err != nil {
		return nil, fmt.Errorf("infer: run options: %w", err)
	}
	return &cpuTensors{session: session, plan: p, book: u.book, ending: ending{options: options},
		inputs: make([]slab, len(p.inputs)), outputs: make([]slab, len(p.outputs)),
		values: make([]ort.Value, len(p.inputs)), results: make([]ort.Value, len(p.outputs))}, nil
}

// close gives all memory back.
func (c *cpuTensors) close() error {
	for i := range c.inputs {
		c.inputs[i].free(c.book)
	}
	for i := range c.outputs {
		c.outputs[i].free(c.book)
	}
	c.book(stage.Arena, -c.charged)
	c.charged = 0
	return c.ending.close()
}

// activationsPerNumber estimates what ONNX Runtime's arena holds, as float32s for each number
// that goes in or comes out. The arena cannot be asked, and the file says little of what lies
// between. Measured for ResNet-50 in float32: 25 for one image, 17 each for sixteen.
const activationsPerNumber = 18

// charge books what a run takes beyond what was booked: the arena keeps the largest.
func (c *cpuTensors) charge(r *DeviceRun) {
	numbers := int64(0)
	for _, t := range slices.Concat(r.Inputs, r.Outputs) {
		if t.Shape != nil {
			numbers += ort.NewShape(t.Shape...).FlattenedSize()
		}
	}
	if need := 4 * activationsPerNumber * numbers; need > c.charged {
		c.book(stage.Arena, need-c.charged)
		c.charged = need
	}
}

// inPlace: a column's memory is Go's, which ONNX Runtime must not keep.
func (c *cpuTensors) inPlace() bool { return false }

func (c *cpuTensors) rows(n int) int { return max(c.plan.stage.rows, n) }

// run ends a run that is cancelled by ONNX Runtime's terminate flag, which it looks at between
// two operators.
func (c *cpuTensors) run(ctx context.Context, r *DeviceRun) error {
	defer c.destroy()
	c.charge(r)
	for i, t := range r.Inputs {
		in := &c.plan.inputs[i]
		data, err := c.inputs[i].take(int(t.Shape[0])*in.rowBytes(), c.book)
		if err != nil {
			return err
		}
		r.Fill(i, data)
		if c.values[i], err = newTensor(t.Shape, in.Type, data); err != nil {
			return fmt.Errorf("infer: input %q: %w", in.Name, err)
		}
	}
	for i, t := range r.Outputs {
		out := &c.plan.outputs[i]
		if t.Shape == nil {
			continue // ONNX Runtime allocates it
		}
		data, err := c.outputs[i].take(int(t.Shape[0])*out.size()*out.Type.size(), c.book)
		if err != nil {
			return err
		}
		if c.results[i], err = newTensor(t.Shape, out.Type, data); err != nil {
			return fmt.Errorf("infer: output %q: %w", out.Name, err)
		}
	}
	c.ending.watch(ctx)
	err := c.session.ort.RunWithOptions(c.values, c.results, c.ending.options)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	for i, v := range c.results {
		if err := r.Take(i, rawData(v), v.GetShape()); err != nil {
			return err
		}
	}
	return nil
}

func newTensor(shape []int64, kind ElementType, data []byte) (ort.Value, error) {
	v, err := ort.NewCustomDataTensor(ort.NewShape(shape...), data, ort.TensorElementDataType(kind))
	if err != nil {
		return nil, err // a *CustomDataTensor that is nil would be no nil value
	}
	return v, nil
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
func (c *cpuTensors) destroy() {
	for _, list := range [][]ort.Value{c.values, c.results} {
		for i, v := range list {
			if v != nil {
				_ = v.Destroy() // of a tensor: never fails
				list[i] = nil
			}
		}
	}
}
