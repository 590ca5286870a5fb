package infer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// These carry what a tokeniser makes of a row to the model: the ids of its text or texts,
// those of a second text, the types of the tokens, where they stand in the text, and where
// each of several texts ends. They are gone behind the model.
const (
	tokensColumn = "__tokens"
	otherColumn  = "__other_tokens"
	typesColumn  = "__token_types"
	spansColumn  = "__token_spans"
	endsColumn   = "__token_ends"
)

// head makes columns of the vectors that a model gives.
type head interface {
	fields() []arrow.Field
	// prepare is called once by each worker, before its first batch.
	prepare(ctx context.Context, c *caller) error
	// begin starts the columns of a batch of n rows.
	begin(env stage.Env, n int) (columns, error)
}

// columns are being filled. A row that is neither done nor null must not be. Where a row
// has several texts, vectors come text by text: text k of row i is number i*per + k.
type columns interface {
	vectors
	null(row int32)
	record() arrow.Record // the caller's
	drop()                // instead of record
}

// batchReader is implemented by columns that want to see the batch itself.
type batchReader interface{ read(in stage.Batch) }

// textTask is one or two tokenisers and a model with a head behind them.
type textTask struct {
	model     *Model
	spec      *textSpec // how the model is run for this task
	file      string    // that a device runs; see onDevice
	name      string
	tokens    []tokenize.StageConfig
	per       int      // texts of a row; 0: 1
	more      []string // columns that the head reads, too
	batch     int      // rows; 0: as many as fit a run, 64 where they are not packed
	actors    int
	settings  any // of the stage's identity
	head      head
	tokenizer *tokenize.Tokenizer
}

func (t *textTask) Expand(p stage.Placement) ([]stage.Stage, error) {
	if err := t.model.cfg.checkDevice(p, t.spec.batch > 0 && t.spec.tokens > 0); err != nil {
		return nil, err
	}
	var stages []stage.Stage
	for _, c := range t.tokens {
		c.Digests, c.InvalidUTF8 = t.model.digests, t.model.cfg.InvalidUTF8
		stages = append(stages, tokenize.NewStage(t.tokenizer, c))
	}
	return append(stages, &textStage{task: t, device: p.Device}), nil
}

// textColumn is how a column of text is tokenised where nothing else is asked for.
func textColumn(column, prefix string) []tokenize.StageConfig {
	return []tokenize.StageConfig{{Column: column, Output: tokensColumn, Prefix: prefix}}
}

// tokenColumns are those that the tokenisers add for the model.
func (t *textTask) tokenColumns() []string {
	var out []string
	for _, c := range t.tokens {
		for _, name := range []string{c.Output, c.Types, c.Spans, c.Pair.Ends} {
			if name != "" {
				out = append(out, name)
			}
		}
	}
	return out
}

// textStage is the part of a textTask that runs the model.
type textStage struct {
	task   *textTask
	device stage.DeviceKind
}

func (s *textStage) ID() stage.StageID {
	t := s.task
	var vectors []string
	for _, v := range t.spec.all() {
		vectors = append(vectors, v.output+" "+v.pooling.String())
	}
	raw, err := json.Marshal(struct {
		Task      any
		Vectors   []string // of a text: output and pooling
		MaxTokens int
		Batch     stage.Policy
		Device    string `json:",omitempty"`
	}{t.settings, vectors, t.model.maxTokens(), s.policy(), t.model.cfg.runsOn(s.device)})
	if err != nil {
		raw = nil // settings are strings and numbers: they always are JSON
	}
	return stage.StageID{Name: t.name, Version: "1", Settings: raw, Digests: t.model.digests()}
}

func (s *textStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if len(in) != 1 {
		return nil, fmt.Errorf("infer: %s: takes one input, not %d", s.task.name, len(in))
	}
	t := s.task
	hidden := t.tokenColumns()
	for _, name := range hidden {
		at, err := stage.Column(in[0], name)
		if err != nil {
			return nil, err
		}
		if t := in[0].Field(at).Type; !arrow.TypeEqual(t, arrow.ListOf(arrow.PrimitiveTypes.Int32)) {
			return nil, &stage.ColumnError{Column: name, Problem: fmt.Sprintf("is %s, not list<int32>", t)}
		}
	}
	for _, name := range t.more {
		at, err := stage.Column(in[0], name)
		if err != nil {
			return nil, err
		}
		if typ := in[0].Field(at).Type; !tokenize.IsText(typ) {
			return nil, &stage.ColumnError{Column: name, Problem: fmt.Sprintf("is %s, not text (string)", typ)}
		}
	}
	for _, f := range t.head.fields() {
		if len(in[0].FieldIndices(f.Name)) > 0 {
			return nil, &stage.ColumnError{Column: f.Name, Problem: "the input has it already, and the result would take its place: give the result another name, or rename or drop that column first"}
		}
	}
	need := stage.Need{
		Reads: slices.Concat(hidden, t.more), Drops: hidden, Adds: t.head.fields(),
		Rows: stage.OneToOne, Batch: s.policy(), Cost: t.cost, Views: true,
		RowWise: true, Retryable: true, Deterministic: true,
	}
	if s.device == stage.CPU {
		actors := positive(t.actors, 2)
		need.CPU, need.Workers = float64(t.model.cfg.threads()), stage.Pool{Min: actors, Max: actors}
	} else {
		need.GPU, need.InFlight, need.Workers = t.model.cfg.share(), deviceSlots, stage.Pool{Min: t.actors, Max: t.actors}
	}
	return &stage.Bound{Schema: need.OutputSchema(in[0]), Need: need, Open: s.open}, nil
}

