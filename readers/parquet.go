package readers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/metadata"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// ParquetConfig is a source of Parquet files.
type ParquetConfig struct {
	Files `json:"-"`
}

// Parquet is a source of Parquet files. A row group is a split. Only the columns that are
// asked for are decoded, and row groups whose statistics say that no row passes the filter
// are left out; the filter itself is left to the caller. Pages are read as they are
// needed, so a row group may be larger than memory.
//
// Of columns that are neither nested nor of fixed-size binary, decimal or small integers, all
// encodings are read, and the codecs Snappy, gzip, zstd, Brotli and LZ4_RAW; of the others all
// but BYTE_STREAM_SPLIT and LZ4_RAW.
func Parquet(cfg ParquetConfig) stage.Source {
	return &fileSource{files: cfg.Files, format: parquetFormat{}}
}

type parquetFormat struct{}

func (parquetFormat) name() Format    { return ParquetFormat }
func (parquetFormat) options() any    { return nil }
func (parquetFormat) validate() error { return nil }

func (parquetFormat) schema(_ context.Context, in *input) (*arrow.Schema, error) {
	f, err := openParquet(in, nil)
	if err != nil {
		return nil, err
	}
	return f.schema(), nil
}

// parquetFile is an open file whose footer is read.
type parquetFile struct {
	in    *input
	pages io.ReaderAt // what the pages are read from
	props *parquet.ReaderProperties
	*file.Reader
	arrow  *pqarrow.FileReader   // of the leaves: field i is Parquet column i
	nodes  []pqarrow.SchemaField // what they are nested in
	fields []arrow.Field
}

// openParquet reads the footer, unless it was read before. It decodes into ordinary
// memory: what is given to the consumer is copied into that of its choice.
func openParquet(in *input, meta *metadata.FileMetaData) (*parquetFile, error) {
	return openPages(in, in, meta, memory.DefaultAllocator)
}

// openPages is openParquet for a file whose pages are not read as they are stored, but from
// pages. What is decoded lies in mem.
func openPages(in *input, pages parquet.ReaderAtSeeker, meta *metadata.FileMetaData, mem memory.Allocator) (f *parquetFile, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("readers: %s: the footer is corrupt: %v", in.path, p)
		}
	}()
	f = &parquetFile{in: in, pages: pages, props: parquet.NewReaderProperties(mem)}
	f.props.BufferedStreamEnabled = true
	if f.Reader, err = file.NewParquetReader(pages, file.WithReadProps(f.props), file.WithMetadata(meta)); err != nil {
		return nil, in.noParquet(err)
	}
	f.WriterVersion() // is worked out once, and not by several goroutines
	f.arrow, err = pqarrow.NewFileReader(f.Reader, pqarrow.ArrowReadProperties{}, mem)
	if err != nil && f.MetaData().KeyValueMetadata() != nil {
		// an Arrow schema of types that this release does not know is only a hint
		f.MetaData().FileMetaData.KeyValueMetadata = nil
		f.arrow, err = pqarrow.NewFileReader(f.Reader, pqarrow.ArrowReadProperties{}, mem)
	}
	if err != nil {
		return nil, fmt.Errorf("readers: %s: its schema cannot be read: %w", in.path, err)
	}
	f.nodes = f.arrow.Manifest.Fields
	flat := *f.arrow.Manifest
	flat.Fields = make([]pqarrow.SchemaField, f.MetaData().Schema.NumColumns())
	for i, node := range f.nodes {
		field := *node.Field
		field.Metadata = withoutFieldID(field.Metadata)
		f.fields = append(f.fields, field)
		flatten(&f.nodes[i], flat.Fields)
	}
	f.arrow.Manifest = &flat
	return f, nil
}

// flatten puts the leaves of node into flat, by their Parquet columns.
func flatten(node *pqarrow.SchemaField, flat []pqarrow.SchemaField) {
	if len(node.Children) == 0 {
		flat[node.ColIndex] = *node
	}
	for i := range node.Children {
		flatten(&node.Children[i], flat)
	}
}

func (in *input) noParquet(err error) error {
	if in.fault != nil || in.ctx.Err() != nil {
		return fmt.Errorf("readers: %s: %w", in.path, err)
	}
	if _, codec := splitName(in.path); codec != "" {
		return fmt.Errorf("readers: %s: Parquet files compressed as a whole cannot be read: unpack it first", in.path)
	}
	return fmt.Errorf("readers: %s (%d bytes): not a Parquet file, or cut short: %w", in.path, in.info.Size(), err)
}

