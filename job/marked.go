package job

import (
	"slices"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// marked is a task whose new columns say which model made them, so that a search knows.
type marked struct {
	stage.Task
	columns []string
	model   string
}

func (m marked) Expand(p stage.Placement) ([]stage.Stage, error) {
	stages, err := m.Task.Expand(p)
	for i := range stages {
		stages[i] = markedStage{stages[i], m.columns, m.model}
	}
	return stages, err
}

type markedStage struct {
	stage.Stage
	columns []string
	model   string
}

func (m markedStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	b, err := m.Stage.Bind(in)
	if err != nil || len(in) != 1 || b.Need.Reads == nil {
		return b, err
	}
	adds := slices.Clone(b.Need.Adds)
	for i, f := range adds {
		if slices.Contains(m.columns, f.Name) {
			adds[i].Metadata = arrow.NewMetadata([]string{modelKey}, []string{m.model})
		}
	}
	marked := *b
	marked.Need.Adds = adds
	marked.Schema = marked.Need.OutputSchema(in[0])
	return &marked, nil
}
