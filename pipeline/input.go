package pipeline

import (
	"fmt"
	"sort"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// input is the rows of a task as its stage gets them, and where they came from.
type input struct {
	picks  []pick
	starts []int          // row of the batch at which each pick starts
	parts  []arrow.Record // the columns that the stage reads: one record, or one per pick for views
	rows   int
}

// assemble makes the input of a call. Rows of one block are not copied; rows of several are
// put together, unless the stage takes views.
func assemble(o *operator, picks []pick, env stage.Env) (*input, error) {
	in := &input{picks: picks}
	for _, p := range picks {
		in.starts = append(in.starts, in.rows)
		in.rows += p.rows()
		whole := o.reads.of(p.block.batch.Record())
		in.parts = append(in.parts, whole.NewSlice(int64(p.from), int64(p.to)))
		whole.Release()
	}
	if len(in.parts) > 1 && !o.step.bound.Need.Views {
		joined, err := concatRecords(in.parts, env.Allocator(0))
		if err != nil {
			in.release()
			return nil, fmt.Errorf("join %d blocks into a batch: %w", len(in.parts), err)
		}
		in.release()
		in.parts = []arrow.Record{joined}
	}
	return in, nil
}

func (in *input) release() {
	for _, p := range in.parts {
		p.Release()
	}
	in.parts = nil
}

// origin is that of all rows.
func (in *input) origin() stage.Origin {
	all := make([]stage.Origin, len(in.picks))
	for i, p := range in.picks {
		all[i] = p.block.batch.Origin().Slice(p.from, p.to)
	}
	return stage.ConcatOrigins(all...)
}

// slice is rows [from, to) as a batch, owned by the caller.
func (in *input) slice(from, to int) stage.Batch {
	origin := in.origin()
	if len(in.parts) == 1 {
		return stage.NewBatch(in.parts[0].NewSlice(int64(from), int64(to)), origin.Slice(from, to))
	}
	var b stage.Batch
	for i, p := range in.parts {
		lo, hi := max(from, in.starts[i]), min(to, in.starts[i]+int(p.NumRows()))
		if lo < hi {
			b.Parts = append(b.Parts, stage.View{
				Record: p.NewSlice(int64(lo-in.starts[i]), int64(hi-in.starts[i])),
				Origin: origin.Slice(lo, hi),
			})
		}
	}
	return b
}

// find gives the pick in which a row of the batch is, and its row in the pick's block.
func (in *input) find(row int) (k, at int) {
	k = sort.Search(len(in.starts), func(i int) bool { return in.starts[i] > row }) - 1
	return k, in.picks[k].from + row - in.starts[k]
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
