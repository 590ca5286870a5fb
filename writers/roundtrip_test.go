package writers_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

// kind is a column type with its values as JSON, for arrow's own builders to read.
type kind struct {
	typ    arrow.DataType
	values string         // null, then others
	back   arrow.DataType // what Parquet gives back; nil: the same type
}

func scalars() map[string]kind {
	return map[string]kind{
		"bool":     {arrow.FixedWidthTypes.Boolean, `[null,true,false]`, nil},
		"int8":     {arrow.PrimitiveTypes.Int8, `[null,-128,127]`, nil},
		"int16":    {arrow.PrimitiveTypes.Int16, `[null,-5,32767]`, nil},
		"int32":    {arrow.PrimitiveTypes.Int32, `[null,-5,2147483647]`, nil},
		"int64":    {arrow.PrimitiveTypes.Int64, `[null,-5,9007199254740993]`, nil},
		"uint8":    {arrow.PrimitiveTypes.Uint8, `[null,0,255]`, nil},
		"uint16":   {arrow.PrimitiveTypes.Uint16, `[null,0,65535]`, nil},
		"uint32":   {arrow.PrimitiveTypes.Uint32, `[null,0,4294967295]`, nil},
		"uint64":   {arrow.PrimitiveTypes.Uint64, `[null,0,9223372036854775807]`, nil},
		"float16":  {arrow.FixedWidthTypes.Float16, `[null,0.5,-2]`, nil},
		"float32":  {arrow.PrimitiveTypes.Float32, `[null,0.1,-1e30]`, nil},
		"float64":  {arrow.PrimitiveTypes.Float64, `[null,0.1,-1e300]`, nil},
		"string":   {arrow.BinaryTypes.String, `[null,"","häé\n\"\\"]`, nil},
		"large":    {arrow.BinaryTypes.LargeString, `[null,"","x"]`, nil},
		"view":     {arrow.BinaryTypes.StringView, `[null,"","a text that is too long to be in the view"]`, arrow.BinaryTypes.String},
		"binary":   {arrow.BinaryTypes.Binary, `[null,"","AAEC"]`, nil},
		"fixed":    {&arrow.FixedSizeBinaryType{ByteWidth: 3}, `[null,"AAEC","////"]`, nil},
		"date":     {arrow.FixedWidthTypes.Date32, `[null,"2024-02-29","1969-12-31"]`, nil},
		"date64":   {arrow.FixedWidthTypes.Date64, `[null,"2024-02-29","1970-01-02"]`, arrow.FixedWidthTypes.Date32},
		"time":     {arrow.FixedWidthTypes.Time32ms, `[null,"01:02:03.5","23:59:59"]`, nil},
		"time_ns":  {arrow.FixedWidthTypes.Time64ns, `[null,"01:02:03.000000005","23:59:59"]`, nil},
		"stamp":    {&arrow.TimestampType{Unit: arrow.Microsecond}, `[null,"2024-02-29 01:02:03.5","1960-01-01"]`, nil},
		"stamp_s":  {&arrow.TimestampType{Unit: arrow.Second, TimeZone: "UTC"}, `[null,"2024-02-29 01:02:03","1960-01-01"]`, &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}},
		"zoned":    {&arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "Europe/Berlin"}, `[null,"2024-07-01 01:02:03.000000005Z","1999-01-01Z"]`, nil},
		"duration": {arrow.FixedWidthTypes.Duration_ms, `[null,"5ms","-7ms"]`, arrow.PrimitiveTypes.Int64},
		"decimal":  {&arrow.Decimal128Type{Precision: 20, Scale: 3}, `[null,"1.250","-3.000"]`, nil},
		"null":     {arrow.Null, `[null,null,null]`, nil},
	}
}

