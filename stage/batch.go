package stage

import "github.com/apache/arrow/go/v17/arrow"

// Batch is what a stage works on. It has one part that is a whole record, unless the
// stage takes views ([Need].Views): then its parts are rows picked from several
// records, and nothing was copied to make it.
type Batch struct {
	Parts []View
}

// View is some rows of a record. Row i of a view is row Rows[i] of the record, or row i
// where Rows is nil.
type View struct {
	Record arrow.Record
	Rows   []int32
	Origin Origin // of the view's rows: Origin.Len() == NumRows()
}

// NewBatch makes a batch of one whole record. It takes over the caller's reference.
func NewBatch(rec arrow.Record, origin Origin) Batch {
	return Batch{Parts: []View{{Record: rec, Origin: origin}}}
}

// NumRows is the number of rows in the view.
func (v View) NumRows() int {
	if v.Rows != nil {
		return len(v.Rows)
	}
	return int(v.Record.NumRows())
}

// Row is the index into the record of row i of the view.
func (v View) Row(i int) int {
	if v.Rows != nil {
		return int(v.Rows[i])
	}
	return i
}

// NumRows is the number of rows over all parts.
func (b Batch) NumRows() int {
	n := 0
	for _, p := range b.Parts {
		n += p.NumRows()
	}
	return n
}

// Record is the record of a batch that is one whole record, borrowed; nil for a batch
// of views.
func (b Batch) Record() arrow.Record {
	if len(b.Parts) != 1 || b.Parts[0].Rows != nil {
		return nil
	}
	return b.Parts[0].Record
}

// Origin is that of all rows of the batch, in their order.
func (b Batch) Origin() Origin {
	if len(b.Parts) == 1 {
		return b.Parts[0].Origin
	}
	all := make([]Origin, len(b.Parts))
	for i, p := range b.Parts {
		all[i] = p.Origin
	}
	return ConcatOrigins(all...)
}

// Retain adds a reference to every record of the batch.
func (b Batch) Retain() {
	for _, p := range b.Parts {
		p.Record.Retain()
	}
}

// Release gives one reference to every record of the batch back.
func (b Batch) Release() {
	for _, p := range b.Parts {
		p.Record.Release()
	}
}
