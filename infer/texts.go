package infer

import (
	"context"
	"errors"
	"fmt"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// EmbedTexts gives the embeddings of texts, in their order, each of [Info.Dim] numbers:
// what [Model.Embed] gives for rows, for a query or a server's request. The model's
// weights stay loaded until [Model.Close]. It may be called from many goroutines.
func (m *Model) EmbedTexts(ctx context.Context, texts []string) ([][]float32, error) {
	tok, err := m.embedder()
	if err != nil {
		return nil, err
	}
	prefix, err := m.prompt("")
	if err != nil {
		return nil, err
	}
	if err := m.refuse(texts); err != nil {
		return nil, err
	}
	if err := m.beginCall(); err != nil {
		return nil, err
	}
	defer m.calls.Done()
	c, err := m.borrow(ctx, m.padding(tok))
	if err != nil {
		return nil, err
	}
	rows := make([]row, len(texts))
	for i, text := range texts {
		rows[i] = row{ids: tok.AppendIDs(nil, prefix+text), at: int32(i)}
	}
	out := newVectorList(len(texts), m.spec.dim, m.spec.normalize)
	_, err = c.embed(ctx, rows, out)
	m.giveBack(c)
	if err != nil {
		return nil, err
	}
	return out.list, nil
}

// refuse finds the first text that is not to be taken.
func (m *Model) refuse(texts []string) error {
	if m.cfg.InvalidUTF8 != tokenize.RefuseInvalid {
		return nil
	}
	for i, text := range texts {
		if err := tokenize.CheckUTF8(text); err != nil {
			return fmt.Errorf("infer: text %d: %w", i, err)
		}
	}
	return nil
}

func (m *Model) beginCall() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	m.calls.Add(1)
	return nil
}

// borrow gives a caller that is idle, or a new one.
func (m *Model) borrow(ctx context.Context, pad padding) (*caller, error) {
	m.mu.Lock()
	if n := len(m.idle); n > 0 {
		c := m.idle[n-1]
		m.idle = m.idle[:n-1]
		m.mu.Unlock()
		return c, nil
	}
	m.mu.Unlock()
	u := &user{book: unbooked}
	s, err := m.acquire(ctx, u, m.spec.ports())
	if err != nil {
		return nil, errors.Join(err, m.release(u))
	}
	m.mu.Lock()
	first := m.own == nil
	if first {
		m.own = u
	}
	m.mu.Unlock()
	if !first {
		if err := m.release(u); err != nil { // own holds the session
			return nil, err
		}
	}
	r, err := newCPURunner(s, m.spec, m.activations(m.spec), unbooked)
	if err != nil {
		return nil, err
	}
	return newCaller(r, m.spec, m.cfg, pad), nil
}

func (m *Model) giveBack(c *caller) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.idle = append(m.idle, c)
}

// unbooked is the booking of whoever works outside a pipeline.
func unbooked(stage.Purpose, int64) {}

// vectorList is vectors in Go memory.
type vectorList struct {
	list      [][]float32
	normalize bool
}

func newVectorList(n, dim int, normalized bool) *vectorList {
	all := make([]float32, n*dim)
	v := &vectorList{list: make([][]float32, n), normalize: normalized}
	for i := range v.list {
		v.list[i] = all[i*dim : (i+1)*dim : (i+1)*dim]
	}
	return v
}

func (v *vectorList) at(i int32) []float32 { return v.list[i] }

func (v *vectorList) done(i int32) {
	if v.normalize {
		normalize(v.list[i])
	}
}
