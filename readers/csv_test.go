package readers_test

import (
	"encoding/csv"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

func csvSource(f readers.Files) stage.Source { return readers.CSV(readers.CSVConfig{Files: f}) }

func csvRows(n int) string {
	var b strings.Builder
	b.WriteString("id,text,score,ok\n")
	for i := range n {
		score, ok := fmt.Sprint(float64(i)/4), "true"
		if i%5 == 2 {
			score, ok = "", ""
		}
		fmt.Fprintf(&b, "%d,\"row \"\"%d\"\"\nof %s, yes\",%s,%s\n", i, i, strings.Repeat("é", i%9), score, ok)
	}
	return b.String()
}

func TestCSVKeepsTheContract(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.csv", []byte(csvRows(30)))
	write(t, dir, "b.csv.gz", []byte("ok,score,text,id\nfalse,1.5,reordered,7\n\ntrue,,more,8\n"))
	write(t, dir, "c.csv.zst", []byte("id,text,score,ok\n1,a,1,true\n2,b,1\n3,c\"c,1,true\nx,d,1,true\n5,e,1,true"))
	conforms(t, csvSource, stagetest.SourceOptions{Bounded: true, BadRows: 3}, dir)
}

func TestCSVTypes(t *testing.T) {
	for _, c := range []struct{ values, want string }{
		{"1,-2,,9223372036854775807", "int64"},
		{"1,2.5,", "float64"},
		{"1e3,NaN,-Inf,.5,-0.25", "float64"},
		{"true,FALSE,", "bool"},
		{"true,1", "utf8"},
		{"007,1", "utf8"},
		{"+49,1", "utf8"},
		{"9223372036854775808,1", "utf8"},
		{"0x10,1", "utf8"},
		{"1_000", "utf8"},
		{"nan,1", "utf8"},
		{"-,1", "utf8"},
		{"NULL,1", "int64"},
		{",", "utf8"},
	} {
		rows := strings.ReplaceAll(c.values, ",", ",\n") + ",\n"
		file := write(t, t.TempDir(), "x.csv", []byte("a,b\n"+rows))
		g := read(t, readers.CSV(readers.CSVConfig{Files: readers.Paths(file), NullValues: []string{"NULL"}}), stage.ScanRequest{}, 0)
		require.NoError(t, g.err, c.values)
		require.Equal(t, []string{"a: " + c.want, "b: utf8"}, types(g.schema), c.values)
		require.Empty(t, g.errs, c.values)
	}
}

func TestCSVNulls(t *testing.T) {
	file := write(t, t.TempDir(), "x.tsv", []byte("n\ts\n\t\n1\tNA\nNA\tx\n"))
	src := func(empty bool) got {
		return read(t, readers.CSV(readers.CSVConfig{Files: readers.Paths(file), NullValues: []string{"NA"}, EmptyIsNull: empty}), stage.ScanRequest{}, 0)
	}
	require.Equal(t, []string{"(null)", "1", "(null)"}, column(t, src(false).rec, "n"))
	require.Equal(t, []string{"", "(null)", "x"}, column(t, src(false).rec, "s"))
	require.Equal(t, []string{"(null)", "(null)", "x"}, column(t, src(true).rec, "s"))
}

func TestCSVWithoutHeader(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.csv", []byte("1;x\n2;y\n"))
	write(t, dir, "b.csv", []byte("3;z\n"))
	g := read(t, readers.CSV(readers.CSVConfig{Files: readers.Paths(dir), NoHeader: true, Delimiter: ';'}), stage.ScanRequest{Columns: []string{"c1", "c0"}}, 0)
	require.NoError(t, g.err)
	require.Equal(t, []string{"c1: utf8", "c0: int64"}, types(g.schema))
	require.Equal(t, []string{"1", "2", "3"}, column(t, g.rec, "c0"))
	require.Equal(t, []int64{0, 1, 0}, g.rows)
}

func TestCSVSchema(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "when", Type: arrow.FixedWidthTypes.Timestamp_s, Nullable: true},
		{Name: "small", Type: arrow.PrimitiveTypes.Int8},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: true},
		{Name: "price", Type: &arrow.Decimal128Type{Precision: 9, Scale: 2}, Nullable: true},
	}, nil)
	file := write(t, t.TempDir(), "x.csv", []byte("small,price,day,when\n1,2.50,2024-02-29,2024-02-29 10:00:00\n300,1,,\n,1,,\n3,x,,\n4,,,\n"))
	g := read(t, readers.CSV(readers.CSVConfig{Files: readers.Paths(file), Schema: schema}), stage.ScanRequest{}, 0)
	require.NoError(t, g.err)
	require.Equal(t, types(schema), types(g.schema))
	require.Equal(t, []string{"1", "4"}, column(t, g.rec, "small"))
	require.Equal(t, []string{"2024-02-29", "(null)"}, column(t, g.rec, "day"))
	require.Len(t, g.errs, 3)
	require.Contains(t, g.errs[0], `row 1, column "small": "300" is not int8`)
	require.Contains(t, g.errs[1], `row 2, column "small": there is no value, and the column's schema does not allow that`)
	require.Contains(t, g.errs[2], `row 3, column "price": "x" is not decimal`)

	other := arrow.NewSchema([]arrow.Field{{Name: "small", Type: arrow.PrimitiveTypes.Int8}}, nil)
	requireParts(t, read(t, readers.CSV(readers.CSVConfig{Files: readers.Paths(file), Schema: other}), stage.ScanRequest{}, 0).err, "x.csv", `column "price" more`)
	list := arrow.NewSchema([]arrow.Field{{Name: "l", Type: arrow.ListOf(arrow.PrimitiveTypes.Int8)}}, nil)
	requireParts(t, read(t, readers.CSV(readers.CSVConfig{Files: readers.Paths(file), Schema: list}), stage.ScanRequest{}, 0).err, `"l"`, "no values of type list")
}

