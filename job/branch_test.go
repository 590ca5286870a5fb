package job_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

func TestUnionOfSources(t *testing.T) {
	a, b, c := file(t, "a.jsonl", `{"id":1,"text":"x"}`+"\n"), file(t, "b.csv", "body,key\ny,2\nz,3\n"), file(t, "c.jsonl", `{"id":4,"text":"w"}`+"\n")
	out := filepath.Join(t.TempDir(), "out")
	_, err := run(t, `
source: {path: %s, columns: [id, text]}
stages:
  - union:
      - source: {path: %s}
        stages:
          - filter: key > 2
          - select: [key, body]
          - rename: {key: id, body: text}
      - source: {path: %s, columns: [id, text]}
  - with_column: {name: twice, expr: id * 2}
sink: {path: %s, format: jsonl}`, a, b, c, out)
	require.NoError(t, err)
	assert.Equal(t, []string{`{"id":1,"text":"x","twice":2}`, `{"id":3,"text":"z","twice":6}`, `{"id":4,"text":"w","twice":8}`}, output(t, out))
}

func TestZipOfSources(t *testing.T) {
	a, b := file(t, "a.jsonl", `{"id":1}`+"\n"+`{"id":2}`+"\n"), file(t, "b.csv", "id,label\n7,x\n8,y\n")
	out := filepath.Join(t.TempDir(), "out")
	_, err := run(t, "source: {path: %s}\nstages:\n  - zip: {source: {path: %s}}\nsink: {path: %s, format: jsonl}", a, b, out)
	require.NoError(t, err)
	assert.Equal(t, []string{`{"id":1,"id_1":7,"label":"x"}`, `{"id":2,"id_1":8,"label":"y"}`}, output(t, out))

	_, err = run(t, "source: {path: %s}\nstages:\n  - zip: {source: {path: %s, limit: 1}}\nsink: {path: %s, format: jsonl, mode: overwrite}", a, b, out)
	require.ErrorContains(t, err, "zip")
}

// split gives three rows for each.
type split struct{}

func (split) Add(_ context.Context, _ *job.Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	st := &stagetest.FakeStage{Column: "id", Output: "part", Map: func(x int64) ([]int64, error) { return []int64{x, x + 100, x + 200}, nil }}
	st.Need = stage.Need{Rows: stage.Many}
	return d.Apply(st, pipeline.StageConfig{}), nil
}

func TestCollectIsTheInverseOfAFlatMap(t *testing.T) {
	reg := job.Default()
	reg.Stage("split", func(job.Args) (job.Step, error) { return split{}, nil })
	in, out := file(t, "in.jsonl", `{"id":1}`+"\n"+`{"id":2}`+"\n"), filepath.Join(t.TempDir(), "out")
	text := "source: {path: " + in + "}\nstages: [split, repartition: {rows: 1}, collect: part]\nsink: {path: " + out + ", format: jsonl}\n"
	j, err := job.Config{Registry: reg}.Parse([]byte(text), "j.yaml")
	require.NoError(t, err)
	_, err = j.Run(t.Context(), job.Options{})
	require.NoError(t, err)
	assert.Equal(t, []string{`{"id":1,"part":[1,101,201]}`, `{"id":2,"part":[2,102,202]}`}, output(t, out))

	j, err = job.Config{Registry: reg}.Parse([]byte(text+"run: {preserve_order: false}\n"), "j.yaml")
	require.NoError(t, err)
	_, err = j.Run(t.Context(), job.Options{})
	require.ErrorContains(t, err, "collect needs the rows in their order")
}