func nested() map[string]kind {
	f32, i32, str := arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: str}
	dict32 := &arrow.DictionaryType{IndexType: i32, ValueType: str}
	row := arrow.StructOf(arrow.Field{Name: "a", Type: i32, Nullable: true}, arrow.Field{Name: "l", Type: arrow.ListOf(str), Nullable: true})
	embedded := arrow.StructOf(arrow.Field{Name: "v", Type: arrow.FixedSizeListOf(2, f32), Nullable: true})
	return map[string]kind{
		"tokens":    {arrow.ListOf(i32), `[null,[],[1,null,3]]`, nil},
		"vectors":   {arrow.FixedSizeListOf(2, f32), `[[1,2],[3,4],[5,null]]`, nil},
		"big_list":  {arrow.LargeListOf(i32), `[null,[],[1,2]]`, arrow.ListOf(i32)},
		"lists":     {arrow.ListOf(arrow.ListOf(str)), `[null,[null,[],["a"]],[["b",null],["c"]]]`, nil},
		"row":       {row, `[null,{"a":null,"l":["x"]},{"a":3,"l":null}]`, nil},
		"rows":      {arrow.ListOf(row), `[null,[],[{"a":1,"l":["x","y"]},{"a":2,"l":[]}]]`, nil},
		"map":       {arrow.MapOf(str, i32), `[null,[],[{"key":"a","value":1},{"key":"b","value":null}]]`, nil},
		"embedded":  {embedded, `[{"v":[1,2]},{"v":[3,4]},{"v":[5,6]}]`, nil},
		"embeds":    {arrow.ListOf(arrow.FixedSizeListOf(2, f32)), `[null,[],[[1,2],[3,4]]]`, nil},
		"dict":      {dict, `[null,"a","b"]`, dict32},
		"dict_list": {arrow.ListOf(dict), `[null,[],["a","b","a"]]`, arrow.ListOf(dict32)},
	}
}

// build makes a record with one column for each kind, its values over and over.
func build(t *testing.T, mem memory.Allocator, kinds map[string]kind, times int) arrow.Record {
	t.Helper()
	var fields []arrow.Field
	var cols []arrow.Array
	for _, name := range sortedKeys(kinds) {
		k := kinds[name]
		values := strings.Repeat(strings.Trim(k.values, "[]")+",", times)
		if strings.HasPrefix(k.values, "[[") || strings.HasSuffix(k.values, "]]") {
			values = strings.Repeat(k.values[1:len(k.values)-1]+",", times)
		}
		arr, _, err := array.FromJSON(mem, k.typ, strings.NewReader("["+strings.TrimSuffix(values, ",")+"]"))
		require.NoError(t, err, name)
		defer arr.Release()
		fields = append(fields, arrow.Field{Name: name, Type: k.typ, Nullable: true})
		cols = append(cols, arr)
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), cols, int64(3*times))
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	for i := range keys {
		for j := i; j > 0 && keys[j] < keys[j-1]; j-- {
			keys[j], keys[j-1] = keys[j-1], keys[j]
		}
	}
	return keys
}

// writeOne writes rec, cut at the given rows, as a job with one part.
func writeOne(t testing.TB, cfg writers.Config, mem memory.Allocator, rec arrow.Record, cuts ...int64) {
	t.Helper()
	ctx := context.Background()
	s := open(t, cfg)
	require.NoError(t, s.Check(ctx, rec.Schema()))
	_, err := s.Begin(ctx, rec.Schema(), "job")
	require.NoError(t, err)
	var recs []arrow.Record
	from := int64(0)
	for _, to := range append(cuts, rec.NumRows()) {
		recs = append(recs, rec.NewSlice(from, to))
		from = to
	}
	part, err := writePart(s, envOf(mem), stage.PartID{}, recs...)
	require.NoError(t, err)
	require.Equal(t, rec.NumRows(), part.Rows)
	require.NoError(t, s.Commit(ctx, []stage.Part{part}))
}

// requireSame compares values as arrow prints them, for types that change on the way.
func requireSame(t *testing.T, want, got arrow.Array, msg string) {
	t.Helper()
	w, err := json.Marshal(want)
	require.NoError(t, err)
	g, err := json.Marshal(got)
	require.NoError(t, err)
	require.JSONEq(t, string(w), string(g), msg)
}

