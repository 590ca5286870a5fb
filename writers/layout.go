package writers

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// layout is how rows of one schema are stored: bound once, used by all part writers.
type layout struct {
	cfg    Config
	folder string // below the output; empty but for dead letters
	schema *arrow.Schema
	keys   []int // columns that partition
	keep   []int // columns that are stored
	stored *arrow.Schema
	format format
	unit   unit
	loose  bool // a column's type cannot be put together: units are written in pieces as they came
	direct bool // rows go to the format as they come, in no units: what it writes hangs on the rows alone
}

// unit is the piece of rows that a format is given at a time. It ends where its rows or
// its bytes reach the bound, counted from the part's first row, whatever the pieces that
// came in: so the files of a part depend on its rows alone.
type unit struct {
	rows, bytes int64
}

// format makes files of one kind and schema.
type format interface {
	// open starts a file. mem gives the memory for column i.
	open(w *outFile, mem func(i int) memory.Allocator) (encoder, error)
	// join puts the rows of the files, in their order, into one. They are of this
	// format and schema.
	join(ctx context.Context, w *outFile, from []readFile) error
}

// encoder writes the rows of one file. The bytes go to an outFile, which never fails a
// write: it remembers the error, so that libraries always run to their end and give
// their memory back. Whoever calls an encoder looks at the outFile after.
type encoder interface {
	// write adds the rows of rec, which it borrows. own says that rec's memory is used
	// by nobody else, and may be held on to.
	write(ctx context.Context, rec arrow.Record, own bool) error
	// held is how many bytes of rows wait in memory for flush.
	held() int64
	flush(ctx context.Context) error
	// close writes what is held and the file's end. After an error, or in its place,
	// abort gives the memory back.
	close(ctx context.Context) error
	abort()
}

func newLayout(cfg Config, schema *arrow.Schema) (*layout, error) {
	l := &layout{cfg: cfg, schema: schema}
	var faults []error
	key := make([]bool, schema.NumFields())
	for _, name := range cfg.PartitionBy {
		i, err := stage.Column(schema, name)
		if err == nil {
			err = canPartition(schema.Field(i))
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("writers: partition by: %w", err))
			continue
		}
		key[i] = true
		l.keys = append(l.keys, i)
	}
	var fields []arrow.Field
	seen := map[string]bool{}
	for i, f := range schema.Fields() {
		if seen[f.Name] {
			faults = append(faults, fmt.Errorf("writers: there are two columns %q: rename or drop one", f.Name))
		}
		seen[f.Name] = true
		l.loose = l.loose || contains(f.Type, isLoose)
		if !key[i] {
			fields = append(fields, f)
			l.keep = append(l.keep, i)
		}
	}
	if len(fields) == 0 {
		faults = append(faults, errors.New("writers: no column is left to be written"))
	}
	meta := schema.Metadata()
	l.stored = arrow.NewSchema(fields, &meta)
	if err := l.bind(); err != nil {
		faults = append(faults, err)
	}
	return l, errors.Join(faults...)
}

// newErrorLayout is that of dead letters: the output's format, one file a part.
func newErrorLayout(cfg Config) (*layout, error) {
	cfg.PartitionBy, cfg.MaxRowsPerFile = nil, 0
	l, err := newLayout(cfg, stage.ErrorSchema())
	if err != nil {
		return nil, err
	}
	l.folder = ErrorsFolder
	return l, nil
}

func (l *layout) bind() (err error) {
	l.unit = unit{rows: 16 << 10, bytes: 1 << 20}
	switch l.cfg.Format {
	case Parquet:
		var f *parquetFormat
		f, err = newParquetFormat(l.cfg, l.stored)
		// With partitions, what is in memory at the end of a unit says which file is flushed.
		l.format, l.direct = f, err == nil && len(l.keys) == 0 && f.direct()
	case JSONL:
		l.format, err = newJSONFormat(l.stored)
	case CSV:
		l.format, err = newCSVFormat(l.stored)
	case IPC:
		l.unit = unit{rows: 64 << 10, bytes: 8 << 20}
		l.format, err = newIPCFormat(l.cfg, l.stored)
	default:
		err = fmt.Errorf("writers: unknown format %s", l.cfg.Format)
	}
	return err
}

// manyFiles says whether a part may have several files in one folder.
func (l *layout) manyFiles() bool { return l.cfg.MaxRowsPerFile > 0 || len(l.keys) > 0 }

// textCompression is what the file as a whole is compressed with.
func (l *layout) textCompression() Compression {
	if l.cfg.Format == JSONL || l.cfg.Format == CSV {
		return l.cfg.Compression
	}
	return NoCompression
}

// accepts says whether a record has the schema: the names and types of its columns.
func (l *layout) accepts(rec arrow.Record) error {
	s := rec.Schema()
	if s == l.schema {
		return nil
	}
	if s.NumFields() != l.schema.NumFields() {
		return fmt.Errorf("writers: rows with %d columns were given; %d were announced", s.NumFields(), l.schema.NumFields())
	}
	for i, f := range l.schema.Fields() {
		g := s.Field(i)
		if f.Name != g.Name || !arrow.TypeEqual(f.Type, g.Type) {
			return fmt.Errorf("writers: column %d of the rows is %q (%s); %q (%s) was announced", i, g.Name, g.Type, f.Name, f.Type)
		}
	}
	return nil
}
