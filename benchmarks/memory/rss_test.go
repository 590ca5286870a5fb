package memory_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"
	"github.com/stretchr/testify/require"
)

const (
	textBytes = 50_000
	groupRows = 1024 // and of a page: 51 MB
	groups    = 5
)

// longTexts writes 250 MB of Parquet in pages of 51 MB, which hardly compress.
func longTexts(t *testing.T, path string) {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	f, err := os.Create(path)
	require.NoError(t, err)
	w, err := pqarrow.NewFileWriter(schema, f, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy),
		parquet.WithDictionaryDefault(false), parquet.WithDataPageSize(1<<30), parquet.WithStats(false)), pqarrow.DefaultWriterProps())
	require.NoError(t, err)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	pool := make([]byte, 1<<20)
	x := uint64(1)
	for i := range pool {
		x = x*6364136223846793005 + 1442695040888963407
		pool[i] = 'a' + byte(x>>33%26)
	}
	for g := range groups {
		b.Field(1).(*array.StringBuilder).ReserveData(groupRows * textBytes)
		for i := range groupRows {
			x = x*6364136223846793005 + 1442695040888963407
			at := int(x >> 33 % uint64(len(pool)-textBytes))
			b.Field(0).(*array.Int64Builder).Append(int64(g*groupRows + i))
			b.Field(1).(*array.StringBuilder).BinaryBuilder.Append(pool[at : at+textBytes])
		}
		rec := b.NewRecord()
		require.NoError(t, w.Write(rec))
		rec.Release()
	}
	require.NoError(t, w.Close())
}

// A process that copies 250 MB of Parquet in pages of 51 MB under 128 MiB stays within them,
// by the kernel's own high-water mark, but for a tenth; and its ledger knows where they are.
func TestCopyStaysWithinItsLimit(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the high-water mark is read from Linux's /proc")
	}
	dir := t.TempDir()
	in, binary := filepath.Join(dir, "in.parquet"), filepath.Join(dir, "copy")
	longTexts(t, in)
	build := exec.Command("go", "build", "-o", binary, "./copy")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	const limit = 128
	run := exec.Command(binary, "-in", in, "-out", filepath.Join(dir, "out"), "-limit", strconv.Itoa(limit), "-over", "100")
	var said bytes.Buffer
	run.Stderr = &said
	out, err := run.Output()
	require.NoError(t, err, said.String())
	var r struct {
		Rows         int64   `json:"rows"`
		PeakRSS      int64   `json:"peak_rss_bytes"`
		Charged      int64   `json:"peak_charged_bytes"`
		Baseline     int64   `json:"baseline_bytes"`
		Unattributed float64 `json:"unattributed_share"`
	}
	require.NoError(t, json.Unmarshal(out, &r))
	t.Logf("%s", out)
	require.EqualValues(t, groups*groupRows, r.Rows)
	require.Positive(t, r.Baseline)
	require.LessOrEqual(t, r.PeakRSS>>20, int64(limit*11/10), "MiB of RSS at most")
	require.LessOrEqual(t, r.Charged, int64(limit<<20))
	require.Less(t, r.Unattributed, 0.25, "of RSS where it is over 100 MiB")
}
