package pipeline

import (
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// column is a column of a projection: column at of the input under a name.
type column struct {
	at   int
	name string
}

func selectColumns(in *arrow.Schema, names []string) ([]column, error) {
	var errs []error
	var out []column
	for _, name := range names {
		at, err := stage.Column(in, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, column{at, name})
	}
	return out, errors.Join(errs...)
}

func dropColumns(in *arrow.Schema, names []string) ([]column, error) {
	_, err := selectColumns(in, names)
	var out []column
	for i, f := range in.Fields() {
		if !slices.Contains(names, f.Name) {
			out = append(out, column{i, f.Name})
		}
	}
	if err == nil && len(out) == 0 {
		err = errors.New("no column would be left")
	}
	return out, err
}

func renameColumns(in *arrow.Schema, names map[string]string) ([]column, error) {
	var errs []error
	for old := range names {
		if _, err := stage.Column(in, old); err != nil {
			errs = append(errs, err)
		}
	}
	seen := map[string]bool{}
	var out []column
	for i, f := range in.Fields() {
		name := nameOr(names[f.Name], f.Name)
		if seen[name] {
			errs = append(errs, fmt.Errorf("two columns would be named %q", name))
		}
		seen[name] = true
		out = append(out, column{i, name})
	}
	return out, errors.Join(errs...)
}

func projectedSchema(in *arrow.Schema, cols []column) *arrow.Schema {
	fields := make([]arrow.Field, len(cols))
	for i, c := range cols {
		fields[i] = in.Field(c.at)
		fields[i].Name = c.name
	}
	meta := in.Metadata()
	return arrow.NewSchema(fields, &meta)
}

// project makes a record of some columns of rec. Nothing is copied.
func project(rec arrow.Record, schema *arrow.Schema, cols []column) arrow.Record {
	out := make([]arrow.Array, len(cols))
	for i, c := range cols {
		out[i] = rec.Column(c.at)
	}
	return array.NewRecord(schema, out, rec.NumRows())
}
