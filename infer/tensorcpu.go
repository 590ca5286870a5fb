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
// the outputs whose size is known: C memory, since ONNX Runtime keeps the addresses. Their tensors
// are made once for each number of rows. Other outputs lie where the binding puts them.
type cpuTensors struct {
	session *session
	plan    *tensorPlan
	book    func(stage.Purpose, int64)
	charged int64 // for activations
	ending  ending
	inputs  []slab
	outputs []slab
	held    heldTensors[int] // by rows
	results []ort.Value      // of the run under way
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
		held: heldTensors[int]{}, results: make([]ort.Value, len(p.outputs))}, nil
}

// close gives all memory back.
func (c *cpuTensors) close() error {
	c.held.destroy()
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
			numbers += ort.Shape(t.Shape).FlattenedSize()
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
	t, err := c.tensors(r)
	if err != nil {
		return err
	}
	for i := range r.Inputs {
		r.Fill(i, c.inputs[i].b[:c.plan.inputs[i].runBytes(r)])
	}
	copy(c.results, t.outputs)
	defer c.destroyResults(t)
	c.ending.watch(ctx)
	err = c.session.ort.RunWithOptions(t.inputs, c.results, c.ending.options)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	for i, v := range c.results {
		data, shape := c.outputs[i].b, r.Outputs[i].Shape
		if t.outputs[i] == nil {
			data, shape = rawData(v), v.GetShape()
		} else {
			data = data[:c.plan.outputs[i].runBytes(r)]
		}
		if err := r.Take(i, data, shape); err != nil {
			return err
		}
	}
	return nil
}

// runRows is how many rows a run has.
func runRows(r *DeviceRun) int { return int(r.Inputs[0].Shape[0]) }

func (in *boundInput) runBytes(r *DeviceRun) int { return runRows(r) * in.rowBytes() }

// runBytes is of an output whose size is known.
func (o *tensorOutput) runBytes(r *DeviceRun) int { return runRows(r) * o.size() * o.Type.size() }

// tensors are those held for as many rows, or new ones.
func (c *cpuTensors) tensors(r *DeviceRun) (*runTensors, error) {
	rows := runRows(r)
	if t := c.held[rows]; t != nil {
		return t, nil
	}
	c.charge(r)
	for i := range c.inputs {
		if err := c.held.grow(&c.inputs[i], c.plan.inputs[i].runBytes(r), c.book); err != nil {
			return nil, err
		}
	}
	for i := range c.outputs {
		if r.Outputs[i].Shape == nil {
			continue
		}
		if err := c.held.grow(&c.outputs[i], c.plan.outputs[i].runBytes(r), c.book); err != nil {
			return nil, err
		}
	}
	t, err := c.newTensors(r)
	return c.held.add(rows, t, err)
}

// newTensors gives what it made also beside an error.
func (c *cpuTensors) newTensors(r *DeviceRun) (*runTensors, error) {
	t := &runTensors{}
	for i, in := range c.plan.inputs {
		v, err := newHeldTensor(r.Inputs[i].Shape, c.inputs[i].b[:in.runBytes(r)], in.Type)
		if err != nil {
			return t, fmt.Errorf("infer: input %q: %w", in.Name, err)
		}
		t.inputs = append(t.inputs, v)
	}
	for i, out := range c.plan.outputs {
		if r.Outputs[i].Shape == nil {
			t.outputs = append(t.outputs, nil)
			continue
		}
		v, err := newHeldTensor(r.Outputs[i].Shape, c.outputs[i].b[:out.runBytes(r)], out.Type)
		if err != nil {
			return t, fmt.Errorf("infer: output %q: %w", out.Name, err)
		}
		t.outputs = append(t.outputs, v)
	}
	return t, nil
}

// rawData are the bytes of a tensor of numbers that the binding made.
func rawData(v ort.Value) []byte {
	switch t := v.(type) {
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

// destroyResults lets go of the outputs of a run that are not held.
func (c *cpuTensors) destroyResults(t *runTensors) {
	for i, v := range c.results {
		if t.outputs[i] == nil && v != nil {
			_ = v.Destroy() // of a tensor: never fails
		}
		c.results[i] = nil
	}
}
