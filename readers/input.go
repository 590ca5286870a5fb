package readers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/penstock-data/penstock/stage"
)

// input is an open file. It counts what is read from it, stops when its context ends,
// and keeps the first fault, which some decoders do not pass on.
type input struct {
	File
	ctx   context.Context // of the call that reads; set by it
	path  string
	info  fs.FileInfo
	env   stage.Env
	fault error
	done  bool
}

func openInput(ctx context.Context, env stage.Env, fsys FileSystem, name string) (*input, error) {
	info, err := fsys.Stat(ctx, name)
	if err != nil {
		return nil, lister{fs: fsys}.missing(ctx, name, err)
	}
	file, err := fsys.Open(ctx, name)
	if err != nil {
		return nil, lister{fs: fsys}.missing(ctx, name, err)
	}
	return &input{File: file, ctx: ctx, path: name, info: info, env: env}, nil
}

func (in *input) Read(p []byte) (int, error) {
	if err := in.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := in.File.Read(p)
	return n, in.note(n, err)
}

func (in *input) ReadAt(p []byte, off int64) (int, error) {
	if err := in.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := in.File.ReadAt(p, off)
	return n, in.note(n, err)
}

func (in *input) note(n int, err error) error {
	in.env.Add(stage.ReadBytes, int64(n))
	if err != nil && err != io.EOF && in.fault == nil {
		in.fault = err
	}
	return err
}

// Close may be called again.
func (in *input) Close() error {
	if in.done {
		return nil
	}
	in.done = true
	return in.File.Close()
}

// unchanged makes sure that the file is the one that the split was made from: positions
// in another one mean nothing.
func (in *input) unchanged(split stage.Split) error {
	if split.Fingerprint != "" && split.Fingerprint != fingerprint(in.info) {
		return fmt.Errorf("readers: %s: the file has changed since it was listed", in.path)
	}
	return nil
}

// stream is the content of a file with its compression undone.
type stream struct {
	io.Reader
	in    *input
	codec string // "gzip", "zstd"; empty: none
	held  int64  // bytes that are held for it
	close func()
}

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

const (
	streamBuffer  = 64 << 10
	gzipHeld      = 64 << 10  // window, tables
	zstdMaxWindow = 128 << 20 // what zstd --long=27 makes
	zstdHeldBase  = 512 << 10 // tables, beside the window
)

// openContent opens a file for what it holds behind its compression.
func openContent(ctx context.Context, env stage.Env, fsys FileSystem, name string) (*stream, error) {
	in, err := openInput(ctx, env, fsys, name)
	if err != nil {
		return nil, err
	}
	src, err := in.content()
	if err != nil {
		in.Close()
		return nil, err
	}
	return src, nil
}

// nextOrFailed calls next until it fails, and gives that error ever after.
func nextOrFailed(ctx context.Context, failed *error, next func() (stage.Batch, error)) (stage.Batch, error) {
	if err := ctx.Err(); err != nil {
		return stage.Batch{}, err
	}
	if *failed == nil {
		batch, err := next()
		if err == nil {
			return batch, nil
		}
		*failed = err
	}
	return stage.Batch{}, *failed
}

// wholeFiles is for formats that are read from the start of a file to its end: a file is one
// split.
type wholeFiles struct{}

func (wholeFiles) splits(_ context.Context, _ *fileScan, whole stage.Split, yield func(stage.Split) bool) error {
	yield(whole)
	return nil
}

// content undoes the compression that the name ends in or, failing that, that the first
// bytes show: no text begins like a compressed file.
func (in *input) content() (*stream, error) {
	raw := bufio.NewReaderSize(in, streamBuffer)
	s := &stream{Reader: raw, in: in, held: streamBuffer, close: func() {}}
	head, err := raw.Peek(4)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("readers: %s: %w", in.path, err)
	}
	_, codec := splitName(in.path)
	switch {
	case codec == "gzip" || codec == "" && bytes.HasPrefix(head, gzipMagic) && len(head) > 2:
		err = s.gunzip(raw)
	case codec == "zstd" || codec == "" && bytes.HasPrefix(head, zstdMagic):
		err = s.unzstd(raw)
	default:
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("readers: %s: %w", in.path, s.explain(err))
	}
	in.env.Book(stage.ReaderBuffers, s.held)
	return s, nil
}

func (s *stream) gunzip(raw *bufio.Reader) error {
	s.codec = "gzip"
	r, err := gzip.NewReader(raw)
	if err != nil {
		return err
	}
	s.Reader, s.held, s.close = r, s.held+gzipHeld, func() { r.Close() }
	return nil
}

func (s *stream) unzstd(raw *bufio.Reader) error {
	s.codec = "zstd"
	var head zstd.Header
	peek, err := raw.Peek(zstd.HeaderMaxSize)
	if len(peek) == 0 { // no frame at all: not even an empty one
		return errors.Join(err, io.ErrUnexpectedEOF)
	}
	if err := head.Decode(peek); err != nil {
		return err
	}
	if head.WindowSize > zstdMaxWindow {
		return fmt.Errorf("its window of %d bytes is more than the %d that are allowed: compress it again with --long=27 or less", head.WindowSize, zstdMaxWindow)
	}
	r, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(zstdMaxWindow))
	if err != nil {
		return err
	}
	s.Reader, s.close = r, r.Close
	s.held += zstdHeldBase + int64(min(head.WindowSize, zstdMaxWindow))
	return nil
}

// explain says what a fault means that came while the content was read.
func (s *stream) explain(err error) error {
	if s.in.fault != nil || s.codec == "" || err == context.Canceled || err == context.DeadlineExceeded {
		return err
	}
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the %s data is cut short: %w", s.codec, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("the %s data is corrupt: %w", s.codec, err)
}

// Close closes the file too.
func (s *stream) Close() error {
	s.close()
	s.in.env.Book(stage.ReaderBuffers, -s.held)
	s.held = 0
	return s.in.Close()
}