func (f *parquetFile) schema() *arrow.Schema {
	meta := f.arrow.Manifest.SchemaMeta
	if origin := f.arrow.Manifest.OriginSchema; origin != nil {
		m := origin.Metadata()
		meta = &m
	}
	return arrow.NewSchema(f.fields, meta)
}

// withoutFieldID drops the mark that Arrow's reader puts on every field.
func withoutFieldID(meta arrow.Metadata) arrow.Metadata {
	var keys, values []string
	for i, k := range meta.Keys() {
		if k != "PARQUET:field_id" || meta.Values()[i] != "-1" {
			keys, values = append(keys, k), append(values, meta.Values()[i])
		}
	}
	return arrow.NewMetadata(keys, values)
}

func (parquetFormat) splits(ctx context.Context, scan *fileScan, whole stage.Split, yield func(stage.Split) bool) error {
	in, err := openInput(ctx, stage.Env{}, scan.fs, whole.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := openParquet(in, nil)
	if err != nil {
		return err
	}
	at, err := scan.match(whole.Path, f.fields)
	if err != nil {
		return err
	}
	scan.foots.put(whole.Path, whole.Fingerprint, f.MetaData())
	whole.Base, whole.Exact = 0, true
	for rg := range f.NumRowGroups() {
		split, err := part(whole, "rg", rg)
		if err != nil {
			return err
		}
		meta := f.MetaData().RowGroups[rg]
		split.Rows, split.Bytes = meta.NumRows, 0
		for _, i := range at {
			for _, leaf := range leaves(&f.nodes[i], nil) {
				split.Bytes += meta.Columns[leaf].GetMetaData().GetTotalCompressedSize()
			}
		}
		whole.Base += meta.NumRows
		if meta.NumRows == 0 || !expr.MayMatch(scan.req.Filter, f.stats(rg)) {
			continue
		}
		if !yield(split) {
			return nil
		}
	}
	return nil
}

func (parquetFormat) open(ctx context.Context, env stage.Env, scan *fileScan, p openPart) (stage.Reader, error) {
	in, err := openInput(ctx, env, scan.fs, p.split.Path)
	if err != nil {
		return nil, err
	}
	r := &parquetReader{scan: scan, env: env, split: &p.split, in: in, group: p.part, pos: p.from}
	r.pieces = pieces{env: env, schema: scan.schema, booked: true}
	if r.spare, _ = scan.spare.Get().(*spareColumns); r.spare == nil {
		r.spare = &spareColumns{}
	}
	if err := r.start(ctx, p.split); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// footers keeps the footers of the files listed last, so that those who open their
// splits need not read them again.
type footers struct {
	mu   sync.Mutex
	last []footer
}

type footer struct {
	path, fingerprint string
	meta              *metadata.FileMetaData
}

const footersKept = 8

func (f *footers) put(path, fingerprint string, meta *metadata.FileMetaData) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.last) == footersKept {
		f.last = slices.Delete(f.last, 0, 1)
	}
	f.last = append(f.last, footer{path, fingerprint, meta})
}

func (f *footers) get(path, fingerprint string) *metadata.FileMetaData {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, kept := range f.last {
		if kept.path == path && kept.fingerprint == fingerprint {
			return kept.meta
		}
	}
	return nil
}

// maxRows bounds the rows of a record, whatever it holds.
const maxRows = 1 << 20

// firstRows is how many rows are decoded first, while their size is not known but from
// the footer: repeated values take more room than it says.
const firstRows = 1024

// parquetReader decodes a row group piece by piece.
type parquetReader struct {
	scan    *fileScan
	env     stage.Env
	split   *stage.Split
	in      *input
	pages   *pagedInput // nil: no page is large
	mem     *bookedMemory
	group   int
	columns []*parquetColumn
	spare   *spareColumns
	pieces  pieces
	pos     int64 // row that the next record begins with
	decoded int64 // rows decoded so far
	total   int64
	rows    int64   // of the last decoding
	planned int64   // bytes that there is room for
	stored  float64 // bytes of the row group, unpacked, that are still to come
	perRow  float64 // bytes in a record, by the last decoding
	held    int64
	failed  error
}

