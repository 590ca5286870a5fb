package readers_test

import (
	"bytes"
	"encoding/json"
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

func jsonlSource(f readers.Files) stage.Source { return readers.JSONL(readers.JSONLConfig{Files: f}) }

func jsonRows(n int) string {
	var b strings.Builder
	for i := range n {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, `{"id": %d, "text": "r%d \u00e9\n\"q\"", "list": [1, null, %d], "who": {"name": "n", "tags": ["a", "b"]}}`, i, i, i)
		case 1:
			fmt.Fprintf(&b, `{"score": %g, "id": %d, "list": [], "who": {"tags": null}}`, float64(i)/2, i)
		case 2:
			fmt.Fprintf(&b, `{"text": null, "ok": %v, "who": null}`, i%8 == 2)
		case 3:
			fmt.Fprintf(&b, `{"score": %d, "id":%d,"text":"%s"}`, i, i, strings.Repeat("x", i))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestJSONLKeepsTheContract(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.jsonl", []byte(jsonRows(30)))
	write(t, dir, "b.ndjson.gz", []byte("\n"+jsonRows(5)))
	write(t, dir, "c.json.zst", []byte(`{"id": 1}
{"id": "x"}
{"id": 1, "who": {"name": 5}}
{"id": 2, "list": [1, "x"]}
{"other": 1}
{"id": 3
[1]
{"id": 4} {"id": 5}
{"id": 6, "id": 7}
{"id": 8, "who": {"tags": ["x"], "none": 1}}
{"id": 9}`))
	conforms(t, jsonlSource, stagetest.SourceOptions{Bounded: true, BadRows: 9}, dir)
}

func TestJSONLTypes(t *testing.T) {
	file := write(t, t.TempDir(), "x.jsonl", []byte(`{"a": null, "i": 1, "f": 1, "s": "x", "b": true, "o": {"x": 1}, "l": [], "e": {}}
{"f": 1.5, "o": {"y": [{"z": null}]}, "l": [[1], null, [2.5]]}

{"f": 3, "i": -9223372036854775808, "s": "\ud83d\ude00"}
`))
	g := read(t, jsonlSource(readers.Paths(file)), stage.ScanRequest{}, 0)
	require.NoError(t, g.err)
	require.Empty(t, g.errs)
	require.Equal(t, []string{
		"a: utf8", "i: int64", "f: float64", "s: utf8", "b: bool",
		"o: struct<x: int64, y: list<item: struct<z: utf8>, nullable>>",
		"l: list<item: list<item: float64, nullable>, nullable>", "e: struct<>",
	}, types(g.schema))
	require.Equal(t, []int64{0, 1, 3}, g.rows)
	require.Equal(t, []string{"1", "1.5", "3"}, column(t, g.rec, "f"))
	require.Equal(t, []string{"x", "(null)", "😀"}, column(t, g.rec, "s"))
	require.Equal(t, []string{`[]`, `[[1],null,[2.5]]`, "(null)"}, column(t, g.rec, "l"))
	require.Equal(t, []string{`{"x":1,"y":null}`, `{"x":null,"y":[{"z":null}]}`, "(null)"}, column(t, g.rec, "o"))
}

func TestJSONLConflicts(t *testing.T) {
	for in, parts := range map[string][]string{
		"{\"a\": 1}\n{\"a\": \"x\"}\n":               {`"a"`, "an integer in row 0", "a string in row 1", "give a schema"},
		"{\"a\": {\"b\": [1]}}\n{\"a\": {\"b\": 2}}": {`"a.b"`, "a list in row 0", "an integer in row 1"},
		"{\"a\": [true, 1]}":                         {`"a[]"`, "a boolean in row 0"},
		"{\"a\": 1}\n{\"a\": 9223372036854775808}\n": {`"a"`, "row 1", "9223372036854775808", "uint64"},
		"[1, 2]\n":         {"row 0", "an array", "jq"},
		"{\n\"a\": 1\n}\n": {"row 0", "ends within its JSON object"},
		"plain text\n":     {"row 0", "not JSON"},
		strings.Repeat("{\"a\":", 80) + "1" + strings.Repeat("}", 80): {"nested more than 64 deep"},
	} {
		file := write(t, t.TempDir(), "x.jsonl", []byte(in))
		requireParts(t, read(t, jsonlSource(readers.Paths(file)), stage.ScanRequest{}, 0).err, append(parts, "x.jsonl")...)
	}
	empty := write(t, t.TempDir(), "x.jsonl", []byte("\n \n"))
	require.ErrorIs(t, read(t, jsonlSource(readers.Paths(empty)), stage.ScanRequest{}, 0).err, stage.ErrNotFound)
}

func TestJSONLBadRows(t *testing.T) {
	good := strings.Repeat(`{"id": 1, "text": "x"}`+"\n", 10_000)
	file := write(t, t.TempDir(), "x.jsonl", []byte(good+`{"id": 1.5}
{"id": 2, "more": 1}
{"text": 5, "id": 3}
{"id": 4}
`))
	g := read(t, jsonlSource(readers.Paths(file)), stage.ScanRequest{}, 0)
	require.NoError(t, g.err)
	require.Len(t, g.errs, 3)
	require.Contains(t, g.errs[0], `x.jsonl, row 10000, column "id": 1.5 is a number, not int64: correct the row, or give a schema`)
	require.Contains(t, g.errs[1], `row 10001, column "more": the schema has no such column: give one that has it`)
	require.Contains(t, g.errs[2], `row 10002, column "text": 5 is a number, not utf8`)
	require.EqualValues(t, 10003, g.rows[10000])
	g = read(t, jsonlSource(readers.Paths(file)), stage.ScanRequest{Columns: []string{"text"}}, 0)
	require.Len(t, g.errs, 3) // whatever is read of them
}

func TestJSONLSchema(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Uint8},
		{Name: "when", Type: arrow.FixedWidthTypes.Timestamp_ms, Nullable: true},
		{Name: "raw", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "vec", Type: arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float32), Nullable: true},
		{Name: "map", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64), Nullable: true},
		{Name: "dict", Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, Nullable: true},
		{Name: "dec", Type: &arrow.Decimal128Type{Precision: 9, Scale: 2}, Nullable: true},
		{Name: "s", Type: arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64}), Nullable: true},
	}, nil)
	file := write(t, t.TempDir(), "x.jsonl", []byte(`{"id": 1, "when": "2024-02-29T10:00:00Z", "raw": "AAE=", "vec": [1, null], "map": [{"key":"k","value":1}], "dict": "d", "dec": 1.25, "s": {"x": 1}}
{"id": 256}
{"id": 2, "vec": [1]}
{"id": 2, "vec": [1, 2, 3]}
{"id": 2, "map": [{"key":"k","value":"x"}]}
{"when": null}
{"id": 3, "s": {}}
{"id": 3, "dict": 5, "raw": "***"}
{"id": 4}
`))
	g := read(t, readers.JSONL(readers.JSONLConfig{Files: readers.Paths(file), Schema: schema}), stage.ScanRequest{}, 0)
	require.NoError(t, g.err)
	require.Equal(t, []int64{0, 8}, g.rows)
	require.Len(t, g.errs, 7)
	require.Equal(t, []string{"1", "4"}, column(t, g.rec, "id"))
	require.Equal(t, []string{"AAE=", "(null)"}, column(t, g.rec, "raw"))
	require.Equal(t, []string{"[1,null]", "(null)"}, column(t, g.rec, "vec"))
	require.Equal(t, []string{"d", "(null)"}, column(t, g.rec, "dict"))
	require.Equal(t, []string{"1.25", "(null)"}, column(t, g.rec, "dec"))
	require.Equal(t, []string{`[{"key":"k","value":1}]`, "(null)"}, column(t, g.rec, "map"))
	require.Contains(t, g.errs[5], `field "x": there is no value`)
}

