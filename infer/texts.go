package infer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// EmbedTexts gives the embeddings of texts, in their order, each of [Info.Dim] numbers or of
// c.Dimensions: what [Model.Embed] gives for rows, for a query or a server's request. Of c
// counts what says which vectors they are: Prompt, ModelOutput, Pooling, Normalize and
// Dimensions. The model's weights stay loaded until [Model.Close]. It may be called from many
// goroutines.
func (m *Model) EmbedTexts(ctx context.Context, texts []string, c EmbedConfig) ([][]float32, error) {
	if len(c.Outputs) > 0 || c.Chunk != (Chunk{}) {
		return nil, errors.New("infer: texts have one embedding each here: leave Outputs and Chunk empty")
	}
	tok, err := m.embedder()
	if err != nil {
		return nil, err
	}
	prefix, err := m.prompt(c.Prompt)
	if err != nil {
		return nil, err
	}
	outputs, err := c.outputs()
	if err != nil {
		return nil, err
	}
	spec, head, err := m.embedOutputs(&c, outputs)
	if err != nil {
		return nil, err
	}
	if err := m.refuse(texts); err != nil {
		return nil, err
	}
	if err := m.beginCall(); err != nil {
		return nil, err
	}
	defer m.calls.under.Done()
	lent, err := m.borrow(ctx, spec, m.padding(tok))
	if err != nil {
		return nil, err
	}
	rows := make([]row, len(texts))
	for i, text := range texts {
		rows[i] = row{ids: tok.AppendIDs(nil, prefix+text), at: int32(i)}
	}
	out := newVectorList(len(texts), head[0])
	_, err = lent.embed(ctx, rows, out)
	m.giveBack(lent)
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
	m.calls.under.Add(1)
	return nil
}

// textCalls is what [Model.EmbedTexts] keeps from one call to the next. The model's mu guards it.
type textCalls struct {
	under sync.WaitGroup           // calls; added to before the model is closed
	idle  map[textVector][]*caller // by the vectors that they give
	own   map[string]*user         // that hold the sessions, by their ports
}

// borrow gives a caller that is idle, or a new one.
func (m *Model) borrow(ctx context.Context, spec *textSpec, pad padding) (*caller, error) {
	m.mu.Lock()
	if idle := m.calls.idle[spec.textVector]; len(idle) > 0 {
		c := idle[len(idle)-1]
		m.calls.idle[spec.textVector] = idle[:len(idle)-1]
		m.mu.Unlock()
		return c, nil
	}
	m.mu.Unlock()
	u := &user{book: unbooked}
	s, err := m.acquire(ctx, u, spec.ports())
	if err != nil {
		return nil, errors.Join(err, m.release(u))
	}
	if !m.keep(u, spec.ports().key()) {
		if err := m.release(u); err != nil {
			return nil, err
		}
	}
	r, err := newCPURunner(s, spec, m.activations(spec), unbooked)
	if err != nil {
		return nil, err
	}
	return newCaller(r, spec, m.cfg, pad), nil
}

// keep says whether u is the one that holds the session from now on.
func (m *Model) keep(u *user, ports string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls.own[ports] != nil {
		return false
	}
	if m.calls.own == nil {
		m.calls.own = map[string]*user{}
	}
	m.calls.own[ports] = u
	return true
}

func (m *Model) giveBack(c *caller) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calls.idle == nil {
		m.calls.idle = map[textVector][]*caller{}
	}
	m.calls.idle[c.spec.textVector] = append(m.calls.idle[c.spec.textVector], c)
}

// unbooked is the booking of whoever works outside a pipeline.
func unbooked(stage.Purpose, int64) {}

// vectorList is vectors in Go memory.
type vectorList struct {
	vectorRoom
	list [][]float32
}

func newVectorList(n int, c vectorColumn) *vectorList {
	v := &vectorList{newVectorRoom(c, make([]float32, n*c.dim)), make([][]float32, n)}
	for i := range v.list {
		v.list[i] = v.of(int32(i))
	}
	return v
}