// start reads the footer and makes the readers of the columns.
func (r *parquetReader) start(ctx context.Context, split stage.Split) error {
	if err := r.in.unchanged(split); err != nil {
		return err
	}
	r.mem = &bookedMemory{env: r.env}
	f, err := openPages(r.in, r.in, r.scan.foots.get(split.Path, fingerprint(r.in.info)), r.mem)
	if err != nil {
		return err
	}
	if r.group < 0 || r.group >= f.NumRowGroups() {
		return fmt.Errorf("readers: %s has no row group %d", r.in.path, r.group)
	}
	at, err := r.scan.match(r.in.path, f.fields)
	if err != nil {
		return err
	}
	meta := f.MetaData().RowGroups[r.group]
	r.total = meta.NumRows
	var cols, others []int
	for _, i := range at {
		cols = leaves(&f.nodes[i], cols)
		if !f.flatLeaf(&f.nodes[i], r.group) { // flat columns have their large pages cut themselves
			others = leaves(&f.nodes[i], others)
		}
	}
	if err := r.readable(f, others); err != nil {
		return err
	}
	whole := f
	pages, shown := f.paged(r.env, r.group, others)
	if pages != nil {
		r.pages = pages
		if f, err = openPages(r.in, pages, shown, r.mem); err != nil {
			return err
		}
	}
	whole.props.BufferSize = int64(min(max(8<<20/max(len(cols), 1), 16<<10), 256<<10))
	f.props.BufferSize = whole.props.BufferSize
	for _, leaf := range cols {
		chunk := meta.Columns[leaf].GetMetaData()
		r.stored += float64(chunk.GetTotalUncompressedSize())
	}
	r.pieces.own = make([]bool, len(at))
	return r.guard("", func() error {
		for _, i := range at {
			if node := &whole.nodes[i]; whole.flatLeaf(node, r.group) {
				r.addFlat(whole, node)
				continue
			}
			c, err := f.column(ctx, i, r.group)
			if err != nil {
				return fmt.Errorf("column %q: %w", f.fields[i].Name, err)
			}
			r.columns = append(r.columns, c)
			r.hold(c, f)
		}
		return nil
	})
}

// addFlat adds the decoder of a leaf of a common kind, in the memory that a reader before left.
func (r *parquetReader) addFlat(f *parquetFile, node *pqarrow.SchemaField) {
	c := r.spare.take(len(r.columns))
	f.flat(c, r.env, node, r.group)
	c.room, c.mem = r.room, r.mem
	c.book()
	r.pieces.own[len(r.columns)] = true
	r.columns = append(r.columns, &parquetColumn{node: node, flat: c})
}

// room waits until there is room for the strings of a column where they take more than all of
// the record was thought to take.
func (r *parquetReader) room(bytes int64) error {
	r.planned -= bytes
	if r.planned >= 0 {
		return nil
	}
	more := -r.planned
	r.planned = 0
	if err := r.env.Room(r.in.ctx, more); err != nil {
		return &roomError{r.decoded, err}
	}
	return nil
}

// hold books what Arrow's decoders keep of a column's file and pages.
func (r *parquetReader) hold(c *parquetColumn, f *parquetFile) {
	var n int64
	for _, leaf := range c.order {
		n += f.props.BufferSize
		if !r.pages.cuts(leaf) {
			n += min(2*largePage, 2*f.MetaData().RowGroups[r.group].Columns[leaf].GetMetaData().GetTotalUncompressedSize())
		}
	}
	r.held += n
	r.env.Book(stage.ReaderBuffers, n)
}

// readable refuses what Arrow's decoder would take for the end of a column.
func (r *parquetReader) readable(f *parquetFile, cols []int) error {
	for _, leaf := range cols {
		chunk := f.MetaData().RowGroups[r.group].Columns[leaf].GetMetaData()
		for _, encoding := range chunk.GetEncodings() {
			if encoding.String() == "BYTE_STREAM_SPLIT" {
				return fmt.Errorf("readers: %s: column %q is encoded as BYTE_STREAM_SPLIT, which cannot be read: write the file without it",
					r.in.path, strings.Join(chunk.GetPathInSchema(), "."))
			}
		}
	}
	return nil
}

// guard runs what decodes pages: Arrow's decoders panic on damaged ones.
func (r *parquetReader) guard(column string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.fault(column, fmt.Errorf("the data is corrupt: %v", p))
		}
	}()
	if err := f(); err != nil {
		return r.fault(column, err)
	}
	return nil
}

