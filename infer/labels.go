package infer

import (
	"fmt"
	"math"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// Scored says which of a row's labels come out, and in which columns. The zero value gives
// the best label (string) and its score (float32).
type Scored struct {
	// TopK gives so many labels with their scores, the best first, as one column
	// list<struct<label: string, score: float32>>. 0: one label in columns of its own,
	// unless there is a Threshold.
	TopK int
	// Threshold leaves out labels with scores below it, and gives the others as TopK
	// does; their number is not bounded unless TopK is set. 0: none is left out.
	Threshold    float64
	LabelColumn  string // empty: "label"
	ScoreColumn  string // empty: "score"
	LabelsColumn string // of the list; empty: "labels"
}

// many says whether a row's labels are a list.
func (s *Scored) many() bool { return s.TopK > 0 || s.Threshold > 0 }

// validate fills in what was left empty.
func (s *Scored) validate() error {
	s.LabelColumn, s.ScoreColumn, s.LabelsColumn = orElse(s.LabelColumn, "label"), orElse(s.ScoreColumn, "score"), orElse(s.LabelsColumn, "labels")
	switch {
	case s.TopK < 0:
		return fmt.Errorf("infer: classify: the best %d labels were asked for", s.TopK)
	case s.Threshold < 0 || s.Threshold != s.Threshold:
		return fmt.Errorf("infer: classify: threshold %v is not a score", s.Threshold)
	case !s.many() && s.LabelColumn == s.ScoreColumn:
		return fmt.Errorf("infer: classify: label and score cannot both be column %q", s.LabelColumn)
	}
	return nil
}

// settings are those that a result depends on.
func (s *Scored) settings() map[string]any {
	if s.many() {
		return map[string]any{"top_k": s.TopK, "threshold": s.Threshold, "labels_column": s.LabelsColumn}
	}
	return map[string]any{"label_column": s.LabelColumn, "score_column": s.ScoreColumn}
}

var scoredLabel = arrow.StructOf(arrow.Field{Name: "label", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "score", Type: arrow.PrimitiveTypes.Float32})

func (s *Scored) fields() []arrow.Field {
	if s.many() {
		return []arrow.Field{{Name: s.LabelsColumn, Nullable: true, Type: arrow.ListOfNonNullable(scoredLabel)}}
	}
	return []arrow.Field{
		{Name: s.LabelColumn, Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: s.ScoreColumn, Type: arrow.PrimitiveTypes.Float32, Nullable: true},
	}
}

// scoreColumns hold the scores of all labels of each row until all are there. Heads put
// them there, and say what is to be done with a row's in the end.
type scoreColumns struct {
	scored *Scored
	labels []string
	env    stage.Env
	scores []float32 // row by row
	nulls  []bool
	finish func(scores []float32) // of a row; nil: nothing
	order  []int32
}

func (s *Scored) begin(env stage.Env, labels []string, n int) *scoreColumns {
	return &scoreColumns{scored: s, labels: labels, env: env, scores: make([]float32, n*len(labels)), nulls: make([]bool, n)}
}

func (c *scoreColumns) of(row int32) []float32 {
	n := int32(len(c.labels))
	return c.scores[row*n : (row+1)*n]
}

func (c *scoreColumns) null(row int32) { c.nulls[row] = true }

func (c *scoreColumns) drop() {}

func (c *scoreColumns) record() arrow.Record {
	if c.finish != nil {
		for i := range c.nulls {
			if !c.nulls[i] {
				c.finish(c.of(int32(i)))
			}
		}
	}
	var cols []arrow.Array
	if c.scored.many() {
		cols = c.lists()
	} else {
		cols = c.best()
	}
	rec := array.NewRecord(arrow.NewSchema(c.scored.fields(), nil), cols, int64(len(c.nulls)))
	for _, col := range cols {
		col.Release()
	}
	return rec
}

func (c *scoreColumns) best() []arrow.Array {
	label := array.NewStringBuilder(c.env.Allocator(0))
	defer label.Release()
	score := array.NewFloat32Builder(c.env.Allocator(1))
	defer score.Release()
	label.Reserve(len(c.nulls))
	score.Reserve(len(c.nulls))
	for i, null := range c.nulls {
		if null {
			label.AppendNull()
			score.AppendNull()
			continue
		}
		scores := c.of(int32(i))
		k := best(scores)
		label.Append(c.labels[k])
		score.Append(scores[k])
	}
	return []arrow.Array{label.NewArray(), score.NewArray()}
}

func (c *scoreColumns) lists() []arrow.Array {
	list := array.NewBuilder(c.env.Allocator(0), c.scored.fields()[0].Type).(*array.ListBuilder)
	defer list.Release()
	item := list.ValueBuilder().(*array.StructBuilder)
	label, score := item.FieldBuilder(0).(*array.StringBuilder), item.FieldBuilder(1).(*array.Float32Builder)
	rank := ranking{most: c.scored.TopK, min: float32(math.Inf(-1))}
	if c.scored.Threshold > 0 {
		rank.min = float32(c.scored.Threshold)
	}
	for i, null := range c.nulls {
		if null {
			list.AppendNull()
			continue
		}
		list.Append(true)
		scores := c.of(int32(i))
		c.order = rank.order(scores, c.order)
		for _, k := range c.order {
			item.Append(true)
			label.Append(c.labels[k])
			score.Append(scores[k])
		}
	}
	return []arrow.Array{list.NewArray()}
}

// entailment is the label of a model for inference in natural language that says that one
// sentence follows from the other: the one that begins with "entail"; -1: there is none.
func entailment(labels []string) int {
	for i, l := range labels {
		if strings.HasPrefix(strings.ToLower(l), "entail") {
			return i
		}
	}
	return -1
}
