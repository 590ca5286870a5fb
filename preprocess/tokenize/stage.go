package tokenize

import (
	"context"
	"encoding/json"
	"fmt"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
)

// StageConfig says how a column of text becomes one of ids. Column is needed.
type StageConfig struct {
	Column string // string, large_string, string_view, or a dictionary of these
	Output string // list<int32>; empty: "tokens"
	Prefix string // put before every text
	// Digests are those of the tokeniser's file, for the stage's identity; nil: none.
	Digests func() []string
}

// NewStage makes a stage that adds the ids of a column of text, as [Tokenizer.AppendIDs]
// gives them. A null text gives a null list. Rows that were cut to the limit are counted
// as [stage.Truncated].
func NewStage(t *Tokenizer, c StageConfig) stage.Stage {
	if c.Output == "" {
		c.Output = "tokens"
	}
	return &textStage{tokenizer: t, config: c}
}

type textStage struct {
	tokenizer *Tokenizer
	config    StageConfig
}

func (s *textStage) ID() stage.StageID {
	settings, err := json.Marshal(map[string]any{"column": s.config.Column, "output": s.config.Output,
		"prefix": s.config.Prefix, "max_tokens": s.tokenizer.MaxTokens()})
	if err != nil {
		settings = nil // strings and a number: they always are JSON
	}
	id := stage.StageID{Name: "tokenize", Version: "1", Settings: settings}
	if s.config.Digests != nil {
		id.Digests = s.config.Digests()
	}
	return id
}

func (s *textStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if len(in) != 1 {
		return nil, fmt.Errorf("tokenize: takes one input, not %d", len(in))
	}
	at, err := stage.Column(in[0], s.config.Column)
	if err != nil {
		return nil, err
	}
	if t := in[0].Field(at).Type; !isText(t) {
		return nil, &stage.ColumnError{Column: s.config.Column, Problem: fmt.Sprintf("is %s, not text (string)", t)}
	}
	need := stage.Need{
		Reads: []string{s.config.Column}, Adds: []arrow.Field{s.field()},
		Rows: stage.OneToOne, RowWise: true, Retryable: true, Deterministic: true,
	}
	return &stage.Bound{Schema: need.OutputSchema(in[0]), Need: need, Open: s.open}, nil
}

func (s *textStage) field() arrow.Field {
	return arrow.Field{Name: s.config.Output, Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true}
}

func isText(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
		return true
	case arrow.DICTIONARY:
		return isText(t.(*arrow.DictionaryType).ValueType)
	}
	return false
}

