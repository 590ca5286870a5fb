package tokenize

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/stage"
)

// Chunk cuts a text into pieces of so many tokens: its row becomes one row for each. The
// windows are those of the library `tokenizers` when it truncates with a stride: each
// begins Tokens − Overlap (special ones aside) behind the one before, and the last one is
// the first that reaches the end. A text without tokens, and a null, is one piece.
//
// The column of text has each piece's text, as string, and the columns [ChunkIndex],
// [ChunkStart] and [ChunkEnd] (int32) say which one it is, from 0, and where it begins and
// ends in the whole text, in characters (code points).
type Chunk struct {
	Tokens  int // of a piece, special ones and the prefix included; 0: texts stay whole
	Overlap int // tokens that a piece shares with the one before
	// Together is for pieces that [stage.Collect] brings together again: the first has
	// the whole text, the others null, and there are no further columns.
	Together bool
}

// The columns that say of a piece which one it is.
const (
	ChunkIndex = "chunk"
	ChunkStart = "chunk_start"
	ChunkEnd   = "chunk_end"
)

func (s *textStage) chunkFields() []arrow.Field {
	c := s.config.Chunk
	if c.Tokens == 0 {
		return nil
	}
	fields := []arrow.Field{{Name: s.config.Column, Type: arrow.BinaryTypes.String, Nullable: true}}
	if c.Together {
		return fields
	}
	for _, name := range []string{ChunkIndex, ChunkStart, ChunkEnd} {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int32, Nullable: name != ChunkIndex})
	}
	return fields
}

func (s *textStage) checkChunk(in *arrow.Schema) error {
	c, t := s.config.Chunk, s.tokenizer
	if s.config.Pair.on() {
		return fmt.Errorf("tokenize: pairs of texts cannot be cut into chunks")
	}
	if !t.single.simple {
		return fmt.Errorf("tokenize: this tokenizer's template has a text more than once: it cannot be cut into chunks")
	}
	if limit := t.MaxTokens(); limit > 0 && c.Tokens > limit {
		return fmt.Errorf("tokenize: chunks of %d tokens are over the limit of %d", c.Tokens, limit)
	}
	bare, err := t.With(Config{MaxTokens: Unlimited, NoSpecialTokens: true})
	if err != nil {
		return err
	}
	around := len(t.single.pre) + len(t.single.post) + len(bare.AppendIDs(nil, s.config.Prefix))
	if room := c.Tokens - around; c.Overlap < 0 || room <= c.Overlap {
		return fmt.Errorf("tokenize: chunks of %d tokens, %d of them special or of the prefix, have no room for an overlap of %d and more", c.Tokens, around, c.Overlap)
	}
	for _, f := range s.chunkFields()[1:] {
		if in.HasField(f.Name) {
			return &stage.ColumnError{Column: f.Name, Problem: "the input has it already, and the chunks' place would take its place: rename or drop that column first"}
		}
	}
	return nil
}

// chunkColumns are the columns of pieces under way.
type chunkColumns struct {
	texts             []string // borrowed
	keep              []bool   // false: null
	index, start, end []int32
	size              int
}

func (c *chunkColumns) reset() {
	clear(c.texts)
	c.texts, c.keep = c.texts[:0], c.keep[:0]
	c.index, c.start, c.end, c.size = c.index[:0], c.start[:0], c.end[:0], 0
}

func (c *chunkColumns) bytes() int { return c.size + 16*len(c.keep) }

func (c *chunkColumns) add(text string, keep bool, index, start, end int32) {
	c.texts, c.keep = append(c.texts, text), append(c.keep, keep)
	c.index, c.start, c.end = append(c.index, index), append(c.start, start), append(c.end, end)
	c.size += len(text)
}

func (c *chunkColumns) null() { c.add("", false, 0, 0, 0) }

// chunk appends the pieces of a text.
func (w *textWorker) chunk(row int, text string) {
	c, plan := w.stage.config.Chunk, w.stage.tokenizer.single
	e := w.whole.Encode(w.prefixed(text))
	w.count(text)
	before := int32(len(w.stage.config.Prefix))
	prefix := 0 // tokens of it
	for prefix < len(e.IDs) && before > 0 && e.Offsets[prefix][1] <= before {
		prefix++
	}
	room := max(c.Tokens-len(plan.pre)-len(plan.post)-prefix, c.Overlap+1)
	for index, from := int32(0), prefix; ; index, from = index+1, from+room-c.Overlap {
		to := min(from+room, len(e.IDs))
		w.window(&e, prefix, from, to, before)
		start, end := int32(0), int32(0)
		if from < to {
			start, end = max(e.Offsets[from][0]-before, 0), e.Offsets[to-1][1]-before
		}
		switch {
		case !c.Together:
			w.chunks.add(text[start:end], true, index, w.char(start), w.char(end))
		case index == 0:
			w.chunks.add(text, true, 0, 0, 0)
		default:
			w.chunks.null()
		}
		w.end(row, true)
		if to == len(e.IDs) {
			return
		}
	}
}

// window appends a piece's tokens: the special ones around those of the prefix and those
// from one place to another.
func (w *textWorker) window(e *Encoding, prefix, from, to int, before int32) {
	types, spans := w.more[0], w.more[1]
	origin := int32(0) // where the piece's text begins
	if from < to {
		origin = max(e.Offsets[from][0]-before, 0)
	}
	one := func(id, kind int32, at int) {
		w.ids.values = append(w.ids.values, id)
		if types != nil {
			types.values = append(types.values, kind)
		}
		switch {
		case spans == nil:
		case at < from:
			spans.values = append(spans.values, -1, -1, -1, -1)
		default:
			lo, hi := max(e.Offsets[at][0]-before, origin), max(e.Offsets[at][1]-before, origin)
			spans.values = append(spans.values, lo-origin, hi-origin, w.char(lo)-w.char(origin), w.char(hi)-w.char(origin))
		}
	}
	for _, p := range w.stage.tokenizer.single.parts {
		if p.seq < 0 {
			one(p.id, p.kind, -1)
			continue
		}
		for i := range prefix {
			one(e.IDs[i], p.kind, -1)
		}
		for i := from; i < to; i++ {
			one(e.IDs[i], p.kind, i)
		}
	}
}

// columns are those of chunkFields; their first one is field number first.
func (c *chunkColumns) columns(env stage.Env, first int, cfg Chunk) []arrow.Array {
	text := array.NewStringBuilder(env.Allocator(first))
	defer text.Release()
	text.Reserve(len(c.keep))
	for i, s := range c.texts {
		if c.keep[i] {
			text.Append(ToValidUTF8(s)) // a piece may begin within what was not valid
		} else {
			text.AppendNull()
		}
	}
	cols := []arrow.Array{text.NewArray()}
	if cfg.Together {
		return cols
	}
	for i, values := range [][]int32{c.index, c.start, c.end} {
		valid := c.keep
		if i == 0 {
			valid = nil
		}
		b := array.NewInt32Builder(env.Allocator(first + 1 + i))
		b.AppendValues(values, valid)
		cols = append(cols, b.NewArray())
		b.Release()
	}
	return cols
}
