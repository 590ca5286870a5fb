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

	// Types names a column for the type id of each token, list<int32>; empty: none.
	Types string
	// Spans names a column for where each token stands in the text without its prefix,
	// list<int32>; empty: none. It has four numbers a token: begin and end in bytes, begin
	// and end in characters (code points); all -1 for what is not of the text.
	Spans string

	InvalidUTF8 InvalidUTF8 // the zero value has invalid bytes replaced

	Pair  Pair
	Chunk Chunk
}

// Pair says what a text is read together with. The zero value leaves it alone.
type Pair struct {
	Column string   // of the other text; a row whose other text is null gives null
	Texts  []string // instead of Column, for all rows: one pair with each, one behind the other
	First  bool     // the other text comes first
	Ends   string   // a column for where each pair of a row ends in Output, list<int32>; empty: none
}

func (p Pair) on() bool { return p.Column != "" || len(p.Texts) > 0 }

// NewStage makes a stage that adds the ids of a column of text, as [Tokenizer.AppendIDs]
// and [Tokenizer.EncodePair] give them. A null text gives a null list. Rows that were cut
// to the limit are counted as [stage.Truncated]; a pair that cannot be cut fails, and so does,
// where that is asked for, a text that is not UTF-8.
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
	c := s.config
	all := map[string]any{"column": c.Column, "output": c.Output, "prefix": c.Prefix, "max_tokens": s.tokenizer.MaxTokens()}
	for name, v := range map[string]string{"types": c.Types, "spans": c.Spans} {
		if v != "" {
			all[name] = v
		}
	}
	if c.Pair.on() {
		all["pair"], all["cut"] = c.Pair, s.tokenizer.limit.strategy
	}
	if c.Chunk.Tokens > 0 {
		all["chunk"] = c.Chunk
	}
	if c.InvalidUTF8 != ReplaceInvalid {
		all["invalid_utf8"] = c.InvalidUTF8.String()
	}
	settings, err := json.Marshal(all)
	if err != nil {
		settings = nil // strings and numbers: they always are JSON
	}
	id := stage.StageID{Name: "tokenize", Version: "1", Settings: settings}
	if c.Digests != nil {
		id.Digests = c.Digests()
	}
	return id
}

func (s *textStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if len(in) != 1 {
		return nil, fmt.Errorf("tokenize: takes one input, not %d", len(in))
	}
	reads := []string{s.config.Column}
	if other := s.config.Pair.Column; other != "" && other != s.config.Column {
		reads = append(reads, other)
	}
	for _, name := range reads {
		if err := checkText(in[0], name); err != nil {
			return nil, err
		}
	}
	need := stage.Need{Reads: reads, Adds: s.fields(), Rows: stage.OneToOne, RowWise: true, Retryable: true, Deterministic: true}
	if s.config.Chunk.Tokens > 0 {
		if err := s.checkChunk(in[0]); err != nil {
			return nil, err
		}
		need.Rows = stage.Many
	}
	return &stage.Bound{Schema: need.OutputSchema(in[0]), Need: need, Open: s.open}, nil
}

func checkText(in *arrow.Schema, name string) error {
	at, err := stage.Column(in, name)
	if err != nil {
		return err
	}
	if t := in.Field(at).Type; !IsText(t) {
		return &stage.ColumnError{Column: name, Problem: fmt.Sprintf("is %s, not text (string)", t)}
	}
	return nil
}

var tokenList = arrow.ListOf(arrow.PrimitiveTypes.Int32)

// fields are the lists of the columns that were asked for, in this order, and of chunks
// their text and place.
func (s *textStage) fields() []arrow.Field {
	var out []arrow.Field
	for _, name := range []string{s.config.Output, s.config.Types, s.config.Spans, s.config.Pair.Ends} {
		if name != "" {
			out = append(out, arrow.Field{Name: name, Type: tokenList, Nullable: true})
		}
	}
	return append(out, s.chunkFields()...)
}

// IsText says whether a column of the type can be tokenised.
func IsText(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.STRING, arrow.LARGE_STRING, arrow.STRING_VIEW:
		return true
	case arrow.DICTIONARY:
		return IsText(t.(*arrow.DictionaryType).ValueType)
	}
	return false
}

func (s *textStage) open(_ context.Context, env stage.Env) (stage.Worker, error) {
	w := &textWorker{stage: s, env: env}
	for _, name := range []string{s.config.Types, s.config.Spans, s.config.Pair.Ends} {
		if name != "" {
			w.more = append(w.more, &lists{})
			continue
		}
		w.more = append(w.more, nil)
	}
	limit := s.tokenizer.MaxTokens()
	var err error
	switch {
	case s.config.Chunk.Tokens > 0:
		w.whole, err = s.tokenizer.With(Config{MaxTokens: Unlimited, NoSpecialTokens: true})
	case limit > 0:
		w.longer, err = s.tokenizer.With(Config{MaxTokens: limit + 1})
	}
	if err != nil {
		return nil, err
	}
	return w, nil
}

