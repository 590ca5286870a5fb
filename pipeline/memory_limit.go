package pipeline

import (
	"errors"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// ErrTooLarge is wrapped by the error of a job in which one row, or one buffer, is larger
// than the memory limit.
var ErrTooLarge = errors.New("larger than the memory limit")

func (l *ledger) fits(bytes int64) error {
	if bytes <= l.limit {
		return nil
	}
	return fmt.Errorf("%d bytes at once are %w of %d: raise it", bytes, ErrTooLarge, l.limit)
}

// tooLarge names the row of a batch that alone is larger than the limit.
func (c *call) tooLarge(b stage.Batch) error {
	if b.NumRows() != 1 {
		return nil
	}
	err := c.r.ledger.fits(recordBytes(b.Record()))
	if err == nil {
		return nil
	}
	id := b.Origin().At(0)
	out := &stage.RowError{Stage: c.op.name, Row: id.FileRow(), Kind: stage.Failed, Err: err}
	if id.Split != nil {
		out.Path = id.Split.Path
	}
	return out
}

// batchBytes bounds a batch that is put together of several blocks, where its stage does not:
// Arrow's usual columns of text, bytes and lists end at 2 GiB, and sizes of rows within a
// block are taken on average.
const batchBytes = 1 << 30

// joinable says whether the parts of a column may become one array.
func joinable(parts []arrow.ArrayData) error {
	if !smallOffsets(parts[0].DataType()) {
		return nil
	}
	var bytes int64
	rows := 0
	for _, p := range parts {
		bytes += dataBytes(p, 0, p.Len())
		rows += p.Len()
	}
	if bytes <= math.MaxInt32 {
		return nil
	}
	return fmt.Errorf("%d rows of it take %d bytes, and an array of %s ends at 2 GiB: make batches smaller, or cast it to its large type",
		rows, bytes, parts[0].DataType())
}

// smallOffsets says whether a type, or one that it is made of, has offsets of 32 bits. What a
// dictionary is made of does not count: parts have it in common.
func smallOffsets(dt arrow.DataType) bool {
	switch t := dt.(type) {
	case *arrow.StringType, *arrow.BinaryType, *arrow.ListType, *arrow.MapType:
		return true
	case arrow.ExtensionType:
		return smallOffsets(t.StorageType())
	case arrow.NestedType:
		for _, f := range t.Fields() {
			if smallOffsets(f.Type) {
				return true
			}
		}
	}
	return false
}
