package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/testkit"
)

// cutShort makes a model folder whose ONNX file lacks its end.
func cutShort(t *testing.T) string {
	t.Helper()
	from, to := testkit.MiniLM(t), t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	onnx := filepath.Join(to, "onnx", "model.onnx")
	info, err := os.Stat(onnx)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(onnx, info.Size()/2))
	return to
}

// TestBadInput: one clear line for each fault, the right exit code, and no output.
func TestBadInput(t *testing.T) {
	in := write(t, "in.jsonl", `{"id":1,"text":"a parcel"}`+"\n")
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "note"), nil, 0o644))
	old := write(t, "libonnxruntime.so", "not a library")
	model := testkit.MiniLM(t)
	noModel := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(noModel, "config.json"), []byte("{}"), 0o644))
	embed := func(args ...string) []string { return append([]string{"embed", "--model", model}, args...) }
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"missing file":    {embed("--input", in+"l"), 1, "in.jsonll: no such file or folder; did you mean"},
		"empty folder":    {embed("--input", t.TempDir()), 1, "the folder has no files ending in"},
		"no match":        {embed("--input", filepath.Dir(in)+"/*.csv"), 1, "no file matches the pattern"},
		"wrong column":    {embed("--input", in, "--column", "txt"), 1, `column "txt": there is no such column; did you mean "text"? (columns: id, text)`},
		"wrong type":      {embed("--input", in, "--column", "id"), 1, `column "id": is int64, not text (string)`},
		"no model":        {[]string{"embed", "--model", "nowhere", "--input", in}, 1, "nowhere"},
		"no ONNX":         {[]string{"embed", "--model", noModel, "--input", in}, 1, "has no ONNX file: looked for onnx/model.onnx"},
		"ONNX cut short":  {[]string{"embed", "--model", cutShort(t), "--input", in}, 1, "onnx/model.onnx"},
		"no library":      {embed("--input", in, "--ort-lib", "/nowhere/lib.so"), 1, "ONNX Runtime /nowhere/lib.so: there is no such file"},
		"not a library":   {embed("--input", in, "--ort-lib", old), 1, "is not a shared library, or was cut short"},
		"output exists":   {embed("--input", in, "--output", full), 1, "is not empty: use --mode overwrite to replace it"},
		"output is input": {embed("--input", in, "--output", filepath.Dir(in)), 2, "--output: the output " + filepath.Dir(in) + " holds the input"},
		"unknown flag":    {embed("--input", in, "--batchsize", "3"), 2, "unknown flag --batchsize, did you mean"},
		"unknown verb":    {[]string{"clasify"}, 2, `unexpected argument clasify, did you mean "classify"?`},
		"missing flags":   {[]string{"embed", "--input", in}, 2, "missing flags: --model=DIR"},
		"bad enum":        {embed("--input", in, "--mode", "replace"), 2, `--mode must be one of "error","overwrite","append","ignore" but got "replace"`},
		"bad number":      {embed("--input", in, "--actors", "two"), 2, "--actors"},
		"negative":        {embed("--input", in, "--actors=-1"), 2, "--actors: -1 is too small: at least 1"},
		"bad size":        {embed("--input", in, "--memory-limit", "lots"), 2, `"lots" is not a size`},
		"bad format":      {embed("--input", in, "--format", "parqet"), 2, `--format: there is no format "parqet"; did you mean "parquet"?`},
		"no labels":       {[]string{"zeroshot", "--model", model, "--input", in}, 2, "missing flags: --labels=A,B,… or --labels-file=FILE"},
		"one label":       {[]string{"classify", "--model", model, "--input", in, "--labels", "a"}, 1, "two or more are needed"},
		"no labels file":  {[]string{"classify", "--model", model, "--input", in, "--labels-file", "/nowhere"}, 1, "labels: open /nowhere: no such file"},
		"no trace":        {embed("--input", in, "--trace", "/nowhere/t.json"), 1, "--trace: open /nowhere/t.json"},
		"full trace":      {embed("--input", in, "--trace", "/dev/full"), 1, "no space left on device"},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			args := c.args
			if !strings.Contains(strings.Join(args, " "), "--output") && len(args) > 1 {
				args = append(args, "--output", out)
			}
			r := penstock(t, args...)
			assert.Equal(t, c.code, r.code, r.stderr)
			assert.Contains(t, r.stderr, c.want)
			for _, line := range strings.Split(strings.TrimSpace(r.stderr), "\n") {
				assert.Regexp(t, "^(penstock: |See `penstock )", line)
			}
			if name != "full trace" { // there the rows were written before
				assert.Empty(t, visible(t, filepath.Dir(out)))
			}
		})
	}
}

