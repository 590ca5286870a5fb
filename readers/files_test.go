package readers_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// listed gives the files of a text source, relative to dir.
func listed(t testing.TB, dir string, paths ...string) []string {
	t.Helper()
	out := []string{}
	for _, s := range splits(t, textSource(readers.Paths(paths...)), stage.ScanRequest{}) {
		rel, err := filepath.Rel(dir, s.Path)
		require.NoError(t, err)
		out = append(out, rel)
	}
	return out
}

func TestListing(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"b.txt", "a.txt", "a.log.gz", "note.md", "_SUCCESS", ".hidden.txt", "_errors/e.txt",
		"sub/c.txt", "sub/deep/d.txt", "sub/deep/x.csv", "sub2/c.txt", "a[1].txt",
	} {
		write(t, dir, name, []byte("x\n"))
	}
	require.NoError(t, os.Symlink(filepath.Join(dir, "sub"), filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "broken.md")))
	at := func(p string) string { return filepath.Join(dir, p) }
	for _, c := range []struct {
		paths []string
		want  []string
	}{
		{[]string{dir}, []string{"a.log.gz", "a.txt", "a[1].txt", "b.txt", "link/c.txt", "link/deep/d.txt", "sub/c.txt", "sub/deep/d.txt", "sub2/c.txt"}},
		{[]string{at("*.txt")}, []string{"a.txt", "a[1].txt", "b.txt"}},
		{[]string{at("a[1].txt")}, []string{"a[1].txt"}}, // a file of that name comes first
		{[]string{at("[b].*")}, []string{"b.txt"}},
		{[]string{at("sub*/c.txt")}, []string{"sub/c.txt", "sub2/c.txt"}},
		{[]string{at("sub*")}, []string{"sub/c.txt", "sub/deep/d.txt", "sub2/c.txt"}},
		{[]string{at("sub/**/*.txt")}, []string{"sub/c.txt", "sub/deep/d.txt"}},
		{[]string{at("**/d.txt")}, []string{"link/deep/d.txt", "sub/deep/d.txt"}},
		{[]string{at("{sub,sub2}/*.txt")}, []string{"sub/c.txt", "sub2/c.txt"}},
		{[]string{at("{sub/deep,sub2}/*.txt")}, []string{"sub/deep/d.txt", "sub2/c.txt"}},
		{[]string{at("_errors/*")}, []string{"_errors/e.txt"}},
		{[]string{at("_*/*.txt")}, []string{"_errors/e.txt"}},
		{[]string{at("note.md"), at("b.txt"), at("sub")}, []string{"note.md", "b.txt", "sub/c.txt", "sub/deep/d.txt"}},
		{[]string{at("b.txt"), at("*.txt"), at("./b.txt")}, []string{"b.txt", "a.txt", "a[1].txt"}},
	} {
		require.Equal(t, c.want, listed(t, dir, c.paths...), "%v", c.paths)
	}
}

func TestListingErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "messages.txt", []byte("x\n"))
	write(t, dir, "full/x.csv", []byte("a\n1\n"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o777))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "full", "broken.txt")))
	for path, parts := range map[string][]string{
		"mesages.txt":   {"no such file", "did you mean", "messages.txt"},
		"empty":         {"empty", "no files ending in .txt, .log"},
		"*.log":         {"*.log", "no file matches"},
		"none/*.txt":    {"no file matches"},
		"messages.txt/": {},
	} {
		_, err := textSource(readers.Paths(filepath.Join(dir, path))).Plan(t.Context(), stage.ScanRequest{})
		if len(parts) == 0 {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, stage.ErrNotFound, path)
		requireParts(t, err, parts...)
	}
	_, err := textSource(readers.Paths(filepath.Join(dir, "[a"))).Plan(t.Context(), stage.ScanRequest{})
	requireParts(t, err, "not well formed")
	_, err = textSource(readers.Paths(filepath.Join(dir, "full"))).Plan(t.Context(), stage.ScanRequest{})
	requireParts(t, err, "broken.txt", "leads nowhere")
	_, err = textSource(readers.Files{}).Plan(t.Context(), stage.ScanRequest{})
	require.ErrorIs(t, err, stage.ErrNotFound)
	// a later path is looked at before anything is read
	_, err = textSource(readers.Paths(filepath.Join(dir, "messages.txt"), filepath.Join(dir, "gone.txt"))).Plan(t.Context(), stage.ScanRequest{})
	requireParts(t, err, "gone.txt")
	_, err = textSource(readers.Paths("")).Plan(t.Context(), stage.ScanRequest{})
	require.ErrorIs(t, err, stage.ErrNotFound)

	loop := filepath.Join(dir, "loop")
	require.NoError(t, os.Mkdir(loop, 0o777))
	require.NoError(t, os.Symlink(loop, filepath.Join(loop, "again")))
	_, err = textSource(readers.Paths(loop)).Plan(t.Context(), stage.ScanRequest{})
	require.Error(t, err)
}

