package infer

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// AverageChunks makes a task for what [Model.Embed] and Dataset.Collect made of the chunks
// of a text: a column list<fixed_size_list<float32>> of their embeddings becomes the column
// of their mean, which is normalised where the embeddings are. c is the configuration of
// the embedding, with Chunk.Together set; of several outputs, each has such a column. A
// chunk without an embedding does not count, and a text that has none is null.
//
//	d.Run(embed, pipeline.StageConfig{}).Collect("embedding").Run(average, pipeline.StageConfig{})
func (m *Model) AverageChunks(c EmbedConfig) (stage.Task, error) {
	if c.Chunk.Tokens == 0 || !c.Chunk.Together {
		return nil, fmt.Errorf("infer: embed: there are no chunks to be averaged: set Chunk.Tokens and Chunk.Together")
	}
	task, err := m.Embed(c)
	if err != nil {
		return nil, err
	}
	return &averageStage{task.(*textTask).head.(embedHead)}, nil
}

// averageStage takes the mean of lists of vectors.
type averageStage struct{ head embedHead }

func (s *averageStage) Expand(stage.Placement) ([]stage.Stage, error) { return []stage.Stage{s}, nil }

func (s *averageStage) ID() stage.StageID {
	raw, err := json.Marshal(s.head.settings())
	if err != nil {
		raw = nil // strings, bools and numbers: they always are JSON
	}
	return stage.StageID{Name: "average", Version: "1", Settings: raw}
}

func (s *averageStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if len(in) != 1 {
		return nil, fmt.Errorf("infer: average: takes one input, not %d", len(in))
	}
	need := stage.Need{Adds: s.head.fields(), RowWise: true, Retryable: true, Deterministic: true}
	for i := range s.head {
		c := &s.head[i]
		at, err := stage.Column(in[0], c.name)
		if err != nil {
			return nil, err
		}
		list, ok := in[0].Field(at).Type.(*arrow.ListType)
		if vector := c.field().Type; !ok || !arrow.TypeEqual(list.Elem(), vector) {
			return nil, &stage.ColumnError{Column: c.name, Problem: fmt.Sprintf("is %s, not a list of the chunks' embeddings, %s",
				plainType(in[0].Field(at).Type), plainType(arrow.ListOf(vector)))}
		}
		need.Reads = append(need.Reads, c.name)
	}
	open := func(_ context.Context, env stage.Env) (stage.Worker, error) { return &averageWorker{s, env}, nil }
	return &stage.Bound{Schema: need.OutputSchema(in[0]), Need: need, Open: open}, nil
}

type averageWorker struct {
	stage *averageStage
	env   stage.Env
}

// Process emits one record for the whole batch.
func (w *averageWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	head, n := w.stage.head, in.NumRows()
	if n == 0 {
		return nil
	}
	room := 0
	for _, c := range head {
		room += 4 * n * c.dim
	}
	if err := w.env.Room(ctx, int64(room)); err != nil {
		return err
	}
	cols, err := head.begin(w.env, n)
	if err != nil {
		return err
	}
	for i, c := range cols.(*embedColumns).columns {
		c.average(in.Record().Column(i).(*array.List))
	}
	return emit(stage.Output{Record: cols.record(), Through: int32(n)})
}

// average takes the mean of each row's vectors.
func (c *vectorValues) average(rows *array.List) {
	vectors := rows.ListValues().(*array.FixedSizeList)
	values := vectors.ListValues().(*array.Float32).Float32Values()
	for i := range c.n {
		sum, k := c.of(int32(i)), 0
		clear(sum)
		if rows.IsValid(i) {
			for from, to := rows.ValueOffsets(i); from < to; from++ {
				if vectors.IsNull(int(from)) {
					continue
				}
				a, b := vectors.ValueOffsets(int(from))
				for d, x := range values[a:b] {
					sum[d] += x
				}
				k++
			}
		}
		switch k {
		case 0:
			c.null(int32(i))
			continue
		case 1:
			continue // to the bit what the chunk has
		}
		for d := range sum {
			sum[d] /= float32(k)
		}
		if c.column.normalize {
			normalize(sum)
		}
	}
}

func (w *averageWorker) Finish(context.Context, func(stage.Output) error) error { return nil }

func (w *averageWorker) Close() error { return nil }
