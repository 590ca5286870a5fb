package writers

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-data/penstock/stage"
)

// output is the folder that a job writes, by its real path: links are followed, so that
// the folder itself is exchanged and not the link.
type output struct {
	fs   fileSystem
	path string
}

func resolve(fsys fileSystem, path string) (output, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return output{}, fmt.Errorf("writers: output %s: %w", path, err)
	}
	if abs == filepath.Dir(abs) {
		return output{}, fmt.Errorf("writers: output %s is the root of the file system: name a folder below it", path)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return output{fsys, real}, nil
	}
	// It is not there yet; its parent may be.
	if parent, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(parent, filepath.Base(abs))
	}
	return output{fsys, abs}, nil
}

func (o output) parent() string { return filepath.Dir(o.path) }

func (o output) file(rel string) string { return filepath.Join(o.path, filepath.FromSlash(rel)) }

// hidden is a name beside the output that readers pass over.
func (o output) hidden(suffix string) string {
	return filepath.Join(o.parent(), "."+filepath.Base(o.path)+".penstock"+suffix)
}

// full says whether there is a folder with something in it.
func (o output) full() (bool, error) {
	info, err := o.fs.Lstat(o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("writers: output %s: %w", o.path, bare(err))
	case info.Mode()&fs.ModeSymlink != 0:
		return false, fmt.Errorf("writers: output %s is a link to nothing: remove it or name another folder", o.path)
	case !info.IsDir():
		return false, fmt.Errorf("writers: output %s is a file, and a folder is written: name another one", o.path)
	}
	entries, err := o.fs.ReadDir(o.path)
	if err != nil {
		return false, fmt.Errorf("writers: output %s: %w", o.path, bare(err))
	}
	return len(entries) > 0, nil
}

// admit says whether this mode may write here, and whether there is something already.
func (o output) admit(mode Mode) (full bool, err error) {
	full, err = o.full()
	if err != nil || !full {
		return full, err
	}
	switch mode {
	case ErrorIfExists:
		return full, fmt.Errorf("%w: %s is not empty: use --mode overwrite to replace it, --mode append to add to it, or another --output",
			stage.ErrOutputExists, o.path)
	case Ignore:
		return full, ErrIgnored
	case Overwrite:
		return full, o.guard()
	}
	return full, nil
}

// writable says whether the folder that is to hold the output, or the nearest one above
// that is there, may be written to.
func (o output) writable() error {
	for dir := o.parent(); ; dir = filepath.Dir(dir) {
		info, err := o.fs.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			continue
		}
		if err == nil && !info.IsDir() && info.Mode()&fs.ModeSymlink == 0 {
			return fmt.Errorf("writers: output %s: %s is a file, not a folder", o.path, dir)
		}
		if err == nil {
			err = o.fs.Writable(dir)
		}
		if err != nil {
			return fmt.Errorf("writers: output %s: cannot write to folder %s, which is to hold it: %w", o.path, dir, bare(err))
		}
		return nil
	}
}

// guard refuses to overwrite a folder that holds anything but a data set: a mistyped
// path must not cost a home folder.
func (o output) guard() error {
	return o.walk("", func(rel string, entry fs.DirEntry) error {
		if !foreign(rel, entry) {
			return nil
		}
		return fmt.Errorf("writers: will not overwrite %s: %s is not part of a data set: name another --output, or remove that folder yourself",
			o.path, o.file(rel))
	})
}

// dataFiles are the files of the format that a folder without a manifest holds, for the
// manifest of an append. Their rows are not known.
func (o output) dataFiles(ext string) ([]File, error) {
	var out []File
	err := o.walk("", func(rel string, entry fs.DirEntry) error {
		if entry.IsDir() || !strings.HasSuffix(rel, ext) || isHidden(rel) || strings.HasPrefix(rel, ErrorsFolder+"/") {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return fmt.Errorf("writers: %s: %w", o.file(rel), bare(err))
		}
		out = append(out, File{Path: rel, Rows: -1, Bytes: info.Size()})
		return nil
	})
	return out, err
}

// walk visits everything below dir, in the order of names.
func (o output) walk(dir string, visit func(rel string, entry fs.DirEntry) error) error {
	entries, err := o.fs.ReadDir(o.file(dir))
	if err != nil {
		return fmt.Errorf("writers: %s: %w", o.file(dir), bare(err))
	}
	for _, entry := range entries {
		rel := filepath.ToSlash(filepath.Join(dir, entry.Name()))
		if err := visit(rel, entry); err != nil {
			return err
		}
		if entry.IsDir() {
			if err := o.walk(rel, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

var dataExtensions = []string{".parquet", ".jsonl", ".ndjson", ".csv", ".arrow", ".ipc", ".feather"}

// foreign says whether an entry of a folder has no place in a data set: those hold data
// files, partition folders (name=value), dead letters, and the marks that engines leave.
func foreign(rel string, entry fs.DirEntry) bool {
	name := entry.Name()
	if entry.IsDir() {
		return name != ErrorsFolder && !strings.Contains(name, "=")
	}
	if !entry.Type().IsRegular() {
		return true
	}
	switch strings.TrimSuffix(name, ".tmp") {
	case ManifestName, "." + ManifestName, "_SUCCESS", "_metadata", "_common_metadata":
		return false
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	return isHidden(rel) || !slices.Contains(dataExtensions, filepath.Ext(name))
}

// isHidden says whether a name of the path, other than that of the dead letters' folder,
// is one that readers pass over.
func isHidden(rel string) bool {
	for _, name := range strings.Split(rel, "/") {
		if name != ErrorsFolder && strings.ContainsAny(name[:1], "_.") {
			return true
		}
	}
	return false
}

// bare is the cause in an error of the os package, without the path: those of the
// staging folder say nothing to people.
func bare(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}
