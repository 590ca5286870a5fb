package job_test

import (
	"context"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/stage"
)

// nowhere is a sink that keeps nothing.
type nowhere struct{ stage.Sink }

func (nowhere) OpenPart(context.Context, stage.Env, stage.PartID) (stage.PartWriter, error) {
	return nowherePart{}, nil
}

type nowherePart struct{ stage.PartWriter }

func (nowherePart) Write(context.Context, arrow.Record) error { return nil }

// TestPeek: the first rows come in the order of the groups, whatever order they are
// written in; a part that is begun anew counts once; what was given is not held.
func TestPeek(t *testing.T) {
	mem := testkit.Allocator(t)
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}}, nil)
	rows := func(from, n int64) arrow.Record {
		b := array.NewRecordBuilder(mem, schema)
		defer b.Release()
		for i := range n {
			b.Field(0).(*array.Int64Builder).Append(from + i)
		}
		return b.NewRecord()
	}
	peek := job.NewPeek(nowhere{}, 5)
	write := func(part stage.PartID, recs ...arrow.Record) {
		w, err := peek.OpenPart(t.Context(), stage.Env{}, part)
		require.NoError(t, err)
		for _, rec := range recs {
			require.NoError(t, w.Write(t.Context(), rec))
			rec.Release()
		}
	}
	write(stage.PartID{Group: 2}, rows(200, 100))
	write(stage.PartID{Group: 1}, rows(100, 1), rows(101, 1))
	write(stage.PartID{Group: 0}, rows(0, 9))
	write(stage.PartID{Group: 0, Errors: true}, rows(900, 9))
	write(stage.PartID{Group: 0}, rows(10, 1), rows(11, 1)) // again
	var got []int64
	for _, rec := range peek.Shown() {
		got = append(got, rec.Column(0).(*array.Int64).Int64Values()...)
		rec.Release()
	}
	assert.Equal(t, []int64{10, 11, 100, 101, 200}, got)
	assert.Empty(t, peek.Shown())
}