func (r *parquetReader) fault(column string, err error) error {
	if ctx := r.in.ctx.Err(); ctx != nil {
		return ctx
	}
	if r.in.fault != nil && !errors.Is(err, r.in.fault) { // Arrow's reader keeps it to itself
		err = r.in.fault
	}
	if fault := r.pages.err(); fault != nil && r.in.fault == nil {
		err = fault
	}
	bad := &stage.RowError{Stage: string(ParquetFormat), Path: r.in.path, Row: -1, Column: column, Err: err}
	if r.split.Base >= 0 {
		bad.Row = r.split.Base + r.decoded
	}
	if r.in.fault == nil {
		bad.Kind = stage.BadData
	}
	if room := (*roomError)(nil); errors.As(err, &room) {
		bad.Kind, bad.Err = stage.Failed, room.err
		if bad.Row >= 0 {
			bad.Row = r.split.Base + room.row
		}
	}
	return bad
}

func (r *parquetReader) Next(ctx context.Context, maxBytes int64) (stage.Batch, error) {
	return nextOrFailed(ctx, &r.failed, func() (stage.Batch, error) { return r.next(ctx, maxBytes) })
}

func (r *parquetReader) next(ctx context.Context, maxBytes int64) (stage.Batch, error) {
	if maxBytes <= 0 {
		maxBytes = defaultBytes
	}
	maxBytes = min(maxBytes, maxBytesCap)
	r.in.ctx = ctx
	for r.pieces.left() == 0 {
		if r.decoded >= r.total || r.pos >= r.total {
			return stage.Batch{}, io.EOF
		}
		if err := ctx.Err(); err != nil {
			return stage.Batch{}, err
		}
		n := r.guess(maxBytes)
		r.planned = min(maxBytes, int64(float64(n)*r.expect()))
		if err := r.env.Room(ctx, r.planned); err != nil {
			return stage.Batch{}, err
		}
		if err := r.decode(n); err != nil {
			return stage.Batch{}, err
		}
	}
	rec, err := r.pieces.next(ctx, maxBytes)
	if err != nil {
		return stage.Batch{}, r.fault("", err)
	}
	origin := stage.RowRange(r.split, r.pos, int(rec.NumRows()))
	r.pos += rec.NumRows()
	return stage.NewBatch(rec, origin), nil
}

// expect is how many bytes a row may take: as many as those decoded last, or as what is
// left of the row group has on average.
func (r *parquetReader) expect() float64 {
	return max(r.perRow, r.stored/float64(max(r.total-r.decoded, 1)), 0.125)
}

// guess is how many rows to decode for a record of maxBytes: few enough that they fit if they
// are like those before, so that the record need not be cut.
func (r *parquetReader) guess(maxBytes int64) int64 {
	n := int64(max(float64(maxBytes-maxBytes/32)/r.expect(), 1))
	if len(r.columns) > 0 {
		n = min(n, max(4*r.rows, firstRows))
	}
	n = min(n, maxRows, r.total-r.decoded)
	if skip := r.pos - r.decoded; skip > 0 {
		n = min(n, skip)
	}
	return n
}

// decode makes the next n rows into pieces, or drops them if they come before pos.
func (r *parquetReader) decode(n int64) error {
	cols := make([]arrow.Array, len(r.columns))
	for i := range r.columns {
		name := r.scan.schema.Field(i).Name
		err := r.guard(name, func() (err error) {
			cols[i], err = r.columns[i].next(n, r.env.Allocator(i))
			return err
		})
		if err != nil {
			release(cols)
			return err
		}
	}
	r.decoded += n
	r.pieces.set(cols, int(n))
	size := r.pieces.bytes(0, int(n))
	r.rows, r.perRow, r.stored = n, float64(size)/float64(n), max(r.stored-float64(size), 0)
	if r.decoded <= r.pos {
		r.pieces.drop()
	}
	return nil
}

func (r *parquetReader) Close() error {
	if r.in == nil {
		return nil
	}
	r.pieces.drop()
	for _, c := range r.columns {
		c.close()
	}
	r.spare.give(r.columns)
	r.scan.spare.Put(r.spare)
	r.columns, r.spare = nil, nil
	r.pages.close()
	if r.mem != nil {
		r.mem.close()
	}
	r.env.Book(stage.ReaderBuffers, -r.held)
	err := r.in.Close()
	r.in, r.failed = nil, errors.New("readers: the reader is closed")
	return err
}
