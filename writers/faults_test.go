package writers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

// scenario is a job that is disturbed at each of its calls to the file system.
type scenario struct {
	cfg        writers.Config
	old        []int64 // groups of the output that is there before; nil: none
	noExchange bool
	made       map[string]string // the old output, once it was written
}

// The job writes groups 5, 6 and 7 with dead letters beside them.
var newGroups = []int64{5, 6, 7}

func scenarios() map[string]*scenario {
	return map[string]*scenario{
		"new":             {cfg: writers.Config{Format: writers.JSONL}},
		"new partitioned": {cfg: writers.Config{Format: writers.CSV, PartitionBy: []string{"text"}}},
		"overwrite":       {cfg: writers.Config{Mode: writers.Overwrite}, old: []int64{0, 1, 5}},
		"overwrite small": {cfg: writers.Config{Mode: writers.Overwrite, MinRowsPerFile: 15, Format: writers.IPC}, old: []int64{0, 5}},
		"aside":           {cfg: writers.Config{Mode: writers.Overwrite, Format: writers.JSONL}, old: []int64{0, 5}, noExchange: true},
		"append":          {cfg: writers.Config{Mode: writers.Append}, old: []int64{0, 5}},
		"append split":    {cfg: writers.Config{Mode: writers.Append, MaxRowsPerFile: 4, PartitionBy: []string{"text"}, Format: writers.JSONL}, old: []int64{5}},
		"append small":    {cfg: writers.Config{Mode: writers.Append, MinRowsPerFile: 25, Format: writers.CSV}, old: []int64{5}},
	}
}

// rows are few and fall into few partitions.
func fewTexts(mem memory.Allocator, from, rows int) arrow.Record {
	b := array.NewRecordBuilder(mem, simple())
	defer b.Release()
	for i := from; i < from+rows; i++ {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%5 == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append([]string{"a", "b"}[i%2])
		}
	}
	return b.NewRecord()
}

func deadLetters(mem memory.Allocator, rows int) arrow.Record {
	b := array.NewRecordBuilder(mem, stage.ErrorSchema())
	defer b.Release()
	for i := range rows {
		b.Field(0).(*array.StringBuilder).Append(`{"n":1}`)
		for _, at := range []int{1, 2, 3} {
			b.Field(at).(*array.StringBuilder).Append("x")
		}
		b.Field(4).(*array.Int32Builder).Append(1)
		b.Field(5).AppendNull()
		b.Field(6).(*array.Int64Builder).Append(int64(i))
	}
	return b.NewRecord()
}

// attempt runs the job; commits says how often Commit is called until it succeeds.
func attempt(cfg writers.Config, mem memory.Allocator, groups []int64, commits int) (err error) {
	ctx := context.Background()
	s, err := writers.Files(cfg)
	if err != nil {
		return err
	}
	if err := s.Check(ctx, simple()); err != nil {
		return err
	}
	done, err := s.Begin(ctx, simple(), "the job")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if aerr := s.Abort(ctx); aerr != nil {
				err = fmt.Errorf("%w; abort: %w", err, aerr)
			}
		}
	}()
	var parts []stage.Part
	ids := []stage.PartID{{Group: groups[0], Errors: true}}
	for _, g := range groups {
		ids = append(ids, partID(g))
	}
	for _, id := range ids {
		if i := slices.IndexFunc(done, func(p stage.Part) bool { return p.ID == id }); i >= 0 {
			parts = append(parts, done[i])
			continue
		}
		rec := fewTexts(mem, int(id.Group)*10, 10)
		if id.Errors {
			rec.Release()
			rec = deadLetters(mem, 2)
		}
		part, err := writePart(s, envOf(mem), id, rec)
		if err != nil {
			return err
		}
		parts = append(parts, part)
	}
	for range commits {
		if err = s.Commit(ctx, parts); err == nil {
			return nil
		}
	}
	return err
}

// shown is what an output shows by its manifest, "" where there is none: the rows of the
// groups and the dead letters. It fails if a file of it is missing or not whole.
func shown(t *testing.T, out string) string {
	t.Helper()
	m, err := writers.ReadManifest(out)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	require.NoError(t, err)
	var lines []string
	for _, f := range append(m.Files, m.Errors...) {
		path := filepath.Join(out, filepath.FromSlash(f.Path))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, f.Bytes, info.Size(), f.Path)
		got := lineRows(t, path)
		require.Len(t, got, int(f.Rows), f.Path)
		if !strings.HasPrefix(f.Path, "_errors/") {
			lines = append(lines, got...)
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, " ") + fmt.Sprintf(" and %d errors", m.ErrorRows)
}