// Listing does not look at files before it is their turn.
func TestListingIsStreamed(t *testing.T) {
	dir := t.TempDir()
	for i := range 2000 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d.txt", i)), []byte("x\n"), 0o666))
	}
	disk := &faultyDisk{faults: &stagetest.Faults{}}
	src, err := readers.Open(t.Context(), readers.Config{Files: readers.Files{Paths: []string{dir}, FS: disk}})
	require.NoError(t, err)
	scan, err := src.Plan(t.Context(), stage.ScanRequest{})
	require.NoError(t, err)
	for s, err := range scan.Splits(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, filepath.Join(dir, "0000.txt"), s.Path)
		break
	}
	require.LessOrEqual(t, disk.opened.Load(), int64(1))
	require.Less(t, disk.faults.Calls(), 20)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	for _, err := range scan.Splits(ctx) {
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			break
		}
		if n++; n == 10 {
			cancel()
		}
	}
	require.Equal(t, 10, n)
	cancel()
}

func TestOpenFindsTheFormat(t *testing.T) {
	dir := t.TempDir()
	parquet, err := os.ReadFile("testdata/nested.parquet")
	require.NoError(t, err)
	arrows, err := os.ReadFile("testdata/nested.arrows")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		data []byte
		want readers.Format
	}{
		"a.txt": {[]byte("{"), readers.TextFormat}, "a.LOG": {[]byte("x"), readers.TextFormat}, "a.txt.gz": {[]byte("x"), readers.TextFormat},
		"a.csv": {[]byte("a\n1\n"), readers.CSVFormat}, "a.tsv.zst": {[]byte("a\n1\n"), readers.CSVFormat},
		"a.json": {[]byte("{}"), readers.JSONLFormat}, "a.ndjson.gz": {[]byte("{}"), readers.JSONLFormat},
		"p.data": {parquet, readers.ParquetFormat}, "i.data": {arrows, readers.IPCFormat}, "i.gz": {arrows, readers.IPCFormat},
		"j.data": {[]byte("\xef\xbb\xbf \n{\"a\": 1}"), readers.JSONLFormat}, "j.zst": {[]byte("{\"a\": 1}"), readers.JSONLFormat},
		"README": {[]byte("text"), readers.TextFormat}, "none": {nil, readers.TextFormat},
	} {
		file := write(t, dir, name, c.data)
		src, err := readers.Open(t.Context(), readers.Config{Files: readers.Paths(file)})
		require.NoError(t, err, name)
		require.Equal(t, "read "+string(c.want), src.ID().Name, name)
		_, err = src.Plan(t.Context(), stage.ScanRequest{})
		require.NoError(t, err, name)
	}
	_, err = readers.Open(t.Context(), readers.Config{Files: readers.Paths(dir), Format: "parket"})
	requireParts(t, err, "parket", `"parquet"`)
	_, err = readers.Open(t.Context(), readers.Config{Files: readers.Paths(filepath.Join(dir, "gone"))})
	require.ErrorIs(t, err, stage.ErrNotFound)
}

