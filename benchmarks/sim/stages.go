package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// A block is one row whose one value has all of its bytes.
var blockSchema = arrow.NewSchema([]arrow.Field{{Name: "block", Type: arrow.BinaryTypes.Binary}}, nil)

// block makes a block in memory that is really written to.
func block(mem memory.Allocator, size int64) arrow.Record {
	offsets, values := memory.NewResizableBuffer(mem), memory.NewResizableBuffer(mem)
	defer offsets.Release()
	defer values.Release()
	offsets.Resize(2 * arrow.Int32SizeBytes)
	arrow.Int32Traits.CastFromBytes(offsets.Bytes())[0] = 0
	arrow.Int32Traits.CastFromBytes(offsets.Bytes())[1] = int32(size)
	values.Resize(int(size))
	for k := int64(0); k < size; k += 4096 { // each page
		values.Bytes()[k] = byte(k)
	}
	data := array.NewData(arrow.BinaryTypes.Binary, 1, []*memory.Buffer{nil, offsets, values}, nil, 0, 0)
	defer data.Release()
	col := array.NewBinaryData(data)
	defer col.Release()
	return array.NewRecord(blockSchema, []arrow.Array{col}, 1)
}

func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// load is a source whose splits take a while, and then give blocks.
type load struct {
	c          constants
	blockBytes int64
}

func (l load) ID() stage.StageID { return stage.StageID{Name: "load"} }

func (l load) Plan(context.Context, stage.ScanRequest) (stage.Scan, error) { return l, nil }

func (l load) Schema() *arrow.Schema { return blockSchema }

func (l load) Residual() expr.Expr { return nil }

func (l load) Splits(context.Context) iter.Seq2[stage.Split, error] {
	return func(yield func(stage.Split, error) bool) {
		for k := range l.c.LoadTasks {
			name := strconv.Itoa(k)
			rows := int64(l.c.BlocksPerTask)
			sp := stage.Split{ID: name, Path: name, Fingerprint: "1", Spec: json.RawMessage(name), Rows: rows, Bytes: rows * l.blockBytes}
			if !yield(sp, nil) {
				return
			}
		}
	}
}

func (l load) Open(_ context.Context, env stage.Env, sp stage.Split, from int64) (stage.Reader, error) {
	return &loader{load: l, env: env, split: &sp, at: from}, nil
}

type loader struct {
	load
	env   stage.Env
	split *stage.Split
	at    int64
}

func (l *loader) Next(ctx context.Context, _ int64) (stage.Batch, error) {
	if l.at == int64(l.c.BlocksPerTask) {
		return stage.Batch{}, io.EOF
	}
	if l.at == 0 {
		if err := wait(ctx, l.c.seconds(l.c.LoadSeconds)); err != nil {
			return stage.Batch{}, err
		}
	}
	rec := block(l.env.Allocator(0), l.blockBytes)
	l.at++
	return stage.NewBatch(rec, stage.RowRange(l.split, l.at-1, 1)), nil
}

func (l *loader) Close() error { return nil }

// work is a stage that makes a block from each, after a while.
type work struct {
	name     string
	duration time.Duration
	bytes    int64
	cpu      float64
}

func (w work) ID() stage.StageID { return stage.StageID{Name: w.name} }

func (w work) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if !in[0].Equal(blockSchema) {
		return nil, fmt.Errorf("%s reads blocks, not %s", w.name, in[0])
	}
	need := stage.Need{CPU: w.cpu}
	if w.cpu == 0 {
		need.GPU = 1 // without it no CPU would mean the default
	}
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) { return worker{w, env}, nil }
	return &stage.Bound{Schema: blockSchema, Need: need, Open: open}, nil
}

type worker struct {
	work
	env stage.Env
}

func (w worker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	for row := range in.NumRows() {
		rec := block(w.env.Allocator(0), w.bytes)
		if err := wait(ctx, w.duration); err != nil {
			rec.Release()
			return err
		}
		if err := emit(stage.Output{Record: rec, Parent: []int32{int32(row)}, Through: int32(row + 1)}); err != nil {
			return err
		}
	}
	return nil
}

func (w worker) Finish(context.Context, func(stage.Output) error) error { return nil }

func (w worker) Close() error { return nil }
