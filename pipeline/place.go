package pipeline

import (
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// A worker may name memory for columns that it reads ([stage.InputMemory]). They are then put
// together there, from wherever their rows lie, which is the one copy that is made of them: a
// device reads them in place.

// inputMemory asks the worker for the memory of each column that it reads; nil: it names none.
func (c *stageCall) inputMemory() (named []memory.Allocator, err error) {
	need := c.op.step.bound.Need
	c.slot.mu.RLock()
	defer c.slot.mu.RUnlock()
	w, ok := c.slot.worker.(stage.InputMemory)
	if !ok || need.Views {
		return nil, nil
	}
	all := make([]memory.Allocator, len(need.Reads))
	err = c.guard(func() (err error) {
		for field, name := range need.Reads {
			if all[field], err = w.InputAllocator(field); err != nil {
				return fmt.Errorf("memory for column %q: %w", name, err)
			}
		}
		return nil
	})
	if err != nil || !slices.ContainsFunc(all, func(m memory.Allocator) bool { return m != nil }) {
		return nil, err
	}
	return all, nil
}

// gather makes one record of picks: columns with memory of their own are put together there,
// others as they are where they lie in one piece already. It counts the bytes of the former.
func (o *operator) gather(picks []pick, named []memory.Allocator, env stage.Env) (arrow.Record, error) {
	var parts []arrow.Record // rows that follow each other
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	rows := int64(0)
	for _, p := range picks {
		parts = append(parts, o.ranges(p)...)
		rows += int64(p.rows())
	}
	schema := parts[0].Schema()
	cols := make([]arrow.Array, 0, len(named))
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	for i, mem := range named {
		col, err := joinColumn(parts, i, mem, env)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", schema.Field(i).Name, err)
		}
		cols = append(cols, col)
	}
	return array.NewRecord(schema, cols, rows), nil
}

// ranges are the columns of a pick that the operator's stage reads, one record for rows that
// follow each other.
func (o *operator) ranges(p pick) []arrow.Record {
	whole := o.reads.of(p.block.batch.Record())
	defer whole.Release()
	if p.at == nil {
		return []arrow.Record{whole.NewSlice(int64(p.from), int64(p.to))}
	}
	var out []arrow.Record
	for from := 0; from < len(p.at); {
		to := from + 1
		for to < len(p.at) && p.at[to] == p.at[to-1]+1 {
			to++
		}
		out = append(out, whole.NewSlice(int64(p.at[from]), int64(p.at[to-1])+1))
		from = to
	}
	return out
}

// joinColumn puts a column together in mem; nil: wherever, or nowhere if it is in one piece.
func joinColumn(recs []arrow.Record, at int, mem memory.Allocator, env stage.Env) (arrow.Array, error) {
	if mem == nil && len(recs) == 1 {
		col := recs[0].Column(at)
		col.Retain()
		return col, nil
	}
	parts := make([]arrow.ArrayData, len(recs))
	for k, r := range recs {
		parts[k] = r.Column(at).Data()
	}
	if err := joinable(parts); err != nil {
		return nil, err
	}
	named := mem != nil
	if !named {
		mem = env.Allocator(0)
	}
	data, err := concatData(parts, mem)
	if err != nil {
		return nil, err
	}
	defer data.Release()
	if named {
		env.Add(stage.PlacedBytes, dataBytes(data, 0, data.Len()))
	}
	return array.MakeFromData(data), nil
}
