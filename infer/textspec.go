package infer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-data/penstock/stage"
)

// role is what an input of a text model wants to be told.
type role uint8

const (
	tokenIDs role = iota
	attentionMask
	tokenTypes
	positionIDs
)

// roleNames are the names that exporters give the inputs.
var roleNames = map[string]role{
	"input_ids": tokenIDs, "input.ids": tokenIDs, "ids": tokenIDs, "tokens": tokenIDs,
	"attention_mask": attentionMask, "input_mask": attentionMask, "mask": attentionMask,
	"token_type_ids": tokenTypes, "segment_ids": tokenTypes, "input_type_ids": tokenTypes,
	"position_ids": positionIDs,
}

type textInput struct {
	name string
	role role
	kind ElementType
}

// textSpec says how a text model is fed and which vectors come out of it.
type textSpec struct {
	inputs []textInput
	batch  int  // rows of each run; 0: any number
	tokens int  // tokens of each row; 0: any number
	left   bool // padding stands before the tokens
	textVector
	more []textVector // that the same runs give beside the first
}

// textVector is a vector of a text, and the output that it is taken from.
type textVector struct {
	output  string
	kind    ElementType // of the output
	dim     int
	pooling Pooling // NoPooling: the output is [rows, dim], else [rows, tokens, dim]
	// normalize is what the model's own files ask for.
	normalize bool
}

// newTextSpec works out how a text model is fed, or why it cannot be. What comes out of
// it, the tasks choose.
func newTextSpec(m *modelFile, f *folder) (*textSpec, error) {
	s := &textSpec{left: f.left}
	for _, in := range m.inputs {
		if err := s.addInput(in); err != nil {
			return nil, fmt.Errorf("infer: model %s: %w", m.path, err)
		}
	}
	if !s.takes(tokenIDs) {
		return nil, fmt.Errorf("infer: model %s takes no token ids: its inputs are %s", m.path, names(m.inputs))
	}
	return s, nil
}

// ports are those of a session that runs the model so.
func (s *textSpec) ports() ports {
	var p ports
	for _, in := range s.inputs {
		p.inputs = append(p.inputs, in.name)
	}
	for _, out := range s.results() {
		p.outputs = append(p.outputs, out.output)
	}
	return p
}

// all are the vectors of a text, in their order.
func (s *textSpec) all() []textVector { return append([]textVector{s.textVector}, s.more...) }

// results are the outputs of a run: each one once, whatever is taken of it.
func (s *textSpec) results() []textVector {
	var out []textVector
	for _, v := range s.all() {
		if !slices.ContainsFunc(out, func(o textVector) bool { return o.output == v.output }) {
			out = append(out, v)
		}
	}
	return out
}

// takes says whether the model has an input of a role.
func (s *textSpec) takes(r role) bool {
	return slices.ContainsFunc(s.inputs, func(in textInput) bool { return in.role == r })
}

func (s *textSpec) addInput(in TensorInfo) error {
	r, known := roleNames[in.Name]
	if !known {
		return fmt.Errorf("input %q is not known: a text model is given input_ids, attention_mask, token_type_ids and position_ids", in.Name)
	}
	switch in.Type {
	case Int64, Int32, Float32, Float16, Bool:
	default:
		return fmt.Errorf("input %q is %s; int64, int32, float32, float16 and bool are supported", in.Name, in.Type)
	}
	if in.Shape != nil && len(in.Shape) != 2 {
		return fmt.Errorf("input %q has %d dimensions, a text model has [batch, tokens]", in.Name, len(in.Shape))
	}
	if in.Shape != nil {
		if err := fix(&s.batch, in.Shape[0]); err != nil {
			return fmt.Errorf("input %q: batch %w", in.Name, err)
		}
		if err := fix(&s.tokens, in.Shape[1]); err != nil {
			return fmt.Errorf("input %q: tokens %w", in.Name, err)
		}
	}
	s.inputs = append(s.inputs, textInput{name: in.Name, role: r, kind: in.Type})
	return nil
}

// fix takes over the size of a dimension that is fixed.
func fix(size *int, d Dim) error {
	switch {
	case d.Size < 0:
		return nil
	case d.Size == 0 || d.Size > 1<<20 || *size > 0 && int64(*size) != d.Size:
		return fmt.Errorf("dimension of %d does not fit the other inputs", d.Size)
	}
	*size = int(d.Size)
	return nil
}

// vectors chooses what comes out of a model that embeds text: the output of that name, or,
// where it is empty, the vectors of tokens and the folder's pooling, or a vector per text
// where there is only that, where the folder names no pooling, or where the folder has
// steps that only the model itself can do. A pooling that is asked for takes the place of
// the folder's.
func (s textSpec) vectors(m *modelFile, f *folder, name string, pooling Pooling) (*textSpec, error) {
	perToken, perText := pickOutputs(m.outputs)
	if name != "" {
		var err error
		if perToken, perText, err = namedOutput(m, name); err != nil {
			return nil, err
		}
	}
	foreign := ""
	for _, mod := range f.modules {
		switch mod.name() {
		case "Transformer", "Pooling":
		case "Normalize":
			s.normalize = true
		default:
			foreign = mod.name()
		}
	}
	wholeOnly := (foreign != "" || !f.pooling.present) && pooling == NoPooling
	switch {
	case perText != nil && perToken == nil && pooling != NoPooling:
		return nil, fmt.Errorf("infer: model %s gives a vector for a text itself (output %s): there are no vectors of tokens to take the %s of",
			m.path, names([]TensorInfo{*perText}), pooling)
	case perText != nil && (perToken == nil || wholeOnly):
		s.pooling = NoPooling
		return s.takeOutput(m, f, *perText)
	case perToken == nil:
		return nil, fmt.Errorf("infer: model %s gives no vectors: its outputs are %s; one of [batch, tokens, dim] or [batch, dim] is needed",
			m.path, names(m.outputs))
	case foreign != "" && name == "":
		return nil, fmt.Errorf("infer: model %s: the folder's module %q is not supported: export the whole model, so that it has an output sentence_embedding",
			m.path, foreign)
	}
	s.pooling = pooling
	if pooling == NoPooling {
		var err error
		if s.pooling, err = f.pooling.mode(); err != nil {
			return nil, err
		}
	}
	return s.takeOutput(m, f, *perToken)
}

