package main

import (
	"fmt"
	"strings"

	"github.com/penstock-data/penstock/job"
)

func (a *app) line(name, format string, args ...any) {
	fmt.Fprintf(a.stdout, "%-11s %s\n", name, fmt.Sprintf(format, args...))
}

func (a *app) showData(d *job.DataInfo) {
	a.line("data", "%s", d.Path)
	a.line("format", "%s, compression %s", d.Format, strings.Join(d.Compression, ", "))
	a.line("rows", "%s", grouped(d.Rows))
	if d.BadRows > 0 {
		a.line("bad rows", "%s that cannot be read", grouped(d.BadRows))
	}
	what := map[string]string{"parquet": "row groups", "ipc": "record batches"}[string(d.Format)]
	if what == "" {
		what = "parts"
	}
	a.line("files", "%s with %s %s, %s", grouped(d.Files), grouped(d.Parts), what, job.Size(d.Bytes))
	var rows [][]string
	for _, c := range d.Columns {
		null := "not null"
		if c.Nullable {
			null = "null or value"
		}
		rows = append(rows, []string{c.Name, c.Type, null})
	}
	a.print([]string{"column", "type", "nulls"}, rows)
}

func (a *app) showModel(m *job.ModelInfo) {
	a.line("model", "%s, %s", m.File, job.Size(m.Bytes))
	kind := m.Task
	if m.Type != "" {
		kind += " (" + m.Type + ")"
	}
	a.line("task", "%s", kind)
	a.line("made by", "%s, opset %d", m.Producer, m.Opset)
	for _, t := range m.Inputs {
		a.line("input", "%s", tensorText(t))
	}
	for _, t := range m.Outputs {
		a.line("output", "%s", tensorText(t))
	}
	if m.MaxTokens > 0 {
		a.line("limit", "%d tokens; longer texts are cut", m.MaxTokens)
	}
	if m.Dim > 0 {
		normal := "not normalised"
		if m.Normalize {
			normal = "normalised"
		}
		a.line("embedding", "%d dimensions, pooling %s, %s", m.Dim, m.Pooling, normal)
	}
	if len(m.Labels) > 0 {
		a.line("labels", "%s", strings.Join(m.Labels, ", "))
	}
	if len(m.Variants) > 0 {
		a.line("variants", "%s", strings.Join(m.Variants, ", "))
	}
	if m.Cannot != "" {
		a.line("cannot run", "%s", m.Cannot)
	}
}

func tensorText(t job.TensorInfo) string {
	return fmt.Sprintf("%s: %s[%s]", t.Name, t.Type, strings.Join(t.Shape, ", "))
}
