package writers_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

var ctx = context.Background()

func TestModes(t *testing.T) {
	t.Run("error", func(t *testing.T) {
		out := filepath.Join(scratch(t), "out")
		require.NoError(t, job(writers.Config{Path: out}, "a", 0, 1))
		require.Equal(t, count(0, 20), rowNumbers(t, out))
		err := job(writers.Config{Path: out}, "b", 2)
		require.ErrorIs(t, err, stage.ErrOutputExists)
		require.ErrorContains(t, err, out)
		require.ErrorContains(t, err, "--mode overwrite")
		require.Equal(t, count(0, 20), rowNumbers(t, out))
		clean(t, out)
	})
	t.Run("ignore", func(t *testing.T) {
		out := filepath.Join(scratch(t), "out")
		cfg := writers.Config{Path: out, Mode: writers.Ignore}
		require.NoError(t, job(cfg, "a", 0))
		require.ErrorIs(t, job(cfg, "b", 1), writers.ErrIgnored)
		_, err := open(t, cfg).Begin(ctx, simple(), "b")
		require.ErrorIs(t, err, writers.ErrIgnored)
		require.Equal(t, count(0, 10), rowNumbers(t, out))
		clean(t, out)
	})
	t.Run("overwrite", func(t *testing.T) {
		out := filepath.Join(scratch(t), "out")
		cfg := writers.Config{Path: out, Mode: writers.Overwrite}
		require.NoError(t, job(cfg, "a", 0, 1))
		require.NoError(t, job(cfg, "b", 3))
		require.Equal(t, count(30, 40), rowNumbers(t, out))
		require.NoError(t, job(cfg, "b", 3), "the same job over its own output")
		require.Equal(t, count(30, 40), rowNumbers(t, out))
		clean(t, out)
	})
	t.Run("append", func(t *testing.T) {
		out := filepath.Join(scratch(t), "out")
		cfg := writers.Config{Path: out, Mode: writers.Append}
		require.NoError(t, job(cfg, "a", 0))
		require.NoError(t, job(cfg, "a", 0), "the same job again")
		require.NoError(t, job(cfg, "b", 0, 1))
		require.Len(t, names(t, out), 4)
		require.ElementsMatch(t, append(append(count(0, 10), count(0, 10)...), count(0, 20)...), rowNumbers(t, out))
		m, err := writers.ReadManifest(out)
		require.NoError(t, err)
		require.Equal(t, int64(40), m.Rows)
		require.Equal(t, "b", m.Job)
		clean(t, out)
	})
}

func TestPlaces(t *testing.T) {
	t.Run("an empty folder is no output", func(t *testing.T) {
		out := filepath.Join(scratch(t), "out")
		require.NoError(t, os.Mkdir(out, 0o777))
		require.NoError(t, job(writers.Config{Path: out}, "a", 0))
		require.Equal(t, count(0, 10), rowNumbers(t, out))
		clean(t, out)
	})
	t.Run("folders above are made", func(t *testing.T) {
		out := filepath.Join(scratch(t), "x", "y", "out")
		require.NoError(t, job(writers.Config{Path: out}, "a", 0))
		require.Equal(t, count(0, 10), rowNumbers(t, out))
	})
	t.Run("a link is followed", func(t *testing.T) {
		dir := scratch(t)
		require.NoError(t, os.Mkdir(filepath.Join(dir, "real"), 0o777))
		require.NoError(t, os.Symlink(filepath.Join(dir, "real"), filepath.Join(dir, "link")))
		for range 2 {
			require.NoError(t, job(writers.Config{Path: filepath.Join(dir, "link"), Mode: writers.Overwrite}, "a", 0))
		}
		require.Equal(t, count(0, 10), rowNumbers(t, filepath.Join(dir, "real")))
		info, err := os.Lstat(filepath.Join(dir, "link"))
		require.NoError(t, err)
		require.NotZero(t, info.Mode()&os.ModeSymlink)
	})
}

func TestAppendToAFolderWithoutManifest(t *testing.T) {
	out := filepath.Join(scratch(t), "out")
	require.NoError(t, job(writers.Config{Path: out}, "a", 0))
	require.NoError(t, os.Remove(filepath.Join(out, writers.ManifestName)))
	require.NoError(t, job(writers.Config{Path: out, Mode: writers.Append}, "b", 1))
	m, err := writers.ReadManifest(out)
	require.NoError(t, err)
	require.Len(t, m.Files, 2)
	require.Equal(t, int64(-1), m.Files[0].Rows)
	require.Equal(t, int64(-1), m.Rows, "nobody counted the first file")
	require.Equal(t, count(0, 20), rowNumbers(t, out))
}

