package readers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// IPCConfig is a source of Arrow IPC files and streams.
type IPCConfig struct {
	Files `json:"-"`
	// AllowNoEnd takes a stream that has no end marker for whole. Writers set the marker;
	// without it, a stream that was cut between two batches looks the same.
	AllowNoEnd bool `json:"allow_no_end,omitempty"`
}

// IPC is a source of Arrow IPC data: files (Feather V2), in which a record batch is a
// split, and streams, which are one split each and may be compressed by gzip or zstd.
func IPC(cfg IPCConfig) stage.Source {
	return &fileSource{files: cfg.Files, format: ipcFormat{cfg}}
}

var (
	ipcMagic        = []byte("ARROW1")
	ipcContinuation = []byte{0xff, 0xff, 0xff, 0xff}
	featherMagic    = []byte("FEA1")
)

type ipcFormat struct{ cfg IPCConfig }

func (f ipcFormat) name() Format    { return IPCFormat }
func (f ipcFormat) options() any    { return f.cfg }
func (f ipcFormat) validate() error { return nil }

func (f ipcFormat) schema(ctx context.Context, in *input) (*arrow.Schema, error) {
	isFile, err := isIPCFile(in)
	if err != nil {
		return nil, err
	}
	if isFile {
		r, err := openIPCFile(in)
		if err != nil {
			return nil, err
		}
		return r.Schema(), nil
	}
	s, err := openIPCStream(in)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.reader.Schema(), nil
}

// isIPCFile tells the file format from the stream format.
func isIPCFile(in *input) (bool, error) {
	head := make([]byte, 8)
	n, err := in.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("readers: %s: %w", in.path, err)
	}
	if bytes.HasPrefix(head[:n], featherMagic) {
		return false, fmt.Errorf("readers: %s: Feather V1 is not read: write it again as V2, which is Arrow IPC", in.path)
	}
	return bytes.HasPrefix(head[:n], ipcMagic), nil
}

func openIPCFile(in *input) (r *ipc.FileReader, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = in.noIPC(fmt.Errorf("%v", p))
		}
	}()
	if r, err = ipc.NewFileReader(in, ipc.WithAllocator(memory.DefaultAllocator)); err != nil {
		return nil, in.noIPC(err)
	}
	return r, nil
}

func (in *input) noIPC(err error) error {
	if in.fault != nil || in.ctx.Err() != nil {
		return fmt.Errorf("readers: %s: %w", in.path, err)
	}
	return fmt.Errorf("readers: %s (%d bytes): not an Arrow IPC file, or cut short: %w", in.path, in.info.Size(), err)
}

