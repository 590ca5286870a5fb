package stagetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// MemorySink keeps what is written in memory. A commit replaces what an earlier one
// left. Its fields are set before it is used; several goroutines may use it.
type MemorySink struct {
	// Name is that of its ID; empty: "memory".
	Name string
	// NoErrors makes it refuse parts for failed rows.
	NoErrors bool
	// OnWrite is called before each Write. It may fail, wait or panic.
	OnWrite func(ctx context.Context, part stage.PartID, rec arrow.Record) error
	// Faults is asked at the start of each call that can fail.
	Faults *Faults

	mu        sync.Mutex
	job       stage.JobID
	finished  map[stage.PartID]memoryPart // written and closed, not committed
	committed map[stage.PartID]memoryPart
	commits   int
}

type memoryPart struct {
	part stage.Part
	recs []arrow.Record
}

func (m *MemorySink) ID() stage.StageID {
	name := m.Name
	if name == "" {
		name = "memory"
	}
	return stage.StageID{Name: name}
}

// Records is what was committed, in the order of the parts: the rows, or those that
// failed. The records are the sink's own; they need no Release.
func (m *MemorySink) Records(errors bool) []arrow.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []arrow.Record
	for _, id := range slices.SortedFunc(maps.Keys(m.committed), comparePartIDs) {
		if id.Errors == errors {
			out = append(out, m.committed[id].recs...)
		}
	}
	return out
}

// Parts is what was committed, in order, the parts for failed rows last.
func (m *MemorySink) Parts() []stage.Part {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []stage.Part
	for _, id := range slices.SortedFunc(maps.Keys(m.committed), comparePartIDs) {
		out = append(out, m.committed[id].part)
	}
	return out
}

// comparePartIDs puts parts in the order of their groups, those for failed rows last.
func comparePartIDs(a, b stage.PartID) int {
	if a.Errors != b.Errors {
		if a.Errors {
			return 1
		}
		return -1
	}
	return cmp.Compare(a.Group, b.Group)
}

// Commits is how many commits succeeded.
func (m *MemorySink) Commits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits
}

func (m *MemorySink) ready(ctx context.Context, what string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := m.Faults.Call(); err != nil {
		return fmt.Errorf("stagetest: %s: %w", what, err)
	}
	return nil
}

func (m *MemorySink) Check(ctx context.Context, _ *arrow.Schema) error { return m.ready(ctx, "check") }

func (m *MemorySink) Begin(ctx context.Context, _ *arrow.Schema, job stage.JobID) ([]stage.Part, error) {
	if err := m.ready(ctx, "begin"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.job != job || m.finished == nil {
		m.job, m.finished = job, map[stage.PartID]memoryPart{}
	}
	var parts []stage.Part
	for _, p := range m.finished {
		parts = append(parts, p.part)
	}
	return parts, nil
}

func (m *MemorySink) OpenPart(ctx context.Context, env stage.Env, id stage.PartID) (stage.PartWriter, error) {
	if id.Errors && m.NoErrors {
		return nil, fmt.Errorf("stagetest: %s: failed rows: %w", m.ID().Name, errors.ErrUnsupported)
	}
	if err := m.ready(ctx, "open "+id.String()); err != nil {
		return nil, err
	}
	return &memoryWriter{sink: m, env: env, part: memoryPart{part: stage.Part{ID: id}}}, nil
}

func (m *MemorySink) Commit(ctx context.Context, parts []stage.Part) error {
	if err := m.ready(ctx, "commit"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[stage.PartID]memoryPart{}
	for _, p := range parts {
		have, ok := m.finished[p.ID]
		if !ok {
			return fmt.Errorf("stagetest: commit: part %s was never finished", p.ID)
		}
		out[p.ID] = have
	}
	m.committed = out
	m.commits++
	return nil
}

func (m *MemorySink) Abort(ctx context.Context) error {
	if err := m.ready(ctx, "abort"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.finished = map[stage.PartID]memoryPart{}
	return nil
}

// Keep leaves the finished parts for the next Begin of the same job.
func (m *MemorySink) Keep(ctx context.Context) error { return m.ready(ctx, "keep") }

type memoryWriter struct {
	sink *MemorySink
	env  stage.Env
	part memoryPart
}

func (w *memoryWriter) Write(ctx context.Context, rec arrow.Record) error {
	if w.sink.OnWrite != nil {
		if err := w.sink.OnWrite(ctx, w.part.part.ID, rec); err != nil {
			return err
		}
	}
	if err := w.sink.ready(ctx, "write "+w.part.part.ID.String()); err != nil {
		return err
	}
	out, err := copyRecord(heap, rec)
	if err != nil {
		return fmt.Errorf("stagetest: write %s: %w", w.part.part.ID, err)
	}
	w.part.recs = append(w.part.recs, out)
	w.part.part.Rows += out.NumRows()
	w.part.part.Bytes += recordBytes(out)
	w.env.Add(stage.WrittenBytes, recordBytes(out))
	return nil
}

func (w *memoryWriter) Close(ctx context.Context) (stage.Part, error) {
	if err := w.sink.ready(ctx, "close "+w.part.part.ID.String()); err != nil {
		return stage.Part{}, err
	}
	w.sink.mu.Lock()
	defer w.sink.mu.Unlock()
	w.sink.finished[w.part.part.ID] = w.part
	return w.part.part, nil
}

func (w *memoryWriter) Abort(context.Context) error { return nil }