func TestAppendRefusesOtherColumns(t *testing.T) {
	out := filepath.Join(scratch(t), "out")
	require.NoError(t, job(writers.Config{Path: out}, "a", 0))
	s := open(t, writers.Config{Path: out, Mode: writers.Append})
	other := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "text", Type: arrow.BinaryTypes.Binary}}, nil)
	require.ErrorContains(t, s.Check(ctx, other), `its column "text" is utf8, not binary`)
	_, err := s.Begin(ctx, other, "b")
	require.ErrorContains(t, err, out)
	err = open(t, writers.Config{Path: out, Mode: writers.Append, Format: writers.JSONL}).Check(ctx, simple())
	require.ErrorContains(t, err, "it holds parquet files, not jsonl")
}

// TestOverwriteSparesWhatIsNoData: --output ~ must not cost a home.
func TestOverwriteSparesWhatIsNoData(t *testing.T) {
	for _, name := range []string{"notes.txt", ".bashrc", "src/main.go", "part-000000.parquet/x", "photos/a.jsonl", ".git/config", "_errors/x.log"} {
		out := filepath.Join(scratch(t), "out")
		require.NoError(t, job(writers.Config{Path: out, Format: writers.JSONL, PartitionBy: []string{"text"}}, "a", 0))
		path := filepath.Join(out, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, []byte("dear"), 0o666))
		s := open(t, writers.Config{Path: out, Mode: writers.Overwrite})
		for _, err := range []error{s.Check(ctx, simple()), job(writers.Config{Path: out, Mode: writers.Overwrite}, "b", 1)} {
			require.ErrorContains(t, err, "will not overwrite "+out, name)
			require.ErrorContains(t, err, filepath.Join(out, strings.Split(name, "/")[0]), name)
		}
		require.FileExists(t, path)
		clean(t, out)
	}
}

func TestOverwriteWhatOtherEnginesLeft(t *testing.T) {
	out := filepath.Join(scratch(t), "out")
	for _, name := range []string{"_SUCCESS", "_metadata", "year=2024/part.0.parquet", "a.csv.gz", "b.ndjson.zst", "_errors/part-000000.jsonl"} {
		path := filepath.Join(out, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, nil, 0o666))
	}
	require.NoError(t, job(writers.Config{Path: out, Mode: writers.Overwrite}, "b", 1))
	stands(t, out)
}

func TestPathsThatCannotBe(t *testing.T) {
	dir := scratch(t)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o666))
	require.NoError(t, os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "dangling")))
	for path, want := range map[string]string{
		file:                            file + " is a file, and a folder is written",
		filepath.Join(file, "x", "out"): file,
		"/":                             "root of the file system",
		filepath.Join(dir, "dangling"):  "a link to nothing",
	} {
		s := open(t, writers.Config{Path: path})
		require.ErrorContains(t, s.Check(ctx, simple()), want)
		_, err := s.Begin(ctx, simple(), "a")
		require.ErrorContains(t, err, want)
	}
	for what, cause := range map[string]error{"permission denied": syscall.EACCES, "read-only file system": syscall.EROFS} {
		fsys := &readOnly{err: cause}
		err := open(t, writers.Config{Path: filepath.Join(dir, "out")}.WithFS(fsys)).Check(ctx, simple())
		require.ErrorIs(t, err, cause)
		require.ErrorContains(t, err, dir)
		require.ErrorContains(t, err, what)
	}
}

type readOnly struct {
	writers.OSFS
	err error
}

func (r *readOnly) Writable(dir string) error {
	return &os.PathError{Op: "write to", Path: dir, Err: r.err}
}

