package writers

import (
	"fmt"
	"path"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// nullPartition is Hive's name for the folder of rows whose value is null.
const nullPartition = "__HIVE_DEFAULT_PARTITION__"

// group is the rows of a record that belong into one partition, as runs of rows that
// follow each other.
type group struct {
	folder string
	runs   []span
}

// span is rows [from, to).
type span struct{ from, to int64 }

// canPartition refuses columns whose values make no folder names.
func canPartition(f arrow.Field) error {
	if k := textKindOf(f.Type); k == textNone || k == textNested || isBinary(f.Type) {
		return &stage.ColumnError{Column: f.Name, Problem: fmt.Sprintf("is %s, whose values cannot be names of folders", f.Type)}
	}
	return nil
}

// groupRows sorts the rows by partition; the partitions are in the order of their first
// rows.
func groupRows(lay *layout, rec arrow.Record) ([]group, error) {
	cells := make([]cell, len(lay.keys))
	for i, at := range lay.keys {
		cells[i] = textCell(rec.Column(at))
	}
	var groups []group
	index := map[string]int{}
	var key []byte
	last := -1
	for row := range int(rec.NumRows()) {
		key = key[:0]
		for i, c := range cells {
			if arr := rec.Column(lay.keys[i]); arr.IsNull(row) {
				key = append(key, 1)
			} else {
				key = c(append(key, 2), row)
			}
			key = append(key, 0)
		}
		at, seen := index[string(key)]
		if !seen {
			folder, err := partitionFolder(lay, rec, cells, row)
			if err != nil {
				return nil, err
			}
			at = len(groups)
			index[string(key)] = at
			groups = append(groups, group{folder: folder})
		}
		g := &groups[at]
		if at == last {
			g.runs[len(g.runs)-1].to++
		} else {
			g.runs = append(g.runs, span{int64(row), int64(row) + 1})
		}
		last = at
	}
	return groups, nil
}

// partitionFolder is name=value/name=value for a row.
func partitionFolder(lay *layout, rec arrow.Record, cells []cell, row int) (string, error) {
	var folder string
	for i, at := range lay.keys {
		name, value := lay.schema.Field(at).Name, nullPartition
		if rec.Column(at).IsValid(row) {
			value = escapeFolder(string(cells[i](nil, row)))
		}
		level := escapeFolder(name) + "=" + value
		if len(level) > 255 {
			return "", fmt.Errorf("writers: partition by column %q: the value %.40q… is too long for the name of a folder", name, value)
		}
		folder = path.Join(folder, level)
	}
	return folder, nil
}

// escapeFolder writes what Hive does not take in names of folders as %XX.
func escapeFolder(s string) string {
	const special = "\"#%'*/:=?\\{[]^"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == 0x7f || strings.IndexByte(special, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