// lineRows is column n of a file of any format.
func lineRows(t *testing.T, path string) []string {
	t.Helper()
	var out []string
	switch filepath.Ext(path) {
	case ".parquet", ".arrow":
		_, recs := readFile(t, path)
		for _, r := range recs {
			for i := range int(r.NumRows()) {
				out = append(out, r.Column(0).ValueStr(i))
			}
		}
	case ".csv":
		for _, line := range strings.Split(strings.TrimSpace(readText(t, path)), "\n")[1:] {
			out = append(out, strings.Split(line, ",")[0])
		}
	default:
		for _, line := range strings.Split(strings.TrimSpace(readText(t, path)), "\n") {
			var row struct{ N json.Number }
			require.NoError(t, json.Unmarshal([]byte(line), &row))
			out = append(out, row.N.String())
		}
	}
	return out
}

// stands says that a program which lists the folder finds just what the manifest names.
func stands(t *testing.T, out string) {
	t.Helper()
	m, err := writers.ReadManifest(out)
	if errors.Is(err, os.ErrNotExist) {
		require.Empty(t, tree(t, out))
		return
	}
	require.NoError(t, err)
	want := []string{writers.ManifestName}
	for _, f := range append(m.Files, m.Errors...) {
		want = append(want, f.Path)
	}
	got := sortedKeys(tree(t, out))
	sort.Strings(want)
	require.Equal(t, want, got)
}

type stand struct{ before, after string }

// expected is what the output shows before and after the job.
func (sc *scenario) expected(t *testing.T) stand {
	out := filepath.Join(scratch(t), "out")
	sc.setUp(t, out)
	before := shown(t, out)
	cfg := sc.cfg
	cfg.Path = out
	require.NoError(t, attempt(cfg.WithFS(&faultyFS{noExchange: sc.noExchange}), memory.DefaultAllocator, newGroups, 1))
	stands(t, out)
	return stand{before, shown(t, out)}
}

func (sc *scenario) setUp(t *testing.T, out string) {
	t.Helper()
	if sc.old == nil {
		return
	}
	if sc.made == nil {
		cfg := sc.cfg
		cfg.Path = filepath.Join(scratch(t), "out")
		cfg.Mode = writers.ErrorIfExists
		require.NoError(t, attempt(cfg.WithFS(&faultyFS{}), memory.DefaultAllocator, sc.old, 1))
		sc.made = tree(t, cfg.Path)
	}
	for name, content := range sc.made {
		path := filepath.Join(out, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o666))
	}
}

// calls is how many calls to the file system the job makes.
func (sc *scenario) calls(t *testing.T) int {
	out := filepath.Join(scratch(t), "out")
	sc.setUp(t, out)
	fsys := &faultyFS{noExchange: sc.noExchange}
	cfg := sc.cfg
	cfg.Path = out
	require.NoError(t, attempt(cfg.WithFS(fsys), memory.DefaultAllocator, newGroups, 1))
	for _, kind := range []string{"lstat", "readdir", "readfile", "create", "write", "fsync", "close", "mkdir", "rename", "removeall", "syncdir", "lock", "unlock"} {
		require.Positive(t, fsys.kinds[kind], kind)
	}
	return fsys.count()
}

// TestFaultOnEveryCall: whichever call fails, the job says so, the output is the old one
// or the new one, nothing stays in memory, and the job can be run again.
func TestFaultOnEveryCall(t *testing.T) {
	for name, sc := range scenarios() {
		t.Run(name, func(t *testing.T) {
			want, calls := sc.expected(t), sc.calls(t)
			for at := 1; at <= calls; at += stride {
				fsys := &faultyFS{at: at, err: faults[at%2], half: at%2 == 0, after: at%2 == 1, noExchange: sc.noExchange}
				sc.disturb(t, want, fsys, 1)
			}
		})
	}
}

// disturb runs the job once on fsys and then again on a good disk.
func (sc *scenario) disturb(t *testing.T, want stand, fsys *faultyFS, commits int) {
	t.Helper()
	where := fmt.Sprintf("call %d (%v)", fsys.at, fsys.err)
	mem := testkit.Allocator(t)
	out := filepath.Join(scratch(t), "out")
	sc.setUp(t, out)
	cfg := sc.cfg
	cfg.Path = out
	err := attempt(cfg.WithFS(fsys), mem, newGroups, commits)
	if err != nil {
		require.ErrorIs(t, err, fsys.err, where)
		require.Contains(t, err.Error(), filepath.Dir(out), where)
	}
	got := shown(t, out)
	if err == nil || got != want.before {
		require.Equal(t, want.after, got, where)
	}
	stands(t, out)
	sc.again(t, want, out, where)
}

