package job

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// apply puts the value of a --set key=value into the document. Keys are cut at dots; a
// number picks an item of a list, and one behind the last appends. What is missing on the
// way is made.
func (d *decoder) apply(root *yaml.Node, set string) {
	key, text, ok := strings.Cut(set, "=")
	fault := func(format string, args ...any) {
		d.faults = append(d.faults, Fault{File: "--set " + set, Problem: fmt.Sprintf(format, args...)})
	}
	if !ok || key == "" {
		fault("want key=value, such as source.path=in.csv")
		return
	}
	at, parts := root, strings.Split(key, ".")
	for i, part := range parts {
		for at.Kind == yaml.AliasNode {
			at = at.Alias
		}
		if isNull(at) { // an empty value becomes what the path needs
			*at = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: at.Line, Column: at.Column}
			if _, err := strconv.Atoi(part); err == nil {
				at.Kind, at.Tag = yaml.SequenceNode, "!!seq"
			}
		}
		name, next, problem := child(at, part)
		if problem != "" {
			fault("%s %s", strings.Join(parts[:i], "."), problem)
			return
		}
		for _, n := range []*yaml.Node{name, next} {
			if n.Line == 0 { // not in the file
				d.sets[n] = set
			}
		}
		at = next
	}
	*at = *setValue(text)
	d.mark(at, set)
}

// mark notes that a node and all below it came by a --set. The value's own aliases stay
// within it, and are not followed.
func (d *decoder) mark(n *yaml.Node, set string) {
	d.sets[n] = set
	for _, c := range n.Content {
		d.mark(c, set)
	}
}

// child gives the value of a key or an item, with the node that names it, made anew if it
// is not there.
func child(at *yaml.Node, part string) (name, n *yaml.Node, problem string) {
	missing := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	switch at.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(at.Content); i += 2 {
			if at.Content[i].Value == part {
				return at.Content[i], at.Content[i+1], ""
			}
		}
		name = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: part}
		at.Content = append(at.Content, name, missing)
		return name, missing, ""
	case yaml.SequenceNode:
		i, err := strconv.Atoi(part)
		if err != nil || i < 0 || i > len(at.Content) {
			return nil, nil, fmt.Sprintf("is a list of %d: there is no item %q", len(at.Content), part)
		}
		if i == len(at.Content) {
			at.Content = append(at.Content, missing)
		}
		return at.Content[i], at.Content[i], ""
	}
	return nil, nil, fmt.Sprintf("is %s, and has no %q", describe(at), part)
}

// setValue reads the value as YAML where that is a plain scalar, or a list or map in
// brackets; everything else is a string as it stands, so that nothing has to be quoted.
func setValue(text string) *yaml.Node {
	str := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
		return str
	}
	n := doc.Content[0]
	switch {
	case n.Kind == yaml.ScalarNode && (n.Value == text || n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0):
		return n
	case n.Style&yaml.FlowStyle != 0 && n.LineComment == "":
		return n
	}
	return str
}
