//go:build cuda

package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/infer/gpu"
	"github.com/penstock-data/penstock/internal/cudaemu"
	"github.com/penstock-data/penstock/internal/overlap"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
)

// model takes three int64 tensors [rows, tokens] and gives float[rows, tokens, width].
const (
	model   = "infer/testdata/models/plain/onnx/model.onnx"
	library = "build/lib/libonnxruntime.so"
	inputs  = 3
	words   = 20 // token ids are below
	width   = 8
)

// run makes a job of c.Batches rows, each one batch of the model, and gives its record.
func (c constants) run(ctx context.Context, ring int) (result, []overlap.Op, error) {
	r := result{Ring: ring, BlockLimit: c.BlockLimit}
	if err := cudaemu.Reset(cudaemu.Config{Seed: uint64(ring), MaxDelay: time.Duration(c.DelayUS) * time.Microsecond, Record: true}); err != nil {
		return r, nil, err
	}
	shape := []int64{int64(c.Rows), int64(c.Tokens)}
	tensors := make([]infer.DeviceTensor, inputs)
	for i := range tensors {
		tensors[i].Shape = shape
	}
	output := infer.DeviceTensor{Shape: append(shape[:2:2], width)}
	actor, err := gpu.Open(ctx, infer.DeviceConfig{
		Library: library, Model: model, Slots: ring, Inputs: []string{"input_ids", "attention_mask", "token_type_ids"},
		Outputs: []string{"last_hidden_state"}, Warm: []infer.DeviceRun{{Inputs: tensors, Outputs: []infer.DeviceTensor{output}}},
	})
	if err != nil {
		return r, nil, err
	}
	ds := pipeline.Read(readers.Range(int64(c.Batches))).
		Apply(prepare{constants: c, memory: actor.InputMemory()}, pipeline.StageConfig{Actors: 2, BatchSize: 1}).
		Apply(infers{c, actor, output}, pipeline.StageConfig{Actors: 1, BatchSize: 1})
	var last pipeline.Stats
	began := time.Now()
	err = func() error {
		cfg := pipeline.Config{BlockLimit: c.BlockLimit, BlockBytes: 64 << 10, CPUs: 2, GPUs: []int{0}, Progress: func(s pipeline.Stats) { last = s }}
		for rec, err := range ds.Batches(ctx, cfg) {
			if err != nil {
				return err
			}
			for _, sum := range rec.Column(0).(*array.Uint32).Uint32Values() {
				r.Checksum = r.Checksum*31 + sum
			}
			r.Batches += rec.NumRows()
		}
		return nil
	}()
	r.Seconds = time.Since(began).Seconds()
	r.PeakBytes, r.MemoryLimit = last.Memory.Peak, last.Memory.Limit
	r.PeakBlocks = last.Memory.PeakByPurpose[stage.Blocks.String()]
	r.Pageable = cudaemu.Count().Pageable
	if closed := actor.Close(); err == nil {
		err = closed
	}
	return r, cudaemu.Record(), err
}

var batchSchema = arrow.NewSchema([]arrow.Field{{Name: "tensors", Type: arrow.BinaryTypes.Binary}}, nil)

// prepare is the CPU's work: it writes a batch's tensors, one behind the other, into memory from
// which the device reads, as the bytes of one value.
type prepare struct {
	constants
	memory memory.Allocator
	env    stage.Env
}

// charged books what it gives on the job's ledger.
type charged struct {
	memory.Allocator
	env stage.Env
}

func (c charged) Allocate(n int) []byte {
	c.env.Book(stage.Blocks, int64(n))
	return c.Allocator.Allocate(n)
}

func (c charged) Reallocate(n int, b []byte) []byte {
	c.env.Book(stage.Blocks, int64(n-len(b)))
	return c.Allocator.Reallocate(n, b)
}

func (c charged) Free(b []byte) {
	c.env.Book(stage.Blocks, -int64(len(b)))
	c.Allocator.Free(b)
}

func (p prepare) ID() stage.StageID { return stage.StageID{Name: "prepare"} }

