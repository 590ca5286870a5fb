package chunk

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Compressor compresses pages. The zero value leaves them as they are. It may be used by
// several goroutines at once, and by any number of files.
type Compressor struct {
	// compress writes into dst, or where that is too small into memory of its own.
	compress func(dst, src []byte) []byte
}

// NewCompressor is that of one of the format's codecs; workers is how many goroutines will
// use it at once.
func NewCompressor(codec compress.Compression, workers int) (Compressor, error) {
	switch codec {
	case compress.Codecs.Uncompressed:
		return Compressor{}, nil
	case compress.Codecs.Snappy:
		return Compressor{s2.EncodeSnappy}, nil
	case compress.Codecs.Gzip:
		return Compressor{gzipper()}, nil
	case compress.Codecs.Zstd:
		// A page is hardly ever larger than the window.
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(workers), zstd.WithWindowSize(1<<20))
		if err != nil {
			return Compressor{}, fmt.Errorf("chunk: %w", err)
		}
		return Compressor{func(dst, src []byte) []byte { return enc.EncodeAll(src, dst[:0]) }}, nil
	}
	return Compressor{}, fmt.Errorf("chunk: there is no compressor for %s", codec)
}

func gzipper() func(dst, src []byte) []byte {
	var idle sync.Pool
	return func(dst, src []byte) []byte {
		out := bytes.NewBuffer(dst[:0])
		w, ok := idle.Get().(*gzip.Writer)
		if ok {
			w.Reset(out)
		} else {
			w = gzip.NewWriter(out)
		}
		defer idle.Put(w)
		_, _ = w.Write(src) // into memory: neither can fail
		_ = w.Close()
		return out.Bytes()
	}
}

// bound is enough for what n bytes become, but for the rarest of data.
func bound(n int) int { return n + n/6 + 64 }
