package onnxgraph

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Pooling is how the vectors of a text's tokens become one.
type Pooling uint8

const (
	NoPooling        Pooling = iota
	MeanPooling              // mean over the tokens that the mask leaves
	CLSPooling               // the vector at position 0
	MaxPooling               // the greatest of each component, over the tokens that the mask leaves
	LastTokenPooling         // that of the last token that the mask leaves
)

// Activation makes probabilities of logits.
type Activation uint8

const (
	NoActivation Activation = iota
	Softmax                 // over the last dimension
	Sigmoid
)

// Steps is a suffix: what is done with an output, in the order of the fields. All of it is
// computed in float32, whatever the model's own type, and the results are float32.
//
// Positions that the mask leaves out add nothing, whatever stands there, NaN included. A text
// whose mask leaves no token gives zeros as mean and as last token, and the lowest float32 as
// greatest: padding rows of a batch, which nobody reads.
type Steps struct {
	Output     string  // of the model; empty: its only one
	Pool       Pooling // of [batch, tokens, dim], into [batch, dim]
	Mask       string  // input [batch, tokens], 0 for padding; empty: attention_mask where there is one, else every position counts
	Normalize  bool    // to length 1 along the last dimension; one shorter than 1e-12 is divided by that
	Activation Activation
	TopK       int  // the greatest along the last dimension, in falling order: values and int64 indices; 0: all
	ArgMax     bool // the index of the greatest alone, int64
	Half       bool // floats come back as float16

	Name string // of the result; empty: that of the output with the last step's behind it. Indices of TopK: with "_indices" behind it
	Only bool   // the model's other outputs are dropped
}

// result is what the steps have made so far.
type result struct {
	value string
	shape []Dim
}

// Suffix puts steps behind an output, and gives the results, which stand where the output
// stood: one, or TopK's values and indices. On an error, which names the output, nothing was
// changed.
func (m *Model) Suffix(want Steps) ([]Tensor, error) {
	at, err := m.output(want.Output)
	if err != nil {
		return nil, err
	}
	old := m.Outputs[at]
	mask, err := m.check(&want, old)
	if err != nil {
		return nil, fmt.Errorf("model %s: output %q %w", m.Path, old.Name, err)
	}
	s := &steps{m: m, label: "penstock/" + old.Name}
	r := result{value: old.Name, shape: slices.Clone(old.Shape)}
	if old.Type != Float32 {
		r.value = s.cast(r.value, Float32)
	}
	s.pool(&r, want.Pool, mask)
	if want.Normalize {
		length := s.axes("ReduceL2", 18, r.value, []int64{-1}, keepDims(true))
		length = s.add("Max", []string{length, s.floats(nil, 1e-12)})
		r.value = s.add("Div", []string{r.value, length})
	}
	switch want.Activation {
	case Softmax:
		r.value = s.add("Softmax", []string{r.value}, integer("axis", -1))
	case Sigmoid:
		r.value = s.add("Sigmoid", []string{r.value})
	}
	results := s.finish(&want, r, old)
	m.replaceOutputs(at, results, want.Only)
	m.put(span{m.graph.end, m.graph.end}, s.encode())
	return results, nil
}

// output finds an output by name, or the only one.
func (m *Model) output(name string) (int, error) {
	if name == "" {
		if len(m.Outputs) != 1 {
			return 0, fmt.Errorf("model %s has the outputs %s: say which one", m.Path, list(m.Outputs))
		}
		name = m.Outputs[0].Name
	}
	at := slices.IndexFunc(m.Outputs, func(t Tensor) bool { return t.Name == name })
	switch _, original := m.outputs[name]; {
	case at < 0:
		return 0, fmt.Errorf("model %s has no output %q: it has %s", m.Path, name, list(m.Outputs))
	case !original:
		return 0, fmt.Errorf("model %s: output %q is a result of steps: ask for all steps at once", m.Path, name)
	}
	return at, nil
}

// check says what keeps the steps from being put behind an output; its text goes on from the
// output's name. It gives the mask, or none.
func (m *Model) check(want *Steps, out Tensor) (mask *Tensor, err error) {
	if err := m.oldEnough(); err != nil {
		return nil, err
	}
	rank, dim := len(out.Shape), int64(-1)
	if rank > 0 {
		dim = out.Shape[rank-1].Size
	}
	switch name := want.Name; {
	case !out.Type.float():
		return nil, fmt.Errorf("is %s: steps are put behind floats", out.Type)
	case want.Pool > LastTokenPooling:
		return nil, fmt.Errorf("cannot be pooled by %d", want.Pool)
	case want.Activation > Sigmoid:
		return nil, fmt.Errorf("cannot be activated by %d", want.Activation)
	case want.Pool != NoPooling && out.Shape != nil && rank != 3:
		return nil, fmt.Errorf("is not of tokens (%s): one of [batch, tokens, dim] can be pooled", out)
	case out.Shape != nil && rank == 0:
		return nil, errors.New("is a single number: there is no last dimension to work along")
	case want.TopK < 0 || want.TopK > 0 && want.ArgMax:
		return nil, errors.New("can have TopK or ArgMax, not both, and TopK of at least 1")
	case want.TopK > 0 && dim >= 0 && int64(want.TopK) > dim:
		return nil, fmt.Errorf("has %d values in its last dimension: the greatest %d cannot be taken", dim, want.TopK)
	case !want.computes() && want.TopK == 0 && !want.ArgMax && want.floats() == out.Type:
		return nil, errors.New("already is what is asked for: leave the steps out")
	case name != "" && (m.used(name) || want.TopK > 0 && m.used(name+"_indices")):
		return nil, fmt.Errorf("cannot give %q: the model has that name already; give another", name)
	}
	return m.findMask(want, out)
}

