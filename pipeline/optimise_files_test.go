package pipeline_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/pipeline"
	"github.com/penstock-data/penstock/readers"
	"github.com/penstock-data/penstock/stage"
	"github.com/penstock-data/penstock/writers"
)

// TestParquetIsReadAsFarAsNeeded runs plans over a real file: of 100 row groups and two
// columns it reads what is asked for.
func TestParquetIsReadAsFarAsNeeded(t *testing.T) {
	out := filepath.Join(t.TempDir(), "rows")
	sink, err := writers.Files(writers.Config{Path: out, Format: writers.Parquet, RowGroupRows: 100})
	require.NoError(t, err)
	_, err = pipeline.Read(numbers(10_000)).Write(context.Background(), sink, pipeline.Config{})
	require.NoError(t, err)
	read := func() *pipeline.Dataset {
		return pipeline.Read(readers.Parquet(readers.ParquetConfig{Files: readers.Paths(out)}))
	}
	run := func(d *pipeline.Dataset) pipeline.Stats {
		t.Helper()
		want, err := collect(t, d, pipeline.Config{NoOptimise: true})
		require.NoError(t, err)
		w := &watch{}
		var got []string
		for rec, err := range d.Batches(context.Background(), w.config(pipeline.Config{})) {
			require.NoError(t, err)
			got = append(got, lines(rec)...)
		}
		require.Equal(t, want, got)
		return w.stats
	}
	all := run(read()).Counter(stage.ReadBytes)
	some := run(read().Select("name", "x").Filter(where("x >= 450 and x < 620")).WithSource("file", "row").Drop("file"))
	assert.Equal(t, int64(300), some.InputRows) // three row groups
	assert.Less(t, run(read().Select("x")).Counter(stage.ReadBytes), all*2/3)
	assert.Less(t, run(read().WithColumn("y", where("cast(x as float64) / 2")).Limit(150)).Counter(stage.ReadBytes), all/20)
	n, err := read().Select("x").Limit(2345).Count(context.Background(), pipeline.Config{})
	require.NoError(t, err)
	assert.Equal(t, int64(2345), n)
}
