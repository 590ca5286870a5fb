package infer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/penstock-data/penstock/stage"
)

// Activation is how a classifier's logits become scores.
type Activation uint8

// The activations. As transformers does it, a model whose labels exclude each other has
// softmax, one whose labels do not (problem_type multi_label_classification), or that has
// one only, sigmoid, and one that estimates a number (regression) none.
const (
	ModelActivation Activation = iota // as the model's files say
	Softmax
	Sigmoid
	Raw // the logits themselves
)

var activationNames = []string{"model", "softmax", "sigmoid", "none"}

func (a Activation) String() string {
	if int(a) < len(activationNames) {
		return activationNames[a]
	}
	return fmt.Sprintf("activation %d", a)
}

// ParseActivation reads the name of an activation: model, softmax, sigmoid or none.
func ParseActivation(name string) (Activation, error) {
	i, err := choose("activation", name, activationNames)
	return Activation(i), err
}

// choose finds a name; empty is the first one.
func choose(what, name string, names []string) (int, error) {
	if name == "" {
		return 0, nil
	}
	if i := slices.Index(names, name); i >= 0 {
		return i, nil
	}
	msg := fmt.Sprintf("infer: there is no %s %q (known: %s)", what, name, strings.Join(names, ", "))
	if near := stage.Nearest(name, names); near != "" {
		msg += fmt.Sprintf("; did you mean %q?", near)
	}
	return 0, fmt.Errorf("%s", msg)
}

// apply turns logits into scores, in place.
func (a Activation) apply(v []float32) {
	switch a {
	case Softmax:
		softmax(v)
	case Sigmoid:
		for i, x := range v {
			v[i] = sigmoid(x)
		}
	}
}

// softmax takes the exponentials relative to the greatest, so that none overflows.
func softmax(v []float32) {
	if len(v) == 0 {
		return
	}
	top := slices.Max(v)
	sum := 0.0
	for _, x := range v {
		sum += math.Exp(float64(x - top))
	}
	for i, x := range v {
		v[i] = float32(math.Exp(float64(x-top)) / sum)
	}
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

// ranking puts labels in order of their scores.
type ranking struct {
	most int     // labels; 0: all
	min  float32 // scores below it are left out
}

// order lists the places of scores, the best first; of equal scores the first stays first.
// It uses the memory of into.
func (r ranking) order(scores []float32, into []int32) []int32 {
	into = into[:0]
	for i, s := range scores {
		if s >= r.min {
			into = append(into, int32(i))
		}
	}
	slices.SortStableFunc(into, func(a, b int32) int { return cmp.Compare(scores[b], scores[a]) })
	if r.most > 0 && len(into) > r.most {
		into = into[:r.most]
	}
	return into
}
