package writers

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// fileSystem is what the sink asks of the operating system. Tests put one in its place
// that fails, or stops, at the Nth call.
type fileSystem interface {
	Lstat(path string) (fs.FileInfo, error)
	ReadDir(path string) ([]fs.DirEntry, error)
	ReadFile(path string) ([]byte, error)
	Open(path string) (readFile, error)
	Create(path string) (writeFile, error) // truncates
	MkdirAll(path string) error
	Rename(from, to string) error // over a file or an empty folder
	Exchange(a, b string) error   // errNoExchange where that cannot be done here
	Remove(path string) error     // no error if it is not there
	RemoveAll(path string) error
	SyncDir(path string) error
	Writable(dir string) error
	Lock(path string) (io.Closer, error) // errLocked if another holds it
}

type readFile interface {
	io.Reader
	io.ReaderAt
	io.Seeker
	io.Closer
}

type writeFile interface {
	io.Writer
	Sync() error
	Close() error
}

var (
	errNoExchange = errors.New("the file system cannot exchange two folders")
	errLocked     = errors.New("locked by another process")
)

// osFS is the real thing.
type osFS struct{}

func (osFS) Lstat(path string) (fs.FileInfo, error)     { return os.Lstat(path) }
func (osFS) ReadDir(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }
func (osFS) ReadFile(path string) ([]byte, error)       { return os.ReadFile(path) }
func (osFS) Open(path string) (readFile, error)         { return os.Open(path) }
func (osFS) Create(path string) (writeFile, error)      { return os.Create(path) }
func (osFS) MkdirAll(path string) error                 { return os.MkdirAll(path, 0o777) }
func (osFS) Rename(from, to string) error               { return rename(from, to) }
func (osFS) Exchange(a, b string) error                 { return exchange(a, b) }
func (osFS) RemoveAll(path string) error                { return os.RemoveAll(path) }
func (osFS) Writable(dir string) error                  { return writable(dir) }
func (osFS) Lock(path string) (io.Closer, error)        { return lock(path) }

func (osFS) Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SyncDir makes the names in a folder durable. Some file systems cannot sync a folder;
// there nothing better can be had.
func (osFS) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// exists says whether there is something of that name.
func exists(fsys fileSystem, path string) (bool, error) {
	_, err := fsys.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// replaceFile writes a small file so that there is either the old one or the whole new
// one, also after the power went. Its temporary name is hidden.
func replaceFile(fsys fileSystem, path string, data []byte) error {
	dir, name := filepath.Split(path)
	tmp := filepath.Join(dir, "."+name+".tmp")
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(tmp))
	}
	if err := fsys.Rename(tmp, path); err != nil {
		return errors.Join(err, fsys.Remove(tmp))
	}
	return fsys.SyncDir(filepath.Clean(dir))
}