func TestParquetKeepsTypesAndValues(t *testing.T) {
	mem := testkit.Allocator(t)
	kinds := scalars()
	for name, k := range nested() {
		kinds[name] = k
	}
	rec := build(t, mem, kinds, 5)
	defer rec.Release()
	for _, c := range []writers.Compression{writers.DefaultCompression, writers.NoCompression, writers.Zstd, writers.Gzip} {
		t.Run(c.String(), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			writeOne(t, writers.Config{Path: out, Compression: c}, mem, rec, 1, 2, 7)
			schema, recs := readFile(t, filepath.Join(out, "part-000000.parquet"))
			for i, f := range rec.Schema().Fields() {
				want := kinds[f.Name].back
				if want == nil {
					want = f.Type
				}
				require.True(t, arrow.TypeEqual(want, schema.Field(i).Type), "%s: %s, want %s", f.Name, schema.Field(i).Type, want)
				got := column(t, recs, f.Name)
				switch {
				case kinds[f.Name].back == nil:
					require.True(t, array.Equal(rec.Column(i), got), "%s: %v, want %v", f.Name, got, rec.Column(i))
				case f.Name == "duration" || f.Name == "stamp_s": // as numbers of another unit
					for row, v := range map[int]int64{1: 5, 2: -7, 4: 5} {
						if f.Name == "stamp_s" {
							v = int64(rec.Column(i).(*array.Timestamp).Value(row)) * 1000
							require.Equal(t, arrow.Timestamp(v), got.(*array.Timestamp).Value(row))
						} else {
							require.Equal(t, v, got.(*array.Int64).Value(row))
						}
					}
				default:
					requireSame(t, rec.Column(i), got, f.Name)
				}
			}
		})
	}
}

func TestIPCKeepsTypesAndValues(t *testing.T) {
	mem := testkit.Allocator(t)
	kinds := scalars()
	for name, k := range nested() {
		kinds[name] = k
	}
	rec := build(t, mem, kinds, 5)
	defer rec.Release()
	for _, c := range []writers.Compression{writers.DefaultCompression, writers.LZ4, writers.Zstd} {
		t.Run(c.String(), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			writeOne(t, writers.Config{Path: out, Format: writers.IPC, Compression: c}, mem, rec, 1, 2, 7)
			_, recs := readFile(t, filepath.Join(out, "part-000000.arrow"))
			for i, f := range rec.Schema().Fields() {
				got := column(t, recs, f.Name)
				if strings.HasPrefix(f.Name, "dict") { // written as values
					requireSame(t, rec.Column(i), got, f.Name)
				} else {
					require.True(t, array.Equal(rec.Column(i), got), "%s: %v, want %v", f.Name, got, rec.Column(i))
				}
			}
		})
	}
}

func TestJSONLGolden(t *testing.T) {
	mem := testkit.Allocator(t)
	kinds := scalars()
	for name, k := range nested() {
		kinds[name] = k
	}
	rec := build(t, mem, kinds, 1)
	defer rec.Release()
	for _, c := range []writers.Compression{writers.DefaultCompression, writers.Gzip, writers.Zstd} {
		out := filepath.Join(t.TempDir(), "out")
		writeOne(t, writers.Config{Path: out, Format: writers.JSONL, Compression: c}, mem, rec, 1)
		ext := map[writers.Compression]string{writers.Gzip: ".gz", writers.Zstd: ".zst"}[c]
		lines := strings.Split(strings.TrimSuffix(readText(t, filepath.Join(out, "part-000000.jsonl"+ext)), "\n"), "\n")
		require.Len(t, lines, 3)
		for i, want := range jsonGolden {
			require.JSONEq(t, want, lines[i])
		}
	}
}

