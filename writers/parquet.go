package writers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/apache/arrow/go/v17/parquet/schema"

	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers/internal/chunk"
)

// arrowSchemaKey is where a Parquet file keeps its Arrow schema, from which readers know
// types that Parquet has not.
const arrowSchemaKey = "ARROW:schema"

// parquetFormat writes Parquet. The values of flat columns go into pages at once, and full
// pages are compressed while others are filled; those of nested columns wait in memory as
// they are. So a writer holds one row group, of which the most part is compressed.
type parquetFormat struct {
	cfg         Config
	shared      parquetShared
	schema      *arrow.Schema // as the columns are stored
	convs       []converter
	arrowSchema string
	props       []parquet.WriterProperty
}

func newParquetFormat(cfg Config, rows *arrow.Schema) (*parquetFormat, error) {
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
	if f.shared, err = newParquetShared(f.codec()); err != nil {
		return nil, fmt.Errorf("writers: parquet: %w", err)
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

func (f *parquetFormat) codec() compress.Compression {
	return map[Compression]compress.Compression{NoCompression: compress.Codecs.Uncompressed,
		Snappy: compress.Codecs.Snappy, Zstd: compress.Codecs.Zstd, Gzip: compress.Codecs.Gzip}[f.cfg.Compression]
}

// properties leaves out what costs time and gives readers nothing: dictionaries of
// floats in nested columns, and the least and greatest of values inside lists.
func (f *parquetFormat) properties() ([]parquet.WriterProperty, error) {
	props := []parquet.WriterProperty{parquet.WithVersion(parquet.V2_LATEST), parquet.WithCompression(f.codec())}
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

// parquetShared is what all files of an output have in common.
type parquetShared struct {
	seats      chunk.Seats
	compressor chunk.Compressor
}

func newParquetShared(c compress.Compression) (parquetShared, error) {
	n := runtime.GOMAXPROCS(0)
	comp, err := chunk.NewCompressor(c, n)
	return parquetShared{chunk.NewSeats(n - 1), comp}, err
}

func (f *parquetFormat) open(w *outFile, mem func(int) memory.Allocator) (encoder, error) {
	return f.start(w, mem, f.convs)
}

// start opens a file for records whose columns convs brings into the stored form.
func (f *parquetFormat) start(w *outFile, mem func(int) memory.Allocator, convs []converter) (_ *parquetEncoder, err error) {
	defer recovered(&err)
	props := parquet.NewWriterProperties(append(f.props[:len(f.props):len(f.props)], parquet.WithAllocator(mem(0)))...)
	sc, err := pqarrow.ToParquet(f.schema, props, pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, fmt.Errorf("writers: parquet: %w", err)
	}
	meta := metadata.NewKeyValueMetadata()
	for i, key := range f.schema.Metadata().Keys() {
		if err := meta.Append(key, f.schema.Metadata().Values()[i]); err != nil {
			return nil, fmt.Errorf("writers: parquet: %w", err)
		}
	}
	if err := meta.Append(arrowSchemaKey, f.arrowSchema); err != nil {
		return nil, fmt.Errorf("writers: parquet: %w", err)
	}
	e := &parquetEncoder{f: f, w: w, mem: mem, convs: convs, props: props, crew: chunk.NewCrew(f.shared.seats),
		footer: metadata.NewFileMetadataBuilder(sc, props, meta)}
	e.columns(sc)
	_, _ = w.Write(parquetMagic)
	e.at = int64(len(parquetMagic))
	return e, nil
}

// direct says whether all columns are flat: then a file hangs on its rows alone, whatever
// pieces they come in, and they need not be put together first.
func (f *parquetFormat) direct() bool {
	sc, err := pqarrow.ToParquet(f.schema, parquet.NewWriterProperties(f.props...), pqarrow.DefaultWriterProps())
	if err != nil || sc.NumColumns() != f.schema.NumFields() {
		return false
	}
	for i, field := range f.schema.Fields() {
		if _, flat := chunk.New(sc.Column(i), field.Type, chunk.Config{}); !flat {
			return false
		}
	}
	return true
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