// namedOutput is the output of a name, by the number of its dimensions.
func namedOutput(m *modelFile, name string) (perToken, perText *TensorInfo, err error) {
	var have []string
	for i, out := range m.outputs {
		have = append(have, out.Name)
		switch {
		case out.Name != name:
		case len(out.Shape) == 3:
			return &m.outputs[i], nil, nil
		case len(out.Shape) == 2:
			return nil, &m.outputs[i], nil
		default:
			return nil, nil, fmt.Errorf("infer: model %s: output %s is no vector of a text: [batch, tokens, dim] or [batch, dim] is needed",
				m.path, names(m.outputs[i:i+1]))
		}
	}
	msg := fmt.Sprintf("infer: model %s has no output %q: its outputs are %s", m.path, name, names(m.outputs))
	if near := stage.Nearest(name, have); near != "" {
		msg += fmt.Sprintf("; did you mean %q?", near)
	}
	return nil, nil, errors.New(msg)
}

// logits chooses the scores that a classifier gives: for each text where rank is 2, for
// each token where it is 3.
func (s textSpec) logits(m *modelFile, f *folder, rank int) (*textSpec, error) {
	var found *TensorInfo
	for i, out := range m.outputs {
		switch _, isVector := vectorNames[out.Name]; {
		case out.Shape != nil && len(out.Shape) != rank, isVector:
		case out.Name == "logits":
			found = &m.outputs[i]
		case found == nil && out.Shape != nil:
			found = &m.outputs[i]
		}
	}
	if found == nil {
		return nil, fmt.Errorf("its outputs are %s", names(m.outputs))
	}
	s.pooling, s.normalize = NoPooling, false
	if rank == 3 {
		s.pooling = everyToken
	}
	out := *found
	if n := len(out.Shape); n == 0 || out.Shape[n-1].Size <= 0 {
		out.Shape = slices.Repeat([]Dim{{Size: -1}}, rank)
		out.Shape[rank-1].Size = int64(max(len(f.labels), f.config.Number))
	}
	return s.takeOutput(m, f, out)
}

// vectorNames are the usual names of vectors, with their number of dimensions: those of
// tokens, those of texts, and what is neither a vector of a text nor scores.
var vectorNames = map[string]int{"last_hidden_state": 3, "token_embeddings": 3, "hidden_states": 3,
	"sentence_embedding": 2, "sentence_embeddings": 2, "embedding": 2, "embeddings": 2, "text_embeds": 2, "pooler_output": 0}

// pickOutputs finds the outputs for vectors of tokens and of whole texts, the usual names
// before others. Logits are no vectors of a text, and neither is the output of BERT's tanh
// layer.
func pickOutputs(outputs []TensorInfo) (perToken, perText *TensorInfo) {
	pick := func(rank int) *TensorInfo {
		var first *TensorInfo
		for i, out := range outputs {
			switch {
			case out.Shape != nil && len(out.Shape) != rank, out.Name == "logits", out.Name == "pooler_output":
			case vectorNames[out.Name] == rank:
				return &outputs[i]
			case first == nil && out.Shape != nil:
				first = &outputs[i]
			}
		}
		return first
	}
	return pick(3), pick(2)
}

// takeOutput gives the spec with that output.
func (s textSpec) takeOutput(m *modelFile, f *folder, out TensorInfo) (*textSpec, error) {
	s.output, s.kind = out.Name, out.Type
	if out.Type != Float32 && out.Type != Float16 {
		return nil, fmt.Errorf("infer: model %s: output %q is %s; float32 and float16 are supported", m.path, out.Name, out.Type)
	}
	if n := len(out.Shape); n > 0 && out.Shape[n-1].Size > 0 {
		s.dim = int(out.Shape[n-1].Size)
	} else {
		s.dim = firstOf(f.pooling.Dim, f.config.hidden())
	}
	if s.dim <= 0 || s.dim > 1<<20 {
		return nil, fmt.Errorf("infer: model %s: how long the vectors of output %q are stands neither in it nor in config.json (hidden_size)", m.path, out.Name)
	}
	return &s, nil
}

func names(list []TensorInfo) string {
	out := make([]string, len(list))
	for i, t := range list {
		dims := make([]string, len(t.Shape))
		for k, d := range t.Shape {
			dims[k] = d.String()
		}
		out[i] = fmt.Sprintf("%s %s[%s]", t.Name, t.Type, strings.Join(dims, ", "))
	}
	return strings.Join(out, ", ")
}

// fixed is what a run of n rows by length tokens is padded to where the model says.
func (s *textSpec) fixed(n, length int) (int, int) {
	if s.batch > 0 {
		n = s.batch
	}
	if s.tokens > 0 {
		length = s.tokens
	}
	return n, length
}

// shape is that of the output of a run.
func (v *textVector) shape(n, length int) []int64 {
	if v.pooling == NoPooling {
		return []int64{int64(n), int64(v.dim)}
	}
	return []int64{int64(n), int64(length), int64(v.dim)}
}

func (v *textVector) bytes(n, length int) int {
	if v.pooling == NoPooling {
		length = 1
	}
	return n * length * v.dim * v.kind.size()
}
