package writers_test

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

// TestNoGoroutineStays: neither a finished, nor an aborted, nor a failed part leaves one.
func TestNoGoroutineStays(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, cfg := range []writers.Config{{Compression: writers.Zstd}, {Format: writers.IPC, Compression: writers.Zstd},
		{Format: writers.IPC, Compression: writers.LZ4}, {Format: writers.JSONL, Compression: writers.Zstd}, {Format: writers.CSV, Compression: writers.Gzip}} {
		for _, fsys := range []writers.FileSystem{writers.OSFS{}, &fullDisk{}} {
			cfg.Path = filepath.Join(scratch(t), "out")
			s := open(t, cfg.WithFS(fsys))
			_, err := s.Begin(ctx, simple(), "a")
			require.NoError(t, err)
			part, err := writePart(s, stage.Env{}, partID(0), numbered(memory.DefaultAllocator, 0, 20_000))
			dropped, oerr := s.OpenPart(ctx, stage.Env{}, partID(1))
			require.NoError(t, oerr)
			_ = dropped.Write(ctx, numbered(memory.DefaultAllocator, 0, 20_000))
			require.NoError(t, dropped.Abort(ctx))
			if err == nil {
				err = s.Commit(ctx, []stage.Part{part})
			}
			if err != nil {
				require.NoError(t, s.Abort(ctx))
			}
		}
	}
	for range 10_000 { // those that are just ending
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	buf := make([]byte, 1<<20)
	t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
}
