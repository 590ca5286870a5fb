package readers

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// rowDecoder is a format whose rows are decoded one after the other.
type rowDecoder interface {
	// next goes to the next row and says which one it is and how many bytes it may
	// take in a record at most. It ends with io.EOF. A *stage.RowError that is
	// Skippable lies behind the decoder, which can go on.
	next(ctx context.Context) (row, bound int64, err error)
	// add puts the row at the end of the record in the making and says how many bytes
	// it takes. After an error the record still has the rows before.
	add() (int64, error)
	// record makes the first n rows into columns and starts again with none.
	record(n int) ([]arrow.Array, error)
	// reset drops the record in the making.
	reset()
	// room is how many bytes a record may need at most.
	room(maxBytes int64) int64
	// input is a short form of the row, for errors.
	input() string
	Close() error
}

// bulkDecoder is a rowDecoder that can add many rows at once.
type bulkDecoder interface {
	// some adds rows first to first+n, which take added bytes, at most room. n may be 0: then
	// next says more.
	some(room int64) (first int64, n int, added int64)
}

// rowReader makes records of the rows that a decoder gives.
type rowReader struct {
	decoder rowDecoder
	format  Format
	env     stage.Env
	schema  *arrow.Schema
	split   *stage.Split
	rows    []int64 // of the record in the making
	ahead   bool    // the decoder stands on a row that is not added yet
	row     int64
	bound   int64
	failed  error // what the next call gives
	closed  bool
}

func newRowReader(env stage.Env, scan *fileScan, p openPart, d rowDecoder) *rowReader {
	split := p.split
	return &rowReader{decoder: d, format: scan.source.format.name(), env: env, schema: scan.schema, split: &split}
}

func (r *rowReader) Next(ctx context.Context, maxBytes int64) (stage.Batch, error) {
	if err := ctx.Err(); err != nil {
		return stage.Batch{}, err
	}
	if r.failed != nil {
		return stage.Batch{}, r.takeFailure()
	}
	if maxBytes <= 0 {
		maxBytes = defaultBytes
	}
	maxBytes = min(maxBytes, maxBytesCap)
	if err := r.env.Room(ctx, r.decoder.room(maxBytes)); err != nil {
		return stage.Batch{}, err
	}
	if err := r.fill(ctx, maxBytes); err != nil {
		r.failed = r.explain(err)
		if ctx.Err() != nil {
			r.failed = ctx.Err()
			r.rows = r.rows[:0]
		}
	}
	if len(r.rows) == 0 {
		r.decoder.reset()
		return stage.Batch{}, r.takeFailure()
	}
	cols, err := r.decoder.record(len(r.rows))
	if err != nil {
		r.failed = err
		return stage.Batch{}, err
	}
	defer release(cols)
	rec := array.NewRecord(r.schema, cols, int64(len(r.rows)))
	return stage.NewBatch(rec, origin(r.split, r.rows)), nil
}

// fill adds rows until the record is full or the decoder fails.
func (r *rowReader) fill(ctx context.Context, maxBytes int64) (err error) {
	r.rows = r.rows[:0]
	var size int64
	bulk, _ := r.decoder.(bulkDecoder)
	for n := 0; ; n++ {
		if n%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if bulk != nil && !r.ahead {
			first, n, added := bulk.some(maxBytes - size)
			size += added
			at := len(r.rows)
			r.rows = extend(r.rows, n)
			for k := range r.rows[at:] {
				r.rows[at+k] = first + int64(k)
			}
		}
		if !r.ahead {
			if r.row, r.bound, err = r.decoder.next(ctx); err != nil {
				return err
			}
			r.ahead = true
		}
		if len(r.rows) > 0 && size+r.bound > maxBytes {
			return nil
		}
		r.ahead = false
		added, err := r.decoder.add()
		if err != nil {
			return err
		}
		size += added
		r.rows = append(r.rows, r.row)
	}
}

// explain completes what the decoder says of a row with where that is.
func (r *rowReader) explain(err error) error {
	var bad *stage.RowError
	if err == io.EOF || !errors.As(err, &bad) {
		return err
	}
	bad.Stage, bad.Path = string(r.format), r.split.Path
	if bad.Skippable && bad.Input == "" {
		bad.Input = r.decoder.input()
	}
	return bad
}

func (r *rowReader) takeFailure() error {
	err := r.failed
	var bad *stage.RowError
	if errors.As(err, &bad) && bad.Skippable {
		r.failed = nil
	}
	return err
}

func (r *rowReader) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	r.decoder.reset()
	r.failed = errors.New("readers: the reader is closed")
	return r.decoder.Close()
}

// badRow is the error for a row that can be passed over.
func badRow(row int64, column string, err error) error {
	return &stage.RowError{Row: row, Column: column, Kind: stage.BadData, Skippable: true, Err: err}
}

// brokenAt is the error for a file that cannot be read on from row.
func brokenAt(row int64, fault bool, err error) error {
	bad := &stage.RowError{Row: row, Err: err}
	if !fault { // the data, not the disk
		bad.Kind = stage.BadData
	}
	return bad
}

// maxInput bounds RowError.Input.
const maxInput = 4 << 10

func shorten(b []byte) string { return string(b[:min(len(b), maxInput)]) }

func origin(split *stage.Split, rows []int64) stage.Origin {
	n := len(rows)
	if rows[n-1]-rows[0] == int64(n-1) {
		return stage.RowRange(split, rows[0], n)
	}
	return stage.RowList(split, slices.Clone(rows))
}

func release(cols []arrow.Array) {
	for _, c := range cols {
		if c != nil {
			c.Release()
		}
	}
}
