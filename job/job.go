package job

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-data/penstock/stage"
)

// Job is what is read, what is done to it, and where it goes. It is inert and may be run
// more than once. [Parse] reads one from YAML; a job made in Go is held against the same
// rules when it runs.
type Job struct {
	Name     string // in errors: the file it comes from
	Source   Source
	Stages   []Stage // none: a copy
	Sink     Sink
	Settings Settings // the run section
}

// Stage is one stage of a job.
type Stage struct {
	Name string // in the registry, in errors and in statistics
	Step Step
}

// Settings are those of a job as a whole. The zero value works.
type Settings struct {
	MemoryLimit      Size      `yaml:"memory_limit" check:"min=1048576"`       // for all that the job holds; 0: 70 % of the cgroup's or the machine's memory
	CPUs             int       `yaml:"cpus" check:"min=1"`                     // shared by reading, stages and models; 0: all
	PreserveOrder    *bool     `yaml:"preserve_order"`                         // rows come out in the order of the source; nil: true
	OnError          string    `yaml:"on_error" check:"oneof=fail|skip"`       // empty: fail
	MaxErrors        int64     `yaml:"max_errors" check:"min=0"`               // with skip: give up when more rows than this have failed; 0: no bound
	MaxErrorFraction float64   `yaml:"max_error_fraction" check:"min=0,max=1"` // with skip: or than this share of the rows read; 0: no bound
	BatchSize        BatchSize `yaml:"batch_size" check:"min=-1,max=1000000"`
	Actors           int       `yaml:"actors" check:"min=1,max=10000"`
	Device           string    `yaml:"device" check:"oneof=cpu|cuda|auto"`           // where models run; auto: on GPUs where there are any that can be used, else on the CPU; empty: cpu, or cuda where gpus are named
	GPUs             []int     `yaml:"gpus"`                                         // ordinals of the GPUs that models run on; none: all
	Provider         string    `yaml:"provider" check:"oneof=cuda|tensorrt"`         // what runs models on GPUs; empty: cuda, or tensorrt where tensorrt_cache is named
	TensorRTCache    string    `yaml:"tensorrt_cache"`                               // folder where TensorRT keeps the engines that it builds; empty: they are built anew
	CUDAGraphs       bool      `yaml:"cuda_graphs"`                                  // replay the runs of models of fixed shape from CUDA graphs
	Admission        string    `yaml:"admission" check:"oneof=bytes|rate"`           // when sources read on: as memory allows, or at the rate of the stages behind; empty: bytes
	Packing          string    `yaml:"packing" check:"oneof=on|off"`                 // of texts by length, for less padding; empty: on
	LookAheadRows    int       `yaml:"look_ahead_rows" check:"min=1,max=1000000"`    // among which texts are packed; 0: 2048
	MaxBatchTokens   int       `yaml:"max_batch_tokens" check:"min=1,max=100000000"` // padded tokens that a text model is given at a time; 0: 1024
	ThreadsPerActor  int       `yaml:"threads_per_actor" check:"min=1,max=1024"`     // cores that one call of a model uses; 0: 1
	Seed             uint64    `yaml:"seed"`
	Show             int       `yaml:"show" check:"min=0,max=10000"` // keep the first rows of the result, for [Result].Shown
}

// Strings is a list of strings that may be written as one string.
type Strings []string

func (Strings) oneOrMany() {}

// Config says how job files are read. The zero value works.
type Config struct {
	Registry *Registry // nil: [Default]
	Set      []string  // key=value, put into the file: source.path=in.csv, stages.0.embed.batch_size=32
}

// Parse reads a job with the registry of this package. name is that of the file, for
// errors. The error is a [Faults] with all that is wrong.
func Parse(data []byte, name string) (*Job, error) { return Config{}.Parse(data, name) }

// Load is Parse of a file, with settings put into it: each key=value, where key is a path
// such as source.path or stages.0.embed.batch_size.
func Load(path string, sets []string) (*Job, error) { return Config{Set: sets}.Load(path) }

// Load reads a job from a file.
func (c Config) Load(path string) (*Job, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, fmt.Errorf("job: the job file %s cannot be read: %w", path, err)
	}
	return c.Parse(data, path)
}

