package stage

import (
	"github.com/agext/levenshtein"
	"github.com/apache/arrow/go/v17/arrow"
)

// Column finds a column by name. Its error is a [*ColumnError] with the nearest name.
func Column(schema *arrow.Schema, name string) (int, error) {
	if at := schema.FieldIndices(name); len(at) > 0 {
		return at[0], nil
	}
	have := make([]string, schema.NumFields())
	for i, f := range schema.Fields() {
		have[i] = f.Name
	}
	return -1, &ColumnError{Column: name, Problem: "there is no such column", Nearest: Nearest(name, have), Have: have}
}

// Nearest is the name of have that is most like name, or "" if none is like it: the
// Levenshtein similarity must be at least one half.
func Nearest(name string, have []string) string {
	best, score := "", 0.5
	for _, h := range have {
		if s := levenshtein.Similarity(name, h, levenshtein.NewParams()); s >= score && (best == "" || s > score) {
			best, score = h, s
		}
	}
	return best
}
