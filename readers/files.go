package readers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/penstock-data/penstock/stage"
)

// Files says which files a source reads: the files, folders and globs of Paths, in that
// order, a file that comes twice once.
type Files struct {
	Paths []string
	FS    FileSystem // nil: the local disk
}

// Paths is the Files of the given files, folders and globs.
func Paths(paths ...string) Files { return Files{Paths: paths} }

// FileSystem is where files lie. It is used by several goroutines at once.
type FileSystem interface {
	Open(ctx context.Context, name string) (File, error)
	// ReadDir lists a folder in the order of names.
	ReadDir(ctx context.Context, name string) ([]fs.DirEntry, error)
	Stat(ctx context.Context, name string) (fs.FileInfo, error)
}

// File is an open file. It is used by one goroutine.
type File interface {
	io.Reader
	io.ReaderAt
	io.Seeker
	io.Closer
}

type localDisk struct{}

func (localDisk) Open(_ context.Context, name string) (File, error) { return os.Open(name) }
func (localDisk) ReadDir(_ context.Context, name string) ([]fs.DirEntry, error) {
	return os.ReadDir(name)
}
func (localDisk) Stat(_ context.Context, name string) (fs.FileInfo, error) { return os.Stat(name) }

func (f Files) fileSystem() FileSystem {
	if f.FS == nil {
		return localDisk{}
	}
	return f.FS
}

// maxDepth bounds how deep folders are nested: a link that leads back to a folder above
// it would be followed for ever.
const maxDepth = 100

// lister lists files. In folders it gives the files that want accepts.
type lister struct {
	fs   FileSystem
	want func(name string) bool
	kind string // what was looked for in a folder, for errors: "files ending in .txt"
}

// all gives the files of all paths, each once. The sequence ends after an error.
func (l lister) all(ctx context.Context, paths []string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		seen := map[string]bool{}
		for _, p := range paths {
			for file, err := range l.one(ctx, p) {
				if err == nil && len(paths) > 1 {
					if seen[sameFile(file)] {
						continue
					}
					seen[sameFile(file)] = true
				}
				if !yield(file, err) || err != nil {
					return
				}
			}
		}
	}
}

func sameFile(file string) string {
	if abs, err := filepath.Abs(file); err == nil {
		return abs
	}
	return file
}

// one gives the files of one path, at least one or an error.
func (l lister) one(ctx context.Context, given string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		name := path.Clean(filepath.ToSlash(given))
		if given == "" {
			yield("", fmt.Errorf("readers: an empty path was given: %w", stage.ErrNotFound))
			return
		}
		w := &walk{lister: l, yield: yield}
		info, err := l.fs.Stat(ctx, name)
		switch {
		case err == nil && info.IsDir():
			w.folder(ctx, name, 0)
		case err == nil:
			w.give(name)
		case strings.ContainsAny(name, "*?[{"):
			w.glob(ctx, name)
		default:
			w.fail(l.missing(ctx, name, err))
		}
		if w.found == 0 && !w.stopped {
			yield("", l.nothing(name, info != nil, w.passed))
		}
	}
}

// missing is the error for a path that could not be looked at.
func (l lister) missing(ctx context.Context, name string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("readers: %s: may not be read: %w", name, err)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("readers: %s: %w", name, err)
	}
	hint := ""
	if entries, err := l.fs.ReadDir(ctx, path.Dir(name)); err == nil {
		names := make([]string, len(entries))
		for i, e := range entries {
			names[i] = e.Name()
		}
		if near := stage.Nearest(path.Base(name), names); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", path.Join(path.Dir(name), near))
		}
	}
	return fmt.Errorf("readers: %s: no such file or folder%s: %w", name, hint, stage.ErrNotFound)
}

func (l lister) nothing(name string, folder bool, passed int) error {
	if folder {
		return fmt.Errorf("readers: %s: the folder has no %s (%d others were passed over; name them or use a glob to read them): %w",
			name, l.kind, passed, stage.ErrNotFound)
	}
	return fmt.Errorf("readers: %s: no file matches the pattern: %w", name, stage.ErrNotFound)
}

// walk is one path being listed.
type walk struct {
	lister
	yield         func(string, error) bool
	found, passed int
	stopped       bool
}

func (w *walk) give(file string) bool {
	w.found++
	if !w.yield(file, nil) {
		w.stopped = true
	}
	return !w.stopped
}

func (w *walk) fail(err error) bool {
	w.stopped = true
	w.yield("", err)
	return false
}

