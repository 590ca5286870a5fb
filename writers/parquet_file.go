package writers

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/schema"

	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers/internal/chunk"
)

var parquetMagic = []byte("PAR1")

// leastGroup is how many bytes of rows a row group holds at least, but for the last one of a
// file: what it costs a reader to go to another is more than smaller ones save.
const leastGroup = 1 << 20

// parquetEncoder writes one file.
type parquetEncoder struct {
	f      *parquetFormat
	w      *outFile
	mem    func(int) memory.Allocator
	convs  []converter
	props  *parquet.WriterProperties
	crew   *chunk.Crew
	footer *metadata.FileMetaDataBuilder
	cols   []parquetColumn
	booked int64        // of pages
	pages  atomic.Int64 // bytes of them that are held

	groups int   // row groups
	at     int64 // in the file
	rows   int64 // of the row group that is being made
	bytes  int64
}

// parquetColumn is one column of a row group: flat, or in pieces that wait for its end.
type parquetColumn struct {
	flat   *chunk.Column
	pieces []arrow.Array
	nested nestedChunks // once it is encoded
}

func (e *parquetEncoder) columns(sc *schema.Schema) {
	leaf := 0
	cfg := chunk.Config{Compressor: e.f.shared.compressor, Crew: e.crew, Book: func(n int64) { e.pages.Add(n) }}
	e.cols = make([]parquetColumn, e.f.schema.NumFields())
	for i, field := range e.f.schema.Fields() {
		if flat, ok := chunk.New(sc.Column(leaf), field.Type, cfg); ok {
			e.cols[i].flat = flat
		}
		leaf += leaves(sc.Root().Field(i))
	}
}

// leaves is how many columns of Parquet a field has.
func leaves(n schema.Node) int {
	group, ok := n.(*schema.GroupNode)
	if !ok {
		return 1
	}
	sum := 0
	for i := range group.NumFields() {
		sum += leaves(group.Field(i))
	}
	return sum
}

// book tells how much is held in pages. Only the caller's goroutine does: others do not
// know whether it may be told at the moment.
func (e *parquetEncoder) book() {
	held := e.pages.Load()
	e.w.env.Book(stage.WriterBuffers, held-e.booked)
	e.booked = held
}

func (e *parquetEncoder) held() int64 { return e.bytes }

