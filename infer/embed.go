package infer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// Normalize says whether embeddings are brought to length 1.
type Normalize uint8

// The settings of Normalize.
const (
	AsModel Normalize = iota // as the model's files say
	Always
	Never
)

// EmbedConfig says how a column of text becomes embeddings. Only Column is needed.
type EmbedConfig struct {
	Column    string // of text
	Output    string // empty: "embedding"
	BatchSize int    // rows at most of a batch; 0: as many as fit a run, 64 without packing
	Actors    int    // callers of the model at once; 0: 2 on the CPU, as many as fit on devices
	Normalize Normalize
	// Prompt is put before every text: the name of one of the model's prompts, or, where it
	// has a space or a colon in it, the prompt itself. Empty: the model's default, where it
	// has one; "none": none.
	Prompt string
	// ModelOutput names the output of the model that is taken. Empty: see [Open].
	ModelOutput string
	// Pooling takes the place of the model's own. 0: the model's.
	Pooling Pooling
	// Outputs are several vectors of each text, from the same runs of the model, each of which
	// becomes a column. Output, ModelOutput and Pooling are empty then. Devices leave the
	// pooling of tokens to the host for them: the vectors of all tokens come back.
	Outputs []EmbedOutput
	// Dimensions cuts the vectors to their first components, for models that were trained
	// for it (Matryoshka); they are normalised after that. 0: whole vectors.
	Dimensions int
	// Chunk cuts texts into pieces that become rows of their own; see [tokenize.Chunk]. Zero:
	// texts are cut off at the model's limit.
	Chunk Chunk
}

// EmbedOutput is a vector of a text, and its column.
type EmbedOutput struct {
	Output      string // the column
	ModelOutput string // as in [EmbedConfig]
	Pooling     Pooling
}

// Chunk is how long texts are cut.
type Chunk = tokenize.Chunk

// Embed makes a task that adds a column fixed_size_list<float32>[Info.Dim] to rows with a
// column of text, or one for each of c.Outputs. A null text gives a null embedding. The task may be used in several
// plans.
func (m *Model) Embed(c EmbedConfig) (stage.Task, error) {
	tok, err := m.embedder()
	if err != nil {
		return nil, err
	}
	if c.Column == "" {
		return nil, fmt.Errorf("infer: embed: Column is empty: name the column of text")
	}
	prefix, err := m.prompt(c.Prompt)
	if err != nil {
		return nil, err
	}
	outputs, err := c.outputs()
	if err != nil {
		return nil, err
	}
	spec, head, err := m.embedOutputs(&c, outputs)
	if err != nil {
		return nil, err
	}
	tokens := textColumn(c.Column, prefix)
	tokens[0].Chunk = c.Chunk
	return &textTask{model: m, spec: spec, name: "embed", tokens: tokens, tokenizer: tok,
		batch: c.BatchSize, actors: c.Actors, settings: head.settings(), head: head}, nil
}

// outputs are those that are asked for.
func (c *EmbedConfig) outputs() ([]EmbedOutput, error) {
	if len(c.Outputs) == 0 {
		return []EmbedOutput{{orElse(c.Output, "embedding"), c.ModelOutput, c.Pooling}}, nil
	}
	if c.Output != "" || c.ModelOutput != "" || c.Pooling != NoPooling {
		return nil, errors.New("infer: embed: Output, ModelOutput and Pooling are of one output, and there are Outputs as well: set them there")
	}
	seen := map[string]bool{}
	for i, o := range c.Outputs {
		if o.Output == "" {
			return nil, fmt.Errorf("infer: embed: output %d has no column: set its Output", i+1)
		}
		if seen[o.Output] {
			return nil, fmt.Errorf("infer: embed: two outputs have the column %q: give one of them another", o.Output)
		}
		seen[o.Output] = true
	}
	return c.Outputs, nil
}

// embedOutputs says how the model is run for those outputs, and which columns they become.
func (m *Model) embedOutputs(c *EmbedConfig, outputs []EmbedOutput) (spec *textSpec, head embedHead, err error) {
	for _, o := range outputs {
		from := m.spec
		if o.ModelOutput != "" || o.Pooling != NoPooling {
			if from, err = m.feed.vectors(m.file, m.folder, o.ModelOutput, o.Pooling); err != nil {
				return nil, nil, err
			}
		}
		dim, err := m.dimensions(from.dim, c.Dimensions)
		if err != nil {
			return nil, nil, err
		}
		on := from.normalize
		if c.Normalize != AsModel {
			on = c.Normalize == Always
		}
		head = append(head, vectorColumn{name: o.Output, dim: dim, full: from.dim, normalize: on})
		if spec == nil {
			first := *from
			spec = &first
		} else {
			spec.more = append(spec.more, from.textVector)
		}
	}
	return spec, head, nil
}

// dimensions is how many components of vectors of full are kept.
func (m *Model) dimensions(full, asked int) (int, error) {
	if asked < 0 || asked > full {
		return 0, fmt.Errorf("infer: embed: %d dimensions were asked for: the vectors of %s have %d", asked, m.cfg.Path, full)
	}
	if asked == 0 {
		return full, nil
	}
	return asked, nil
}

// embedder is the tokeniser of a model that embeds text, or why it cannot.
func (m *Model) embedder() (*tokenize.Tokenizer, error) {
	if m.cannot != nil {
		return nil, m.cannot
	}
	return m.tokenizer()
}

// NoPrompt is the name that stands for no prompt, the model's default neither.
const NoPrompt = "none"

func (m *Model) prompt(name string) (string, error) {
	name = orElse(name, m.folder.prompt)
	text, ok := m.folder.prompts[name]
	if name == "" || !ok && name == NoPrompt {
		return "", nil
	}
	if !ok && strings.ContainsAny(name, " :\n\t") {
		text, ok = name, true
	}
	if ok && m.folder.pooling.Prompt != nil && !*m.folder.pooling.Prompt {
		return "", fmt.Errorf("infer: model %s leaves the prompt out of its pooling, which is not supported", m.cfg.Path)
	}
	if ok {
		return text, nil
	}
	var have []string
	for p := range m.folder.prompts {
		have = append(have, p)
	}
	slices.Sort(have)
	msg := fmt.Sprintf("infer: model %s has no prompt %q (prompts: %s; a text in its place has a space or a colon)", m.cfg.Path, name, strings.Join(have, ", "))
	if near := stage.Nearest(name, have); near != "" {
		msg += fmt.Sprintf("; did you mean %q?", near)
	}
	return "", fmt.Errorf("%s", msg)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func positive(n, other int) int {
	if n <= 0 {
		return other
	}
	return n
}
