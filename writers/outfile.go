package writers

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/penstock-data/penstock/stage"
)

// fileBuffer is how much is written to a file at a time.
const fileBuffer = 256 << 10

var errAborted = errors.New("writers: the part was aborted")

// outFile is a file being written: buffered, compressed where the format wants it. A
// write to it never fails; the first error is kept, and what comes after it is dropped.
type outFile struct {
	name string // that the file will have; for messages
	f    writeFile
	env  stage.Env
	top  io.Writer
	buf  *bufio.Writer
	comp io.WriteCloser // nil: none
	held int64          // booked memory
	size int64          // bytes that reached the file
	err  error
}

// createFile makes the file tmp for what will be name.
func createFile(fsys fileSystem, env stage.Env, tmp, name string, c Compression) (*outFile, error) {
	f, err := fsys.Create(tmp)
	if err != nil {
		return nil, fmt.Errorf("writers: create %s: %w", name, bare(err))
	}
	w := &outFile{name: name, f: f, env: env, held: fileBuffer}
	w.buf = bufio.NewWriterSize(fileEnd{w}, fileBuffer)
	w.top = w.buf
	switch c {
	case Gzip:
		// The memory of the compressors is what they were measured to take.
		w.comp, w.held = gzip.NewWriter(w.buf), w.held+(1<<20)
	case Zstd:
		enc, err := zstd.NewWriter(w.buf, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		w.comp, w.held = enc, w.held+(8<<20)
	}
	if w.comp != nil {
		// Compressed bytes must not depend on how the writes were cut.
		w.top = bufio.NewWriterSize(w.comp, fileBuffer)
		w.held += fileBuffer
	}
	env.Book(stage.WriterBuffers, w.held)
	return w, nil
}

// fileEnd is where bytes leave for the file.
type fileEnd struct{ w *outFile }

func (e fileEnd) Write(p []byte) (int, error) {
	n, err := e.w.f.Write(p)
	e.w.size += int64(n)
	e.w.env.Add(stage.WrittenBytes, int64(n))
	return n, err
}

func (w *outFile) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && w.err == nil; {
		// A bufio.Writer hands what is larger than its buffer on uncut.
		n := min(len(rest), fileBuffer)
		_, w.err = w.top.Write(rest[:n])
		rest = rest[n:]
	}
	return len(p), nil
}

// fault is the first error, with the name of the file.
func (w *outFile) fault() error {
	if w.err == nil || errors.Is(w.err, errAborted) {
		return w.err
	}
	return fmt.Errorf("writers: write %s: %w", w.name, bare(w.err))
}

// close flushes, syncs and closes the file. The file is whole if there is no error.
func (w *outFile) close() error {
	if b, ok := w.top.(*bufio.Writer); ok && w.err == nil {
		w.err = b.Flush()
	}
	if w.comp != nil {
		err := w.comp.Close()
		if w.err == nil {
			w.err = err
		}
	}
	if w.err == nil {
		w.err = w.buf.Flush()
	}
	if w.err == nil {
		w.err = w.f.Sync()
	}
	err := w.f.Close()
	if w.err == nil {
		w.err = err
	}
	w.env.Book(stage.WriterBuffers, -w.held)
	return w.fault()
}