func (s *textStage) open(_ context.Context, env stage.Env) (stage.Worker, error) {
	w := &textWorker{stage: s, env: env}
	if limit := s.tokenizer.MaxTokens(); limit > 0 {
		var err error
		if w.longer, err = s.tokenizer.With(Config{MaxTokens: limit + 1}); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// textWorker gathers a batch's ids before it makes the column of them, since their number
// is not known before.
type textWorker struct {
	stage   *textStage
	env     stage.Env
	longer  *Tokenizer // with room for one token more; nil: there is no limit
	ids     []int32
	offsets []int32
	more    []int32
	text    []byte
}

// keptIDs bounds what a worker keeps between batches: 4 MiB.
const keptIDs = 1 << 20

// Process emits one record for the whole batch.
func (w *textWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	rec := in.Record()
	n := int(rec.NumRows())
	if n == 0 {
		return nil
	}
	nulls, truncated, err := w.tokenize(ctx, rec.Column(0))
	if err != nil {
		return err
	}
	if err := w.env.Room(ctx, int64(4*(len(w.ids)+n+1)+n/8)); err != nil {
		return err
	}
	col := w.column(rec.Column(0), n, nulls)
	defer col.Release()
	if cap(w.ids) > keptIDs {
		w.ids = nil
	}
	w.env.Add(stage.Truncated, truncated)
	out := array.NewRecord(arrow.NewSchema([]arrow.Field{w.stage.field()}, nil), []arrow.Array{col}, int64(n))
	return emit(stage.Output{Record: out, Through: int32(n)})
}

// tokenize fills ids and offsets.
func (w *textWorker) tokenize(ctx context.Context, col arrow.Array) (nulls int, truncated int64, err error) {
	text, null := texts(col), nullRows(col)
	w.ids, w.offsets = w.ids[:0], append(w.offsets[:0], 0)
	for i := range col.Len() {
		if i%256 == 0 && ctx.Err() != nil {
			return 0, 0, ctx.Err()
		}
		if null(i) {
			nulls++
		} else if w.row(text(i)) {
			truncated++
		}
		w.offsets = append(w.offsets, int32(len(w.ids)))
	}
	return nulls, truncated, nil
}

// row appends the ids of one text, and says whether it was cut. A text that fills the
// limit is tokenised again with room for one token more: that seldom happens, and the
// tokeniser stops at the limit.
func (w *textWorker) row(text string) (cut bool) {
	if w.stage.config.Prefix != "" {
		w.text = append(append(w.text[:0], w.stage.config.Prefix...), text...)
		text = unsafe.String(unsafe.SliceData(w.text), len(w.text))
	}
	start, limit := len(w.ids), w.stage.tokenizer.MaxTokens()
	w.ids = w.stage.tokenizer.AppendIDs(w.ids, text)
	if w.longer == nil || len(w.ids)-start < limit {
		return false
	}
	w.more = w.longer.AppendIDs(w.more[:0], text)
	return len(w.more) > limit
}

// texts gives the text of a row that is not null.
func texts(col arrow.Array) func(int) string {
	switch col := col.(type) {
	case *array.Dictionary:
		values := texts(col.Dictionary())
		return func(i int) string { return values(col.GetValueIndex(i)) }
	case array.StringLike:
		return col.Value
	}
	panic(fmt.Sprintf("tokenize: column of %s was bound", col.DataType()))
}

// nullRows says which rows are null: in a dictionary, those whose value is null too.
func nullRows(col arrow.Array) func(int) bool {
	dict, ok := col.(*array.Dictionary)
	if !ok || dict.Dictionary().NullN() == 0 {
		return col.IsNull
	}
	null := nullRows(dict.Dictionary())
	return func(i int) bool { return dict.IsNull(i) || null(dict.GetValueIndex(i)) }
}

// column makes a list<int32> of ids and offsets.
func (w *textWorker) column(text arrow.Array, n, nulls int) arrow.Array {
	mem := w.env.Allocator(0)
	ids := copied(mem, arrow.Int32Traits.CastToBytes(w.ids))
	defer ids.Release()
	offsets := copied(mem, arrow.Int32Traits.CastToBytes(w.offsets))
	defer offsets.Release()
	var valid *memory.Buffer
	if nulls > 0 {
		valid = memory.NewResizableBuffer(mem)
		defer valid.Release()
		valid.Resize(int(bitutil.BytesForBits(int64(n))))
		clear(valid.Bytes())
		null := nullRows(text)
		for i := range n {
			bitutil.SetBitTo(valid.Bytes(), i, !null(i))
		}
	}
	values := array.NewData(arrow.PrimitiveTypes.Int32, len(w.ids), []*memory.Buffer{nil, ids}, nil, 0, 0)
	defer values.Release()
	data := array.NewData(w.stage.field().Type, n, []*memory.Buffer{valid, offsets}, []arrow.ArrayData{values}, nulls, 0)
	defer data.Release()
	return array.NewListData(data)
}

func copied(mem memory.Allocator, b []byte) *memory.Buffer {
	out := memory.NewResizableBuffer(mem)
	out.Resize(len(b))
	copy(out.Bytes(), b)
	return out
}

func (w *textWorker) Finish(context.Context, func(stage.Output) error) error { return nil }

func (w *textWorker) Close() error { return nil }
