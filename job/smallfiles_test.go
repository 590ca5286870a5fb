package job_test

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
)

// listed is a source that counts the splits that were asked of it.
type listed struct {
	stage.Source
	splits *atomic.Int64
}

func (l listed) Plan(ctx context.Context, req stage.ScanRequest) (stage.Scan, error) {
	scan, err := l.Source.Plan(ctx, req)
	return listedScan{scan, l.splits}, err
}

type listedScan struct {
	stage.Scan
	splits *atomic.Int64
}

func (s listedScan) Splits(ctx context.Context) iter.Seq2[stage.Split, error] {
	return func(yield func(stage.Split, error) bool) {
		for split, err := range s.Scan.Splits(ctx) {
			s.splits.Add(1)
			if !yield(split, err) {
				return
			}
		}
	}
}

// smallFiles makes files of one row each, a thousand in a folder.
func smallFiles(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprintf("%03d", i/1000))
		if i%1000 == 0 {
			require.NoError(t, os.Mkdir(sub, 0o755))
		}
		require.NoError(t, os.WriteFile(filepath.Join(sub, fmt.Sprintf("%06d.txt", i)), fmt.Appendf(nil, "row %d\n", i), 0o644))
	}
	return dir
}

// heap is what is in use once all that is garbage is gone.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestManySmallFilesStream: rows come out long before the files are all listed, and what is kept
// of the files that are done with does not grow.
func TestManySmallFilesStream(t *testing.T) {
	dir := smallFiles(t, smallFilesCount)
	for _, unordered := range []bool{false, true} {
		src := listed{readers.Text(readers.TextConfig{Files: readers.Paths(dir)}), new(atomic.Int64)}
		rows, began := 0, time.Now()
		var first time.Duration
		var early uint64
		for rec, err := range pipeline.Read(src).Batches(t.Context(), pipeline.Config{Unordered: unordered}) {
			require.NoError(t, err)
			if rows == 0 {
				first = time.Since(began)
				require.Less(t, src.splits.Load(), int64(600), "files listed when the first row comes out")
			}
			if !unordered {
				require.Equal(t, fmt.Sprint("row ", rows), rec.Column(0).ValueStr(0))
			}
			if rows += int(rec.NumRows()); rows == smallFilesCount/5 {
				early = heap()
			}
			if rows == smallFilesCount {
				late := heap()
				t.Logf("first row after %v, all %d after %v; heap %d KiB after a fifth, %d KiB at the end", first, rows, time.Since(began), early>>10, late>>10)
				require.Less(t, late, early+early/2+4<<20, "the heap grows with the files that were read")
			}
		}
		require.Equal(t, smallFilesCount, rows)
		require.EqualValues(t, smallFilesCount, src.splits.Load())
	}
}
