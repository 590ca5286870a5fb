package writers_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/csv"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
	"github.com/penstock-data/penstock/writers"
)

// TestContract: the sink keeps to the contract of stage.Sink, in all formats and modes,
// also when its disk fails.
func TestContract(t *testing.T) {
	for name, cfg := range map[string]writers.Config{
		"parquet":         {},
		"parquet zstd":    {Compression: writers.Zstd, Mode: writers.Overwrite},
		"parquet append":  {Mode: writers.Append},
		"parquet max":     {MaxRowsPerFile: 4, Mode: writers.Overwrite},
		"parquet min":     {MinRowsPerFile: 30, RowGroupRows: 7},
		"partitioned":     {Format: writers.JSONL, PartitionBy: []string{"text"}},
		"ipc":             {Format: writers.IPC, Compression: writers.LZ4},
		"jsonl":           {Format: writers.JSONL, Compression: writers.Zstd},
		"csv and no swap": {Format: writers.CSV, Mode: writers.Overwrite, Compression: writers.Gzip},
	} {
		t.Run(name, func(t *testing.T) {
			faults := &stagetest.Faults{}
			alive := map[string]*faultyFS{}
			newSink := func(dir string) stage.Sink {
				if before := alive[dir]; before != nil {
					before.kill() // the process that had it is gone
				}
				alive[dir] = &faultyFS{asked: faults.Call, noExchange: strings.Contains(name, "no swap")}
				cfg.Path = dir
				return open(t, cfg.WithFS(alive[dir]))
			}
			opt := stagetest.SinkOptions{Text: cfg.Format == writers.JSONL || cfg.Format == writers.CSV, Faults: faults,
				Appends: cfg.Mode == writers.Append, Unordered: cfg.PartitionBy != nil || cfg.Mode == writers.Append}
			if stride > 1 {
				opt.Faults = nil
			}
			stagetest.Sink(t, newSink, func(dir string) ([]arrow.Record, error) { return readBack(t, dir) }, opt)
		})
	}
}

// readBack is all rows of an output, as its manifest names the files.
func readBack(t testing.TB, dir string) ([]arrow.Record, error) {
	m, err := writers.ReadManifest(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	schema := sampleSchema()
	var out []arrow.Record
	for _, f := range m.Files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		switch m.Format {
		case writers.Parquet, writers.IPC:
			_, recs := readFile(t, path)
			for _, r := range recs { // without the metadata that arrow's Parquet reader adds
				out = append(out, array.NewRecord(schema, r.Columns(), r.NumRows()))
			}
		case writers.JSONL:
			text := readText(t, path)
			if folder, _, ok := strings.Cut(f.Path, "/"); ok { // the value is in the folder's name
				value := `,"text":"` + strings.TrimPrefix(folder, "text=") + `"}`
				if strings.Contains(folder, "HIVE_DEFAULT") {
					value = `,"text":null}`
				}
				text = strings.ReplaceAll(text, "}", value)
			}
			rec, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader("["+strings.ReplaceAll(strings.TrimSpace(text), "\n", ",")+"]"))
			if err != nil {
				return nil, err
			}
			out = append(out, rec)
		case writers.CSV:
			r := csv.NewReader(bytes.NewReader([]byte(readText(t, path))), schema, csv.WithHeader(true), csv.WithNullReader(true, ""), csv.WithChunk(-1))
			for r.Next() {
				r.Record().Retain()
				out = append(out, r.Record())
			}
			if r.Err() != nil {
				return nil, r.Err()
			}
		}
	}
	return out, nil
}

// sampleSchema is that of the rows which stagetest.Sink writes by itself.
func sampleSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "score", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
	}, nil)
}

// TestRealLocksAndSyncs runs a job with nothing in between, on the disk.
func TestRealLocksAndSyncs(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	require.NoError(t, job(writers.Config{Path: out}, "a", 0, 1))
	require.NoError(t, job(writers.Config{Path: out, Mode: writers.Overwrite}, "b", 2))
	require.Equal(t, count(20, 30), rowNumbers(t, out))
	clean(t, out)
	_, err := os.Stat(out)
	require.NoError(t, err)
}
