package infer

import (
	"context"
	"errors"

	"github.com/penstock-data/penstock/stage"
)

// CutRuns cuts rows of these lengths into runs and gives the lengths in each.
func CutRuns(lengths []int, budget, maxRows int) [][]int {
	rows := rowsOf(lengths)
	sortRows(rows)
	var p planner
	return lengthsOf(rows, p.cut(rows, budget, maxRows))
}

// CutInTurn is CutRuns of rows that stay in their order.
func CutInTurn(lengths []int, budget int) [][]int {
	rows := rowsOf(lengths)
	var p planner
	return lengthsOf(rows, p.inTurn(rows, budget))
}

func rowsOf(lengths []int) []row {
	rows := make([]row, len(lengths))
	for i, n := range lengths {
		rows[i] = row{ids: make([]int32, n), at: int32(i)}
	}
	return rows
}

func lengthsOf(rows []row, ends []int32) (out [][]int) {
	start := int32(0)
	for _, end := range ends {
		var run []int
		for _, r := range rows[start:end] {
			run = append(run, len(r.ids))
		}
		out = append(out, run)
		start = end
	}
	return out
}

// RunCost is what a run costs beside its tokens.
const RunCost = runCost

// CheckLibrary looks at a library without loading it.
func CheckLibrary(path string) (version string, err error) { return checkLibrary(path) }

// MinLibraryMinor is the oldest release 1.n that is taken.
const MinLibraryMinor = minLibraryMinor

// Tokens are the ids of a text or pair, and the types of its tokens.
type Tokens struct{ IDs, Types []int32 }

// RunOutput gives what the output of a name gives for texts: a vector of each, by a
// pooling, or, where logits is the number of its dimensions, its scores.
func (m *Model) RunOutput(ctx context.Context, name string, p Pooling, logits int, texts []Tokens) (vectors [][]float32, err error) {
	spec, err := m.feed.vectors(m.file, m.folder, name, p)
	if logits > 0 {
		spec, err = m.feed.logits(m.file, m.folder, logits)
	}
	if err != nil {
		return nil, err
	}
	u := &user{book: unbooked}
	defer func() { err = errors.Join(err, m.release(u)) }()
	s, err := m.acquire(ctx, u, spec.ports())
	if err != nil {
		return nil, err
	}
	r, err := newCPURunner(s, spec, m.activations(spec), unbooked)
	if err != nil {
		return nil, err
	}
	c := newCaller(r, spec, m.cfg, padding{})
	defer func() { err = errors.Join(err, c.close()) }()
	rows := make([]row, len(texts))
	for i, t := range texts {
		rows[i] = row{ids: t.IDs, types: t.Types, at: int32(i)}
	}
	out := &everyVector{newVectorList(len(texts), vectorColumn{dim: spec.dim, full: spec.dim})}
	_, err = c.embed(ctx, rows, out)
	return out.list, err
}

// Caller makes runs of a text model as a worker does.
type Caller struct {
	caller  *caller
	release func() error
}

// NewCaller gives one that embeds.
func (m *Model) NewCaller(ctx context.Context) (*Caller, error) {
	u := &user{book: unbooked}
	s, err := m.acquire(ctx, u, m.spec.ports())
	if err != nil {
		return nil, errors.Join(err, m.release(u))
	}
	r, err := newCPURunner(s, m.spec, m.activations(m.spec), unbooked)
	if err != nil {
		return nil, errors.Join(err, m.release(u))
	}
	return &Caller{newCaller(r, m.spec, m.cfg, padding{}), func() error { return m.release(u) }}, nil
}

// Close closes the caller.
func (c *Caller) Close() error { return errors.Join(c.caller.close(), c.release()) }

// Batch gives a batch of texts of these lengths, and what runs it. Nothing that is made anew for
// each run of the batch is the test's.
func (c *Caller) Batch(lengths []int) (vectors [][]float32, run func(context.Context) error) {
	rows := rowsOf(lengths)
	for i := range rows {
		for k := range rows[i].ids {
			rows[i].ids[k] = int32((i + k) % 3)
		}
	}
	out := newVectorList(len(lengths), vectorColumn{dim: c.caller.spec.dim, full: c.caller.spec.dim, normalize: c.caller.spec.normalize})
	return out.list, func(ctx context.Context) error {
		_, err := c.caller.embed(ctx, rows, out)
		return err
	}
}

// Shapes is how many shapes tensors are held for.
func (c *Caller) Shapes() int { return len(c.caller.runner.(*cpuRunner).held) }

// MaxShapes is how many there are at most.
const MaxShapes = maxShapes

// RunOf gives what makes runs of so many rows, by a worker of [Model.Infer] on the CPU: of zeros,
// and what comes out is left there.
func RunOf(w stage.Worker, rows int) func(context.Context) error {
	worker := w.(*tensorWorker)
	r := worker.plan.deviceRun(rows)
	r.Fill = func(_ int, to []byte) { clear(to) }
	r.Take = func(int, []byte, []int64) error { return nil }
	return func(ctx context.Context) error { return worker.runners[0].run(ctx, &r) }
}

// HeldBy is for how many numbers of rows such a worker holds tensors.
func HeldBy(w stage.Worker) int { return len(w.(*tensorWorker).runners[0].(*cpuTensors).held) }

// everyVector puts the vectors of a text's tokens one behind the other.
type everyVector struct{ *vectorList }

func (v *everyVector) tokenVectors(i int32, out *output, row, first, n int) {
	v.list[i] = nil
	for t := first; t < first+n; t++ {
		v.list[i] = append(v.list[i], out.vector(row, t)...)
	}
}

// Padding says how rows are padded: on which side, with which token, of which type.
func (m *Model) Padding() (left bool, id, kind int32, err error) {
	tok, err := m.tokenizer()
	if err != nil {
		return false, 0, 0, err
	}
	p := m.padding(tok)
	return m.feed.left, p.id, p.kind, nil
}

// Fill gives an input of rows of these tokens, padded to length.
func Fill(name string, texts []Tokens, length int, left bool, pad, kind int32) []int64 {
	rows := make([]row, len(texts))
	for i, t := range texts {
		rows[i] = row{ids: t.IDs, types: t.Types}
	}
	out := make([]int64, len(texts)*length)
	fillAs(out, roleNames[name], rows, block{len(texts), length, left, padding{pad, kind}}, func(v int32) int64 { return int64(v) })
	return out
}

// Sessions is how many sessions of the model are loaded or loading.
func (m *Model) Sessions() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.loads)
}

// OnDevice says what a device runs for the model's embeddings: the file, its outputs, and the
// pooling that is left to the host.
func (m *Model) OnDevice() (file string, outputs []TensorInfo, left Pooling, remove func() error, err error) {
	task, remove, err := (&textTask{model: m, spec: m.spec}).onDevice(stage.Env{})
	if err != nil {
		return "", nil, 0, nil, err
	}
	is, err := readModelFile(task.file)
	if err != nil {
		return "", nil, 0, nil, err
	}
	return task.file, is.outputs, task.spec.pooling, remove, nil
}
