package job_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/stage/stagetest"
)

// squares is a step with a pool of workers, like a model's, that cannot do some rows.
type squares struct{}

func (squares) Add(_ context.Context, env *job.Env, d *pipeline.Dataset) (*pipeline.Dataset, error) {
	st := &stagetest.FakeStage{Name: "squares", Column: "id", Output: "square", Piece: 7, Need: stage.Need{RowWise: true, InFlight: 2},
		Map: func(x int64) ([]int64, error) {
			if x%101 == 7 {
				return nil, errors.New("this one cannot be squared")
			}
			return []int64{x * x}, nil
		}}
	return d.Apply(st, pipeline.StageConfig{Actors: env.Settings.Actors, BatchSize: int(env.Settings.BatchSize)}), nil
}

// digests are those of the files of an output, less the manifest, which names the job.
func digests(t *testing.T, out string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(out, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "_SUCCESS.json" {
			return err
		}
		raw, err := os.ReadFile(path)
		rel, _ := filepath.Rel(out, path)
		all[filepath.ToSlash(rel)] = fmt.Sprintf("%x", sha256.Sum256(raw))
		return err
	}))
	return all
}

// TestFilesAreTheSameBytesAtAnyParallelism: the files of an output, those of the dead letters
// included, hang on the input and the job, and not on how many workers there were for it.
func TestFilesAreTheSameBytesAtAnyParallelism(t *testing.T) {
	in := filepath.Join(t.TempDir(), "in")
	require.NoError(t, os.Mkdir(in, 0o755))
	const files, rows = 4, 4000
	for f := range files {
		out, err := os.Create(filepath.Join(in, fmt.Sprintf("%d.jsonl", f)))
		require.NoError(t, err)
		w := bufio.NewWriter(out)
		for i := range rows {
			id := f*rows + i
			if id%997 == 3 {
				fmt.Fprintf(w, "{\"id\": %d, \"name\": oops}\n", id) // a row that cannot be read
				continue
			}
			fmt.Fprintf(w, `{"id":%d,"name":"n%d","text":"%s"}`+"\n", id, id%50, strings.Repeat(string(rune('a'+id%26)), 100+id%300))
		}
		require.NoError(t, w.Flush())
		require.NoError(t, out.Close())
	}
	for _, format := range []string{"parquet", "jsonl"} {
		var want map[string]string
		for _, s := range []job.Settings{
			{Actors: 1, CPUs: 1}, {Actors: 2, CPUs: 2}, {Actors: 5, CPUs: 4}, {Actors: 5, CPUs: 1},
			{Actors: 1, CPUs: 4, MemoryLimit: 1 << 30}, {Actors: 2, CPUs: 2, MemoryLimit: 300 << 20},
		} {
			s.OnError, s.BatchSize, s.Seed = "skip", 64, 5
			out := filepath.Join(t.TempDir(), "out")
			j := &job.Job{
				Name:     "job.yaml",
				Source:   job.Source{Path: job.Strings{in}},
				Stages:   []job.Stage{{Name: "squares", Step: squares{}}},
				Sink:     job.Sink{Path: out, Format: format, MaxRowsPerFile: 3000},
				Settings: s,
			}
			res, err := j.Run(t.Context(), job.Options{})
			require.NoError(t, err)
			require.Positive(t, res.Stats.Failed)
			got := digests(t, out)
			if want == nil {
				want = got
				require.Greater(t, len(got), 5)
				require.Contains(t, got, "_errors/part-000000."+format)
			}
			require.Equal(t, want, got, "%s: %+v", format, s)
		}
	}
}
