package lint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-data/penstock/internal/lint"
)

// source makes a Go file that imports the given paths.
func source(path string, imports ...string) lint.File {
	folder := filepath.Base(filepath.Dir(path))
	text := "// Package " + folder + " is planted.\npackage " + folder + "\n"
	for _, i := range imports {
		text += "\nimport _ \"" + i + "\"\n"
	}
	return lint.File{Path: path, Text: []byte(text)}
}

func ours(name string) string { return lint.Module + "/" + name }

// TestImportTable plants each kind of forbidden import beside an allowed one.
func TestImportTable(t *testing.T) {
	for _, c := range []struct {
		file, imports string
		allowed       bool
	}{
		{"expr/a.go", "stage", false},
		{"stage/a.go", "expr", true},
		{"stage/a.go", "batcher", false},
		{"stage/a.go", "stage/stagetest", false},
		{"stage/stagetest/a.go", "stage", true},
		{"stage/stagetest/a.go", "pipeline", false},
		{"batcher/a.go", "stage", true},
		{"batcher/a.go", "readers", false},
		{"readers/a.go", "expr", true},
		{"readers/a.go", "writers", false},
		{"readers/a.go", "internal/cmem", false},
		{"readers/a.go", "readers/duckdb", false},
		{"readers/duckdb/a.go", "readers", true},
		{"readers/a_test.go", "writers", true},
		{"readers/a_test.go", "infer", false},
		{"readers/a_test.go", "internal/cmem", false},
		{"writers/a_test.go", "internal/testkit", true},
		{"preprocess/tokenize/a.go", "stage", true},
		{"preprocess/tokenize/a.go", "internal/cmem", true},
		{"preprocess/tokenize/a.go", "infer", false},
		{"cuda/a.go", "stage", false},
		{"pinned/a.go", "cuda", true},
		{"gpustat/a.go", "cuda", false},
		{"infer/a.go", "preprocess/tokenize", true},
		{"infer/a.go", "internal/cmem", true},
		{"infer/a.go", "internal/testkit", false},
		{"infer/a.go", "infer/gpu", false},
		{"infer/a.go", "pipeline", false},
		{"infer/a_test.go", "pipeline", true},
		{"infer/gpu/a.go", "infer", true},
		{"infer/gpu/a.go", "pipeline", false},
		{"pipeline/a.go", "pipeline/internal/sched", true},
		{"pipeline/internal/sched/a.go", "stage", true},
		{"pipeline/a.go", "readers", false},
		{"pipeline/a.go", "infer", false},
		{"pipeline/a_test.go", "readers", true},
		{"pipeline/a_test.go", "job", true},
		{"job/a.go", "infer", true},
		{"job/a.go", "cmd/penstock", false},
		{"cmd/penstock/a.go", "job", true},
		{"examples/classify/main.go", "infer", true},
		{"examples/classify/main.go", "internal/testkit", false},
		{"benchmarks/a.go", "pipeline/internal/sched", false},
		{"internal/testkit/a.go", "stage", true},
		{"internal/testkit/a.go", "readers", false},
	} {
		found := lint.CheckImports([]lint.File{source(c.file, "fmt", ours(c.imports))}, lint.Table)
		require.Equal(t, c.allowed, len(found) == 0, "%s imports %s: %v", c.file, c.imports, found)
		if !c.allowed {
			require.NotEmpty(t, found[0].Fix)
			require.Contains(t, found[0].String(), c.file)
		}
	}
}

func TestPackageOutsideTheTable(t *testing.T) {
	require.Len(t, lint.CheckImports([]lint.File{source("utils/a.go")}, lint.Table), 1)
	require.Empty(t, lint.CheckImports([]lint.File{source("utils/testdata/a.go")}, lint.Table), "the go tool passes over testdata")
}

func TestOwners(t *testing.T) {
	ort := "github.com/yalue/onnxruntime_go"
	require.Empty(t, lint.CheckOwners([]lint.File{source("infer/a.go", ort)}, lint.Owners))
	for _, f := range []lint.File{
		source("job/a.go", ort), source("infer/gpu/a.go", ort), source("infer/a.go", "gorgonia.org/cu"), source("pinned/a_test.go", "gorgonia.org/cu/x"),
		source("cuda/a.go", "github.com/NVIDIA/go-nvml/pkg/nvml"), source("stage/a.go", "golang.org/x/sync/errgroup"),
	} {
		require.Len(t, lint.CheckOwners([]lint.File{f}, lint.Owners), 1, f.Path)
	}
	require.Empty(t, lint.CheckOwners([]lint.File{source("stage/a.go", "context", "github.com/apache/arrow/go/v17/arrow", ours("expr"))}, lint.Owners))
}

func TestPureAndForeign(t *testing.T) {
	pkg := func(name string, deps ...string) []lint.Package {
		return []lint.Package{{ImportPath: ours(name), Deps: append([]string{"fmt", ours("stage")}, deps...)}}
	}
	require.Empty(t, lint.CheckPure(pkg("pipeline", "golang.org/x/sync/errgroup")))
	require.Len(t, lint.CheckPure(pkg("pipeline", ours("internal/cmem"))), 1)
	require.Len(t, lint.CheckPure(pkg("pipeline/internal/run", "github.com/yalue/onnxruntime_go")), 1)
	require.Empty(t, lint.CheckPure(pkg("readers/duckdb", ours("internal/cmem"))), "sub-packages may need cgo")
	require.Empty(t, lint.CheckPure(pkg("infer", "github.com/yalue/onnxruntime_go")))
	require.Empty(t, lint.CheckForeignBuild(pkg("infer", "github.com/yalue/onnxruntime_go")))
	require.Len(t, lint.CheckForeignBuild(pkg("infer", ours("cuda"), "gorgonia.org/cu")), 2)
}