// Parse reads a job.
func (c Config) Parse(data []byte, name string) (*Job, error) {
	if c.Registry == nil {
		c.Registry = Default()
	}
	d := &decoder{file: name, sets: map[*yaml.Node]string{}, registry: c.Registry}
	root := d.document(data)
	if root == nil {
		return nil, d.faults.err()
	}
	for _, set := range c.Set {
		d.apply(root, set)
	}
	j := d.job(root)
	j.Name = name
	if err := d.faults.err(); err != nil {
		return nil, err
	}
	return j, nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// document reads the one document of a file; nil after a fault.
func (d *decoder) document(data []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && isNull(doc.Content[0]) {
		d.faults = append(d.faults, Fault{File: d.file, Line: 1, Column: 1, Problem: "the file is empty: a job has a source and a sink"})
		return nil
	}
	if err == nil {
		if err = dec.Decode(&more); errors.Is(err, io.EOF) {
			return doc.Content[0]
		}
		if err == nil {
			d.faultAt(&more, "", "a second document begins here: a file holds one job")
			return nil
		}
	}
	m := yamlLine.FindStringSubmatch(err.Error())
	line, _ := strconv.Atoi(m[1]) // empty: the library does not say where
	f := Fault{File: d.file, Line: max(line, 1), Column: 1, Problem: "not YAML: " + m[2]}
	if lines := strings.Split(string(data), "\n"); line > 0 && line <= len(lines) {
		f.Column += len(lines[line-1]) - len(strings.TrimLeft(lines[line-1], " \t"))
	}
	d.faults = append(d.faults, f)
	return nil
}

// sections are the top of a job file. The parts that have names from the registry are
// read behind it.
type sections struct {
	Source anyNode  `yaml:"source" check:"required"`
	Stages anyNode  `yaml:"stages"`
	Sink   anyNode  `yaml:"sink" check:"required"`
	Run    Settings `yaml:"run"`
}

// anyNode is YAML that is read later.
type anyNode struct{ *yaml.Node }

func (n *anyNode) UnmarshalYAML(node *yaml.Node) error {
	n.Node = node
	return nil
}

func (d *decoder) job(root *yaml.Node) *Job {
	var s sections
	_ = Args{d, root, ""}.Decode(&s) // its faults are among the others
	j := &Job{Settings: s.Run}
	if s.Source.Node != nil {
		j.Source = d.source(Args{d, s.Source.Node, "source"})
	}
	if s.Stages.Node != nil {
		j.Stages = d.stages(Args{d, s.Stages.Node, "stages"})
	}
	if s.Sink.Node != nil {
		j.Sink = d.sink(Args{d, s.Sink.Node, "sink"})
	}
	return j
}

// stages reads a list of maps of one key. A name alone is a stage without settings.
func (d *decoder) stages(a Args) []Stage {
	n := resolve(a.node)
	if n.Kind != yaml.SequenceNode {
		d.wrongType(n, a.key, "a list of stages")
		return nil
	}
	var stages []Stage
	for i, item := range n.Content {
		key := fmt.Sprintf("%s[%d]", a.key, i)
		item = resolve(item)
		name, settings := item, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: item.Line, Column: item.Column}
		switch {
		case item.Kind == yaml.ScalarNode && item.ShortTag() == "!!str":
		case item.Kind == yaml.MappingNode && len(item.Content) == 2:
			name, settings = resolve(item.Content[0]), item.Content[1]
		default:
			what := describe(item)
			if item.Kind == yaml.MappingNode {
				what = fmt.Sprintf("a map of %d keys (is the indentation right?)", len(item.Content)/2)
			}
			d.faultAt(item, key, "want a stage as a map of one key, such as `select: [id, text]`, not %s", what)
			continue
		}
		if s, ok := d.stage(name, Args{d, settings, key + "." + name.Value}, key); ok {
			stages = append(stages, s)
		}
	}
	return stages
}

func (d *decoder) stage(name *yaml.Node, a Args, key string) (Stage, bool) {
	read, ok := d.registry.stages[name.Value]
	if !ok {
		names := d.registry.Stages()
		f := d.faultAt(name, key, "there is no stage %q", name.Value)
		if f.Nearest = stage.Nearest(name.Value, names); f.Nearest == "" {
			f.Problem += " (known: " + strings.Join(names, ", ") + ")"
		}
		return Stage{}, false
	}
	step, err := read(a)
	return Stage{Name: name.Value, Step: step}, d.taken(a, err)
}

// taken notes the error of a function that read settings, unless Decode has done so.
func (d *decoder) taken(a Args, err error) bool {
	if err != nil && !errors.Is(err, ErrFaulty) {
		d.own(a.node, a.key, err)
	}
	return err == nil
}

// format looks at the format of a source or sink section for one that a registry knows.
func format[T any](a Args, known map[string]T) (name string, n *yaml.Node) {
	at := resolve(a.node)
	for i := 0; at.Kind == yaml.MappingNode && i+1 < len(at.Content); i += 2 {
		if at.Content[i].Value == "format" {
			n = resolve(at.Content[i+1])
			if _, ok := known[n.Value]; ok {
				return n.Value, n
			}
		}
	}
	return "", n
}

// without gives the settings less their format.
func (a Args) without(format *yaml.Node) Args {
	n := *resolve(a.node)
	i := slices.IndexFunc(n.Content, func(c *yaml.Node) bool { return resolve(c) == format })
	n.Content = slices.Concat(n.Content[:i-1], n.Content[i+1:])
	a.node = &n
	return a
}

func (d *decoder) source(a Args) Source {
	var s Source
	if name, n := format(a, d.registry.sources); name != "" {
		from, err := d.registry.sources[name](a.without(n))
		d.taken(a, err)
		return Source{Format: name, From: from}
	}
	_ = a.Decode(&s) // its faults are among the others
	d.more(a, s.faults(slices.Sorted(maps.Keys(d.registry.sources))))
	return s
}

func (d *decoder) sink(a Args) Sink {
	var s Sink
	if name, n := format(a, d.registry.sinks); name != "" {
		to, err := d.registry.sinks[name](a.without(n))
		d.taken(a, err)
		return Sink{Format: name, To: to}
	}
	_ = a.Decode(&s) // its faults are among the others
	d.more(a, s.faults(slices.Sorted(maps.Keys(d.registry.sinks))))
	return s
}

// more notes faults that settings found in themselves, each at the key that it names,
// unless what stands there is at fault already.
func (d *decoder) more(a Args, faults Faults) {
	if resolve(a.node).Kind != yaml.MappingNode {
		return // which is a fault already
	}
	for _, f := range faults {
		key := join(a.key, f.Key)
		if slices.ContainsFunc(d.faults, func(g Fault) bool { return g.Key == key || strings.HasPrefix(g.Key, key+"[") }) {
			continue
		}
		at := resolve(a.node)
		for i := 0; at.Kind == yaml.MappingNode && i+1 < len(at.Content); i += 2 {
			if at.Content[i].Value == f.Key {
				at = at.Content[i+1]
				break
			}
		}
		d.faultAt(at, key, "%s", f.Problem).Nearest = f.Nearest
	}
}

func resolve(n *yaml.Node) *yaml.Node {
	for range maxNesting {
		if n.Kind != yaml.AliasNode {
			break
		}
		n = n.Alias
	}
	return n
}