// TestFullDisk: the error names the file, and nothing looks whole.
func TestFullDisk(t *testing.T) {
	for name, format := range map[string]writers.Format{"parquet": writers.Parquet, "jsonl": writers.JSONL, "csv": writers.CSV, "arrow": writers.IPC} {
		mem := testkit.Allocator(t)
		out := filepath.Join(scratch(t), "out")
		s := open(t, writers.Config{Path: out, Format: format}.WithFS(&fullDisk{}))
		_, err := s.Begin(ctx, simple(), "a")
		require.NoError(t, err)
		_, err = writePart(s, envOf(mem), partID(4), numbered(mem, 0, 1000))
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorContains(t, err, filepath.Join(out, "part-000004."+name))
		require.NotContains(t, err.Error(), ".penstock-")
		require.NoDirExists(t, out)
		require.NoError(t, s.Abort(ctx))
		require.Empty(t, tree(t, filepath.Dir(out)))
	}
}

// fullDisk has room for names, not for data.
type fullDisk struct{ writers.OSFS }

func (f *fullDisk) Create(path string) (writers.WriteFile, error) {
	w, err := f.OSFS.Create(path)
	if err != nil || strings.HasSuffix(path, ".tmp") {
		return w, err
	}
	return fullFile{w}, nil
}

type fullFile struct{ writers.WriteFile }

func (fullFile) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "/tmp/.penstock-", Err: syscall.ENOSPC}
}

func TestTwoJobsAtOnce(t *testing.T) {
	out := filepath.Join(scratch(t), "out")
	first := open(t, writers.Config{Path: out})
	_, err := first.Begin(ctx, simple(), "a")
	require.NoError(t, err)
	for _, name := range []stage.JobID{"a", "b"} {
		second := open(t, writers.Config{Path: out, Mode: writers.Overwrite})
		require.NoError(t, second.Check(ctx, simple()))
		_, err = second.Begin(ctx, simple(), name)
		require.ErrorContains(t, err, out+" is being written by another job")
		require.NoError(t, second.Abort(ctx), "it holds nothing")
	}
	_, err = first.Begin(ctx, simple(), "a")
	require.ErrorContains(t, err, "begun already")
	part, err := writePart(first, stage.Env{}, partID(0), numbered(memory.DefaultAllocator, 0, 10))
	require.NoError(t, err)
	require.NoError(t, first.Commit(ctx, []stage.Part{part}))
	require.NoError(t, first.Commit(ctx, []stage.Part{part}), "once more does nothing")
	require.NoError(t, first.Abort(ctx), "too late, and no harm")
	require.NoError(t, job(writers.Config{Path: out, Mode: writers.Overwrite}, "b", 1))
	require.Equal(t, count(10, 20), rowNumbers(t, out))
	clean(t, out)
}

// TestManyJobsForOneOutput: of those that run at a time one wins and the others say why.
func TestManyJobsForOneOutput(t *testing.T) {
	out := filepath.Join(scratch(t), "out")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			for {
				errs[i] = job(writers.Config{Path: out, Mode: writers.Append}, stage.JobID(rune('a'+i)), int64(i))
				if errs[i] == nil || !strings.Contains(errs[i].Error(), "another job") {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.ElementsMatch(t, count(0, 80), rowNumbers(t, out))
	stands(t, out)
	clean(t, out)
}

// TestResume: the finished parts of a job that was killed, or kept, need not be written
// again; another job clears them.
func TestResume(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *faultyFS, stage.Sink){
		"killed": func(_ *testing.T, fsys *faultyFS, _ stage.Sink) { fsys.kill() },
		"kept": func(t *testing.T, _ *faultyFS, s stage.Sink) {
			require.NoError(t, s.(stage.Keeper).Keep(ctx))
			require.NoError(t, s.(stage.Keeper).Keep(ctx))
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(scratch(t), "out")
			start := func() (stage.Part, stage.Part) {
				fsys := &faultyFS{}
				s := open(t, writers.Config{Path: out}.WithFS(fsys))
				done, err := s.Begin(ctx, simple(), "a")
				require.NoError(t, err)
				require.Empty(t, done)
				p0, err := writePart(s, stage.Env{}, partID(0), numbered(memory.DefaultAllocator, 0, 10))
				require.NoError(t, err)
				bad, err := writePart(s, stage.Env{}, stage.PartID{Group: 0, Errors: true}, deadLetters(memory.DefaultAllocator, 3))
				require.NoError(t, err)
				w, err := s.OpenPart(ctx, stage.Env{}, partID(1))
				require.NoError(t, err)
				require.NoError(t, w.Write(ctx, numbered(memory.DefaultAllocator, 10, 5)))
				if name == "kept" {
					require.NoError(t, w.Abort(ctx))
				}
				end(t, fsys, s)
				require.NoDirExists(t, out)
				return p0, bad
			}
			p0, bad := start()
			s := open(t, writers.Config{Path: out})
			done, err := s.Begin(ctx, simple(), "a")
			require.NoError(t, err)
			require.Equal(t, []stage.Part{p0, bad}, done)
			p1, err := writePart(s, stage.Env{}, partID(1), numbered(memory.DefaultAllocator, 10, 10))
			require.NoError(t, err)
			require.NoError(t, s.Commit(ctx, append(done, p1)))
			require.Equal(t, count(0, 20), rowNumbers(t, out))
			stands(t, out)
			clean(t, out)

			require.NoError(t, os.RemoveAll(out))
			start()
			require.NoError(t, job(writers.Config{Path: out}, "b", 7))
			require.Equal(t, count(70, 80), rowNumbers(t, out))
			clean(t, out)
		})
	}
}

