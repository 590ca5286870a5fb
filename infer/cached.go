package infer

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"unsafe"

	"github.com/zeebo/xxh3"

	"github.com/penstock-data/penstock/internal/cache"
	"github.com/penstock-data/penstock/stage"
)

// cachedRuns stands between a worker and its caller where results are kept. What is kept
// is what the model gives for a text, before a head makes columns of it: so a change of
// labels, thresholds or dimensions finds it again. The key is a digest of the tokens, of
// the model's files, and of which output is taken how.
type cachedRuns struct {
	store   *resultStore
	spec    *textSpec
	vectors []textVector // the spec's
	salts   [][]byte     // one for each of them
	log     *slog.Logger
	mute    bool // a failed Put was reported

	hash   *xxh3.Hasher
	keys   [][]cache.Key         // for each vector, of the texts of a batch, by their numbers
	twins  map[cache.Key][]int32 // texts with the tokens of one that is on its way, by its first key
	misses []row
	raw    []byte
	vector []float32
}

// resultStore is a store that workers share. The first of them is charged for its index, and
// when that one leaves, the next.
type resultStore struct {
	*cache.Store

	mu     sync.Mutex
	users  []*storeUser
	booked int64 // with the first of them
}

type storeUser struct {
	book func(stage.Purpose, int64)
}

// openCache is the store of a model, nil where it has none.
func (m *Model) openCache() (*resultStore, error) {
	if m.cfg.CacheDir == "" {
		return nil, nil
	}
	s, err := cache.Open(m.cfg.CacheDir, cache.Config{MaxBytes: m.cfg.CacheBytes})
	if err != nil {
		return nil, fmt.Errorf("infer: model %s: %w", m.cfg.Path, err)
	}
	return &resultStore{Store: s}, nil
}

// join adds one who can be charged, until leave is called, once.
func (s *resultStore) join(book func(stage.Purpose, int64)) (leave func()) {
	u := &storeUser{book}
	s.mu.Lock()
	s.users = append(s.users, u)
	s.mu.Unlock()
	s.settle()
	return func() { s.leave(u) }
}

func (s *resultStore) leave(u *storeUser) {
	s.mu.Lock()
	i := slices.Index(s.users, u)
	s.users = slices.Delete(s.users, i, i+1)
	if i == 0 {
		u.book(stage.Indexes, -s.booked)
		s.booked = 0
	}
	s.mu.Unlock()
	s.settle()
}

// settle charges what the index has come to.
func (s *resultStore) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.Bytes(); len(s.users) > 0 && now != s.booked {
		s.users[0].book(stage.Indexes, now-s.booked)
		s.booked = now
	}
}

// cached gives nil where the model keeps no results.
func (m *Model) cached(spec *textSpec, device stage.DeviceKind, log *slog.Logger) (*cachedRuns, error) {
	store, err := m.cache()
	if store == nil {
		return nil, err
	}
	c := &cachedRuns{store: store, spec: spec, vectors: spec.all(), log: log, hash: xxh3.New(), twins: map[cache.Key][]int32{}}
	for _, v := range c.vectors {
		salt := fmt.Appendf(nil, "1\x00%s\x00%s\x00%v\x00%d\x00%d\x00%q", v.output, v.pooling, spec.left, spec.tokens, v.dim, m.digests())
		if on := m.cfg.runsOn(device); on != "" {
			salt = fmt.Appendf(salt, "\x00%s", on)
		}
		c.salts = append(c.salts, salt)
	}
	c.keys = make([][]cache.Key, len(c.salts))
	return c, nil
}

func (c *cachedRuns) key(salt []byte, r row) cache.Key {
	c.hash.Reset()
	_, _ = c.hash.Write(salt) // a hash takes all
	_, _ = c.hash.Write(int32Bytes(r.ids))
	if c.spec.takes(tokenTypes) && r.types != nil {
		_, _ = c.hash.Write([]byte{0xFF, byte(len(r.ids)), byte(len(r.ids) >> 8), byte(len(r.ids) >> 16)})
		_, _ = c.hash.Write(int32Bytes(r.types))
	}
	return c.hash.Sum128().Bytes()
}

