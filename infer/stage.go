package infer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// tokensColumn carries the ids from the tokeniser to the model. It is gone behind it.
const tokensColumn = "__tokens"

// head makes columns of the vectors that a model gives.
type head interface {
	fields() []arrow.Field
	// prepare is called once by each worker, before its first batch.
	prepare(ctx context.Context, c *caller) error
	// begin starts the columns of a batch of n rows.
	begin(env stage.Env, n int) (columns, error)
}

// columns are being filled. A row that is neither done nor null must not be.
type columns interface {
	vectors
	null(i int32)
	record() arrow.Record // the caller's
	drop()                // instead of record
}

// textTask is a tokeniser and a model with a head behind it.
type textTask struct {
	model     *Model
	spec      *textSpec // how the model is run for this task
	name      string
	column    string
	prefix    string
	batch     int // rows; 0: as many as fit a run, 64 where they are not packed
	actors    int
	settings  any // of the stage's identity
	head      head
	tokenizer *tokenize.Tokenizer
}

func (t *textTask) Expand(p stage.Placement) ([]stage.Stage, error) {
	if p.Device != stage.CPU {
		return nil, fmt.Errorf("infer: %s: this build runs models on the CPU, not on %s", t.name, p.Device)
	}
	tokens := tokenize.NewStage(t.tokenizer, tokenize.StageConfig{Column: t.column, Output: tokensColumn, Prefix: t.prefix,
		Digests: t.model.digests})
	return []stage.Stage{tokens, &textStage{task: t}}, nil
}

// textStage is the part of a textTask that runs the model.
type textStage struct{ task *textTask }

func (s *textStage) ID() stage.StageID {
	t := s.task
	raw, err := json.Marshal(struct {
		Task      any
		Output    string // of the model
		Pooling   string
		MaxTokens int
		Batch     stage.Policy
	}{t.settings, t.spec.output, t.spec.pooling.String(), t.model.maxTokens(), t.policy()})
	if err != nil {
		raw = nil // settings are strings and numbers: they always are JSON
	}
	return stage.StageID{Name: t.name, Version: "1", Settings: raw, Digests: t.model.digests()}
}

func (s *textStage) Bind(in []*arrow.Schema) (*stage.Bound, error) {
	if len(in) != 1 {
		return nil, fmt.Errorf("infer: %s: takes one input, not %d", s.task.name, len(in))
	}
	at, err := stage.Column(in[0], tokensColumn)
	if err != nil {
		return nil, err
	}
	if t := in[0].Field(at).Type; !arrow.TypeEqual(t, arrow.ListOf(arrow.PrimitiveTypes.Int32)) {
		return nil, &stage.ColumnError{Column: tokensColumn, Problem: fmt.Sprintf("is %s, not list<int32>", t)}
	}
	t := s.task
	for _, f := range t.head.fields() {
		if len(in[0].FieldIndices(f.Name)) > 0 {
			return nil, &stage.ColumnError{Column: f.Name, Problem: "the input has it already, and the result would take its place: give the result another name, or rename or drop that column first"}
		}
	}
	need := stage.Need{
		Reads: []string{tokensColumn}, Drops: []string{tokensColumn}, Adds: t.head.fields(),
		Rows: stage.OneToOne, Batch: t.policy(), Cost: tokenCost, Views: true,
		RowWise: true, Retryable: true, Deterministic: true,
		CPU: float64(t.model.cfg.threads()), Workers: stage.Pool{Min: t.actors, Max: t.actors},
	}
	return &stage.Bound{Schema: need.OutputSchema(in[0]), Need: need, Open: s.open}, nil
}

// policy is how rows become batches. Packed, a batch is a run of the model. A model of fixed
// shape runs as many rows, or tokens, whatever they are: its rows come in the order of arrival,
// and the worker sorts a batch's by length.
func (t *textTask) policy() stage.Policy {
	cfg := &t.model.cfg
	if cfg.NoPacking || t.spec.batch > 0 || t.spec.tokens > 0 {
		return stage.Policy{MaxRows: positive(t.batch, 64)}
	}
	return stage.Policy{MaxRows: t.batch, MaxCost: int64(cfg.runTokens()), LookAheadRows: cfg.lookAhead()}
}

// tokenCost is the number of tokens: the difference of two offsets.
func tokenCost(rec arrow.Record, dst []int32) {
	list := rec.Column(0).(*array.List)
	offsets := list.Offsets()[list.Data().Offset():]
	for i := range dst {
		dst[i] = offsets[i+1] - offsets[i]
	}
}

func (s *textStage) open(ctx context.Context, env stage.Env) (stage.Worker, error) {
	t := s.task
	w := &textWorker{task: t, env: env, user: &user{book: env.Book}}
	session, err := t.model.acquire(ctx, w.user, t.spec.ports())
	if err != nil {
		return nil, errors.Join(err, t.model.release(w.user))
	}
	w.caller, err = newCaller(session, t.spec, t.model.cfg, t.tokenizer.PadID(), t.model.activations(t.spec), env.Book)
	if err == nil {
		err = t.head.prepare(ctx, w.caller)
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// textWorker runs the model for one actor.
type textWorker struct {
	task   *textTask
	env    stage.Env
	user   *user
	caller *caller
	rows   []row
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
	nulls := w.gather(in, cols)
	stats, err := w.caller.embed(ctx, w.rows, cols)
	clear(w.rows) // they are the batch's
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

// gather lists the rows that the model has to see.
func (w *textWorker) gather(in stage.Batch, cols columns) (nulls int64) {
	w.rows = w.rows[:0]
	at := int32(0)
	for _, part := range in.Parts {
		list := part.Record.Column(0).(*array.List)
		offsets := list.Offsets()[list.Data().Offset():]
		ids := list.ListValues().(*array.Int32).Int32Values()
		for i := range part.NumRows() {
			r := part.Row(i)
			if list.IsNull(r) {
				cols.null(at)
				nulls++
			} else {
				w.rows = append(w.rows, row{ids: ids[offsets[r]:offsets[r+1]], at: at})
			}
			at++
		}
	}
	return nulls
}

func (w *textWorker) Finish(context.Context, func(stage.Output) error) error { return nil }

func (w *textWorker) Close() error {
	var errs []error
	if w.caller != nil {
		errs = append(errs, w.caller.close())
		w.caller = nil
	}
	return errors.Join(append(errs, w.task.model.release(w.user))...)
}