// TestResumeDistrusts: a part counts as finished only with its files, for the same
// schema and settings.
func TestResumeDistrusts(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, staging string, cfg *writers.Config){
		"a file is gone": func(t *testing.T, dir string, _ *writers.Config) {
			require.NoError(t, os.Remove(filepath.Join(dir, "files", "part-000000.parquet")))
		},
		"a file is short": func(t *testing.T, dir string, _ *writers.Config) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "files", "part-000000.parquet"), 5))
		},
		"a record is torn": func(t *testing.T, dir string, _ *writers.Config) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "records", "part-000000.json"), 5))
		},
		"other settings": func(_ *testing.T, _ string, cfg *writers.Config) { cfg.Compression = writers.Zstd },
		"no job file": func(t *testing.T, dir string, _ *writers.Config) {
			require.NoError(t, os.Remove(filepath.Join(dir, "job.json")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(scratch(t), "out")
			cfg := writers.Config{Path: out}
			s := open(t, cfg)
			_, err := s.Begin(ctx, simple(), "a")
			require.NoError(t, err)
			_, err = writePart(s, stage.Env{}, partID(0), numbered(memory.DefaultAllocator, 0, 10))
			require.NoError(t, err)
			require.NoError(t, s.(stage.Keeper).Keep(ctx))
			left, err := filepath.Glob(filepath.Join(filepath.Dir(out), ".out.penstock-*"))
			require.NoError(t, err)
			require.Len(t, left, 1)
			change(t, left[0], &cfg)
			s = open(t, cfg)
			done, err := s.Begin(ctx, simple(), "a")
			require.NoError(t, err)
			require.Empty(t, done)
			require.NoError(t, s.Abort(ctx))
			require.Empty(t, tree(t, filepath.Dir(out)))
		})
	}
}

// TestAbort: it leaves what was there before, in every mode.
func TestAbort(t *testing.T) {
	for _, mode := range []writers.Mode{writers.Overwrite, writers.Append} {
		mem := testkit.Allocator(t)
		out := filepath.Join(scratch(t), "out")
		require.NoError(t, job(writers.Config{Path: out}, "a", 0))
		before := tree(t, out)
		s := open(t, writers.Config{Path: out, Mode: mode})
		_, err := s.Begin(ctx, simple(), "b")
		require.NoError(t, err)
		_, err = writePart(s, envOf(mem), partID(0), numbered(mem, 50, 10))
		require.NoError(t, err)
		w, err := s.OpenPart(ctx, envOf(mem), partID(1))
		require.NoError(t, err)
		rec := numbered(mem, 0, 100)
		require.NoError(t, w.Write(ctx, rec))
		rec.Release()
		require.NoError(t, w.Abort(ctx))
		require.NoError(t, w.Abort(ctx))
		require.Error(t, w.Write(ctx, rec))
		_, err = w.Close(ctx)
		require.Error(t, err)
		require.NoError(t, s.Abort(ctx))
		require.NoError(t, s.Abort(ctx))
		require.Equal(t, before, tree(t, out))
		clean(t, out)
		_, err = s.OpenPart(ctx, stage.Env{}, partID(0))
		require.Error(t, err)
	}
}