func int32Bytes(v []int32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))
}

// embed is [caller.embed] for the texts whose results are not kept; of those with the same
// tokens, one is run.
func (c *cachedRuns) embed(ctx context.Context, run *caller, rows []row, into vectors) (stats runStats, hits int64, err error) {
	last := int32(-1)
	for _, r := range rows {
		last = max(last, r.at)
	}
	for v := range c.keys {
		c.keys[v] = grow(c.keys[v], int(last)+1)
	}
	c.misses = c.misses[:0]
	clear(c.twins)
	for _, r := range rows {
		for v, salt := range c.salts {
			c.keys[v][r.at] = c.key(salt, r)
		}
		key := c.keys[0][r.at]
		if others, running := c.twins[key]; running {
			c.twins[key] = append(others, r.at)
			hits++
			continue
		}
		if c.find(r, into) {
			hits++
			continue
		}
		c.twins[key] = nil
		c.misses = append(c.misses, r)
	}
	stats, err = run.embed(ctx, c.misses, &keeper{c, into, 0})
	clear(c.misses) // they are the batch's
	c.store.settle()
	return stats, hits, err
}

// find hands a text the vectors that were kept for it, and says whether it had them all.
func (c *cachedRuns) find(r row, into vectors) bool {
	for v := range c.vectors {
		var found bool
		if c.raw, found = c.store.Get(c.keys[v][r.at], c.raw[:0]); !found || !c.give(&c.vectors[v], r, vectorsAt(into, v)) {
			return false
		}
	}
	return true
}

// give hands on what was kept. It says no to what is not its size.
func (c *cachedRuns) give(v *textVector, r row, into vectors) bool {
	n := 1
	if v.pooling == everyToken {
		n = len(r.ids)
		if c.spec.tokens > 0 {
			n = min(n, c.spec.tokens)
		}
	}
	if len(c.raw) != 4*n*v.dim {
		return false
	}
	values := cells[float32](c.raw)
	if v.pooling != everyToken {
		copy(into.at(r.at), values)
		into.done(r.at)
		return true
	}
	c.vector = append(c.vector[:0], values...)
	into.(tokenVectors).tokenVectors(r.at, &output{tokens: n, dim: v.dim, f32: c.vector}, 0, 0, n)
	return true
}

func (c *cachedRuns) put(key cache.Key, v []float32) {
	if err := c.store.Put(key, bytesOf(v)); err != nil && !c.mute {
		c.mute = true // the next ones will hardly fare better, and results are right without
		c.log.Warn("results are not kept", "error", err)
	}
}

// keeper keeps vectors on their way to the columns, and gives them to the twins of their
// texts.
type keeper struct {
	*cachedRuns
	into vectors
	nth  int // of a text's vectors
}

func (k *keeper) more(i int) vectors { return &keeper{k.cachedRuns, vectorsAt(k.into, i), i} }

func (k *keeper) at(i int32) []float32 { return k.into.at(i) }

func (k *keeper) done(i int32) {
	k.vector = append(k.vector[:0], k.into.at(i)...) // done may change it
	k.put(k.keys[k.nth][i], k.vector)
	k.into.done(i)
	for _, twin := range k.twins[k.keys[0][i]] {
		copy(k.into.at(twin), k.vector)
		k.into.done(twin)
	}
}

func (k *keeper) tokenVectors(i int32, out *output, row, first, n int) {
	k.vector = k.vector[:0]
	for t := first; t < first+n; t++ {
		k.vector = append(k.vector, out.vector(row, t)...)
	}
	k.put(k.keys[k.nth][i], k.vector)
	for _, text := range append([]int32{i}, k.twins[k.keys[0][i]]...) {
		k.into.(tokenVectors).tokenVectors(text, &output{tokens: n, dim: k.vectors[k.nth].dim, f32: k.vector}, 0, 0, n)
	}
}
