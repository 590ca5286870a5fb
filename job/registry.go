package job

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
)

// Step is one stage of a job, with its settings. It is inert: nothing is opened before the
// job runs.
type Step interface {
	// Add puts the step behind d. What it opens it gives to env, which closes it when
	// the job has ended.
	Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error)
}

// Registry knows stages, sources and sinks by the names that job files use. The zero value
// knows none; [Default] knows ours. It must not be changed while jobs are being read.
type Registry struct {
	stages  map[string]func(Args) (Step, error)
	sources map[string]func(Args) (stage.Source, error)
	sinks   map[string]func(Args) (stage.Sink, error)
}

// Default is a registry of the stages of this package, by the names of their types:
// with_column is [WithColumn].
func Default() *Registry {
	r := &Registry{}
	r.Stage("embed", step[Embed])
	r.Stage("classify", step[Classify])
	r.Stage("zeroshot", step[Zeroshot])
	r.Stage("ner", step[NER])
	r.Stage("rerank", step[Rerank])
	r.Stage("similarity", step[Similarity])
	r.Stage("infer", step[Infer])
	r.Stage("select", step[Select])
	r.Stage("drop", step[Drop])
	r.Stage("rename", step[Rename])
	r.Stage("filter", step[Filter])
	r.Stage("with_column", step[WithColumn])
	r.Stage("limit", step[Limit])
	r.Stage("source_columns", step[SourceColumns])
	r.Stage("repartition", step[Repartition])
	r.Stage("random_sample", step[RandomSample])
	r.Stage("randomize_block_order", step[RandomizeBlockOrder])
	r.Stage("union", readUnion)
	r.Stage("zip", readZip)
	r.Stage("collect", step[Collect])
	r.Stage("materialize", step[Materialize])
	return r
}

// step reads the settings of a stage that is its own settings.
func step[T Step](a Args) (Step, error) {
	var s T
	return s, decodeStep(a, &s)
}

func decodeStep[T Step](a Args, s *T) error { return a.Decode(s) }

// Stage makes a stage known under a name, in the place of one that had it. read is called
// when a job is read, and should do no more than decode and check its settings.
func (r *Registry) Stage(name string, read func(Args) (Step, error)) {
	if r.stages == nil {
		r.stages = map[string]func(Args) (Step, error){}
	}
	r.stages[name] = read
}

// Source makes a source known, as the format of a source section.
func (r *Registry) Source(format string, read func(Args) (stage.Source, error)) {
	if r.sources == nil {
		r.sources = map[string]func(Args) (stage.Source, error){}
	}
	r.sources[format] = read
}

// Sink makes a sink known, as the format of a sink section.
func (r *Registry) Sink(format string, read func(Args) (stage.Sink, error)) {
	if r.sinks == nil {
		r.sinks = map[string]func(Args) (stage.Sink, error){}
	}
	r.sinks[format] = read
}

// Stages lists the names of the stages, sorted.
func (r *Registry) Stages() []string { return slices.Sorted(maps.Keys(r.stages)) }

// Args are the settings that a job file has for a stage, a source or a sink.
type Args struct {
	decoder *decoder
	node    *yaml.Node
	key     string
}

// Decode reads the settings into what to points at: a struct whose fields have yaml tags
// with their names and, if they are bounded, check tags ("required", "min=1", "max=10",
// "oneof=a|b"), or a list, a map or a scalar. Fields that have UnmarshalText or
// UnmarshalYAML read themselves. Faults are kept, with their places, and reported with
// all others when the job has been read; Decode then returns [ErrFaulty].
func (a Args) Decode(to any) error {
	v := reflect.ValueOf(to)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("job: Decode needs a pointer, not a %T", to)
	}
	n := a.node
	if isNull(n) && v.Elem().Kind() == reflect.Struct { // no settings: those that are required are missing
		n = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line, Column: n.Column}
	}
	if isNull(n) {
		a.decoder.wrongType(n, a.key, "settings")
		return ErrFaulty
	}
	if !a.decoder.value(n, v.Elem(), a.key, 0) {
		return ErrFaulty
	}
	return nil
}

// ErrFaulty says that settings have faults, which were noted where they stand.
var ErrFaulty = fmt.Errorf("job: the settings have faults")