func TestBadJob(t *testing.T) {
	bad := write(t, "job.yaml", "source: {pth: in.csv}\nsink: {path: out, mode: overwite}\n")
	r := penstock(t, "run", bad)
	assert.Equal(t, 2, r.code)
	assert.Equal(t, "penstock: "+bad+":1:9: source.path: the source has no path\n"+
		"penstock: "+bad+":1:10: source: unknown key \"pth\"; did you mean \"path\"?\n"+
		"penstock: "+bad+":2:25: sink.mode: there is no mode \"overwite\"; did you mean \"overwrite\"?\n", r.stderr)
	r = penstock(t, "run", bad+"l")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, "job.yamll cannot be read: no such file or directory")
	assert.Equal(t, 2, penstock(t, "run").code)
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	in := write(t, "in.csv", "id,text\n1,a\n2,b\n3,c\n")
	j := write(t, "job.yaml", fmt.Sprintf("source: {path: %s}\nstages: [select: [text]]\nsink: {path: %s/out, format: jsonl}\n", in, dir))
	r := penstock(t, "run", j, "--show", "2", "--limit", "2", "--set", "sink.path="+dir+"/other")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Empty(t, r.stderr)
	assert.Regexp(t, `(?s)│ text │.*│ a    │.*│ b    │.*2 rows in .* rows/s · peak memory .* · 0 errors → `+dir+`/other\n$`, r.stdout)
	assert.Equal(t, []string{"other"}, visible(t, dir))

	r = penstock(t, "run", j, "--quiet", "--set", "source.limit=1", "--preserve-order=false", "--memory-limit", "1GiB", "--cpus", "1")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Empty(t, r.stdout+r.stderr)

	r = penstock(t, "run", j, "--stats", "json", "--mode", "overwrite", "--source-columns")
	require.Equal(t, 0, r.code, r.stderr)
	var stats jobReport
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &stats))
	assert.EqualValues(t, 3, stats.Rows)
	assert.EqualValues(t, 0, stats.Errors)
	require.Len(t, stats.Operators, 2) // columns are chosen as blocks pass
	assert.NotEmpty(t, stats.LimitedBy)
	for i, o := range stats.Operators {
		assert.Equal(t, []string{"source", "sink"}[i], o.Kind)
		assert.Positive(t, o.Tasks, o.Name)
		assert.Positive(t, o.BusySeconds, o.Name)
		assert.Positive(t, o.ServiceRate, o.Name)
	}
	for _, key := range []string{"output_bytes", "queued_bytes", "peak_bytes", "blocked_seconds", "waiting_seconds", "peak_by_purpose", "alone"} {
		assert.Contains(t, r.stdout, `"`+key+`":`)
	}

	r = penstock(t, "run", j, "--mode", "ignore")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, "was left as it is")

	r = penstock(t, "run", j, "--explain", "--set", "sink.path="+dir+"/not")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, "select")
	assert.NoDirExists(t, dir+"/not")
}

// TestSkippedRows: exit 3, and the rows with their causes in _errors, which readers pass
// over.
func TestSkippedRows(t *testing.T) {
	in, out := write(t, "in.jsonl", "{\"a\":1}\nnot json\n{\"a\":3}\n"), filepath.Join(t.TempDir(), "out")
	j := write(t, "job.yaml", fmt.Sprintf("source: {path: %s}\nsink: {path: %s, format: jsonl}\n", in, out))
	r := penstock(t, "run", j)
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, "in.jsonl, row 1")
	assert.NoDirExists(t, out)
	r = penstock(t, "run", j, "--on-error", "skip")
	assert.Equal(t, 3, r.code, r.stderr)
	assert.Contains(t, r.stdout, "2 rows in ")
	assert.Contains(t, r.stdout, "1 error (see _errors)")
	text, err := os.ReadFile(filepath.Join(out, "_errors", "part-000000.jsonl"))
	require.NoError(t, err)
	var letter map[string]any
	require.NoError(t, json.Unmarshal(text, &letter))
	for _, key := range []string{"input", "stage", "cause", "kind", "attempts", "file", "row"} {
		assert.Contains(t, letter, key)
	}
	assert.EqualValues(t, 1, letter["row"])
	assert.Equal(t, in, letter["file"])
	r = penstock(t, "run", j, "--on-error", "skip", "--max-errors", "1", "--mode", "overwrite")
	assert.Equal(t, 3, r.code, r.stderr)
	r = penstock(t, "inspect", out, "--json")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, `"rows":2`)
}

// TestFullDisk runs a job onto a disk of 64 KiB, mounted in a name space of its own.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	probe := exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "none", disk)
	if out, err := probe.CombinedOutput(); err != nil {
		t.Skipf("no small disk can be mounted here: %v: %s", err, bytes.TrimSpace(out))
	}
	j := write(t, "job.yaml", "source: {path: examples/messages.txt}\nsink: {path: "+disk+"/out, format: jsonl}\n")
	cmd := command(t)
	cmd.Path, cmd.Args = probe.Path, []string{"unshare", "-rm", "sh", "-c",
		`mount -t tmpfs -o size=64k none "$1" && "$2" run "$3"; code=$?; ls -A "$1"; exit $code`, "sh", disk, binary, j}
	r := finish(t, cmd)
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, "no space left on device")
	for _, name := range strings.Fields(r.stdout) {
		assert.True(t, strings.HasPrefix(name, "."), "%s was left behind", name)
	}
}