func (m *Model) findMask(want *Steps, out Tensor) (*Tensor, error) {
	if want.Pool == NoPooling || want.Pool == CLSPooling {
		return nil, nil
	}
	name := want.Mask
	if name == "" {
		name = "attention_mask"
	}
	at := slices.IndexFunc(m.Inputs, func(t Tensor) bool { return t.Name == name })
	switch {
	case at < 0 && want.Mask == "":
		return nil, nil
	case at < 0:
		return nil, fmt.Errorf("cannot be pooled by the mask %q: the model's inputs are %s", name, list(m.Inputs))
	case m.Inputs[at].Shape != nil && len(m.Inputs[at].Shape) != 2:
		return nil, fmt.Errorf("cannot be pooled by the mask %s: it must be [batch, tokens]", m.Inputs[at])
	}
	return &m.Inputs[at], nil
}

// resultName is the name that is asked for, or the output's with the last step behind it.
func (want *Steps) resultName(out Tensor) string {
	switch {
	case want.Name != "":
		return want.Name
	case want.ArgMax:
		return out.Name + "_argmax"
	case want.TopK > 0:
		return out.Name + "_top"
	case want.Activation == Softmax:
		return out.Name + "_softmax"
	case want.Activation == Sigmoid:
		return out.Name + "_sigmoid"
	case want.Normalize:
		return out.Name + "_normalized"
	case want.Pool != NoPooling:
		return out.Name + "_pooled"
	}
	return out.Name + "_" + want.floats().String()
}

// floats is the type of results that are no indices.
func (want *Steps) floats() ElementType {
	if want.Half {
		return Float16
	}
	return Float32
}

func (want *Steps) computes() bool {
	return want.Pool != NoPooling || want.Normalize || want.Activation != NoActivation
}

// pool makes [batch, dim] of [batch, tokens, dim].
func (s *steps) pool(r *result, how Pooling, mask *Tensor) {
	if how == NoPooling {
		return
	}
	switch {
	case how == CLSPooling:
		r.value = s.add("Gather", []string{r.value, s.scalar(0)}, integer("axis", 1))
	case mask == nil:
		r.value = s.poolAll(r.value, how)
	default:
		r.value = s.poolMasked(r.value, how, mask)
	}
	if r.shape != nil {
		r.shape = []Dim{r.shape[0], r.shape[2]}
	}
}

func (s *steps) poolAll(x string, how Pooling) string {
	switch how {
	case MeanPooling:
		return s.reduceMean(x, 1, false)
	case MaxPooling:
		return s.reduceMax(x, 1, false)
	}
	return s.add("Gather", []string{x, s.scalar(-1)}, integer("axis", 1))
}

func (s *steps) poolMasked(x string, how Pooling, mask *Tensor) string {
	leave := mask.Name
	if mask.Type != Bool {
		leave = s.cast(leave, Bool)
	}
	none := float32(0)
	switch how {
	case MaxPooling:
		none = -math.MaxFloat32
	case LastTokenPooling: // where the running count of tokens first is the whole count
		count := s.add("CumSum", []string{s.cast(leave, Float32), s.scalar(1)})
		whole := s.add("Equal", []string{count, s.reduceMax(count, 1, true)})
		leave = s.add("And", []string{whole, leave})
	}
	x = s.add("Where", []string{s.unsqueeze(leave, 2), x, s.floats(nil, none)})
	switch how {
	case MaxPooling:
		return s.reduceMax(x, 1, false)
	case LastTokenPooling:
		return s.reduceSum(x, 1, false)
	}
	count := s.reduceSum(s.cast(leave, Float32), 1, true)
	count = s.add("Max", []string{count, s.floats(nil, 1)})
	return s.add("Div", []string{s.reduceSum(x, 1, false), count})
}

// finish takes the last steps, and gives the results their names.
func (s *steps) finish(want *Steps, r result, old Tensor) []Tensor {
	kind := want.floats()
	values, indices := r.value, ""
	switch {
	case want.ArgMax:
		kind = Int64
		values = s.add("ArgMax", []string{r.value}, integer("axis", -1), keepDims(false))
		if r.shape != nil {
			r.shape = r.shape[:len(r.shape)-1]
		}
	case want.TopK > 0:
		both := s.addMany("TopK", 2, []string{r.value, s.longs(int64(want.TopK))}, integer("axis", -1))
		values, indices = both[0], both[1]
		if r.shape != nil {
			r.shape[len(r.shape)-1] = Dim{Size: int64(want.TopK)}
		}
	}
	if kind == Float16 {
		values = s.cast(values, kind)
	}
	name := want.resultName(old)
	if want.Name == "" {
		name = s.m.take(name)
	} else {
		s.m.names[name] = struct{}{}
	}
	s.rename(values, name)
	results := []Tensor{{Name: name, Type: kind, Shape: r.shape}}
	if indices != "" {
		other := s.m.take(name + "_indices")
		s.rename(indices, other)
		results = append(results, Tensor{Name: other, Type: Int64, Shape: r.shape})
	}
	return results
}

func (m *Model) replaceOutputs(at int, results []Tensor, only bool) {
	var encoded []byte
	for i := range results {
		encoded = appendMessage(encoded, 12, results[i].encode())
	}
	m.put(m.outputs[m.Outputs[at].Name], encoded)
	delete(m.outputs, m.Outputs[at].Name)
	if !only {
		m.Outputs = slices.Replace(m.Outputs, at, at+1, results...)
		return
	}
	for name, where := range m.outputs {
		m.put(where, nil)
		delete(m.outputs, name)
	}
	m.Outputs = results
}
