package job

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-data/penstock/infer"
)

// Labels are classes with a description each, if they need one. In a job file they are a
// list of names or of maps from a name to its description, or one such map.
type Labels []infer.Label

// UnmarshalYAML reads labels, keeping their order.
func (l *Labels) UnmarshalYAML(n *yaml.Node) error {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for _, item := range items {
		item = resolve(item)
		switch {
		case item.Kind == yaml.ScalarNode && !isNull(item):
			*l = append(*l, infer.Label{Name: item.Value})
		case item.Kind == yaml.MappingNode:
			for i := 0; i+1 < len(item.Content); i += 2 {
				name, text := resolve(item.Content[i]), resolve(item.Content[i+1])
				if name.Kind != yaml.ScalarNode || text.Kind != yaml.ScalarNode {
					return fmt.Errorf("want labels as name: description, not %s: %s (line %d)", describe(name), describe(text), name.Line)
				}
				label := infer.Label{Name: name.Value}
				if !isNull(text) {
					label.Description = text.Value
				}
				*l = append(*l, label)
			}
		default:
			return fmt.Errorf("want labels as names or as name: description, not %s (line %d)", describe(item), item.Line)
		}
	}
	return nil
}

// ParseLabels reads labels from a list in which commas stand between them: a, b or
// "c: a description, with commas".
func ParseLabels(list string) (Labels, error) {
	r := csv.NewReader(strings.NewReader(list))
	r.TrimLeadingSpace = true
	r.FieldsPerRecord = -1
	var labels Labels
	for {
		items, err := r.Read()
		if errors.Is(err, io.EOF) {
			return labels, nil
		}
		if err != nil {
			return nil, fmt.Errorf("job: labels %q: %w", list, errors.Unwrap(err))
		}
		for _, item := range items {
			if label := parseLabel(item); label.Name != "" {
				labels = append(labels, label)
			}
		}
	}
}

func parseLabel(text string) infer.Label {
	name, description, _ := strings.Cut(text, ":")
	return infer.Label{Name: strings.TrimSpace(name), Description: strings.TrimSpace(description)}
}

// LoadLabels reads labels from a file: one a line, as "name" or "name: description". Empty
// lines and those that begin with "#" are passed over.
func LoadLabels(path string) (Labels, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("job: labels: %w", err)
	}
	defer file.Close()
	var labels Labels
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		label := parseLabel(text)
		if label.Name == "" {
			return nil, fmt.Errorf("job: labels: %s:%d: %q has no name before the colon", path, n, text)
		}
		labels = append(labels, label)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("job: labels: %s: %w", path, err)
	}
	if len(labels) == 0 {
		return nil, fmt.Errorf("job: labels: %s has no labels: write one a line, as name: description", path)
	}
	return labels, nil
}