func TestOpenRefusesMixedFormats(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.csv", []byte("a\n1\n"))
	write(t, dir, "b.md", []byte("x"))
	write(t, dir, "c.txt", []byte("x"))
	_, err := readers.Open(t.Context(), readers.Config{Files: readers.Paths(dir)})
	requireParts(t, err, "a.csv", "c.txt", "csv", "text")
	src, err := readers.Open(t.Context(), readers.Config{Files: readers.Paths(dir), Format: readers.CSVFormat})
	require.NoError(t, err)
	require.Len(t, splits(t, src, stage.ScanRequest{}), 1)

	many := t.TempDir() // the other format comes late
	for i := range 1100 {
		write(t, many, fmt.Sprintf("%04d.csv", i), []byte("a\n1\n"))
	}
	write(t, many, "z.txt", []byte("x"))
	src, err = readers.Open(t.Context(), readers.Config{Files: readers.Paths(many)})
	require.NoError(t, err)
	scan, err := src.Plan(t.Context(), stage.ScanRequest{})
	require.NoError(t, err)
	for _, failed := range scan.Splits(t.Context()) {
		err = failed
	}
	requireParts(t, err, "0000.csv", "z.txt")
}

func TestIDs(t *testing.T) {
	a := readers.Text(readers.TextConfig{Files: readers.Paths("x")}).ID()
	require.NotEqual(t, a.Fingerprint(), readers.Text(readers.TextConfig{Files: readers.Paths("y")}).ID().Fingerprint())
	require.NotEqual(t, a.Fingerprint(), readers.Text(readers.TextConfig{Files: readers.Paths("x"), KeepEmpty: true}).ID().Fingerprint())
	require.JSONEq(t, `{"format":"text","paths":["x"],"options":{}}`, string(a.Settings))
	csv := readers.CSV(readers.CSVConfig{Files: readers.Paths("x"), Schema: splitSchema}).ID()
	require.Contains(t, string(csv.Settings), "int64")
}

func TestFingerprints(t *testing.T) {
	file := write(t, t.TempDir(), "x.txt", []byte("x\n"))
	first := splits(t, textSource(readers.Paths(file)), stage.ScanRequest{})[0]
	require.NoError(t, os.Chtimes(file, time.Unix(1, 2), time.Unix(1, 2)))
	second := splits(t, textSource(readers.Paths(file)), stage.ScanRequest{})[0]
	require.Equal(t, "2-1000000002", second.Fingerprint)
	require.NotEqual(t, first.Fingerprint, second.Fingerprint)
	require.Equal(t, first.ID, second.ID)
}

func TestDescribe(t *testing.T) {
	info, err := readers.Describe(t.Context(), "testdata/flat-*.parquet")
	requireParts(t, err, "flat-noschema.parquet", "flat-brotli.parquet", "kind")
	require.Empty(t, info.Path)
	info, err = readers.Describe(t.Context(), "testdata/nested*.parquet")
	require.NoError(t, err)
	require.Equal(t, readers.ParquetFormat, info.Format)
	require.EqualValues(t, 2, info.Files)
	require.EqualValues(t, 6, info.Parts)
	require.EqualValues(t, 60, info.Rows)
	require.Equal(t, []string{"snappy", "zstd"}, info.Compression)
	require.Equal(t, 11, info.Schema.NumFields())
	info, err = readers.Describe(t.Context(), "testdata/nested.arrow")
	require.NoError(t, err)
	require.EqualValues(t, 30, info.Rows)
	dir := t.TempDir()
	write(t, dir, "a.jsonl.gz", []byte("{\"a\": 1}\n{\n{\"a\": 2}\n"))
	write(t, dir, "b.jsonl", []byte("{\"a\": \"x\"}\n{\"a\": 3}\n"))
	info, err = readers.Describe(t.Context(), dir)
	require.NoError(t, err)
	require.EqualValues(t, 3, info.Rows)
	require.EqualValues(t, 2, info.BadRows)
	require.Equal(t, []string{"gzip", "none"}, info.Compression)
}