// FuzzJSONL compares the reader, with a schema of strings, with encoding/json.
func FuzzJSONL(f *testing.F) {
	for _, s := range []string{"", `{"a": "x"}`, `{"a": "x", "b": {"c": [1, 2]}}` + "\n" + `{"a": null}`, `{"a"`, `[1]`, `{"a": "\ud800"}`, "{\"a\": \"\xff\"}", `{"a": "x"}{}`, ` {"a" : "\u0061\n" } `} {
		f.Add([]byte(s), int64(100))
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	f.Fuzz(func(t *testing.T, data []byte, maxBytes int64) {
		if len(data) > 1 && (data[0] == 0x1f || data[0] == 0x28) {
			return // compressed, perhaps
		}
		file := write(t, t.TempDir(), "x.jsonl", data)
		g := read(t, readers.JSONL(readers.JSONLConfig{Files: readers.Paths(file), Schema: schema}), stage.ScanRequest{}, maxBytes%1000)
		require.NoError(t, g.err)
		have := column(t, g.rec, "a")
		k := 0
		for i, line := range bytes.Split(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), []byte("\n")) {
			if k < len(g.rows) && g.rows[k] == int64(i) {
				var obj map[string]any
				require.NoError(t, json.Unmarshal(line, &obj), "line %d was read", i)
				want, ok := obj["a"].(string)
				if !ok {
					require.Nil(t, obj["a"])
					want = "(null)"
				}
				require.Equal(t, want, have[k])
				k++
				continue
			}
			var obj map[string]*string
			if utf8.Valid(line) && json.Unmarshal(line, &obj) == nil && obj != nil && (len(obj) == 0 || len(obj) == 1 && obj["a"] != nil) {
				text := string(line)
				require.True(t, strings.Contains(text, "\\u") || strings.Count(text, `"a"`) > 1 || strings.Count(strings.ToLower(text), `"a"`) > 1, "line %d was not read: %q", i, line)
			}
		}
		require.Equal(t, len(g.rows), k)
		read(t, jsonlSource(readers.Paths(file)), stage.ScanRequest{}, 0) // types told: no panic, no leak
	})
}
