package job

import (
	"context"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-data/penstock/pipeline"
)

// Branch is rows that come in beside those of the job: a source of its own, with stages of its
// own.
type Branch struct {
	Source Source
	Stages []Stage
}

// Union gives the rows of the job and then those of each branch, which must have the same
// columns. It is written as one branch or a list of them:
//
//	union: {source: {path: more.csv}, stages: [rename: {body: text}]}
type Union []Branch

// Add puts the step behind d.
func (s Union) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	var others []*pipeline.Dataset
	var errs []error
	for _, b := range s {
		other, err := b.dataset(ctx, env)
		errs = append(errs, err)
		others = append(others, other)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return d.Union(others...), nil
}

// Zip puts each row of the branch beside the row of the job that has its place. Both must have
// the same number of rows. A column of the branch whose name is taken gets the suffix "_1".
type Zip Branch

// Add puts the step behind d.
func (s Zip) Add(ctx context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	other, err := Branch(s).dataset(ctx, env)
	if err != nil {
		return nil, err
	}
	return d.Zip(other), nil
}

// Collect brings the rows together again that a stage made of one, such as the chunks of a text:
// the columns that are named become lists, of the others the first one's value stays. The rows
// must be in their order.
type Collect Strings

func (Collect) oneOrMany() {}

// Add puts the step behind d.
func (s Collect) Add(_ context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	if keep := env.Settings.PreserveOrder; keep != nil && !*keep {
		return nil, errors.New("collect needs the rows in their order: leave out preserve_order: false")
	}
	return d.Collect(s...), nil
}

// Materialize keeps the rows up to here in memory before any of them goes on. Behind it the order
// of blocks can be chosen anew. They must fit the memory limit.
type Materialize struct{}

// Add puts the step behind d.
func (Materialize) Add(_ context.Context, env *Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.Cache(env.config()), nil
}

// dataset opens the source and what the stages need.
func (b Branch) dataset(ctx context.Context, env *Env) (*pipeline.Dataset, error) {
	d, err := b.Source.dataset(ctx)
	if err != nil {
		return nil, err
	}
	return addStages(ctx, env, d, b.Stages)
}

// addStages puts stages behind d, and gives the errors of all that cannot be.
func addStages(ctx context.Context, env *Env, d *pipeline.Dataset, stages []Stage) (*pipeline.Dataset, error) {
	var errs []error
	for i, s := range stages {
		env.Name = s.Name
		next, err := s.Step.Add(ctx, env, d)
		if err != nil {
			errs = append(errs, fmt.Errorf("stages[%d] %s: %w", i, s.Name, err))
			continue
		}
		d = next
	}
	return d, errors.Join(errs...)
}

// branches gives the branches of a stage, by their keys below that of its list.
func (s Stage) branches(key string, f func(key string, b Branch)) {
	switch step := s.Step.(type) {
	case Union:
		for i, b := range step {
			if len(step) == 1 {
				f(key, b)
			} else {
				f(fmt.Sprintf("%s[%d]", key, i), b)
			}
		}
	case Zip:
		f(key, Branch(step))
	}
}

// eachBranch calls f for the job's own rows, and for every branch, however deep, each with the key
// of what it stands in.
func (j *Job) eachBranch(f func(key string, b Branch)) {
	var visit func(key string, b Branch)
	visit = func(key string, b Branch) {
		f(key, b)
		for i, s := range b.Stages {
			s.branches(join(key, fmt.Sprintf("stages[%d].%s", i, s.Name)), visit)
		}
	}
	visit("", Branch{j.Source, j.Stages})
}

// branchSections are a branch in a file.
type branchSections struct {
	Source anyNode `yaml:"source" check:"required"`
	Stages anyNode `yaml:"stages"`
}

func (d *decoder) branch(a Args) (b Branch) {
	var s branchSections
	_ = a.Decode(&s) // its faults are among the others
	if s.Source.Node != nil {
		b.Source = d.source(Args{d, s.Source.Node, join(a.key, "source")})
	}
	if s.Stages.Node != nil {
		b.Stages = d.stages(Args{d, s.Stages.Node, join(a.key, "stages")})
	}
	return b
}

func readUnion(a Args) (Step, error) {
	n := resolve(a.node)
	if n.Kind != yaml.SequenceNode {
		b, err := a.readBranch()
		return Union{b}, err
	}
	var all Union
	var errs []error
	for i, item := range n.Content {
		b, err := Args{a.decoder, item, fmt.Sprintf("%s[%d]", a.key, i)}.readBranch()
		all, errs = append(all, b), append(errs, err)
	}
	if len(all) == 0 {
		return nil, errors.New("the list is empty: want a branch, such as {source: {path: more.csv}}")
	}
	return all, errors.Join(errs...)
}

func readZip(a Args) (Step, error) {
	b, err := a.readBranch()
	return Zip(b), err
}

func (a Args) readBranch() (Branch, error) {
	before := len(a.decoder.faults)
	b := a.decoder.branch(a)
	if len(a.decoder.faults) > before {
		return b, ErrFaulty
	}
	return b, nil
}

// faults are those that can be told without looking at any file.
func (b Branch) faults(key string) Faults {
	faults := validate(b.Source, join(key, "source"))
	for _, f := range b.Source.faults(nil) {
		f.Key = join(join(key, "source"), f.Key)
		faults = append(faults, f)
	}
	for i, s := range b.Stages {
		at := join(key, fmt.Sprintf("stages[%d].%s", i, s.Name))
		if s.Step == nil {
			faults = append(faults, Fault{Key: at, Problem: "the stage has no step"})
			continue
		}
		faults = append(faults, validate(s.Step, at)...)
	}
	return faults
}