func TestCSVBadInput(t *testing.T) {
	dir := t.TempDir()
	cfg := func(files readers.Files) stage.Source {
		return readers.CSV(readers.CSVConfig{Files: files, MaxRowBytes: 1000})
	}
	file := write(t, dir, "ragged.csv", []byte("a,b\n1,2\n1,2,3\n4,\"x\"y\n5,6\nbad,7\n"))
	g := read(t, cfg(readers.Paths(file)), stage.ScanRequest{Columns: []string{"b"}}, 0)
	require.NoError(t, g.err)
	require.Equal(t, []string{"2", "6", "7"}, column(t, g.rec, "b"))
	require.Equal(t, []int64{0, 3, 4}, g.rows)
	require.Len(t, g.errs, 2)
	require.Contains(t, g.errs[0], "ragged.csv, row 1: line 3 has 3 values, not 2")
	require.Contains(t, g.errs[1], "row 2: line 4")

	open := write(t, dir, "open.csv", []byte("a,b\n1,2\n3,\"4\n"+strings.Repeat("x,y\n", 100_000)))
	requireParts(t, read(t, cfg(readers.Paths(open)), stage.ScanRequest{}, 0).err, "open.csv", "row 1", "is a quote open?")
	twice := write(t, dir, "twice.csv", []byte("a,a\n1,2\n"))
	requireParts(t, read(t, cfg(readers.Paths(twice)), stage.ScanRequest{}, 0).err, "twice.csv", `"a" twice`)
	latin := write(t, dir, "latin.csv", []byte("a\nx\n\xe4\n"))
	g = read(t, cfg(readers.Paths(latin)), stage.ScanRequest{}, 0)
	require.Contains(t, g.errs[0], `row 1, column "a": the value is not UTF-8`)
	other := write(t, dir, "z/other.csv", []byte("a,c\n1,2\n"))
	requireParts(t, read(t, cfg(readers.Paths(file, other)), stage.ScanRequest{}, 0).err, "other.csv", "ragged.csv", `no column "b"`)
	g = read(t, cfg(readers.Paths(file, other)), stage.ScanRequest{Columns: []string{"a"}}, 0)
	require.NoError(t, g.err) // a column that they share
	requireParts(t, read(t, readers.CSV(readers.CSVConfig{Files: readers.Paths(file), Delimiter: '"'}), stage.ScanRequest{}, 0).err, "delimiter")
	empty := write(t, dir, "empty.csv", nil)
	require.ErrorIs(t, read(t, cfg(readers.Paths(empty)), stage.ScanRequest{}, 0).err, stage.ErrNotFound)
	g = read(t, cfg(readers.Paths(empty, file)), stage.ScanRequest{}, 0)
	require.NoError(t, g.err)
	require.EqualValues(t, 3, g.rec.NumRows())
}

// FuzzCSV compares what is read as strings with encoding/csv.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"", "1,2\n", "a,\"b\nc\"\nd,e", "a\nb,c\n", "\"", "\"a\"b,c\nd,e\n", "\xff,b\n", "\xef\xbb\xbfa,b"} {
		f.Add([]byte(s), int64(100))
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "y", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	f.Fuzz(func(t *testing.T, data []byte, maxBytes int64) {
		if len(data) > 1 && (data[0] == 0x1f || data[0] == 0x28) {
			return // compressed, perhaps
		}
		file := write(t, t.TempDir(), "x.csv", append([]byte("x,y\n"), data...))
		g := read(t, readers.CSV(readers.CSVConfig{Files: readers.Paths(file), Schema: schema}), stage.ScanRequest{}, maxBytes%1000)
		require.NoError(t, g.err)
		r := csv.NewReader(strings.NewReader("x,y\n" + string(data)))
		r.FieldsPerRecord = -1
		r.Read()
		x, bad := []string{}, 0
		for {
			rec, err := r.Read()
			if _, parse := err.(*csv.ParseError); err != nil && !parse {
				break
			}
			if err != nil || len(rec) != 2 || !utf8.ValidString(rec[0]) || !utf8.ValidString(rec[1]) {
				bad++
				continue
			}
			x = append(x, rec[0])
		}
		require.Equal(t, x, column(t, g.rec, "x"))
		require.Len(t, g.errs, bad)
		read(t, csvSource(readers.Paths(file)), stage.ScanRequest{}, 0) // types told: no panic, no leak
	})
}
