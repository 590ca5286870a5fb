// Package cache keeps results on disk under a digest of what they were made of, so that
// whoever comes to the same work again, later or in another process, finds them done.
//
// # Why not a database
//
// A cache needs little, and two things that embedded stores are weak at: several processes
// that write at the same time (bbolt and badger let one in), and damage that costs the
// damaged entry and no other (a page of SQLite that is broken ends the query, and its pure
// Go build would be the largest part of the binary). It needs no order, no deletes, no
// transactions and no fsync. So a folder holds segments. Each is a file of values and a
// file that says where they lie, both only ever appended to, and by one process: the one
// that holds the lock of the segment. Everybody reads all of them. Whatever has no right
// checksum is not there.
//
// # Size
//
// When a segment is full, the oldest ones go until all together are within the bound: what
// was written first is forgotten first. The bound is kept up to one segment (an eighth of
// it) for each further process that writes at the time.
package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zeebo/xxh3"
)

// Key is a digest of all that a result depends on.
type Key [16]byte

// Config bounds a store. The zero value works.
type Config struct {
	MaxBytes int64 // on disk; 0: [DefaultMaxBytes]
}

// DefaultMaxBytes is the bound where none is given.
const DefaultMaxBytes = 4 << 30

// minSegment keeps the number of files small where the bound is.
const minSegment = 64 << 10

// refreshEvery is how often a miss looks for what others have written.
const refreshEvery = time.Second

// entryBytes is an entry of an index: key, offset, length and a CRC-32 of those.
const entryBytes = 16 + 8 + 4 + 4

// entryMemory is about what an entry takes in memory: 40 bytes and one of the map's own in
// groups that are two thirds full.
const entryMemory = 64

// sumBytes stand before each value: XXH3 of key and value.
const sumBytes = 8

// Stats counts what a store has done since it was opened.
type Stats struct {
	Hits, Misses int64
	Corrupt      int64 // values that were dropped because their checksum was wrong
	Entries      int64 // that are known now
}

// Store is a folder of results. It is safe for concurrent use, by any number of processes.
type Store struct {
	dir     string
	max     int64
	segment int64 // the size at which a segment is full

	mu        sync.Mutex
	where     map[Key]location
	most      int // entries that where ever had: a map does not shrink
	segments  map[uint64]*segment
	own       *segment // the one that this process writes; nil: none yet
	refreshed time.Time
	stats     Stats
	closed    bool
}

// location is where a value lies.
type location struct {
	segment uint64
	offset  int64
	length  uint32
}

// segment is a pair of open files.
type segment struct {
	number uint64
	data   *os.File
	index  *os.File
	read   int64 // bytes of the index that are known
	end    int64 // of the data, where it is our own
}

// Open opens a folder, or makes it. The caller closes the store.
func Open(dir string, c Config) (*Store, error) {
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	s := &Store{dir: dir, max: c.MaxBytes, segment: max(c.MaxBytes/8, minSegment), where: map[Key]location{}, segments: map[uint64]*segment{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	return s, nil
}

// Get appends the value of a key to dst. It says whether there is one.
func (s *Store) Get(key Key, dst []byte) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return dst, false
	}
	at, ok := s.where[key]
	if !ok && time.Since(s.refreshed) > refreshEvery {
		_ = s.refresh() // what cannot be read now is not there
		at, ok = s.where[key]
	}
	if ok {
		if out, whole := s.value(key, at, dst); whole {
			s.stats.Hits++
			return out, true
		}
		s.stats.Corrupt++
		delete(s.where, key)
	}
	s.stats.Misses++
	return dst, false
}

func (s *Store) value(key Key, at location, dst []byte) ([]byte, bool) {
	seg := s.segments[at.segment]
	if seg == nil {
		return dst, false
	}
	start := len(dst)
	dst = slices.Grow(dst, sumBytes+int(at.length))[:start+sumBytes+int(at.length)]
	raw := dst[start:]
	if _, err := seg.data.ReadAt(raw, at.offset); err != nil || binary.LittleEndian.Uint64(raw) != checksum(key, raw[sumBytes:]) {
		return dst[:start], false
	}
	copy(raw, raw[sumBytes:])
	return dst[:start+int(at.length)], true
}

func checksum(key Key, value []byte) uint64 {
	return xxh3.HashSeed(value, xxh3.Hash(key[:]))
}

// Put keeps a value. An error says that it was not kept; the store is as good as before.
func (s *Store) Put(key Key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("cache: the store was closed")
	}
	size := int64(sumBytes + len(value))
	if size > s.segment {
		return nil // it would push out too much
	}
	if s.own == nil || s.own.end+s.own.read+size+entryBytes > s.segment {
		if err := s.roll(); err != nil {
			return fmt.Errorf("cache: %w", err)
		}
	}
	if err := s.append(key, value); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

