package pipeline

import (
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// deadLetters makes records of failed rows in the form of stage.ErrorSchema.
type deadLetters struct {
	mem memory.Allocator
}

func (d *deadLetters) record(failed []*stage.RowError) arrow.Record {
	b := array.NewRecordBuilder(d.mem, stage.ErrorSchema())
	defer b.Release()
	str := func(i int, s string, null bool) {
		col := b.Field(i).(*array.StringBuilder)
		if null {
			col.AppendNull()
		} else {
			col.Append(strings.ToValidUTF8(s, "\uFFFD"))
		}
	}
	for _, f := range failed {
		str(0, f.Input, f.Input == "")
		str(1, f.Stage, false)
		cause := f.Err.Error()
		if f.Column != "" {
			cause = "column " + f.Column + ": " + cause
		}
		str(2, cause, false)
		str(3, string(stage.KindOf(f)), false)
		b.Field(4).(*array.Int32Builder).Append(int32(max(f.Attempts, 1)))
		str(5, f.Path, f.Path == "")
		row := b.Field(6).(*array.Int64Builder)
		if f.Row < 0 {
			row.AppendNull()
		} else {
			row.Append(f.Row)
		}
	}
	return b.NewRecord()
}
