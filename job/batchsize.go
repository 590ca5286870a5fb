package job

import (
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-data/penstock/pipeline"
)

// BatchSize is how many rows a model is given at a time: 1 to 1,000,000, or AutoBatch, which is
// written as auto. 0 leaves it open.
type BatchSize int

// AutoBatch has the batch size searched for: it grows as long as that brings more rows a second,
// within the job's memory. What was found stands in the statistics.
const AutoBatch BatchSize = pipeline.AutoBatch

const autoText = "auto"

// UnmarshalYAML reads a number of rows, or auto.
func (b *BatchSize) UnmarshalYAML(n *yaml.Node) error {
	var rows int
	switch {
	case n.Kind == yaml.ScalarNode && n.Value == autoText:
		*b = AutoBatch
		return nil
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int":
		return fmt.Errorf("want a whole number or %s, not %s", autoText, describe(n))
	case n.Decode(&rows) != nil:
		return fmt.Errorf("%s is out of range", n.Value)
	}
	return b.set(rows)
}

// UnmarshalText reads a number of rows, or auto.
func (b *BatchSize) UnmarshalText(text []byte) error {
	if string(text) == autoText {
		*b = AutoBatch
		return nil
	}
	rows, err := strconv.Atoi(string(text))
	if err != nil {
		return fmt.Errorf("want a whole number or %s, not %q", autoText, text)
	}
	return b.set(rows)
}

func (b *BatchSize) set(rows int) error {
	switch {
	case rows < 1:
		return fmt.Errorf("%d is too small: at least 1", rows)
	case rows > 1_000_000:
		return fmt.Errorf("%d is too large: at most 1000000", rows)
	}
	*b = BatchSize(rows)
	return nil
}

// String is what UnmarshalText reads.
func (b BatchSize) String() string {
	if b == AutoBatch {
		return autoText
	}
	return fmt.Sprint(int(b))
}

// rows is the size where it is given, else 0.
func (b BatchSize) rows() int { return max(int(b), 0) }

// stageConfig is that of the model of a step.
func (b BatchSize) stageConfig(name string) pipeline.StageConfig {
	cfg := pipeline.StageConfig{Name: name}
	if b == AutoBatch {
		cfg.BatchSize = pipeline.AutoBatch
	}
	return cfg
}
