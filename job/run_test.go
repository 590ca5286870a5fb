package job_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

// people is a small input: ids 0 to n-1, names, and a score of every third row.
func people(t testing.TB, n int) string {
	var b strings.Builder
	for i := range n {
		if i%3 == 0 {
			fmt.Fprintf(&b, `{"id":%d,"name":"p%d","score":%d.5}`+"\n", i, i, i)
		} else {
			fmt.Fprintf(&b, `{"id":%d,"name":"p%d"}`+"\n", i, i)
		}
	}
	return file(t, "people.jsonl", b.String())
}

// output gives the lines of a folder of JSON Lines.
func output(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	require.NoError(t, err)
	var lines []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		lines = append(lines, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	}
	return lines
}

func run(t testing.TB, text string, args ...any) (job.Result, error) {
	t.Helper()
	j, err := job.Parse(fmt.Appendf(nil, text, args...), "job.yaml")
	require.NoError(t, err)
	res, err := j.Run(t.Context(), job.Options{})
	t.Cleanup(res.Release)
	return res, err
}

func TestCopy(t *testing.T) {
	in, out := people(t, 5), filepath.Join(t.TempDir(), "out")
	res, err := run(t, "source: {path: %s}\nsink: {path: %s, format: jsonl}\nrun: {show: 2}", in, out)
	require.NoError(t, err)
	text, err := os.ReadFile(in)
	require.NoError(t, err)
	var want, got []map[string]any
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var row map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &row))
		if row["score"] == nil {
			row["score"] = nil
		}
		want = append(want, row)
	}
	for _, line := range output(t, out) {
		var row map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &row))
		if row["score"] == nil {
			row["score"] = nil
		}
		got = append(got, row)
	}
	assert.Equal(t, want, got)
	assert.EqualValues(t, 5, res.Stats.Rows)
	assert.True(t, res.Stats.Done)
	require.Len(t, res.Shown, 1)
	assert.EqualValues(t, 2, res.Shown[0].NumRows())
	assert.Equal(t, "p1", res.Shown[0].Column(1).ValueStr(1))
}

func TestStagesInTheirOrder(t *testing.T) {
	in, out := people(t, 20), filepath.Join(t.TempDir(), "out")
	_, err := run(t, `
source: {path: %s, columns: [name, id], filter: "id >= 4", limit: 9, source_columns: true}
stages:
  - with_column: {name: twice, expr: id * 2}
  - filter: id <> 6
  - rename: {name: who}
  - drop: [file]
  - limit: 3
sink: {path: %s, format: jsonl}`, in, out)
	require.NoError(t, err)
	assert.Equal(t, []string{
		`{"who":"p4","id":4,"row":4,"twice":8}`, `{"who":"p5","id":5,"row":5,"twice":10}`, `{"who":"p7","id":7,"row":7,"twice":14}`,
	}, output(t, out))
}

func TestFilterByAColumnThatIsNotKept(t *testing.T) {
	in, out := people(t, 10), filepath.Join(t.TempDir(), "out")
	_, err := run(t, "source: {path: %s, columns: [name], filter: score > 4}\nsink: {path: %s, format: jsonl}", in, out)
	require.NoError(t, err)
	assert.Equal(t, []string{`{"name":"p6"}`, `{"name":"p9"}`}, output(t, out))
}

func TestCSVOptions(t *testing.T) {
	in, out := file(t, "in.csv", "1;x\n2;-\n"), filepath.Join(t.TempDir(), "out")
	_, err := run(t, "source: {path: %s, delimiter: ';', header: false, null_values: '-', schema: {id: int32, text: string}}\nsink: {path: %s, format: jsonl}", in, out)
	require.NoError(t, err)
	lines := output(t, out)
	require.Len(t, lines, 2)
	assert.Contains(t, lines[0], `"text":"x"`)
	assert.NotContains(t, lines[1], `"text":"`)
}

// TestErrorsOfAPlan: each is told before anything is written.
func TestErrorsOfAPlan(t *testing.T) {
	in := people(t, 3)
	for name, c := range map[string]struct{ source, stages, want string }{
		"missing file":     {"{path: " + in + "x}", "", "no such file or folder; did you mean"},
		"unknown column":   {"{path: " + in + ", columns: [nam]}", "", `column "nam": there is no such column; did you mean "name"?`},
		"filter column":    {"{path: " + in + ", filter: idd > 1}", "", "idd: no such column; did you mean id?"},
		"select":           {"{path: " + in + "}", "- select: [idd]", `column "idd": there is no such column; did you mean "id"?`},
		"source columns":   {"{path: " + in + "}", "- source_columns: {file: id}", `"id"`},
		"text of numbers":  {"{path: " + in + "}", "- filter: name > 1", "name"},
		"model is no path": {"{path: " + in + "}", "- embed: {model: /nowhere, column: name}", "stages[0] embed: "},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			stages := ""
			if c.stages != "" {
				stages = "stages:\n  " + c.stages + "\n"
			}
			_, err := run(t, "source: %s\n%ssink: {path: %s}\n", c.source, stages, out)
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
			entries, err := os.ReadDir(filepath.Dir(out))
			require.NoError(t, err)
			assert.Empty(t, entries, "something was left behind")
		})
	}
}

