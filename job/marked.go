package job

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/stage"
)

// maker is what made a column of embeddings: what a query's has to be made by, too.
type maker struct {
	model, variant string // as in Inference
	modelOutput    string // as in Embed
	pooling        infer.Pooling
	dimensions     int
}

// The keys of a column's metadata that say it.
const (
	modelKey       = "penstock.model"
	variantKey     = "penstock.variant"
	modelOutputKey = "penstock.model_output"
	poolingKey     = "penstock.pooling"
	dimensionsKey  = "penstock.dimensions"
)

// makerOf reads what a column says; all of it is empty where it says nothing.
func makerOf(f arrow.Field) (m maker, err error) {
	read := func(key string) string {
		value, _ := f.Metadata.GetValue(key)
		return value
	}
	m = maker{model: read(modelKey), variant: read(variantKey), modelOutput: read(modelOutputKey)}
	if m.pooling, err = infer.ParsePooling(read(poolingKey)); err != nil {
		return m, fmt.Errorf("job: column %q: its metadata %s: %w", f.Name, poolingKey, err)
	}
	if n := read(dimensionsKey); n != "" {
		if m.dimensions, err = strconv.Atoi(n); err != nil {
			return m, fmt.Errorf("job: column %q: its metadata %s: %q is no number", f.Name, dimensionsKey, n)
		}
	}
	return m, nil
}

func (m maker) metadata() arrow.Metadata {
	var keys, values []string
	add := func(key, value string) {
		if value != "" {
			keys, values = append(keys, key), append(values, value)
		}
	}
	add(modelKey, m.model)
	add(variantKey, m.variant)
	add(modelOutputKey, m.modelOutput)
	if m.pooling != infer.NoPooling {
		add(poolingKey, m.pooling.String())
	}
	if m.dimensions > 0 {
		add(dimensionsKey, strconv.Itoa(m.dimensions))
	}
	return arrow.NewMetadata(keys, values)
}

// marked is a task whose new columns say what made them, so that a search knows.
type marked struct {
	stage.Task
	makers map[string]maker // by column
}

func (m marked) Expand(p stage.Placement) ([]stage.Stage, error) {
	stages, err := m.Task.Expand(p)
	for i := range stages {
		stages[i] = markedStage{stages[i], m.makers}
	}
	return stages, err
}

type markedStage struct {
	stage.Stage
	makers map[string]maker
}

func (m markedStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	b, err := m.Stage.Bind(in)
	if err != nil || len(in) != 1 || b.Need.Reads == nil {
		return b, err
	}
	adds := slices.Clone(b.Need.Adds)
	for i, f := range adds {
		if made, ok := m.makers[f.Name]; ok {
			adds[i].Metadata = made.metadata()
		}
	}
	marked := *b
	marked.Need.Adds = adds
	marked.Schema = marked.Need.OutputSchema(in[0])
	return &marked, nil
}
