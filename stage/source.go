package stage

import (
	"context"
	"encoding/json"
	"iter"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/expr"
)

// Source is data that can be read more than once: files, a table, a generator.
// A Source is inert; it may be used by several plans at the same time.
type Source interface {
	// ID names the source and its settings. It reads nothing.
	ID() StageID
	// Plan looks at as little as it needs to know the schema, and fails if the
	// source is missing, empty or lacks a column that req names.
	Plan(ctx context.Context, req ScanRequest) (Scan, error)
}

// ScanRequest says what of a source is wanted. The zero value asks for everything.
type ScanRequest struct {
	Columns []string  // in this order; nil: all, in the source's order
	Filter  expr.Expr // rows for which it is true; nil: all
	Limit   int64     // no more rows than this are needed, after the filter; 0: all
}

// Scan is a planned read. Its methods may be called from several goroutines.
type Scan interface {
	// Schema is that of every record the readers give.
	Schema() *arrow.Schema
	// Residual is what of the request's filter the scan leaves to the caller; nil:
	// nothing. A scan may drop rows by statistics and still leave the whole filter.
	Residual() expr.Expr
	// Splits streams the parts in their fixed order: the same input gives the same
	// splits. Listing goes on while earlier splits are being read. The sequence ends
	// after an error.
	Splits(ctx context.Context) iter.Seq2[Split, error]
	// Open reads s from its physical row from on (0: all of it), counted before any
	// filter. The caller closes the reader.
	Open(ctx context.Context, env Env, s Split, from int64) (Reader, error)
}

// Split is one part of a source, small and self-contained: another process of the same
// build can open it, so nothing in it is local to this one.
type Split struct {
	ID          string          `json:"id"`          // what and which part; unique and stable within its source
	Fingerprint string          `json:"fingerprint"` // changes when the content does: size and etag or modification time
	Spec        json.RawMessage `json:"spec,omitempty"`
	Path        string          `json:"path"` // file for people to look into; empty where there is none
	Base        int64           `json:"base"` // row of Path that is row 0 of this split; -1: unknown
	Rows        int64           `json:"rows"` // -1: unknown
	Bytes       int64           `json:"bytes"`
	Exact       bool            `json:"exact,omitempty"` // Rows is a count, not an estimate, and no filter was pushed down
}

// Reader gives the rows of one split in their order. It is used by one goroutine.
type Reader interface {
	// Next gives the next rows, at least one, as one record with its Origin, or
	// io.EOF. maxBytes bounds the record's buffers where the format allows it (one
	// row may be larger); 0: the reader's choice. After an error that is a
	// [*RowError] which is Skippable the reader stands behind the bad row and Next
	// may be called again; after any other error it may only be closed.
	Next(ctx context.Context, maxBytes int64) (Batch, error)
	Close() error
}