// textWorker gathers a batch's ids before it makes the columns of them, since their number
// is not known before.
type textWorker struct {
	stage  *textStage
	env    stage.Env
	longer *Tokenizer // with room for one token more; nil: there is no limit
	whole  *Tokenizer // without limit and special tokens, for chunks
	ids    lists
	more   []*lists // types, spans and ends; nil: not asked for
	valid  []bool
	parent []int32
	failed []stage.RowFailure
	chunks chunkColumns

	probe, chars []int32
	text         []byte
}

// lists is a column of lists under way.
type lists struct{ values, offsets []int32 }

func (l *lists) reset() { l.values, l.offsets = l.values[:0], append(l.offsets[:0], 0) }

func (l *lists) end() { l.offsets = append(l.offsets, int32(len(l.values))) }

// keptIDs bounds what a worker keeps of a column between batches: 4 MiB.
const keptIDs = 1 << 20

func (w *textWorker) all() []*lists {
	out := []*lists{&w.ids}
	for _, l := range w.more {
		if l != nil {
			out = append(out, l)
		}
	}
	return out
}

// Process emits one record for the whole batch.
func (w *textWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	rec := in.Record()
	n := int(rec.NumRows())
	if n == 0 {
		return nil
	}
	all := w.all()
	for _, l := range all {
		l.reset()
	}
	w.valid, w.parent, w.failed = w.valid[:0], w.parent[:0], w.failed[:0]
	w.chunks.reset()
	truncated, err := w.tokenize(ctx, rec)
	if err != nil {
		return err
	}
	rows := len(w.valid)
	bytes := rows/8 + w.chunks.bytes()
	for _, l := range all {
		bytes += 4 * (len(l.values) + rows + 1)
	}
	if err := w.env.Room(ctx, int64(bytes)); err != nil {
		return err
	}
	out := stage.Output{Record: w.record(all), Through: int32(n), Failed: w.failed}
	if len(w.failed) > 0 || w.whole != nil {
		out.Parent = w.parent
	}
	w.env.Add(stage.Truncated, truncated)
	for _, l := range all {
		if cap(l.values) > keptIDs {
			l.values = nil
		}
	}
	return emit(out)
}

// tokenize fills the lists, and says how many rows were cut.
func (w *textWorker) tokenize(ctx context.Context, rec arrow.Record) (truncated int64, err error) {
	c := w.stage.config
	text, null := Texts(rec.Column(0))
	other, noOther := text, func(int) bool { return false }
	if c.Pair.Column != "" {
		other, noOther = Texts(rec.Column(int(rec.NumCols()) - 1))
	}
	for i := range int(rec.NumRows()) {
		if i%256 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if null(i) || noOther(i) {
			w.null(i)
			continue
		}
		if column, err := w.refuse(i, text, other); err != nil {
			w.fail(i, column, err)
			continue
		}
		cut := false
		switch {
		case w.whole != nil:
			w.chunk(i, text(i))
			continue
		case c.Pair.Column != "":
			cut, err = w.pairs(text(i), []string{other(i)})
		case c.Pair.on():
			cut, err = w.pairs(text(i), c.Pair.Texts)
		case c.Types != "" || c.Spans != "":
			cut = w.encode(text(i))
		default:
			cut = w.row(text(i))
		}
		if err != nil {
			w.fail(i, c.Column, err)
			err = nil
			continue
		}
		w.end(i, true)
		if cut {
			truncated++
		}
	}
	return truncated, nil
}

func (w *textWorker) null(row int) {
	if w.whole != nil {
		w.chunks.null()
	}
	w.end(row, false)
}

func (w *textWorker) end(row int, valid bool) {
	w.ids.end()
	for _, l := range w.more {
		if l != nil {
			l.end()
		}
	}
	w.valid, w.parent = append(w.valid, valid), append(w.parent, int32(row))
}

// refuse says why the texts of a row are not taken, and in which column.
func (w *textWorker) refuse(row int, text, other func(int) string) (column string, err error) {
	c := &w.stage.config
	if c.InvalidUTF8 != RefuseInvalid {
		return "", nil
	}
	if err := CheckUTF8(text(row)); err != nil || c.Pair.Column == "" {
		return c.Column, err
	}
	return c.Pair.Column, CheckUTF8(other(row))
}