// policy is how rows become batches. Packed, a batch is a run of the model. A model of fixed
// shape runs as many rows, or tokens, whatever they are: its rows come in the order of arrival,
// and the worker sorts a batch's by length.
func (s *textStage) policy() stage.Policy {
	t := s.task
	cfg := &t.model.cfg
	if cfg.NoPacking || t.spec.batch > 0 || t.spec.tokens > 0 {
		return stage.Policy{MaxRows: positive(t.batch, 64)}
	}
	return stage.Policy{MaxRows: t.maxRows(s.device), MaxCost: int64(cfg.runTokens(s.device)), LookAheadRows: cfg.lookAhead()}
}

// cost is the number of tokens: the difference of two offsets, of each list of them.
func (t *textTask) cost(rec arrow.Record, dst []int32) {
	clear(dst)
	for c, name := range t.tokenColumns() {
		if name != tokensColumn && name != otherColumn {
			continue
		}
		list := rec.Column(c).(*array.List)
		offsets := list.Offsets()[list.Data().Offset():]
		for i := range dst {
			dst[i] += offsets[i+1] - offsets[i]
		}
	}
}

func (s *textStage) open(ctx context.Context, env stage.Env) (stage.Worker, error) {
	w := &textWorker{task: s.task, env: env}
	runners, err := s.runners(ctx, w)
	if err == nil {
		err = w.start(s, runners)
	}
	if err == nil {
		err = s.task.head.prepare(ctx, w.callers[0])
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// runners are as many as there are calls at once. What they stand on is the worker's to close.
func (s *textStage) runners(ctx context.Context, w *textWorker) ([]runner, error) {
	t := s.task
	if s.device != stage.CPU {
		t, remove, err := t.onDevice(w.env)
		if err != nil {
			return nil, err
		}
		session, err := t.openDevice(ctx, s.device, w.env)
		if err = errors.Join(err, remove()); err != nil {
			if session != nil {
				err = errors.Join(err, session.Close())
			}
			return nil, err
		}
		w.task, w.release = t, session.Close
		return deviceRunners(t, session), nil
	}
	u := &user{book: w.env.Book}
	w.release = func() error { return t.model.release(u) }
	session, err := t.model.acquire(ctx, u, t.spec.ports())
	if err != nil {
		return nil, err
	}
	r, err := newCPURunner(session, t.spec, t.model.activations(t.spec), w.env.Book)
	return []runner{r}, err
}

// textWorker runs the model for one actor.
type textWorker struct {
	task    *textTask
	env     stage.Env
	callers []*caller
	idle    chan *textCall
	release func() error // of the session; nil: there is none
	leave   func()       // the store of results; nil: there is none
}

// textCall is what one call of Process works with.
type textCall struct {
	caller *caller
	cached *cachedRuns // nil: results are not kept
	rows   []row
}

// start makes the calls that runners make possible. The callers are the worker's to close, also
// after an error.
func (w *textWorker) start(s *textStage, runners []runner) error {
	t := w.task
	store, err := w.task.model.cache()
	if err != nil {
		return err
	}
	if store != nil {
		w.leave = store.join(w.env.Book)
	}
	w.idle = make(chan *textCall, len(runners))
	for _, r := range runners {
		c := newCaller(r, t.spec, t.model.cfg, t.model.padding(t.tokenizer))
		c.budget = t.model.cfg.runTokens(s.device)
		w.callers = append(w.callers, c)
	}
	for _, c := range w.callers {
		cached, err := t.model.cached(s.task.spec, s.device, w.env.Logger()) // by the model's own output
		if err != nil {
			return err
		}
		w.idle <- &textCall{caller: c, cached: cached}
	}
	return nil
}

// Process emits one record for the whole batch.
func (w *textWorker) Process(ctx context.Context, in stage.Batch, emit func(stage.Output) error) error {
	n := in.NumRows()
	if n == 0 {
		return nil
	}
	cols, err := w.begin(ctx, n)
	if err != nil {
		return err
	}
	call := <-w.idle // there are as many as there are calls
	nulls := call.gather(w.task, in, cols)
	if r, ok := cols.(batchReader); ok {
		r.read(in)
	}
	stats, err := w.embed(ctx, call, cols)
	clear(call.rows) // they are the batch's
	w.idle <- call
	if err != nil {
		cols.drop()
		return err
	}
	w.env.Add(stage.NullInputs, nulls)
	w.env.Add(stage.Tokens, stats.tokens)
	w.env.Add(stage.PaddedTokens, stats.padded)
	w.env.Add(stage.Truncated, stats.truncated)
	return emit(stage.Output{Record: cols.record(), Through: int32(n)})
}

// embed runs the texts through the model, but those whose results are kept.
func (w *textWorker) embed(ctx context.Context, call *textCall, cols columns) (runStats, error) {
	if call.cached == nil {
		return call.caller.embed(ctx, call.rows, cols)
	}
	stats, hits, err := call.cached.embed(ctx, call.caller, call.rows, cols)
	if err == nil {
		w.env.Add(stage.CacheHits, hits)
	}
	return stats, err
}

func (w *textWorker) begin(ctx context.Context, n int) (columns, error) {
	bytes := 0
	for _, f := range w.task.head.fields() {
		bytes += n * fieldBytes(f.Type)
	}
	if err := w.env.Room(ctx, int64(bytes)); err != nil {
		return nil, err
	}
	return w.task.head.begin(w.env, n)
}

// fieldBytes is about what a value takes.
func fieldBytes(t arrow.DataType) int {
	switch t := t.(type) {
	case *arrow.FixedSizeListType:
		return int(t.Len()) * fieldBytes(t.Elem())
	case arrow.FixedWidthDataType:
		return t.Bytes()
	}
	return 16
}

// gather lists the texts that the model has to see.
func (c *textCall) gather(t *textTask, in stage.Batch, cols columns) (nulls int64) {
	c.rows = c.rows[:0]
	per := int32(max(t.per, 1))
	at := int32(0)
	for _, part := range in.Parts {
		lists := t.lists(part.Record)
		for i := range part.NumRows() {
			r := part.Row(i)
			if lists.null(r) {
				cols.null(at)
				nulls++
			} else {
				c.rows = lists.texts(c.rows, r, at*per)
			}
			at++
		}
	}
	return nulls
}

// tokenLists are the columns of tokens of a record; nil: there is none of that kind.
type tokenLists struct{ ids, others, types, ends *array.List }

func (t *textTask) lists(rec arrow.Record) (l tokenLists) {
	for c, name := range t.tokenColumns() {
		list := rec.Column(c).(*array.List)
		switch name {
		case tokensColumn:
			l.ids = list
		case otherColumn:
			l.others = list
		case typesColumn:
			l.types = list
		case endsColumn:
			l.ends = list
		}
	}
	return l
}

func (l *tokenLists) null(r int) bool {
	return l.ids.IsNull(r) || l.others != nil && l.others.IsNull(r)
}

// texts appends those of a row, which are numbered from at on.
func (l *tokenLists) texts(rows []row, r int, at int32) []row {
	ids := listOf(l.ids, r)
	var types []int32
	if l.types != nil {
		types = listOf(l.types, r)
	}
	ends := []int32{int32(len(ids))}
	if l.ends != nil {
		ends = listOf(l.ends, r)
	}
	from := int32(0)
	for k, to := range ends {
		next := row{ids: ids[from:to], at: at + int32(k)}
		if types != nil {
			next.types = types[from:to]
		}
		rows, from = append(rows, next), to
	}
	if l.others != nil {
		rows = append(rows, row{ids: listOf(l.others, r), at: at + 1})
	}
	return rows
}

// listOf are the numbers of a row of a list<int32>.
func listOf(list *array.List, row int) []int32 {
	from, to := list.ValueOffsets(row)
	return list.ListValues().(*array.Int32).Int32Values()[from:to]
}

func (w *textWorker) Finish(context.Context, func(stage.Output) error) error { return nil }

func (w *textWorker) Close() error {
	var errs []error
	for _, c := range w.callers {
		errs = append(errs, c.close())
	}
	w.callers = nil
	if w.leave != nil {
		w.leave()
		w.leave = nil
	}
	if w.release != nil {
		errs = append(errs, w.release())
		w.release = nil
	}
	return errors.Join(errs...)
}
