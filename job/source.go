package job

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"go.yaml.in/yaml/v3"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
)

// Source says what a job reads: files, of which one path must be given, or a source of the
// caller's own.
type Source struct {
	Format        string  `yaml:"format"`              // text, csv, jsonl, parquet or ipc; empty: by extension, then by content
	Path          Strings `yaml:"path"`                // files, folders, globs
	Columns       Strings `yaml:"columns"`             // these, in this order; none: all
	Filter        string  `yaml:"filter"`              // an expression: score > 0.5 and label in ('spam', 'ham')
	Limit         int64   `yaml:"limit" check:"min=0"` // no more rows than this, after the filter; 0: all
	SourceColumns bool    `yaml:"source_columns"`      // add the columns file and row, which say where a row comes from

	Column       string      `yaml:"column"`        // text: the name of the column; empty: "text"
	KeepEmpty    bool        `yaml:"keep_empty"`    // text: empty lines are rows, too
	Delimiter    string      `yaml:"delimiter"`     // csv: one character; empty: a comma, or a tab in .tsv files
	Header       *bool       `yaml:"header"`        // csv: the first line has the names; nil: true
	LazyQuotes   bool        `yaml:"lazy_quotes"`   // csv: a quote may stand in a value that is not quoted
	NullValues   Strings     `yaml:"null_values"`   // csv: these stand for null
	EmptyIsNull  bool        `yaml:"empty_is_null"` // csv: in columns of strings, too
	Schema       ColumnTypes `yaml:"schema"`        // csv, jsonl: the columns and their types; none: by looking at the rows
	MaxLineBytes Size        `yaml:"max_line_bytes"`

	From stage.Source // a source of the caller's own, in place of files
}

// ColumnTypes are names and types of columns in their order, written as a map:
// {id: int64, text: string}. The types are those of the casts of package expr.
type ColumnTypes []arrow.Field

// UnmarshalYAML reads a map, keeping its order.
func (c *ColumnTypes) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("want a map of columns and types, such as {id: int64, text: string}, not %s", describe(n))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, typ := n.Content[i].Value, resolve(n.Content[i+1])
		dt, err := parseType(typ.Value)
		if err != nil {
			return fmt.Errorf("column %q: %w", name, err)
		}
		*c = append(*c, arrow.Field{Name: name, Type: dt, Nullable: true})
	}
	return nil
}

// parseType reads the name of a type by way of a cast, so that there is one list of them.
func parseType(name string) (arrow.DataType, error) {
	e, err := expr.Parse("cast(null as " + name + ")")
	if err != nil {
		return nil, fmt.Errorf("there is no type %q: %w", name, err)
	}
	b, err := expr.Bind(e, arrow.NewSchema(nil, nil))
	if err != nil {
		return nil, err
	}
	return b.Type(), nil
}

// formatOptions says which formats an option of [Source] is for.
var formatOptions = map[string][]string{
	"column": {"text"}, "keep_empty": {"text"}, "max_line_bytes": {"text", "csv", "jsonl"},
	"delimiter": {"csv"}, "header": {"csv"}, "lazy_quotes": {"csv"}, "null_values": {"csv"}, "empty_is_null": {"csv"},
	"schema": {"csv", "jsonl"},
}

// faults are those that the settings have together. Keys are those of the section.
func (s Source) faults(formats []string) Faults {
	if s.From != nil {
		return nil
	}
	var faults Faults
	if len(s.Path) == 0 || slices.Contains(s.Path, "") {
		faults = append(faults, Fault{Key: "path", Problem: "the source has no path"})
	}
	for _, f := range readers.Formats() {
		formats = append(formats, string(f))
	}
	if s.Format != "" && !slices.Contains(formats, s.Format) {
		f := Fault{Key: "format", Problem: fmt.Sprintf("there is no format %q", s.Format), Nearest: stage.Nearest(s.Format, formats)}
		if f.Nearest == "" {
			f.Problem += " (known: " + strings.Join(formats, ", ") + ")"
		}
		faults = append(faults, f)
	} else if s.Format != "" {
		for _, name := range given(s) {
			if of, ok := formatOptions[name]; ok && !slices.Contains(of, s.Format) {
				faults = append(faults, Fault{Key: name, Problem: fmt.Sprintf("is for %s, not for %s", strings.Join(of, " and "), s.Format)})
			}
		}
	}
	if s.Delimiter != "" && utf8.RuneCountInString(s.Delimiter) != 1 {
		faults = append(faults, Fault{Key: "delimiter", Problem: fmt.Sprintf("%q is not one character", s.Delimiter)})
	}
	if _, err := s.filter(); err != nil {
		faults = append(faults, Fault{Key: "filter", Problem: packagePrefix.ReplaceAllString(err.Error(), "")})
	}
	return faults
}

func (s Source) filter() (expr.Expr, error) {
	if s.Filter == "" {
		return nil, nil
	}
	return expr.Parse(s.Filter)
}

// dataset opens the source: the first file is looked at where the format is left open.
func (s Source) dataset(ctx context.Context) (*pipeline.Dataset, error) {
	filter, err := s.filter()
	if err != nil {
		return nil, err
	}
	src := s.From
	if src == nil {
		if src, err = readers.Open(ctx, s.config()); err != nil {
			return nil, err
		}
	}
	d := pipeline.Read(src)
	if filter != nil {
		d = d.Filter(filter)
	}
	if len(s.Columns) > 0 { // what is not needed is not read: the plan is optimised
		d = d.Select(s.Columns...)
	}
	if s.Limit > 0 {
		d = d.Limit(s.Limit)
	}
	if s.SourceColumns {
		d = d.WithSource("file", "row")
	}
	return d, nil
}

func (s Source) config() readers.Config {
	cfg := readers.Config{Files: readers.Paths(s.Path...), Format: readers.Format(s.Format)}
	cfg.Text = readers.TextConfig{Column: s.Column, KeepEmpty: s.KeepEmpty, MaxLineBytes: int64(s.MaxLineBytes)}
	cfg.CSV = readers.CSVConfig{NoHeader: s.Header != nil && !*s.Header, LazyQuotes: s.LazyQuotes, NullValues: s.NullValues,
		EmptyIsNull: s.EmptyIsNull, MaxRowBytes: int64(s.MaxLineBytes)}
	cfg.JSONL = readers.JSONLConfig{MaxLineBytes: int64(s.MaxLineBytes)}
	cfg.CSV.Delimiter, _ = utf8.DecodeRuneInString(s.Delimiter)
	if s.Delimiter == "" {
		cfg.CSV.Delimiter = 0
	}
	if len(s.Schema) > 0 {
		schema := arrow.NewSchema(s.Schema, nil)
		cfg.CSV.Schema, cfg.JSONL.Schema = schema, schema
	}
	return cfg
}
