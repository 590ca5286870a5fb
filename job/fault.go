package job

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Fault is one thing that is wrong with a job.
type Fault struct {
	File    string // or the --set that brought the value; empty for a job made in Go
	Line    int    // from 1; 0: not known
	Column  int    // from 1, in characters
	Key     string // "stages[0].embed.batch_size"; empty: the whole file
	Problem string
	Nearest string // the right name that is most like the wrong one; empty: none is
}

func (f Fault) Error() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		if f.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
		}
		b.WriteString(": ")
	}
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	b.WriteString(f.Problem)
	if f.Nearest != "" {
		fmt.Fprintf(&b, "; did you mean %q?", f.Nearest)
	}
	return b.String()
}

// Faults is all that is wrong with a job, in the order of the file.
type Faults []Fault

func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// err is nil where there are no faults.
func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return fs
}

// faultAt is a fault of what stands at n.
func (d *decoder) faultAt(n *yaml.Node, key, format string, args ...any) *Fault {
	f := Fault{File: d.file, Line: n.Line, Column: n.Column, Key: key, Problem: fmt.Sprintf(format, args...)}
	if set, ok := d.sets[n]; ok {
		f.File, f.Line, f.Column = "--set "+set, 0, 0
	}
	d.faults = append(d.faults, f)
	return &d.faults[len(d.faults)-1]
}
