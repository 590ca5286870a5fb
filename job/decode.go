package job

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-data/penstock/stage"
)

// maxNesting bounds how deep a value may go, and with it what aliases that contain
// themselves can do.
const maxNesting = 64

// decoder reads YAML nodes into Go values. It is stricter than the library's own: a scalar
// must have the type that is asked for, every key must be known, and it goes on after a
// fault, so that all of them are found.
type decoder struct {
	file     string
	sets     map[*yaml.Node]string // nodes that came by --set, and from which
	registry *Registry
	faults   Faults
}

// oneOrMany is implemented by list types that may be written as one scalar.
type oneOrMany interface{ oneOrMany() }

var (
	textType = reflect.TypeFor[encoding.TextUnmarshaler]()
	nodeType = reflect.TypeFor[yaml.Unmarshaler]()
	manyType = reflect.TypeFor[oneOrMany]()
)

// value reads n into v, which is settable. It reports whether it found no fault.
func (d *decoder) value(n *yaml.Node, v reflect.Value, key string, depth int) bool {
	for n.Kind == yaml.AliasNode && depth < maxNesting {
		n, depth = n.Alias, depth+1
	}
	if depth >= maxNesting {
		d.faultAt(n, key, "nested too deep, or an alias that contains itself")
		return false
	}
	if isNull(n) {
		return true // as if it were not there
	}
	if v.Kind() == reflect.Pointer {
		to := reflect.New(v.Type().Elem())
		ok := d.value(n, to.Elem(), key, depth+1)
		v.Set(to)
		return ok
	}
	switch p := reflect.PointerTo(v.Type()); {
	case p.Implements(nodeType):
		return d.own(n, key, v.Addr().Interface().(yaml.Unmarshaler).UnmarshalYAML(n))
	case p.Implements(textType):
		return d.text(n, v, key)
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.object(n, v, key, depth)
	case reflect.Map:
		return d.dict(n, v, key, depth)
	case reflect.Slice:
		return d.list(n, v, key, depth)
	case reflect.Interface:
		return d.decodeAny(n, v, key)
	}
	return d.scalar(n, v, key)
}

func (d *decoder) decodeAny(n *yaml.Node, v reflect.Value, key string) bool {
	var x any
	if !d.own(n, key, n.Decode(&x)) {
		return false
	}
	if x != nil {
		v.Set(reflect.ValueOf(x))
	}
	return true
}

// own takes the answer of a value that reads itself.
func (d *decoder) own(n *yaml.Node, key string, err error) bool {
	if err != nil {
		d.faultAt(n, key, "%s", packagePrefix.ReplaceAllString(err.Error(), ""))
	}
	return err == nil
}

// packagePrefix is what our errors begin with: the file's own position says more.
var packagePrefix = regexp.MustCompile(`^[a-z]+: `)

func (d *decoder) text(n *yaml.Node, v reflect.Value, key string) bool {
	if n.Kind != yaml.ScalarNode {
		d.wrongType(n, key, "one value")
		return false
	}
	return d.own(n, key, v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)))
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, key string) bool {
	want, tags := "", []string(nil)
	switch {
	case v.Kind() == reflect.String:
		want, tags = "a string", []string{"!!str", "!!timestamp"}
	case v.Kind() == reflect.Bool:
		want, tags = "true or false", []string{"!!bool"}
	case v.CanInt(), v.CanUint():
		want, tags = "a whole number", []string{"!!int"}
	case v.CanFloat():
		want, tags = "a number", []string{"!!float", "!!int"}
	default:
		panic(fmt.Sprintf("job: settings of type %s cannot be read from a file", v.Type()))
	}
	if n.Kind != yaml.ScalarNode || !slices.Contains(tags, n.ShortTag()) {
		d.wrongType(n, key, want)
		return false
	}
	if v.Kind() == reflect.String {
		v.SetString(n.Value)
		return true
	}
	if err := n.Decode(v.Addr().Interface()); err != nil {
		d.faultAt(n, key, "%s is out of range", n.Value)
		return false
	}
	return true
}

