package writers

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/apache/arrow/go/v17/parquet/schema"

	"github.com/penstock-data/penstock/stage"
)

// arrowSchemaKey is where a Parquet file keeps its Arrow schema, from which readers know
// types that Parquet has not.
const arrowSchemaKey = "ARROW:schema"

// parquetFormat writes Parquet. Rows wait in memory until they make a row group, and
// then one column is encoded after the other: so a writer holds one row group of Arrow
// data and one column of pages, whatever the number of columns.
type parquetFormat struct {
	cfg         Config
	schema      *arrow.Schema // as the columns are stored
	convs       []converter
	arrowSchema string
	props       []parquet.WriterProperty
}

func newParquetFormat(cfg Config, rows *arrow.Schema) (format, error) {
	f := &parquetFormat{cfg: cfg, convs: make([]converter, rows.NumFields())}
	fields := rows.Fields()
	var faults []error
	for i := range fields {
		var to arrow.DataType
		to, f.convs[i] = stored(fields[i].Type, true)
		field := fields[i]
		field.Type = to
		_, err := pqarrow.ToParquet(arrow.NewSchema([]arrow.Field{field}, nil), nil, pqarrow.DefaultWriterProps())
		if err == nil && to.ID() == arrow.NULL {
			field.Nullable = true
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("writers: parquet: %w",
				&stage.ColumnError{Column: field.Name, Problem: fmt.Sprintf("is %s, which Parquet cannot hold: cast or drop it, or write ipc", fields[i].Type)}))
			continue
		}
		fields[i] = field
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	meta := withoutKey(rows.Metadata(), arrowSchemaKey)
	f.schema = arrow.NewSchema(fields, &meta)
	var err error
	if f.arrowSchema, err = encodeSchema(arrow.NewSchema(rows.Fields(), &meta)); err != nil {
		return nil, err
	}
	f.props, err = f.properties()
	return f, err
}

// withoutKey is the metadata without one key: that of a Parquet file holds the schema
// that it was read with.
func withoutKey(m arrow.Metadata, key string) arrow.Metadata {
	var keys, values []string
	for i, k := range m.Keys() {
		if k != key {
			keys, values = append(keys, k), append(values, m.Values()[i])
		}
	}
	return arrow.NewMetadata(keys, values)
}

// properties leaves out what costs time and gives readers nothing: dictionaries of
// floats, and the least and greatest of values inside lists.
func (f *parquetFormat) properties() ([]parquet.WriterProperty, error) {
	codec := map[Compression]compress.Compression{NoCompression: compress.Codecs.Uncompressed,
		Snappy: compress.Codecs.Snappy, Zstd: compress.Codecs.Zstd, Gzip: compress.Codecs.Gzip}
	props := []parquet.WriterProperty{parquet.WithVersion(parquet.V2_LATEST), parquet.WithCompression(codec[f.cfg.Compression])}
	sc, err := pqarrow.ToParquet(f.schema, nil, pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, fmt.Errorf("writers: parquet: %w", err)
	}
	for i := range sc.NumColumns() {
		col := sc.Column(i)
		if t := col.PhysicalType(); t == parquet.Types.Float || t == parquet.Types.Double || isFloat16(col) {
			props = append(props, parquet.WithDictionaryFor(col.Path(), false))
		}
		if col.MaxRepetitionLevel() > 0 {
			props = append(props, parquet.WithStatsFor(col.Path(), false))
		}
	}
	return props, nil
}

func isFloat16(col *schema.Column) bool {
	_, ok := col.LogicalType().(schema.Float16LogicalType)
	return ok
}

func (f *parquetFormat) open(w *outFile, mem func(int) memory.Allocator) (encoder, error) {
	return f.start(w, mem, f.convs)
}

// start opens a file for records whose columns convs brings into the stored form.
func (f *parquetFormat) start(w *outFile, mem func(int) memory.Allocator, convs []converter) (_ *parquetEncoder, err error) {
	defer recovered(&err)
	own := mem(0) // for pages and levels
	props := parquet.NewWriterProperties(append(f.props[:len(f.props):len(f.props)], parquet.WithAllocator(own))...)
	fw, err := pqarrow.NewFileWriter(f.schema, w, props, pqarrow.NewArrowWriterProperties(pqarrow.WithAllocator(own)))
	if err != nil {
		return nil, fmt.Errorf("writers: parquet: %w", err)
	}
	if err := fw.AppendKeyValueMetadata(arrowSchemaKey, f.arrowSchema); err != nil {
		return nil, fmt.Errorf("writers: parquet: %w", err)
	}
	return &parquetEncoder{f: f, w: w, mem: mem, convs: convs, fw: fw, cols: make([][]arrow.Array, len(convs))}, nil
}

// parquetEncoder writes one file.
type parquetEncoder struct {
	f     *parquetFormat
	w     *outFile
	mem   func(int) memory.Allocator
	convs []converter
	fw    *pqarrow.FileWriter

	cols  [][]arrow.Array // of the row group that waits: by column, in pieces
	rows  int64
	bytes int64
}

func (e *parquetEncoder) held() int64 { return e.bytes }

