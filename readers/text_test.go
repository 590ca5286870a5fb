package readers_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

func textSource(f readers.Files) stage.Source { return readers.Text(readers.TextConfig{Files: f}) }

func TestTextKeepsTheContract(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.txt", "b.txt.gz", "c.log.zst", "sub/d.txt"} {
		write(t, dir, name, []byte(name+"\n\n"+lineNumbers(40)+"no end"))
	}
	write(t, dir, "e.txt", []byte("fine\nb\xffd\nfine again\n"))
	conforms(t, textSource, stagetest.SourceOptions{Bounded: true, BadRows: 1}, dir)
}

func TestTextLines(t *testing.T) {
	for _, c := range []struct {
		name, in string
		keep     bool
		want     []string
		rows     []int64
	}{
		{"ends", "a\nb\r\nc", false, []string{"a", "b", "c"}, []int64{0, 1, 2}},
		{"empty lines", "\na\n\r\n\nb\n", false, []string{"a", "b"}, []int64{1, 4}},
		{"empty lines kept", "\na\n\r\nb\n", true, []string{"", "a", "", "b"}, []int64{0, 1, 2, 3}},
		{"nothing", "", true, []string{}, nil},
		{"mark", "\xef\xbb\xbfa\nb", false, []string{"a", "b"}, []int64{0, 1}},
		{"mark alone", "\xef\xbb\xbf", false, []string{}, nil},
		{"NUL, CR within, blanks", "a\x00b\rc\n  \n", false, []string{"a\x00b\rc", "  "}, []int64{0, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := write(t, t.TempDir(), "x.txt", []byte(c.in))
			g := read(t, readers.Text(readers.TextConfig{Files: readers.Paths(file), KeepEmpty: c.keep, Column: "line"}), stage.ScanRequest{}, 0)
			require.NoError(t, g.err)
			require.Equal(t, c.want, column(t, g.rec, "line"))
			require.Equal(t, c.rows, g.rows)
		})
	}
}

func TestTextBadLines(t *testing.T) {
	long := strings.Repeat("x", 100)
	file := write(t, t.TempDir(), "x.txt", []byte("a\n\xff\xfe\n"+long+"\nb\n"+strings.Repeat("y", 200<<10)+"\nc\n"+long))
	g := read(t, readers.Text(readers.TextConfig{Files: readers.Paths(file), MaxLineBytes: 99}), stage.ScanRequest{}, 0)
	require.NoError(t, g.err)
	require.Equal(t, []string{"a", "b", "c"}, column(t, g.rec, "text"))
	require.Equal(t, []int64{0, 3, 5}, g.rows)
	require.Len(t, g.errs, 4)
	require.Contains(t, g.errs[0], "x.txt, row 1: the line is not UTF-8")
	require.Contains(t, g.errs[0], "iconv")
	require.Contains(t, g.errs[1], "row 2: the line is longer than the bound of 99 bytes: set MaxLineBytes")
	require.Contains(t, g.errs[2], "row 4: ")
	require.Contains(t, g.errs[3], "row 6: ")
}

// Cut compressed files give whole rows and then an error, never fewer rows in silence.
func TestTextCutAnywhere(t *testing.T) {
	text := []byte(lineNumbers(30))
	dir := t.TempDir()
	all := read(t, textSource(readers.Paths(write(t, dir, "all.txt", text))), stage.ScanRequest{}, 0)
	want := column(t, all.rec, "text")
	for _, name := range []string{"x.txt.gz", "x.txt.zst", "x.dat"} {
		whole := packed(t, name, text)
		if name == "x.dat" { // by its first bytes
			whole = packed(t, "x.gz", text)
		}
		for cut := range whole {
			file := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(file, whole[:cut], 0o666))
			g := read(t, textSource(readers.Paths(file)), stage.ScanRequest{}, 64)
			if g.err != nil {
				requireParts(t, g.err, name)
			}
			if name == "x.dat" && cut < 3 {
				continue // too short to be told from text
			}
			require.Error(t, g.err, "%s cut at %d", name, cut)
			if g.rec != nil {
				lines := column(t, g.rec, "text")
				require.Equal(t, want[:len(lines)], lines)
			}
		}
	}
}

// Files put together of several compressed ones are one file.
func TestTextMembers(t *testing.T) {
	text := []byte(lineNumbers(30))
	for _, ext := range []string{".gz", ".zst"} {
		file := filepath.Join(t.TempDir(), "x.txt"+ext)
		data := append(packed(t, file, text[:100]), packed(t, file, text[100:])...)
		require.NoError(t, os.WriteFile(file, data, 0o666))
		g := read(t, textSource(readers.Paths(file)), stage.ScanRequest{}, 0)
		require.NoError(t, g.err)
		require.EqualValues(t, 30, g.rec.NumRows())
	}
}