func TestModes(t *testing.T) {
	in, out := people(t, 3), filepath.Join(t.TempDir(), "out")
	copyTo := func(mode string) (job.Result, error) {
		return run(t, "source: {path: %s}\nsink: {path: %s, format: jsonl, mode: %s}\nrun: {show: 1}", in, out, mode)
	}
	_, err := copyTo("error")
	require.NoError(t, err)
	_, err = copyTo("error")
	require.ErrorIs(t, err, stage.ErrOutputExists)
	res, err := copyTo("ignore")
	require.NoError(t, err)
	assert.True(t, res.Ignored)
	assert.Empty(t, res.Shown)
	_, err = copyTo("append")
	require.NoError(t, err)
	assert.Len(t, output(t, out), 6)
	_, err = copyTo("overwrite")
	require.NoError(t, err)
	assert.Len(t, output(t, out), 3)
}

func TestOutputApartFromInput(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "in", "deep")
	require.NoError(t, os.MkdirAll(sub, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(sub, "a.jsonl"), []byte("{\"a\":1}\n"), 0o644))
	require.NoError(t, os.Symlink(filepath.Join(dir, "in"), filepath.Join(dir, "link")))
	for name, c := range map[string]struct {
		in, out string
		refused bool
	}{
		"the same folder":       {"in", "in", true},
		"the same file":         {"in/deep/a.jsonl", "in/deep/a.jsonl", true},
		"by a link":             {"link/deep", "in/deep", true},
		"inside":                {"in", "in/out", true},
		"inside by a link":      {"link", "in/out", true},
		"above":                 {"in/deep/a.jsonl", "in", true},
		"above a pattern":       {"in/deep/*.jsonl", "in/deep", true},
		"found by a pattern":    {"in/**/*.jsonl", "in/out", true},
		"a folder of a pattern": {"in/*", "in/out", true},
		"past a pattern":        {"in/deep/*.jsonl", "in/deep/out", false},
		"beside":                {"in/deep", "in/out", false},
		"like the other":        {"in/deep", "in/deeper", false},
	} {
		t.Run(name, func(t *testing.T) {
			j := job.Job{Source: job.Source{Path: job.Strings{filepath.Join(dir, c.in)}}, Sink: job.Sink{Path: filepath.Join(dir, c.out)}}
			_, err := j.Check(t.Context(), job.Options{})
			var faults job.Faults
			if c.refused {
				require.ErrorAs(t, err, &faults)
				assert.Contains(t, err.Error(), "sink.path: the output ")
				return
			}
			require.NoError(t, err)
		})
	}
}

func TestJobInGo(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	j := job.Job{
		Source: job.Source{From: readers.Range(10)},
		Stages: []job.Stage{{Name: "limit", Step: job.Limit(4)}},
		Sink:   job.Sink{Path: out, Format: "jsonl"},
	}
	_, err := j.Run(t.Context(), job.Options{})
	require.NoError(t, err)
	assert.Len(t, output(t, out), 4)

	j.Stages = []job.Stage{{Name: "embed", Step: job.Embed{Inference: job.Inference{Actors: -1}}}, {Name: "mine"}}
	j.Sink = job.Sink{Mode: "over"}
	j.Settings.OnError = "stop"
	_, err = j.Run(t.Context(), job.Options{})
	assert.EqualError(t, err, `run.on_error: "stop" is not one of fail, skip; did you mean "skip"?
stages[0].embed: "model" is missing
stages[0].embed.actors: -1 is too small: at least 1
stages[1].mine: the stage has no step
sink.mode: there is no mode "over" (known: error, overwrite, append, ignore)
sink.path: the sink has no path`)
}

// shout is a stage of a user's own.
type shout struct {
	Column string `yaml:"column" check:"required"`
	Times  int    `yaml:"times" check:"min=1,max=3"`
}

func (s shout) Add(_ context.Context, env *job.Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	return d.MapBatches(env.Name, func(_ context.Context, in arrow.Record, mem memory.Allocator) (arrow.Record, error) {
		at, err := stage.Column(in.Schema(), s.Column)
		if err != nil {
			return nil, err
		}
		b := array.NewStringBuilder(mem)
		defer b.Release()
		for i := range int(in.NumRows()) {
			b.Append(strings.ToUpper(in.Column(at).ValueStr(i)) + strings.Repeat("!", s.Times))
		}
		col := b.NewArray()
		defer col.Release()
		return array.NewRecord(arrow.NewSchema([]arrow.Field{{Name: s.Column, Type: arrow.BinaryTypes.String}}, nil), []arrow.Array{col}, in.NumRows()), nil
	}, pipeline.StageConfig{Name: env.Name}), nil
}

