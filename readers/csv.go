package readers

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// CSVConfig is a source of CSV files. Its zero value, with Files, takes the names of the
// columns from the first line and their types from the first rows.
type CSVConfig struct {
	Files       `json:"-"`
	Delimiter   rune     `json:"delimiter,omitempty"`     // 0: a comma, or a tab in files ending in .tsv
	NoHeader    bool     `json:"no_header,omitempty"`     // the first line is a row; columns are c0, c1, …
	LazyQuotes  bool     `json:"lazy_quotes,omitempty"`   // a quote may stand in a value that is not quoted
	NullValues  []string `json:"null_values,omitempty"`   // these stand for null, whatever the column's type
	EmptyIsNull bool     `json:"empty_is_null,omitempty"` // in columns of strings too; elsewhere it always is

	// Schema has the columns and their types, which are scalar; with a header, in any
	// order. nil: bool, int64, float64 or string, by up to 10,000 rows of the first
	// file that has any.
	Schema *arrow.Schema `json:"-"`

	MaxRowBytes int64 `json:"max_row_bytes,omitempty"` // a longer row is an error: a quote is open; 0: 64 MiB
}

// CSV is a source of CSV files, quoted as by RFC 4180. Files are one split each; they
// may be compressed by gzip or zstd. Blank lines are passed over.
func CSV(cfg CSVConfig) stage.Source {
	return &fileSource{files: cfg.Files, format: csvFormat{cfg: cfg}}
}

type csvFormat struct {
	cfg CSVConfig
	wholeFiles
}

func (f csvFormat) name() Format { return CSVFormat }

func (f csvFormat) options() any {
	return struct {
		CSVConfig
		Schema string `json:"schema,omitempty"`
	}{f.cfg, schemaText(f.cfg.Schema)}
}

func (f csvFormat) validate() error {
	d := f.cfg.Delimiter
	if d == '"' || d == '\r' || d == '\n' || d != 0 && (!utf8.ValidRune(d) || d == utf8.RuneError) {
		return fmt.Errorf("readers: csv: %q cannot be the delimiter", d)
	}
	if f.cfg.Schema == nil {
		return nil
	}
	for _, field := range f.cfg.Schema.Fields() {
		if _, nested := field.Type.(arrow.NestedType); nested || field.Type.ID() == arrow.DICTIONARY {
			return &stage.ColumnError{Column: field.Name, Problem: fmt.Sprintf("CSV has no values of type %s", field.Type)}
		}
	}
	return nil
}

func (f csvFormat) schema(ctx context.Context, in *input) (*arrow.Schema, error) {
	if f.cfg.Schema != nil && f.cfg.NoHeader {
		return f.cfg.Schema, nil
	}
	src, err := in.content()
	if err != nil {
		return nil, err
	}
	defer src.Close()
	rows := f.rows(src)
	header, err := rows.header(ctx, f.cfg)
	if err == errNoColumns && f.cfg.Schema != nil {
		return f.cfg.Schema, nil
	}
	if err != nil {
		return nil, err
	}
	if f.cfg.Schema != nil {
		scan := &fileScan{source: &fileSource{format: f}, first: "the schema", full: f.cfg.Schema}
		return f.cfg.Schema, scan.sameNames(src.in.path, header)
	}
	return f.infer(ctx, rows, header)
}

func (f csvFormat) open(ctx context.Context, env stage.Env, scan *fileScan, p openPart) (stage.Reader, error) {
	src, err := openContent(ctx, env, scan.fs, p.split.Path)
	if err != nil {
		return nil, err
	}
	d := &csvDecoder{csvRows: f.rows(src), cfg: f.cfg, scan: scan, from: p.from}
	d.rowBuilders = newRowBuilders(env, scan, func(col int, b array.Builder, wanted bool) {
		field := scan.full.Field(col)
		d.cells = append(d.cells, newCell(b, f.cfg, field, wanted))
	})
	return newRowReader(env, scan, p, d), nil
}

// csvRows are the records of a file.
type csvRows struct {
	*csv.Reader
	src     *stream
	bounded *boundedReader
	row     int64 // of the record that read gives next
	held    []string
}

// boundedReader fails when more than max bytes are read for one record.
type boundedReader struct {
	r         io.Reader
	left, max int64
	fault     error // what it gave last, other than io.EOF
}

var errRowTooLong = errors.New("the row is longer than the bound: is a quote open? (LazyQuotes takes quotes as they come, MaxRowBytes sets the bound)")

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.fault = errRowTooLong
		return 0, b.fault
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if err != nil && err != io.EOF {
		b.fault = err
	}
	return n, err
}

func (f csvFormat) rows(src *stream) *csvRows {
	max := f.cfg.MaxRowBytes
	if max <= 0 {
		max = defaultMaxLine
	}
	bounded := &boundedReader{r: src, left: max + streamBuffer, max: max + streamBuffer}
	buffered := bufio.NewReaderSize(bounded, streamBuffer)
	if mark, _ := buffered.Peek(3); string(mark) == "\xef\xbb\xbf" {
		buffered.Discard(3)
	}
	r := &csvRows{Reader: csv.NewReader(buffered), src: src, bounded: bounded}
	r.FieldsPerRecord, r.ReuseRecord, r.LazyQuotes = -1, true, f.cfg.LazyQuotes
	r.Comma = f.delimiter(src.in.path)
	return r
}

func (f csvFormat) delimiter(file string) rune {
	if f.cfg.Delimiter != 0 {
		return f.cfg.Delimiter
	}
	if rest, _ := splitName(file); strings.EqualFold(path.Ext(rest), ".tsv") {
		return '\t'
	}
	return ','
}