func TestTextCorrupt(t *testing.T) {
	dir := t.TempDir()
	text := []byte(lineNumbers(30000))
	for _, name := range []string{"x.txt.gz", "x.txt.zst"} {
		data := packed(t, name, text)
		data[len(data)/2] ^= 0x55
		file := dir + "/" + name
		require.NoError(t, os.WriteFile(file, data, 0o666))
		g := read(t, textSource(readers.Paths(file)), stage.ScanRequest{}, 0)
		var bad *stage.RowError
		require.ErrorAs(t, g.err, &bad)
		require.False(t, bad.Skippable)
		require.Equal(t, file, bad.Path)
		require.GreaterOrEqual(t, bad.Row, g.rec.NumRows())
		requireParts(t, g.err, name, "row ", "corrupt")
	}
	require.NoError(t, os.WriteFile(dir+"/y.txt.gz", text, 0o666))
	requireParts(t, read(t, textSource(readers.Paths(dir+"/y.txt.gz")), stage.ScanRequest{}, 0).err, "y.txt.gz", "gzip data is corrupt")
}

func TestTextColumns(t *testing.T) {
	file := write(t, t.TempDir(), "x.txt", []byte("a\nb\n"))
	g := read(t, textSource(readers.Paths(file)), stage.ScanRequest{Columns: []string{"texts"}}, 0)
	var missing *stage.ColumnError
	require.ErrorAs(t, g.err, &missing)
	require.Equal(t, "text", missing.Nearest)
	g = read(t, textSource(readers.Paths(file)), stage.ScanRequest{Columns: []string{}}, 0)
	require.NoError(t, g.err)
	require.EqualValues(t, 2, g.rec.NumRows())
	require.Zero(t, g.rec.NumCols())
}

// FuzzText compares the reader with strings.Split.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a", "a\n", "\r\n", "a\r\nb\n\nc", "\xff\n", "\xef\xbb\xbfx", strings.Repeat("long", 100) + "\nx"} {
		f.Add([]byte(s), int64(64), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, maxBytes int64, keep bool) { requireLines(t, data, maxBytes%1000, keep) })
}

// requireLines compares the reader with strings.Split.
func requireLines(t *testing.T, data []byte, maxBytes int64, keep bool) {
	t.Helper()
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) || bytes.HasPrefix(data, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		return
	}
	file := write(t, t.TempDir(), "x.txt", data)
	g := read(t, readers.Text(readers.TextConfig{Files: readers.Paths(file), KeepEmpty: keep, MaxLineBytes: 300}), stage.ScanRequest{}, maxBytes)
	require.NoError(t, g.err)
	var want []string
	bad := 0
	text := strings.TrimPrefix(string(data), "\xef\xbb\xbf")
	lines := strings.Split(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for _, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		switch {
		case len(line) > 300 || !utf8.ValidString(line):
			bad++
		case line != "" || keep:
			want = append(want, line)
		}
	}
	have := []string{}
	have = append(have, column(t, g.rec, "text")...)
	require.Equal(t, append([]string{}, want...), have)
	require.Len(t, g.errs, bad)
}

// Lines of all kinds in files of many read buffers, between which they may be cut anywhere.
func TestTextManyLines(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	for i := range 30 {
		var data []byte
		odd := []int{0, 2000, 50}[i%3] // one line of so many is odd; 0: none
		for n := rng.IntN(300 << 10); len(data) < n; {
			kind := 0
			if odd > 0 && rng.IntN(odd) == 0 {
				kind = 1 + rng.IntN(4)
			}
			switch kind {
			case 0:
				data = append(data, strings.Repeat("wörter ", 12)[:7*rng.IntN(2*i+1)%84/8*8]...)
			case 1:
				data = append(data, "not \xff UTF-8"...)
			case 2:
				data = append(data, strings.Repeat("long", 76+rng.IntN(40_000))...)
			case 3:
				data = append(data, "a mark\r"...)
			}
			if len(data) < n-10 || i%2 == 0 {
				data = append(data, '\n')
			}
		}
		requireLines(t, data, []int64{0, 300, 5000, 100_000}[rng.IntN(4)], i%5 == 0)
	}
}

func TestTextBatches(t *testing.T) {
	file := write(t, t.TempDir(), "x.txt", []byte(lineNumbers(1000)))
	scan, err := textSource(readers.Paths(file)).Plan(context.Background(), stage.ScanRequest{})
	require.NoError(t, err)
	for split, err := range scan.Splits(context.Background()) {
		require.NoError(t, err)
		r, err := scan.Open(context.Background(), stage.Env{}, split, 500)
		require.NoError(t, err)
		b, err := r.Next(context.Background(), 200)
		require.NoError(t, err)
		require.EqualValues(t, 500, b.Origin().At(0).FileRow())
		require.LessOrEqual(t, size(b.Record()), int64(200))
		b.Release()
		require.NoError(t, r.Close())
		_, err = r.Next(context.Background(), 0)
		require.Error(t, err)
	}
}

func size(rec arrow.Record) (sum int64) {
	for _, c := range rec.Columns() {
		for _, b := range c.Data().Buffers() {
			if b != nil {
				sum += int64(b.Len())
			}
		}
	}
	return sum
}
