package writers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/penstock-data/penstock/stage"
)

// staging is the hidden folder beside an output that holds what is not yet visible:
//
//	job.json    whose it is: stagedJob
//	tmp/        files being written
//	files/      finished files, under the names that they will have in the output
//	records/    a stage.Part for each finished part, written once its files are durable
//	commit.json the journal, once a commit has begun to change the output
//	old/        the former output, where it had to be moved aside
//
// Its invariants: a record's files are whole and synced; without a journal the output
// was not touched; with one, the manifest of the output says whether the commit was
// finished (it has the journal's run) or must be taken back. The records are removed
// before anything else of a staging folder is, so that files/ is never taken for the
// work of a job when it holds the output that was replaced.
type staging struct {
	fs  fileSystem
	dir string
}

type stagedJob struct {
	Version int    `json:"version"`
	Job     string `json:"job"`
	Sink    string `json:"sink"` // fingerprint of the sink's settings and the schema
	Run     string `json:"run"`
}

// journal says what a commit does to the output.
type journal struct {
	Run    string   `json:"run"`
	Append bool     `json:"append"`
	Files  []string `json:"files"`          // to be moved into the output, where Append
	Dirs   []string `json:"dirs,omitempty"` // that had to be made for them, the deepest first
}

const stagingVersion = 1

// partSpec is what Part.Spec holds.
type partSpec struct {
	Files []File `json:"files"`
}

func (s staging) files() string          { return filepath.Join(s.dir, "files") }
func (s staging) file(rel string) string { return filepath.Join(s.files(), filepath.FromSlash(rel)) }
func (s staging) tmp() string            { return filepath.Join(s.dir, "tmp") }
func (s staging) records() string        { return filepath.Join(s.dir, "records") }
func (s staging) record(id stage.PartID) string {
	return filepath.Join(s.records(), id.String()+".json")
}
func (s staging) jobFile() string     { return filepath.Join(s.dir, "job.json") }
func (s staging) journalFile() string { return filepath.Join(s.dir, "commit.json") }
func (s staging) old() string         { return filepath.Join(s.dir, "old") }
func (s staging) writeJSON(path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return replaceFile(s.fs, path, raw)
}

// readJSON says false where there is no such file, or one that was not written whole.
func (s staging) readJSON(path string, v any) (bool, error) {
	raw, err := s.fs.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && json.Unmarshal(raw, v) == nil, err
}

// stagings are the staging folders of an output, of any job.
func stagings(out output) ([]staging, error) {
	entries, err := out.fs.ReadDir(out.parent())
	if err != nil {
		return nil, err
	}
	name := regexp.MustCompile("^" + regexp.QuoteMeta(filepath.Base(out.hidden("-"))) + "[0-9a-f]{16}$")
	var all []staging
	for _, e := range entries {
		if e.IsDir() && name.MatchString(e.Name()) {
			all = append(all, staging{out.fs, filepath.Join(out.parent(), e.Name())})
		}
	}
	return all, nil
}

// settle ends a commit that was cut short: one that was finished is cleaned up behind,
// any other is taken back, so that the output is what it was before.
func (s staging) settle(out output) error {
	var j journal
	found, err := s.readJSON(s.journalFile(), &j)
	if err != nil || !found {
		return err
	}
	done, err := published(out, j.Run)
	if err != nil {
		return err
	}
	if done {
		return s.clear()
	}
	if j.Append {
		err = s.takeBack(out, j)
	} else {
		err = s.restore(out, j)
	}
	if err != nil {
		return err
	}
	if err := s.fs.Remove(s.journalFile()); err != nil {
		return err
	}
	return s.syncIfThere(s.dir)
}

// published says whether the output is the one of this run.
func published(out output, run string) (bool, error) {
	m, _, err := readManifest(out.fs, out.path)
	return m != nil && m.Run == run, err
}

