package job

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/infer"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
)

// Search finds the rows of an output of embed that are most like a query, by the cosine of
// the embeddings, looking at every row. Query and In are needed.
type Search struct {
	Query   string
	In      string // the folder that embed wrote, or a file of it
	Top     int    // how many hits; 0: 10
	Model   string // that made the embeddings; empty: the one that the column names, else DefaultModel
	Variant string // of that model; empty: where Model is empty, too, the one that the column names
	Prompt  string // put before the query, as in [Embed]; empty: the model's prompt "query", else its default
	Column  string // of the embeddings; empty: the first fixed_size_list<float32>
	Text    string // a column of text to show; empty: "text", else the first one of strings

	DefaultModel string
	Library      string
	MemoryLimit  Size
}

// Hit is a row that was found.
type Hit struct {
	Score float32 `json:"score"`          // cosine, -1 to 1
	Text  string  `json:"text,omitempty"` // empty: there is no such column
	File  string  `json:"file,omitempty"` // of the columns file and line (or row), where they are
	Line  int64   `json:"line,omitempty"` // from 1; 0: not known

	at int64 // row of the output: earlier ones win where scores are equal
}

// searchColumns says where things stand in the records; -1: nowhere.
type searchColumns struct {
	vector, text, file, line int
	row                      bool // line is a row, counted from 0
	dim                      int
	made                     maker // of the column of embeddings
	names                    []string
}

// Run searches. Hits come best first. Rows without an embedding are passed over. The query's
// embedding is made as the column says that its were: by the same output of the model, pooling and
// number of dimensions.
func (s Search) Run(ctx context.Context) ([]Hit, error) {
	if s.Top <= 0 {
		s.Top = 10
	}
	src, err := readers.Open(ctx, readers.Config{Files: readers.Paths(s.In)})
	if err != nil {
		return nil, err
	}
	cfg := pipeline.Config{MemoryLimit: int64(s.MemoryLimit)}
	schema, err := pipeline.Read(src).Check(ctx, cfg)
	if err != nil {
		return nil, err
	}
	cols, err := s.columns(schema)
	if err != nil {
		return nil, err
	}
	query, err := s.embed(ctx, s.maker(cols.made), cols.dim)
	if err != nil {
		return nil, err
	}
	found := &hits{most: s.Top}
	for rec, err := range pipeline.Read(src).Select(cols.names...).Batches(ctx, cfg) {
		if err != nil {
			return nil, err
		}
		found.scan(rec, cols, query)
	}
	return found.best(), nil
}

// maker is what makes the query's embedding.
func (s Search) maker(of maker) maker {
	if s.Model != "" || s.Variant != "" {
		of.variant = s.Variant
	}
	of.model = orElse(s.Model, orElse(of.model, s.DefaultModel))
	return of
}

func (s Search) embed(ctx context.Context, by maker, dim int) (query []float32, err error) {
	m, err := infer.Open(ctx, infer.Config{Path: by.model, Variant: by.variant, Library: s.Library})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	cfg := infer.EmbedConfig{Prompt: s.Prompt, ModelOutput: by.modelOutput, Pooling: by.pooling, Dimensions: by.dimensions}
	if _, ok := m.Inspect().Prompts[queryPrompt]; ok && cfg.Prompt == "" {
		cfg.Prompt = queryPrompt
	}
	vectors, err := m.EmbedTexts(ctx, []string{s.Query}, cfg)
	if err != nil {
		return nil, err
	}
	if len(vectors[0]) != dim {
		return nil, fmt.Errorf("job: search: the embeddings of %s have %d numbers and those of %s have %d: give the model that made them (--model)",
			s.In, dim, by.model, len(vectors[0]))
	}
	return vectors[0], nil
}

// queryPrompt is how the folders of sentence-transformers name the prompt of queries.
const queryPrompt = "query"

// columns finds what is to be read, and where it will stand in a record of just that.
func (s Search) columns(schema *arrow.Schema) (searchColumns, error) {
	c := searchColumns{vector: -1, text: -1, file: -1, line: -1}
	take := func(i int) int {
		c.names = append(c.names, schema.Field(i).Name)
		return len(c.names) - 1
	}
	at, err := s.vectorColumn(schema)
	if err != nil {
		return c, err
	}
	c.vector, c.dim = take(at), int(schema.Field(at).Type.(*arrow.FixedSizeListType).Len())
	if c.made, err = makerOf(schema.Field(at)); err != nil {
		return c, err
	}
	if at, err = s.textColumn(schema); err != nil {
		return c, err
	} else if at >= 0 {
		c.text = take(at)
	}
	find := func(name string, t arrow.Type) int {
		if is := schema.FieldIndices(name); len(is) == 1 && schema.Field(is[0]).Type.ID() == t && !slices.Contains(c.names, name) {
			return take(is[0])
		}
		return -1
	}
	if c.file = find("file", arrow.STRING); c.file >= 0 {
		if c.line = find("line", arrow.INT64); c.line < 0 {
			c.line = find("row", arrow.INT64)
			c.row = true
		}
	}
	return c, nil
}