var jsonGolden = []string{
	`{"big_list":null,"binary":null,"bool":null,"date":null,"date64":null,"decimal":null,"dict":null,"dict_list":null,
	  "duration":null,"embedded":{"v":[1,2]},"embeds":null,"fixed":null,"float16":null,"float32":null,"float64":null,
	  "int16":null,"int32":null,"int64":null,"int8":null,"large":null,"lists":null,"map":null,"null":null,"row":null,"rows":null,
	  "stamp":null,"stamp_s":null,"string":null,"time":null,"time_ns":null,"tokens":null,"uint16":null,"uint32":null,
	  "uint64":null,"uint8":null,"vectors":[1,2],"view":null,"zoned":null}`,
	`{"big_list":[],"binary":"","bool":true,"date":"2024-02-29","date64":"2024-02-29","decimal":1.250,"dict":"a","dict_list":[],
	  "duration":5,"embedded":{"v":[3,4]},"embeds":[],"fixed":"AAEC","float16":0.5,"float32":0.1,"float64":0.1,
	  "int16":-5,"int32":-5,"int64":-5,"int8":-128,"large":"","lists":[null,[],["a"]],"map":{},"null":null,"row":{"a":null,"l":["x"]},"rows":[],
	  "stamp":"2024-02-29T01:02:03.5Z","stamp_s":"2024-02-29T01:02:03Z","string":"","time":"01:02:03.5","time_ns":"01:02:03.000000005","tokens":[],
	  "uint16":0,"uint32":0,"uint64":0,"uint8":0,"vectors":[3,4],"view":"","zoned":"2024-07-01T03:02:03.000000005+02:00"}`,
	`{"big_list":[1,2],"binary":"AAEC","bool":false,"date":"1969-12-31","date64":"1970-01-02","decimal":-3.000,"dict":"b","dict_list":["a","b","a"],
	  "duration":-7,"embedded":{"v":[5,6]},"embeds":[[1,2],[3,4]],"fixed":"////","float16":-2,"float32":-1e30,"float64":-1e300,
	  "int16":32767,"int32":2147483647,"int64":9007199254740993,"int8":127,"large":"x","lists":[["b",null],["c"]],"map":{"a":1,"b":null},
	  "null":null,"row":{"a":3,"l":null},"rows":[{"a":1,"l":["x","y"]},{"a":2,"l":[]}],
	  "stamp":"1960-01-01T00:00:00Z","stamp_s":"1960-01-01T00:00:00Z","string":"häé\n\"\\","time":"23:59:59","time_ns":"23:59:59","tokens":[1,null,3],
	  "uint16":65535,"uint32":4294967295,"uint64":9223372036854775807,"uint8":255,"vectors":[5,null],
	  "view":"a text that is too long to be in the view","zoned":"1999-01-01T01:00:00+01:00"}`,
}

func TestJSONLStrings(t *testing.T) {
	mem := testkit.Allocator(t)
	b := array.NewStringBuilder(mem)
	defer b.Release()
	texts := []string{"", "plain", "\x00\x01\x1f\x7f", "a\xffb", "\ufffd\u2028", "日本\U0001F600", "\t\r\n\b\f", `"\/`, "<&>"}
	for _, s := range texts {
		b.Append(s)
	}
	arr := b.NewArray()
	defer arr.Release()
	rec := array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: `a "b"`, Type: arrow.BinaryTypes.String}}, nil), []arrow.Array{arr}, int64(arr.Len()))
	defer rec.Release()
	out := filepath.Join(t.TempDir(), "out")
	writeOne(t, writers.Config{Path: out, Format: writers.JSONL}, mem, rec)
	lines := strings.Split(readText(t, filepath.Join(out, "part-000000.jsonl")), "\n")
	for i, s := range texts {
		var got map[string]string
		require.NoError(t, json.Unmarshal([]byte(lines[i]), &got), "%q", lines[i])
		require.Equal(t, strings.ToValidUTF8(s, "\ufffd"), got[`a "b"`])
	}
}

