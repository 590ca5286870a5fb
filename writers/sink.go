package writers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/penstock-data/penstock/stage"
)

// Files makes a sink that writes a folder of files. It touches nothing before Begin; the
// error says all that is wrong with the settings. The sink also is a [stage.Keeper].
func Files(cfg Config) (stage.Sink, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &sink{cfg: cfg.withDefaults()}, nil
}

// sink is one output. Its methods may be called from several goroutines.
type sink struct {
	cfg Config

	mu        sync.Mutex
	run       *run // from Begin to Commit, Abort or Keep
	committed bool // the last run was
}

// run is one job's use of the sink.
type run struct {
	cfg    Config
	out    output
	st     staging
	lock   io.Closer
	job    stage.JobID
	token  string
	schema *arrow.Schema
	rows   *layout
	errors *layout

	mu      sync.Mutex // guards what follows, and moving a finished part to its place
	opened  int        // part writers so far: names their temporary files
	chosen  *fileSet   // once Commit knows which files are to be visible
	pending *commit    // once Commit has begun to change the output
}

var errNotBegun = errors.New("writers: the sink was not begun, or has ended")

func (s *sink) ID() stage.StageID {
	c := s.cfg
	settings, _ := json.Marshal(map[string]any{ // of strings and numbers: cannot fail
		"path": c.Path, "format": c.Format, "mode": c.Mode, "max_rows_per_file": c.MaxRowsPerFile,
		"min_rows_per_file": c.MinRowsPerFile, "partition_by": c.PartitionBy, "file_name": c.FileName,
		"compression": c.Compression, "row_group_bytes": c.RowGroupBytes, "row_group_rows": c.RowGroupRows,
	})
	return stage.StageID{Name: "write-" + c.Format.String(), Version: "1", Settings: settings}
}

func (s *sink) Check(ctx context.Context, schema *arrow.Schema) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	out, err := resolve(s.cfg.fs, s.cfg.Path)
	if err != nil {
		return err
	}
	full, err := out.admit(s.cfg.Mode)
	if errors.Is(err, ErrIgnored) {
		return err
	}
	faults := []error{err}
	if err == nil && full && s.cfg.Mode == Append {
		faults = append(faults, s.appendable(out, schema))
	}
	_, err = newLayout(s.cfg, schema)
	return errors.Join(append(faults, err, out.writable())...)
}

// appendable says whether rows of this schema may stand beside those of the output.
func (s *sink) appendable(out output, schema *arrow.Schema) error {
	m, _, err := readManifest(out.fs, out.path)
	if err != nil || m == nil {
		return err
	}
	if m.Format != s.cfg.Format {
		return fmt.Errorf("writers: cannot append to %s: it holds %s files, not %s", out.path, m.Format, s.cfg.Format)
	}
	if err := sameColumns(m.Schema, describe(schema)); err != nil {
		return fmt.Errorf("writers: cannot append to %s: %w", out.path, err)
	}
	return nil
}

func (s *sink) Begin(ctx context.Context, schema *arrow.Schema, job stage.JobID) (parts []stage.Part, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run != nil {
		return nil, errors.New("writers: the sink was begun already")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &run{cfg: s.cfg, job: job, schema: schema}
	if r.out, err = resolve(s.cfg.fs, s.cfg.Path); err != nil {
		return nil, err
	}
	if r.rows, err = newLayout(s.cfg, schema); err != nil {
		return nil, err
	}
	if r.errors, err = newErrorLayout(s.cfg); err != nil {
		return nil, err
	}
	if err := r.take(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.lock.Close())
		}
	}()
	if parts, err = s.prepare(r); err != nil {
		return nil, err
	}
	s.run, s.committed = r, false
	return parts, nil
}

// take makes the folder above the output and locks the output.
func (r *run) take() (err error) {
	if err := r.out.writable(); err != nil {
		return err
	}
	if err := r.cfg.fs.MkdirAll(r.out.parent()); err != nil {
		return r.wrap("make its folder", err)
	}
	// Only now are links on the way to it sure to be found.
	if r.out, err = resolve(r.cfg.fs, r.cfg.Path); err != nil {
		return err
	}
	name := r.out.hidden(".lock")
	r.lock, err = r.cfg.fs.Lock(name)
	if errors.Is(err, errLocked) {
		return fmt.Errorf("writers: output %s is being written by another job (%s: %w): wait for it, or name another --output",
			r.out.path, name, err)
	}
	if err != nil {
		return r.wrap("lock "+name, err)
	}
	return nil
}