func TestCgo(t *testing.T) {
	require.Len(t, lint.CheckCgo([]lint.File{source("infer/a.go", "C"), source("pipeline/a_linux.go", "C")}, lint.CgoAllowed), 2)
	require.Empty(t, lint.CheckCgo([]lint.File{source("internal/cmem/a.go", "C"), source("infer/gpu/a.go", "C")}, lint.CgoAllowed))
	tagged := lint.File{Path: "readers/a.go", Text: []byte("//go:build cuda\n\npackage readers\n\nimport \"C\"\n")}
	require.Len(t, lint.CheckCgo([]lint.File{tagged}, lint.CgoAllowed), 1, "build tags hide nothing")
}

func TestLength(t *testing.T) {
	text := func(lines int) []byte { return []byte(strings.Repeat("x\n", lines)) }
	require.Len(t, lint.CheckLength([]lint.File{{Path: "a.go", Text: text(801)}, {Path: "b/c.py", Text: text(900)}}, lint.MaxLines), 2)
	require.Empty(t, lint.CheckLength([]lint.File{{Path: "a.go", Text: text(800)}, {Path: "examples/messages.txt", Text: text(5000)}}, lint.MaxLines))
}

func TestMarks(t *testing.T) {
	for _, word := range []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"} {
		found := lint.CheckMarks([]lint.File{{Path: "a.go", Text: []byte("package a\n\n// " + word + ": later\n")}})
		require.Len(t, found, 1, word)
		require.Equal(t, "a.go:3", found[0].Where)
	}
	require.Empty(t, lint.CheckMarks([]lint.File{{Path: "a.go", Text: []byte("context." + "TO" + "DOS")}}))
}

func TestRegistries(t *testing.T) {
	for _, line := range []string{
		"pip install --index" + "-url https://mirror/simple x", "curl https://files.python" + "hosted.org/x.whl", "export GOPROXY" + "=https://mirror",
		"wget https://crates." + "io/x", "https://hugging" + "face.co/m",
	} {
		require.Len(t, lint.CheckRegistries([]lint.File{{Path: "mk/setup.mk", Text: []byte("all:\n\t" + line + "\n")}}), 1, line)
	}
	require.Empty(t, lint.CheckRegistries([]lint.File{{Path: "scripts/x.sh", Text: []byte("pip install --require-hashes -r requirements.txt\n")}}))
	require.Empty(t, lint.CheckRegistries([]lint.File{{Path: "README.md", Text: []byte("https://crates." + "io")}}), "prose may link")
}

func TestFormat(t *testing.T) {
	for _, text := range []string{"package a\nvar  x = 1\n", "package a\n\nfunc {"} {
		require.Len(t, lint.CheckFormat([]lint.File{{Path: "a/a.go", Text: []byte(text)}}), 1, text)
	}
	require.Empty(t, lint.CheckFormat([]lint.File{source("a/a.go", "fmt")}))
}

func TestSleep(t *testing.T) {
	body := "package a\n\nimport clock \"time\"\n\nfunc f() { clock.Sleep(1) }\n"
	require.Len(t, lint.CheckSleep([]lint.File{{Path: "a/a_test.go", Text: []byte(body)}}), 1)
	require.Empty(t, lint.CheckSleep([]lint.File{{Path: "a/a.go", Text: []byte(body)}}), "only tests are held to it")
	other := "package a\n\nimport _ \"time\"\n\nfunc f() { fake.Sleep(1) }\n"
	require.Empty(t, lint.CheckSleep([]lint.File{{Path: "a/a_test.go", Text: []byte(other)}}))
}

func TestDocs(t *testing.T) {
	bare := lint.File{Path: "a/a.go", Text: []byte("package a\n")}
	require.Len(t, lint.CheckDocs([]lint.File{bare}), 1)
	require.Empty(t, lint.CheckDocs([]lint.File{bare, source("a/doc.go")}))
}

func TestThirdParty(t *testing.T) {
	notice := "# Third-party software\n\n## example.org/a v1.0.0\n\ntext\n\n## example.org/old v0.1.0\n"
	found := lint.CheckThirdParty(notice, []string{"example.org/a v1.0.0", "example.org/b v2.0.0"})
	require.Len(t, found, 2)
	require.Len(t, lint.CheckThirdParty(notice, []string{"example.org/a v1.0.1", "example.org/old v0.1.0"}), 2, "versions count")
}

// TestToolsCatch plants a module with one fault for each tool.
func TestToolsCatch(t *testing.T) {
	t.Parallel()
	write := func(dir, name, text string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	planted := t.TempDir()
	write(planted, "go.mod", "module planted\n\ngo 1.25.0\n")
	write(planted, "a.go", "// Package planted is faulty.\npackage planted\n\nimport \"fmt\"\n\nfunc unused() { fmt.Printf(\"%d\\n\", \"x\") }\n")
	tools, err := filepath.Abs(filepath.Join(root(t), "internal", "tools"))
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(planted, "internal"), 0o755))
	require.NoError(t, os.Symlink(tools, filepath.Join(planted, "internal", "tools")))

	require.Contains(t, lint.Vet(planted)[0].String(), "wrong type string")
	found, err := lint.Staticcheck(planted)
	require.NoError(t, err)
	require.Contains(t, found[0].String(), "U1000")
}
