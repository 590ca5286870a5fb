package infer

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// tensorRunner runs a model between columns of numbers, one run at a time.
type tensorRunner interface {
	// rows is how many rows a run of n has: what is more is padding.
	rows(n int) int
	// inPlace says whether runs take inputs where they lie.
	inPlace() bool
	run(ctx context.Context, r *DeviceRun) error
	close() error
}

// deviceRun is a run of so many rows, without its data.
func (p *tensorPlan) deviceRun(n int) DeviceRun {
	r := DeviceRun{Splittable: p.stage.rows == 0}
	for _, in := range p.inputs {
		r.Inputs = append(r.Inputs, DeviceTensor{Shape: shapeWith(n, in.dims), ElementBytes: in.Type.size()})
	}
	for _, out := range p.outputs {
		t := DeviceTensor{ElementBytes: out.Type.size()}
		if out.size() > 0 {
			t.Shape = shapeWith(n, out.dims)
		}
		r.Outputs = append(r.Outputs, t)
	}
	return r
}

func shapeWith(n int, dims []int64) []int64 { return append([]int64{int64(n)}, dims...) }

// tensorBatch is a batch on its way through the model.
type tensorBatch struct {
	worker  *tensorWorker
	rec     arrow.Record
	sources []*tensorSource // of the inputs
	columns []*tensorColumn
	fates   []tensorFate // of the rows
	parent  []int32
	failed  []stage.RowFailure
	nulls   int64
}

// tensorFate is what becomes of a row.
type tensorFate uint8

const (
	runs    tensorFate = iota // it goes through the model
	isNull                    // so is what comes of it
	isWrong                   // it failed
)

func (w *tensorWorker) newBatch(rec arrow.Record) *tensorBatch {
	b := &tensorBatch{worker: w, rec: rec}
	for i := range w.plan.inputs {
		in := &w.plan.inputs[i]
		b.sources = append(b.sources, newTensorSource(in, rec.Column(in.at)))
	}
	for i := range w.plan.outputs {
		b.columns = append(b.columns, newTensorColumn(&w.plan.outputs[i], w.env.Allocator(i)))
	}
	return b
}

// process takes n rows through the model: all at once, or as many as a run of it has.
func (b *tensorBatch) process(ctx context.Context, r tensorRunner, n int) error {
	for row := range n {
		if row%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		b.fates = append(b.fates, b.fate(int32(row)))
	}
	most := n
	if fixed := b.worker.plan.stage.rows; fixed > 0 {
		most = fixed
	}
	var rows []int32
	from := 0
	for row := range n {
		if b.fates[row] == runs {
			rows = append(rows, int32(row))
		}
		if row+1 < n && len(rows) < most {
			continue
		}
		if err := b.run(ctx, r, from, row+1, rows); err != nil {
			return err
		}
		from, rows = row+1, rows[:0]
	}
	return nil
}

// fate looks at a row: it is null, or cannot be put into the inputs, or can.
func (b *tensorBatch) fate(row int32) tensorFate {
	for _, s := range b.sources {
		if s.col.IsNull(int(row)) {
			b.nulls++
			b.parent = append(b.parent, row)
			return isNull
		}
	}
	for _, s := range b.sources {
		if err := s.check(int(row)); err != nil {
			b.failed = append(b.failed, stage.RowFailure{Row: row, Column: s.in.column, Kind: stage.BadData,
				Err: fmt.Errorf("infer: input %q: %w", s.in.Name, err)})
			return isWrong
		}
	}
	b.parent = append(b.parent, row)
	return runs
}

// run runs the model over some rows, if there are any, and appends what becomes of all of
// [from, to) to the columns.
func (b *tensorBatch) run(ctx context.Context, runner tensorRunner, from, to int, rows []int32) error {
	if len(rows) == 0 {
		for i := range b.columns {
			if err := b.append(ctx, i, from, to, nil, nil); err != nil {
				return err
			}
		}
		return nil
	}
	n := runner.rows(len(rows))
	r := b.worker.plan.deviceRun(n)
	r.Real = float64(len(rows)) / float64(n)
	if runner.inPlace() && n == len(rows) {
		for i, s := range b.sources {
			r.Inputs[i].Data = s.whole(rows)
		}
	}
	var wrong error
	r.Fill = func(i int, to []byte) {
		if runner.inPlace() && b.sources[i].in.plain {
			b.worker.env.Add(stage.StagedBytes, int64(len(to)))
		}
		if err := b.sources[i].fill(to, rows); err != nil {
			wrong = fmt.Errorf("infer: input %q: %w", b.sources[i].in.Name, err)
		}
	}
	r.Take = func(i int, data []byte, shape []int64) error {
		out := &b.worker.plan.outputs[i]
		if err := out.check(n, shape, len(data)); err != nil {
			return err
		}
		return b.append(ctx, i, from, to, shape[1:], data[:len(data)/n*len(rows)])
	}
	if err := runner.run(ctx, &r); err != nil {
		return fmt.Errorf("infer: run of %d rows (%s): %w", n, b.worker.plan.describe(), err)
	}
	return wrong
}

// append adds rows [from, to) to the column of an output, of which data has the numbers of those
// that went through the model.
func (b *tensorBatch) append(ctx context.Context, i, from, to int, dims []int64, data []byte) error {
	col := b.columns[i]
	if err := b.worker.env.Room(ctx, int64(len(data)+8*(to-from))); err != nil {
		return err
	}
	step := b.columns[i].out.Type.size()
	for _, d := range dims {
		step *= int(d)
	}
	for row := from; row < to; {
		n := 1
		switch b.fates[row] {
		case isNull:
			if err := col.null(); err != nil {
				return err
			}
		case runs:
			for row+n < to && b.fates[row+n] == runs {
				n++
			}
			if err := col.add(n, dims, data); err != nil {
				return err
			}
			data = data[n*step:]
		}
		row += n
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
