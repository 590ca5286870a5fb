package pipeline

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/expr"
	"github.com/penstock-data/penstock/stage"
)

// Dataset is an inert plan. Every method gives a new one and leaves the receiver as it is,
// so a Dataset may be built on more than once.
type Dataset struct {
	node node
	up   *Dataset // nil for a source, and where several come together
}

// node is one step of a logical plan.
type node interface {
	label() string
}

type (
	readNode  struct{ src stage.Source }
	stageNode struct {
		st  stage.Stage
		cfg StageConfig
	}
	taskNode struct {
		task stage.Task
		cfg  StageConfig
	}
	limitNode struct{ n int64 }
	joinNode  struct {
		kind  joinKind
		sides []*Dataset
	}
	projectNode struct {
		name     string
		settings string // which columns; a map prints in the order of its keys
		bind     func(in *arrow.Schema) ([]column, error)
	}
)

// Read starts a plan at a source.
func Read(src stage.Source) *Dataset {
	return &Dataset{node: readNode{src}}
}

func (d *Dataset) then(n node) *Dataset { return &Dataset{node: n, up: d} }

// Apply adds a stage.
func (d *Dataset) Apply(st stage.Stage, cfg StageConfig) *Dataset {
	return d.then(stageNode{st, cfg})
}

// Run adds a task, which becomes one or more stages once its place is known. cfg holds for
// the stage that has a pool of workers, which is the model, or without one for the last.
func (d *Dataset) Run(task stage.Task, cfg StageConfig) *Dataset {
	return d.then(taskNode{task, cfg})
}

// Limit keeps the first n rows and stops the source when it has them.
func (d *Dataset) Limit(n int64) *Dataset { return d.then(limitNode{n}) }

// Select keeps the columns that are named, in that order.
func (d *Dataset) Select(columns ...string) *Dataset {
	return d.then(projectNode{"select", fmt.Sprintf("%q", columns), func(in *arrow.Schema) ([]column, error) { return selectColumns(in, columns) }})
}

// Drop removes the columns that are named.
func (d *Dataset) Drop(columns ...string) *Dataset {
	return d.then(projectNode{"drop", fmt.Sprintf("%q", columns), func(in *arrow.Schema) ([]column, error) { return dropColumns(in, columns) }})
}

// Rename gives columns new names: from old to new.
func (d *Dataset) Rename(names map[string]string) *Dataset {
	return d.then(projectNode{"rename", fmt.Sprintf("%q", names), func(in *arrow.Schema) ([]column, error) { return renameColumns(in, names) }})
}

// Filter keeps the rows for which e is true.
func (d *Dataset) Filter(e expr.Expr) *Dataset {
	return d.Apply(filterStage{e: e}, StageConfig{})
}

// WithColumn adds a column that e computes, or puts it in the place of the one of that
// name.
func (d *Dataset) WithColumn(name string, e expr.Expr) *Dataset {
	return d.Apply(columnStage{name: name, e: e}, StageConfig{})
}

// MapBatches runs fn over batches. fn gives a record with a row for each row it was given;
// its schema is what fn gives for a batch of no rows, with which it is called when the plan
// is checked. The columns of the result take the place of all others.
func (d *Dataset) MapBatches(name string, fn BatchFunc, cfg StageConfig) *Dataset {
	return d.Apply(funcStage{name: name, fn: fn}, cfg)
}

// Union gives the rows of d and then those of the others, which must have the same columns.
func (d *Dataset) Union(others ...*Dataset) *Dataset {
	return &Dataset{node: joinNode{union, append([]*Dataset{d}, others...)}}
}

// Zip puts each row of other beside the row of d that has its place. Both must have the same
// number of rows. A column of other whose name d has already gets the suffix "_1".
func (d *Dataset) Zip(other *Dataset) *Dataset {
	return &Dataset{node: joinNode{zip, []*Dataset{d, other}}}
}

// WithSource adds two columns that say where a row comes from: file (string) and row (int64,
// counted in the file from 0; null where a reader does not know it).
func (d *Dataset) WithSource(file, row string) *Dataset {
	return d.Apply(sourceStage{file: file, row: row}, StageConfig{})
}

func (readNode) label() string      { return "read" }
func (n stageNode) label() string   { return nameOr(n.cfg.Name, n.st.ID().Name) }
func (n taskNode) label() string    { return nameOr(n.cfg.Name, "task") }
func (limitNode) label() string     { return "limit" }
func (n projectNode) label() string { return n.name }

func (n joinNode) label() string { return n.kind.String() }

func nameOr(name, other string) string {
	if name != "" {
		return name
	}
	return other
}
