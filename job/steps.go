package job

import (
	"context"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/pipeline"
)

// Select keeps the columns that are named, in that order.
type Select Strings

func (Select) oneOrMany() {}

// Add puts the step behind d.
func (s Select) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.Select(s...), nil
}

// Drop removes the columns that are named.
type Drop Strings

func (Drop) oneOrMany() {}

// Add puts the step behind d.
func (s Drop) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.Drop(s...), nil
}

// Rename gives columns new names: from old to new.
type Rename map[string]string

// Add puts the step behind d.
func (s Rename) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.Rename(s), nil
}

// Expression is an expression of package expr, written as its text.
type Expression struct{ expr.Expr }

// UnmarshalText reads an expression.
func (e *Expression) UnmarshalText(text []byte) (err error) {
	e.Expr, err = expr.Parse(string(text))
	return err
}

// Filter keeps the rows for which an expression is true.
type Filter struct{ Where Expression }

// UnmarshalText reads the expression.
func (s *Filter) UnmarshalText(text []byte) error { return s.Where.UnmarshalText(text) }

// Add puts the step behind d.
func (s Filter) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	if s.Where.Expr == nil {
		return nil, fmt.Errorf("the filter has no expression")
	}
	return d.Filter(s.Where.Expr), nil
}

// WithColumn adds a column that an expression computes, or puts it in the place of the one
// of that name.
type WithColumn struct {
	Name string     `yaml:"name" check:"required"`
	Expr Expression `yaml:"expr" check:"required"`
}

// Add puts the step behind d.
func (s WithColumn) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.WithColumn(s.Name, s.Expr.Expr), nil
}

// Limit keeps the first rows and stops the source when it has them.
type Limit int64

// UnmarshalYAML reads a number that is not negative.
func (s *Limit) UnmarshalYAML(n *yaml.Node) error {
	var rows int64
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || n.Decode(&rows) != nil || rows < 0 {
		return fmt.Errorf("want a number of rows, not %s", describe(n))
	}
	*s = Limit(rows)
	return nil
}

// Add puts the step behind d.
func (s Limit) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.Limit(int64(s)), nil
}

// SourceColumns adds two columns that say where a row comes from.
type SourceColumns struct {
	File string `yaml:"file"` // a string; empty: "file"
	Row  string `yaml:"row"`  // an int64, from 0; empty: "row"
}

// Add puts the step behind d.
func (s SourceColumns) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.WithSource(orElse(s.File, "file"), orElse(s.Row, "row")), nil
}

// Repartition cuts the rows into blocks of so many rows, or of so many bytes.
type Repartition struct {
	Rows  int  `yaml:"rows" check:"min=1"`
	Bytes Size `yaml:"bytes" check:"min=1"`
}

// Add puts the step behind d.
func (s Repartition) Add(_ context.Context, _ *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.Repartition(s.Rows, int64(s.Bytes)), nil
}

// RandomSample keeps each row with a probability.
type RandomSample struct {
	Fraction float64 `yaml:"fraction" check:"required,min=0,max=1"`
	Seed     uint64  `yaml:"seed"` // 0: the job's
}

// Add puts the step behind d.
func (s RandomSample) Add(_ context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	if s.Seed == 0 {
		s.Seed = env.Settings.Seed
	}
	return d.RandomSample(s.Fraction, s.Seed), nil
}

// RandomizeBlockOrder reads the parts of the source in another order. It is the first stage, or
// stands right behind materialize.
type RandomizeBlockOrder struct {
	Seed uint64 `yaml:"seed"` // 0: the job's
}

// Add puts the step behind d.
func (s RandomizeBlockOrder) Add(_ context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	if s.Seed == 0 {
		s.Seed = env.Settings.Seed
	}
	return d.RandomizeBlockOrder(s.Seed), nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
