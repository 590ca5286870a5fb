package cache_test

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/cache"
)

func key(n int) cache.Key {
	var k cache.Key
	binary.LittleEndian.PutUint64(k[:], uint64(n)*0x9E3779B97F4A7C15)
	return k
}

// value is what every process keeps under key n.
func value(n int) []byte { return []byte(strings.Repeat(fmt.Sprintf("value %d;", n), n%40)) }

func open(t testing.TB, dir string, max int64) *cache.Store {
	t.Helper()
	s, err := cache.Open(dir, cache.Config{MaxBytes: max})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func size(t testing.TB, dir string) (total int64) {
	require.NoError(t, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			info, err := d.Info()
			if err == nil {
				total += info.Size()
			}
		}
		return nil
	}))
	return total
}

// What was put is there, in this store, in the next, and behind a prefix of the caller's.
func TestPutAndGet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, dir, 0)
	for n := range 300 {
		require.NoError(t, s.Put(key(n), value(n)))
	}
	require.NoError(t, s.Put(key(7), []byte("another")))
	for _, store := range []*cache.Store{s, open(t, dir, 0)} {
		for n := range 300 {
			want := string(value(n))
			if n == 7 {
				want = "another"
			}
			got, ok := store.Get(key(n), []byte("head "))
			require.True(t, ok)
			require.Equal(t, "head "+want, string(got))
		}
		got, ok := store.Get(key(300), []byte("head"))
		require.False(t, ok)
		require.Equal(t, "head", string(got))
		require.Equal(t, cache.Stats{Hits: 300, Misses: 1, Entries: 300}, store.Stats())
	}
	require.NoError(t, s.Close())
	require.Error(t, s.Put(key(1), nil))
	cache.ExpireRefresh(s)
	_, ok := s.Get(key(1), nil)
	require.False(t, ok, "a store that was closed opens nothing again")
	require.Zero(t, s.Bytes())
}

// What a store says that it takes in memory is about what it takes.
func TestBytes(t *testing.T) {
	const entries = 100_000
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	s := open(t, t.TempDir(), 0)
	before := heap()
	for n := range entries {
		require.NoError(t, s.Put(key(n), nil))
	}
	grown := heap() - before
	require.Equal(t, int64(64*entries), s.Bytes())
	require.InEpsilon(t, grown, s.Bytes(), 0.5)
}

// However much is put, the folder stays within its bound, and what came last is there.
func TestBound(t *testing.T) {
	dir := t.TempDir()
	const bound = 8 * (64 << 10)
	s := open(t, dir, bound)
	big := make([]byte, 1000)
	for n := range 3000 {
		copy(big, fmt.Sprint(n))
		require.NoError(t, s.Put(key(n), big))
		if n%100 == 0 {
			require.LessOrEqual(t, size(t, dir), int64(bound))
		}
	}
	_, first := s.Get(key(0), nil)
	_, last := s.Get(key(2999), nil)
	assert.False(t, first)
	assert.True(t, last)
	stats := s.Stats()
	assert.Greater(t, stats.Entries, int64(300))
	assert.Less(t, stats.Entries, int64(520))
	assert.Zero(t, stats.Corrupt)
	require.NoError(t, s.Put(key(1), make([]byte, bound))) // too large to be kept
	_, ok := s.Get(key(1), nil)
	assert.False(t, ok)
}

// Damage anywhere costs the entries that it hit and no others; they can be put again.
func TestDamage(t *testing.T) {
	for _, suffix := range []string{"*.values", "*.index"} {
		for _, how := range []string{"a byte", "the end"} {
			t.Run(suffix+" "+how, func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir, 0)
				for n := range 200 {
					require.NoError(t, s.Put(key(n), value(n+1)))
				}
				require.NoError(t, s.Close())
				files, err := filepath.Glob(filepath.Join(dir, suffix))
				require.NoError(t, err)
				require.Len(t, files, 1)
				raw, err := os.ReadFile(files[0])
				require.NoError(t, err)
				if how == "a byte" {
					raw[len(raw)/2] ^= 0x40
				} else {
					raw = raw[:len(raw)-5]
				}
				require.NoError(t, os.WriteFile(files[0], raw, 0o644))
				s = open(t, dir, 0)
				missing := 0
				for n := range 200 {
					got, ok := s.Get(key(n), nil)
					if !ok {
						missing++
						require.NoError(t, s.Put(key(n), value(n+1)))
						continue
					}
					require.Equal(t, string(value(n+1)), string(got))
				}
				assert.Equal(t, 1, missing)
				s = open(t, dir, 0)
				for n := range 200 {
					got, ok := s.Get(key(n), nil)
					require.True(t, ok, n)
					require.Equal(t, string(value(n+1)), string(got))
				}
			})
		}
	}
}

// What is no file of a store is left alone.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.values"), []byte("mine"), 0o644))
	s := open(t, dir, 0)
	require.NoError(t, s.Put(key(1), value(1)))
	assert.FileExists(t, filepath.Join(dir, "notes.values"))
	_, err := cache.Open(filepath.Join(dir, "notes.values"), cache.Config{})
	assert.Error(t, err)
}

// work puts and gets, and says what was wrong.
func work(dir string, seed int) error {
	s, err := cache.Open(dir, cache.Config{MaxBytes: 1 << 20})
	if err != nil {
		return err
	}
	defer s.Close()
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for g := range 4 {
		wg.Go(func() {
			for i := range 1500 {
				n := (i*7 + seed*13 + g*101) % 5000
				got, ok := s.Get(key(n), nil)
				if ok && string(got) != string(value(n)) {
					errs <- fmt.Errorf("key %d has %q", n, got)
					return
				}
				if !ok {
					if err := s.Put(key(n), value(n)); err != nil {
						errs <- err
						return
					}
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	if c := s.Stats().Corrupt; c > 0 {
		return fmt.Errorf("%d values were corrupt", c)
	}
	return nil
}

const workerDir = "PENSTOCK_CACHE_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(workerDir); dir != "" {
		if err := work(dir, os.Getpid()%50); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Several processes and goroutines put and get in one folder, some are killed on the way:
// nobody ever gets what was not put, and the folder stays within its bound.
func TestProcesses(t *testing.T) {
	dir := t.TempDir()
	var list []*exec.Cmd
	for range 4 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), workerDir+"="+dir)
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		list = append(list, cmd)
	}
	require.NoError(t, list[0].Process.Kill())
	_ = list[0].Wait() // it was killed
	for _, cmd := range list[1:] {
		require.NoError(t, cmd.Wait())
	}
	require.NoError(t, work(dir, 3), "what a killed process left is no harm")
	assert.LessOrEqual(t, size(t, dir), int64(1<<20+4*(1<<17)))
}

// What another process wrote is found when there is nothing better to do: on a miss.
func TestRefresh(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, 0), open(t, dir, 0)
	require.NoError(t, a.Put(key(1), value(1)))
	cache.ExpireRefresh(b)
	got, ok := b.Get(key(1), nil)
	require.True(t, ok)
	assert.Equal(t, string(value(1)), string(got))
}