// again runs the job on a good disk, after it was disturbed, and wants the new output.
func (sc *scenario) again(t *testing.T, want stand, out, where string) {
	t.Helper()
	cfg := sc.cfg
	cfg.Path = out
	done := shown(t, out) == want.after && want.before != want.after
	if done && cfg.Mode == writers.Append {
		// It was appended; the same job again would rightly append once more.
		cfg.Mode = writers.Overwrite
		cfg.Path = out
		want.after = ""
	}
	err := attempt(cfg.WithFS(&faultyFS{noExchange: sc.noExchange}), memory.DefaultAllocator, newGroups, 1)
	if done && cfg.Mode == writers.ErrorIfExists {
		require.ErrorIs(t, err, stage.ErrOutputExists, where)
		return
	}
	require.NoError(t, err, where)
	if want.after != "" {
		require.Equal(t, want.after, shown(t, out), where)
	}
	stands(t, out)
	clean(t, out)
}

// TestCommitAgainAfterAFault: Commit may be called again after it failed at any call.
func TestCommitAgainAfterAFault(t *testing.T) {
	for name, sc := range scenarios() {
		t.Run(name, func(t *testing.T) {
			want, calls := sc.expected(t), sc.calls(t)
			// The first half of the calls is not in Commit, for any of these.
			for at := calls / 2; at <= calls; at += stride {
				for _, after := range []bool{false, true} {
					fsys := &faultyFS{at: at, err: syscall.EIO, after: after, noExchange: sc.noExchange}
					out := filepath.Join(scratch(t), "out")
					sc.setUp(t, out)
					cfg := sc.cfg
					cfg.Path = out
					if err := attempt(cfg.WithFS(fsys), memory.DefaultAllocator, newGroups, 2); err == nil {
						require.Equal(t, want.after, shown(t, out), "call %d", at)
						stands(t, out)
						clean(t, out)
					} else {
						require.Less(t, at, calls*9/10, "the last calls are those of Commit: %v", err)
					}
				}
			}
		})
	}
}

// TestCrashAtEveryCall: the process dies at a call; what it had not synced is lost.
func TestCrashAtEveryCall(t *testing.T) {
	for name, sc := range scenarios() {
		t.Run(name, func(t *testing.T) {
			want, calls := sc.expected(t), sc.calls(t)
			for at := 1; at <= calls; at += stride {
				fsys := &faultyFS{at: at, err: errDead, half: at%2 == 0, noExchange: sc.noExchange}
				where := fmt.Sprintf("call %d", at)
				out := filepath.Join(scratch(t), "out")
				sc.setUp(t, out)
				cfg := sc.cfg
				cfg.Path = out
				err := attempt(cfg.WithFS(fsys), memory.DefaultAllocator, newGroups, 1)
				fsys.kill()
				require.ErrorIs(t, err, errDead, where)
				switch got := shown(t, out); {
				case got == want.after:
				case sc.noExchange && got == "":
					// The one moment without an output; see the package's comment.
					require.NoDirExists(t, out)
				default:
					require.Equal(t, want.before, got, where)
				}
				if cfg.Mode != writers.Append {
					stands(t, out)
				}
				sc.again(t, want, out, where)
			}
		})
	}
}

// TestCrashWithoutExchangeGivesTheOldSetBack: whatever job comes next puts it back.
func TestCrashWithoutExchangeGivesTheOldSetBack(t *testing.T) {
	sc := scenarios()["aside"]
	want, calls := sc.expected(t), sc.calls(t)
	missing := 0
	for at := 1; at <= calls; at++ {
		fsys := &faultyFS{at: at, err: errDead, noExchange: true}
		out := filepath.Join(scratch(t), "out")
		sc.setUp(t, out)
		cfg := sc.cfg
		cfg.Path = out
		require.Error(t, attempt(cfg.WithFS(fsys), memory.DefaultAllocator, newGroups, 1))
		fsys.kill()
		if _, err := os.Stat(out); err != nil {
			missing++
			cfg.Mode = writers.ErrorIfExists
			s := open(t, cfg)
			_, err := s.Begin(context.Background(), simple(), "another job")
			require.ErrorIs(t, err, stage.ErrOutputExists)
			require.Equal(t, want.before, shown(t, out))
			clean(t, out)
		}
	}
	require.Equal(t, 1, missing, "there is one moment without an output")
}
