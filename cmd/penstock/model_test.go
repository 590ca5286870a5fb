package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
)

// rows gives the rows of an output of one JSON Lines file.
func rows(t testing.TB, dir string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "part-000000.jsonl"))
	require.NoError(t, err)
	var out []map[string]any
	for _, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
		var row map[string]any
		require.NoError(t, json.Unmarshal(line, &row))
		out = append(out, row)
	}
	return out
}

// TestClassifyIsAsGoodAsTheReadmeSays: zero-shot classification of the sample that was
// labelled by hand, with the labels, template and temperature of the quick start. The
// README says 74 of 100.
func TestClassifyIsAsGoodAsTheReadmeSays(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	j := write(t, "job.yaml", fmt.Sprintf(`
source: {path: examples/messages_labelled.csv}
stages:
  - rename: {label: truth}
  - classify: {model: %s, labels_file: examples/labels.txt}
sink: {path: %s, format: jsonl}
`, testkit.MiniLM(t), out))
	r := penstock(t, "run", j)
	require.Equal(t, 0, r.code, r.stderr)
	assert.Regexp(t, `^100 rows in .* · padding efficiency [01]\.\d\d · .* 0 errors → `, r.stdout)
	right, labels := 0, map[any]int{}
	for _, row := range rows(t, out) {
		labels[row["label"]]++
		if row["label"] == row["truth"] {
			right++
		}
		score := row["score"].(float64)
		assert.True(t, score >= 0.1 && score <= 1, "the best of ten labels cannot have %v", score)
	}
	t.Logf("%d of 100 labels are right; %d labels came out: %v", right, len(labels), labels)
	assert.GreaterOrEqual(t, right, 70)
	assert.Greater(t, len(labels), 5)
}

// TestPackingChangesPaddingAlone: packed or in the order of arrival, with one thread or two,
// rows come out in their order with the same embeddings but for the last bits.
func TestPackingChangesPaddingAlone(t *testing.T) {
	embed := func(flags ...string) (vectors []any, padding float64) {
		out := filepath.Join(t.TempDir(), "out")
		r := penstock(t, append([]string{"embed", "--model", testkit.MiniLM(t), "--input", "examples/messages.txt", "--output", out,
			"--format", "jsonl", "--stats", "json", "--limit", "150"}, flags...)...)
		require.Equal(t, 0, r.code, r.stderr)
		var stats struct {
			Padding float64 `json:"padding_efficiency"`
		}
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &stats), r.stdout)
		for _, row := range rows(t, out) {
			vectors = append(vectors, row["embedding"].([]any)...)
		}
		return vectors, stats.Padding
	}
	packed, efficiency := embed()
	assert.Greater(t, efficiency, 0.9)
	arrival, less := embed("--packing", "off")
	assert.Less(t, less, efficiency-0.1)
	few, _ := embed("--look-ahead-rows", "20", "--max-batch-tokens", "300", "--threads-per-actor", "2", "--actors", "1")
	require.Len(t, packed, 150*384)
	for _, other := range [][]any{arrival, few} {
		require.Len(t, other, len(packed))
		for i := range packed {
			require.InDelta(t, packed[i], other[i], 1e-4, "number %d of row %d", i%384, i/384)
		}
	}
	r := penstock(t, "embed", "--model", "m", "--input", "in.txt", "--output", "out", "--packing", "maybe")
	assert.Equal(t, 2, r.code)
	assert.Contains(t, r.stderr, `must be one of "on","off"`)
}

// TestClassifyVerbIsTheJob: the verb gives what the job of the same settings gives, and
// null text gives null.
func TestClassifyVerbIsTheJob(t *testing.T) {
	dir := t.TempDir()
	in := write(t, "in.jsonl", `{"id":1,"body":"My parcel has not come."}`+"\n"+`{"id":2,"body":null}`+"\n"+`{"id":3,"body":"You have won a prize!"}`+"\n")
	r := penstock(t, "classify", "--model", testkit.MiniLM(t), "--labels", `parcel: the delivery of a parcel,spam`, "--input", in, in, "--column", "body",
		"--output", dir+"/a", "--format", "jsonl", "--batch-size", "1", "--actors", "1", "--source-columns")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, "1 null")
	j := write(t, "job.yaml", fmt.Sprintf("source: {path: %s, source_columns: true}\nstages:\n  - classify: {model: %s, column: body, "+
		"labels: [parcel: the delivery of a parcel, spam]}\nsink: {path: %s/b, format: jsonl}\n", in, testkit.MiniLM(t), dir))
	r = penstock(t, "run", j)
	require.Equal(t, 0, r.code, r.stderr)
	got := rows(t, dir+"/a")
	assert.Equal(t, rows(t, dir+"/b"), got)
	require.Len(t, got, 3, "a file that is named twice is read once")
	assert.Equal(t, "parcel", got[0]["label"])
	assert.Nil(t, got[1]["label"])
	assert.Nil(t, got[1]["score"])
	assert.Equal(t, "spam", got[2]["label"])
	assert.EqualValues(t, 2, got[2]["row"])
}

