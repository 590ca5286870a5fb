package writers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-data/penstock/stage"
)

// commit is what Commit is about to do, settled once: a Commit that is called again goes
// on with it.
type commit struct {
	journal  journal
	manifest Manifest
}

// fileSet is what is to be visible.
type fileSet struct{ data, errs []File }

// Commit makes the parts the output. See the package's comment for the steps.
func (s *sink) Commit(ctx context.Context, parts []stage.Part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.run
	if r == nil {
		if s.committed {
			return nil
		}
		return errNotBegun
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == nil {
		if err := r.settleOn(ctx, parts); err != nil {
			return err
		}
	}
	// From here on the context does not count: half a commit helps nobody.
	if err := r.publish(); err != nil {
		return r.wrap("commit", err)
	}
	if err := r.st.clear(); err != nil {
		return r.wrap("it is whole, but what it replaced could not be removed from "+r.st.dir, err)
	}
	if err := r.lock.Close(); err != nil {
		return r.wrap("unlock", err)
	}
	s.run, s.committed = nil, true
	return nil
}

// settleOn decides what is to be done, and makes files/ hold just that.
func (r *run) settleOn(ctx context.Context, parts []stage.Part) error {
	if r.chosen == nil {
		set, err := r.choose(ctx, parts)
		if err != nil {
			return err
		}
		r.chosen = set
	}
	all := slices.Concat(r.chosen.data, r.chosen.errs)
	keep := map[string]bool{}
	for _, f := range all {
		keep[f.Path] = true
	}
	if err := r.st.prune(keep); err != nil {
		return r.wrap("commit", err)
	}
	full, err := r.out.admit(r.cfg.Mode)
	if err != nil {
		return err
	}
	c := commit{journal: journal{Run: r.token, Append: full && r.cfg.Mode == Append}}
	if c.manifest, err = r.newManifest(c.journal.Append); err != nil {
		return err
	}
	c.manifest.add(r.chosen.data, r.chosen.errs)
	if err := r.begin(&c, all); err != nil {
		return r.wrap("commit", err)
	}
	r.pending = &c
	return nil
}

// choose is the files that are to be visible. Small ones are joined; those that were
// joined stand beside the new one until prune.
func (r *run) choose(ctx context.Context, parts []stage.Part) (*fileSet, error) {
	data, errs, err := r.collect(parts)
	if err != nil {
		return nil, err
	}
	if r.cfg.MinRowsPerFile > 0 {
		if data, err = r.join(ctx, data); err != nil {
			return nil, err
		}
	}
	if len(data) == 0 {
		empty, err := r.writeEmpty(ctx)
		if err != nil {
			return nil, err
		}
		data = append(data, empty)
	}
	return &fileSet{data, errs}, nil
}

// collect is the files of the parts in their order. All must be there.
func (r *run) collect(parts []stage.Part) (data, errs []File, err error) {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, byID)
	for i, p := range parts {
		if i > 0 && parts[i-1].ID == p.ID {
			return nil, nil, fmt.Errorf("writers: commit: %s is given twice", p.ID)
		}
		files, ok, err := r.st.intact(p)
		if err != nil {
			return nil, nil, r.wrap("commit", err)
		}
		if !ok {
			return nil, nil, fmt.Errorf("writers: commit: %s is not among the finished parts in %s", p.ID, r.st.dir)
		}
		if p.ID.Errors {
			errs = append(errs, files...)
		} else {
			data = append(data, files...)
		}
	}
	return data, errs, nil
}

// writeEmpty makes the one file of a job without rows.
func (r *run) writeEmpty(ctx context.Context) (File, error) {
	w := newPartWriter(r, stage.Env{}, stage.PartID{}, r.rows, filepath.Join(r.st.tmp(), "empty"))
	files, err := w.finish(ctx, true)
	if err == nil {
		err = w.place(files)
	}
	if err != nil {
		return File{}, errors.Join(err, w.drop())
	}
	return files[0].File, nil
}

