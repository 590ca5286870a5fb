package writers_test

import (
	"encoding/csv"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/writers"
)

// FuzzText: whatever the texts and names, other parsers read back what was written.
func FuzzText(f *testing.F) {
	f.Add("name", "value", "")
	f.Add("a,b", "x\ny", "\"")
	f.Add(" ", "\r\n", "\x00\xff")
	f.Add("\u2028", "\\.", "a\"\"b,")
	f.Add("=", "{}", "日本")
	f.Fuzz(func(t *testing.T, name, one, two string) {
		schema := arrow.NewSchema([]arrow.Field{{Name: name, Type: arrow.BinaryTypes.String}, {Name: name + "2", Type: arrow.BinaryTypes.String}}, nil)
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		b.Field(0).(*array.StringBuilder).AppendValues([]string{one, two}, nil)
		b.Field(1).(*array.StringBuilder).AppendValues([]string{two, one}, nil)
		rec := b.NewRecord()
		out := filepath.Join(scratch(t), "out")
		writeOne(t, writers.Config{Path: out, Format: writers.JSONL}, memory.DefaultAllocator, rec)
		lines := strings.Split(readText(t, filepath.Join(out, "part-000000.jsonl")), "\n")
		require.Len(t, lines, 3)
		valid := func(s string) string { return string([]rune(s)) } // each bad byte becomes U+FFFD
		for i, want := range [][2]string{{one, two}, {two, one}} {
			var got map[string]string
			require.NoError(t, json.Unmarshal([]byte(lines[i]), &got), "%q", lines[i])
			require.Equal(t, map[string]string{valid(name): valid(want[0]), valid(name + "2"): valid(want[1])}, got)
		}

		out = filepath.Join(scratch(t), "out")
		writeOne(t, writers.Config{Path: out, Format: writers.CSV}, memory.DefaultAllocator, rec)
		rows, err := csv.NewReader(strings.NewReader(readText(t, filepath.Join(out, "part-000000.csv")))).ReadAll()
		require.NoError(t, err)
		line := func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") } // as that parser reads it
		require.Equal(t, [][]string{{line(name), line(name + "2")}, {line(one), line(two)}, {line(two), line(one)}}, rows)
	})
}
