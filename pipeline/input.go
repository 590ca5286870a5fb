package pipeline

import (
	"fmt"
	"sort"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// input is the rows of a task as its stage gets them, and where they came from.
type input struct {
	picks  []pick
	starts []int        // row of the batch at which each pick starts
	parts  []stage.View // the columns that the stage reads: one record, or one view per pick; without origin
	rows   int
	from   stage.Origin // of all rows, once it was asked for
}

// assemble makes the input of a call. Rows of one block that follow each other are not copied;
// others are put together, unless the stage takes views. Columns that the worker has named memory
// for are put together there.
func assemble(o *operator, picks []pick, named []memory.Allocator, env stage.Env) (*input, error) {
	in := &input{picks: picks}
	for _, p := range picks {
		in.starts = append(in.starts, in.rows)
		in.rows += p.rows()
	}
	if named != nil && in.rows > 0 {
		rec, err := o.gather(picks, named, env)
		if err != nil {
			return nil, fmt.Errorf("put a batch into the worker's memory: %w", err)
		}
		in.parts = []stage.View{{Record: rec}}
		return in, nil
	}
	for _, p := range picks {
		part, err := o.read(p, env)
		if err != nil {
			in.release()
			return nil, err
		}
		in.parts = append(in.parts, part)
	}
	if len(in.parts) > 1 && !o.step.bound.Need.Views {
		recs := make([]arrow.Record, len(in.parts))
		for i, p := range in.parts {
			recs[i] = p.Record
		}
		joined, err := concatRecords(recs, env.Allocator(0))
		if err != nil {
			in.release()
			return nil, fmt.Errorf("join %d blocks into a batch: %w", len(in.parts), err)
		}
		in.release()
		in.parts = []stage.View{{Record: joined}}
	}
	return in, nil
}

// read gives the columns of a pick that the operator's stage reads: rows picked one by one are
// a view on them, or taken out of them where the stage takes none.
func (o *operator) read(p pick, env stage.Env) (stage.View, error) {
	whole := o.reads.of(p.block.batch.Record())
	switch {
	case p.at == nil:
		defer whole.Release()
		return stage.View{Record: whole.NewSlice(int64(p.from), int64(p.to))}, nil
	case o.step.bound.Need.Views:
		return stage.View{Record: whole, Rows: p.at}, nil
	}
	defer whole.Release()
	taken, err := takeRecord(whole, p.at, env.Allocator(0))
	return stage.View{Record: taken}, err
}

func (in *input) release() {
	for _, p := range in.parts {
		p.Record.Release()
	}
	in.parts = nil
}

// origin is that of all rows.
func (in *input) origin() stage.Origin {
	if in.from.Len() < in.rows {
		all := make([]stage.Origin, len(in.picks))
		for i, p := range in.picks {
			all[i] = p.origin()
		}
		in.from = stage.ConcatOrigins(all...)
	}
	return in.from
}

// slice is rows [from, to) as a batch, owned by the caller.
func (in *input) slice(from, to int) stage.Batch {
	origin := in.origin()
	starts := in.starts
	if len(in.parts) == 1 { // of all picks
		starts = []int{0}
	}
	var b stage.Batch
	for i, p := range in.parts {
		lo, hi := max(from, starts[i]), min(to, starts[i]+p.NumRows())
		if lo >= hi {
			continue
		}
		v := stage.View{Origin: origin.Slice(lo, hi)}
		if lo, hi = lo-starts[i], hi-starts[i]; p.Rows != nil {
			v.Record, v.Rows = p.Record, p.Rows[lo:hi]
			v.Record.Retain()
		} else {
			v.Record = p.Record.NewSlice(int64(lo), int64(hi))
		}
		b.Parts = append(b.Parts, v)
	}
	return b
}

// find gives the pick in which a row of the batch is, and its row in the pick's block.
func (in *input) find(row int) (k, at int) {
	k = sort.Search(len(in.starts), func(i int) bool { return in.starts[i] > row }) - 1
	return k, in.picks[k].row(row - in.starts[k])
}

// json is a row with all its columns as a JSON object, for a dead letter.
func (in *input) json(row int) string {
	k, at := in.find(row)
	one := in.picks[k].block.batch.Record().NewSlice(int64(at), int64(at+1))
	defer one.Release()
	raw, err := one.MarshalJSON()
	if err != nil {
		return fmt.Sprintf(`{"error":%q}`, err.Error())
	}
	return strings.TrimSpace(strings.Trim(string(raw), "[]\n")) // an array of one object
}