// entries lists a folder; ok is false when the walk has ended.
func (w *walk) entries(ctx context.Context, dir string, depth int) (list []fs.DirEntry, ok bool) {
	if err := ctx.Err(); err != nil {
		return nil, w.fail(err)
	}
	if depth > maxDepth {
		return nil, w.fail(fmt.Errorf("readers: %s: folders are nested more than %d deep; is there a link that leads back?", dir, maxDepth))
	}
	list, err := w.fs.ReadDir(ctx, dir)
	if err != nil {
		return nil, w.fail(w.missing(ctx, dir, err))
	}
	return list, true
}

// isFolder follows links. A link that leads nowhere is a fault where its name is wanted.
func (w *walk) isFolder(ctx context.Context, file string, e fs.DirEntry, wanted bool) (folder, ok bool) {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir(), true
	}
	info, err := w.fs.Stat(ctx, file)
	if err != nil && wanted {
		return false, w.fail(fmt.Errorf("readers: %s: the link leads nowhere: %w", file, err))
	}
	return err == nil && info.IsDir(), true
}

func hidden(name string) bool { return strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") }

// folder gives the files of dir and of all folders below it.
func (w *walk) folder(ctx context.Context, dir string, depth int) bool {
	list, ok := w.entries(ctx, dir, depth)
	for i := 0; ok && i < len(list); i++ {
		name := list[i].Name()
		if hidden(name) {
			w.passed++
			continue
		}
		file := path.Join(dir, name)
		sub, fine := w.isFolder(ctx, file, list[i], w.want(name))
		switch {
		case !fine:
			return false
		case sub:
			ok = w.folder(ctx, file, depth+1)
		case w.want(name):
			ok = w.give(file)
		default:
			w.passed++
		}
	}
	return ok
}

// glob gives the files that match pattern. A folder that matches is read as a folder,
// unless the pattern goes below it by itself with **.
func (w *walk) glob(ctx context.Context, pattern string) {
	if !doublestar.ValidatePattern(pattern) {
		w.fail(fmt.Errorf("readers: %s: the pattern is not well formed: is a bracket or brace open?", pattern))
		return
	}
	base, rest := doublestar.SplitPattern(pattern)
	g := globbing{walk: w, base: base, pattern: rest, deep: strings.Contains(rest, "**")}
	g.parts = cutPattern(rest)
	for _, part := range strings.Split(rest, "/") {
		g.hidden = g.hidden || hidden(part)
	}
	if _, err := w.fs.Stat(ctx, base); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return // nothing matches
		}
		w.fail(w.missing(ctx, base, err))
		return
	}
	g.folder(ctx, "", 0)
}

type globbing struct {
	*walk
	base, pattern string
	parts         []string // of the pattern, where it can be cut at slashes
	deep          bool     // has **
	hidden        bool     // names parts that begin with _ or . itself
}

func (g globbing) folder(ctx context.Context, rel string, depth int) bool {
	list, ok := g.entries(ctx, path.Join(g.base, rel), depth)
	for i := 0; ok && i < len(list); i++ {
		name := list[i].Name()
		if hidden(name) && !g.hidden {
			continue
		}
		under := path.Join(rel, name)
		matches := doublestar.MatchUnvalidated(g.pattern, under)
		if !matches && !g.leads(under) {
			continue
		}
		file := path.Join(g.base, under)
		sub, fine := g.isFolder(ctx, file, list[i], matches)
		switch {
		case !fine:
			return false
		case sub && matches && !g.deep:
			ok = g.walk.folder(ctx, file, depth+1)
		case sub && g.leads(under):
			ok = g.folder(ctx, under, depth+1)
		case !sub && matches:
			ok = g.give(file)
		}
	}
	return ok
}

// leads says whether something below the folder rel can match the pattern.
func (g globbing) leads(rel string) bool {
	if g.parts == nil {
		return true
	}
	names := strings.Split(rel, "/")
	for i, name := range names {
		if i >= len(g.parts) {
			return false
		}
		if g.parts[i] == "**" {
			return true
		}
		if !doublestar.MatchUnvalidated(g.parts[i], name) {
			return false
		}
	}
	return len(names) < len(g.parts)
}

// cutPattern cuts a pattern at its slashes; nil where one stands inside braces.
func cutPattern(pattern string) []string {
	parts := strings.Split(pattern, "/")
	for _, part := range parts {
		if strings.Count(part, "{") != strings.Count(part, "}") {
			return nil
		}
	}
	return parts
}
