package writers_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

func partID(group int64) stage.PartID { return stage.PartID{Group: group} }

// peak remembers the most that was allocated at a time.
type peak struct {
	memory.Allocator
	now, most atomic.Int64
}

func (p *peak) add(n int) {
	now := p.now.Add(int64(n))
	for m := p.most.Load(); now > m && !p.most.CompareAndSwap(m, now); m = p.most.Load() {
	}
}

func (p *peak) Allocate(n int) []byte {
	p.add(n)
	return p.Allocator.Allocate(n)
}

func (p *peak) Reallocate(n int, b []byte) []byte {
	p.add(n - len(b))
	return p.Allocator.Reallocate(n, b)
}

func (p *peak) Free(b []byte) {
	p.add(-len(b))
	p.Allocator.Free(b)
}

var errDead = errors.New("the process is dead")

// faultyFS is the real file system until call number at. Then that call fails with err,
// or, where err is errDead, it and all that come after it: nothing more is done, as
// after kill -9. Locks of the dead are dropped by kill.
type faultyFS struct {
	writers.OSFS
	at         int
	err        error
	half       bool // the failing write writes half of its bytes
	after      bool // the call is done, and then fails: its answer was lost
	noExchange bool
	asked      func() error // before each call; nil: never fails

	mu       sync.Mutex
	calls    int
	kinds    map[string]int
	locks    []io.Closer
	unsynced map[string]bool
}

// call counts a call and says how it fails.
func (f *faultyFS) call(kind string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.kinds == nil {
		f.kinds = map[string]int{}
	}
	f.kinds[kind]++
	if f.asked != nil {
		if err := f.asked(); err != nil {
			return err
		}
	}
	if f.at > 0 && (f.calls == f.at || f.calls > f.at && f.err == errDead) {
		return f.err
	}
	return nil
}

func (f *faultyFS) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// kill is what the kernel does for a dead process, and to what it had not synced.
func (f *faultyFS) kill() {
	for _, l := range f.locks {
		_ = l.Close()
	}
	for path, un := range f.unsynced {
		if un {
			_ = os.Truncate(path, 0)
		}
	}
}

func do0(f *faultyFS, kind string, op func() error) error {
	err := f.call(kind)
	if err == nil || f.after && f.calls == f.at {
		if oerr := op(); err == nil {
			return oerr
		}
	}
	return err
}

func (f *faultyFS) Lstat(path string) (fs.FileInfo, error) {
	if err := f.call("lstat"); err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return f.OSFS.Lstat(path)
}

func (f *faultyFS) ReadDir(path string) ([]fs.DirEntry, error) {
	if err := f.call("readdir"); err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: path, Err: err}
	}
	return f.OSFS.ReadDir(path)
}

func (f *faultyFS) ReadFile(path string) ([]byte, error) {
	if err := f.call("readfile"); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return f.OSFS.ReadFile(path)
}

func (f *faultyFS) Open(path string) (writers.ReadFile, error) {
	if err := f.call("open"); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return f.OSFS.Open(path)
}

func (f *faultyFS) Create(path string) (writers.WriteFile, error) {
	if err := f.call("create"); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	w, err := f.OSFS.Create(path)
	if err != nil {
		return nil, err
	}
	f.setSynced(path, false)
	return &faultyFile{f, path, w}, nil
}

func (f *faultyFS) setSynced(path string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unsynced == nil {
		f.unsynced = map[string]bool{}
	}
	f.unsynced[path] = !ok
}

// renamed carries on which files are not synced, under their new names.
func (f *faultyFS) renamed(from, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for path, un := range f.unsynced {
		rel, err := filepath.Rel(from, path)
		if un && err == nil && filepath.IsLocal(rel) {
			f.unsynced[path] = false
			f.unsynced[filepath.Join(to, rel)] = true
		}
	}
}

func (f *faultyFS) MkdirAll(path string) error {
	return do0(f, "mkdir", func() error { return f.OSFS.MkdirAll(path) })
}

func (f *faultyFS) Rename(from, to string) error {
	return do0(f, "rename", func() error {
		err := f.OSFS.Rename(from, to)
		if err == nil {
			f.renamed(from, to)
		}
		return err
	})
}

func (f *faultyFS) Exchange(a, b string) error {
	if f.noExchange {
		return writers.ErrNoExchange
	}
	return do0(f, "exchange", func() error {
		err := f.OSFS.Exchange(a, b)
		if err == nil {
			f.renamed(a, b)
		}
		return err
	})
}

func (f *faultyFS) Remove(path string) error {
	return do0(f, "remove", func() error { return f.OSFS.Remove(path) })
}

func (f *faultyFS) RemoveAll(path string) error {
	return do0(f, "removeall", func() error {
		if f.half && f.at == f.calls {
			// A folder that is removed in part.
			entries, _ := os.ReadDir(path)
			for i := 0; i < len(entries); i += 2 {
				_ = os.RemoveAll(filepath.Join(path, entries[i].Name()))
			}
			return nil
		}
		return f.OSFS.RemoveAll(path)
	})
}

func (f *faultyFS) SyncDir(path string) error {
	return do0(f, "syncdir", func() error {
		// As slow as disks are, and nothing here that could be lost with the power.
		_, err := f.OSFS.Lstat(path)
		return err
	})
}

func (f *faultyFS) Writable(dir string) error {
	return do0(f, "access", func() error { return f.OSFS.Writable(dir) })
}

func (f *faultyFS) Lock(path string) (io.Closer, error) {
	if err := f.call("lock"); err != nil {
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	l, err := f.OSFS.Lock(path)
	if err == nil {
		f.mu.Lock()
		f.locks = append(f.locks, l)
		f.mu.Unlock()
		l = faultyLock{f, l}
	}
	return l, err
}

type faultyLock struct {
	f *faultyFS
	io.Closer
}

func (l faultyLock) Close() error {
	return do0(l.f, "unlock", l.Closer.Close)
}

type faultyFile struct {
	f    *faultyFS
	path string
	w    writers.WriteFile
}

func (w *faultyFile) Write(p []byte) (int, error) {
	if err := w.f.call("write"); err != nil {
		n := 0
		if w.f.half {
			n, _ = w.w.Write(p[:len(p)/2])
		}
		return n, &fs.PathError{Op: "write", Path: w.path, Err: err}
	}
	return w.w.Write(p)
}

func (w *faultyFile) Sync() error {
	if err := w.f.call("fsync"); err != nil {
		return &fs.PathError{Op: "fsync", Path: w.path, Err: err}
	}
	w.f.setSynced(w.path, true)
	return nil
}

func (w *faultyFile) Close() error {
	err := w.f.call("close")
	cerr := w.w.Close()
	if err != nil {
		return &fs.PathError{Op: "close", Path: w.path, Err: err}
	}
	return cerr
}

var faults = []error{syscall.ENOSPC, syscall.EIO}
