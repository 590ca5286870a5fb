package infer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

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
	// Dimensions cuts the vectors to their first components, for models that were trained
	// for it (Matryoshka); they are normalised after that. 0: whole vectors.
	Dimensions int
	// Chunk cuts texts into pieces that become rows of their own; see [tokenize.Chunk]. Zero:
	// texts are cut off at the model's limit.
	Chunk Chunk
}

// Chunk is how long texts are cut.
type Chunk = tokenize.Chunk

// Embed makes a task that adds a column fixed_size_list<float32>[Info.Dim] to rows with a
// column of text. A null text gives a null embedding. The task may be used in several
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
	spec := m.spec
	if c.ModelOutput != "" || c.Pooling != NoPooling {
		if spec, err = m.feed.vectors(m.file, m.folder, c.ModelOutput, c.Pooling); err != nil {
			return nil, err
		}
	}
	dim, err := m.dimensions(spec, c.Dimensions)
	if err != nil {
		return nil, err
	}
	c.Output = orElse(c.Output, "embedding")
	on := spec.normalize
	if c.Normalize != AsModel {
		on = c.Normalize == Always
	}
	tokens := textColumn(c.Column, prefix)
	tokens[0].Chunk = c.Chunk
	return &textTask{model: m, spec: spec, name: "embed", tokens: tokens, tokenizer: tok,
		batch: c.BatchSize, actors: c.Actors,
		settings: map[string]any{"output": c.Output, "normalize": on, "dimensions": dim},
		head:     &embedHead{name: c.Output, dim: dim, full: spec.dim, normalize: on}}, nil
}

// dimensions is how many components of a spec's vectors are kept.
func (m *Model) dimensions(spec *textSpec, asked int) (int, error) {
	if asked < 0 || asked > spec.dim {
		return 0, fmt.Errorf("infer: embed: %d dimensions were asked for: the vectors of %s have %d", asked, m.cfg.Path, spec.dim)
	}
	if asked == 0 {
		return spec.dim, nil
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

// embedHead writes vectors into the column as they are.
type embedHead struct {
	name      string
	dim       int // of the column
	full      int // of the model's vectors
	normalize bool
}

func (h *embedHead) fields() []arrow.Field {
	return []arrow.Field{{Name: h.name, Nullable: true, Type: arrow.FixedSizeListOf(int32(h.dim), arrow.PrimitiveTypes.Float32)}}
}

func (h *embedHead) prepare(context.Context, *caller) error { return nil }

func (h *embedHead) begin(env stage.Env, n int) (columns, error) {
	mem := env.Allocator(0)
	c := &embedColumns{head: h, n: n, values: memory.NewResizableBuffer(mem), mem: mem}
	c.values.Resize(n * h.dim * arrow.Float32SizeBytes)
	c.floats = unsafe.Slice((*float32)(unsafe.Pointer(&c.values.Bytes()[0])), n*h.dim)
	if h.dim < h.full {
		c.whole = make([]float32, h.full)
	}
	return c, nil
}

// embedColumns is one fixed-size-list column, its values written in place.
type embedColumns struct {
	head   *embedHead
	n      int
	nulls  int
	mem    memory.Allocator
	values *memory.Buffer
	valid  *memory.Buffer // nil while no row is null
	floats []float32
	whole  []float32 // a vector that is to be cut; nil: none is
}

func (c *embedColumns) of(row int32) []float32 {
	return c.floats[int(row)*c.head.dim : (int(row)+1)*c.head.dim]
}

func (c *embedColumns) at(i int32) []float32 {
	if c.whole != nil {
		return c.whole
	}
	return c.of(i)
}

func (c *embedColumns) done(i int32) {
	v := c.of(i)
	if c.whole != nil {
		copy(v, c.whole)
	}
	if c.head.normalize {
		normalize(v)
	}
}

func (c *embedColumns) null(i int32) {
	if c.valid == nil {
		c.valid = allValid(c.mem, c.n)
	}
	bitutil.ClearBit(c.valid.Bytes(), int(i))
	clear(c.of(i))
	c.nulls++
}

func (c *embedColumns) record() arrow.Record {
	defer c.drop()
	values := array.NewData(arrow.PrimitiveTypes.Float32, c.n*c.head.dim, []*memory.Buffer{nil, c.values}, nil, 0, 0)
	defer values.Release()
	field := c.head.fields()
	data := array.NewData(field[0].Type, c.n, []*memory.Buffer{c.valid}, []arrow.ArrayData{values}, c.nulls, 0)
	defer data.Release()
	col := array.NewFixedSizeListData(data)
	defer col.Release()
	return array.NewRecord(arrow.NewSchema(field, nil), []arrow.Array{col}, int64(c.n))
}

func (c *embedColumns) drop() {
	c.values.Release()
	if c.valid != nil {
		c.valid.Release()
	}
}

// allValid is a validity bitmap of n set bits.
func allValid(mem memory.Allocator, n int) *memory.Buffer {
	b := memory.NewResizableBuffer(mem)
	b.Resize(int(bitutil.BytesForBits(int64(n))))
	clear(b.Bytes())
	bitutil.SetBitsTo(b.Bytes(), 0, int64(n), true)
	return b
}