func (e *parquetEncoder) write(ctx context.Context, rec arrow.Record, own bool) error {
	for from := int64(0); from < rec.NumRows(); {
		rows := min(rec.NumRows()-from, e.f.cfg.RowGroupRows-e.rows)
		piece := rec.NewSlice(from, from+rows)
		err := e.hold(piece, own)
		piece.Release()
		if err != nil {
			return err
		}
		e.rows += rows
		e.bytes += recordBytes(rec, from, from+rows)
		from += rows
		if e.rows == e.f.cfg.RowGroupRows || e.bytes >= e.f.cfg.RowGroupBytes {
			if err := e.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// hold keeps the columns of rec, in memory of its own: what is lent must not be held
// until a row group is full.
func (e *parquetEncoder) hold(rec arrow.Record, own bool) (err error) {
	defer recovered(&err)
	kept := make([]arrow.Array, 0, len(e.convs))
	for i, col := range rec.Columns() {
		arr, err := e.column(i, col, own)
		if err != nil {
			release(kept)
			return fmt.Errorf("writers: parquet: column %q: %w", rec.ColumnName(i), err)
		}
		kept = append(kept, arr)
	}
	for i, arr := range kept {
		e.cols[i] = append(e.cols[i], arr)
	}
	return nil
}

func (e *parquetEncoder) column(i int, col arrow.Array, own bool) (arrow.Array, error) {
	mem, conv := e.mem(i), e.convs[i]
	if !own {
		copied, err := array.Concatenate([]arrow.Array{col}, mem)
		if err != nil {
			return nil, err
		}
		defer copied.Release()
		col = copied
	}
	if conv != nil {
		return conv(mem, col)
	}
	col.Retain()
	return col, nil
}

// flush writes what is held as one row group.
func (e *parquetEncoder) flush(ctx context.Context) (err error) {
	defer recovered(&err)
	if e.rows == 0 {
		return nil
	}
	e.fw.NewRowGroup()
	for i, pieces := range e.cols {
		if err := ctx.Err(); err != nil {
			return err
		}
		col := arrow.NewChunked(e.f.schema.Field(i).Type, pieces)
		err := e.fw.WriteColumnChunked(col, 0, e.rows)
		col.Release()
		release(pieces)
		e.cols[i] = nil
		if err != nil {
			return fmt.Errorf("writers: parquet: column %q: %w", e.f.schema.Field(i).Name, err)
		}
		if err := e.w.fault(); err != nil {
			return err
		}
	}
	// arrow lets some of its own errors drop; then rows are missing here.
	if n, err := e.fw.RowGroupNumRows(); err != nil || int64(n) != e.rows {
		return fmt.Errorf("writers: parquet: %d of %d rows of a row group of %s were encoded: %v", n, e.rows, e.w.name, err)
	}
	e.rows, e.bytes = 0, 0
	return nil
}

func (e *parquetEncoder) close(ctx context.Context) (err error) {
	if err := e.flush(ctx); err != nil {
		return err
	}
	defer recovered(&err)
	if err := e.fw.Close(); err != nil {
		return fmt.Errorf("writers: parquet: %w", err)
	}
	return nil
}

// abort lets arrow end the file, for only so it gives its memory back. Nothing of that
// reaches the file.
func (e *parquetEncoder) abort() {
	for i, pieces := range e.cols {
		release(pieces)
		e.cols[i] = nil
	}
	var err error
	defer recovered(&err)
	_ = e.fw.Close()
}

// join reads the columns as they are stored and writes them to one file: nothing is
// converted twice. Types of Arrow that Parquet stores as others are those others here;
// the file names the true ones all the same.
func (f *parquetFormat) join(ctx context.Context, w *outFile, from []readFile) (err error) {
	mem := func(int) memory.Allocator { return memory.DefaultAllocator }
	plain := *f
	sc, err := pqarrow.ToParquet(f.schema, parquet.NewWriterProperties(f.props...), pqarrow.DefaultWriterProps())
	if err == nil {
		plain.schema, err = pqarrow.FromParquet(sc, nil, nil)
	}
	if err != nil {
		return fmt.Errorf("writers: parquet: %w", err)
	}
	meta := f.schema.Metadata()
	plain.schema = arrow.NewSchema(plain.schema.Fields(), &meta)
	enc, err := plain.start(w, mem, make([]converter, len(f.convs)))
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			enc.abort()
		}
	}()
	for _, r := range from {
		if err := f.copyRows(ctx, enc, r); err != nil {
			return err
		}
	}
	return enc.close(ctx)
}

func (f *parquetFormat) copyRows(ctx context.Context, enc *parquetEncoder, from readFile) (err error) {
	defer recovered(&err)
	pf, err := file.NewParquetReader(from)
	if err != nil {
		return fmt.Errorf("writers: join: %w", err)
	}
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: 16 << 10}, memory.DefaultAllocator)
	if err != nil {
		return fmt.Errorf("writers: join: %w", err)
	}
	// Without the Arrow schema, which would ask for types that are not stored.
	if fr.Manifest, err = pqarrow.NewSchemaManifest(pf.MetaData().Schema, nil, &fr.Props); err != nil {
		return fmt.Errorf("writers: join: %w", err)
	}
	rr, err := fr.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return fmt.Errorf("writers: join: %w", err)
	}
	defer rr.Release()
	for rr.Next() {
		if err := errors.Join(enc.write(ctx, rr.Record(), false), enc.w.fault()); err != nil {
			return err
		}
	}
	if err := rr.Err(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("writers: join: %w", err)
	}
	return nil
}
