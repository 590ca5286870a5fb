package infer

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// EntityConfig says how entities are found in a column of text. Only Column is needed.
type EntityConfig struct {
	Column      string // of text
	Aggregation Aggregation
	Ignore      []string // labels that are no entities; nil: "O"
	Threshold   float64  // entities with scores below it are left out
	Output      string   // empty: "entities"
	BatchSize   int      // rows at most of a batch; 0: as many as fit a run, 64 without packing
	Actors      int      // callers of the model at once; 0: 2 on the CPU, as many as fit on devices
}

// Entities makes a task that adds the entities that a model for token classification finds
// in a text, in their order: list<struct<entity: string, score: float32, start: int32,
// end: int32, text: string>>. start and end count characters (code points), as Python
// does, and text is what stands between them. A null text gives null.
//
// Where the model's vocabulary marks tokens that go on with a word (WordPiece's "##"),
// words are found by that mark; elsewhere by the spaces of the text, which is why words of
// byte-level vocabularies keep the punctuation behind them.
//
// Source of the rules: transformers' TokenClassificationPipeline.
func (m *Model) Entities(c EntityConfig) (stage.Task, error) {
	tok, spec, labels, err := m.classifier("ner", 3)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Column == "":
		return nil, fmt.Errorf("infer: ner: Column is empty: name the column of text")
	case int(c.Aggregation) >= len(aggregationNames):
		return nil, fmt.Errorf("infer: ner: there is no aggregation number %d", c.Aggregation)
	}
	c.Output = orElse(c.Output, "entities")
	if c.Ignore == nil {
		c.Ignore = []string{"O"}
	}
	h := &entityHead{config: c, names: newTagNames(labels, c.Ignore), dim: spec.dim, tokens: tok, unknown: -1}
	if id, ok := tok.TokenToID(m.folder.unknown); ok {
		h.unknown = id
	}
	tokens := textColumn(c.Column, "")
	tokens[0].Spans = spansColumn
	return &textTask{model: m, spec: spec, name: "ner", tokens: tokens, tokenizer: tok, more: []string{c.Column},
		batch: c.BatchSize, actors: c.Actors, head: h,
		settings: map[string]any{"labels": labels, "aggregation": c.Aggregation.String(), "ignore": c.Ignore, "threshold": c.Threshold,
			"output": c.Output, "column": c.Column}}, nil
}

// entityHead takes the vectors of tokens as the logits of their labels.
type entityHead struct {
	config  EntityConfig
	names   *tagNames
	dim     int
	tokens  *tokenize.Tokenizer
	unknown int32 // id of the unknown token; -1: there is none
}

var entityStruct = arrow.StructOf(
	arrow.Field{Name: "entity", Type: arrow.BinaryTypes.String}, arrow.Field{Name: "score", Type: arrow.PrimitiveTypes.Float32},
	arrow.Field{Name: "start", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "end", Type: arrow.PrimitiveTypes.Int32},
	arrow.Field{Name: "text", Type: arrow.BinaryTypes.String})

func (h *entityHead) fields() []arrow.Field {
	return []arrow.Field{{Name: h.config.Output, Nullable: true, Type: arrow.ListOfNonNullable(entityStruct)}}
}

func (h *entityHead) prepare(context.Context, *caller) error { return nil }

func (h *entityHead) begin(env stage.Env, n int) (columns, error) {
	return &entityColumns{head: h, env: env, found: make([][]labelled, n), nulls: make([]bool, n), tokens: tokenLabels{labels: h.dim}}, nil
}

// entityColumns gathers the entities of each row.
type entityColumns struct {
	head   *entityHead
	env    stage.Env
	batch  []batchRow
	found  [][]labelled
	nulls  []bool
	tokens tokenLabels // of the row under way
}

// batchRow is where a row's text and the spans of its tokens lie.
type batchRow struct {
	ids, spans []int32
	text       string
}

// The columns of the batch: those of the tokens, then those of textTask.more.
const (
	idsAt   = 0
	spansAt = 1
	textAt  = 2
)

// read remembers where the rows' spans and texts are. It borrows the batch.
func (c *entityColumns) read(in stage.Batch) {
	for _, part := range in.Parts {
		ids, spans := part.Record.Column(idsAt).(*array.List), part.Record.Column(spansAt).(*array.List)
		text, null := tokenize.Texts(part.Record.Column(textAt))
		for i := range part.NumRows() {
			r := part.Row(i)
			row := batchRow{}
			if !null(r) && ids.IsValid(r) {
				row = batchRow{listOf(ids, r), listOf(spans, r), text(r)}
			}
			c.batch = append(c.batch, row)
		}
	}
}

func (c *entityColumns) at(int32) []float32 { return nil } // vectors come by tokens
func (c *entityColumns) done(int32)         {}
func (c *entityColumns) null(row int32)     { c.nulls[row] = true }

func (c *entityColumns) tokenVectors(i int32, out *output, row, first, n int) {
	t, from := &c.tokens, c.batch[i]
	t.reset()
	for k := range n {
		span := from.spans[4*k:]
		if span[0] < 0 {
			continue // a special token
		}
		at := place{span[0], span[1], span[2], span[3]}
		t.places, t.subword = append(t.places, at), append(t.subword, c.goesOn(from.ids[k], at, from.text))
		t.scores = append(t.scores, out.vector(row, first+k)...)
		softmax(t.of(len(t.places) - 1))
	}
	for _, e := range t.entities(c.head.config.Aggregation, c.head.names, nil) {
		if float64(e.score) >= c.head.config.Threshold {
			c.found[i] = append(c.found[i], e)
		}
	}
}

// goesOn says whether a token is part of the word of the one before.
func (c *entityColumns) goesOn(id int32, at place, text string) bool {
	if id == c.head.unknown {
		return false
	}
	if c.head.tokens.SubwordPrefix() != "" { // then a token that is longer than its text has the mark
		token, _ := c.head.tokens.IDToToken(id)
		return utf8.RuneCountInString(token) != int(at.end-at.start)
	}
	if at.from == 0 {
		return false
	}
	return text[at.from-1] != ' ' && (int(at.from) >= len(text) || text[at.from] != ' ')
}

func (c *entityColumns) record() arrow.Record {
	list := array.NewBuilder(c.env.Allocator(0), c.head.fields()[0].Type).(*array.ListBuilder)
	defer list.Release()
	item := list.ValueBuilder().(*array.StructBuilder)
	entity, score := item.FieldBuilder(0).(*array.StringBuilder), item.FieldBuilder(1).(*array.Float32Builder)
	start, end := item.FieldBuilder(2).(*array.Int32Builder), item.FieldBuilder(3).(*array.Int32Builder)
	text := item.FieldBuilder(4).(*array.StringBuilder)
	for i, found := range c.found {
		if c.nulls[i] {
			list.AppendNull()
			continue
		}
		list.Append(true)
		for _, e := range found {
			item.Append(true)
			entity.Append(c.head.entityName(e.label))
			score.Append(e.score)
			start.Append(e.start)
			end.Append(e.end)
			text.Append(tokenize.ToValidUTF8(c.batch[i].text[e.from:max(e.to, e.from)]))
		}
	}
	col := list.NewArray()
	defer col.Release()
	return array.NewRecord(arrow.NewSchema(c.head.fields(), nil), []arrow.Array{col}, int64(len(c.found)))
}

// entityName is what an entity is called: without the mark, where tokens were joined.
func (h *entityHead) entityName(label int) string {
	if h.config.Aggregation == AggregateNone {
		return h.names.labels[label]
	}
	return groupName(h.names.labels[label])
}

func (c *entityColumns) drop() {}
