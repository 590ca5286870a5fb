package infer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// Config says which model is opened, and how it runs.
type Config struct {
	// Path is a model folder as Hugging Face has them, or an ONNX file in one.
	Path string
	// Library is ONNX Runtime's shared library, or a folder that holds it. Empty: see
	// [FindLibrary].
	Library string
	// Variant chooses among the ONNX files of a folder: "fp16" takes model_fp16.onnx.
	Variant string
	// ThreadsPerActor is how many threads a call of the model uses. 0: 1, so that the
	// cores are shared out by the number of actors.
	ThreadsPerActor int
	// MaxTokens shortens the model's own limit. 0: the model's.
	MaxTokens int
	// InvalidUTF8 is what becomes of texts that are not valid UTF-8: by the zero value they
	// are read as Python's errors="replace" reads them; [tokenize.RefuseInvalid] has their
	// rows fail.
	InvalidUTF8 tokenize.InvalidUTF8
	// RunTokens bounds the padded tokens of one run of the model, and with it the
	// memory and the time that a run takes; a text that is longer runs alone. 0: 1024 on
	// a CPU, which gains nothing beyond, and 16384 on a device.
	RunTokens int
	// LookAheadRows is among how many rows texts of like length are put together for a
	// run. 0: 2048.
	LookAheadRows int
	// NoPacking leaves texts in the order in which they come: runs are of texts that
	// follow each other.
	NoPacking bool
	// CacheDir is a folder where what the model gives for a text is kept, so that texts
	// that come again, in this job, in later ones or in others at the same time, cost no
	// run. Empty: nothing is kept. It must be on a disk of the machine.
	CacheDir string
	// CacheBytes bounds the folder: what was kept first goes first. 0: 4 GiB. Some 64 bytes
	// of memory are needed for each vector that is kept, which a job's ledger is charged with.
	CacheBytes int64
	// DeviceShare is the part of a device, and of its memory, that an actor takes where
	// the model runs on one. 0: all of it.
	DeviceShare float64
	// Provider runs the model where it runs on a device.
	Provider Provider
	// TensorRTCache is a folder where TensorRTProvider keeps the engines that it builds, which
	// takes minutes for a large model. Empty: they are built anew by each actor.
	TensorRTCache string
	// CUDAGraphs has CUDAProvider capture a run of each shape by each slot of an actor, and
	// replay it: one launch instead of one for each kernel, which small models gain by. ONNX
	// Runtime waits for a replay before the next run can be queued. It asks for runs of few
	// shapes, as columns of numbers and texts through models of fixed shape have, and for
	// kernels on the device for all of the model.
	CUDAGraphs bool
}

func (c Config) threads() int { return max(c.ThreadsPerActor, 1) }

func (c Config) runTokens(on stage.DeviceKind) int {
	switch {
	case c.RunTokens > 0:
		return c.RunTokens
	case on == stage.CPU:
		return 1024
	}
	return 16384
}

func (c Config) lookAhead() int { return positive(c.LookAheadRows, 2048) }

// Model is an opened model. It is safe for concurrent use. Its weights are loaded when
// the first worker of one of its stages opens, and go with the last.
type Model struct {
	cfg    Config
	folder *folder
	file   *modelFile
	feed   *textSpec // how it is fed, whatever comes out; nil: it takes no text
	spec   *textSpec // for embeddings, as its files say
	cannot error     // why it cannot embed text

	tokenizer func() (*tokenize.Tokenizer, error)
	digests   func() []string
	cache     func() (*resultStore, error) // nil: none

	mu     sync.Mutex
	closed bool
	loads  map[string]*load // by their ports

	calls textCalls
}

// load is a session for some of the model's outputs, or one on its way.
type load struct {
	ports   ports
	users   []*user
	done    chan struct{} // closed when session and err are set
	session *session
	err     error
}

// user is someone who holds a session. The first of them is charged for the weights.
type user struct {
	book func(stage.Purpose, int64)
	load *load // nil: none yet, or no more
}

var errClosed = errors.New("infer: the model was closed")

// Open reads what the model's files say of it, without its weights and without ONNX
// Runtime. The caller closes the model.
//
// The limit of tokens is max_seq_length of sentence_bert_config.json, else
// model_max_length of tokenizer_config.json, and never more than the model has positions
// for. Pooling is that of the Pooling module's config.json, the mean where there is none;
// vectors are normalised if modules.json has Normalize. A model that gives whole
// sentence embeddings itself needs neither. Rows are padded on the side, with the token and
// of the type that tokenizer_config.json names, else tokenizer.json.
func Open(ctx context.Context, cfg Config) (*Model, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.Path == "" {
		return nil, errors.New("infer: Config.Path is empty: give a model folder or an ONNX file")
	}
	if err := cfg.checkProvider(); err != nil {
		return nil, err
	}
	f, err := openFolder(cfg.Path, cfg.Variant)
	if err != nil {
		return nil, err
	}
	file, err := readModelFile(f.onnx)
	if err != nil {
		return nil, err
	}
	m := &Model{cfg: cfg, folder: f, file: file, loads: map[string]*load{}}
	if m.feed, m.cannot = newTextSpec(file, f); m.cannot == nil {
		m.spec, m.cannot = m.feed.vectors(file, f, "", NoPooling)
	}
	m.tokenizer = sync.OnceValues(m.openTokenizer)
	m.digests = sync.OnceValue(m.digestFiles)
	m.cache = sync.OnceValues(m.openCache)
	return m, nil
}