// read gives the next record, valid until the call after.
func (r *csvRows) read(ctx context.Context) ([]string, error) {
	r.src.in.ctx = ctx
	if r.held != nil {
		rec := r.held
		r.held = nil
		r.row++
		return rec, nil
	}
	r.bounded.left = r.bounded.max
	rec, err := r.Reader.Read()
	var parse *csv.ParseError
	switch {
	case err == nil:
		r.row++
	case r.bounded.fault == errRowTooLong:
		err = errRowTooLong
	case r.bounded.fault != nil: // a cut record is no record
		err = r.src.explain(r.bounded.fault)
	case errors.As(err, &parse):
		r.row++
	}
	return rec, err
}

// header gives the names of the columns. Without a header line the first record, which is
// kept for read, tells how many there are.
func (r *csvRows) header(ctx context.Context, cfg CSVConfig) ([]string, error) {
	rec, err := r.read(ctx)
	if err == io.EOF {
		return nil, errNoColumns
	}
	if err != nil {
		return nil, fmt.Errorf("readers: %s: the header: %w", r.src.in.path, err)
	}
	names := slices.Clone(rec)
	r.row = 0
	if cfg.NoHeader {
		r.held = slices.Clone(rec)
		for i := range names {
			names[i] = fmt.Sprintf("c%d", i)
		}
	}
	for i, name := range names {
		if !utf8.ValidString(name) {
			return nil, fmt.Errorf("readers: %s: the header is not UTF-8: convert the file (iconv -f ISO-8859-1 -t UTF-8 if it is Latin-1)", r.src.in.path)
		}
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("readers: %s: the header has column %q twice: rename one, or set NoHeader if the first line is a row", r.src.in.path, name)
		}
	}
	return names, nil
}

// csvDecoder puts records into builders.
type csvDecoder struct {
	*csvRows
	*rowBuilders
	cfg   CSVConfig
	scan  *fileScan
	from  int64
	cells []cell // by the columns of the source
	at    []int  // for each value of a record, where its cell is; -1: not a column of the source
	width int    // values of a record
	ready bool
	rec   []string
}

// start reads the header and passes over the rows that are not wanted.
func (d *csvDecoder) start(ctx context.Context) error {
	d.ready = true
	names, err := d.header(ctx, d.cfg)
	if err == errNoColumns {
		return io.EOF
	}
	if err != nil {
		return err
	}
	if err := d.place(names); err != nil {
		return err
	}
	d.width = len(names)
	for d.row < d.from {
		var parse *csv.ParseError
		if _, err := d.read(ctx); err != nil && !errors.As(err, &parse) {
			return d.broken(err)
		}
	}
	return nil
}

// place finds the cells for the columns of a file.
func (d *csvDecoder) place(names []string) error {
	d.at = make([]int, len(names))
	if d.cfg.NoHeader && d.scan.full.NumFields() == len(names) { // by position
		for i := range d.at {
			d.at[i] = i
		}
		return nil
	}
	fields := make([]arrow.Field, len(names))
	for i, name := range names { // the types are what the source says
		fields[i] = arrow.Field{Name: name, Type: arrow.Null}
		d.at[i] = -1
		if at := d.scan.full.FieldIndices(name); len(at) > 0 {
			fields[i].Type = d.scan.full.Field(at[0]).Type
			d.at[i] = at[0]
		}
	}
	_, err := d.scan.match(d.src.in.path, fields)
	return err
}

func (d *csvDecoder) broken(err error) error {
	if err == io.EOF || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return brokenAt(d.row, d.src.in.fault != nil, err)
}

func (d *csvDecoder) next(ctx context.Context) (row, bound int64, err error) {
	if !d.ready {
		if err := d.start(ctx); err != nil {
			return 0, 0, err
		}
	}
	row = d.row
	d.rec, err = d.read(ctx)
	var parse *csv.ParseError
	if err != nil && d.bounded.fault == nil && errors.As(err, &parse) {
		return row, 0, badRow(row, "", fmt.Errorf("line %d: %w (LazyQuotes takes quotes as they come)", parse.Line, parse.Err))
	}
	if err != nil {
		return row, 0, d.broken(err)
	}
	if len(d.rec) != d.width {
		line, _ := d.FieldPos(0)
		return row, 0, badRow(row, "", fmt.Errorf("line %d has %d values, not %d: quote values that hold a delimiter, or correct the line", line, len(d.rec), d.width))
	}
	for i, at := range d.at {
		if at >= 0 && d.cells[at].wanted {
			bound += d.cells[at].width + int64(len(d.rec[i]))
		}
	}
	return row, bound, nil
}

func (d *csvDecoder) add() (int64, error) {
	var size, waste int64
	for i, at := range d.at {
		if at < 0 {
			continue
		}
		n, err := d.cells[at].put(d.rec[i])
		if err != nil {
			name := d.scan.full.Field(at).Name
			return 0, badRow(d.row-1, name, fmt.Errorf("%w: correct the value, name it in NullValues, or give a schema in which the column is of another type", err))
		}
		if d.cells[at].wanted {
			size += n
		} else {
			waste += n
		}
	}
	d.added(waste)
	return size, nil
}

func (d *csvDecoder) room(maxBytes int64) int64 { return d.src.room(maxBytes, 16) }

func (d *csvDecoder) input() string {
	return shorten([]byte(strings.Join(d.rec, string(d.Comma))))
}

func (d *csvDecoder) Close() error {
	d.release()
	return d.src.Close()
}