func (r *run) newManifest(appending bool) (Manifest, error) {
	schema, err := encodeSchema(r.schema)
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{Version: manifestVersion, Files: []File{}}
	if appending {
		before, _, err := readManifest(r.cfg.fs, r.out.path)
		if err != nil {
			return Manifest{}, err
		}
		if before != nil {
			m = *before
		} else {
			files, err := r.out.dataFiles(r.cfg.extension())
			if err != nil {
				return Manifest{}, err
			}
			m.add(files, nil)
		}
	}
	m.Job, m.Run, m.Format = string(r.job), r.token, r.cfg.Format
	m.Schema, m.SchemaIPC, m.PartitionBy = describe(r.schema), schema, r.cfg.PartitionBy
	return m, nil
}

// begin writes the journal, and before it, where the whole folder is renamed, the
// manifest in it.
func (r *run) begin(c *commit, files []File) error {
	if c.journal.Append {
		made := map[string]bool{}
		for _, f := range files {
			c.journal.Files = append(c.journal.Files, f.Path)
			for dir := path.Dir(f.Path); dir != "." && !made[dir]; dir = path.Dir(dir) {
				there, err := exists(r.cfg.fs, r.out.file(dir))
				if err != nil {
					return err
				}
				if there {
					break
				}
				made[dir] = true
				c.journal.Dirs = append(c.journal.Dirs, dir)
			}
		}
		slices.SortFunc(c.journal.Dirs, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	} else {
		raw, err := c.manifest.encode()
		if err != nil {
			return err
		}
		if err := replaceFile(r.cfg.fs, r.st.file(ManifestName), raw); err != nil {
			return err
		}
	}
	return r.st.writeJSON(r.st.journalFile(), c.journal)
}

// publish changes the output. It may be called again after it failed anywhere.
func (r *run) publish() error {
	done, err := published(r.out, r.token)
	if err != nil {
		return err
	}
	if !done {
		if r.pending.journal.Append {
			err = r.moveIn()
		} else {
			err = r.replace()
		}
		if err != nil {
			return err
		}
	}
	return r.cfg.fs.SyncDir(r.out.parent())
}

// replace gives the output's name to files/.
func (r *run) replace() error {
	fsys := r.cfg.fs
	full, err := r.out.full()
	if err != nil {
		return err
	}
	if !full {
		return fsys.Rename(r.st.files(), r.out.path)
	}
	if _, err := r.out.admit(r.cfg.Mode); err != nil {
		return err
	}
	err = fsys.Exchange(r.st.files(), r.out.path)
	if !errors.Is(err, errNoExchange) {
		return err
	}
	if err := fsys.Rename(r.out.path, r.st.old()); err != nil {
		return err
	}
	if err := fsys.Rename(r.st.files(), r.out.path); err != nil {
		// The next Commit, Abort or Begin would do it too; the output is missing
		// until then.
		return errors.Join(err, fsys.Rename(r.st.old(), r.out.path))
	}
	return nil
}

// moveIn adds the files to the output and then replaces the manifest.
func (r *run) moveIn() error {
	fsys := r.cfg.fs
	dirs := map[string]bool{".": true}
	for _, dir := range slices.Backward(r.pending.journal.Dirs) { // the highest first
		if err := fsys.MkdirAll(r.out.file(dir)); err != nil {
			return err
		}
		dirs[path.Dir(dir)] = true
	}
	for _, rel := range r.pending.journal.Files {
		dirs[path.Dir(rel)] = true
		waiting, err := exists(fsys, r.st.file(rel))
		if err != nil {
			return err
		}
		if !waiting {
			continue
		}
		if err := fsys.Rename(r.st.file(rel), r.out.file(rel)); err != nil {
			return err
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if err := fsys.SyncDir(r.out.file(dir)); err != nil {
			return err
		}
	}
	raw, err := r.pending.manifest.encode()
	if err != nil {
		return err
	}
	return replaceFile(fsys, r.out.file(ManifestName), raw)
}