func (m *Model) openTokenizer() (*tokenize.Tokenizer, error) {
	t, err := tokenize.Open(m.folder.dir)
	if err != nil {
		return nil, fmt.Errorf("infer: model %s: %w", m.cfg.Path, err)
	}
	limit := m.maxTokens()
	if limit == 0 {
		return t, nil // the tokenizer's own, if it has one
	}
	t, err = t.With(tokenize.Config{MaxTokens: limit})
	if err != nil {
		return nil, fmt.Errorf("infer: model %s: %w", m.cfg.Path, err)
	}
	return t, nil
}

// padding is what fills rows up.
func (m *Model) padding(tok *tokenize.Tokenizer) padding {
	p := padding{id: tok.PadID(), kind: tok.PadTypeID()}
	if id, ok := tok.TokenToID(m.folder.pad); ok {
		p.id = id
	}
	if m.folder.padType != nil {
		p.kind = *m.folder.padType
	}
	return p
}

// maxTokens is the limit of a text's tokens, special ones included; 0: none is known.
func (m *Model) maxTokens() int {
	limit := m.folder.limit
	for _, other := range []int{m.cfg.MaxTokens, m.fixedTokens()} {
		if other > 0 && (limit <= 0 || other < limit) {
			limit = other
		}
	}
	return limit
}

func (m *Model) fixedTokens() int {
	if m.feed == nil {
		return 0
	}
	return m.feed.tokens
}

func (m *Model) activations(spec *textSpec) activations {
	c := &m.folder.config
	hidden := c.hidden()
	if hidden == 0 {
		hidden = spec.dim
	}
	return activations{hidden: hidden, inner: max(c.inner(), 4*hidden), heads: max(c.heads(), 1)}
}

// acquire gives the session for some ports, loading it if nobody has. The caller gives it back
// with release, once, also after an error.
func (m *Model) acquire(ctx context.Context, u *user, want ports) (*session, error) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, errClosed
	}
	l := m.loads[want.key()]
	if l == nil {
		l = &load{ports: want, done: make(chan struct{})}
		m.loads[want.key()] = l
		go m.loadSession(l)
	}
	l.users, u.load = append(l.users, u), l
	if len(l.users) == 1 {
		u.book(stage.Weights, m.file.bytes)
	}
	m.mu.Unlock()
	select {
	case <-l.done:
		return l.session, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// loadSession runs on a goroutine of its own, since loading cannot be interrupted and
// whoever waits for it can. If nobody is left by then, it closes what it loaded.
func (m *Model) loadSession(l *load) {
	l.session, l.err = m.openFor(l.ports)
	m.mu.Lock()
	close(l.done)
	unwanted := len(l.users) == 0
	if unwanted || l.err != nil {
		m.forget(l) // the next one tries again
	}
	m.mu.Unlock()
	if unwanted && l.err == nil {
		_ = l.session.close() // nobody is there to be told
	}
}

// forget drops a load that nobody is to join. The caller holds mu.
func (m *Model) forget(l *load) {
	if m.loads[l.ports.key()] == l {
		delete(m.loads, l.ports.key())
	}
}

// release takes u off its session's users; the last one closes it. A u that is none is
// ignored.
func (m *Model) release(u *user) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := u.load
	if l == nil {
		return nil
	}
	u.load = nil
	i := slices.Index(l.users, u)
	l.users = slices.Delete(l.users, i, i+1)
	if i == 0 {
		u.book(stage.Weights, -m.file.bytes)
		if len(l.users) > 0 {
			l.users[0].book(stage.Weights, m.file.bytes)
		}
	}
	if len(l.users) > 0 {
		return nil
	}
	select {
	case <-l.done:
		m.forget(l)
		if l.err != nil {
			return nil
		}
		return l.session.close()
	default:
		return nil // loadSession closes it
	}
}

// Close refuses new workers, waits for calls of [Model.EmbedTexts] and lets go of what
// they hold. Workers that are open go on, and the weights go with the last of them. Close
// may be called twice.
func (m *Model) Close() error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.calls.under.Wait()
	m.mu.Lock()
	idle, own := m.calls.idle, m.calls.own
	m.calls.idle, m.calls.own = nil, nil
	m.mu.Unlock()
	var errs []error
	for _, c := range slices.Concat(slices.Collect(maps.Values(idle))...) {
		errs = append(errs, c.close())
	}
	if store, err := m.cache(); store != nil { // workers that go on find nothing kept
		errs = append(errs, store.Close(), err)
	}
	for _, u := range own {
		errs = append(errs, m.release(u))
	}
	return errors.Join(errs...)
}