func (p prepare) Bind([]*arrow.Schema) (*stage.Bound, error) {
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) {
		opened := p
		opened.env, opened.memory = env, charged{p.memory, env}
		return worker(opened.process), nil
	}
	return &stage.Bound{Schema: batchSchema, Need: stage.Need{CPU: 1}, Open: open}, nil
}

func (p prepare) process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	for row := range in.NumRows() {
		if err := p.env.Room(ctx, int64(inputs*p.Rows*p.Tokens*arrow.Int64SizeBytes)); err != nil {
			return err
		}
		number := in.Parts[0].Record.Column(0).(*array.Int64).Value(int(row))
		rec := p.tensors(uint64(number))
		if err := emit(stage.Output{Record: rec, Parent: []int32{int32(row)}, Through: int32(row + 1)}); err != nil {
			return err
		}
	}
	return nil
}

func (p prepare) tensors(number uint64) arrow.Record {
	cells := p.Rows * p.Tokens
	values, offsets := memory.NewResizableBuffer(p.memory), memory.NewResizableBuffer(memory.DefaultAllocator)
	defer values.Release()
	defer offsets.Release()
	values.Resize(inputs * cells * arrow.Int64SizeBytes)
	offsets.Resize(2 * arrow.Int32SizeBytes)
	ends := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	ends[0], ends[1] = 0, int32(values.Len())

	cudaemu.Note(number, values.Bytes())
	random := rand.New(rand.NewPCG(number, 1))
	to := arrow.Int64Traits.CastFromBytes(values.Bytes())
	for i := range cells {
		to[i], to[cells+i], to[2*cells+i] = int64(random.IntN(words)), 1, 0
	}
	data := array.NewData(arrow.BinaryTypes.Binary, 1, []*memory.Buffer{nil, offsets, values}, nil, 0, 0)
	defer data.Release()
	column := array.NewBinaryData(data)
	defer column.Release()
	return array.NewRecord(batchSchema, []arrow.Array{column}, 1)
}

var sumSchema = arrow.NewSchema([]arrow.Field{{Name: "sum", Type: arrow.PrimitiveTypes.Uint32}}, nil)

// infers runs the model on the actor, as many batches at once as it has slots, and gives a
// checksum of each batch's output.
type infers struct {
	constants
	actor  *gpu.Actor
	output infer.DeviceTensor
}

func (s infers) ID() stage.StageID { return stage.StageID{Name: "infer"} }

func (s infers) Bind([]*arrow.Schema) (*stage.Bound, error) {
	open := func(context.Context, stage.Env) (stage.Worker, error) { return worker(s.process), nil }
	return &stage.Bound{Schema: sumSchema, Need: stage.Need{GPU: 1, InFlight: s.actor.Slots()}, Open: open}, nil
}

func (s infers) process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	if in.NumRows() != 1 {
		return fmt.Errorf("%d batches at once", in.NumRows())
	}
	all := in.Parts[0].Record.Column(0).(*array.Binary).Value(0)
	each := len(all) / inputs
	run := infer.DeviceRun{Outputs: []infer.DeviceTensor{s.output}}
	for i := range inputs {
		run.Inputs = append(run.Inputs, infer.DeviceTensor{Shape: s.output.Shape[:2], Data: all[i*each : (i+1)*each]})
	}
	sums := array.NewUint32Builder(memory.DefaultAllocator)
	defer sums.Release()
	run.Take = func(_ int, from []byte, _ []int64) error {
		sums.Append(crc32.ChecksumIEEE(from))
		return nil
	}
	if err := s.actor.Run(ctx, &run); err != nil {
		return err
	}
	column := sums.NewArray()
	defer column.Release()
	return emit(stage.Output{Record: array.NewRecord(sumSchema, []arrow.Array{column}, 1)})
}

// worker is a stage's worker that keeps nothing.
type worker func(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error

func (w worker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	return w(ctx, in, emit)
}

func (worker) Finish(context.Context, func(stage.Output) error) error { return nil }

func (worker) Close() error { return nil }