func TestRegistry(t *testing.T) {
	reg := job.Default()
	reg.Stage("shout", func(a job.Args) (job.Step, error) {
		s := shout{Times: 1}
		return s, a.Decode(&s)
	})
	reg.Stage("fussy", func(a job.Args) (job.Step, error) {
		var days []string
		if err := a.Decode(&days); err != nil {
			return nil, err
		}
		return nil, errors.New("not on a Monday")
	})
	reg.Source("count", func(a job.Args) (stage.Source, error) {
		var s struct {
			To int64 `yaml:"to" check:"required"`
		}
		err := a.Decode(&s)
		return readers.Range(s.To), err
	})
	reg.Sink("lines", func(a job.Args) (stage.Sink, error) {
		var s struct {
			Path string `yaml:"path"`
		}
		if err := a.Decode(&s); err != nil {
			return nil, err
		}
		return writers.Files(writers.Config{Path: s.Path, Format: writers.JSONL})
	})
	assert.Contains(t, reg.Stages(), "shout")
	assert.NotContains(t, job.Default().Stages(), "shout")

	out := filepath.Join(t.TempDir(), "out")
	j, err := job.Config{Registry: reg}.Parse(fmt.Appendf(nil, `
source: {format: count, to: 2}
stages:
  - with_column: {name: name, expr: cast(id as string)}
  - shout: {column: name, times: 2}
sink: {format: lines, path: %s}`, out), "job.yaml")
	require.NoError(t, err)
	_, err = j.Run(t.Context(), job.Options{})
	require.NoError(t, err)
	assert.Equal(t, []string{`{"name":"0!!"}`, `{"name":"1!!"}`}, output(t, out))

	_, err = job.Config{Registry: reg}.Parse([]byte(`
source: {format: count, too: 2}
stages: [shot: {}, shout: {times: 4}, fussy: [mo], fussy: {}]
sink: {format: line, path: x}`), "j.yaml")
	assert.EqualError(t, err, `j.yaml:2:9: source: "to" is missing
j.yaml:2:25: source: unknown key "too"; did you mean "to"?
j.yaml:3:10: stages[0]: there is no stage "shot"; did you mean "shout"?
j.yaml:3:27: stages[1].shout: "column" is missing
j.yaml:3:35: stages[1].shout.times: 4 is too large: at most 3
j.yaml:3:46: stages[2].fussy: not on a Monday
j.yaml:3:59: stages[3].fussy: want a list, not a map
j.yaml:4:16: sink.format: there is no format "line"; did you mean "lines"?`)
}

func TestSkippedRowsAreWritten(t *testing.T) {
	in, out := file(t, "in.jsonl", "{\"a\":1}\nnot json\n{\"a\":3}\n"), filepath.Join(t.TempDir(), "out")
	res, err := run(t, "source: {path: %s}\nsink: {path: %s, format: jsonl}\nrun: {on_error: skip}", in, out)
	require.NoError(t, err)
	assert.EqualValues(t, 1, res.Stats.Failed)
	assert.Equal(t, []string{`{"a":1}`, `{"a":3}`}, output(t, out))
	errs := output(t, filepath.Join(out, "_errors"))
	require.Len(t, errs, 1)
	assert.Contains(t, errs[0], `"row":1`)

	_, err = run(t, "source: {path: %s}\nsink: {path: %s, mode: overwrite}", in, out)
	var bad *stage.RowError
	require.ErrorAs(t, err, &bad)
	assert.EqualValues(t, 1, bad.Row)
	assert.Len(t, output(t, out), 2, "the output is as it was")

	_, err = run(t, "source: {path: %s}\nsink: {path: %s2}\nrun: {on_error: skip, max_errors: 1}", file(t, "in.jsonl", "{\"a\":1}\nx\ny\n"), out)
	require.ErrorIs(t, err, pipeline.ErrTooManyFailures)
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	out := filepath.Join(t.TempDir(), "out")
	j := job.Job{
		Source: job.Source{From: readers.Range(1_000_000_000)},
		Sink:   job.Sink{Path: out},
	}
	_, err := j.Run(ctx, job.Options{Progress: func(s pipeline.Stats) {
		if s.Rows > 0 {
			cancel(why)
		}
	}})
	require.ErrorIs(t, err, why)
	assert.NoDirExists(t, out)
}

func TestTraceAndExplain(t *testing.T) {
	in, out := people(t, 3), filepath.Join(t.TempDir(), "out")
	j := job.Job{Source: job.Source{Path: job.Strings{in}}, Sink: job.Sink{Path: out}}
	text, err := j.Explain(t.Context(), job.Options{})
	require.NoError(t, err)
	assert.Contains(t, text, "people.jsonl")
	assert.Contains(t, text, "write write-parquet")
	assert.NoDirExists(t, out)

	var trace bytes.Buffer
	_, err = j.Run(t.Context(), job.Options{Trace: &trace})
	require.NoError(t, err)
	assert.True(t, json.Valid(trace.Bytes()), "%s", trace.String())
}