// TestFaultsInBranches: they are found where they stand, all at once.
func TestFaultsInBranches(t *testing.T) {
	const in, out = "source: {path: in.csv}\n", "sink: {path: out}\n"
	for name, c := range map[string]struct{ yaml, want string }{
		"no source": {in + "stages:\n  - zip: {}\n" + out, `j.yaml:3:10: stages[0].zip: "source" is missing`},
		"no branch": {in + "stages:\n  - union: []\n" + out, "j.yaml:3:12: stages[0].union: the list is empty: want a branch, such as {source: {path: more.csv}}"},
		"a path":    {in + "stages:\n  - union: more.csv\n" + out, `j.yaml:3:12: stages[0].union: want a map, not the string "more.csv"`},
		"several": {in + "stages:\n  - union:\n      - source: {pth: a}\n      - source: {path: b}\n        stages: [filtr: a > 1]\n  - zip: {source: {path: c, format: parqet}}\n" + out,
			"j.yaml:4:17: stages[0].union[0].source.path: the source has no path\n" +
				`j.yaml:4:18: stages[0].union[0].source: unknown key "pth"; did you mean "path"?` + "\n" +
				`j.yaml:6:18: stages[0].union[1].stages[0]: there is no stage "filtr"; did you mean "filter"?` + "\n" +
				`j.yaml:7:37: stages[1].zip.source.format: there is no format "parqet"; did you mean "parquet"?`},
		"nested": {in + "stages:\n  - zip: {source: {path: a}, stages: [union: {source: {path: b, limit: -1}}]}\n" + out,
			"j.yaml:3:72: stages[0].zip.stages[0].union.source.limit: -1 is too small: at least 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := job.Parse([]byte(c.yaml), "j.yaml")
			require.EqualError(t, err, c.want)
		})
	}
	j := job.Job{Source: job.Source{Path: job.Strings{"a"}}, Sink: job.Sink{Path: "b"}, Stages: []job.Stage{
		{Name: "union", Step: job.Union{{}, {Source: job.Source{Path: job.Strings{"c"}}, Stages: []job.Stage{{Name: "x"}}}}}}}
	_, err := j.Check(t.Context(), job.Options{})
	require.EqualError(t, err, "stages[0].union[0].source.path: the source has no path\nstages[0].union[1].stages[0].x: the stage has no step")
}

func TestBranchesAreReachedFromOutside(t *testing.T) {
	text := "source: {path: in.csv}\nstages:\n  - zip: {source: {path: a}, stages: [embed: {model: m, column: text}]}\nsink: {path: out}\n"
	j, err := job.Config{Set: []string{"stages.0.zip.source.path=b.csv", "stages.0.zip.stages.0.embed.column=body"}}.Parse([]byte(text), "j.yaml")
	require.NoError(t, err)
	zip := j.Stages[0].Step.(job.Zip)
	assert.Equal(t, job.Strings{"b.csv"}, zip.Source.Path)
	j.Pool(3, 32)
	assert.Equal(t, job.Embed{Inference: job.Inference{Model: "m", Actors: 3, BatchSize: 32}, Column: "body"}, zip.Stages[0].Step)
}

func TestABranchMayNotReadTheOutput(t *testing.T) {
	in, out := file(t, "in.csv", "a\n1\n"), t.TempDir()
	_, err := run(t, "source: {path: %s}\nstages:\n  - union: {source: {path: %s}}\nsink: {path: %s, mode: overwrite}", in, out, out)
	require.ErrorContains(t, err, "is also the input: give another folder")
}

func TestTooLargeAFractionOfErrors(t *testing.T) {
	text := ""
	for i := range 3000 {
		if i%10 == 0 {
			text += "no JSON\n"
		} else {
			text += "{\"a\":1}\n"
		}
	}
	in, out := file(t, "in.jsonl", text), filepath.Join(t.TempDir(), "out")
	_, err := run(t, "source: {path: %s}\nsink: {path: %s}\nrun: {on_error: skip, max_error_fraction: 0.05}", in, out)
	require.ErrorIs(t, err, pipeline.ErrTooManyFailures)
	_, err = run(t, "source: {path: %s}\nsink: {path: %s}\nrun: {on_error: skip, max_error_fraction: 0.2}", in, out)
	require.NoError(t, err)
}

func TestMaterializeRunsWhenRowsAreWanted(t *testing.T) {
	in, out := file(t, "in.jsonl", `{"id":1}`+"\n{oops\n"+`{"id":2}`+"\n"), filepath.Join(t.TempDir(), "out")
	text := "source: {path: %s}\nstages:\n  - with_column: {name: twice, expr: id * 2}\n  - materialize\n  - randomize_block_order\n  - filter: twice > 2\n" +
		"sink: {path: %s, format: jsonl}\nrun: {on_error: skip}"
	res, err := run(t, text, in, out)
	require.NoError(t, err)
	assert.Equal(t, []string{`{"id":2,"twice":4}`}, output(t, out))
	assert.EqualValues(t, 1, res.Stats.Failed)
	errs, err := filepath.Glob(filepath.Join(out, "_errors", "*"))
	require.NoError(t, err)
	assert.NotEmpty(t, errs, "the row that failed before it was kept has no dead letter")
}
