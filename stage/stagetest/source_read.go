package stagetest

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// readSplit opens a split, reads it to its end and closes it.
func readSplit(ctx context.Context, r reading) (splitRows, error) {
	rd, err := r.scan.Open(ctx, r.probe.env(stage.Env{}), r.split, r.from)
	if err != nil {
		if rd != nil {
			return splitRows{}, breachf("Open gave a reader and the error %v", err)
		}
		return splitRows{}, err
	}
	got, err := readRows(ctx, rd, r)
	closed := rd.Close()
	if err == nil {
		err = closed
	}
	if again := rd.Close(); again != nil && closed == nil {
		return got, breachf("the second Close fails: %v", again)
	}
	return got, err
}

// readRows reads to the end, past rows that can be skipped.
func readRows(ctx context.Context, rd stage.Reader, r reading) (splitRows, error) {
	var got splitRows
	var recs []arrow.Record
	last := r.from - 1
	for {
		b, err := rd.Next(ctx, r.maxBytes)
		if err != nil {
			if len(b.Parts) > 0 {
				return got, breachf("Next gave rows and the error %v", err)
			}
			var bad *stage.RowError
			if errors.As(err, &bad) && bad.Skippable {
				got.bad++
				continue
			}
			if err != io.EOF {
				return got, err
			}
			break
		}
		rec, err := checkRead(b, r, last)
		if err == nil {
			for _, id := range b.Origin().All() {
				got.rows = append(got.rows, id.Row)
				last = id.Row
			}
			if rec.NumRows() > 1 {
				got.largest = max(got.largest, recordBytes(b.Record()))
			}
			recs = append(recs, rec)
		}
		b.Release()
		if err != nil {
			return got, err
		}
		got.batches++
	}
	if b, err := rd.Next(ctx, r.maxBytes); err != io.EOF || len(b.Parts) > 0 {
		return got, breachf("Next after the end gives %d parts and the error %v, not io.EOF", len(b.Parts), err)
	}
	rec, err := joinRecords(heap, r.scan.Schema(), recs)
	if err != nil {
		return got, breach{err}
	}
	got.rec = rec
	return got, nil
}

// checkRead checks one batch that follows physical row last, and copies its rows.
func checkRead(b stage.Batch, r reading, last int64) (arrow.Record, error) {
	rec := b.Record()
	if rec == nil {
		return nil, breachf("Next gave %d parts, not one whole record", len(b.Parts))
	}
	if rec.NumRows() == 0 {
		return nil, breachf("Next gave a record of no rows")
	}
	if err := diffSchemas(r.scan.Schema(), rec.Schema()); err != nil {
		return nil, breachf("a record's schema is not the scan's: %w", err)
	}
	if n := int64(b.Origin().Len()); n != rec.NumRows() {
		return nil, breachf("a record has %d rows and its Origin %d", rec.NumRows(), n)
	}
	if b.Origin().Lanes() != 1 {
		return nil, breachf("an Origin has %d lanes", b.Origin().Lanes())
	}
	for _, id := range b.Origin().All() {
		if id.Split == nil || id.Split.ID != r.split.ID {
			return nil, breachf("row %v is said to be of split %v, not %q", id, id.Split, r.split.ID)
		}
		if id.Row <= last {
			return nil, breachf("row %d comes after row %d (reading from %d)", id.Row, last, r.from)
		}
		if id.Input != 0 || len(id.Ordinals) > 0 {
			return nil, breachf("row %v has input %d and ordinals %v", id, id.Input, id.Ordinals)
		}
		last = id.Row
	}
	out, err := copyRecord(heap, rec)
	if err != nil {
		return nil, breach{err}
	}
	return out, nil
}