// TestEmbedThenSearch: search finds what was embedded, by the model that the output names.
func TestEmbedThenSearch(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	in := write(t, "in.jsonl", `{"text":"Cancel a request that is on its way.\nMore.","file":"a.go","line":12}`+"\n"+
		`{"text":"Bake bread with rye flour.","file":"b.go","line":3}`+"\n"+`{"text":null,"file":"c.go","line":1}`+"\n"+
		`{"text":"Stop the HTTP call.","file":"d.go","line":7}`+"\n")
	r := penstock(t, "embed", "--model", testkit.MiniLM(t), "--input", in, "--column", "text", "--output", out, "--show", "3")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Regexp(t, `\[-?\d\.\d\d, … 384\]`, r.stdout)
	assert.Regexp(t, `null +│ c\.go│?`, strings.ReplaceAll(r.stdout, "│ 1 ", ""))

	elsewhere := command(t, "search", "how do I cancel a request", "--in", out, "--top", "2", "--ort-lib", testkit.ORTLibrary(t))
	elsewhere.Dir = t.TempDir() // so that the default model is not there
	r = finish(t, elsewhere)
	require.Equal(t, 0, r.code, r.stderr)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	require.Len(t, lines, 2)
	assert.Regexp(t, `^0\.\d{3}  a\.go:12  Cancel a request that is on its way\.$`, lines[0])
	assert.Regexp(t, `^0\.\d{3}  d\.go:7  Stop the HTTP call\.$`, lines[1])

	r = penstock(t, "search", "bread", "--in", out, "--json", "--top", "1")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, `"file":"b.go","line":3}`)

	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"search", "x", "--in", "/nowhere"}, 1, "no such file or folder"},
		{[]string{"search", "x", "--in", in}, 1, "has no column of embeddings"},
		{[]string{"search", " ", "--in", out}, 2, "the query is empty"},
		{[]string{"search", "x", "--in", out, "--top", "0"}, 2, "--top: 0 is too small"},
		{[]string{"search", "x", "--in", out, "--model", "/nowhere"}, 1, "/nowhere"},
	} {
		r := penstock(t, c.args...)
		assert.Equal(t, c.code, r.code)
		assert.Contains(t, r.stderr, c.want)
	}
}

func TestDoctorVerb(t *testing.T) {
	r := penstock(t, "doctor")
	require.Equal(t, 0, r.code, r.stdout)
	assert.Contains(t, r.stdout, "ONNX Runtime")
	assert.Contains(t, r.stdout, "Jobs can run here, on the CPU.")
	r = penstock(t, "doctor", "--json", "--ort-lib", "/nowhere")
	assert.Equal(t, 1, r.code)
	assert.Empty(t, r.stderr)
	var report struct {
		OK       bool `json:"ok"`
		Findings []map[string]string
	}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &report))
	assert.False(t, report.OK)
	assert.Equal(t, "broken", report.Findings[0]["status"])

	cmd := command(t, "doctor") // the environment's library counts, and the flag before it
	cmd.Env = append(cmd.Env, "PENSTOCK_ORT_LIB=/nowhere")
	assert.Equal(t, 1, finish(t, cmd).code)
}

func TestInspectVerb(t *testing.T) {
	r := penstock(t, "inspect", testkit.MiniLM(t))
	require.Equal(t, 0, r.code, r.stderr)
	for _, want := range []string{"embed (bert)", "input_ids: int64[batch, seq]", "256 tokens", "384 dimensions, pooling mean, normalised"} {
		assert.Contains(t, r.stdout, want)
	}
	r = penstock(t, "inspect", "examples/messages_labelled.csv")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Regexp(t, `(?s)format +csv.*rows +100\n.*│ text +│ string`, r.stdout)
	r = penstock(t, "inspect", "nowhere.parquet")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, "nowhere.parquet: no such file or folder")
}

// TestBatchSizeAuto: the search loses no row, and the summary says what it found.
func TestBatchSizeAuto(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	args := []string{"embed", "--model", testkit.MiniLM(t), "--input", "examples/messages.txt", "--output", out, "--format", "jsonl", "--mode", "overwrite", "--limit", "150"}
	r := penstock(t, append(args, "--batch-size", "auto")...)
	require.Equal(t, 0, r.code, r.stderr)
	assert.Regexp(t, `^150 rows in .* · batch size (16|32|64|128) found for embed · `, r.stdout)
	got := rows(t, out)
	r = penstock(t, append(args, "--batch-size", "16", "--stats", "json")...)
	require.Equal(t, 0, r.code, r.stderr)
	assert.NotContains(t, r.stdout, "batch_size")
	want := rows(t, out)
	require.Len(t, got, len(want))
	for i := range want {
		assert.Equal(t, want[i]["text"], got[i]["text"])
		assert.InDeltaSlice(t, want[i]["embedding"], got[i]["embedding"], 1e-4)
	}
	r = penstock(t, append(args, "--batch-size", "many")...)
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.stderr, "want a whole number or auto")
}
