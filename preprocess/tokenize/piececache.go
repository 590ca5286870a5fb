package tokenize

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// maxKey is the length in bytes of the longest piece that has a key.
const maxKey = 32

// pieceKey holds a piece of 1 to maxKey bytes: with the length, its words tell
// it from every other piece.
type pieceKey struct {
	a, b, c, d uint64
	n          int
	hash       uint64
}

// Odd constants of the golden ratio kind; any would do.
const (
	mixA = 0x9E3779B97F4A7C15
	mixB = 0xD6E8FEB86659FD93
	mixC = 0xA0761D6478BD642F
)

// fold64 mixes two words as wyhash (Wang Yi) does.
func fold64(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	return hi ^ lo
}

func keyOf(p []byte) pieceKey {
	n := len(p)
	k := pieceKey{n: n}
	switch {
	case n < 4:
		k.a = uint64(p[0]) | uint64(p[n/2])<<8 | uint64(p[n-1])<<16
	case n < 8:
		k.a = uint64(binary.LittleEndian.Uint32(p)) | uint64(binary.LittleEndian.Uint32(p[n-4:]))<<32
	default:
		k.a, k.b = binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[n-8:])
	}
	k.hash = fold64(k.a^mixA, k.b^mixB^uint64(n)<<56)
	if n > 16 {
		k.c, k.d = binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint64(p[n-16:])
		k.hash = fold64(k.hash^k.c, k.d^mixC)
	}
	return k
}

// tableKey is the length of the longest piece in a pieceTable.
const tableKey = 16

// pieceTable knows the pieces that are one token each: a hash table with open
// addressing, laid out once.
type pieceTable struct {
	slots []tableSlot
	shift uint
}

type tableSlot struct {
	a, b uint64
	n    int32 // 0: free
	id   int32
}

// newPieceTable has room for n pieces.
func newPieceTable(n int) *pieceTable {
	size := max(bits.Len(uint(n+n/2)), 4)
	return &pieceTable{slots: make([]tableSlot, 1<<size), shift: uint(64 - size)}
}

// add puts in a piece of at most tableKey bytes that isn't there.
func (t *pieceTable) add(piece string, id int32) {
	k := keyOf([]byte(piece))
	mask := uint64(len(t.slots) - 1)
	i := k.hash >> t.shift
	for t.slots[i].n != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = tableSlot{k.a, k.b, int32(k.n), id}
}

// get gives noToken for a piece that isn't there.
func (t *pieceTable) get(k *pieceKey) int32 {
	if k.n > tableKey {
		return noToken
	}
	mask := uint64(len(t.slots) - 1)
	for i := k.hash >> t.shift; ; i = (i + 1) & mask {
		s := &t.slots[i&mask]
		if s.a == k.a && s.b == k.b && s.n == int32(k.n) {
			return s.id
		}
		if s.n == 0 {
			return noToken
		}
	}
}

// pieceCache remembers the ids of pieces that took work. It is bounded, holds
// no pointers and is safe for concurrent use without locks: each slot is a
// sequence lock, and whoever finds one busy goes without.
type pieceCache struct {
	slots []cacheSlot
	shift uint
}

// cacheSlot fills a cache line. Its head is a version, a busy bit, the length of
// the piece and how many ids it has.
type cacheSlot struct {
	head atomic.Uint64
	key  [4]atomic.Uint64
	ids  [cachedIDs / 2]atomic.Uint64
}

const (
	cachedIDs  = 6
	cacheBits  = 14
	headBusy   = 1 << 9
	headChange = 1 << 10
)

func newPieceCache() *pieceCache {
	return &pieceCache{slots: make([]cacheSlot, 1<<cacheBits), shift: 64 - cacheBits}
}

// appendIDs appends the ids of a piece if they are known.
func (c *pieceCache) appendIDs(dst []int32, k *pieceKey) ([]int32, bool) {
	s := &c.slots[k.hash>>c.shift]
	head := s.head.Load()
	if head>>3&0x7F != uint64(k.n) || s.key[0].Load() != k.a || s.key[1].Load() != k.b ||
		s.key[2].Load() != k.c || s.key[3].Load() != k.d {
		return dst, false
	}
	n := len(dst)
	for i := range (head&7 + 1) / 2 {
		two := s.ids[i].Load()
		dst = append(dst, int32(two), int32(two>>32))
	}
	if s.head.Load() != head {
		return dst[:n], false
	}
	return dst[:n+int(head&7)], true
}

// put remembers the ids of a piece if there are few.
func (c *pieceCache) put(k *pieceKey, ids []int32) {
	if len(ids) > cachedIDs {
		return
	}
	s := &c.slots[k.hash>>c.shift]
	head := s.head.Load()
	if head&headBusy != 0 || !s.head.CompareAndSwap(head, head|headBusy) {
		return
	}
	for i, word := range [4]uint64{k.a, k.b, k.c, k.d} {
		s.key[i].Store(word)
	}
	for i := 0; i < len(ids); i += 2 {
		two := uint64(uint32(ids[i]))
		if i+1 < len(ids) {
			two |= uint64(uint32(ids[i+1])) << 32
		}
		s.ids[i/2].Store(two)
	}
	s.head.Store((head&^(headChange-1) + headChange) | uint64(k.n)<<3 | uint64(len(ids)))
}