func isVector(t arrow.DataType) bool {
	l, ok := t.(*arrow.FixedSizeListType)
	return ok && l.Elem().ID() == arrow.FLOAT32
}

func (s Search) vectorColumn(schema *arrow.Schema) (int, error) {
	if s.Column != "" {
		at, err := stage.Column(schema, s.Column)
		if err == nil && !isVector(schema.Field(at).Type) {
			err = &stage.ColumnError{Column: s.Column, Problem: fmt.Sprintf("is %s, not fixed_size_list<float32>", schema.Field(at).Type)}
		}
		return at, err
	}
	at := slices.IndexFunc(schema.Fields(), func(f arrow.Field) bool { return isVector(f.Type) })
	if at < 0 {
		return -1, fmt.Errorf("job: search: %s has no column of embeddings (fixed_size_list<float32>): make one with `penstock embed`", s.In)
	}
	return at, nil
}

func (s Search) textColumn(schema *arrow.Schema) (int, error) {
	isText := func(f arrow.Field) bool { return f.Type.ID() == arrow.STRING }
	if s.Text != "" {
		at, err := stage.Column(schema, s.Text)
		if err == nil && !isText(schema.Field(at)) {
			err = &stage.ColumnError{Column: s.Text, Problem: fmt.Sprintf("is %s, not string", schema.Field(at).Type)}
		}
		return at, err
	}
	if at := slices.IndexFunc(schema.Fields(), func(f arrow.Field) bool { return f.Name == "text" && isText(f) }); at >= 0 {
		return at, nil
	}
	return slices.IndexFunc(schema.Fields(), func(f arrow.Field) bool { return isText(f) && f.Name != "file" }), nil
}

// hits is a heap of the best hits so far, the worst of them on top.
type hits struct {
	most int
	list []Hit
	rows int64
}

func (h *hits) Len() int           { return len(h.list) }
func (h *hits) Swap(i, j int)      { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *hits) Less(i, j int) bool { return worse(h.list[i], h.list[j]) }
func (h *hits) Push(x any)         { h.list = append(h.list, x.(Hit)) }
func (h *hits) Pop() any {
	last := h.list[len(h.list)-1]
	h.list = h.list[:len(h.list)-1]
	return last
}

func worse(a, b Hit) bool {
	return cmp.Or(cmp.Compare(a.Score, b.Score), cmp.Compare(b.at, a.at)) < 0
}

func (h *hits) best() []Hit {
	slices.SortFunc(h.list, func(a, b Hit) int { return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.at, b.at)) })
	return h.list
}

// scan takes the rows of a record in. What is kept of them is copied.
func (h *hits) scan(rec arrow.Record, c searchColumns, query []float32) {
	vectors := rec.Column(c.vector).(*array.FixedSizeList)
	values := vectors.ListValues().(*array.Float32).Float32Values()
	for i := range int(rec.NumRows()) {
		at := h.rows
		h.rows++
		if vectors.IsNull(i) {
			continue
		}
		from, to := vectors.ValueOffsets(i)
		hit := Hit{Score: cosine(values[from:to], query), at: at}
		if math.IsNaN(float64(hit.Score)) {
			continue
		}
		if len(h.list) < h.most {
			heap.Push(h, c.fill(hit, rec, i))
		} else if worse(h.list[0], hit) {
			h.list[0] = c.fill(hit, rec, i)
			heap.Fix(h, 0)
		}
	}
}

func (c searchColumns) fill(hit Hit, rec arrow.Record, i int) Hit {
	text := func(col int) string {
		if col < 0 || rec.Column(col).IsNull(i) {
			return ""
		}
		return string([]byte(rec.Column(col).(*array.String).Value(i)))
	}
	hit.Text, hit.File = text(c.text), text(c.file)
	if c.line >= 0 && rec.Column(c.line).IsValid(i) {
		hit.Line = rec.Column(c.line).(*array.Int64).Value(i)
		if c.row {
			hit.Line++
		}
	}
	return hit
}

// cosine is NaN where one of the vectors is all zeros.
func cosine(a, b []float32) float32 {
	var dot, aa, bb float64
	for i, x := range a {
		y := b[i]
		dot += float64(x * y)
		aa += float64(x * x)
		bb += float64(y * y)
	}
	return float32(dot / math.Sqrt(aa*bb))
}