func (e *parquetEncoder) write(ctx context.Context, rec arrow.Record, own bool) error {
	defer e.book()
	for from := int64(0); from < rec.NumRows(); {
		rows, bytes, full := cut(rec, from, unit{e.f.cfg.RowGroupRows - e.rows, max(e.f.cfg.RowGroupBytes, leastGroup) - e.bytes})
		piece := rec.NewSlice(from, from+rows)
		err := e.add(piece, own)
		piece.Release()
		if err != nil {
			return err
		}
		e.rows += rows
		e.bytes += bytes
		from += rows
		if full {
			if err := e.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// add takes rows over: flat columns into pages, the others in memory of their own, for what
// is lent must not be held until a row group is full.
func (e *parquetEncoder) add(rec arrow.Record, own bool) error {
	for i, col := range rec.Columns() {
		if err := e.addColumn(i, col, own); err != nil {
			return fmt.Errorf("writers: parquet: column %q: %w", rec.ColumnName(i), err)
		}
	}
	return nil
}

func (e *parquetEncoder) addColumn(i int, col arrow.Array, own bool) (err error) {
	defer recovered(&err)
	c := &e.cols[i]
	if conv := e.convs[i]; conv != nil {
		if !own && c.flat == nil {
			copied, err := array.Concatenate([]arrow.Array{col}, e.mem(i))
			if err != nil {
				return err
			}
			defer copied.Release()
			col = copied
		}
		if col, err = conv(e.mem(i), col); err != nil {
			return err
		}
	} else if own || c.flat != nil {
		col.Retain()
	} else if col, err = array.Concatenate([]arrow.Array{col}, e.mem(i)); err != nil {
		return err
	}
	if c.flat == nil {
		c.pieces = append(c.pieces, col)
		return nil
	}
	defer col.Release()
	return c.flat.Append(col)
}

// flush ends the row group.
func (e *parquetEncoder) flush(ctx context.Context) (err error) {
	defer recovered(&err)
	if err := ctx.Err(); err != nil || e.rows == 0 {
		return err
	}
	for i := range e.cols {
		if c := &e.cols[i]; c.flat != nil {
			c.flat.Finish()
		} else {
			e.crew.Do(func() error { return e.encodeNested(i) })
		}
	}
	if err := e.crew.Wait(); err != nil {
		return fmt.Errorf("writers: parquet: %w", err)
	}
	e.book()
	return e.writeGroup(ctx)
}

// writeGroup writes what the columns have become.
func (e *parquetEncoder) writeGroup(ctx context.Context) error {
	group := e.footer.AppendRowGroup()
	group.SetNumRows(int(e.rows))
	var raw int64
	for i := range e.cols {
		if err := ctx.Err(); err != nil {
			return err
		}
		c := &e.cols[i]
		n, err := e.writeColumn(c, group)
		if err != nil {
			return fmt.Errorf("writers: parquet: column %q: %w", e.f.schema.Field(i).Name, err)
		}
		raw += n
		if err := e.w.fault(); err != nil {
			return err
		}
		c.drop()
	}
	if err := group.Finish(raw, int16(e.groups)); err != nil {
		return fmt.Errorf("writers: parquet: %w", err)
	}
	e.groups++
	e.rows, e.bytes = 0, 0
	return nil
}

// writeColumn writes a column's chunks, and says how many bytes they are uncompressed.
func (e *parquetEncoder) writeColumn(c *parquetColumn, group *metadata.RowGroupMetaDataBuilder) (int64, error) {
	if c.flat == nil {
		return e.writeNested(c.nested, group)
	}
	ch, err := c.flat.Chunk()
	if err != nil {
		return 0, err
	}
	if ch.Values != e.rows {
		return 0, fmt.Errorf("%d of %d rows were encoded", ch.Values, e.rows)
	}
	meta := group.NextColumnChunk()
	meta.SetStats(ch.Statistics)
	info := metadata.ChunkMetaInfo{NumValues: ch.Values, IndexPageOffset: -1, DataPageOffset: e.at + int64(ch.Dictionary),
		CompressedSize: ch.Compressed, UncompressedSize: ch.Raw}
	stats := metadata.EncodingStats{DataEncodingStats: map[parquet.Encoding]int32{parquet.Encodings.Plain: int32(ch.Pages)}}
	if ch.Dictionary > 0 {
		info.DictPageOffset = e.at
		stats.DictEncodingStats = map[parquet.Encoding]int32{parquet.Encodings.Plain: 1}
		stats.DataEncodingStats = map[parquet.Encoding]int32{parquet.Encodings.RLEDict: int32(ch.Pages)}
	}
	if err := meta.Finish(info, ch.Dictionary > 0, false, stats, nil); err != nil {
		return 0, err
	}
	meta.Contents().FileOffset = 0 // the metadata stand in the footer alone
	for _, piece := range ch.Pieces {
		_, _ = e.w.Write(piece) // its errors are the file's: see outFile
	}
	e.at += ch.Compressed
	return ch.Raw, nil
}

func (e *parquetEncoder) close(ctx context.Context) (err error) {
	defer recovered(&err)
	if err := e.flush(ctx); err != nil {
		return err
	}
	e.drop()
	footer, err := e.footer.Finish()
	if err != nil {
		return fmt.Errorf("writers: parquet: %w", err)
	}
	n, err := footer.WriteTo(e.w, nil)
	if err != nil {
		return fmt.Errorf("writers: parquet: %w", err)
	}
	_, _ = e.w.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(n)), parquetMagic...))
	return nil
}

// abort gives the memory back. Nothing of it reaches the file.
func (e *parquetEncoder) abort() {
	_ = e.crew.Wait()
	e.drop()
}

func (e *parquetEncoder) drop() {
	for i := range e.cols {
		e.cols[i].drop()
	}
	e.book()
}

func (c *parquetColumn) drop() {
	if c.flat != nil {
		c.flat.Reset()
	}
	release(c.pieces)
	c.pieces, c.nested = nil, nestedChunks{}
}
