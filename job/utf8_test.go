package job_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
	"github.com/penstock-data/penstock/job"
	"github.com/penstock-data/penstock/preprocess/tokenize"
	"github.com/penstock-data/penstock/stage"
)

// oddTexts is a Parquet file of texts, two of which are not UTF-8.
func oddTexts(t *testing.T) string {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.AppendValues([]string{"a b", "c d\xff e", "f", "\x80", "g"}, nil)
	col := b.NewArray()
	defer col.Release()
	schema := arrow.NewSchema([]arrow.Field{{Name: "body", Type: arrow.BinaryTypes.String}}, nil)
	rec := array.NewRecord(schema, []arrow.Array{col}, 5)
	defer rec.Release()
	return parquetFile(t, rec, 5)
}

// TestInvalidUTF8: text that is not UTF-8 is read as Python does, or its rows fail, with all that
// it takes to find the byte.
func TestInvalidUTF8(t *testing.T) {
	in, out := oddTexts(t), filepath.Join(t.TempDir(), "out")
	const text = "source: {path: %s}\nstages: [embed: {model: ../infer/testdata/models/plain, column: body%s}, select: [embedding]]\nsink: {path: %s, format: jsonl, mode: overwrite}\nrun: {on_error: %s}"
	run := func(option, onError string) (job.Result, error) {
		j, err := job.Parse(fmt.Appendf(nil, text, in, option, out, onError), "job.yaml")
		require.NoError(t, err)
		return j.Run(t.Context(), job.Options{Library: testkit.ORTLibrary(t)})
	}
	res, err := run("", "fail")
	require.NoError(t, err)
	require.EqualValues(t, 5, res.Stats.Rows)
	all := output(t, out)
	_, err = run(", invalid_utf8: replace", "fail")
	require.NoError(t, err)
	require.Equal(t, all, output(t, out))

	_, err = run(", invalid_utf8: refuse", "fail")
	var at *stage.RowError
	require.ErrorAs(t, err, &at)
	require.Equal(t, []any{in, int64(1), "body", stage.BadData}, []any{at.Path, at.Row, at.Column, at.Kind})
	var bad *tokenize.UTF8Error
	require.ErrorAs(t, err, &bad)
	require.Equal(t, tokenize.UTF8Error{Offset: 3, Byte: 0xFF}, *bad)

	res, err = run(", invalid_utf8: refuse", "skip")
	require.NoError(t, err)
	require.EqualValues(t, 2, res.Stats.Failed)
	require.Equal(t, []string{all[0], all[2], all[4]}, output(t, out))
	letters := output(t, filepath.Join(out, "_errors"))
	require.Len(t, letters, 2)
	for i, want := range []string{"not UTF-8 at byte 3 (0xFF)", "not UTF-8 at byte 0 (0x80)"} {
		require.Contains(t, letters[i], want)
		require.Contains(t, letters[i], filepath.Base(in))
	}
}

func TestInvalidUTF8IsForText(t *testing.T) {
	_, err := job.Parse([]byte("source: {path: a}\nstages: [embed: {model: m, invalid_utf8: refused}]\nsink: {path: b}"), "j.yaml")
	require.ErrorContains(t, err, `did you mean "refuse"?`)
	_, err = run(t, "source: {path: %s}\nstages: [infer: {model: ../infer/testdata/tensors/mixed.onnx, invalid_utf8: refuse}]\nsink: {path: %s}",
		file(t, "in.jsonl", `{"a": 1}`), filepath.Join(t.TempDir(), "out"))
	require.ErrorContains(t, err, "invalid_utf8 is for stages that read text")
}