func (f ipcFormat) splits(ctx context.Context, scan *fileScan, whole stage.Split, yield func(stage.Split) bool) error {
	in, err := openInput(ctx, stage.Env{}, scan.fs, whole.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	isFile, err := isIPCFile(in)
	if err != nil {
		return err
	}
	if !isFile {
		yield(whole)
		return nil
	}
	r, err := openIPCFile(in)
	if err != nil {
		return err
	}
	if _, err := scan.match(whole.Path, r.Schema().Fields()); err != nil {
		return err
	}
	blocks, err := ipcBlocks(in)
	if err != nil {
		return err
	}
	whole.Base, whole.Exact = 0, true
	for i, b := range blocks {
		split, err := part(whole, "batch", i)
		if err != nil {
			return err
		}
		split.Rows, split.Bytes = b.rows, b.bytes
		whole.Base += b.rows
		if b.rows > 0 && !yield(split) {
			return nil
		}
	}
	return nil
}

func (f ipcFormat) open(ctx context.Context, env stage.Env, scan *fileScan, p openPart) (stage.Reader, error) {
	in, err := openInput(ctx, env, scan.fs, p.split.Path)
	if err != nil {
		return nil, err
	}
	r := &ipcReader{scan: scan, env: env, split: &p.split, in: in, pos: p.from, allowNoEnd: f.cfg.AllowNoEnd}
	r.pieces = pieces{env: env, schema: scan.schema}
	if err := r.start(p); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// ipcStream is the stream format with its compression undone.
type ipcStream struct {
	src    *stream
	reader *ipc.Reader
	ended  bool // the data ended where there should have been more, if only an end marker
}

func (s *ipcStream) Read(p []byte) (int, error) {
	n, err := s.src.Read(p)
	s.ended = s.ended || n == 0 && err == io.EOF
	return n, err
}

func (s *ipcStream) Close() error {
	if s.reader != nil {
		s.reader.Release()
	}
	return s.src.Close()
}

// openIPCStream takes over in, also when it fails.
func openIPCStream(in *input) (*ipcStream, error) {
	src, err := in.content()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	s := &ipcStream{src: src}
	head := make([]byte, 8)
	n, err := io.ReadFull(s, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, errors.Join(fmt.Errorf("readers: %s: %w", in.path, src.explain(err)), s.Close())
	}
	rest := io.Reader(s)
	if !bytes.HasPrefix(head, ipcMagic) { // the file format is a stream with something around it
		rest = io.MultiReader(bytes.NewReader(head[:n]), rest)
	}
	s.reader, err = ipc.NewReader(rest, ipc.WithAllocator(memory.DefaultAllocator))
	if err != nil {
		if in.fault != nil || src.codec != "" {
			err = src.explain(err)
		}
		return nil, errors.Join(in.noIPC(err), s.Close())
	}
	return s, nil
}

// ipcReader gives a record batch of a file, or all of a stream, in pieces.
type ipcReader struct {
	scan       *fileScan
	env        stage.Env
	split      *stage.Split
	in         *input
	allowNoEnd bool
	file       *ipc.FileReader
	batch      int // of the file
	stream     *ipcStream
	at         []int // where the wanted columns stand
	pieces     pieces
	pos        int64 // row that the next record begins with
	loaded     int64 // rows of the batches loaded so far
	failed     error
}

func (r *ipcReader) start(p openPart) error {
	isFile, err := isIPCFile(r.in)
	if err != nil {
		return err
	}
	var have *arrow.Schema
	if isFile {
		if err := r.in.unchanged(p.split); err != nil {
			return err
		}
		if r.file, err = openIPCFile(r.in); err != nil {
			return err
		}
		if p.part < 0 || p.part >= r.file.NumRecords() {
			return fmt.Errorf("readers: %s has no record batch %d", r.in.path, p.part)
		}
		r.batch, have = p.part, r.file.Schema()
	} else {
		in := r.in
		r.in = nil // the stream closes it
		if r.stream, err = openIPCStream(in); err != nil {
			return err
		}
		r.in, have = in, r.stream.reader.Schema()
	}
	r.at, err = r.scan.match(r.in.path, have.Fields())
	return err
}

func (r *ipcReader) Next(ctx context.Context, maxBytes int64) (stage.Batch, error) {
	return nextOrFailed(ctx, &r.failed, func() (stage.Batch, error) { return r.next(ctx, maxBytes) })
}

func (r *ipcReader) next(ctx context.Context, maxBytes int64) (stage.Batch, error) {
	if maxBytes <= 0 {
		maxBytes = defaultBytes
	}
	r.in.ctx = ctx
	for r.pieces.left() == 0 {
		if err := r.load(ctx); err != nil {
			return stage.Batch{}, err
		}
	}
	rec, err := r.pieces.next(ctx, min(maxBytes, maxBytesCap))
	if err != nil {
		return stage.Batch{}, r.fault(err)
	}
	origin := stage.RowRange(r.split, r.pos, int(rec.NumRows()))
	r.pos += rec.NumRows()
	return stage.NewBatch(rec, origin), nil
}

// load reads the next record batch. What of it comes before pos is passed over.
func (r *ipcReader) load(ctx context.Context) error {
	if r.file != nil {
		if r.loaded > 0 {
			return io.EOF
		}
		if err := r.env.Room(ctx, r.split.Bytes); err != nil {
			return err
		}
	}
	rec, err := r.read()
	if err != nil {
		return err
	}
	defer rec.Release()
	n := rec.NumRows()
	cols := make([]arrow.Array, len(r.at))
	for i, at := range r.at {
		cols[i] = rec.Column(at)
		cols[i].Retain()
	}
	r.pieces.set(cols, int(n))
	r.loaded += n
	r.pieces.pos = int(min(max(r.pos-(r.loaded-n), 0), n))
	if r.file != nil && n == 0 {
		return io.EOF
	}
	return nil
}

func (r *ipcReader) read() (rec arrow.Record, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.fault(fmt.Errorf("the data is corrupt: %v", p))
		}
	}()
	if r.file != nil {
		if rec, err = r.file.RecordAt(r.batch); err != nil {
			return nil, r.fault(err)
		}
		return rec, nil
	}
	rec, err = r.stream.reader.Read()
	switch {
	case err == nil:
		rec.Retain()
		return rec, nil
	case r.in.fault != nil || r.in.ctx.Err() != nil:
	case r.stream.ended && (err != io.EOF || !r.allowNoEnd):
		err = fmt.Errorf("the stream is cut short: it has no end marker (AllowNoEnd reads it all the same): %w", io.ErrUnexpectedEOF)
	case err == io.EOF:
		return nil, io.EOF
	}
	return nil, r.fault(err)
}

func (r *ipcReader) fault(err error) error {
	if ctx := r.in.ctx.Err(); ctx != nil {
		return ctx
	}
	bad := &stage.RowError{Stage: string(IPCFormat), Path: r.in.path, Row: -1, Kind: stage.BadData, Err: err}
	if r.in.fault != nil {
		bad.Kind = ""
		if !errors.Is(err, r.in.fault) {
			bad.Err = r.in.fault
		}
	}
	if r.split.Base >= 0 {
		bad.Row = r.split.Base + r.loaded
	}
	return bad
}

func (r *ipcReader) Close() error {
	if r.in == nil {
		return nil
	}
	r.pieces.drop()
	in := r.in
	r.in, r.failed = nil, errors.New("readers: the reader is closed")
	if r.stream != nil {
		return r.stream.Close()
	}
	if r.file != nil {
		r.file.Close()
	}
	return in.Close()
}