func (d *decoder) wrongType(n *yaml.Node, key, want string) {
	hint := ""
	if want == "a string" && n.Kind == yaml.ScalarNode {
		hint = " (put it in quotes)"
	}
	d.faultAt(n, key, "want %s, not %s%s", want, describe(n), hint)
}

// describe says what stands at a node, in the words of a person.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "the alias *" + n.Value
	}
	kind := map[string]string{"!!str": "the string", "!!int": "the number", "!!float": "the number", "!!bool": "the bool",
		"!!null": "null", "!!timestamp": "the date"}[n.ShortTag()]
	switch kind {
	case "null":
		return kind
	case "the string":
		return kind + " " + strconv.Quote(clip(n.Value))
	case "":
		return "the " + n.ShortTag() + " " + clip(n.Value)
	}
	return kind + " " + clip(n.Value)
}

func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, key string, depth int) bool {
	items := n.Content
	if n.Kind != yaml.SequenceNode {
		if n.Kind != yaml.ScalarNode || !v.Type().Implements(manyType) {
			d.wrongType(n, key, "a list")
			return false
		}
		items = []*yaml.Node{n}
	}
	ok, list := true, reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		at := key
		if n.Kind == yaml.SequenceNode {
			at = fmt.Sprintf("%s[%d]", key, i)
		}
		if isNull(item) {
			d.wrongType(item, at, "a value")
			ok = false
			continue
		}
		ok = d.value(item, list.Index(i), at, depth+1) && ok
	}
	v.Set(list)
	return ok
}

func (d *decoder) dict(n *yaml.Node, v reflect.Value, key string, depth int) bool {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, key, "a map")
		return false
	}
	ok := true
	v.Set(reflect.MakeMap(v.Type()))
	d.pairs(n, key, func(name string, _, item *yaml.Node) {
		elem := reflect.New(v.Type().Elem()).Elem()
		ok = d.value(item, elem, join(key, name), depth+1) && ok
		v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), elem)
	})
	return ok
}

// pairs calls f for each key of a map, and reports keys that are no strings or stand
// there twice.
func (d *decoder) pairs(n *yaml.Node, key string, f func(name string, at, item *yaml.Node)) {
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		at, item := n.Content[i], n.Content[i+1]
		for at.Kind == yaml.AliasNode && at.Alias.Kind != yaml.AliasNode {
			at = at.Alias
		}
		switch {
		case at.Kind != yaml.ScalarNode:
			d.faultAt(at, key, "a key must be a name, not %s", describe(at))
		case at.ShortTag() == "!!merge":
			d.faultAt(at, key, "merge keys (<<) are not known here: write the settings out")
		case first[at.Value] != nil:
			d.faultAt(at, key, "the key %q stands here twice, first in line %d", at.Value, first[at.Value].Line)
		default:
			first[at.Value] = at
			f(at.Value, at, item)
		}
	}
}

// object reads a struct. Its fields are named by their yaml tag, and bounded by their
// check tag: "required", "min=1", "max=10", "oneof=a|b".
func (d *decoder) object(n *yaml.Node, v reflect.Value, key string, depth int) bool {
	if n.Kind != yaml.MappingNode {
		d.wrongType(n, key, "a map")
		return false
	}
	before := len(d.faults)
	fields := fieldsOf(v.Type())
	seen := map[string]bool{}
	d.pairs(n, key, func(name string, at, item *yaml.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			d.unknown(at, key, name, fields)
			return
		}
		f, to := fields[i], v.FieldByIndex(fields[i].index)
		seen[name] = !isNull(item)
		if d.value(item, to, join(key, name), depth+1) && seen[name] {
			d.check(item, to, join(key, name), f)
		}
	})
	for _, f := range fields {
		if f.required && !seen[f.name] {
			d.faultAt(n, key, "%q is missing", f.name)
		}
	}
	return len(d.faults) == before
}

func (d *decoder) unknown(at *yaml.Node, key, name string, fields []field) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	f := d.faultAt(at, key, "unknown key %q", name)
	if f.Nearest = stage.Nearest(name, names); f.Nearest == "" {
		f.Problem += " (known: " + strings.Join(names, ", ") + ")"
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func join(key, name string) string {
	return strings.Trim(key+"."+name, ".")
}