// TestPartAgain: a part that is written twice is there once, also with fewer files.
func TestPartAgain(t *testing.T) {
	out := filepath.Join(scratch(t), "out")
	s := open(t, writers.Config{Path: out, MaxRowsPerFile: 4})
	_, err := s.Begin(ctx, simple(), "a")
	require.NoError(t, err)
	_, err = writePart(s, stage.Env{}, partID(0), numbered(memory.DefaultAllocator, 0, 10))
	require.NoError(t, err)
	p, err := writePart(s, stage.Env{}, partID(0), numbered(memory.DefaultAllocator, 0, 5))
	require.NoError(t, err)
	require.ErrorContains(t, s.Commit(ctx, []stage.Part{p, p}), "twice")
	require.NoError(t, s.Commit(ctx, []stage.Part{p}))
	require.Equal(t, count(0, 5), rowNumbers(t, out))
	stands(t, out)
}

// TestUncommittedPartsStayOut: what Commit is not given is not shown.
func TestUncommittedPartsStayOut(t *testing.T) {
	out := filepath.Join(scratch(t), "out")
	s := open(t, writers.Config{Path: out})
	_, err := s.Begin(ctx, simple(), "a")
	require.NoError(t, err)
	_, err = writePart(s, stage.Env{}, partID(0), numbered(memory.DefaultAllocator, 0, 10))
	require.NoError(t, err)
	p, err := writePart(s, stage.Env{}, partID(1), numbered(memory.DefaultAllocator, 10, 10))
	require.NoError(t, err)
	require.ErrorContains(t, s.Commit(ctx, []stage.Part{{ID: partID(9), Spec: []byte(`{"files":[{"path":"part-000009.parquet"}]}`)}}), "part-000009 is not among")
	require.Error(t, s.Commit(ctx, []stage.Part{{ID: partID(9), Spec: []byte(`{"files":[{"path":"../../../etc/passwd"}]}`)}}))
	require.NoError(t, s.Commit(ctx, []stage.Part{p}))
	require.Equal(t, count(10, 20), rowNumbers(t, out))
	stands(t, out)
}

func TestNoRows(t *testing.T) {
	for format, name := range map[writers.Format]string{writers.Parquet: "part-000000.parquet", writers.JSONL: "part-000000.jsonl",
		writers.CSV: "part-000000.csv", writers.IPC: "part-000000.arrow"} {
		for _, parts := range []int{0, 2} {
			out := filepath.Join(scratch(t), "out")
			s := open(t, writers.Config{Path: out, Format: format})
			_, err := s.Begin(ctx, simple(), "a")
			require.NoError(t, err)
			var all []stage.Part
			for i := range parts {
				p, err := writePart(s, stage.Env{}, partID(int64(i)), numbered(memory.DefaultAllocator, 0, 0))
				require.NoError(t, err)
				require.Zero(t, p.Rows)
				all = append(all, p)
			}
			require.NoError(t, s.Commit(ctx, all))
			require.Equal(t, []string{name}, names(t, out))
			switch format {
			case writers.Parquet, writers.IPC:
				schema, _ := readFile(t, filepath.Join(out, name))
				require.Equal(t, []string{"n", "text"}, []string{schema.Field(0).Name, schema.Field(1).Name})
			case writers.CSV:
				require.Equal(t, "n,text\n", readText(t, filepath.Join(out, name)))
			}
			stands(t, out)
		}
	}
}

func TestDeadLetters(t *testing.T) {
	mem := testkit.Allocator(t)
	out := filepath.Join(scratch(t), "out")
	require.NoError(t, attempt(writers.Config{Path: out, PartitionBy: []string{"text"}}, mem, []int64{3}, 1))
	m, err := writers.ReadManifest(out)
	require.NoError(t, err)
	require.Equal(t, int64(10), m.Rows, "dead letters are no rows of the output")
	require.Equal(t, int64(2), m.ErrorRows)
	require.Len(t, m.Errors, 1)
	require.Equal(t, "_errors/part-000003.parquet", m.Errors[0].Path)
	schema, _ := readFile(t, filepath.Join(out, "_errors", "part-000003.parquet"))
	require.Equal(t, stage.ErrorSchema().NumFields(), schema.NumFields())
	// They go along with their set when it is overwritten.
	require.NoError(t, job(writers.Config{Path: out, Mode: writers.Overwrite}, "b", 0))
	require.NoDirExists(t, filepath.Join(out, "_errors"))
}