// fail drops what there is of the row under way.
func (w *textWorker) fail(row int, column string, err error) {
	w.failed = append(w.failed, stage.RowFailure{Row: int32(row), Column: column, Kind: stage.BadData, Err: err})
	for _, l := range w.all() {
		l.values = l.values[:l.offsets[len(l.offsets)-1]]
	}
}

// prefixed is the text behind the prefix. It is valid until the next call.
func (w *textWorker) prefixed(text string) string {
	if w.stage.config.Prefix == "" {
		return text
	}
	w.text = append(append(w.text[:0], w.stage.config.Prefix...), text...)
	return unsafe.String(unsafe.SliceData(w.text), len(w.text))
}

// row appends the ids of one text, and says whether it was cut. A text that fills the
// limit is tokenised again with room for one token more: that seldom happens, and the
// tokeniser stops at the limit.
func (w *textWorker) row(text string) (cut bool) {
	text = w.prefixed(text)
	start := len(w.ids.values)
	w.ids.values = w.stage.tokenizer.AppendIDs(w.ids.values, text)
	return w.wasCut(len(w.ids.values)-start, text)
}

// wasCut says whether a text that gave n tokens would have given more.
func (w *textWorker) wasCut(n int, text string) bool {
	if w.longer == nil || n < w.stage.tokenizer.MaxTokens() {
		return false
	}
	w.probe = w.longer.AppendIDs(w.probe[:0], text)
	return len(w.probe) > w.stage.tokenizer.MaxTokens()
}

// Texts gives the text of each row of a column that [NewStage] takes, and says which rows
// are null: in a dictionary, also those whose value is null.
func Texts(col arrow.Array) (text func(int) string, null func(int) bool) {
	switch col := col.(type) {
	case *array.Dictionary:
		values, nullValue := Texts(col.Dictionary())
		text = func(i int) string { return values(col.GetValueIndex(i)) }
		if col.Dictionary().NullN() == 0 {
			return text, col.IsNull
		}
		return text, func(i int) bool { return col.IsNull(i) || nullValue(col.GetValueIndex(i)) }
	case array.StringLike:
		return col.Value, col.IsNull
	}
	panic(fmt.Sprintf("tokenize: column of %s was bound", col.DataType()))
}

// record makes the columns of the lists, and of chunks.
func (w *textWorker) record(all []*lists) arrow.Record {
	fields := w.stage.fields()
	cols := make([]arrow.Array, 0, len(fields))
	for i, l := range all {
		cols = append(cols, listColumn(w.env.Allocator(i), l, w.valid))
	}
	if w.whole != nil {
		cols = append(cols, w.chunks.columns(w.env, len(all), w.stage.config.Chunk)...)
	}
	out := array.NewRecord(arrow.NewSchema(fields, nil), cols, int64(len(w.valid)))
	for _, c := range cols {
		c.Release()
	}
	return out
}

// listColumn makes a list<int32>.
func listColumn(mem memory.Allocator, l *lists, valid []bool) arrow.Array {
	ids := copied(mem, arrow.Int32Traits.CastToBytes(l.values))
	defer ids.Release()
	offsets := copied(mem, arrow.Int32Traits.CastToBytes(l.offsets))
	defer offsets.Release()
	bits, nulls := validity(mem, valid)
	if bits != nil {
		defer bits.Release()
	}
	values := array.NewData(arrow.PrimitiveTypes.Int32, len(l.values), []*memory.Buffer{nil, ids}, nil, 0, 0)
	defer values.Release()
	data := array.NewData(tokenList, len(valid), []*memory.Buffer{bits, offsets}, []arrow.ArrayData{values}, nulls, 0)
	defer data.Release()
	return array.NewListData(data)
}

// validity is the bitmap of a column, nil where no row is null.
func validity(mem memory.Allocator, valid []bool) (bits *memory.Buffer, nulls int) {
	for _, v := range valid {
		if !v {
			nulls++
		}
	}
	if nulls == 0 {
		return nil, 0
	}
	bits = memory.NewResizableBuffer(mem)
	bits.Resize(int(bitutil.BytesForBits(int64(len(valid)))))
	clear(bits.Bytes())
	for i, v := range valid {
		bitutil.SetBitTo(bits.Bytes(), i, v)
	}
	return bits, nulls
}

func copied(mem memory.Allocator, b []byte) *memory.Buffer {
	out := memory.NewResizableBuffer(mem)
	out.Resize(len(b))
	copy(out.Bytes(), b)
	return out
}

func (w *textWorker) Finish(context.Context, func(stage.Output) error) error { return nil }

func (w *textWorker) Close() error { return nil }