// takeBack moves the files of an unfinished append back.
func (s staging) takeBack(out output, j journal) error {
	for _, rel := range j.Files {
		if there, err := exists(s.fs, s.file(rel)); there || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		err := s.fs.Rename(out.file(rel), s.file(rel))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := s.fs.Remove(out.file("." + ManifestName + ".tmp")); err != nil {
		return err
	}
	for _, dir := range j.Dirs {
		// Not empty: another program has put something there, which stays.
		_ = s.fs.Remove(out.file(dir))
	}
	return s.syncIfThere(out.path)
}

// restore puts the former output back if it was moved aside, and drops files/ if that
// is not what the journal's run has written.
func (s staging) restore(out output, j journal) error {
	aside, err := exists(s.fs, s.old())
	if err != nil {
		return err
	}
	if aside {
		full, err := out.full()
		if err != nil {
			return err
		}
		if full {
			return fmt.Errorf("%s holds the former data of %s, and there is other data now: move one of them away", s.old(), out.path)
		}
		if err := s.fs.Rename(s.old(), out.path); err != nil {
			return err
		}
		if err := s.fs.SyncDir(out.parent()); err != nil {
			return err
		}
	}
	m, _, err := readManifest(s.fs, s.files())
	if err == nil && m != nil && m.Run == j.Run {
		return nil
	}
	return errors.Join(s.fs.RemoveAll(s.records()), s.fs.RemoveAll(s.files()))
}

// clear removes the folder, the records first.
func (s staging) clear() error {
	if err := s.fs.RemoveAll(s.records()); err != nil {
		return err
	}
	return s.fs.RemoveAll(s.dir)
}

// open makes the folder ready for a run. Finished parts of an earlier run of the same
// job are returned, and its token is kept; anything else is removed.
func (s staging) open(want stagedJob) (run string, parts []stage.Part, err error) {
	var have stagedJob
	found, err := s.readJSON(s.jobFile(), &have)
	if err != nil {
		return "", nil, err
	}
	if found && have.Version == want.Version && have.Job == want.Job && have.Sink == want.Sink {
		want.Run = have.Run
		parts, err = s.resume()
		return want.Run, parts, err
	}
	if err := s.clear(); err != nil {
		return "", nil, err
	}
	for _, dir := range []string{s.files(), s.tmp(), s.records()} {
		if err := s.fs.MkdirAll(dir); err != nil {
			return "", nil, err
		}
	}
	if err := s.fs.SyncDir(filepath.Dir(s.dir)); err != nil {
		return "", nil, err
	}
	return want.Run, nil, s.writeJSON(s.jobFile(), want)
}

// resume reads the records, and removes every file that none of them names.
func (s staging) resume() ([]stage.Part, error) {
	for _, dir := range []string{s.tmp(), s.old()} {
		if err := s.fs.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{s.files(), s.tmp(), s.records()} {
		if err := s.fs.MkdirAll(dir); err != nil {
			return nil, err
		}
	}
	entries, err := s.fs.ReadDir(s.records())
	if err != nil {
		return nil, err
	}
	var parts []stage.Part
	keep := map[string]bool{}
	for _, e := range entries {
		name := filepath.Join(s.records(), e.Name())
		var part stage.Part
		found, err := s.readJSON(name, &part)
		if err != nil {
			return nil, err
		}
		files, ok, err := s.intact(part)
		if err != nil {
			return nil, err
		}
		if !found || !ok || name != s.record(part.ID) {
			if err := s.fs.Remove(name); err != nil {
				return nil, err
			}
			continue
		}
		for _, f := range files {
			keep[f.Path] = true
		}
		parts = append(parts, part)
	}
	slices.SortFunc(parts, byID)
	return parts, s.prune(keep)
}

// intact says whether the files of a part stand in files/, and are as long as they were.
func (s staging) intact(part stage.Part) ([]File, bool, error) {
	var spec partSpec
	if json.Unmarshal(part.Spec, &spec) != nil {
		return nil, false, nil
	}
	for _, f := range spec.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			return nil, false, nil
		}
		info, err := s.fs.Lstat(s.file(f.Path))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, false, err
		}
		if err != nil || !info.Mode().IsRegular() || info.Size() != f.Bytes {
			return nil, false, nil
		}
	}
	return spec.Files, true, nil
}

// prune removes the files below files/ that are not to be kept, and then empty folders.
func (s staging) prune(keep map[string]bool) error {
	var dirs []string
	err := output{s.fs, s.files()}.walk("", func(rel string, e fs.DirEntry) error {
		if e.IsDir() {
			dirs = append(dirs, rel)
			return nil
		}
		if keep[rel] {
			return nil
		}
		return s.fs.Remove(s.file(rel))
	})
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for rel := range keep {
		for dir := path.Dir(rel); dir != "."; dir = path.Dir(dir) {
			used[dir] = true
		}
	}
	for _, dir := range slices.Backward(dirs) {
		if used[dir] {
			continue
		}
		if err := s.fs.Remove(s.file(dir)); err != nil {
			return err
		}
	}
	return nil
}

func (s staging) syncIfThere(dir string) error {
	if there, err := exists(s.fs, dir); err != nil || !there {
		return err
	}
	return s.fs.SyncDir(dir)
}

// byID puts parts of rows before those of errors, each in the order of groups.
func byID(a, b stage.Part) int {
	switch {
	case a.ID.Errors != b.ID.Errors:
		if b.ID.Errors {
			return -1
		}
		return 1
	case a.ID.Group < b.ID.Group:
		return -1
	case a.ID.Group > b.ID.Group:
		return 1
	}
	return 0
}