func TestJSONLFloatsThatJSONLacks(t *testing.T) {
	mem := testkit.Allocator(t)
	rec := floats(mem)
	defer rec.Release()
	out := filepath.Join(t.TempDir(), "out")
	writeOne(t, writers.Config{Path: out, Format: writers.JSONL}, mem, rec)
	require.Equal(t, "{\"x\":null}\n{\"x\":null}\n{\"x\":null}\n{\"x\":-0}\n{\"x\":1e-07}\n", readText(t, filepath.Join(out, "part-000000.jsonl")))
	out = filepath.Join(t.TempDir(), "out")
	writeOne(t, writers.Config{Path: out, Format: writers.CSV}, mem, rec)
	require.Equal(t, "x\nNaN\nInf\n-Inf\n-0\n1e-07\n", readText(t, filepath.Join(out, "part-000000.csv")))
}

func TestCSV(t *testing.T) {
	mem := testkit.Allocator(t)
	rec := build(t, mem, scalars(), 1)
	defer rec.Release()
	out := filepath.Join(t.TempDir(), "out")
	writeOne(t, writers.Config{Path: out, Format: writers.CSV, Compression: writers.Gzip}, mem, rec, 2)
	rows, err := csv.NewReader(strings.NewReader(readText(t, filepath.Join(out, "part-000000.csv.gz")))).ReadAll()
	require.NoError(t, err)
	require.Equal(t, sortedKeys(scalars()), rows[0])
	require.Equal(t, make([]string, len(scalars())), rows[1], "nulls are empty")
	require.Equal(t, []string{"", "true", "2024-02-29", "2024-02-29", "1.250", "5", "AAEC", "0.5", "0.1", "0.1", "-5", "-5", "-5", "-128",
		"", "", "2024-02-29T01:02:03.5Z", "2024-02-29T01:02:03Z", "", "01:02:03.5", "01:02:03.000000005", "0", "0", "0", "0", "",
		"2024-07-01T03:02:03.000000005+02:00"}, rows[2])
	require.Equal(t, "häé\n\"\\", rows[3][18])
}

func TestCSVTellsNullFromEmptyAndQuotes(t *testing.T) {
	mem := testkit.Allocator(t)
	kinds := map[string]kind{
		"a,b": {arrow.BinaryTypes.String, `[null,"","x,\"y\""]`, nil},
		"c":   {arrow.BinaryTypes.String, `[" x","y ","\r"]`, nil},
	}
	rec := build(t, mem, kinds, 1)
	defer rec.Release()
	out := filepath.Join(t.TempDir(), "out")
	writeOne(t, writers.Config{Path: out, Format: writers.CSV}, mem, rec)
	require.Equal(t, "\"a,b\",c\n,\" x\"\n\"\",\"y \"\n\"x,\"\"y\"\"\",\"\r\"\n", readText(t, filepath.Join(out, "part-000000.csv")))
}

func TestCheckNamesColumnsThatTheFormatLacks(t *testing.T) {
	union := arrow.DenseUnionOf([]arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Int32}}, []arrow.UnionTypeCode{0})
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "fine", Type: arrow.BinaryTypes.String},
		{Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32)},
		{Name: "vec", Type: arrow.FixedSizeListOf(3, arrow.PrimitiveTypes.Float32)},
		{Name: "u", Type: union},
	}, nil)
	for format, bad := range map[writers.Format][]string{
		writers.CSV: {"list", "vec", "u"}, writers.JSONL: {"u"}, writers.Parquet: {"u"}, writers.IPC: nil,
	} {
		t.Run(format.String(), func(t *testing.T) {
			err := open(t, writers.Config{Path: filepath.Join(t.TempDir(), "out"), Format: format}).Check(context.Background(), schema)
			if bad == nil {
				require.NoError(t, err)
				return
			}
			var col *stage.ColumnError
			require.ErrorAs(t, err, &col)
			for _, f := range schema.Fields() {
				quoted := fmt.Sprintf("%q", f.Name)
				require.Equal(t, contains(bad, f.Name), strings.Contains(err.Error(), quoted), "%s in: %v", quoted, err)
			}
		})
	}
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

func floats(mem memory.Allocator) arrow.Record {
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Float64}}, nil))
	defer b.Release()
	b.Field(0).(*array.Float64Builder).AppendValues([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 1e-7}, nil)
	return b.NewRecord()
}