// prepare ends what earlier jobs left, and makes or takes up the staging folder.
func (s *sink) prepare(r *run) ([]stage.Part, error) {
	r.st = staging{r.cfg.fs, r.out.hidden("-" + digest(8, []byte(r.job)))}
	left, err := stagings(r.out)
	if err != nil {
		return nil, r.wrap("look for unfinished jobs beside it", err)
	}
	for _, st := range left {
		err := st.settle(r.out)
		if err == nil && st.dir != r.st.dir {
			err = st.clear()
		}
		if err != nil {
			return nil, r.wrap("clear what an earlier job left in "+st.dir, err)
		}
	}
	full, err := r.out.admit(s.cfg.Mode)
	if err != nil {
		return nil, err
	}
	if full && s.cfg.Mode == Append {
		if err := s.appendable(r.out, r.schema); err != nil {
			return nil, err
		}
	}
	want, err := s.identity(r)
	if err != nil {
		return nil, err
	}
	token, parts, err := r.st.open(want)
	if err != nil {
		return nil, r.wrap("make the staging folder "+r.st.dir, err)
	}
	r.token = token
	return parts, nil
}

// identity names the run. Its token follows from the job and from what the output is
// now, so that it differs from that of every run whose files stand there, and still is
// the same for the same job over the same state.
func (s *sink) identity(r *run) (stagedJob, error) {
	_, before, err := readManifest(r.cfg.fs, r.out.path)
	if err != nil {
		return stagedJob{}, err
	}
	if full, err := r.out.full(); err != nil || (full && before == nil) {
		files, lerr := r.out.dataFiles("")
		if err := errors.Join(err, lerr); err != nil {
			return stagedJob{}, err
		}
		if before, err = json.Marshal(files); err != nil {
			return stagedJob{}, err
		}
	}
	schema, err := encodeSchema(r.schema)
	if err != nil {
		return stagedJob{}, err
	}
	return stagedJob{
		Version: stagingVersion,
		Job:     string(r.job),
		Sink:    digest(16, []byte(s.ID().Fingerprint()), []byte(schema)),
		Run:     digest(4, []byte(r.job), before),
	}, nil
}

func (s *sink) OpenPart(ctx context.Context, env stage.Env, id stage.PartID) (stage.PartWriter, error) {
	r, err := s.current()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	lay := r.rows
	if id.Errors {
		lay = r.errors
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chosen != nil {
		return nil, errors.New("writers: no part can be opened once the commit has begun")
	}
	// It counts as unfinished from here on.
	if err := r.cfg.fs.Remove(r.st.record(id)); err != nil {
		return nil, r.wrap("open "+id.String(), err)
	}
	r.opened++
	return newPartWriter(r, env, id, lay, filepath.Join(r.st.tmp(), fmt.Sprintf("%d-%s", r.opened, id))), nil
}

func (s *sink) current() (*run, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == nil {
		return nil, errNotBegun
	}
	return s.run, nil
}

// Abort also ends a commit that failed, and puts back what it had moved.
func (s *sink) Abort(context.Context) error {
	return s.end("abort", func(r *run) error { return r.st.clear() })
}

// Keep also gives up the lock on the output.
func (s *sink) Keep(context.Context) error {
	return s.end("keep the finished parts", func(*run) error { return nil })
}

func (s *sink) end(what string, last func(*run) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.run
	if r == nil {
		return nil
	}
	err := r.st.settle(r.out)
	if err == nil {
		err = last(r)
	}
	if err == nil {
		err = r.lock.Close()
	}
	if err != nil {
		return r.wrap(what, err)
	}
	s.run = nil
	return nil
}

func (r *run) wrap(what string, err error) error {
	return fmt.Errorf("writers: output %s: %s: %w", r.out.path, what, err)
}
