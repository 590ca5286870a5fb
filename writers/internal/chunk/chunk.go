// Package chunk encodes flat columns as Parquet column chunks.
//
// A [Column] takes Arrow arrays and writes their values straight into pages. A page that is
// full is compressed at once, on whatever goroutine of its [Crew] is free, so what waits for
// the end of a row group is compressed already. Whether a chunk gets a dictionary is decided
// once, by its first page; a chunk never begins with one and goes on without. What comes
// out depends on the rows alone: not on how they were cut into arrays, nor on the number of
// goroutines.
//
// Encodings and page headers follow the Parquet format's specification (data pages of
// version 1, PLAIN and RLE_DICTIONARY), as read by every reader since version 1.
package chunk

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/schema"
)

// Config is what the columns of a file have in common.
type Config struct {
	Compressor
	Crew *Crew
	// Book is told the bytes that the columns hold, and give back. It may be called from
	// several goroutines at once. nil: nobody is told.
	Book func(delta int64)
}

// Chunk is an encoded column chunk.
type Chunk struct {
	Pieces     [][]byte // its bytes, in their order; the column's, until Reset
	Dictionary int      // bytes of the dictionary's page, at the beginning; 0: none
	Pages      int      // of data
	Values     int64    // nulls included
	Raw        int64    // bytes before compression, with the pages' headers
	Compressed int64    // bytes of all pieces
	Statistics metadata.EncodedStatistics
}

// Column collects the rows of one column of a row group. Its methods are called by one
// goroutine.
type Column struct {
	cfg     Config
	append  func(*Column, arrow.Array) error
	width   int // of a value, in bytes; 0: of various lengths; -1: bits
	levels  bool
	typ     parquet.Type
	descr   *schema.Column
	scratch []byte // of values that are made wider

	page  *page
	pages []*page // full
	words bool    // the chunk is to have a dictionary, if it is small enough
	dict  *page   // it, once it is made
}

// New makes a column of arrays of type dt, stored as descr says. ok is false for what the
// package has not: nested columns, and types that are stored as something else than what
// they are in Arrow's memory.
func New(descr *schema.Column, dt arrow.DataType, cfg Config) (c *Column, ok bool) {
	if descr.MaxRepetitionLevel() > 0 || descr.MaxDefinitionLevel() > 1 || len(descr.ColumnPath()) > 1 {
		return nil, false
	}
	l, ok := layouts[dt.ID()]
	if !ok || l.physical != descr.PhysicalType() {
		return nil, false
	}
	c = &Column{cfg: cfg, append: l.append, width: l.width, levels: descr.MaxDefinitionLevel() == 1, typ: l.physical, descr: descr}
	switch dt := dt.(type) {
	case *arrow.FixedSizeBinaryType:
		c.width = dt.ByteWidth
		ok = c.width > 0
	case *arrow.TimestampType:
		ok = dt.Unit != arrow.Second
	case *arrow.Time32Type:
		ok = dt.Unit == arrow.Millisecond
	}
	return c, ok
}

// layout is how a type's values lie in Arrow's memory and in a page.
type layout struct {
	physical parquet.Type
	width    int
	append   func(*Column, arrow.Array) error
}

var layouts = map[arrow.Type]layout{
	arrow.BOOL:              {parquet.Types.Boolean, -1, (*Column).appendBits},
	arrow.INT8:              {parquet.Types.Int32, 4, (*Column).appendInt8},
	arrow.UINT8:             {parquet.Types.Int32, 4, (*Column).appendUint8},
	arrow.INT16:             {parquet.Types.Int32, 4, (*Column).appendInt16},
	arrow.UINT16:            {parquet.Types.Int32, 4, (*Column).appendUint16},
	arrow.INT32:             {parquet.Types.Int32, 4, (*Column).appendFixed},
	arrow.UINT32:            {parquet.Types.Int32, 4, (*Column).appendFixed},
	arrow.DATE32:            {parquet.Types.Int32, 4, (*Column).appendFixed},
	arrow.TIME32:            {parquet.Types.Int32, 4, (*Column).appendFixed},
	arrow.INT64:             {parquet.Types.Int64, 8, (*Column).appendFixed},
	arrow.UINT64:            {parquet.Types.Int64, 8, (*Column).appendFixed},
	arrow.TIME64:            {parquet.Types.Int64, 8, (*Column).appendFixed},
	arrow.TIMESTAMP:         {parquet.Types.Int64, 8, (*Column).appendFixed},
	arrow.FLOAT32:           {parquet.Types.Float, 4, (*Column).appendFixed},
	arrow.FLOAT64:           {parquet.Types.Double, 8, (*Column).appendFixed},
	arrow.FIXED_SIZE_BINARY: {parquet.Types.FixedLenByteArray, 0, (*Column).appendFixed},
	arrow.STRING:            {parquet.Types.ByteArray, 0, (*Column).appendSmall},
	arrow.BINARY:            {parquet.Types.ByteArray, 0, (*Column).appendSmall},
	arrow.LARGE_STRING:      {parquet.Types.ByteArray, 0, (*Column).appendLarge},
	arrow.LARGE_BINARY:      {parquet.Types.ByteArray, 0, (*Column).appendLarge},
}

// Append adds the rows of arr, which it borrows.
func (c *Column) Append(arr arrow.Array) error {
	if arr.Len() == 0 {
		return nil
	}
	return c.append(c, arr)
}

// open is the page that takes the next row.
func (c *Column) open() *page {
	if c.page == nil {
		c.page = c.newPage(firstPage)
	}
	return c.page
}

// end closes the page that is being filled: it is compressed, or waits for the dictionary.
func (c *Column) end() {
	p := c.page
	if p == nil {
		return
	}
	c.page = nil
	if len(c.pages) == 0 {
		c.words = c.worthDictionary(p)
	}
	c.pages = append(c.pages, p)
	if !c.words {
		c.cfg.Crew.Do(func() error { return c.plain(p) })
	}
}

// Finish ends the chunk's last page and makes its dictionary. The chunk is whole once the
// crew has been waited for.
func (c *Column) Finish() {
	c.end()
	if c.words {
		c.cfg.Crew.Do(c.encodeWords)
	}
}

// Chunk is what Finish has made. An error means that the rows do not fit the format.
func (c *Column) Chunk() (out Chunk, err error) {
	add := func(p *page) {
		out.Pieces = append(out.Pieces, p.out)
		out.Raw += int64(p.raw)
		out.Compressed += int64(len(p.out))
	}
	if c.dict != nil {
		add(c.dict)
		out.Dictionary = len(c.dict.out)
	}
	nulls := 0
	for _, p := range c.pages {
		if p.out == nil {
			return out, errors.New("chunk: a page was not encoded")
		}
		add(p)
		out.Pages++
		out.Values += int64(p.rows)
		nulls += p.nulls
	}
	out.Statistics = c.statistics(nulls)
	return out, nil
}

// Reset drops what the column holds, encoded or not: it is ready for another row group.
// Nothing of the crew may be at work.
func (c *Column) Reset() {
	for _, p := range append(c.pages, c.page, c.dict) {
		if p != nil {
			c.free(p)
		}
	}
	clear(c.pages)
	c.page, c.pages, c.dict, c.words = nil, c.pages[:0], nil, false
}

func tooLong(n int64) error {
	return fmt.Errorf("a value of %d bytes does not go into a page of Parquet, which ends at 2 GiB", n)
}