func (s *Store) append(key Key, value []byte) error {
	own := s.own
	raw := binary.LittleEndian.AppendUint64(make([]byte, 0, sumBytes+len(value)), checksum(key, value))
	raw = append(raw, value...)
	if _, err := own.data.WriteAt(raw, own.end); err != nil {
		return err
	}
	at := location{own.number, own.end, uint32(len(value))}
	own.end += int64(len(raw))
	if _, err := own.index.WriteAt(entry(key, at), own.read); err != nil {
		return err
	}
	own.read += entryBytes
	s.know(key, at)
	return nil
}

func (s *Store) know(key Key, at location) {
	s.where[key] = at
	s.most = max(s.most, len(s.where))
}

func entry(key Key, at location) []byte {
	b := append(make([]byte, 0, entryBytes), key[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(at.offset))
	b = binary.LittleEndian.AppendUint32(b, at.length)
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// Stats says what was done so far.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Entries = int64(len(s.where))
	return s.stats
}

// Bytes is about what the store takes in memory.
func (s *Store) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return entryMemory * int64(s.most)
}

// Close closes the files and forgets what lies in them. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.where, s.most = nil, 0
	return s.closeFiles()
}

func (s *Store) closeFiles() error {
	var errs []error
	for n := range s.segments {
		errs = append(errs, s.forget(n))
	}
	s.own = nil
	return errors.Join(errs...)
}

// forget closes a segment's files. Entries that point there are not there any more.
func (s *Store) forget(n uint64) error {
	seg := s.segments[n]
	delete(s.segments, n)
	return seg.close()
}

func (g *segment) close() error { return errors.Join(g.data.Close(), g.index.Close()) }

// The names of a segment's files.
const (
	dataSuffix  = ".values"
	indexSuffix = ".index"
)

func (s *Store) path(n uint64, suffix string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016x%s", n, suffix))
}

// numbers lists the segments of the folder, the oldest first.
func (s *Store) numbers() ([]uint64, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	var out []uint64
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), dataSuffix)
		if n, err := strconv.ParseUint(name, 16, 64); ok && err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// refresh learns what others have written since the last time, and closes what is gone.
func (s *Store) refresh() error {
	s.refreshed = time.Now()
	have, err := s.numbers()
	if err != nil {
		return err
	}
	var errs []error
	for n := range s.segments {
		if !slices.Contains(have, n) && s.segments[n] != s.own {
			errs = append(errs, s.forget(n))
		}
	}
	for _, n := range have {
		seg := s.segments[n]
		if seg == nil {
			if seg, err = s.open(n, os.O_RDWR); errors.Is(err, fs.ErrNotExist) {
				continue // it was on its way in or out
			} else if err != nil {
				errs = append(errs, fmt.Errorf("cache: %w", err))
				continue
			}
			s.segments[n] = seg
		}
		if seg != s.own {
			errs = append(errs, s.learn(seg))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) open(n uint64, flag int) (*segment, error) {
	data, err := os.OpenFile(s.path(n, dataSuffix), flag, 0o644)
	if err != nil {
		return nil, err
	}
	index, err := os.OpenFile(s.path(n, indexSuffix), flag&^os.O_EXCL, 0o644)
	if err != nil {
		return nil, errors.Join(err, data.Close())
	}
	return &segment{number: n, data: data, index: index}, nil
}

// learn reads the entries of a segment that are new. Damaged ones are passed over.
func (s *Store) learn(seg *segment) error {
	info, err := seg.index.Stat()
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	buf := make([]byte, 4096*entryBytes)
	for n := (info.Size() - seg.read) / entryBytes; n > 0; {
		part := buf[:min(n*entryBytes, int64(len(buf)))]
		if _, err := seg.index.ReadAt(part, seg.read); err != nil {
			return fmt.Errorf("cache: %w", err)
		}
		for e := part; len(e) > 0; e = e[entryBytes:] {
			if binary.LittleEndian.Uint32(e[28:]) != crc32.ChecksumIEEE(e[:28]) {
				continue
			}
			at := location{seg.number, int64(binary.LittleEndian.Uint64(e[16:])), binary.LittleEndian.Uint32(e[24:])}
			s.know(Key(e[:16]), at)
			seg.end = max(seg.end, at.offset+sumBytes+int64(at.length))
		}
		seg.read += int64(len(part))
		n -= int64(len(part)) / entryBytes
	}
	return nil
}
