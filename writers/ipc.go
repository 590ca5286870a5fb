package writers

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// ipcFormat writes Arrow IPC files, a batch for each unit. Dictionaries are written as
// their values (see stored).
type ipcFormat struct {
	schema *arrow.Schema
	convs  []converter
	opts   []ipc.Option
	loose  bool
}

func newIPCFormat(cfg Config, rows *arrow.Schema) (format, error) {
	f := &ipcFormat{convs: make([]converter, rows.NumFields())}
	fields := rows.Fields()
	for i := range fields {
		f.loose = f.loose || contains(fields[i].Type, isLoose)
		fields[i].Type, f.convs[i] = stored(fields[i].Type, false)
	}
	meta := rows.Metadata()
	f.schema = arrow.NewSchema(fields, &meta)
	f.opts = []ipc.Option{ipc.WithSchema(f.schema)}
	switch cfg.Compression {
	case LZ4:
		f.opts = append(f.opts, ipc.WithLZ4())
	case Zstd:
		f.opts = append(f.opts, ipc.WithZstd())
	}
	return f, nil
}

func (f *ipcFormat) open(w *outFile, mem func(int) memory.Allocator) (_ encoder, err error) {
	return f.start(w, mem, f.convs)
}

func (f *ipcFormat) start(w *outFile, mem func(int) memory.Allocator, convs []converter) (*ipcEncoder, error) {
	opts := append(f.opts[:len(f.opts):len(f.opts)], ipc.WithAllocator(mem(0)))
	fw, err := ipc.NewFileWriter(&position{w: w}, opts...)
	if err != nil {
		return nil, fmt.Errorf("writers: ipc: %w", err)
	}
	return &ipcEncoder{f: f, mem: mem, convs: convs, fw: fw}, nil
}

// position is a writer that knows how far it is, which is all that the IPC writer seeks
// for.
type position struct {
	w  *outFile
	at int64
}

func (p *position) Write(b []byte) (int, error) {
	p.at += int64(len(b))
	return p.w.Write(b)
}

func (p *position) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekCurrent {
		return 0, errors.ErrUnsupported
	}
	return p.at, nil
}

// ipcEncoder writes one file.
type ipcEncoder struct {
	f     *ipcFormat
	mem   func(int) memory.Allocator
	convs []converter
	fw    *ipc.FileWriter
}

func (e *ipcEncoder) write(ctx context.Context, rec arrow.Record, own bool) (err error) {
	defer recovered(&err)
	if err := ctx.Err(); err != nil {
		return err
	}
	if !own && !e.f.loose {
		// A slice carries bits of its neighbours along: the bytes of the file would
		// depend on how the rows came.
		if rec, err = concat([]arrow.Record{rec}, rec.Schema(), e.mem); err != nil {
			return err
		}
		defer rec.Release()
	}
	cols := make([]arrow.Array, 0, rec.NumCols())
	defer func() { release(cols) }()
	for i, col := range rec.Columns() {
		if e.convs[i] == nil {
			col.Retain()
		} else if col, err = e.convs[i](e.mem(i), col); err != nil {
			return fmt.Errorf("writers: ipc: column %q: %w", rec.ColumnName(i), err)
		}
		cols = append(cols, col)
	}
	out := array.NewRecord(e.f.schema, cols, rec.NumRows())
	defer out.Release()
	if err := e.fw.Write(out); err != nil {
		return fmt.Errorf("writers: ipc: %w", err)
	}
	return nil
}

func (e *ipcEncoder) held() int64                 { return 0 }
func (e *ipcEncoder) flush(context.Context) error { return nil }
func (e *ipcEncoder) abort()                      {}

func (e *ipcEncoder) close(context.Context) (err error) {
	defer recovered(&err)
	if err := e.fw.Close(); err != nil {
		return fmt.Errorf("writers: ipc: %w", err)
	}
	return nil
}

func (f *ipcFormat) join(ctx context.Context, w *outFile, from []readFile) (err error) {
	defer recovered(&err)
	enc, err := f.start(w, func(int) memory.Allocator { return memory.DefaultAllocator }, make([]converter, len(f.convs)))
	if err != nil {
		return err
	}
	for _, r := range from {
		fr, err := ipc.NewFileReader(r)
		if err != nil {
			return fmt.Errorf("writers: join: %w", err)
		}
		for i := range fr.NumRecords() {
			rec, err := fr.Record(i)
			if err == nil {
				err = errors.Join(enc.write(ctx, rec, false), w.fault())
			}
			if err != nil {
				return errors.Join(err, fr.Close())
			}
		}
		if err := fr.Close(); err != nil {
			return fmt.Errorf("writers: join: %w", err)
		}
	}
	return enc.close(ctx)
}
